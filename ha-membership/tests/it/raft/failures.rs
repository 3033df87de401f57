//! Nodes that die, come back, lag, and lose their disks.

use std::sync::Arc;
use std::time::Duration;

use ha_membership::Key;
use ha_membership::store::{ClusterStore, Formation, StoreError};

use super::cluster::{Cluster, LONG, run, until};
use crate::name;

fn key(index: usize) -> Key {
    format!("k/{index}").parse().expect("a key")
}

/// Writes until it is acknowledged: a leader may change, and it is not known whether it was.
async fn put(cluster: &Cluster, node: usize, index: usize) {
    let value: Arc<[u8]> = index.to_be_bytes().as_slice().into();
    let write = async {
        while let Err(error) = cluster.store(node).put(&key(index), Arc::clone(&value)).await {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        }
    };
    tokio::time::timeout(LONG, write).await.expect("acknowledged");
}

/// Everything that was acknowledged is there.
async fn all_is_there(cluster: &Cluster, node: usize, indices: std::ops::Range<usize>) {
    let (listed, _) = cluster.store(node).list("k/").await.expect("a list");
    for index in indices {
        let found = listed.iter().find(|(found, _)| *found == key(index));
        let value = found.map(|(_, entry)| entry.value.to_vec());
        assert_eq!(value, Some(index.to_be_bytes().to_vec()), "{index} is lost");
    }
}

#[test]
fn when_the_leader_is_gone_another_leads_and_all_that_was_acknowledged_is_there() {
    run(async {
        let mut cluster = Cluster::formed(3, |config| config).await;
        let mut last_term = 0;
        for round in 0..3 {
            let leader = cluster.leader().await;
            let term = cluster.store(leader).leadership().borrow().term.get();
            assert!(term > last_term, "each leader has a higher term");
            last_term = term;
            for index in 0..10 {
                put(&cluster, index % 3, 10 * round + index).await;
            }
            cluster.stop(leader).await;
            let next = cluster.leader().await;
            assert_ne!(next, leader);
            all_is_there(&cluster, next, 0..10 * (round + 1)).await;
            cluster.start(leader).await;
        }
    });
}

#[test]
fn everything_is_there_after_all_were_stopped_and_a_majority_is_enough_to_start() {
    run(async {
        let mut cluster = Cluster::formed(3, |config| config.snapshot_after(10)).await;
        for index in 0..30 {
            put(&cluster, index % 3, index).await;
        }
        for index in 0..3 {
            cluster.stop(index).await;
        }
        cluster.start(2).await;
        cluster.start(0).await;
        all_is_there(&cluster, 0, 0..30).await;
        put(&cluster, 2, 30).await;
        all_is_there(&cluster, 0, 0..31).await;
    });
}

#[test]
fn a_minority_cannot_write_and_says_why() {
    run(async {
        let mut cluster = Cluster::formed(3, |config| config).await;
        put(&cluster, 0, 0).await;
        cluster.stop(1).await;
        cluster.stop(2).await;
        cluster.stop(0).await;
        let config = cluster.config(0).patience(Duration::from_millis(1_500));
        cluster.start_with(0, config).await.expect("it opens");
        let store = cluster.store(0);
        let error = store.put(&key(1), (*b"x").into()).await.expect_err("no majority");
        let StoreError::Unavailable { source } = &error else { panic!("{error}") };
        assert!(source.to_string().contains("no answer in 1.5s"), "{source}");
        store.get(&key(0)).await.expect_err("no linearizable read either");
        until("what it knows can be looked at", || store.local_get(&key(0)).is_some()).await;
        assert!(!store.leadership().borrow().is_me);
    });
}

#[test]
fn a_leader_that_is_cut_off_leads_no_longer() {
    run(async {
        let cluster = Cluster::formed(3, |config| config).await;
        let leader = cluster.leader().await;
        cluster.channels(leader).set_peers([]);
        let mut leadership = cluster.store(leader).leadership();
        let wait = leadership.wait_for(|leadership| !leadership.is_me);
        tokio::time::timeout(LONG, wait).await.expect("in time").expect("it runs");
    });
}

