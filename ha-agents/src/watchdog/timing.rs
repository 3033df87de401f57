//! The times of watchdog, disk messages and fencing, which must fit together.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

/// Times that fit together.
///
/// A watchdog that fires later than others believe is a split brain; so these rules are checked
/// when they are configured, all at once:
///
/// | rule | why |
/// |---|---|
/// | feed interval × 2 ≤ watchdog | one late or lost feed resets no node |
/// | loop + I/O timeout ≤ watchdog | a slow read, then the watchdog: both within the message wait |
/// | message wait ≥ 2 × watchdog | the node read its disk last just before the message, then fired |
/// | fencing timeout ≥ 1.2 × message wait | else no fencing by message is ever finished |
/// | diskless timeout ≥ 2 × watchdog | without a disk the others wait for that time only |
///
/// ```
/// use std::time::Duration;
/// use ha_agents::watchdog::Timing;
///
/// let timing = Timing::builder().watchdog(Duration::from_secs(15)).build()?;
/// assert_eq!(timing.message_wait(), Duration::from_secs(30));
/// assert_eq!(timing.fencing_timeout(), Duration::from_secs(36));
/// let short = Timing::builder().message_wait(Duration::from_secs(9));
/// assert!(short.fencing_timeout(Duration::from_secs(10)).build().is_err());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
///
/// # Source
///
/// sbd(8), and Pacemaker's `stonith-timeout` and `fencing-watchdog-timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    watchdog: Duration,
    feed: Duration,
    loop_interval: Duration,
    io: Duration,
    message_wait: Duration,
    fencing: Duration,
    diskless: Duration,
}

/// Collects the settings of [`Timing`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until build() is called"]
pub struct TimingBuilder {
    watchdog: Duration,
    feed: Option<Duration>,
    loop_interval: Duration,
    io: Duration,
    message_wait: Option<Duration>,
    fencing: Option<Duration>,
    diskless: Option<Duration>,
}

impl TimingBuilder {
    /// Sets after how long without a sign of life the watchdog fires (`SBD_WATCHDOG_TIMEOUT`, `-1`
    /// of sbd), at least 1 s. Default: 5 s.
    pub const fn watchdog(mut self, timeout: Duration) -> Self {
        self.watchdog = timeout;
        self
    }

    /// Sets how often it is kept alive. Default: a fifth of its timeout, at most the loop's
    /// interval.
    pub const fn feed(mut self, interval: Duration) -> Self {
        self.feed = Some(interval);
        self
    }

    /// Sets how often the disk is read (`-3` of sbd). Default: 1 s.
    pub const fn loop_interval(mut self, interval: Duration) -> Self {
        self.loop_interval = interval;
        self
    }

    /// Sets how long a read or write may take (`-I` of sbd). Default: 3 s.
    pub const fn io(mut self, timeout: Duration) -> Self {
        self.io = timeout;
        self
    }

    /// Sets after how long a message counts as delivered (`-4` of sbd). Default: twice the
    /// watchdog's timeout.
    pub const fn message_wait(mut self, wait: Duration) -> Self {
        self.message_wait = Some(wait);
        self
    }

    /// Sets how long a fencing may take (`stonith-timeout`). Default: 1.2 times the message wait.
    pub const fn fencing_timeout(mut self, timeout: Duration) -> Self {
        self.fencing = Some(timeout);
        self
    }

    /// Sets after how long a lost node without a disk counts as fenced
    /// (`fencing-watchdog-timeout`, formerly `stonith-watchdog-timeout`). Default: twice the
    /// watchdog's timeout. It must be the same on all nodes.
    pub const fn diskless_timeout(mut self, timeout: Duration) -> Self {
        self.diskless = Some(timeout);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every rule that is broken, with the time that would do.
    pub fn build(self) -> Result<Timing, ConfigError> {
        let mut problems = Problems::new();
        let twice = self.watchdog.saturating_mul(2);
        let message_wait = self.message_wait.unwrap_or(twice);
        // In fifths, as 1.2 is not exact in floating point.
        let needed = message_wait.saturating_mul(6) / 5;
        let timing = Timing {
            watchdog: self.watchdog,
            feed: self.feed.unwrap_or_else(|| self.loop_interval.min(self.watchdog / 5)),
            loop_interval: self.loop_interval,
            io: self.io,
            message_wait,
            fencing: self.fencing.unwrap_or(needed),
            diskless: self.diskless.unwrap_or(twice),
        };
        let mut at_least = |path: &str, value: Duration, least: Duration, why: &str| {
            if value < least {
                let allowed = format!("at least {least:?}, {why}");
                problems.add(format!("watchdog.{path}"), format!("{value:?}"), allowed);
            }
        };
        let second = Duration::from_secs(1);
        at_least("timeout", timing.watchdog, second, "as devices count in seconds");
        at_least("message_wait", message_wait, twice, "twice the watchdog's timeout");
        at_least("fencing_timeout", timing.fencing, needed, "1.2 times the message wait");
        at_least("diskless_timeout", timing.diskless, twice, "twice the watchdog's timeout");
        let slow = timing.loop_interval.saturating_add(timing.io);
        if slow > timing.watchdog {
            let allowed = format!(
                "with the loop's {:?} at most the watchdog's timeout, {:?}",
                timing.loop_interval, timing.watchdog
            );
            problems.add("watchdog.io", format!("{:?}", timing.io), allowed);
        }
        if timing.feed.is_zero() || timing.feed.saturating_mul(2) > timing.watchdog {
            let allowed = format!("more than 0, at most {:?}, half the timeout", self.watchdog / 2);
            problems.add("watchdog.feed", format!("{:?}", timing.feed), allowed);
        }
        if timing.loop_interval.is_zero() || timing.io.is_zero() {
            problems.add("watchdog.loop_interval, io", 0, "more than 0; 1 s and 3 s are usual");
        }
        problems.into_result(timing)
    }
}

impl Default for Timing {
    /// A watchdog of 5 s, and what follows from it.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            watchdog: 5 * second,
            feed: second,
            loop_interval: second,
            io: 3 * second,
            message_wait: 10 * second,
            fencing: 12 * second,
            diskless: 10 * second,
        }
    }
}

impl Timing {
    /// Starts with a watchdog of 5 s, and what follows from it.
    pub const fn builder() -> TimingBuilder {
        TimingBuilder {
            watchdog: Duration::from_secs(5),
            feed: None,
            loop_interval: Duration::from_secs(1),
            io: Duration::from_secs(3),
            message_wait: None,
            fencing: None,
            diskless: None,
        }
    }

    /// After how long without a sign of life the watchdog fires.
    #[must_use]
    pub const fn watchdog(&self) -> Duration {
        self.watchdog
    }

    /// How often the watchdog is kept alive.
    #[must_use]
    pub const fn feed(&self) -> Duration {
        self.feed
    }

    /// How often the disk is read.
    #[must_use]
    pub const fn loop_interval(&self) -> Duration {
        self.loop_interval
    }

    /// How long a read or write may take.
    #[must_use]
    pub const fn io(&self) -> Duration {
        self.io
    }

    /// After how long a message counts as delivered.
    #[must_use]
    pub const fn message_wait(&self) -> Duration {
        self.message_wait
    }

    /// How long a fencing may take.
    #[must_use]
    pub const fn fencing_timeout(&self) -> Duration {
        self.fencing
    }

    /// After how long a lost node without a disk counts as fenced.
    #[must_use]
    pub const fn diskless_timeout(&self) -> Duration {
        self.diskless
    }
}
