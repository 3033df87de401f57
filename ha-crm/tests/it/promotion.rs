//! Who is promoted, and what must have happened before.

use std::collections::BTreeSet;

use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;
use ha_core::time::WallTime;
use ha_crm::model::{
    ClusterConfig, ClusterState, FenceDevice, Fencing, MultipleActive, NodeStatus, OnFail,
    Operation, OperationName, Resource, ResourceStatus, Score, VoteRules, promoted_role,
};
use ha_crm::{ActionKind, Cluster, TransitionGraph};
use ha_membership::quorum::Quorum;
use proptest::prelude::*;

use super::{decide, node};

fn db() -> ResourceName {
    "db".parse().expect("a name")
}

fn vip() -> ResourceName {
    "vip".parse().expect("a name")
}

/// Three nodes, a database with copies, and an address that goes with the promoted one.
fn with(db: Resource) -> ClusterConfig {
    let nodes = || (0..3).map(node);
    let role = promoted_role(db.name()).expect("short");
    Cluster::builder()
        .nodes(nodes())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", nodes())))
        .at_most_one(db.promotable())
        .at_most_one(Resource::new(vip(), "x").with(role.clone()).after(role))
        .build()
        .expect("good")
}

fn config() -> ClusterConfig {
    with(Resource::new(db(), "x"))
}

/// n0 is promoted, with the address; n1 would do better than n2.
fn running(config: ClusterConfig) -> ClusterState {
    ClusterState::new(config)
        .with_status(db(), node(0), ResourceStatus::promoted(100))
        .with_status(db(), node(1), ResourceStatus::copy(20))
        .with_status(db(), node(2), ResourceStatus::copy(10))
        .with_active(vip(), node(0))
}

fn failed(status: ResourceStatus, operation: OperationName) -> ResourceStatus {
    status.failed(operation, WallTime::from_micros(0))
}

fn actions(state: &ClusterState) -> Vec<String> {
    decide(state).graph.actions().iter().map(|action| action.kind.to_string()).collect()
}

/// Whether one action comes before another, also through others.
fn comes_before(graph: &TransitionGraph, first: &str, then: &str) -> bool {
    let find = |text: &str| {
        let found = graph.actions().iter().find(|action| action.kind.to_string() == text);
        found.unwrap_or_else(|| unreachable!("{text} is not in {graph}")).id
    };
    let (first, mut todo, mut seen) = (find(first), vec![find(then)], BTreeSet::new());
    while let Some(id) = todo.pop() {
        if id == first {
            return true;
        }
        let before = graph.edges().iter().filter(|edge| edge.after == id);
        todo.extend(before.map(|edge| edge.before).filter(|id| seen.insert(*id)));
    }
    false
}

#[test]
fn copies_start_everywhere_and_the_one_that_says_it_does_best_is_promoted() {
    let state = ClusterState::new(config());
    assert_eq!(actions(&state), ["start db on n0", "start db on n1", "start db on n2"]);
    let copies = |scores: [i32; 3]| {
        (0..3).zip(scores).fold(state.clone(), |state, (at, score)| {
            state.with_status(db(), node(at), ResourceStatus::copy(score))
        })
    };
    let state = copies([5, 20, -1]);
    assert_eq!(actions(&state), ["promote db on n1", "start vip on n1"]);
    let decision = decide(&state);
    assert!(comes_before(&decision.graph, "promote db on n1", "start vip on n1"));
    let why = decision.explain(&promoted_role(&db()).expect("short")).expect("it is decided");
    assert!(why.contains("n1: 20 = 20 (promotion score)"), "{why}");
    assert!(actions(&copies([-1, -5, -1])).is_empty(), "nobody is fit for it");
    assert!(actions(&running(config())).is_empty(), "and then there is nothing to do");
}

#[test]
fn a_move_demotes_before_it_promotes_and_takes_along_what_goes_with_it() {
    let role = promoted_role(&db()).expect("short");
    let moved = config().with_move(&role, &node(1), None).expect("it may");
    let graph = decide(&running(moved)).graph;
    let expected = ["demote db on n0", "promote db on n1", "stop vip on n0", "start vip on n1"];
    let found: BTreeSet<String> = graph.actions().iter().map(|a| a.kind.to_string()).collect();
    assert_eq!(found, expected.iter().map(|text| (*text).to_owned()).collect());
    for (first, then) in [
        ("stop vip on n0", "demote db on n0"),
        ("demote db on n0", "promote db on n1"),
        ("promote db on n1", "start vip on n1"),
    ] {
        assert!(comes_before(&graph, first, then), "{first}, then {then}: {graph}");
    }
}

