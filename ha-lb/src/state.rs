//! The live state of an endpoint: shared by all snapshots that contain it.

mod agent;
pub(crate) mod faults;
mod latency;
mod sessions;
mod share;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_core::time::Instant;
use serde::{Deserialize, Serialize};

pub use self::faults::Runs;
pub use self::sessions::Closing;
pub use self::share::{Share, ShareSource};

use self::agent::AgentWord;
use self::faults::{RunCounter, Sentinel};
use self::latency::Latency;
use self::sessions::Sessions;
use crate::balancer::LoadBook;
use crate::endpoint::Weight;
use crate::health::agent::{AgentState, AgentWeight};
use crate::snapshot::EndpointIndex;

/// How the work ended that an endpoint was picked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Completed,
    /// No connection came about: nothing was sent.
    ConnectFailed,
    /// It answered with an error: HTTP 500 or any other of 500 to 599 but those of a gateway.
    ErrorAnswer,
    /// The connection was there, and broke or brought no answer.
    Failed,
    /// It answered with the error of a gateway: HTTP 502, 503 or 504.
    GatewayError,
    /// Nothing is known: the client went away, or the guard was dropped.
    Abandoned,
}

impl Outcome {
    /// The outcome of work that was answered with this HTTP status.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            502..=504 => Self::GatewayError,
            500..=599 => Self::ErrorAnswer,
            _ => Self::Completed,
        }
    }

    /// Whether the endpoint did answer, so that the time it took says something.
    pub(crate) const fn is_timed(self) -> bool {
        match self {
            Self::Completed | Self::ErrorAnswer | Self::Failed | Self::GatewayError => true,
            Self::Abandoned | Self::ConnectFailed => false,
        }
    }
}

/// What an operator wants of an endpoint (HAProxy's `set server … state`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
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
/// What every pick reads and writes has a cache line of its own (64 bytes; 192 with name, address and
/// reason), so that two endpoints never share one. Reading is wait-free.
#[derive(Debug)]
pub struct EndpointState {
    hot: Hot,
    name: EndpointName,
    address: SocketAddr,
    /// Who is told when the load changes.
    hook: ArcSwapOption<Hook>,
    /// Why the health is what it is; off the hot path.
    reason: Mutex<Arc<str>>,
    cold: OnceLock<Box<Cold>>,
}

/// What good work does not touch, unless its time is taken; made when it is first needed, as most
/// endpoints of a large pool never do.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cold {
    error_answers: AtomicU64,
    gateway_errors: AtomicU64,
    /// All measured times together, in ns.
    busy: AtomicU64,
    timed: AtomicU64,
    agent: AgentWord,
    sessions: Sessions,
    /// Who is told of errors: a watch on outliers, a monitor.
    outliers: ArcSwapOption<Box<dyn Sentinel>>,
    monitor: ArcSwapOption<Box<dyn Sentinel>>,
}

/// Who wants to be told of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    #[cfg(feature = "tokio")]
    Monitor,
    Outliers,
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Hot {
    connections: AtomicU32,
    /// 0 is none.
    limit: AtomicU32,
    health: AtomicU8,
    /// The operator's will and the agent's.
    admin: AtomicU8,
    ejected: AtomicBool,
    hooked: AtomicBool,
    /// In parts of 256; 0 is the whole.
    share: AtomicU16,
    /// Changes when those who work with it are to stop.
    sessions: AtomicU16,
    latency: Latency,
    runs: RunCounter,
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
    /// Picks that failed after the connection was there, without an answer.
    pub failures: u64,
    /// Picks that were answered with an error, but not that of a gateway.
    pub error_answers: u64,
    /// Picks that were answered with the error of a gateway.
    pub gateway_errors: u64,
    /// How many picks had their time taken.
    pub timed: u64,
    /// All times that were taken, together.
    pub busy: Duration,
}

impl EndpointState {
    pub(crate) fn new(name: EndpointName, address: SocketAddr) -> Self {
        let reason = Mutex::new(Arc::from("not checked yet"));
        let hook = ArcSwapOption::empty();
        Self { hot: Hot::default(), name, address, hook, reason, cold: OnceLock::new() }
    }

    fn cold(&self) -> &Cold {
        self.cold.get_or_init(Box::default)
    }

    fn agent_weight(&self) -> Option<AgentWeight> {
        // Most have none, and their bits are at hand.
        let has_weight = agent::has_weight(self.hot.admin.load(Ordering::Relaxed));
        if has_weight { self.cold.get()?.agent.weight() } else { None }
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
        agent::operator(self.hot.admin.load(Ordering::Relaxed))
    }

    /// What its agent wants of it: `Drain` also if it reports a weight of 0.
    #[must_use]
    pub fn agent_admin(&self) -> Admin {
        agent::agent(self.hot.admin.load(Ordering::Relaxed))
    }

    /// Whether its agent says that it is down, whatever its checks say.
    #[must_use]
    pub fn is_agent_down(&self) -> bool {
        agent::is_down(self.hot.admin.load(Ordering::Relaxed))
    }

