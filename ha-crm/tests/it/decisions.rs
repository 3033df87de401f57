//! Decisions that a user would notice, one by one.

use ha_core::role::Role;
use ha_crm::Cluster;
use ha_crm::model::{
    ClusterConfig, ClusterState, FenceDevice, Fencing, NodeStatus, Resource, Score, VoteRules,
};
use ha_membership::quorum::Quorum;

use super::{decide, node, resource};

/// Three nodes; `r0` and `r1` are at-most-one, `r2` is at-least-one.
fn config() -> ClusterConfig {
    let nodes = || (0..3).map(node);
    Cluster::builder()
        .nodes(nodes())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", nodes())))
        .at_most_one(Resource::new(resource(0), "x").location(node(1), Score::new(50)))
        .at_most_one(Resource::new(resource(1), "x"))
        .at_least_one(Resource::new(resource(2), "x"))
        .build()
        .expect("good")
}

/// All three run where they belong.
fn running() -> ClusterState {
    let state = ClusterState::new(config());
    let state = state.with_active(resource(0), node(1)).with_active(resource(1), node(0));
    (0..3).fold(state, |state, index| state.with_active(resource(2), node(index)))
}

fn actions(state: &ClusterState) -> Vec<String> {
    decide(state).graph.actions().iter().map(|action| action.kind.to_string()).collect()
}

#[test]
fn everything_is_started_where_it_wants_to_be_and_spread() {
    let started = actions(&ClusterState::new(config()));
    assert_eq!(
        started,
        ["start r0 on n1", "start r1 on n0", "start r2 on n0", "start r2 on n1", "start r2 on n2"]
    );
    assert!(actions(&running()).is_empty(), "and then there is nothing to do");
}

#[test]
fn an_unclean_node_is_fenced_before_anything_at_most_one_starts_and_nothing_else_waits() {
    let state = running().with_node(node(1), NodeStatus::Unclean);
    let decision = decide(&state);
    assert_eq!(actions(&state), ["fence n1", "start r0 on n2"]);
    let [edge] = decision.graph.edges() else { panic!("one edge") };
    assert_eq!((edge.before.get(), edge.after.get()), (0, 1));
    // What n1 ran is not known: a resource that was never seen there waits, too.
    let mut state = state;
    state.resources = ClusterState::new(state.config.clone()).resources;
    let decision = decide(&state);
    let starts_of_at_most_one = 2;
    assert_eq!(decision.graph.edges().len(), starts_of_at_most_one);
}

#[test]
fn an_unclean_node_that_nobody_can_fence_blocks_starts_but_not_what_runs() {
    // n9 was taken out of the configuration while it was away.
    let state = running().with_node(node(9), NodeStatus::Unclean);
    assert!(actions(&state).is_empty());
    let mut cold = state;
    cold.resources = ClusterState::new(cold.config.clone()).resources;
    assert_eq!(actions(&cold), ["start r2 on n0", "start r2 on n1", "start r2 on n2"]);
}

#[test]
fn a_standby_node_is_emptied_stop_before_start() {
    let state = running().with_node(node(1), NodeStatus::Standby);
    assert_eq!(actions(&state), ["stop r0 on n1", "start r0 on n2", "stop r2 on n1"]);
    assert_eq!(decide(&state).graph.edges().len(), 1);
}

#[test]
fn without_quorum_at_most_one_stops_and_at_least_one_serves() {
    let state = running().with_quorum(Quorum::Lost).with_node(node(2), NodeStatus::Unclean);
    assert_eq!(actions(&state), ["stop r0 on n1", "stop r1 on n0"]);
    let mut cold = state;
    cold.resources = ClusterState::new(cold.config.clone()).resources;
    assert_eq!(actions(&cold), ["start r2 on n0", "start r2 on n1"]);
}

#[test]
fn while_quorum_hangs_on_fencing_what_runs_goes_on_and_nothing_starts() {
    let state = running().with_quorum(Quorum::AfterFencing).with_node(node(1), NodeStatus::Unclean);
    assert_eq!(actions(&state), ["fence n1"]);
}

#[test]
fn a_node_in_maintenance_is_left_alone() {
    let mut state = running().with_node(node(1), NodeStatus::Maintenance);
    assert!(actions(&state).is_empty());
    state.quorum = Quorum::Lost;
    assert_eq!(actions(&state), ["stop r1 on n0"]);
}

#[test]
fn what_runs_twice_is_stopped_everywhere_before_it_starts_once() {
    let state = running().with_active(resource(0), node(2));
    let decision = decide(&state);
    assert_eq!(actions(&state), ["stop r0 on n1", "stop r0 on n2", "start r0 on n1"]);
    assert_eq!(decision.graph.edges().len(), 2);
}

#[test]
fn a_disabled_resource_stops_and_one_that_is_allowed_nowhere_says_why() {
    let config = Cluster::builder()
        .nodes([node(0), node(1)])
        .at_least_one(Resource::new(resource(0), "x").enabled(false))
        .at_least_one(
            Resource::new(resource(1), "x")
                .location(node(0), Score::NEVER)
                .location(node(1), Score::new(-1)),
        )
        .build()
        .expect("good");
    let state = ClusterState::new(config)
        .with_active(resource(0), node(0))
        .with_active(resource(1), node(0));
    assert_eq!(actions(&state), ["stop r0 on n0", "stop r1 on n0"]);
    let why = decide(&state).explain(&resource(1)).expect("configured");
    assert_eq!(
        why,
        "r1 nowhere: no online node allows it\n   n0: -infinity = -infinity (location)\n   n1: -1 = -1 (location)\n"
    );
    assert_eq!(decide(&state).explain(&resource(9)), None);
}

#[test]
fn stickiness_outweighs_a_smaller_location_and_is_in_the_explanation() {
    let mut state = running();
    state.resources.remove(&resource(0));
    for at in 0..2 {
        state.note(&resource(0), &node(at), Role::Stopped);
    }
    state.note(&resource(0), &node(2), Role::Started);
    assert!(actions(&state).is_empty(), "100 for staying is more than 50 for n1");
    let why = decide(&state).explain(&resource(0)).expect("configured");
    assert!(why.contains("n2: 100 = 100 (it is there: stickiness)"), "{why}");
    assert!(why.contains("n1: 50 = 50 (location)"), "{why}");
}
