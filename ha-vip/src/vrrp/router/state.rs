//! The states, each with its own timers.

use ha_core::time::Instant;

use super::active::Serving;
use super::backup::Listening;

/// The state with its own timers, so that a stale timer cannot exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Initialize,
    Backup(Listening),
    Active(Serving),
    /// Priority 0 is said, the addresses are still served: make before break.
    Leaving {
        until: Instant,
        next: After,
        successor_heard: bool,
    },
    /// `retry_at` is `None` while a tracker keeps it here.
    Fault {
        retry_at: Option<Instant>,
    },
}

/// What follows [`State::Leaving`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Backup if a successor was heard, else active again.
    Backup,
    Initialize,
    /// Backup in any case.
    Yield,
}
