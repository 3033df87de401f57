//! A moving average of latency that follows peaks at once.
//!
//! # Source
//!
//! Peak EWMA of Finagle (`PeakEwma.scala`, described in its user guide under "Load Balancing"): a
//! time above the average becomes the average; one below is taken in with a weight that grows with
//! the time since the last one; without news the average decays towards 0.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_core::time::Instant;

/// Time of the last change in ms, and the average in ns as `f32`, in one word; 0 is nothing yet.
#[derive(Debug, Default)]
pub(super) struct Latency(AtomicU64);

#[derive(Debug, Clone, Copy)]
struct Average {
    /// Wraps around after 49 days.
    at_ms: u32,
    nanos: f32,
}

impl Average {
    const fn pack(self) -> u64 {
        (self.at_ms as u64) << 32 | self.nanos.to_bits() as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the word")]
    const fn unpack(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Self { at_ms: (word >> 32) as u32, nanos: f32::from_bits(word as u32) })
    }

    /// What is left of the average after the time since; later clocks that are behind count as
    /// no time.
    fn decayed(self, now_ms: u32, decay: Duration) -> f32 {
        let elapsed = now_ms.wrapping_sub(self.at_ms);
        if elapsed == 0 || elapsed > u32::MAX / 2 {
            return self.nanos;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio of times")]
        let ratio = elapsed as f32 / (decay.as_secs_f32() * 1e3).max(1.0);
        self.nanos * (-ratio).exp()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it wraps around")]
const fn millis(now: Instant) -> u32 {
    now.since(Instant::ZERO).as_millis() as u32
}

impl Latency {
    pub(super) fn note(&self, now: Instant, took: Duration, decay: Duration) {
        let now_ms = millis(now);
        // A time of 0 would read as nothing yet; more than eleven days are not told apart.
        let took = (took.as_secs_f32() * 1e9).clamp(1.0, 1e15);
        let next = |word: u64| {
            let nanos = Average::unpack(word).map_or(took, |average| {
                let keep = average.decayed(now_ms, decay) / average.nanos.max(1.0);
                if took >= average.nanos { took } else { took + (average.nanos - took) * keep }
            });
            Some(Average { at_ms: now_ms, nanos }.pack())
        };
        // It never gives up: `next` always has an answer.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
    }

    pub(super) fn last(&self) -> Option<Duration> {
        let average = Average::unpack(self.0.load(Ordering::Relaxed))?;
        Some(Duration::from_secs_f32(average.nanos.max(0.0) / 1e9))
    }

    /// Whether the average times `factor` is below the other one times its own; `None` if there is
    /// nothing yet. Both decay alike, so the answer is the same at any time after the later of the
    /// two measurements.
    pub(super) fn is_below(
        &self,
        factor: f32,
        other: &Self,
        other_factor: f32,
        decay: Duration,
    ) -> Option<bool> {
        let this = Average::unpack(self.0.load(Ordering::Relaxed))?;
        let other = Average::unpack(other.0.load(Ordering::Relaxed))?;
        let (cost, other_cost) = (this.nanos * factor, other.nanos * other_factor);
        // What was measured earlier has decayed since. Mostly that need not be worked out.
        let is_earlier = other.at_ms.wrapping_sub(this.at_ms) <= u32::MAX / 2;
        Some(match (is_earlier, cost < other_cost) {
            (true, true) => true,
            (false, false) => false,
            (true, false) => this.decayed(other.at_ms, decay) * factor < other_cost,
            (false, true) => cost < other.decayed(this.at_ms, decay) * other_factor,
        })
    }

    pub(super) fn at(&self, now: Instant, decay: Duration) -> Option<Duration> {
        let average = Average::unpack(self.0.load(Ordering::Relaxed))?;
        Some(Duration::from_secs_f32(average.decayed(millis(now), decay).max(0.0) / 1e9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn micros(latency: &Latency, ms: u64) -> u128 {
        latency.at(at(ms), DECAY).expect("something was measured").as_micros()
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_with_time() {
        let latency = Latency::default();
        assert_eq!(latency.at(at(5), DECAY), None);
        latency.note(at(10), Duration::from_millis(1), DECAY);
        latency.note(at(20), Duration::from_millis(80), DECAY);
        assert!((79_900..80_100).contains(&micros(&latency, 20)));
        // One time constant later a third is left, without a single measurement.
        assert!((29_000..30_000).contains(&micros(&latency, 10_020)));
        latency.note(at(10_020), Duration::from_millis(1), DECAY);
        let after = micros(&latency, 10_020);
        assert!((29_000..31_000).contains(&after), "{after}");
    }

    proptest::proptest! {
        #[test]
        fn two_compare_as_they_do_at_any_later_time(
            took in 1_u64..1_000_000, other_took in 1_u64..1_000_000,
            now in 0_u64..60_000, other_now in 0_u64..60_000, later in 0_u64..60_000,
            queue in 1_u8..9, other_queue in 1_u8..9,
        ) {
            let (this, other) = (Latency::default(), Latency::default());
            let (queue, other_queue) = (f32::from(queue), f32::from(other_queue));
            proptest::prop_assert_eq!(this.is_below(queue, &other, other_queue, DECAY), None);
            this.note(at(now), Duration::from_micros(took), DECAY);
            other.note(at(other_now), Duration::from_micros(other_took), DECAY);
            let then = at(now.max(other_now) + later);
            let cost = this.at(then, DECAY).expect("measured").as_secs_f32() * queue;
            let other_cost = other.at(then, DECAY).expect("measured").as_secs_f32() * other_queue;
            let is_below = this.is_below(queue, &other, other_queue, DECAY).expect("measured");
            // Durations round to 1 ns, and floats to seven digits.
            let margin = 2e-9 * queue.max(other_queue) + 1e-4 * cost.max(other_cost);
            if (cost - other_cost).abs() > margin {
                proptest::prop_assert_eq!(is_below, cost < other_cost);
            }
        }
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_does_no_harm() {
        let latency = Latency::default();
        latency.note(at(u64::from(u32::MAX) + 5), Duration::MAX, DECAY);
        latency.note(at(3), Duration::ZERO, Duration::ZERO);
        latency.note(at(0), Duration::ZERO, Duration::MAX);
        assert!(latency.at(at(0), Duration::ZERO).is_some_and(|d| d < Duration::MAX));
    }
}
