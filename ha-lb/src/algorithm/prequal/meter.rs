//! What a server keeps to answer probes: its requests in flight, and how long they take.
//!
//! # Source
//!
//! Section 4 of the paper: a server's latency is the median of recent requests that arrived when
//! about as many were in flight as are now. A plain average would not do: a server that was crowded
//! and is idle now would go on to report what it was, and get no work to learn better from.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ha_core::time::Instant;

/// How many of the last requests each median is of.
const LAST: usize = 5;
/// Numbers in flight up to this one are told apart; beyond it, eighths of a power of two.
const FINE: u32 = 32;
const BUCKETS: usize = 128;

/// Counts a server's requests and measures how long they take, without a lock.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::algorithm::prequal::Meter;
///
/// let meter = Meter::new();
/// let now = Instant::from_secs(100);
/// let request = meter.begin(now);
/// assert_eq!(meter.in_flight(), 1);
/// meter.end(request, now + Duration::from_millis(8));
/// // A probe is answered with both numbers.
/// assert_eq!((meter.in_flight(), meter.latency()), (0, Duration::from_millis(8)));
/// ```
#[derive(Debug)]
pub struct Meter {
    in_flight: AtomicU32,
    buckets: Box<[Bucket]>,
}

/// The times of the last requests that arrived with so many in flight, in µs; 0 is none.
#[derive(Debug, Default)]
struct Bucket {
    next: AtomicU32,
    last: [AtomicU32; LAST],
}

/// A request in flight; to be given back to [`Meter::end`], or it stays in flight.
#[derive(Debug)]
#[must_use = "a request is in flight until it is ended"]
pub struct Metered {
    bucket: usize,
    since: Instant,
}

impl Meter {
    /// With nothing measured yet.
    #[must_use]
    pub fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| Bucket::default()).collect();
        Self { in_flight: AtomicU32::new(0), buckets }
    }

    /// A request has arrived.
    pub fn begin(&self, now: Instant) -> Metered {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        Metered { bucket: bucket_of(before), since: now }
    }

    /// It was answered.
    #[expect(clippy::needless_pass_by_value, reason = "a request ends once")]
    pub fn end(&self, request: Metered, now: Instant) {
        let Metered { bucket, since } = request;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(bucket) = self.buckets.get(bucket) {
            let micros = u32::try_from(now.since(since).as_micros()).unwrap_or(u32::MAX);
            let nth = usize::try_from(bucket.next.fetch_add(1, Ordering::Relaxed));
            if let Some(place) = bucket.last.get(nth.unwrap_or_default() % LAST) {
                place.store(micros.max(1), Ordering::Relaxed);
            }
        }
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How long a request takes that arrives now: by those that arrived with the number in flight
    /// that is nearest to the present one. Zero if nothing was measured.
    #[must_use]
    pub fn latency(&self) -> Duration {
        let here = bucket_of(self.in_flight());
        let near = (0..BUCKETS).flat_map(|off| [here.checked_sub(off), here.checked_add(off)]);
        let median = near.flatten().find_map(|bucket| self.buckets.get(bucket)?.median());
        median.unwrap_or_default()
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    fn median(&self) -> Option<Duration> {
        let mut last = [0; LAST];
        for (value, place) in last.iter_mut().zip(&self.last) {
            *value = place.load(Ordering::Relaxed);
        }
        last.sort_unstable();
        let known = last.get(last.partition_point(|value| *value == 0)..)?;
        known.get(known.len() / 2).map(|micros| Duration::from_micros(u64::from(*micros)))
    }
}

/// The bucket of a number in flight.
fn bucket_of(in_flight: u32) -> usize {
    let bucket = if in_flight < FINE {
        in_flight
    } else {
        // The power of two, and the three bits below it.
        let power = in_flight.ilog2();
        FINE + (power - FINE.ilog2()) * 8 + (in_flight >> (power - 3) & 7)
    };
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(10);

    #[test]
    fn buckets_grow_with_the_number_in_flight_and_end() {
        let mut before = 0;
        for in_flight in (0..5_000).chain([1 << 20, u32::MAX]) {
            let bucket = bucket_of(in_flight);
            assert!(bucket >= before && bucket < BUCKETS && bucket <= before + 80);
            before = bucket;
        }
        assert_ne!(bucket_of(31), bucket_of(32));
        assert_eq!(bucket_of(32), bucket_of(33), "an eighth of 32 is four");
    }

    #[test]
    fn an_idle_server_reports_what_it_is_now_not_what_it_was() {
        let meter = Meter::new();
        assert_eq!(meter.latency(), Duration::ZERO);
        let alone = meter.begin(NOW);
        meter.end(alone, NOW + Duration::from_millis(5));
        let crowd: Vec<_> = (0..40).map(|_| meter.begin(NOW)).collect();
        assert_eq!(meter.in_flight(), 40);
        for request in crowd {
            meter.end(request, NOW + Duration::from_secs(2));
        }
        // One of the crowd was the first: the median of two is the larger one.
        let alone = meter.begin(NOW);
        meter.end(alone, NOW + Duration::from_millis(7));
        assert_eq!(meter.latency(), Duration::from_millis(7));
        let crowd: Vec<_> = (0..30).map(|_| meter.begin(NOW)).collect();
        assert_eq!(meter.latency(), Duration::from_secs(2));
        drop(crowd);
    }
}
