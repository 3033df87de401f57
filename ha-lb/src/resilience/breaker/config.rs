//! The settings of a circuit breaker.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

const DAY: Duration = Duration::from_hours(24);

/// When a breaker opens, for how long, and what closes it again.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::breaker::Config;
///
/// let config = Config::builder().failures_in_a_row(3).open_time(Duration::from_secs(1)).build()?;
/// assert_eq!(config.trials(), 1);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    inner: ConfigBuilder,
}

/// Makes a [`Config`]; see there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConfigBuilder {
    failures_in_a_row: u32,
    failure_percent: u8,
    min_calls: u32,
    window: Duration,
    open_time: Duration,
    open_factor: u32,
    max_open_time: Duration,
    jitter_percent: u8,
    trials: u8,
    trial_time: Duration,
}

impl ConfigBuilder {
    /// Sets how many failures in a row open it; 0: any number does not.
    ///
    /// Default: 5 (Envoy's `consecutive_5xx`).
    pub const fn failures_in_a_row(mut self, failures: u32) -> Self {
        self.failures_in_a_row = failures;
        self
    }

    /// Sets which share of failures in the window opens it; 0: no share does.
    ///
    /// Percent, 0 to 100; default 50 (Hystrix's `errorThresholdPercentage`).
    pub const fn failure_percent(mut self, percent: u8) -> Self {
        self.failure_percent = percent;
        self
    }

    /// Sets from how many calls in the window on their share of failures counts.
    ///
    /// At least 1; default 20 (Hystrix's `requestVolumeThreshold`).
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// Sets how far back the share of failures looks.
    ///
    /// 1 s to 1 h; default 10 s (Hystrix's `rollingStats.timeInMilliseconds`). It moves on in
    /// tenths.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets for how long it is open the first time.
    ///
    /// 1 ms to 24 h; default 5 s (Hystrix's `sleepWindowInMilliseconds`; Envoy's
    /// `base_ejection_time` is 30 s).
    pub const fn open_time(mut self, time: Duration) -> Self {
        self.open_time = time;
        self
    }

    /// Sets by how much each time is longer than the one before it.
    ///
    /// 1 to 10; default 2. It starts anew once the breaker has been closed for as long as it was
    /// open last.
    pub const fn open_factor(mut self, factor: u32) -> Self {
        self.open_factor = factor;
        self
    }

    /// Sets the longest time, before jitter.
    ///
    /// From the first open time to 24 h; default 5 min (Envoy's `max_ejection_time`).
    pub const fn max_open_time(mut self, time: Duration) -> Self {
        self.max_open_time = time;
        self
    }

    /// Sets by how much an open time may be longer at random, so that the clients of a server do
    /// not all come back in the same moment.
    ///
    /// Percent, 0 to 100; default 10 (Envoy's `max_ejection_time_jitter` is a time).
    pub const fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// Sets how many trials are admitted after the open time; all must succeed.
    ///
    /// 1 to 100; default 1 (as in Hystrix; `permittedNumberOfCallsInHalfOpenState` of
    /// resilience4j is 10).
    pub const fn trials(mut self, trials: u8) -> Self {
        self.trials = trials;
        self
    }

