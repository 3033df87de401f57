//! At most one holder at a time, and tokens that grow.

use std::sync::Arc;
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::FencingToken;
use ha_core::time::{Clock, ManualClock};
use ha_membership::Key;
use ha_membership::lease::{Lease, LeaseError, LeaseStore, MemoryLeases};
use proptest::prelude::*;

use super::{block_on, name};

#[derive(Debug, Clone)]
enum Step {
    Acquire { node: usize, ttl_ms: u64 },
    Renew { node: usize, ttl_ms: u64 },
    Release { node: usize },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
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

proptest! {
    #[test]
    fn at_most_one_holds_it_at_any_time_and_tokens_grow(steps in steps()) {
        let clock = Arc::new(ManualClock::default());
        // Through two pointers, so that forwarding is tested, too.
        let store: Arc<dyn LeaseStore> = Arc::new(MemoryLeases::with_clock(Arc::clone(&clock)));
        let mut held: [Option<Lease>; 4] = [const { None }; 4];
        let mut last_token = FencingToken::new(0);
        for step in steps {
            match step {
                Step::Acquire { node, ttl_ms } => {
                    let ttl = Duration::from_millis(ttl_ms);
                    if let Ok(lease) = block_on(store.acquire(&key(), &name(node), ttl)) {
                        prop_assert!(lease.granted_token() > last_token, "tokens grow");
                        last_token = lease.granted_token();
                        held[node] = Some(lease);
                    }
                }
                Step::Renew { node, ttl_ms } => {
                    if let Some(lease) = &held[node] {
                        let ttl = Duration::from_millis(ttl_ms);
                        let valid = lease.token(clock.now()).is_ok();
                        let renewed = block_on(store.renew(lease, ttl));
                        prop_assert_eq!(renewed.is_ok(), valid, "renewed if and only if valid");
                        if let Ok(renewed) = renewed {
                            prop_assert_eq!(renewed.granted_token(), lease.granted_token());
                            held[node] = Some(renewed);
                        }
                    }
                }
                Step::Release { node } => {
                    if let Some(lease) = held[node].take() {
                        prop_assert!(block_on(store.release(lease)).is_ok());
                    }
                }
                Step::Wait { ms } => clock.advance(Duration::from_millis(ms)),
            }
            let now = clock.now();
            let holders: Vec<_> =
                held.iter().flatten().filter(|lease| lease.token(now).is_ok()).collect();
            prop_assert!(holders.len() <= 1, "two holders: {:?}", holders);
            let known = block_on(store.holder(&key())).expect("memory");
            let mine = holders.first().map(|lease| (lease.holder().clone(), lease.granted_token()));
            prop_assert_eq!(known, mine);
        }
    }
}

#[test]
fn errors_say_who_holds_it_and_what_to_do_and_that_nothing_happened() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryLeases::with_clock(Arc::clone(&clock));
    let ttl = Duration::from_secs(5);
    let lease = block_on(store.acquire(&key(), &name(1), ttl)).expect("free");
    let held = block_on(store.acquire(&key(), &name(1), ttl)).expect_err("not even itself");
    assert_eq!(
        held.to_string(),
        "cannot take lease db: n1 holds it; wait 5s or let n1 give it back"
    );
    clock.advance(ttl);
    let lost = block_on(store.renew(&lease, ttl)).expect_err("ended");
    assert!(matches!(lost, LeaseError::Lost { .. }));
    let short = block_on(store.acquire(&key(), &name(1), Duration::ZERO)).expect_err("no time");
    for error in [held, lost, short] {
        assert_eq!(error.effect(), Effect::None);
    }
    let gone = LeaseError::Unavailable { name: key(), source: std::io::Error::other("down") };
    assert_eq!(gone.effect(), Effect::Unknown);
}

#[test]
fn a_lease_that_was_given_back_late_does_not_end_that_of_the_next() {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryLeases::with_clock(Arc::clone(&clock));
    let ttl = Duration::from_secs(5);
    let first = block_on(store.acquire(&key(), &name(1), ttl)).expect("free");
    clock.advance(ttl);
    let second = block_on(store.acquire(&key(), &name(2), ttl)).expect("free again");
    block_on(store.release(first)).expect("memory");
    let holder = block_on(store.holder(&key())).expect("memory");
    assert_eq!(holder, Some((name(2), second.granted_token())));
}
