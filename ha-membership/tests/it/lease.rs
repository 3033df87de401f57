//! At most one holder at a time, and tokens that grow.

use std::sync::Arc;
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::FencingToken;
use ha_core::time::{Clock, ManualClock};
use ha_membership::Key;
use ha_membership::lease::{Lease, LeaseError, LeaseStore, MemoryLeases, StoreLeases};
use ha_membership::store::MemoryStore;
use proptest::prelude::*;

use super::{block_on, name};

/// A step of a test.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Acquire { node: usize, ttl_ms: u64 },
    Renew { node: usize, ttl_ms: u64 },
    Release { node: usize },
    Wait { ms: u64 },
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..4, 10u64..500).prop_map(|(node, ttl_ms)| Step::Acquire { node, ttl_ms }),
        (0usize..4, 10u64..500).prop_map(|(node, ttl_ms)| Step::Renew { node, ttl_ms }),
        (0usize..4).prop_map(|node| Step::Release { node }),
        (0u64..300).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 0..80)
}

fn key() -> Key {
    Key::new("db").expect("a key")
}

/// A store of leases whose clock a test moves.
pub(crate) struct Leases {
    pub(crate) store: Arc<dyn LeaseStore>,
    pub(crate) clock: Arc<ManualClock>,
    /// How much longer than a time to live others wait.
    pub(crate) margin: fn(Duration) -> Duration,
}

impl Leases {
    fn in_memory() -> Self {
        let clock = Arc::new(ManualClock::default());
        // Through two pointers, so that forwarding is tested, too.
        let store = Arc::new(MemoryLeases::with_clock(Arc::clone(&clock)));
        Self { store, clock, margin: |_| Duration::ZERO }
    }

    pub(crate) fn on_store<S: ha_membership::store::ClusterStore + 'static>(store: S) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = Arc::new(StoreLeases::with_clock(store, Arc::clone(&clock)));
        Self { store, clock, margin: |ttl| Duration::from_millis(50) + ttl / 20 }
    }

    /// Waits until a lease that is not renewed is free.
    fn outlive(&self, ttl: Duration) {
        self.clock.advance(ttl + (self.margin)(ttl));
    }
}

/// At most one holds a lease at any time, and tokens grow.
pub(crate) async fn at_most_one_holds_it(leases: &Leases, steps: Vec<Step>) {
    let Leases { store, clock, .. } = leases;
    let mut held: [Option<Lease>; 4] = [const { None }; 4];
    let mut last_token = FencingToken::new(0);
    for step in steps {
        match step {
            Step::Acquire { node, ttl_ms } => {
                let ttl = Duration::from_millis(ttl_ms);
                if let Ok(lease) = store.acquire(&key(), &name(node), ttl).await {
                    assert!(lease.granted_token() > last_token, "tokens grow");
                    last_token = lease.granted_token();
                    held[node] = Some(lease);
                }
            }
            Step::Renew { node, ttl_ms } => {
                if let Some(lease) = &held[node] {
                    let ttl = Duration::from_millis(ttl_ms);
                    let valid = lease.token(clock.now()).is_ok();
                    let renewed = store.renew(lease, ttl).await;
                    assert_eq!(renewed.is_ok(), valid, "renewed if and only if valid");
                    if let Ok(renewed) = renewed {
                        assert_eq!(renewed.granted_token(), lease.granted_token());
                        held[node] = Some(renewed);
                    }
                }
            }
            Step::Release { node } => {
                if let Some(lease) = held[node].take() {
                    store.release(lease).await.expect("an answer");
                }
            }
            Step::Wait { ms } => clock.advance(Duration::from_millis(ms)),
        }
        let now = clock.now();
        let holders: Vec<_> =
            held.iter().flatten().filter(|lease| lease.token(now).is_ok()).collect();
        assert!(holders.len() <= 1, "two holders: {holders:?}");
        let known = store.holder(&key()).await.expect("an answer");
        if let Some(lease) = holders.first() {
            assert_eq!(known, Some((lease.holder().clone(), lease.granted_token())));
        }
    }
    clock.advance(Duration::from_secs(10));
    assert_eq!(store.holder(&key()).await.expect("an answer"), None, "nobody holds it for ever");
}

proptest! {
    #[test]
    fn at_most_one_holds_it_at_any_time_and_tokens_grow(steps in steps()) {
        block_on(at_most_one_holds_it(&Leases::in_memory(), steps.clone()));
        block_on(at_most_one_holds_it(&Leases::on_store(MemoryStore::new()), steps));
    }

    /// Two nodes on one store, whose clocks run at different rates.
    #[test]
    fn at_most_one_holds_it_when_clocks_run_at_different_rates(
        turns in prop::collection::vec((0usize..2, any::<bool>(), 1u64..400), 1..80),
        drift in 0usize..2,
    ) {
        let store = Arc::new(MemoryStore::new());
        let clocks = [(); 2].map(|()| Arc::new(ManualClock::default()));
        let leases = clocks.clone().map(|clock| StoreLeases::with_clock(Arc::clone(&store), clock));
        let mut held: [Option<Lease>; 2] = [None, None];
        let ttl = Duration::from_millis(300);
        for (node, acquire, ms) in turns {
            if acquire {
                if let Ok(lease) = block_on(leases[node].acquire(&key(), &name(node), ttl)) {
                    held[node] = Some(lease);
                }
            } else if let Some(Ok(lease)) =
                held[node].as_ref().map(|lease| block_on(leases[node].renew(lease, ttl)))
            {
                held[node] = Some(lease);
            }
            // One of the clocks is slow by 4 %, so that its holder believes in its lease longer.
            clocks[drift].advance(Duration::from_micros(ms * 960));
            clocks[1 - drift].advance(Duration::from_micros(ms * 1_000));
            let valid = |node: usize| {
                held[node].as_ref().is_some_and(|lease| lease.token(clocks[node].now()).is_ok())
            };
            prop_assert!(!(valid(0) && valid(1)), "two holders: {:?}", held);
        }
    }
}

