//! The settings of outlier detection.

use std::num::NonZeroU16;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::Detection;
use crate::state::{Runs, Share};

/// What is done with an outlier that a detection has found (Envoy's `enforcing_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a detection acts, looks on, or rests")]
pub enum Enforce {
    /// It is ejected.
    #[default]
    Eject,
    /// It is told of, and goes on.
    Observe,
    /// Nothing is looked for.
    Off,
}

/// How much of an outlier's success rate and volume it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// In standard deviations below the mean, or in percent of failures.
    pub(super) bound: f64,
    pub(super) min_hosts: usize,
    pub(super) min_volume: u64,
}

/// When an endpoint is an outlier, and what is done with it.
///
/// Defaults are Envoy's, but for two things: chance is told from a fault (see
/// [`significance`](ConfigBuilder::significance)), and an endpoint that comes back without a health
/// check to vouch for it begins with a small share.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::health::outlier::{Config, Detection, Enforce};
///
/// let config = Config::builder()
///     .interval(Duration::from_secs(5))
///     .max_ejection_percent(30)
///     .enforce(Detection::GatewayErrors, Enforce::Eject)
///     .build()?;
/// assert_eq!(config.interval(), Duration::from_secs(5));
/// assert_eq!(config.enforced(Detection::FailurePercentage), Enforce::Observe);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    inner: ConfigBuilder,
}

/// Makes a [`Config`]; see there.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConfigBuilder {
    interval: Duration,
    base_ejection: Duration,
    max_ejection: Duration,
    max_ejection_percent: u8,
    runs: Runs,
    success_rate: Rate,
    failure_percentage: Rate,
    latency: Rate,
    latency_intervals: u32,
    significance: f64,
    probe_share: Share,
    probe_successes: u64,
    enforce: [Enforce; 6],
}

impl ConfigBuilder {
    /// Sets how often rates and latencies are compared, and ejected endpoints come back.
    ///
    /// 1 ms to 24 h; default 10 s (Envoy's `interval`).
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long an endpoint is ejected the first time; the second time twice as long, and so on.
    /// Each interval without a new ejection takes one time off.
    ///
    /// 1 ms to 24 h; default 30 s (Envoy's `base_ejection_time`).
    pub const fn base_ejection(mut self, time: Duration) -> Self {
        self.base_ejection = time;
        self
    }

    /// Sets how long an endpoint is ejected at most.
    ///
    /// From the base time to 24 h; default 300 s (Envoy's `max_ejection_time`).
    pub const fn max_ejection(mut self, time: Duration) -> Self {
        self.max_ejection = time;
        self
    }

    /// Sets which part of the endpoints may be out at a time, rounded down, but at least one; and
    /// never the last one that is usable.
    ///
    /// 0 to 100 percent, 0 ejects none; default 10 (Envoy's `max_ejection_percent` with
    /// `always_eject_one_host`).
    pub const fn max_ejection_percent(mut self, percent: u8) -> Self {
        self.max_ejection_percent = percent;
        self
    }

    /// Sets how many error answers in a row make an outlier, at once.
    ///
    /// 1 to 65,535; default 5 (Envoy's `consecutive_5xx`).
    pub const fn consecutive_errors(mut self, errors: NonZeroU16) -> Self {
        self.runs.answers = errors.get();
        self
    }

    /// Sets how many answers 502, 503 or 504 in a row make an outlier, at once.
    ///
    /// 1 to 65,535; default 5, observed only (Envoy's `consecutive_gateway_failure`).
    pub const fn consecutive_gateway_errors(mut self, errors: NonZeroU16) -> Self {
        self.runs.gateway = errors.get();
        self
    }

    /// Sets how many connections in a row that cannot be made or break make an outlier, at once.
    ///
    /// 1 to 65,535; default 5 (Envoy's `consecutive_local_origin_failure`).
    pub const fn consecutive_local_errors(mut self, errors: NonZeroU16) -> Self {
        self.runs.local = errors.get();
        self
    }

