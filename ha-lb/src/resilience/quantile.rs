//! Quantiles of recent latencies, in memory of a fixed size.
//!
//! # Source
//!
//! Buckets as in `HdrHistogram` (Tene): linear within a power of two, so that each is at most 1/32
//! wide of what it holds. Counts are halved every half-life, so that old latencies fade away
//! (forward decay in steps; Cormode et al. 2009).

use std::time::Duration;

use ha_core::config::ConfigError;
use ha_core::time::Instant;

use super::atomics::{AtomicU32, AtomicU64, Ordering};

/// Buckets in a power of two.
const WIDTH: u64 = 32;
const WIDTH_BITS: u32 = 5;
/// Latencies from here on, in microseconds, are all alike: 19 hours.
const LONGEST: u64 = 1 << 36;
const BUCKETS: usize = 1024;

/// A histogram of recent latencies, from a microsecond to 19 hours, within 1/32; 4 KiB.
///
/// Recording is one atomic step; once a half-life whoever records halves all counts.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::quantile::Latencies;
///
/// let latencies = Latencies::new(Duration::from_secs(10))?;
/// let now = Instant::from_secs(1);
/// for millis in 1..=100 {
///     latencies.record(now, Duration::from_millis(millis));
/// }
/// let p95 = latencies.quantile(950).expect("there are samples");
/// assert!(p95 >= Duration::from_millis(95) && p95 < Duration::from_millis(98));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Latencies {
    half_life: Duration,
    /// When the counts are halved next, in nanoseconds; 0 before the first latency.
    fades_at: AtomicU64,
    buckets: Box<[AtomicU32]>,
}

impl Latencies {
    /// A histogram whose counts halve every `half_life`, 100 ms to 24 h.
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn new(half_life: Duration) -> Result<Self, ConfigError> {
        if !(Duration::from_millis(100)..=Duration::from_hours(24)).contains(&half_life) {
            let value = format!("{half_life:?}");
            return Err(ConfigError::new("half_life", value, "100 ms to 24 h"));
        }
        Ok(Self::sized(half_life, BUCKETS))
    }

    pub(super) fn sized(half_life: Duration, buckets: usize) -> Self {
        let buckets = (0..buckets).map(|_| AtomicU32::new(0)).collect();
        Self { half_life, fades_at: AtomicU64::new(0), buckets }
    }

    /// Counts a latency that was seen `now`.
    pub fn record(&self, now: Instant, latency: Duration) {
        self.fade(now);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(LONGEST);
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many latencies there are, the older ones in part.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.load(Ordering::Relaxed))).sum()
    }

    /// The latency that `per_mille` of a thousand do not exceed, up to 1/32 more; `None` before the
    /// first one. More than 1000 count as 1000.
    #[must_use]
    pub fn quantile(&self, per_mille: u16) -> Option<Duration> {
        let count = self.count();
        let wanted = (count * u64::from(per_mille.min(1000))).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|bucket| {
            seen += u64::from(bucket.load(Ordering::Relaxed));
            seen >= wanted
        });
        // Counts may have been halved in between: then the largest there is.
        let last = || self.buckets.iter().rposition(|bucket| bucket.load(Ordering::Relaxed) > 0);
        found
            .or_else(last)
            .filter(|_| count > 0)
            .map(|bucket| Duration::from_micros(end_of(bucket)))
    }

    /// Halves the counts as often as half-lives have passed.
    fn fade(&self, now: Instant) {
        let fades_at = self.fades_at.load(Ordering::Relaxed);
        if fades_at > now.as_nanos() {
            return;
        }
        let next = (now + self.half_life).as_nanos().max(1);
        let mine =
            self.fades_at.compare_exchange(fades_at, next, Ordering::Relaxed, Ordering::Relaxed);
        if fades_at == 0 || mine.is_err() {
            return;
        }
        let half_life = self.half_life.as_nanos().max(1);
        let late = now.since(Instant::from_nanos(fades_at)).as_nanos();
        let halvings = u32::try_from(late / half_life + 1).unwrap_or(u32::MAX);
        for bucket in &self.buckets {
            if bucket.load(Ordering::Relaxed) > 0 {
                let halved = |count: u32| Some(count.checked_shr(halvings).unwrap_or(0));
                let _always = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, halved);
            }
        }
    }
}

