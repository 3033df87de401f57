//! The live state of an endpoint: shared by all snapshots that contain it.

mod latency;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_core::time::Instant;
use serde::{Deserialize, Serialize};

use self::latency::Latency;
use crate::balancer::LoadBook;
use crate::snapshot::EndpointIndex;

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

/// The part of its share that an endpoint takes now: 1/256 to all of it, in parts of 256.
///
/// It is what slow start raises and what an agent's `50%` sets. A pick that would go to an endpoint
/// with a quarter of its share goes on to another one in three of four cases, so no table is built
/// anew when the part changes.
///
/// ```
/// use ha_lb::state::Share;
///
/// assert_eq!(Share::of_percent(50).parts(), 128);
/// assert_eq!(Share::of_percent(0), Share::LEAST, "0 is a matter of the weight or of draining");
/// assert_eq!(Share::of_percent(250), Share::WHOLE);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// All of it; the default.
    pub const WHOLE: Self = Self(256);
    /// The smallest: 1/256.
    pub const LEAST: Self = Self(1);

    /// So many hundredths; at least 1/256, at most all.
    #[must_use]
    pub fn of_percent(percent: u32) -> Self {
        let parts = u16::try_from(percent.min(100) * 256 / 100).unwrap_or(256);
        Self(parts.max(1))
    }

    /// So many parts of 256; at least 1, at most 256.
    #[must_use]
    pub const fn of_parts(parts: u16) -> Self {
        Self(if parts == 0 {
            1
        } else if parts > 256 {
            256
        } else {
            parts
        })
    }

    /// In parts of 256.
    #[must_use]
    pub const fn parts(self) -> u16 {
        self.0
    }

    /// Whether a pick with this random number is taken.
    pub(crate) const fn takes(self, number: u64) -> bool {
        self.0 >= 256 || number & 0xff < self.0 as u64
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// What is counted and known of one endpoint while the program runs.
///
/// What every pick reads and writes has a cache line of its own (64 bytes; 192 with name, address,
/// reason and the header of the `Arc`), so that two endpoints never share one. Reading is
/// wait-free.
#[derive(Debug)]
pub struct EndpointState {
    hot: Hot,
    name: EndpointName,
    address: SocketAddr,
    /// Why the health is what it is; off the hot path.
    reason: Mutex<Arc<str>>,
    /// Who is told when the load changes.
    hook: ArcSwapOption<Hook>,
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Hot {
    connections: AtomicU32,
    /// 0 is none.
    limit: AtomicU32,
    health: AtomicU8,
    admin: AtomicU8,
    ejected: AtomicBool,
    hooked: AtomicBool,
    /// In parts of 256; 0 is the whole.
    share: AtomicU16,
    latency: Latency,
    completed: AtomicU64,
    connect_failures: AtomicU64,
    failures: AtomicU64,
    abandoned: AtomicU64,
}

/// Where an endpoint stands in the books of its group.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) books: Arc<[Arc<dyn LoadBook>]>,
    pub(crate) index: EndpointIndex,
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
        Self { hot: Hot::default(), name, address, reason, hook: ArcSwapOption::empty() }
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

    /// Whether it was taken out because of how its work went, whatever its checks say.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.hot.ejected.load(Ordering::Relaxed)
    }

    /// The part of its share that it takes now.
    #[must_use]
    pub fn share(&self) -> Share {
        match self.hot.share.load(Ordering::Relaxed) {
            0 => Share::WHOLE,
            parts => Share::of_parts(parts),
        }
    }

    /// Whether it has as many connections as it may have.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let limit = self.hot.limit.load(Ordering::Relaxed);
        limit != 0 && self.connections() >= limit
    }

    /// How long its work takes: a moving average that follows peaks at once and forgets them with
    /// `decay`, as of `now`; `None` if nothing was measured.
    ///
    /// It is measured for balancers that ask for it: see
    /// [`Balancer::measures_latency`](crate::balancer::Balancer::measures_latency).
    #[must_use]
    pub fn latency(&self, now: Instant, decay: Duration) -> Option<Duration> {
        self.hot.latency.at(now, decay)
    }

    /// As [`latency`](Self::latency), as of the end of the last work that was measured.
    #[must_use]
    pub fn last_latency(&self) -> Option<Duration> {
        self.hot.latency.last()
    }

    /// Whether a connection more would wait less here than at `other`, by latency and connections;
    /// `None` if one of them was never measured.
    pub(crate) fn is_quicker_than(&self, other: &Self, decay: Duration) -> Option<bool> {
        #[expect(clippy::cast_precision_loss, reason = "a cost to compare by")]
        let queue = |state: &Self| (u64::from(state.connections()) + 1) as f32;
        self.hot.latency.is_below(queue(self), &other.hot.latency, queue(other), decay)
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
        let (completed, abandoned) = (read(&self.hot.completed), read(&self.hot.abandoned));
        let (connect_failures, failures) =
            (read(&self.hot.connect_failures), read(&self.hot.failures));
        let ended = [completed, connect_failures, failures, abandoned];
        let picks = ended.iter().fold(u64::from(self.connections()), |sum, n| sum.wrapping_add(*n));
        Totals { picks, completed, connect_failures, failures }
    }

    /// Whether health and operator allow new work; `trust_unchecked` decides on unknown health.
    pub(crate) fn is_open(&self, trust_unchecked: bool) -> bool {
        self.is_open_to_known(trust_unchecked) && self.admin() == Admin::Ready
    }

    /// Whether it takes work of clients that it has already: also while it is drained.
    pub(crate) fn is_open_to_known(&self, trust_unchecked: bool) -> bool {
        let healthy = match self.health() {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => trust_unchecked,
        };
        healthy && self.admin() != Admin::Maintenance && !self.is_ejected()
    }

    /// Counts one connection up, unless the limit is reached.
    pub(crate) fn acquire(&self) -> bool {
        let before = self.hot.connections.fetch_add(1, Ordering::Relaxed);
        let limit = self.hot.limit.load(Ordering::Relaxed);
        if limit != 0 && before >= limit {
            self.hot.connections.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.tell();
        true
    }

    /// Counts one connection down.
    pub(crate) fn release(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Completed => &self.hot.completed,
            Outcome::ConnectFailed => &self.hot.connect_failures,
            Outcome::Failed => &self.hot.failures,
            Outcome::Abandoned => &self.hot.abandoned,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.hot.connections.fetch_sub(1, Ordering::Relaxed);
        self.tell();
    }

    /// Takes a measured time into the average.
    pub(crate) fn note_latency(&self, now: Instant, took: Duration, decay: Duration) {
        self.hot.latency.note(now, took, decay);
    }

    pub(crate) fn set_limit(&self, limit: u32) {
        self.hot.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn set_share(&self, share: Share) {
        self.hot.share.store(share.parts(), Ordering::Relaxed);
    }

    pub(crate) fn set_hook(&self, hook: Option<Hook>) {
        let hooked = hook.is_some();
        self.hook.store(hook.map(Arc::new));
        self.hot.hooked.store(hooked, Ordering::Release);
    }

    /// Tells the books that something has changed.
    pub(crate) fn tell(&self) {
        if self.hot.hooked.load(Ordering::Acquire)
            && let Some(hook) = &*self.hook.load()
        {
            hook.books.iter().for_each(|book| book.note(hook.index, self));
        }
    }

    /// Takes it out, or puts it back; returns whether it was out before.
    pub(crate) fn set_ejected(&self, ejected: bool) -> bool {
        self.hot.ejected.swap(ejected, Ordering::Relaxed)
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
        self.set_reason(reason);
        before
    }

    pub(crate) fn set_reason(&self, reason: &str) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Arc::from(reason);
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
        assert!(size_of::<EndpointState>() <= 192);
    }
}