#[test]
fn nobody_is_promoted_before_the_node_of_the_last_one_is_fenced() {
    let state = running(config()).with_node(node(0), NodeStatus::Unclean);
    let graph = decide(&state).graph;
    assert_eq!(actions(&state), ["fence n0", "promote db on n1", "start vip on n1"]);
    assert!(comes_before(&graph, "fence n0", "promote db on n1"), "{graph}");
    let blind = state.with_quorum(Quorum::AfterFencing);
    assert_eq!(actions(&blind), ["fence n0"]);
}

#[test]
fn a_node_that_was_not_looked_at_is_looked_at_first() {
    let mut state = running(config()).with_status(db(), node(0), ResourceStatus::stopped());
    state.resources.get_mut(&db()).expect("known").remove(&node(2));
    let graph = decide(&state).graph;
    assert!(comes_before(&graph, "probe db on n2", "promote db on n1"), "{graph}");
    assert!(!comes_before(&graph, "probe db on n2", "start db on n0"), "copies need not wait");
}

#[test]
fn without_quorum_the_promoted_one_is_demoted_and_copies_go_on() {
    let state = running(config()).with_quorum(Quorum::Lost);
    let graph = decide(&state).graph;
    assert_eq!(actions(&state), ["demote db on n0", "stop vip on n0"]);
    assert!(comes_before(&graph, "stop vip on n0", "demote db on n0"));
}

#[test]
fn a_promoted_one_that_fails_is_demoted_restarted_and_promoted_again() {
    let broken = failed(ResourceStatus::promoted(100), OperationName::Monitor);
    let state = running(config()).with_status(db(), node(0), broken);
    let graph = decide(&state).graph;
    let way = ["demote db on n0", "stop db on n0", "start db on n0", "promote db on n0"];
    for (first, then) in way.iter().zip(&way[1..]) {
        assert!(comes_before(&graph, first, then), "{first}, then {then}: {graph}");
    }
    // With a threshold of one it is another's turn.
    let state = running(with(Resource::new(db(), "x").migration_threshold(1)));
    let state = state.with_status(db(), node(0), broken);
    let graph = decide(&state).graph;
    assert!(comes_before(&graph, "demote db on n0", "promote db on n1"), "{graph}");
    assert!(!actions(&state).contains(&"start db on n0".to_owned()));
}

#[test]
fn a_demote_that_failed_is_followed_by_a_stop_and_that_is_waited_for() {
    let stuck = failed(ResourceStatus::promoted(100), OperationName::Demote);
    let role = promoted_role(&db()).expect("short");
    let moved = config().with_move(&role, &node(1), None).expect("it may");
    let state = running(moved).with_status(db(), node(0), stuck);
    let graph = decide(&state).graph;
    assert!(!actions(&state).contains(&"demote db on n0".to_owned()), "{graph}");
    for then in ["promote db on n1", "start db on n0"] {
        assert!(comes_before(&graph, "stop db on n0", then), "{graph}");
    }
    assert!(comes_before(&graph, "stop vip on n0", "stop db on n0"), "{graph}");
    let block = Operation::new(OperationName::Demote).on_fail(OnFail::Block);
    let state = running(with(Resource::new(db(), "x").operation(block)));
    let state = state.with_status(db(), node(0), stuck);
    assert!(actions(&state).is_empty(), "a person must look at it: {:?}", actions(&state));
}

#[test]
fn a_promoted_one_that_cannot_be_stopped_is_fenced_before_another_is_promoted() {
    let stuck = failed(ResourceStatus::promoted(100), OperationName::Stop);
    let state = running(config()).with_status(db(), node(0), stuck);
    let graph = decide(&state).graph;
    assert!(comes_before(&graph, "fence n0", "promote db on n1"), "{graph}");
}

#[test]
fn where_a_promotion_failed_another_is_promoted() {
    let mut weak = failed(ResourceStatus::copy(100), OperationName::Promote);
    weak.fault = None;
    let state = running(config()).with_status(db(), node(0), weak);
    let graph = decide(&state).graph;
    assert!(actions(&state).contains(&"promote db on n1".to_owned()), "{graph}");
}

#[test]
fn two_that_are_promoted_are_both_demoted_before_one_is_again() {
    let state = running(config()).with_status(db(), node(2), ResourceStatus::promoted(100));
    let graph = decide(&state).graph;
    for demoted in ["demote db on n0", "demote db on n2"] {
        assert!(comes_before(&graph, demoted, "promote db on n0"), "{graph}");
    }
}