    /// Sets by how many standard deviations a success rate must be below the mean of all.
    ///
    /// 0 to 10; default 1.9 (Envoy's `success_rate_stdev_factor` of 1900). Error answers and broken
    /// connections are looked at apart. One outlier of n endpoints is √(n−1) deviations away, however
    /// bad it is: of five, 2.
    pub const fn success_rate(mut self, deviations: f64) -> Self {
        self.success_rate.bound = deviations;
        self
    }

    /// Sets how many endpoints must have how much work in an interval for success rates to be
    /// compared. Default: 5 and 100 (Envoy's `success_rate_minimum_hosts` and
    /// `success_rate_request_volume`).
    pub const fn success_rate_minimum(mut self, hosts: usize, volume: u64) -> Self {
        self.success_rate.min_hosts = hosts;
        self.success_rate.min_volume = volume;
        self
    }

    /// Sets which part of failures makes an outlier, whatever the others do.
    ///
    /// 1 to 100 percent; default 85, observed only (Envoy's `failure_percentage_threshold`).
    pub fn failure_percentage(mut self, percent: u8) -> Self {
        self.failure_percentage.bound = percent.into();
        self
    }

    /// As [`success_rate_minimum`](Self::success_rate_minimum), for the part of failures. Default: 5
    /// and 50 (Envoy's `failure_percentage_minimum_hosts` and `…_request_volume`).
    pub const fn failure_percentage_minimum(mut self, hosts: usize, volume: u64) -> Self {
        self.failure_percentage.min_hosts = hosts;
        self.failure_percentage.min_volume = volume;
        self
    }

    /// Sets how many times the median of the others an endpoint's mean time must be, and for how many
    /// intervals in a row.
    ///
    /// More than 1, 1 or more; default 5 and 3, and off: times must be measured, by the balancer or
    /// [`PoolBuilder::measure_latency`](crate::pool::PoolBuilder::measure_latency). Envoy has no such
    /// thing.
    pub const fn latency(mut self, times: f64, intervals: u32) -> Self {
        self.latency.bound = times;
        self.latency_intervals = intervals;
        self
    }

    /// As [`success_rate_minimum`](Self::success_rate_minimum), for latencies. Default: 5 and 100.
    pub const fn latency_minimum(mut self, hosts: usize, volume: u64) -> Self {
        self.latency.min_hosts = hosts;
        self.latency.min_volume = volume;
        self
    }

    /// Sets how sure it must be that a low success rate is not chance: the odds against it, as a
    /// power of e.
    ///
    /// 0 to 100; default 20, which is one in 500 million. 0 is Envoy's way, which ejects one of
    /// twenty equal endpoints now and then. It is the Chernoff bound for as many failures as were
    /// seen, if the endpoint failed as often as the others do.
    pub const fn significance(mut self, exponent: f64) -> Self {
        self.significance = exponent;
        self
    }

    /// Sets the share that an endpoint comes back with, if no health check vouches for it, and how
    /// much work it must do well to get all of it. Default: a tenth, and 5.
    pub const fn probe(mut self, share: Share, successes: u64) -> Self {
        self.probe_share = share;
        self.probe_successes = successes;
        self
    }

