//! What holds of every store holds of this one, on whichever node.

use std::sync::Arc;
use std::time::Duration;

use ha_membership::store::{
    ClusterStore, Expected, MAX_VALUE_LEN, RaftStoreConfigBuilder, StoreError, Write,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::cluster::{Cluster, run};
use crate::lease::{
    Leases, at_most_one_holds_it, errors_say_who_holds_it, giving_back_ends_ones_own_lease_only,
    steps,
};
use crate::store::{
    a_watcher_sees_everything, any_step, limits_are_errors, writes_are_as_in_a_map,
};

/// No elections because of a busy machine: a write under way would not know what became of it.
fn steady(config: RaftStoreConfigBuilder) -> RaftStoreConfigBuilder {
    config.election(Duration::from_secs(5), Duration::from_secs(10))
}

#[test]
fn writes_on_any_node_are_as_in_a_map_and_seen_by_the_next_node() {
    run(async {
        let cluster = Cluster::formed(3, steady).await;
        let stores: Vec<&dyn ClusterStore> =
            (0..3).map(|index| cluster.store(index) as &dyn ClusterStore).collect();
        let mut runner = TestRunner::default();
        for _ in 0..10 {
            let steps = prop::collection::vec(any_step(), 0..40).new_tree(&mut runner);
            writes_are_as_in_a_map(&stores, steps.expect("steps").current()).await;
        }
    });
}

#[test]
fn a_watcher_on_one_node_sees_what_is_written_on_another() {
    run(async {
        let cluster = Cluster::formed(3, steady).await;
        a_watcher_sees_everything(cluster.store(1), cluster.store(2)).await;
    });
}

#[test]
fn limits_are_those_of_the_store_in_memory() {
    run(async {
        let cluster = Cluster::formed(3, |config| steady(config).limit(MAX_VALUE_LEN + 100)).await;
        limits_are_errors(cluster.store(0), 10).await;
        limits_are_errors(cluster.store(1), 10).await;
    });
}

#[test]
fn of_many_that_compare_and_set_at_once_exactly_one_wins() {
    run(async {
        let cluster = Cluster::formed(3, steady).await;
        let key = "race".parse().expect("a key");
        for round in 0..20_u8 {
            let before = cluster.store(0).get(&key).await.expect("an answer");
            let expected =
                before.map_or(Expected::Absent, |entry| Expected::Revision(entry.revision));
            let race = |index: usize| {
                let (key, value) = (key.clone(), Some(Arc::from([round].as_slice())));
                cluster.store(index % 3).write(Write { key, expected, value })
            };
            let results = tokio::join!(race(0), race(1), race(2), race(3), race(4), race(5));
            let results: [Result<_, StoreError>; 6] = results.into();
            let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "{lost:?}");
            for lost in lost {
                assert!(matches!(lost, Err(StoreError::Conflict { .. })), "{lost:?}");
            }
        }
    });
}

#[test]
fn leases_on_it_have_at_most_one_holder() {
    run(async {
        let cluster = Cluster::formed(3, steady).await;
        let mut runner = TestRunner::default();
        for round in 0..8 {
            let leases = Leases::on_store(cluster.store(round % 3).clone());
            leases.clock.advance(Duration::from_secs(1_000));
            let steps = steps().new_tree(&mut runner).expect("steps").current();
            // A new process watches the lease of the one before for all of its time.
            let _seen = leases.store.holder(&"db".parse().expect("a key")).await;
            leases.clock.advance(Duration::from_secs(10));
            at_most_one_holds_it(&leases, steps).await;
        }
        let leases = Leases::on_store(cluster.store(0).clone());
        let key = "db".parse().expect("a key");
        let _seen = leases.store.holder(&key).await;
        leases.clock.advance(Duration::from_secs(10));
        giving_back_ends_ones_own_lease_only(&leases).await;
        errors_say_who_holds_it(&leases).await;
    });
}
