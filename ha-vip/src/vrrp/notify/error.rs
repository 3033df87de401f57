//! Why a notice was not taken.

use std::io;
use std::time::Duration;

use ha_core::effect::Effect;

/// A notice was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// A script could not be run, or failed.
    #[error("cannot notify with {program}; see what it says when it is run by hand")]
    Command {
        /// The program.
        program: String,
        /// What it said, or the system.
        #[source]
        source: io::Error,
    },
    /// A script took too long and was killed.
    #[error("cannot tell what {program} did: it was killed after {limit:?}; raise its timeout")]
    NoAnswer {
        /// The program.
        program: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Whoever was told says no.
    #[error("cannot notify: {why}")]
    Refused {
        /// Why.
        why: String,
    },
}

impl NotifyError {
    /// Whether what follows from the notice may have been done all the same: it may, always.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        Effect::Unknown
    }
}

/// What is behind an error, for the log.
pub(super) fn source(error: &NotifyError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}
