//! What a simulation has shown.

use std::fmt;
use std::time::Duration;

/// How a request ended.
pub(super) struct Ended {
    pub(super) took: Duration,
    pub(super) failed: bool,
}

/// What clients noticed and servers bore.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Report {
    /// The algorithm, with its options.
    pub algorithm: String,
    /// Requests that are reported.
    pub requests: u64,
    /// The mean time from arrival to answer.
    pub mean: Duration,
    /// Half of all answers came within this time.
    pub p50: Duration,
    /// 99 % of all answers came within this time.
    pub p99: Duration,
    /// 99.9 % of all answers came within this time.
    pub p999: Duration,
    /// The most requests that one server had at a time, waiting ones too.
    pub max_load: usize,
    /// The part of requests that failed or found no server, 0 to 1.
    pub error_rate: f64,
    /// Requests of each server, in their order.
    pub served: Vec<u64>,
}

impl Report {
    pub(super) fn new(
        algorithm: String,
        ended: &mut [Ended],
        max_load: usize,
        served: Vec<u64>,
        refused: u64,
    ) -> Self {
        ended.sort_unstable_by_key(|ended| ended.took);
        let answered = u64::try_from(ended.len()).unwrap_or(u64::MAX);
        let requests = answered + refused;
        let failed = ended.iter().filter(|ended| ended.failed).count();
        let failed = u64::try_from(failed).unwrap_or(u64::MAX) + refused;
        let quantile = |per_mille: usize| {
            let at = (ended.len() * per_mille / 1000).min(ended.len().saturating_sub(1));
            ended.get(at).map_or(Duration::ZERO, |ended| ended.took)
        };
        let all: Duration = ended.iter().map(|ended| ended.took).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let error_rate = failed as f64 / requests.max(1) as f64;
        Self {
            algorithm,
            requests,
            mean: all / u32::try_from(answered.max(1)).unwrap_or(u32::MAX),
            p50: quantile(500),
            p99: quantile(990),
            p999: quantile(999),
            max_load,
            error_rate,
            served,
        }
    }
}

impl fmt::Display for Report {
    /// Writes one line: times in ms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{}: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most at one server {}, errors {:.2} %",
            self.algorithm,
            ms(self.p50),
            ms(self.p99),
            ms(self.p999),
            self.max_load,
            self.error_rate * 100.0,
        )
    }
}
