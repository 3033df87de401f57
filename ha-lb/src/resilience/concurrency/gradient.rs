//! The limit that keeps latency near what it is in the long run.
//!
//! # Source
//!
//! `Gradient2Limit` of Netflix' concurrency-limits, with its constants. Two things differ: the
//! latencies of failed calls are left out, as a server that refuses quickly is not a quick server;
//! and where more calls fail than may by chance, the gradient is the smallest one.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::algorithm::{LimitAlgorithm, Sample};

/// The smallest gradient: the limit is at most halved.
const STEEPEST: f64 = 0.5;
/// How many samples the long-run mean starts with.
const WARM_UP: u32 = 10;

/// Compares the latency of the last window with that in the long run.
///
/// `gradient = tolerance × long / short`, between 0.5 and 1; the next limit is `limit × gradient +
/// queue`, smoothed. Right where overload shows as latency. What the server needs for a call may
/// change; a change for good is taken for normal after some time. That holds for overload, too:
/// where callers push without a pause, the limit creeps up to its maximum within some long windows,
/// so set the maximum to what the server survives.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::concurrency::{Gradient2, LimitAlgorithm, Sample};
///
/// let mut gradient = Gradient2::default();
/// let mut limit = 50.0;
/// for _ in 0..20 {
///     limit = gradient.next(limit, &Sample::new(Duration::from_millis(10), 50, 100, 0));
/// }
/// assert!(limit > 60.0, "the queue's four calls a window, smoothed: {limit}");
/// let slower = gradient.next(limit, &Sample::new(Duration::from_millis(40), 80, 100, 0));
/// assert!(slower < limit);
/// ```
#[derive(Debug, Clone)]
pub struct Gradient2 {
    queue: f64,
    smoothing: f64,
    tolerance: f64,
    long_window: u32,
    tolerated_percent: u8,
    long: LongRun,
    last: Last,
}

#[derive(Debug, Clone, Copy)]
enum Last {
    Failures,
    Fresh,
    Gradient { gradient: f64, short: f64 },
    Slack,
}

/// The mean latency in the long run, in seconds: of all samples at first, then exponential.
#[derive(Debug, Clone, Default)]
struct LongRun {
    mean: f64,
    samples: u32,
}

impl LongRun {
    fn add(&mut self, value: f64, window: u32) {
        self.samples = self.samples.saturating_add(1);
        let share = if self.samples <= WARM_UP {
            1.0 / f64::from(self.samples)
        } else {
            2.0 / (f64::from(window) + 1.0)
        };
        self.mean += (value - self.mean) * share;
    }
}

impl Gradient2 {
    /// Sets how many calls may wait in the server's queue.
    ///
    /// 1 to 1000; default 4 (`queueSize`). It is by how much the limit grows a window.
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_queue(mut self, calls: u32) -> Result<Self, ConfigError> {
        checked("queue", calls, 1, 1000)?;
        self.queue = f64::from(calls);
        Ok(self)
    }

    /// Sets how much of a new limit is taken over at once.
    ///
    /// Percent, 1 to 100; default 20 (`smoothing`).
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_smoothing_percent(mut self, percent: u32) -> Result<Self, ConfigError> {
        checked("smoothing_percent", percent, 1, 100)?;
        self.smoothing = f64::from(percent) / 100.0;
        Ok(self)
    }

    /// Sets how far latency may be above that in the long run before the limit shrinks.
    ///
    /// Percent of the latency in the long run, 100 to 1000; default 150 (`rttTolerance`).
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_tolerance_percent(mut self, percent: u32) -> Result<Self, ConfigError> {
        checked("tolerance_percent", percent, 100, 1000)?;
        self.tolerance = f64::from(percent) / 100.0;
        Ok(self)
    }

    /// Sets how many windows the long run has.
    ///
    /// 10 to 1,000,000; default 600 (`longWindow`): ten minutes of windows of a second.
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_long_window(mut self, windows: u32) -> Result<Self, ConfigError> {
        checked("long_window", windows, 10, 1_000_000)?;
        self.long_window = windows;
        Ok(self)
    }

    /// Sets which share of failures is taken for chance. Percent; default 5.
    #[must_use]
    pub const fn with_tolerated_percent(mut self, percent: u8) -> Self {
        self.tolerated_percent = percent;
        self
    }

