//! Random numbers from a seed that the caller gives, so that every run can be repeated.

/// A sequence of random numbers (Steele, Lea, Flood 2014, "`SplitMix`").
#[derive(Debug, Clone)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) const fn take(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }
}

/// The number that belongs to a seed.
pub(super) const fn mixed(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from `low` to `high`, both included, chosen by a random one; `low` if it is the larger.
pub(super) fn between(low: u64, high: u64, random: u64) -> u64 {
    let choices = u128::from(high.saturating_sub(low)) + 1;
    let chosen = (u128::from(random) * choices) >> 64;
    low.saturating_add(u64::try_from(chosen).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_stay_between_their_bounds(low: u64, high: u64, random: u64) {
            let number = between(low, high, random);
            prop_assert!(number >= low && number <= high.max(low));
        }
    }

    #[test]
    fn both_bounds_are_reached_and_all_are_alike() {
        assert_eq!((between(3, 9, 0), between(3, 9, u64::MAX)), (3, 9));
        let mut random = SplitMix::new(7);
        let mut counts = [0; 4];
        for _ in 0..4_000 {
            counts[usize::try_from(between(0, 3, random.take())).expect("small")] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }
}