    /// What operator and agent together want of it: the stricter of the two.
    #[must_use]
    pub fn effective_admin(&self) -> Admin {
        self.admin().max(self.agent_admin())
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
        let cold = |counter: fn(&Cold) -> &AtomicU64| {
            self.cold.get().map_or(0, |cold| read(counter(cold)))
        };
        let error_answers = cold(|cold| &cold.error_answers);
        let gateway_errors = cold(|cold| &cold.gateway_errors);
        let ended =
            [completed, connect_failures, failures, abandoned, error_answers, gateway_errors];
        let picks = ended.iter().fold(u64::from(self.connections()), |sum, n| sum.wrapping_add(*n));
        let (timed, busy) = (cold(|cold| &cold.timed), cold(|cold| &cold.busy));
        let busy = Duration::from_nanos(busy);
        Totals {
            picks,
            completed,
            connect_failures,
            failures,
            error_answers,
            gateway_errors,
            timed,
            busy,
        }
    }

    /// How many errors in a row it has made.
    #[must_use]
    pub fn runs(&self) -> Runs {
        self.hot.runs.runs()
    }

    /// Whether health and operator allow new work; `trust_unchecked` decides on unknown health.
    pub(crate) fn is_open(&self, trust_unchecked: bool) -> bool {
        self.is_open_to_known(trust_unchecked) && self.effective_admin() == Admin::Ready
    }

    /// Whether it takes work of clients that it has already: also while it is drained.
    pub(crate) fn is_open_to_known(&self, trust_unchecked: bool) -> bool {
        let healthy = match self.health() {
            Health::Healthy => true,
            Health::Unhealthy => false,
            Health::Unknown => trust_unchecked,
        };
        healthy
            && self.effective_admin() != Admin::Maintenance
            && !self.is_agent_down()
            && !self.is_ejected()
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
            Outcome::ErrorAnswer => &self.cold().error_answers,
            Outcome::Failed => &self.hot.failures,
            Outcome::GatewayError => &self.cold().gateway_errors,
            Outcome::Abandoned => &self.hot.abandoned,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.hot.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(runs) = self.hot.runs.note(outcome)
            && let Some(cold) = self.cold.get()
        {
            for listener in [&cold.outliers, &cold.monitor] {
                if let Some(listener) = &*listener.load() {
                    listener.failed(runs);
                }
            }
        }
        self.tell();
    }

    /// Has errors told to a listener; `None` to nobody.
    pub(crate) fn listen(&self, who: Listener, sentinel: Option<Arc<Box<dyn Sentinel>>>) {
        match who {
            #[cfg(feature = "tokio")]
            Listener::Monitor => self.cold().monitor.store(sentinel),
            Listener::Outliers => self.cold().outliers.store(sentinel),
        }
    }

    /// A number that changes when those who work with it are to stop.
    pub(crate) fn session_epoch(&self) -> u16 {
        self.hot.sessions.load(Ordering::Relaxed)
    }

    /// Tells all who work with it now to stop.
    pub(crate) fn shut_sessions(&self) {
        self.hot.sessions.fetch_add(1, Ordering::Relaxed);
        self.cold().sessions.wake_all();
    }

    /// Takes a measured time into the average.
    pub(crate) fn note_latency(&self, now: Instant, took: Duration, decay: Duration) {
        self.hot.latency.note(now, took, decay);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.cold().busy.fetch_add(nanos, Ordering::Relaxed);
        self.cold().timed.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the limit of the list; the agent's goes before it.
    pub(crate) fn set_limit(&self, listed: u32) {
        let reported = agent::has_limit(self.hot.admin.load(Ordering::Relaxed));
        let reported = if reported { self.cold().agent.max_connections() } else { None };
        self.hot.limit.store(reported.unwrap_or(listed), Ordering::Relaxed);
    }

    /// Takes over what the agent reports; its limit and weight count once the list's are
    /// set anew.
    pub(crate) fn set_agent(&self, agent: &AgentState) {
        self.cold().agent.set(agent);
        let bits = |word| Some(agent::with_agent(word, agent));
        // It never gives up: `bits` always has an answer.
        self.hot.admin.fetch_update(Ordering::Relaxed, Ordering::Relaxed, bits).unwrap_or_default();
    }

    /// The weight of an endpoint whose list says `listed`: a larger one, if its agent says so.
    pub(crate) fn weight_for(&self, listed: Weight) -> Weight {
        let reported = self.agent_weight().map(|weight| weight.of(listed));
        reported.unwrap_or(listed).max(listed)
    }

    /// The part of its share that the agent wants it to take.
    pub(crate) fn agent_share(&self, listed: Weight) -> Share {
        self.agent_weight().map_or(Share::WHOLE, |weight| weight.share_of(listed))
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
        let bits = |word| Some(agent::with_operator(word, admin));
        // It never gives up: `bits` always has an answer.
        self.hot.admin.fetch_update(Ordering::Relaxed, Ordering::Relaxed, bits).unwrap_or_default();
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
