//! Additive increase, multiplicative decrease.
//!
//! # Source
//!
//! Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance"
//! (1989); `AIMDLimit` of Netflix' concurrency-limits. That one steps with every call and takes
//! every failure for a sign of overload; this one steps once a window, as TCP does, and bears some.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::algorithm::{LimitAlgorithm, Sample};

/// One more while all is well and the limit is used; a tenth less when it is not.
///
/// Right where overload shows as refusals or timeouts. It finds the limit by hitting it, again and
/// again.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::concurrency::{Aimd, LimitAlgorithm, Sample};
///
/// let mut aimd = Aimd::default();
/// let quick = Duration::from_millis(10);
/// assert_eq!(aimd.next(20.0, &Sample::new(quick, 20, 100, 0)), 21.0);
/// assert_eq!(aimd.next(20.0, &Sample::new(quick, 20, 50, 50)), 18.0);
/// assert_eq!(aimd.explain(), "50 of 100 calls failed");
/// ```
#[derive(Debug, Clone)]
pub struct Aimd {
    step: u32,
    keep_percent: u8,
    tolerated_percent: u8,
    too_slow: Duration,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Failures(Sample),
    Fresh,
    Slack,
    Slow(Duration),
    Well,
}

impl Aimd {
    /// Sets by how much the limit grows a window, in calls. At least 1; default 1.
    #[must_use]
    pub const fn with_step(mut self, calls: u32) -> Self {
        self.step = if calls == 0 { 1 } else { calls };
        self
    }

    /// Sets what is kept of the limit when it is too high.
    ///
    /// Percent, 50 to 99; default 90 (`backoffRatio`).
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_keep_percent(mut self, percent: u8) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if !(50..100).contains(&percent) {
            problems.add("keep_percent", percent, "50 to 99");
        }
        self.keep_percent = percent;
        problems.into_result(self)
    }

    /// Sets which share of failures is taken for chance. Percent; default 5.
    #[must_use]
    pub const fn with_tolerated_percent(mut self, percent: u8) -> Self {
        self.tolerated_percent = percent;
        self
    }

    /// Sets which mean latency counts as overload. Default: 5 s (`timeout`).
    #[must_use]
    pub const fn with_too_slow(mut self, latency: Duration) -> Self {
        self.too_slow = latency;
        self
    }

    fn judge(&self, current: f64, sample: &Sample) -> Why {
        match sample.latency {
            _ if sample.fails_above(self.tolerated_percent) => Why::Failures(*sample),
            Some(latency) if latency > self.too_slow => Why::Slow(latency),
            Some(_) | None if sample.is_slack(current) => Why::Slack,
            Some(_) | None => Why::Well,
        }
    }
}

impl Default for Aimd {
    fn default() -> Self {
        let too_slow = Duration::from_secs(5);
        Self { step: 1, keep_percent: 90, tolerated_percent: 5, too_slow, why: Why::Fresh }
    }
}

impl LimitAlgorithm for Aimd {
    fn name(&self) -> &'static str {
        "aimd"
    }

    fn next(&mut self, current: f64, sample: &Sample) -> f64 {
        self.why = self.judge(current, sample);
        match self.why {
            Why::Failures(_) | Why::Slow(_) => current * f64::from(self.keep_percent) / 100.0,
            Why::Well => current + f64::from(self.step),
            Why::Fresh | Why::Slack => current,
        }
    }

    fn explain(&self) -> String {
        match &self.why {
            Why::Failures(Sample { failures, successes, .. }) => {
                format!(
                    "{failures} of {} calls failed",
                    u64::from(*failures) + u64::from(*successes)
                )
            }
            Why::Fresh => "nothing was seen yet".to_owned(),
            Why::Slack => "less than half of it was used".to_owned(),
            Why::Slow(latency) => format!("a mean latency of {latency:?}"),
            Why::Well => "all is well".to_owned(),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn it_steps_by_what_it_sees() {
        let mut aimd = Aimd::default()
            .with_step(3)
            .with_keep_percent(50)
            .expect("in range")
            .with_too_slow(Duration::from_millis(100));
        let quick = Duration::from_millis(10);
        let cases = [
            (Sample::new(quick, 10, 100, 0), 23.0, "all is well"),
            (Sample::new(quick, 9, 100, 0), 20.0, "less than half of it was used"),
            (Sample::new(quick, 20, 95, 5), 23.0, "all is well"),
            (Sample::new(quick, 20, 94, 6), 10.0, "6 of 100 calls failed"),
            (Sample::new(quick, 1, 0, 1), 10.0, "1 of 1 calls failed"),
            (Sample::new(quick * 11, 20, 100, 0), 10.0, "a mean latency of 110ms"),
        ];
        for (sample, limit, why) in cases {
            let next = aimd.next(20.0, &sample);
            assert!((next - limit).abs() < 1e-9, "{sample:?}: {next}");
            assert_eq!(aimd.explain(), why);
        }
    }
}