    /// Sets what is done with the outliers of a detection. Default: as Envoy, gateway errors and
    /// failure percentages are observed, latency is off, the others eject.
    pub const fn enforce(mut self, detection: Detection, enforce: Enforce) -> Self {
        let [answers, gateway, local, success, failure, latency] = &mut self.enforce;
        *match detection {
            Detection::ErrorAnswers => answers,
            Detection::GatewayErrors => gateway,
            Detection::LocalErrors => local,
            Detection::SuccessRate => success,
            Detection::FailurePercentage => failure,
            Detection::Latency => latency,
        } = enforce;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Config, ConfigError> {
        const LEAST: Duration = Duration::from_millis(1);
        const MOST: Duration = Duration::from_hours(24);
        let mut problems = Problems::new();
        for (path, time, least, allowed) in [
            ("interval", self.interval, LEAST, "1 ms to 24 h"),
            ("base_ejection", self.base_ejection, LEAST, "1 ms to 24 h"),
            ("max_ejection", self.max_ejection, self.base_ejection, "base_ejection to 24 h"),
        ] {
            if !(least..=MOST).contains(&time) {
                problems.add(path, format!("{time:?}"), allowed);
            }
        }
        if self.max_ejection_percent > 100 {
            problems.add("max_ejection_percent", self.max_ejection_percent, "0 to 100");
        }
        // A number that is none is in no range.
        for (path, number, range, allowed) in [
            ("success_rate", self.success_rate.bound, 0.0..=10.0, "0 to 10 deviations"),
            ("failure_percentage", self.failure_percentage.bound, 1.0..=100.0, "1 to 100"),
            ("latency", self.latency.bound, 1.0..=1e6, "1 to 1000000 times"),
            ("significance", self.significance, 0.0..=100.0, "0 to 100"),
        ] {
            if !range.contains(&number) {
                problems.add(path, number, allowed);
            }
        }
        if self.latency_intervals == 0 {
            problems.add("latency", "0 intervals", "1 interval or more");
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
        use Enforce::{Eject, Observe, Off};
        ConfigBuilder {
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_mins(5),
            max_ejection_percent: 10,
            runs: Runs { any: 0, answers: 5, gateway: 5, local: 5 },
            success_rate: Rate { bound: 1.9, min_hosts: 5, min_volume: 100 },
            failure_percentage: Rate { bound: 85.0, min_hosts: 5, min_volume: 50 },
            latency: Rate { bound: 5.0, min_hosts: 5, min_volume: 100 },
            latency_intervals: 3,
            significance: 20.0,
            probe_share: Share::of_parts(26),
            probe_successes: 5,
            enforce: [Eject, Observe, Eject, Eject, Observe, Off],
        }
    }

    /// How often rates and latencies are compared.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.inner.interval
    }

    /// What is done with the outliers of a detection.
    #[must_use]
    pub const fn enforced(&self, detection: Detection) -> Enforce {
        let [answers, gateway, local, success, failure, latency] = self.inner.enforce;
        match detection {
            Detection::ErrorAnswers => answers,
            Detection::GatewayErrors => gateway,
            Detection::LocalErrors => local,
            Detection::SuccessRate => success,
            Detection::FailurePercentage => failure,
            Detection::Latency => latency,
        }
    }

    /// How many of so many endpoints may be out at a time.
    #[must_use]
    pub fn allowed(&self, endpoints: usize) -> usize {
        match self.inner.max_ejection_percent {
            0 => 0,
            percent => (endpoints.saturating_mul(percent.into()) / 100).max(1),
        }
    }

    /// How long an endpoint is out that is ejected for the nth time.
    #[must_use]
    pub fn ejection(&self, nth: u32) -> Duration {
        self.inner.base_ejection.saturating_mul(nth).min(self.inner.max_ejection)
    }

    /// The runs of errors that are looked at.
    pub(super) fn runs(&self) -> Runs {
        let on = |detection, run| match self.enforced(detection) {
            Enforce::Eject | Enforce::Observe => run,
            Enforce::Off => 0,
        };
        Runs {
            any: 0,
            answers: on(Detection::ErrorAnswers, self.inner.runs.answers),
            gateway: on(Detection::GatewayErrors, self.inner.runs.gateway),
            local: on(Detection::LocalErrors, self.inner.runs.local),
        }
    }

    pub(super) const fn success_rate(&self) -> Rate {
        self.inner.success_rate
    }

    pub(super) const fn failure_percentage(&self) -> Rate {
        self.inner.failure_percentage
    }

    pub(super) const fn latency(&self) -> (Rate, u32) {
        (self.inner.latency, self.inner.latency_intervals)
    }

    pub(super) const fn significance(&self) -> f64 {
        self.inner.significance
    }

    pub(super) const fn probe(&self) -> (Share, u64) {
        (self.inner.probe_share, self.inner.probe_successes)
    }
}