    /// Sets how long trials may take; if their results are not there by then, others are admitted.
    ///
    /// 1 ms to 24 h; default 10 s.
    pub const fn trial_time(mut self, time: Duration) -> Self {
        self.trial_time = time;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut problems = Problems::new();
        if self.failures_in_a_row == 0 && self.failure_percent == 0 {
            let allowed = "at least one of the two above 0; nothing would open the breaker";
            problems.add("failures_in_a_row, failure_percent", "0, 0", allowed);
        }
        for (path, percent) in
            [("failure_percent", self.failure_percent), ("jitter_percent", self.jitter_percent)]
        {
            if percent > 100 {
                problems.add(path, percent, "0 to 100");
            }
        }
        if self.min_calls == 0 {
            problems.add("min_calls", 0, "at least 1");
        }
        if !(1..=10).contains(&self.open_factor) {
            problems.add("open_factor", self.open_factor, "1 to 10");
        }
        if !(1..=100).contains(&self.trials) {
            problems.add("trials", self.trials, "1 to 100");
        }
        let millisecond = Duration::from_millis(1);
        for (path, time, range, allowed) in [
            ("window", self.window, Duration::from_secs(1)..=Duration::from_hours(1), "1 s to 1 h"),
            ("open_time", self.open_time, millisecond..=DAY, "1 ms to 24 h"),
            ("max_open_time", self.max_open_time, self.open_time..=DAY, "`open_time` to 24 h"),
            ("trial_time", self.trial_time, millisecond..=DAY, "1 ms to 24 h"),
        ] {
            if !range.contains(&time) {
                problems.add(path, format!("{time:?}"), allowed);
            }
        }
        problems.into_result(Config { inner: self })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { inner: Self::builder() }
    }
}

impl Config {
    /// Starts with the defaults.
    pub const fn builder() -> ConfigBuilder {
        ConfigBuilder {
            failures_in_a_row: 5,
            failure_percent: 50,
            min_calls: 20,
            window: Duration::from_secs(10),
            open_time: Duration::from_secs(5),
            open_factor: 2,
            max_open_time: Duration::from_mins(5),
            jitter_percent: 10,
            trials: 1,
            trial_time: Duration::from_secs(10),
        }
    }

    /// How many failures in a row open it; 0: any number does not.
    #[must_use]
    pub const fn failures_in_a_row(&self) -> u32 {
        self.inner.failures_in_a_row
    }

    /// Which share of failures opens it, in percent; 0: no share does.
    #[must_use]
    pub const fn failure_percent(&self) -> u8 {
        self.inner.failure_percent
    }

    /// From how many calls on their share of failures counts.
    #[must_use]
    pub const fn min_calls(&self) -> u32 {
        self.inner.min_calls
    }

    /// How far back the share of failures looks.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.inner.window
    }

    /// How many trials are admitted.
    #[must_use]
    pub const fn trials(&self) -> u8 {
        self.inner.trials
    }

    /// How long trials may take.
    #[must_use]
    pub const fn trial_time(&self) -> Duration {
        self.inner.trial_time
    }

    /// By how much an open time may be longer at random, in percent.
    #[must_use]
    pub const fn jitter_percent(&self) -> u8 {
        self.inner.jitter_percent
    }

    /// For how long it is open the `nth` time in a row, counted from 1, before jitter.
    #[must_use]
    pub fn open_time(&self, nth: u8) -> Duration {
        let growth = self.inner.open_factor.saturating_pow(u32::from(nth.saturating_sub(1)));
        self.inner.open_time.saturating_mul(growth).min(self.inner.max_open_time)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn open_times_grow_to_the_longest() {
        let config = Config::builder().open_time(Duration::from_secs(7)).build().expect("ok");
        let seconds = [1, 2, 3, 6, 7, 200].map(|nth| config.open_time(nth).as_secs());
        assert_eq!(seconds, [7, 14, 28, 224, 300, 300]);
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let error = Config::builder()
            .failures_in_a_row(0)
            .failure_percent(0)
            .min_calls(0)
            .window(Duration::ZERO)
            .open_time(Duration::from_hours(1))
            .open_factor(0)
            .jitter_percent(101)
            .trials(0)
            .trial_time(Duration::MAX)
            .build()
            .expect_err("all are wrong");
        let paths: Vec<_> = error.problems().iter().map(|p| p.path.as_str()).collect();
        let expected = [
            "failures_in_a_row, failure_percent",
            "jitter_percent",
            "min_calls",
            "open_factor",
            "trials",
            "window",
            "max_open_time",
            "trial_time",
        ];
        assert_eq!(paths, expected);
    }
}
