//! The live state of an endpoint: shared by all snapshots that contain it.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ha_core::health::Health;
use ha_core::id::EndpointName;
use serde::{Deserialize, Serialize};

/// How the work ended that an endpoint was picked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Completed,
    /// No connection came about: nothing was sent.
    ConnectFailed,
    /// The endpoint failed after the connection was there.
    Failed,
    /// Nothing is known: the client went away, or the guard was dropped.
    Abandoned,
}

/// What an operator wants of an endpoint (HAProxy's `set server … state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Admin {
    /// Takes work if it is healthy.
    #[default]
    Ready,
    /// Takes no new work; what it has goes on, and so do health checks.
    Drain,
    /// Takes no new work and is not checked.
    Maintenance,
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        })
    }
}

/// What is counted and known of one endpoint while the program runs.
///
/// The counters that every pick writes have a cache line of their own (64 bytes, 128 with the
/// header of their `Arc`), so that two endpoints never share one. Reading is wait-free.
#[derive(Debug)]
pub struct EndpointState {
    hot: Hot,
    name: EndpointName,
    address: SocketAddr,
    /// Why the health is what it is; off the hot path.
    reason: Mutex<Arc<str>>,
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Hot {
    connections: AtomicU32,
    health: AtomicU8,
    admin: AtomicU8,
    picks: AtomicU64,
    completed: AtomicU64,
    connect_failures: AtomicU64,
    failures: AtomicU64,
}

/// Counters of one endpoint since it joined the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// How often it was picked.
    pub picks: u64,
    /// Picks that ended well.
    pub completed: u64,
    /// Picks that ended because no connection came about.
    pub connect_failures: u64,
    /// Picks that failed after the connection was there.
    pub failures: u64,
}

impl EndpointState {
    pub(crate) fn new(name: EndpointName, address: SocketAddr) -> Self {
        let reason = Mutex::new(Arc::from("not checked yet"));
        Self { hot: Hot::default(), name, address, reason }
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &EndpointName {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many picks are in use now.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.hot.connections.load(Ordering::Relaxed)
    }

    /// Whether its checks pass.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.hot.health.load(Ordering::Relaxed) {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    /// What the operator wants of it.
    #[must_use]
    pub fn admin(&self) -> Admin {
        match self.hot.admin.load(Ordering::Relaxed) {
            1 => Admin::Drain,
            2 => Admin::Maintenance,
            _ => Admin::Ready,
        }
    }

    /// Why its health is what it is, in words.
    #[must_use]
    pub fn reason(&self) -> Arc<str> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The counters.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            picks: read(&self.hot.picks),
            completed: read(&self.hot.completed),
            connect_failures: read(&self.hot.connect_failures),
            failures: read(&self.hot.failures),
        }
    }

    /// Whether health and operator allow new work; `trust_unchecked` decides on unknown health.
    pub(crate) fn is_open(&self, trust_unchecked: bool) -> bool {
        let healthy = match self.health() {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => trust_unchecked,
        };
        healthy && self.admin() == Admin::Ready
    }

    /// Counts one connection up, unless `limit` is reached.
    pub(crate) fn acquire(&self, limit: Option<NonZeroU32>) -> bool {
        let before = self.hot.connections.fetch_add(1, Ordering::Relaxed);
        if limit.is_some_and(|limit| before >= limit.get()) {
            self.hot.connections.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.hot.picks.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Counts one connection down.
    pub(crate) fn release(&self, outcome: Outcome) {
        self.hot.connections.fetch_sub(1, Ordering::Relaxed);
        let counter = match outcome {
            Outcome::Completed => &self.hot.completed,
            Outcome::ConnectFailed => &self.hot.connect_failures,
            Outcome::Failed => &self.hot.failures,
            Outcome::Abandoned => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the health; returns the one before.
    pub(crate) fn set_health(&self, health: Health, reason: &str) -> Health {
        let before = self.health();
        let code = match health {
            Health::Unknown => 0,
            Health::Healthy => 1,
            Health::Unhealthy => 2,
        };
        self.hot.health.store(code, Ordering::Relaxed);
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from(reason);
        before
    }

    /// Sets the operator's will; returns the one before.
    pub(crate) fn set_admin(&self, admin: Admin) -> Admin {
        let before = self.admin();
        let code = match admin {
            Admin::Ready => 0,
            Admin::Drain => 1,
            Admin::Maintenance => 2,
        };
        self.hot.admin.store(code, Ordering::Relaxed);
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_counters_have_a_cache_line_of_their_own() {
        assert_eq!((size_of::<Hot>(), align_of::<Hot>()), (64, 64));
        assert_eq!(align_of::<EndpointState>(), 64);
    }
}
