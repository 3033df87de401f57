//! What a pick gives: a guard that counts, and an explanation on request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ha_core::id::EndpointName;

use crate::snapshot::Obstacle;
use crate::state::EndpointState;
pub use crate::state::Outcome;

/// An endpoint that was picked; counts as one connection on it until finished or dropped.
///
/// Dropping it counts as [`Outcome::Abandoned`].
#[derive(Debug)]
#[must_use = "a pick counts as a connection only while it is kept"]
pub struct Pick {
    state: Arc<EndpointState>,
    outcome: Outcome,
}

impl Pick {
    /// Takes over a connection that was counted by [`EndpointState::acquire`].
    pub(crate) const fn acquired(state: Arc<EndpointState>) -> Self {
        Self { state, outcome: Outcome::Abandoned }
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

    /// Ends the pick and reports how it went.
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
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
        Obstacle::Excluded => "tried already".to_owned(),
        Obstacle::Full => format!("full with {} connections", state.connections()),
        Obstacle::Unhealthy => format!("{}: {}", state.health(), state.reason()),
        Obstacle::Unknown => "not in the pool".to_owned(),
        Obstacle::Weight => "weight 0".to_owned(),
    }
}
