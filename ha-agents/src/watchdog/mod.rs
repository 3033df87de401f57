//! Watchdogs: whoever does not keep one alive in time is reset.
//!
//! ```text
//!   program ──keep_alive──▶ Watchdog ── no keep_alive in time ──▶ the node is reset (the kernel's
//!                              │                                   device), or the process group
//!                              └ disarm: it lets go                is killed (the guardian)
//! ```
//!
//! A node that cannot be fenced from outside must be sure to fence itself; a watchdog does it also
//! when the program hangs or was killed. [`Timing`] checks that all times fit together.

#[cfg(feature = "watchdog")]
mod device;
pub mod guardian;
mod memory;
mod timing;

use std::fmt;
use std::io;
use std::time::Duration;

#[cfg(feature = "watchdog")]
pub use self::device::WatchdogDevice;
pub use self::guardian::{Guardian, GuardianAction};
pub use self::memory::{MemoryWatchdog, WatchdogState};
pub use self::timing::{Timing, TimingBuilder};

/// A timer that resets the node, or ends the program, unless it is kept alive.
///
/// All calls return at once, but that arming may start a process. An armed watchdog that is dropped is *not* disarmed: it fires. So a
/// program that panics or forgets it fails to the safe side.
pub trait Watchdog: fmt::Debug + Send {
    /// Starts the timer.
    ///
    /// # Errors
    ///
    /// [`WatchdogError`]: there is no such watchdog, or somebody else has it.
    fn arm(&mut self) -> Result<(), WatchdogError>;

    /// Starts the timer anew.
    ///
    /// # Errors
    ///
    /// [`WatchdogError`]: it is not armed, or gone; it may fire all the same. Do what a reset would
    /// do: stop.
    fn keep_alive(&mut self) -> Result<(), WatchdogError>;

    /// Stops the timer.
    ///
    /// # Errors
    ///
    /// [`WatchdogError`]: it goes on, as one of `nowayout`, and will fire.
    fn disarm(&mut self) -> Result<(), WatchdogError>;

    /// After how long without [`keep_alive`](Self::keep_alive) it fires.
    fn timeout(&self) -> Duration;

    /// Sets the timeout, and returns the one that was taken: devices count in seconds, and some
    /// have few to choose from. Never take a longer one for the one asked for.
    ///
    /// # Errors
    ///
    /// [`WatchdogError`]: it cannot do that time; the old one holds.
    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError>;

    /// Whether it cannot be disarmed (the kernel's `nowayout`); `None` if that cannot be known.
    fn nowayout(&self) -> Option<bool>;
}

impl<W: Watchdog + ?Sized> Watchdog for Box<W> {
    fn arm(&mut self) -> Result<(), WatchdogError> {
        (**self).arm()
    }
    fn keep_alive(&mut self) -> Result<(), WatchdogError> {
        (**self).keep_alive()
    }
    fn disarm(&mut self) -> Result<(), WatchdogError> {
        (**self).disarm()
    }
    fn timeout(&self) -> Duration {
        (**self).timeout()
    }
    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        (**self).set_timeout(timeout)
    }
    fn nowayout(&self) -> Option<bool> {
        (**self).nowayout()
    }
}

/// A watchdog did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchdogError {
    /// It is not armed.
    #[error("cannot keep watchdog {watchdog} alive: it is not armed; arm it first")]
    NotArmed {
        /// The watchdog.
        watchdog: String,
    },
    /// It cannot be disarmed.
    #[error(
        "cannot disarm watchdog {watchdog}: it is set to nowayout; keep it alive, or the node is reset in {timeout:?}"
    )]
    NoWayOut {
        /// The watchdog.
        watchdog: String,
        /// When it fires.
        timeout: Duration,
    },
    /// The kernel refused.
    #[error("cannot {action} watchdog {watchdog}; {remedy}")]
    System {
        /// The watchdog.
        watchdog: String,
        /// What was asked for.
        action: &'static str,
        /// What to do.
        remedy: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot count that long, or that short.
    #[error(
        "cannot set the timeout of watchdog {watchdog} to {timeout:?}: it counts from {shortest:?} to {longest:?}; choose a time in between"
    )]
    Timeout {
        /// The watchdog.
        watchdog: String,
        /// The time asked for.
        timeout: Duration,
        /// The shortest possible.
        shortest: Duration,
        /// The longest possible.
        longest: Duration,
    },
}