#[test]
fn one_that_may_be_promoted_is_stopped_and_the_one_that_works_goes_on() {
    let doubtful = failed(ResourceStatus::promoted(100), OperationName::Monitor);
    for what in [MultipleActive::StopStart, MultipleActive::StopOnly, MultipleActive::Block] {
        let config = with(Resource::new(db(), "x").multiple_active(what));
        let told = actions(&running(config).with_status(db(), node(2), doubtful));
        assert!(!told.contains(&"demote db on n0".to_owned()), "{told:?}");
        assert!(told.contains(&"stop db on n2".to_owned()), "{told:?}");
    }
    let state = running(config()).with_status(db(), node(2), doubtful);
    // If none works, none is promoted before that is over.
    let state = state.with_status(db(), node(0), ResourceStatus::copy(1_000));
    let graph = decide(&state).graph;
    assert!(comes_before(&graph, "demote db on n2", "promote db on n0"), "{graph}");
}

#[test]
fn two_that_cling_to_their_role_are_stopped_without_waiting_for_each_other() {
    let stuck = || failed(ResourceStatus::promoted(100), OperationName::Demote);
    let state = running(config());
    let state = state.with_status(db(), node(0), stuck()).with_status(db(), node(1), stuck());
    let graph = decide(&state).graph;
    assert!(graph.sorted().is_some(), "a circle: {graph}");
    for stopped in ["stop db on n0", "stop db on n1"] {
        assert!(comes_before(&graph, stopped, "promote db on n0"), "{graph}");
    }
}

#[test]
fn a_copy_stops_without_waiting_for_a_demote_elsewhere() {
    let state = running(config()).with_node(node(1), NodeStatus::Standby);
    let state = state.with_quorum(Quorum::Lost);
    let graph = decide(&state).graph;
    assert!(!comes_before(&graph, "demote db on n0", "stop db on n1"), "{graph}");
}

#[test]
fn what_cannot_be_promotable_is_refused_all_at_once() {
    let text = r#"{
        "nodes": ["n0"],
        "resources": {
            "a": { "guarantee": "at-least-one", "agent": "x", "promotable": true },
            "a:promoted": { "guarantee": "at-least-one", "agent": "x" },
            "b": { "guarantee": "at-least-one", "agent": "x", "with": ["c:promoted"] }
        },
        "groups": { "g": { "members": ["a"] } },
        "constraints": { "orders": [{ "first": "b", "then": "a:promoted", "then_action": "promote" }] }
    }"#;
    let error = serde_json::from_str::<ClusterConfig>(text).expect_err("wrong").to_string();
    for wanted in [
        "resources.a.promotable: true is not allowed: only with the guarantee at-most-one",
        "resources.a.promotable: a:promoted is not allowed: a name of its promoted role",
        "resources.a.promotable: true is not allowed: no member of a group",
        "resources.b.with: c:promoted is not allowed",
        "constraints.orders[0].then_action: promote is not allowed: start or stop",
    ] {
        assert!(error.contains(wanted), "{wanted}\n{error}");
    }
}

/// What is known of the database on a node: role, score, fault; nothing if it is not known.
fn known() -> impl Strategy<Value = Option<ResourceStatus>> {
    let fault = prop_oneof![
        6 => Just(None),
        1 => Just(Some(OperationName::Monitor)),
        1 => Just(Some(OperationName::Demote)),
        1 => Just(Some(OperationName::Promote)),
        1 => Just(Some(OperationName::Stop)),
    ];
    let status = (0..4u8, -10..100i32, fault).prop_map(|(role, score, fault)| {
        let status = match role {
            0 => ResourceStatus::stopped(),
            1 => ResourceStatus::promoted(score),
            _ => ResourceStatus::copy(score),
        };
        fault.filter(|_| role > 0).map_or(status, |operation| failed(status, operation))
    });
    prop::option::weighted(0.9, status)
}

fn any_state() -> impl Strategy<Value = ClusterState> {
    let statuses = prop_oneof![
        6 => Just(NodeStatus::Online),
        1 => Just(NodeStatus::Standby),
        1 => Just(NodeStatus::Offline),
        1 => Just(NodeStatus::Maintenance),
        2 => Just(NodeStatus::Unclean),
    ];
    let nodes = prop::collection::vec((statuses, known(), any::<bool>()), 3);
    let quorum = prop_oneof![3 => Just(Quorum::Quorate), 1 => Just(Quorum::Lost)];
    (nodes, quorum, prop::option::of(0..3usize)).prop_map(|(nodes, quorum, wish)| {
        let role = promoted_role(&db()).expect("short");
        let config = match wish {
            Some(at) => config().with_move(&role, &node(at), None).expect("it may"),
            None => config(),
        };
        let mut state = ClusterState::new(config).with_quorum(quorum);
        state.resources.remove(&db());
        for (at, (status, known, has_vip)) in nodes.into_iter().enumerate() {
            state = state.with_node(node(at), status);
            if let Some(known) = known {
                state = state.with_status(db(), node(at), known);
            }
            if has_vip {
                state = state.with_active(vip(), node(at));
            }
        }
        state
    })
}

