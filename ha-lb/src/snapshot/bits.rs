//! Which endpoints of a group are usable: a bit each.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A set of bits that is read by all threads and changed by one at a time.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[AtomicU64]>,
    counts: Counts,
    count: AtomicU32,
}

impl Bits {
    /// So many bits, none of them set.
    pub(super) fn new(len: usize) -> Self {
        let words: Box<[_]> = (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { counts: Counts::new(words.len()), words, count: AtomicU32::new(0) }
    }

    /// How many are set.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, bit: usize) -> bool {
        let word = self.words.get(bit / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        word >> (bit % 64) & 1 == 1
    }

    /// Sets or clears a bit; returns whether that changed it.
    pub(super) fn set(&self, bit: usize, value: bool) -> bool {
        let Some(word) = self.words.get(bit / 64) else {
            return false;
        };
        let mask = 1 << (bit % 64);
        let before = if value {
            word.fetch_or(mask, Ordering::Relaxed)
        } else {
            word.fetch_and(!mask, Ordering::Relaxed)
        };
        let changed = (before & mask != 0) != value;
        if changed {
            let change = if value { 1 } else { u32::MAX }; // wraps around: one less
            self.count.fetch_add(change, Ordering::Relaxed);
            self.counts.add(bit / 64, change);
        }
        changed
    }

    /// The set bits from `start` on, then those before it.
    pub(super) fn iter_from(&self, start: usize) -> impl Iterator<Item = usize> {
        let (first, len) = (start / 64, self.words.len());
        let below = (1_u64 << (start % 64)) - 1;
        // The first word is looked at twice: its upper bits at first, its lower ones in the end.
        let order = (first..len).map(move |at| (at, if at == first { !below } else { u64::MAX }));
        let rest = (0..=first).map(move |at| (at, if at == first { below } else { u64::MAX }));
        order.chain(rest.filter(move |(at, _)| *at < len)).flat_map(|(at, mask)| {
            let word = self.words.get(at).map_or(0, |word| word.load(Ordering::Relaxed));
            Ones(word & mask).map(move |bit| at * 64 + bit)
        })
    }

    /// The `nth` set bit, counted from 0; another one or none while bits change.
    pub(super) fn nth(&self, nth: u32) -> Option<usize> {
        let (word, left) = self.counts.find(nth);
        let bits = self.words.get(word)?.load(Ordering::Relaxed);
        Some(word * 64 + nth_one(bits, left)?)
    }
}

/// The position of the `nth` set bit of a word.
fn nth_one(mut word: u64, mut nth: u32) -> Option<usize> {
    let mut at = 0;
    for half in [32, 16, 8, 4, 2, 1] {
        let ones = (word & ((1 << half) - 1)).count_ones();
        if nth >= ones {
            nth -= ones;
            word >>= half;
            at += half;
        }
    }
    (nth == 0 && word & 1 == 1).then_some(at)
}

/// How many bits are set in each word, as sums that are changed and searched in a time that grows
/// with the logarithm of their number (Fenwick 1994).
#[derive(Debug)]
struct Counts {
    /// At n − 1 the sum of the words from n − (the lowest set bit of n) to n − 1.
    sums: Box<[AtomicU32]>,
}

impl Counts {
    fn new(words: usize) -> Self {
        Self { sums: (0..words).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Adds to the count of a word; wraps around.
    fn add(&self, word: usize, change: u32) {
        let mut n = word + 1;
        while let Some(sum) = self.sums.get(n - 1) {
            sum.fetch_add(change, Ordering::Relaxed);
            n += n & n.wrapping_neg();
        }
    }

    /// The word with the `nth` set bit, and which one of its bits that is.
    fn find(&self, nth: u32) -> (usize, u32) {
        let (mut n, mut left) = (0, nth);
        let mut step = self.sums.len().checked_ilog2().map_or(0, |bits| 1 << bits);
        while step > 0 {
            if let Some(sum) = self.sums.get(n + step - 1) {
                let sum = sum.load(Ordering::Relaxed);
                if sum <= left {
                    left -= sum;
                    n += step;
                }
            }
            step /= 2;
        }
        (n, left)
    }
}

/// The set bits of a word, the lowest first.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.checked_sub(1)?;
        usize::try_from(bit).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(len in 1_usize..5_000, changes: Vec<(u16, bool)>, start in 0_usize..5_000) {
            let (bits, mut model) = (Bits::new(len), BTreeSet::new());
            for (bit, value) in changes {
                let bit = usize::from(bit) % len;
                let changed = if value { model.insert(bit) } else { model.remove(&bit) };
                prop_assert_eq!(bits.set(bit, value), changed);
            }
            prop_assert_eq!(bits.count() as usize, model.len());
            prop_assert!((0..len).all(|bit| bits.get(bit) == model.contains(&bit)));
            let start = start % len;
            let expected: Vec<usize> =
                model.range(start..).chain(model.range(..start)).copied().collect();
            prop_assert_eq!(bits.iter_from(start).collect::<Vec<_>>(), expected);
            for (nth, bit) in (0..).zip(&model) {
                prop_assert_eq!(bits.nth(nth), Some(*bit));
            }
            prop_assert_eq!(bits.nth(bits.count()), None);
        }
    }
}
