//! How a concurrency limit follows what is seen.

use std::fmt;
use std::time::Duration;

/// What was seen in one window of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The mean latency of the calls that succeeded; `None` if none did.
    pub latency: Option<Duration>,
    /// The shortest of their latencies.
    pub min_latency: Option<Duration>,
    /// The most calls that were under way at once.
    pub in_flight: u32,
    /// Calls that succeeded.
    pub successes: u32,
    /// Calls that failed.
    pub failures: u32,
}

impl Sample {
    /// A sample of calls that all took `latency`, for tests of an algorithm.
    #[must_use]
    pub const fn new(latency: Duration, in_flight: u32, successes: u32, failures: u32) -> Self {
        let latency = if successes > 0 { Some(latency) } else { None };
        Self { latency, min_latency: latency, in_flight, successes, failures }
    }

    /// Whether more than `percent` of the calls failed.
    #[must_use]
    pub fn fails_above(&self, percent: u8) -> bool {
        let calls = u64::from(self.failures) + u64::from(self.successes);
        u64::from(self.failures) * 100 > calls * u64::from(percent)
    }

    /// Whether fewer than half of the calls that `limit` allows were under way: then the limit
    /// limits nothing, and the sample says nothing about a larger one.
    #[must_use]
    pub fn is_slack(&self, limit: f64) -> bool {
        f64::from(self.in_flight) * 2.0 < limit
    }
}

/// Finds the limit for the next window; pure but for what it remembers of earlier samples.
///
/// What it returns is cut to the smallest and the largest limit; no number (`NaN`) leaves the limit
/// as it is.
pub trait LimitAlgorithm: fmt::Debug + Send {
    /// The name, for people.
    fn name(&self) -> &'static str;

    /// The limit after `current`, given what the window has shown.
    fn next(&mut self, current: f64, sample: &Sample) -> f64;

    /// Why the limit is what it is, in words.
    fn explain(&self) -> String;
}

impl<T: LimitAlgorithm + ?Sized> LimitAlgorithm for Box<T> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn next(&mut self, current: f64, sample: &Sample) -> f64 {
        (**self).next(current, sample)
    }

    fn explain(&self) -> String {
        (**self).explain()
    }
}
