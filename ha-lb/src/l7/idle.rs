//! Idle connections to endpoints, bounded in number and age.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_core::health::Health;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Config;
use super::upstream::Upstream;
use crate::state::EndpointState;

/// Idle connections by endpoint; those used last are taken first, so that the others can go.
#[derive(Debug)]
pub(super) struct IdlePool {
    most: usize,
    time: Duration,
    /// By the address of the endpoint's state, which the entry keeps alive.
    endpoints: Mutex<BTreeMap<usize, Idle>>,
}

#[derive(Debug)]
struct Idle {
    state: Arc<EndpointState>,
    /// In the order in which they became idle.
    connections: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    since: Instant,
    /// The endpoint's epoch of sessions when the connection was last used.
    epoch: u16,
    upstream: Upstream,
}

impl IdlePool {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            most: config.idle_connections(),
            time: config.idle_time(),
            endpoints: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Idle>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that another request can be sent on, if there is one.
    pub(super) fn take(&self, state: &Arc<EndpointState>) -> Option<Upstream> {
        let key = Arc::as_ptr(state).addr();
        loop {
            let Kept { epoch, mut upstream, .. } = self.lock().get_mut(&key)?.connections.pop()?;
            if epoch == state.session_epoch() && upstream.is_reusable() {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection whose last answer is complete, if it can be used again; `epoch` is that of
    /// the pick that it was used for.
    pub(super) fn put(&self, state: &Arc<EndpointState>, epoch: u16, mut upstream: Upstream) {
        if self.most == 0 || epoch != state.session_epoch() || !upstream.is_reusable() {
            return;
        }
        let key = Arc::as_ptr(state).addr();
        let mut endpoints = self.lock();
        let idle = endpoints
            .entry(key)
            .or_insert_with(|| Idle { state: Arc::clone(state), connections: Vec::new() });
        if idle.connections.len() >= self.most {
            idle.connections.remove(0);
        }
        idle.connections.push(Kept { since: Instant::now(), epoch, upstream });
    }

    /// Closes connections that are too old, that the endpoint has closed, or whose endpoint is
    /// unhealthy or had its sessions shut, again and again.
    pub(super) async fn keep_tidy(&self) -> Infallible {
        let mut ticks = interval((self.time / 2).max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            self.lock().retain(|_, idle| {
                let healthy = idle.state.health() != Health::Unhealthy;
                let epoch = idle.state.session_epoch();
                idle.connections.retain_mut(|kept| {
                    let fresh = kept.epoch == epoch && now - kept.since < self.time;
                    healthy && fresh && kept.upstream.is_reusable()
                });
                !idle.connections.is_empty()
            });
        }
    }
}