    fn gradient(&mut self, current: f64, sample: &Sample) -> Option<f64> {
        if let Some(latency) = sample.latency {
            let short = latency.as_secs_f64().max(1e-9);
            self.long.add(short, self.long_window);
            // After a long time of overload the mean is far too high: let it down sooner.
            if self.long.mean > short * 2.0 {
                self.long.mean *= 0.95;
            }
            let gradient = (self.tolerance * self.long.mean / short).clamp(STEEPEST, 1.0);
            self.last = Last::Gradient { gradient, short };
        }
        if sample.fails_above(self.tolerated_percent) {
            self.last = Last::Failures;
            return Some(STEEPEST);
        }
        if sample.is_slack(current) {
            self.last = Last::Slack;
        }
        match self.last {
            Last::Gradient { gradient, .. } => Some(gradient),
            Last::Failures | Last::Fresh | Last::Slack => None,
        }
    }
}

fn checked(path: &str, value: u32, least: u32, most: u32) -> Result<(), ConfigError> {
    let mut problems = Problems::new();
    if !(least..=most).contains(&value) {
        problems.add(path, value, format!("{least} to {most}"));
    }
    problems.into_result(())
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self {
            queue: 4.0,
            smoothing: 0.2,
            tolerance: 1.5,
            long_window: 600,
            tolerated_percent: 5,
            long: LongRun::default(),
            last: Last::Fresh,
        }
    }
}

impl LimitAlgorithm for Gradient2 {
    fn name(&self) -> &'static str {
        "gradient2"
    }

    fn next(&mut self, current: f64, sample: &Sample) -> f64 {
        let Some(gradient) = self.gradient(current, sample) else { return current };
        let wanted = current * gradient + self.queue;
        current + (wanted - current) * self.smoothing
    }

    fn explain(&self) -> String {
        let duration = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        match self.last {
            Last::Failures => "too many calls failed".to_owned(),
            Last::Fresh => "nothing was seen yet".to_owned(),
            Last::Gradient { gradient, short } => {
                let (short, long) = (duration(short), duration(self.long.mean));
                format!("gradient {gradient:.2}: {short:.1?}, in the long run {long:.1?}")
            }
            Last::Slack => "less than half of it was used".to_owned(),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUICK: Duration = Duration::from_millis(10);

    fn after(gradient: &mut Gradient2, windows: u32, limit: f64, latency: Duration) -> f64 {
        (0..windows)
            .fold(limit, |limit, _| gradient.next(limit, &Sample::new(latency, 1000, 100, 0)))
    }

    #[test]
    fn steady_latency_lets_it_grow_and_a_rise_makes_it_shrink() {
        let mut gradient = Gradient2::default();
        let grown = after(&mut gradient, 50, 20.0, QUICK);
        // 0.8 a window: a fifth of a queue of four.
        assert!((grown - 60.0).abs() < 1e-6, "{grown}");
        assert_eq!(gradient.explain(), "gradient 1.00: 10.0ms, in the long run 10.0ms");
        let shrunk = after(&mut gradient, 20, grown, QUICK * 5);
        assert!(shrunk < 25.0, "{shrunk}");
        // At the steepest it settles where half of it and the queue are the whole.
        assert!(after(&mut Gradient2::default(), 5, 8.0, QUICK) > 8.0);
    }

    #[test]
    fn what_changes_for_good_becomes_normal() {
        let mut gradient = Gradient2::default().with_long_window(50).expect("in range");
        let grown = after(&mut gradient, 50, 20.0, QUICK);
        let later = after(&mut gradient, 500, grown, QUICK * 3);
        assert!(later > 100.0, "{later}");
    }

    #[test]
    fn failures_shrink_it_and_slack_leaves_it() {
        let mut gradient = Gradient2::default();
        let failing = gradient.next(100.0, &Sample::new(QUICK, 100, 10, 90));
        assert!((failing - 90.8).abs() < 1e-9, "{failing}");
        assert_eq!(gradient.explain(), "too many calls failed");
        let dead = gradient.next(100.0, &Sample::new(QUICK, 100, 0, 9));
        assert!((dead - 90.8).abs() < 1e-9, "{dead}");
        let slack = gradient.next(100.0, &Sample::new(QUICK, 49, 10, 0));
        assert!((slack - 100.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn no_sample_makes_it_no_number(
            samples in prop::collection::vec(
                (any::<Duration>(), any::<u32>(), any::<u32>(), any::<u32>()), 0..100),
        ) {
            let (mut gradient, mut limit) = (Gradient2::default(), 20.0);
            for (latency, in_flight, successes, failures) in samples {
                limit = gradient.next(limit, &Sample::new(latency, in_flight, successes, failures));
                prop_assert!(limit.is_finite() && limit > 0.0);
                let _line = gradient.explain();
            }
        }
    }
}
