//! A watchdog in memory, for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_core::time::{Clock, Instant};

use super::{Watchdog, WatchdogError};

/// What has become of a [`MemoryWatchdog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a timer runs, does not run, or has run out")]
pub enum WatchdogState {
    /// It does not count.
    Disarmed,
    /// It counts: so long is left.
    Armed(Duration),
    /// It has fired: the node would have been reset.
    Fired,
}

/// A watchdog whose clock a test moves; cheap to clone, all clones are one.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use ha_agents::watchdog::{MemoryWatchdog, Watchdog, WatchdogState};
/// use ha_core::time::ManualClock;
///
/// let clock = Arc::new(ManualClock::default());
/// let mut watchdog = MemoryWatchdog::new(clock.clone(), Duration::from_secs(5));
/// watchdog.arm()?;
/// clock.advance(Duration::from_secs(4));
/// watchdog.keep_alive()?;
/// clock.advance(Duration::from_secs(4));
/// assert_eq!(watchdog.state(), WatchdogState::Armed(Duration::from_secs(1)));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(watchdog.state(), WatchdogState::Fired);
/// # Ok::<(), ha_agents::watchdog::WatchdogError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemoryWatchdog {
    clock: Arc<dyn Clock>,
    nowayout: bool,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    timeout: Duration,
    fires: Option<Instant>,
    fired: bool,
    fed: u64,
}

impl MemoryWatchdog {
    /// A disarmed watchdog.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        let inner = Inner { timeout, fires: None, fired: false, fed: 0 };
        Self { clock, nowayout: false, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The same, which cannot be disarmed.
    #[must_use]
    pub fn nowayout(mut self) -> Self {
        self.nowayout = true;
        self
    }

    /// What has become of it by now.
    #[must_use]
    pub fn state(&self) -> WatchdogState {
        let inner = self.look();
        match inner.fires {
            _ if inner.fired => WatchdogState::Fired,
            None => WatchdogState::Disarmed,
            Some(at) => WatchdogState::Armed(at.since(self.clock.now())),
        }
    }

    /// How often it was kept alive.
    #[must_use]
    pub fn fed(&self) -> u64 {
        self.look().fed
    }

    /// The state, after what is due has happened.
    fn look(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.fires.is_some_and(|at| at <= self.clock.now()) {
            inner.fired = true;
        }
        inner
    }
}

const NAME: &str = "in memory";

impl Watchdog for MemoryWatchdog {
    fn arm(&mut self) -> Result<(), WatchdogError> {
        let mut inner = self.look();
        inner.fires = Some(self.clock.now() + inner.timeout);
        Ok(())
    }

    fn keep_alive(&mut self) -> Result<(), WatchdogError> {
        let mut inner = self.look();
        if inner.fires.is_none() {
            return Err(WatchdogError::NotArmed { watchdog: NAME.to_owned() });
        }
        // Once it has fired nothing brings the node back.
        inner.fires = Some(self.clock.now() + inner.timeout);
        inner.fed += 1;
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), WatchdogError> {
        let mut inner = self.look();
        if self.nowayout && inner.fires.is_some() {
            let timeout = inner.timeout;
            return Err(WatchdogError::NoWayOut { watchdog: NAME.to_owned(), timeout });
        }
        inner.fires = None;
        Ok(())
    }

    fn timeout(&self) -> Duration {
        self.look().timeout
    }

    fn set_timeout(&mut self, timeout: Duration) -> Result<Duration, WatchdogError> {
        let mut inner = self.look();
        inner.timeout = timeout;
        if inner.fires.is_some() {
            inner.fires = Some(self.clock.now() + timeout);
        }
        Ok(timeout)
    }

    fn nowayout(&self) -> Option<bool> {
        Some(self.nowayout)
    }
}