/// The bucket of a latency.
fn bucket_of(micros: u64) -> usize {
    let micros = micros.min(LONGEST - 1);
    let shift = (u64::BITS - WIDTH_BITS - 1).saturating_sub(micros.leading_zeros());
    let bucket = u64::from(shift) * WIDTH + (micros >> shift);
    usize::try_from(bucket).unwrap_or(usize::MAX)
}

/// The first latency that is beyond a bucket.
fn end_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let shift = u32::try_from((bucket / WIDTH).saturating_sub(1)).unwrap_or(u32::MAX);
    let within = bucket - u64::from(shift) * WIDTH;
    (within + 1).checked_shl(shift).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant::from_secs(10);

    proptest! {
        #[test]
        fn every_latency_has_a_bucket_that_is_narrow(micros in 0..LONGEST * 2) {
            let bucket = bucket_of(micros);
            prop_assert!(bucket < BUCKETS);
            let (end, micros) = (end_of(bucket), micros.min(LONGEST - 1));
            prop_assert!(end > micros);
            prop_assert!(end - micros <= micros / WIDTH + 1);
            prop_assert!(bucket == 0 || end_of(bucket - 1) <= micros);
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_latencies(
            latencies in prop::collection::vec(0u64..10_000_000, 1..200), per_mille in 0u16..=1000,
        ) {
            let histogram = Latencies::new(Duration::from_secs(1)).expect("in range");
            for latency in &latencies {
                histogram.record(NOW, Duration::from_micros(*latency));
            }
            let mut sorted = latencies;
            sorted.sort_unstable();
            let rank = (sorted.len() * usize::from(per_mille)).div_ceil(1000).max(1);
            let exact = sorted[rank - 1];
            let found = histogram.quantile(per_mille).expect("not empty");
            prop_assert!(found > Duration::from_micros(exact));
            prop_assert!(found <= Duration::from_micros(exact + exact / WIDTH + 1));
        }

        #[test]
        fn no_time_and_no_latency_panics(
            records in prop::collection::vec((any::<u64>(), any::<Duration>()), 0..100),
        ) {
            let histogram = Latencies::new(Duration::from_millis(100)).expect("in range");
            for (now, latency) in records {
                histogram.record(Instant::from_nanos(now), latency);
                let _some = histogram.quantile(u16::MAX);
            }
        }
    }

    #[test]
    fn old_latencies_fade() {
        let histogram = Latencies::new(Duration::from_secs(1)).expect("in range");
        assert_eq!(histogram.quantile(500), None);
        (0..1000).for_each(|_| histogram.record(NOW, Duration::from_secs(1)));
        let later = NOW + Duration::from_millis(1_500);
        histogram.record(later, Duration::from_millis(1));
        assert_eq!(histogram.count(), 501);
        let much_later = NOW + Duration::from_mins(1);
        histogram.record(much_later, Duration::from_millis(1));
        assert_eq!(histogram.count(), 1);
        assert!(histogram.quantile(1000) < Some(Duration::from_millis(2)));
    }

    #[test]
    fn half_lives_have_bounds() {
        assert!(Latencies::new(Duration::from_millis(99)).is_err());
        assert!(Latencies::new(Duration::MAX).is_err());
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_counts_are_halved_once_and_none_is_lost() {
        loom::model(|| {
            let histogram = Latencies::sized(Duration::from_secs(1), 1);
            histogram.record(Instant::from_secs(1), Duration::ZERO);
            histogram.record(Instant::from_secs(1), Duration::ZERO);
            let histogram = loom::sync::Arc::new(histogram);
            let other = loom::sync::Arc::clone(&histogram);
            let record = |histogram: &Latencies| {
                histogram.record(Instant::from_secs(2), Duration::ZERO);
            };
            let thread = loom::thread::spawn(move || record(&other));
            record(&histogram);
            thread.join().unwrap();
            // Two halved are one; of the two new ones at most one was there to be halved with them.
            let count = histogram.count();
            assert!((2..=3).contains(&count), "{count}");
        });
    }
}
