//! What happens when an endpoint is marked down or up.

use std::fmt;
use std::sync::Arc;

use ha_core::event::{Event, EventKind, Observer};
use ha_core::health::Health;
use ha_core::time::Instant;

use crate::endpoint::Endpoint;
use crate::health::agent::AgentState;
use crate::pool::Pool;
use crate::state::{Admin, EndpointState};

/// A turn of an endpoint's health, by its checks or its agent.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Turn<'a> {
    /// The pool that the endpoint is in.
    pub pool: &'a Pool,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Its live state; the turn is in it already.
    pub state: &'a Arc<EndpointState>,
    /// The health before.
    pub from: Health,
    /// The health now.
    pub to: Health,
    /// Why, in words.
    pub reason: &'a str,
}

impl Turn<'_> {
    /// Whether it was marked down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.to == Health::Unhealthy
    }

    /// Whether it was marked up: it came back, or passed its first check.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.to == Health::Healthy
    }
}

/// Somebody who acts when the health of an endpoint turns (HAProxy's `on-marked-down` and
/// `on-marked-up`); see [`FnHook`] for closures.
///
/// Called from the driver that saw the turn: return soon and do not block.
pub trait Hook: fmt::Debug + Send + Sync {
    /// Acts on a turn.
    fn turned(&self, turn: &Turn<'_>);
}

impl<H: Hook + ?Sized> Hook for Arc<H> {
    fn turned(&self, turn: &Turn<'_>) {
        (**self).turned(turn);
    }
}

/// Shuts the sessions of an endpoint that is marked down (HAProxy's
/// `on-marked-down shutdown-sessions`).
///
/// Right for databases, whose clients would otherwise wait on a dead connection. All that wait for
/// [`Pick::closing`](crate::pick::Pick::closing) end their work; the proxies do.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ShutSessions;

impl ShutSessions {
    /// The hook; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Hook for ShutSessions {
    fn turned(&self, turn: &Turn<'_>) {
        if turn.is_down() {
            turn.pool.shut_sessions(turn.endpoint.name());
        }
    }
}

/// Shuts the sessions of all backups when a regular endpoint is marked up (HAProxy's
/// `on-marked-up shutdown-backup-sessions`).
///
/// Right where two endpoints must not be written to for long: the clients of a backup come back to the
/// regular one.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ShutBackupSessions;

impl ShutBackupSessions {
    /// The hook; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Hook for ShutBackupSessions {
    fn turned(&self, turn: &Turn<'_>) {
        if turn.is_up() && !turn.endpoint.is_backup() {
            let snapshot = turn.pool.snapshot();
            for (endpoint, _) in snapshot.iter().filter(|(endpoint, _)| endpoint.is_backup()) {
                turn.pool.shut_sessions(endpoint.name());
            }
        }
    }
}

/// A hook that is a closure.
///
/// ```
/// use ha_lb::health::monitor::{FnHook, Turn};
///
/// let hook = FnHook::new(|turn: &Turn<'_>| {
///     if turn.is_down() {
///         println!("{} is down: {}", turn.endpoint.name(), turn.reason);
///     }
/// });
/// # let _: &dyn ha_lb::health::monitor::Hook = &hook;
/// ```
pub struct FnHook<F>(F);

impl<F: Fn(&Turn<'_>) + Send + Sync> FnHook<F> {
    /// A hook that calls `act`.
    #[must_use]
    pub const fn new(act: F) -> Self {
        Self(act)
    }
}

impl<F> fmt::Debug for FnHook<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnHook").finish_non_exhaustive()
    }
}

impl<F: Fn(&Turn<'_>) + Send + Sync> Hook for FnHook<F> {
    fn turned(&self, turn: &Turn<'_>) {
        (self.0)(turn);
    }
}

/// Makes turns known: to the pool, the log, the observer and the hooks.
#[derive(Debug)]
pub(super) struct Marks {
    pub(super) pool: Pool,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) hooks: Vec<Arc<dyn Hook>>,
}

/// What checks and agent together say.
fn effective(state: &EndpointState) -> Health {
    if state.is_agent_down() { Health::Unhealthy } else { state.health() }
}

impl Marks {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, observer: Arc::new(()), hooks: Vec::new() }
    }

    /// Sets what the checks have found out.
    pub(super) fn set_health(
        &self,
        now: Instant,
        (endpoint, state): (&Endpoint, &Arc<EndpointState>),
        to: Health,
        reason: &str,
    ) {
        let (before, from) = (effective(state), state.health());
        tracing::info!(backend = %state.name(), %from, %to, reason, "health changed");
        self.pool.set_health_of(state, to, reason);
        self.turn(now, (endpoint, state), before, reason);
    }

    /// Sets what the agent has said.
    pub(super) fn set_agent(
        &self,
        now: Instant,
        (endpoint, state): (&Endpoint, &Arc<EndpointState>),
        agent: &AgentState,
    ) {
        let (before, admin) = (effective(state), state.agent_admin());
        self.pool.set_agent_of(state, agent);
        let reason = match (agent.health(), agent.reason()) {
            (Some(health), "") => format!("agent: {health}"),
            (Some(health), why) => format!("agent: {health}, {why}"),
            (None, why) => format!("agent: {why}"),
        };
        self.administer(now, state, admin, &reason);
        self.turn(now, (endpoint, state), before, &reason);
    }

    fn administer(&self, now: Instant, state: &EndpointState, from: Admin, reason: &str) {
        let to = state.agent_admin();
        if from != to {
            tracing::info!(backend = %state.name(), %from, %to, reason, "agent's wish changed");
            let kind = EventKind::StateChanged { from: from.to_string(), to: to.to_string() };
            self.observer.observe(&Event::new(now, state.name().as_str(), kind).because(reason));
        }
    }

    fn turn(
        &self,
        now: Instant,
        (endpoint, state): (&Endpoint, &Arc<EndpointState>),
        from: Health,
        reason: &str,
    ) {
        let to = effective(state);
        if from == to {
            return;
        }
        let kind = EventKind::HealthChanged { from, to };
        self.observer.observe(&Event::new(now, state.name().as_str(), kind).because(reason));
        let turn = Turn { pool: &self.pool, endpoint, state, from, to, reason };
        self.hooks.iter().for_each(|hook| hook.turned(&turn));
    }
}