fn promoted(state: &ClusterState) -> Vec<&NodeName> {
    let known = state.resources.get(&db()).into_iter().flatten();
    let promoted = known.filter(|(_, status)| status.role == Role::Promoted).map(|(node, _)| node);
    promoted.filter(|node| state.status(node) != NodeStatus::Offline).collect()
}

/// What an action changes, when it succeeds; a node that was not looked at may have anything.
fn apply(state: &mut ClusterState, kind: &ActionKind) {
    let (resource, node, role) = match kind {
        ActionKind::Fence { node } => {
            state.nodes.insert(node.clone(), NodeStatus::Offline);
            state.forget_node(node);
            return;
        }
        ActionKind::Demote { resource, node } => (resource, node, Role::Unpromoted),
        ActionKind::Promote { resource, node } => (resource, node, Role::Promoted),
        ActionKind::Start { resource, node } if *resource == db() => {
            (resource, node, Role::Unpromoted)
        }
        ActionKind::Start { resource, node } => (resource, node, Role::Started),
        ActionKind::Probe { resource, node } | ActionKind::Stop { resource, node } => {
            (resource, node, Role::Stopped)
        }
    };
    state.note(resource, node, role);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn in_whatever_order_it_is_carried_out_nobody_is_promoted_beside_another(
        state in any_state(), choices in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        let graph = decide(&state).graph;
        prop_assert!(graph.sorted().is_some(), "a circle: {}", graph);
        let (mut now, mut done) = (state.clone(), BTreeSet::new());
        for choice in choices {
            let ready: Vec<_> = graph.ready(&done).collect();
            if ready.is_empty() {
                break;
            }
            let action = ready[choice.index(ready.len())];
            let status = now.status(action.kind.node());
            if let ActionKind::Promote { node, .. } = &action.kind {
                prop_assert_eq!(state.quorum, Quorum::Quorate);
                prop_assert!(promoted(&now).is_empty(), "{} beside {:?}", action.kind, promoted(&now));
                let unclean = now.nodes_that_are(NodeStatus::Unclean);
                prop_assert!(unclean.is_empty(), "{} before {unclean:?} is fenced", action.kind);
                let copy = now.resources[&db()].get(node);
                prop_assert!(copy.is_some_and(|copy| copy.role.is_active()), "{}", action.kind);
                for other in now.nodes_that_are(NodeStatus::Online) {
                    prop_assert!(now.resources[&db()].contains_key(other), "{other} may be promoted");
                }
            }
            let fence = matches!(action.kind, ActionKind::Fence { .. });
            prop_assert!(fence || status != NodeStatus::Unclean, "{}", action.kind);
            apply(&mut now, &action.kind);
            done.insert(action.id);
        }
        prop_assert_eq!(done.len(), graph.actions().len(), "everything could be done");
    }

    #[test]
    fn without_quorum_nobody_stays_promoted_where_something_can_be_done(state in any_state()) {
        let state = state.with_quorum(Quorum::Lost);
        let graph = decide(&state).graph;
        for node in promoted(&state) {
            let status = state.resources[&db()][node];
            let managed = matches!(state.status(node), NodeStatus::Online | NodeStatus::Standby);
            if managed && status.fault != Some(OperationName::Stop) {
                let ends = |kind: &ActionKind| {
                    let way = matches!(kind, ActionKind::Demote { .. } | ActionKind::Stop { .. });
                    way && kind.resource() == Some(&db()) && kind.node() == node
                };
                prop_assert!(graph.actions().iter().any(|a| ends(&a.kind)), "{node}: {graph}");
            }
        }
    }
}

#[test]
fn a_location_of_the_promoted_role_adds_to_what_the_copies_say() {
    let role = promoted_role(&db()).expect("short");
    let mut raw = config().raw().clone();
    let wish = ha_crm::model::Location::new(role, node(2), Score::new(1_000));
    raw.constraints.locations.push(wish);
    let state = running(ClusterConfig::try_from(raw).expect("good"));
    assert!(actions(&state).contains(&"promote db on n2".to_owned()), "{:?}", actions(&state));
}