#[test]
fn a_node_that_may_not_campaign_raises_no_terms_and_a_leader_goes_on_leading() {
    run(async {
        let mut cluster = Cluster::formed(3, |config| config).await;
        let leader = cluster.leader().await;
        for index in cluster.running() {
            cluster.store(index).set_campaigning(false);
        }
        let term = cluster.store(leader).leadership().borrow().term;
        put(&cluster, 0, 0).await;
        assert!(cluster.store(leader).leadership().borrow().is_me);
        cluster.stop(leader).await;
        let [one, other] = cluster.running()[..] else { panic!("two are left") };
        // The one that may stand is elected, by the one that may not.
        cluster.store(one).set_campaigning(true);
        assert_eq!(cluster.leader().await, one);
        let leadership = cluster.store(one).leadership().borrow().clone();
        assert!(leadership.term > term);
        let mut seen = cluster.store(other).leadership();
        seen.wait_for(|seen| seen.leader == Some(name(one))).await.expect("it runs");
    });
}

#[test]
fn a_node_that_lags_behind_what_is_purged_gets_a_snapshot() {
    run(async {
        let mut cluster = Cluster::formed(3, |config| config.snapshot_after(10)).await;
        let leader = cluster.leader().await;
        let lagging = (leader + 1) % 3;
        cluster.stop(lagging).await;
        for index in 0..100 {
            put(&cluster, leader, index).await;
        }
        cluster.start(lagging).await;
        all_is_there(&cluster, lagging, 0..100).await;
        put(&cluster, lagging, 100).await;
    });
}

#[test]
fn a_cluster_forms_only_when_all_members_are_there() {
    run(async {
        let mut cluster = Cluster::empty(3, |config| config);
        cluster.start(0).await;
        cluster.start(1).await;
        let mut formation = cluster.store(0).formation();
        let waiting = Formation::Waiting { on: [name(2)].into() };
        let wait = formation.wait_for(|formation| *formation == waiting);
        tokio::time::timeout(LONG, wait).await.expect("in time").expect("it runs");
        // Also if one of them is started anew meanwhile.
        cluster.stop(0).await;
        cluster.start(2).await;
        cluster.start(0).await;
        for index in 0..3 {
            cluster.is_member(index).await;
        }
        put(&cluster, 1, 0).await;
        all_is_there(&cluster, 2, 0..1).await;
    });
}

#[test]
fn a_node_that_lost_its_disk_catches_up_and_nothing_is_lost() {
    run(async {
        let mut cluster = Cluster::formed(3, |config| config.snapshot_after(20)).await;
        for round in 0..3 {
            let lost = round;
            for index in 0..25 {
                put(&cluster, index % 3, 25 * round + index).await;
            }
            cluster.lose_disk(lost).await;
            cluster.start(lost).await;
            cluster.is_member(lost).await;
            all_is_there(&cluster, lost, 0..25 * (round + 1)).await;
        }
    });
}

/// One node of three has an entry, one lags, and the third, which had it, loses its disk. Whether
/// the two that do not have it elect a leader between them.
async fn forgetful_majority(trust_empty_file: bool) -> (Cluster, [usize; 3]) {
    let mut cluster = Cluster::formed(3, |config| config).await;
    let leader = cluster.leader().await;
    let (lagging, lost) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.stop(lagging).await;
    put(&cluster, leader, 0).await;
    cluster.stop(leader).await;
    cluster.lose_disk(lost).await;
    cluster.start(lagging).await;
    let config = cluster.config(lost);
    let config = if trust_empty_file { config.trust_empty_file() } else { config };
    cluster.start_with(lost, config).await.expect("it opens");
    (cluster, [leader, lagging, lost])
}

#[test]
fn a_node_that_lost_its_disk_does_not_vote_before_it_has_caught_up() {
    run(async {
        let (mut cluster, [leader, lagging, lost]) = forgetful_majority(false).await;
        // Long enough for several elections: the lagging node stands, and is not elected.
        let mut leadership = cluster.store(lagging).leadership();
        let first = leadership.borrow().term;
        let stood = leadership.wait_for(|leadership| leadership.term.get() > first.get() + 2);
        tokio::time::timeout(LONG, stood).await.expect("in time").expect("it runs");
        assert_ne!(*cluster.store(lost).formation().borrow(), Formation::Member);
        assert!(
            cluster
                .running()
                .iter()
                .all(|index| { !cluster.store(*index).leadership().borrow().is_me })
        );
        cluster.start(leader).await;
        cluster.is_member(lost).await;
        all_is_there(&cluster, lost, 0..1).await;
    });
}

#[test]
fn without_that_rule_an_acknowledged_write_is_lost() {
    run(async {
        let (mut cluster, [leader, ..]) = forgetful_majority(true).await;
        let new = cluster.leader().await;
        assert!(cluster.store(new).get(&key(0)).await.expect("an answer").is_none());
        drop(cluster.file(leader));
        cluster.stop(new).await;
    });
}
