//! What a breaker does, for people.

use std::fmt;
use std::time::Duration;

use super::{Phase, Reason};

/// What a breaker does, and why; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it does with calls.
    pub phase: Phase,
    /// How often it opened in a row, up to 63.
    pub openings: u8,
    /// Why it opened last.
    pub reason: Option<Reason>,
    /// After how long it admits trials, while it is open.
    pub retry_after: Option<Duration>,
    /// How many calls failed one after another.
    pub in_a_row: u32,
    /// How many of the calls in the window failed.
    pub failures: u64,
    /// Calls in the window.
    pub calls: u64,
    /// How far back it looks.
    pub window: Duration,
    /// Trials that were admitted, while it is half-open.
    pub admitted: u8,
    /// Trials that succeeded, while it is half-open.
    pub succeeded: u8,
    /// How many must.
    pub trials: u8,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Phase::Closed => write!(
                f,
                "closed: {} failures in a row, {} of {} calls failed in the last {:?}",
                self.in_a_row, self.failures, self.calls, self.window
            )?,
            Phase::Open => write!(
                f,
                "open for {:?} more (opening {} in a row)",
                self.retry_after.unwrap_or_default(),
                self.openings
            )?,
            Phase::HalfOpen => write!(
                f,
                "half-open: of {} trials {} were admitted, {} succeeded",
                self.trials, self.admitted, self.succeeded
            )?,
        }
        match (self.phase, self.reason) {
            (Phase::Open, Some(reason)) => write!(f, ": {reason}"),
            (Phase::HalfOpen, Some(reason)) => write!(f, "; it was open: {reason}"),
            (Phase::Closed, _) | (Phase::Open | Phase::HalfOpen, None) => Ok(()),
        }
    }
}
