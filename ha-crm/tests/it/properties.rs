//! What holds of every decision, for clusters made at random.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;
use ha_crm::model::{
    ClusterConfig, ClusterState, FenceDevice, Fencing, NodeStatus, Resource, Score, VoteRules,
};
use ha_crm::{ActionId, ActionKind, Cluster, TransitionGraph};
use ha_membership::quorum::Quorum;
use proptest::prelude::*;

use super::{decide, node, resource};

/// Guarantee, enabled, stickiness, location scores.
type Wish = (bool, bool, i32, Vec<Option<i32>>);

fn config(nodes: usize, wishes: &[Wish]) -> ClusterConfig {
    let names = || (0..nodes).map(node);
    let mut builder = Cluster::builder()
        .nodes(names())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", names())));
    for (index, (at_most_one, enabled, stickiness, locations)) in wishes.iter().enumerate() {
        let mut wanted = Resource::new(resource(index), "x")
            .enabled(*enabled)
            .stickiness(Score::new(*stickiness));
        for (at, score) in locations.iter().take(nodes).enumerate() {
            if let Some(score) = score {
                wanted = wanted.location(node(at), Score::new(*score));
            }
        }
        builder =
            if *at_most_one { builder.at_most_one(wanted) } else { builder.at_least_one(wanted) };
    }
    builder.build().expect("good")
}

fn status() -> impl Strategy<Value = NodeStatus> {
    prop_oneof![
        5 => Just(NodeStatus::Online),
        1 => Just(NodeStatus::Standby),
        1 => Just(NodeStatus::Maintenance),
        1 => Just(NodeStatus::Offline),
        2 => Just(NodeStatus::Unclean),
    ]
}

fn score() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -100..200, 1 => Just(1_000_000), 1 => Just(-1_000_000)]
}

prop_compose! {
    fn any_state()(
        nodes in 1usize..6,
        wishes in prop::collection::vec(
            (any::<bool>(), prop::bool::weighted(0.9), prop_oneof![0..200, Just(1_000_000)],
             prop::collection::vec(prop::option::of(score()), 5)),
            0..6,
        ),
        statuses in prop::collection::vec(status(), 5),
        active in prop::collection::btree_set((0usize..6, 0usize..5), 0..8),
        quorum in prop_oneof![
            4 => Just(Quorum::Quorate), 1 => Just(Quorum::AfterFencing), 2 => Just(Quorum::Lost)
        ],
    ) -> ClusterState {
        let mut state = ClusterState::new(config(nodes, &wishes)).with_quorum(quorum);
        for (index, status) in statuses.into_iter().take(nodes).enumerate() {
            state = state.with_node(node(index), status);
        }
        for (what, place) in active {
            if what < wishes.len() && place < nodes {
                state = state.with_active(resource(what), node(place));
            }
        }
        state
    }
}

fn is_at_most_one(state: &ClusterState, name: &ResourceName) -> bool {
    state.config.resources()[name].guarantee == Guarantee::AtMostOne
}

/// The actions that must have succeeded before `id`, also through others.
fn ancestors(graph: &TransitionGraph, id: ActionId) -> BTreeSet<ActionId> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![id]);
    while let Some(id) = todo.pop() {
        for edge in graph.edges().iter().filter(|edge| edge.after == id) {
            if found.insert(edge.before) {
                todo.push(edge.before);
            }
        }
    }
    found
}

