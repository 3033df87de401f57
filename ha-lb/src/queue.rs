//! Who waits for a full pool: in order of priority and arrival, bounded in number and time.
//!
//! # Source
//!
//! HAProxy's queue: a server's `maxconn` with `timeout queue`, `maxqueue` and
//! `http-request set-priority-class`. Ours is one queue for the pool: whoever is first gets whichever
//! endpoint has room first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::balancer::LoadBook;
use crate::snapshot::EndpointIndex;
use crate::state::EndpointState;

/// How long and how many wait while every endpoint is full.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::queue::QueueConfig;
///
/// let queue = QueueConfig::new(Duration::from_secs(5)).with_max_len(200);
/// assert_eq!((queue.timeout(), queue.max_len()), (Duration::from_secs(5), 200));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueConfig {
    timeout: Duration,
    max_len: usize,
}

impl QueueConfig {
    /// At most 1,024 wait, each for this time (HAProxy's `timeout queue`).
    #[must_use]
    pub const fn new(timeout: Duration) -> Self {
        Self { timeout, max_len: 1_024 }
    }

    /// Sets how many may wait; those beyond are refused at once (HAProxy's `maxqueue`). Default: 1,024.
    #[must_use]
    pub const fn with_max_len(mut self, max_len: usize) -> Self {
        self.max_len = max_len;
        self
    }

    /// How long one waits.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many may wait.
    #[must_use]
    pub const fn max_len(&self) -> usize {
        self.max_len
    }
}

/// Where a waiting one stands: priority first (0 is first), then arrival.
type Place = (u8, u64);

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Queue {
    config: QueueConfig,
    arrivals: AtomicU64,
    waiting: AtomicUsize,
    bells: Mutex<BTreeMap<Place, oneshot::Sender<()>>>,
}

/// One who waits; gives its place up when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    queue: Arc<Queue>,
    place: Place,
    bell: oneshot::Receiver<()>,
}

impl Queue {
    pub(crate) fn new(config: QueueConfig) -> Self {
        let (arrivals, waiting) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { config, arrivals, waiting, bells: Mutex::default() }
    }

    pub(crate) const fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Queues up; `None` if too many wait already.
    pub(crate) fn join(self: &Arc<Self>, priority: u8) -> Option<Waiter> {
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= self.config.max_len {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let place = (priority, self.arrivals.fetch_add(1, Ordering::Relaxed));
        let (ring, bell) = oneshot::channel();
        self.lock().insert(place, ring);
        // Whoever frees a place from now on sees that one waits: see `wake`.
        fence(Ordering::SeqCst);
        Some(Waiter { queue: Arc::clone(self), place, bell })
    }

    /// A place is free: the first is to try.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        while self.waiting.load(Ordering::Relaxed) > 0 {
            let Some((_, ring)) = self.lock().pop_first() else { return };
            // One that has gone away meanwhile leaves the place to the next.
            if ring.send(()).is_ok() {
                return;
            }
        }
    }

    /// Much has changed: all are to try, the first one first.
    pub(crate) fn wake_all(&self) {
        for (_, ring) in std::mem::take(&mut *self.lock()) {
            // Whoever has gone away does not hear it.
            ring.send(()).unwrap_or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, oneshot::Sender<()>>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoadBook for Queue {
    fn note(&self, _: EndpointIndex, state: &EndpointState) {
        if !state.is_full() {
            self.wake();
        }
    }

    fn set_usable(&self, index: EndpointIndex, usable: bool, state: &EndpointState) {
        if usable {
            self.note(index, state);
        }
    }
}

impl Waiter {
    /// Whether nobody is to be served before.
    pub(crate) fn is_first(&self) -> bool {
        self.queue.lock().first_key_value().is_none_or(|(first, _)| *first >= self.place)
    }

    /// Waits until it is to try.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(crate) async fn called(&mut self) {
        // The bell is taken down only to be rung.
        (&mut self.bell).await.unwrap_or_default();
        // Back to the same place at once: it may be that another one was faster.
        let (ring, bell) = oneshot::channel();
        self.bell = bell;
        self.queue.lock().insert(self.place, ring);
        fence(Ordering::SeqCst);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let was_there = self.queue.lock().remove(&self.place).is_some();
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        // It was called and does not come: the next is to try.
        if !was_there {
            self.queue.wake();
        }
    }
}
