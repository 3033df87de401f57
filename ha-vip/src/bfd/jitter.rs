//! Random numbers that follow from a seed.

use std::time::Duration;

/// A small generator (splitmix64), for jitter and first sequence numbers: not for secrets.
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    /// A time from 75 % of `interval` to all of it; to 90 % if a single packet may be missed
    /// (RFC 5880, section 6.8.7).
    pub(super) fn apply(&mut self, interval: Duration, detect_mult: u8) -> Duration {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let percent = if detect_mult == 1 { 15 } else { 25 };
        let spread = u128::from(nanos) * percent * u128::from(self.next_u32());
        let spread = u64::try_from(spread / 100 / u128::from(u32::MAX)).unwrap_or_default();
        Duration::from_nanos(nanos - nanos / 4 + spread)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn jitter_keeps_to_the_bounds_of_the_rfc(seed: u64, micros in 1_000_u64..u64::from(u32::MAX), mult: u8) {
            let interval = Duration::from_micros(micros);
            let jittered = Jitter::new(seed).apply(interval, mult);
            let share = jittered.as_secs_f64() / interval.as_secs_f64();
            let max = if mult == 1 { 0.9 } else { 1.0 };
            prop_assert!((0.749_999..=max + 1e-6).contains(&share), "{}", share);
        }
    }

    #[test]
    fn jitter_reaches_both_ends_of_its_range() {
        let mut jitter = Jitter::new(1);
        let second = Duration::from_secs(1);
        let all: Vec<Duration> = (0..1_000).map(|_| jitter.apply(second, 3)).collect();
        assert!(all.iter().min().is_some_and(|min| min.as_millis() < 755));
        assert!(all.iter().max().is_some_and(|max| max.as_millis() > 995));
    }
}