/// What an action changes, when it succeeds.
fn apply(state: &mut ClusterState, kind: &ActionKind) {
    match kind {
        ActionKind::Fence { node } => {
            state.nodes.insert(node.clone(), NodeStatus::Offline);
            state.forget_node(node);
        }
        ActionKind::Promote { resource, node } => state.note(resource, node, Role::Promoted),
        ActionKind::Demote { resource, node } => state.note(resource, node, Role::Unpromoted),
        ActionKind::Start { resource, node } => state.note(resource, node, Role::Started),
        ActionKind::Probe { resource, node } | ActionKind::Stop { resource, node } => {
            state.note(resource, node, Role::Stopped);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_same_state_gives_the_same_decision_and_its_graph_has_no_cycle(state in any_state()) {
        let decision = decide(&state);
        prop_assert_eq!(&decision, &decide(&state.clone()));
        prop_assert!(decision.graph.sorted().is_some());
        let kinds: BTreeSet<_> = decision.graph.actions().iter().map(|action| &action.kind).collect();
        prop_assert_eq!(kinds.len(), decision.graph.actions().len(), "nothing twice");
        for action in decision.graph.actions() {
            prop_assert!(!action.reason.is_empty());
        }
        for edge in decision.graph.edges() {
            prop_assert!(!edge.reason.is_empty());
        }
    }

    #[test]
    fn nothing_is_done_to_an_unclean_node_but_fencing_and_nothing_at_all_to_others_not_managed(
        state in any_state(),
    ) {
        for action in decide(&state).graph.actions() {
            let status = state.status(action.kind.node());
            let fits = match action.kind {
                ActionKind::Fence { .. } => status == NodeStatus::Unclean,
                ActionKind::Probe { .. } => true,
                ActionKind::Promote { .. } | ActionKind::Start { .. } => {
                    status == NodeStatus::Online
                }
                ActionKind::Demote { .. } | ActionKind::Stop { .. } => {
                    matches!(status, NodeStatus::Online | NodeStatus::Standby)
                }
            };
            prop_assert!(fits, "{} though it is {status:?}", action.kind);
        }
    }

    #[test]
    fn an_at_most_one_resource_starts_once_after_every_stop_and_every_fence(state in any_state()) {
        let graph = decide(&state).graph;
        let mut started: BTreeMap<&ResourceName, usize> = BTreeMap::new();
        for action in graph.actions() {
            let ActionKind::Start { resource, .. } = &action.kind else { continue };
            if !is_at_most_one(&state, resource) {
                continue;
            }
            *started.entry(resource).or_default() += 1;
            let before = ancestors(&graph, action.id);
            let covered = |wanted: &ActionKind| {
                graph.actions().iter().any(|a| a.kind == *wanted && before.contains(&a.id))
            };
            for holder in state.holders(resource) {
                let (resource, node) = (resource.clone(), holder.clone());
                let gone = covered(&ActionKind::Stop { resource, node: node.clone() })
                    || covered(&ActionKind::Fence { node });
                prop_assert!(gone, "{} while it may run on {holder}", action.kind);
            }
            for node in state.nodes_that_are(NodeStatus::Unclean) {
                let fence = ActionKind::Fence { node: node.clone() };
                prop_assert!(covered(&fence), "{} before {fence}", action.kind);
            }
        }
        prop_assert!(started.values().all(|times| *times == 1));
    }

    #[test]
    fn without_quorum_at_most_one_only_stops_and_nobody_is_fenced(
        state in any_state(), lost: bool,
    ) {
        let quorum = if lost { Quorum::Lost } else { Quorum::AfterFencing };
        let state = state.with_quorum(quorum);
        for action in decide(&state).graph.actions() {
            match &action.kind {
                ActionKind::Fence { .. } => prop_assert_eq!(state.quorum, Quorum::AfterFencing),
                ActionKind::Start { resource, .. } => {
                    prop_assert!(!is_at_most_one(&state, resource));
                }
                ActionKind::Promote { .. } => prop_assert!(false, "{}", action.kind),
                ActionKind::Demote { .. }
                | ActionKind::Probe { .. }
                | ActionKind::Stop { .. } => {}
            }
        }
        if state.quorum == Quorum::Lost {
            for (name, wanted) in state.config.resources() {
                if wanted.guarantee == Guarantee::AtMostOne {
                    for holder in state.holders(name) {
                        let (resource, node) = (name.clone(), holder.clone());
                        let stop = ActionKind::Stop { resource, node };
                        let stopped = decide(&state).graph.actions().iter().any(|a| a.kind == stop);
                        let status = state.status(holder);
                        let managed = matches!(status, NodeStatus::Online | NodeStatus::Standby);
                        prop_assert_eq!(stopped, managed);
                    }
                }
            }
        }
    }

    #[test]
    fn in_whatever_order_it_is_carried_out_nothing_is_active_twice_and_then_nothing_is_left_to_do(
        state in any_state(), choices in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let graph = decide(&state).graph;
        let (mut now, mut done) = (state.clone(), BTreeSet::new());
        for choice in choices {
            let ready: Vec<_> = graph.ready(&done).collect();
            if ready.is_empty() {
                break;
            }
            let action = ready[choice.index(ready.len())];
            if let ActionKind::Start { resource, .. } = &action.kind
                && is_at_most_one(&state, resource)
            {
                let holders: Vec<&NodeName> = now.holders(resource);
                prop_assert!(holders.is_empty(), "{} while on {holders:?}", action.kind);
            }
            apply(&mut now, &action.kind);
            done.insert(action.id);
        }
        prop_assert_eq!(done.len(), graph.actions().len(), "everything could be done");
        let again = decide(&now).graph;
        prop_assert!(again.is_empty(), "still to do: {again}");
    }

    #[test]
    fn at_least_one_serves_on_every_online_node_that_allows_it_with_or_without_quorum(
        state in any_state(),
    ) {
        let decision = decide(&state);
        for (name, wanted) in state.config.resources() {
            if wanted.guarantee != Guarantee::AtLeastOne || !wanted.enabled {
                continue;
            }
            for node in state.nodes_that_are(NodeStatus::Online) {
                let allowed = wanted.locations.get(node).is_none_or(|score| score.allows());
                prop_assert_eq!(decision.placements[name].nodes.contains(node), allowed);
            }
        }
    }

    #[test]
    fn the_parts_of_a_score_add_up_and_the_winner_has_the_highest(state in any_state()) {
        for (name, placement) in decide(&state).placements {
            for sheet in placement.sheets.values() {
                let sum = sheet.parts().iter().fold(Score::ZERO, |sum, part| sum + part.score);
                prop_assert_eq!(sheet.total(), sum);
            }
            let online = |node: &&NodeName| state.status(node) == NodeStatus::Online;
            if is_at_most_one(&state, &name)
                && state.quorum == Quorum::Quorate
                && let Some(winner) = placement.nodes.first().filter(online)
            {
                let best = placement.sheets.values().map(ha_crm::Sheet::total).max();
                prop_assert_eq!(Some(placement.sheets[winner].total()), best);
            }
        }
    }
}
