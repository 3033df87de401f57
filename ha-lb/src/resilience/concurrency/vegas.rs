//! The limit that keeps a small queue at the server.
//!
//! # Source
//!
//! Brakmo and Peterson, "TCP Vegas" (1995), in the form of `VegasLimit` of Netflix'
//! concurrency-limits: the thresholds grow with the logarithm of the limit.

use std::time::Duration;

use super::algorithm::{LimitAlgorithm, Sample};

/// After how many windows the latency without load is measured anew.
const PROBE_AFTER: u32 = 300;

/// Estimates how many calls wait from how far latency is above the lowest one.
///
/// `queue = limit × (1 − lowest / latency)`. It reacts faster than
/// [`Gradient2`](super::Gradient2), but takes the lowest latency that was ever seen for normal:
/// right for servers whose calls are all alike.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::concurrency::{LimitAlgorithm, Sample, Vegas};
///
/// let mut vegas = Vegas::default();
/// let limit = vegas.next(100.0, &Sample::new(Duration::from_millis(10), 100, 50, 0));
/// assert_eq!(limit, 112.0); // no queue: six times the logarithm more
/// let limit = vegas.next(100.0, &Sample::new(Duration::from_millis(20), 100, 50, 0));
/// assert_eq!(limit, 98.0); // half of the calls wait
/// assert_eq!(vegas.explain(), "about 50 calls wait: 20ms, at least 10ms");
/// ```
#[derive(Debug, Clone)]
pub struct Vegas {
    tolerated_percent: u8,
    lowest: Option<Duration>,
    windows: u32,
    last: Last,
}

#[derive(Debug, Clone, Copy)]
enum Last {
    Failures,
    Fresh,
    Queue { queue: f64, latency: Duration },
    Slack,
}

impl Vegas {
    /// Sets which share of failures is taken for chance. Percent; default 5.
    #[must_use]
    pub const fn with_tolerated_percent(mut self, percent: u8) -> Self {
        self.tolerated_percent = percent;
        self
    }

    /// The queue, where the sample tells of one.
    fn observe(&mut self, current: f64, sample: &Sample) -> Last {
        self.windows = self.windows.saturating_add(1);
        if self.windows > PROBE_AFTER {
            (self.windows, self.lowest) = (0, None);
        }
        self.lowest = [self.lowest, sample.min_latency].into_iter().flatten().min();
        match (sample.latency, self.lowest) {
            _ if sample.fails_above(self.tolerated_percent) => Last::Failures,
            (Some(latency), Some(lowest)) if !sample.is_slack(current) => {
                let share = lowest.as_secs_f64() / latency.as_secs_f64().max(1e-9);
                let queue = (current * (1.0 - share.min(1.0))).ceil();
                Last::Queue { queue, latency }
            }
            (Some(_) | None, Some(_) | None) => Last::Slack,
        }
    }
}

impl Default for Vegas {
    fn default() -> Self {
        Self { tolerated_percent: 5, lowest: None, windows: 0, last: Last::Fresh }
    }
}

impl LimitAlgorithm for Vegas {
    fn name(&self) -> &'static str {
        "vegas"
    }

    fn next(&mut self, current: f64, sample: &Sample) -> f64 {
        self.last = self.observe(current, sample);
        let step = current.max(10.0).log10();
        match self.last {
            Last::Failures => current - step,
            Last::Queue { queue, .. } if queue <= step => current + 6.0 * step,
            Last::Queue { queue, .. } if queue < 3.0 * step => current + step,
            Last::Queue { queue, .. } if queue > 6.0 * step => current - step,
            Last::Fresh | Last::Queue { .. } | Last::Slack => current,
        }
    }

    fn explain(&self) -> String {
        match self.last {
            Last::Failures => "too many calls failed".to_owned(),
            Last::Fresh => "nothing was seen yet".to_owned(),
            Last::Queue { queue, latency } => {
                let lowest = self.lowest.unwrap_or_default();
                format!("about {queue:.0} calls wait: {latency:?}, at least {lowest:?}")
            }
            Last::Slack => "less than half of it was used".to_owned(),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn it_settles_where_some_calls_wait() {
        // A server that works on 50 at once and lets the others wait.
        let (mut vegas, mut limit) = (Vegas::default(), 20.0);
        for _ in 0..200 {
            let slower = (limit / 50.0_f64).max(1.0);
            let latency = Duration::from_millis(10).mul_f64(slower);
            limit = vegas.next(limit, &Sample::new(latency, 1000, 100, 0));
        }
        assert!((50.0..65.0).contains(&limit), "{limit}");
        let failing = vegas.next(limit, &Sample::new(Duration::ZERO, 1000, 0, 5));
        assert!(failing < limit);
    }

    #[test]
    fn the_latency_without_load_is_measured_anew_at_times() {
        let mut vegas = Vegas::default();
        let mut next = |millis| {
            let latency = Duration::from_millis(millis);
            vegas.next(100.0, &Sample::new(latency, 100, 100, 0))
        };
        next(1);
        let slower: Vec<f64> = (0..PROBE_AFTER).map(|_| next(10)).collect();
        assert!(slower.first() < Some(&100.0) && slower.last() > Some(&100.0), "{slower:?}");
    }
}
