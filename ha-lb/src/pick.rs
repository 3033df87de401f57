//! What a pick gives: a guard that counts, and an explanation on request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::id::EndpointName;
use ha_core::time::{BootClock, Clock, Instant};

use crate::context::PickContext;
use crate::snapshot::Obstacle;
use crate::state::EndpointState;
pub use crate::state::{Closing, Outcome};

/// An endpoint that was picked; counts as one connection on it until finished or dropped.
///
/// Dropping it counts as [`Outcome::Abandoned`].
#[derive(Debug)]
#[must_use = "a pick counts as a connection only while it is kept"]
pub struct Pick {
    state: Arc<EndpointState>,
    outcome: Outcome,
    /// The endpoint's epoch of sessions when it was picked.
    epoch: u16,
    clock: Option<Stopwatch>,
}

/// Since when a pick is in use, and after which time its latency counts little.
#[derive(Debug, Clone, Copy)]
struct Stopwatch {
    since: Instant,
    decay: Duration,
}

impl Pick {
    /// Takes over a connection that was counted by [`EndpointState::acquire`].
    ///
    /// With `decay` the time until its end is measured.
    pub(crate) fn acquired(
        state: Arc<EndpointState>,
        decay: Option<Duration>,
        context: &PickContext<'_>,
    ) -> Self {
        let clock = decay.map(|decay| Stopwatch { since: context.now(), decay });
        let epoch = state.session_epoch();
        Self { state, outcome: Outcome::Abandoned, epoch, clock }
    }

    /// The endpoint's name.
    #[must_use]
    pub fn name(&self) -> &EndpointName {
        self.state.name()
    }

    /// Where the endpoint listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.state.address()
    }

    /// The endpoint's live state, also for
    /// [`PickContext::with_excluded`](crate::balancer::PickContext::with_excluded).
    #[must_use]
    pub const fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }

    /// Ready when the work is to end at once, because somebody shut the endpoint's sessions
    /// ([`Pool::shut_sessions`](crate::pool::Pool::shut_sessions)): whoever holds a pick for long
    /// waits for it beside the work. Otherwise never.
    pub fn closing(&self) -> Closing {
        Closing::new(Arc::clone(&self.state), self.epoch)
    }

    /// Ends the pick and reports how it went.
    ///
    /// If the balancer asks for latencies, the time since the pick is one, unless the work was
    /// abandoned or no connection came about.
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Sets how it went, should the pick be dropped before its end.
    #[cfg(feature = "tower")]
    pub(crate) const fn presume(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Ends the pick and reports how it went and how long the work took, instead of the whole time
    /// since the pick: such as the time to the first byte of an answer. `now` is the time of the
    /// report.
    pub fn finish_after(mut self, outcome: Outcome, took: Duration, now: Instant) {
        if let Some(Stopwatch { decay, .. }) = self.clock.take() {
            self.state.note_latency(now, took, decay);
        }
        self.outcome = outcome;
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        if let Some(Stopwatch { since, decay }) = self.clock
            && self.outcome.is_timed()
        {
            let now = BootClock::new().now();
            self.state.note_latency(now, now.since(since), decay);
        }
        self.state.release(self.outcome);
    }
}

/// No endpoint can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PickError {
    /// Every usable endpoint has as many connections as it may have.
    #[error(
        "cannot pick an endpoint: every usable one is full; raise their `max_connections` or add \
         endpoints"
    )]
    AllFull,
    /// Every usable endpoint was tried already.
    #[error("cannot pick an endpoint: every usable one was tried already")]
    AllTried,
    /// The pool is empty.
    #[error("cannot pick an endpoint: the pool is empty; add endpoints")]
    Empty,
    /// As many wait for an endpoint as may wait.
    #[error(
        "cannot pick an endpoint: every usable one is full, and so is the queue; raise `max_len` or \
         add endpoints"
    )]
    QueueFull,
    /// No endpoint had room in time.
    #[error(
        "cannot pick an endpoint: none had room within the queue's time; raise it, or add endpoints"
    )]
    QueueTimeout,
    /// Every endpoint is down, drained or in maintenance.
    #[error(
        "cannot pick an endpoint: every one is unhealthy, drained or in maintenance; see their \
         health checks"
    )]
    NoneUsable,
}

/// Why an endpoint would be picked, or why none can be; for people.
///
/// Displayed as one line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// The algorithm.
    pub algorithm: &'static str,
    /// The endpoint that a pick now would give, with the algorithm's reason.
    pub chosen: Result<(EndpointName, String), PickError>,
    /// Every endpoint that could not be picked, with the reason.
    pub passed_over: Vec<(EndpointName, String)>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chosen {
            Ok((name, why)) => write!(f, "{}: {name}, {why}", self.algorithm)?,
            Err(error) => write!(f, "{}: {error}", self.algorithm)?,
        }
        for (name, why) in &self.passed_over {
            write!(f, "; not {name}: {why}")?;
        }
        Ok(())
    }
}

/// An obstacle in words.
pub(crate) fn in_words(obstacle: Obstacle, state: &EndpointState) -> String {
    match obstacle {
        Obstacle::Admin(admin) => format!("put to {admin}"),
        Obstacle::Agent(admin) => format!("put to {admin} by its agent"),
        Obstacle::AgentDown => "down, says its agent".to_owned(),
        Obstacle::Ejected => format!("ejected: {}", state.reason()),
        Obstacle::Excluded => "tried already".to_owned(),
        Obstacle::Full => format!("full with {} connections", state.connections()),
        Obstacle::Unhealthy => format!("{}: {}", state.health(), state.reason()),
        Obstacle::Unknown => "not in the pool".to_owned(),
    }
}
