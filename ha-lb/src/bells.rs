//! Who waits, and whom to call when a place becomes free: nobody waits beside a free place.
//!
//! Whoever frees a place looks for waiting ones after it; whoever waits looks for a free place after
//! it has queued up. A fence in both between the one and the other lets one of them see the other.

use std::collections::BTreeMap;
use std::sync::PoisonError;
#[cfg(not(all(test, loom)))]
use std::sync::{Mutex, MutexGuard};

#[cfg(all(test, loom))]
use loom::sync::{Mutex, MutexGuard};

use crate::resilience::atomics::{AtomicU64, AtomicUsize, Ordering, fence};

/// Where a waiting one stands: priority first (0 is first), then arrival.
pub(crate) type Place = (u8, u64);

/// The bells of those who wait, in their order.
#[derive(Debug)]
pub(crate) struct Bells<B> {
    arrivals: AtomicU64,
    waiting: AtomicUsize,
    by_place: Mutex<BTreeMap<Place, B>>,
}

impl<B> Bells<B> {
    pub(crate) fn new() -> Self {
        let (arrivals, waiting) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { arrivals, waiting, by_place: Mutex::new(BTreeMap::new()) }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Queues up; `None` if so many wait already. Look for a free place afterwards.
    pub(crate) fn join(&self, priority: u8, bell: B, max_len: usize) -> Option<Place> {
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= max_len {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let place = (priority, self.arrivals.fetch_add(1, Ordering::Relaxed));
        self.renew(place, bell);
        Some(place)
    }

    /// Back to the same place after a call. Look for a free place afterwards.
    pub(crate) fn renew(&self, place: Place, bell: B) {
        self.lock().insert(place, bell);
        // Whoever frees a place from now on sees that one waits: see `wake`.
        fence(Ordering::SeqCst);
    }

    /// A place was freed: the first who hears its bell is to try.
    pub(crate) fn wake(&self, ring: impl Fn(B) -> bool) {
        fence(Ordering::SeqCst);
        while self.waiting.load(Ordering::Relaxed) > 0 {
            let Some((_, bell)) = self.lock().pop_first() else { return };
            // One that has gone away meanwhile leaves the place to the next.
            if ring(bell) {
                return;
            }
        }
    }

    /// Much has changed: all are to try, the first one first.
    pub(crate) fn wake_all(&self, ring: impl Fn(B) -> bool) {
        for (_, bell) in std::mem::take(&mut *self.lock()) {
            // Whoever has gone away does not hear it.
            let _heard = ring(bell);
        }
    }

    /// Whether nobody is to be served before.
    pub(crate) fn is_first(&self, place: Place) -> bool {
        self.lock().first_key_value().is_none_or(|(first, _)| *first >= place)
    }

    /// Gives a place up; one that was called and does not come leaves the call to the next.
    pub(crate) fn leave(&self, place: Place, ring: impl Fn(B) -> bool) {
        let was_there = self.lock().remove(&place).is_some();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if !was_there {
            self.wake(ring);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, B>> {
        self.by_place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    use super::*;
    use crate::resilience::atomics::AtomicU32;

    /// A pool of one place, counted as an endpoint counts its connections.
    struct Pool {
        taken: AtomicU32,
        bells: Bells<Arc<AtomicBool>>,
    }

    fn ring(bell: Arc<AtomicBool>) -> bool {
        bell.store(true, Ordering::SeqCst);
        true
    }

    impl Pool {
        fn full() -> Arc<Self> {
            Arc::new(Self { taken: AtomicU32::new(1), bells: Bells::new() })
        }

        fn acquire(&self) -> bool {
            let free = self.taken.fetch_add(1, Ordering::Relaxed) == 0;
            if !free {
                self.taken.fetch_sub(1, Ordering::Relaxed);
            }
            free
        }

        fn release(&self) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            self.bells.wake(ring);
        }
    }

    /// Joins the queue and looks once; returns whether it got the place, its bell and its place.
    fn wait(pool: &Pool) -> (bool, Arc<AtomicBool>, Place) {
        let bell = Arc::new(AtomicBool::new(false));
        let place = pool.bells.join(0, Arc::clone(&bell), 8).unwrap();
        (pool.acquire(), bell, place)
    }

    #[test]
    fn loom_nobody_waits_beside_a_free_place() {
        loom::model(|| {
            let pool = Pool::full();
            let other = Arc::clone(&pool);
            let thread = thread::spawn(move || other.release());
            let (got, bell, _) = wait(&pool);
            thread.join().unwrap();
            assert!(got || bell.load(Ordering::SeqCst), "it would wait for ever");
        });
    }

    #[test]
    fn loom_one_that_is_called_and_goes_away_calls_the_next() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let pool = Pool::full();
            let (got, _, place) = wait(&pool);
            assert!(!got);
            let (got, second, _) = wait(&pool);
            assert!(!got);
            let other = Arc::clone(&pool);
            let thread = thread::spawn(move || other.release());
            // The first one is cancelled, before or after it was called.
            pool.bells.leave(place, ring);
            thread.join().unwrap();
            assert!(second.load(Ordering::SeqCst), "the place is free and it is next");
        });
    }
}
