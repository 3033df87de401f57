//! Who waits for a full pool: in order of priority and arrival, bounded in number and time.
//!
//! # Source
//!
//! HAProxy's queue: a server's `maxconn` with `timeout queue`, `maxqueue` and
//! `http-request set-priority-class`. Ours is one queue for the pool: whoever is first gets whichever
//! endpoint has room first.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::balancer::LoadBook;
use crate::bells::{Bells, Place};
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

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Queue {
    config: QueueConfig,
    bells: Bells<oneshot::Sender<()>>,
}

/// One who waits; gives its place up when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    queue: Arc<Queue>,
    place: Place,
    bell: oneshot::Receiver<()>,
}

/// Whether somebody heard it.
fn ring(bell: oneshot::Sender<()>) -> bool {
    bell.send(()).is_ok()
}

impl Queue {
    pub(crate) fn new(config: QueueConfig) -> Self {
        Self { config, bells: Bells::new() }
    }

    pub(crate) const fn config(&self) -> &QueueConfig {
        &self.config
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.bells.len()
    }

    /// Queues up; `None` if too many wait already.
    pub(crate) fn join(self: &Arc<Self>, priority: u8) -> Option<Waiter> {
        let (sender, bell) = oneshot::channel();
        let place = self.bells.join(priority, sender, self.config.max_len)?;
        Some(Waiter { queue: Arc::clone(self), place, bell })
    }

    /// A place is free: the first is to try.
    pub(crate) fn wake(&self) {
        self.bells.wake(ring);
    }

    /// Much has changed: all are to try, the first one first.
    pub(crate) fn wake_all(&self) {
        self.bells.wake_all(ring);
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
        self.queue.bells.is_first(self.place)
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
        let (sender, bell) = oneshot::channel();
        self.bell = bell;
        self.queue.bells.renew(self.place, sender);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.queue.bells.leave(self.place, ring);
    }
}