/// Errors say who holds it and what to do, and that nothing happened.
pub(crate) async fn errors_say_who_holds_it(leases: &Leases) {
    let Leases { store, clock, margin } = leases;
    let ttl = Duration::from_secs(5);
    let lease = store.acquire(&key(), &name(1), ttl).await.expect("free");
    let held = store.acquire(&key(), &name(1), ttl).await.expect_err("not even itself");
    let LeaseError::Held { remaining, .. } = &held else { return assert_eq!(held.to_string(), "") };
    assert_eq!(*remaining, ttl + margin(ttl));
    assert_eq!(
        held.to_string(),
        format!("cannot take lease db: n1 holds it; wait {remaining:?} or let n1 give it back")
    );
    clock.advance(ttl);
    let lost = store.renew(&lease, ttl).await.expect_err("ended");
    assert!(matches!(lost, LeaseError::Lost { .. }));
    let short = store.acquire(&key(), &name(1), Duration::ZERO).await.expect_err("no time");
    for error in [held, lost, short] {
        assert_eq!(error.effect(), Effect::None);
    }
}

#[test]
fn errors_say_who_holds_it_and_what_to_do_and_that_nothing_happened() {
    block_on(errors_say_who_holds_it(&Leases::in_memory()));
    block_on(errors_say_who_holds_it(&Leases::on_store(MemoryStore::new())));
    let gone = LeaseError::Unavailable { name: key(), source: std::io::Error::other("down") };
    assert_eq!(gone.effect(), Effect::Unknown);
}

/// A lease that was given back late does not end that of the next; one in time frees it at once.
pub(crate) async fn giving_back_ends_ones_own_lease_only(leases: &Leases) {
    let store = &leases.store;
    let ttl = Duration::from_secs(5);
    let first = store.acquire(&key(), &name(1), ttl).await.expect("free");
    leases.outlive(ttl);
    let second = store.acquire(&key(), &name(2), ttl).await.expect("free again");
    store.release(first).await.expect("an answer");
    let holder = store.holder(&key()).await.expect("an answer");
    assert_eq!(holder, Some((name(2), second.granted_token())));
    let token = second.granted_token();
    let copy = second.clone();
    store.release(second).await.expect("an answer");
    assert_eq!(store.holder(&key()).await.expect("an answer"), None);
    let third = store.acquire(&key(), &name(3), ttl).await.expect("at once");
    let lost = store.renew(&copy, ttl).await.expect_err("given back");
    assert!(matches!(lost, LeaseError::Lost { .. }), "{lost}");
    assert!(third.granted_token() > token);
    store.release(third).await.expect("an answer");
}

#[test]
fn a_lease_that_was_given_back_late_does_not_end_that_of_the_next() {
    block_on(giving_back_ends_ones_own_lease_only(&Leases::in_memory()));
    block_on(giving_back_ends_ones_own_lease_only(&Leases::on_store(MemoryStore::new())));
}

#[test]
fn whoever_sees_a_lease_for_the_first_time_watches_it_for_all_of_its_time() {
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(ManualClock::default());
        let new = || StoreLeases::with_clock(Arc::clone(&store), Arc::clone(&clock));
        let ttl = Duration::from_secs(5);
        let _lost = new().acquire(&key(), &name(1), ttl).await.expect("free");
        clock.advance(ttl * 10);
        let late = new();
        let held = late.acquire(&key(), &name(2), ttl).await.expect_err("not seen before");
        assert!(matches!(held, LeaseError::Held { .. }), "{held}");
        clock.advance(ttl + late.margin(ttl));
        let _lease = late.acquire(&key(), &name(2), ttl).await.expect("watched long enough");
    });
}

#[test]
fn a_record_that_is_no_lease_and_a_name_that_is_too_long_are_errors() {
    use ha_membership::store::ClusterStore;
    block_on(async {
        let store = Arc::new(MemoryStore::new());
        let leases = StoreLeases::new(Arc::clone(&store));
        store.put(&"leases/db".parse().expect("a key"), (*b"x").into()).await.expect("room");
        let error = leases.holder(&key()).await.expect_err("no lease");
        assert!(matches!(error, LeaseError::Unavailable { .. }), "{error}");
        let long = Key::new(&"x".repeat(1024)).expect("a key");
        let error = leases.holder(&long).await.expect_err("too long");
        assert!(matches!(error, LeaseError::Name { .. }), "{error}");
        assert_eq!(error.effect(), Effect::None);
    });
}
