//! Which endpoints of a group are usable: a bit each.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A set of bits that is read by all threads and changed by one at a time.
#[derive(Debug)]
pub(super) struct Bits {
    words: Box<[AtomicU64]>,
    /// How many are set in each block of [`BLOCK`] words.
    blocks: Box<[AtomicU32]>,
    count: AtomicU32,
}

/// Words whose set bits are counted together: half a page of 2,048 bits.
const BLOCK: usize = 32;

impl Bits {
    /// So many bits, none of them set.
    pub(super) fn new(len: usize) -> Self {
        let words: Box<[_]> = (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let blocks = words.chunks(BLOCK).map(|_| AtomicU32::new(0)).collect();
        Self { words, blocks, count: AtomicU32::new(0) }
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
            if let Some(block) = self.blocks.get(bit / 64 / BLOCK) {
                block.fetch_add(change, Ordering::Relaxed);
            }
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
    pub(super) fn nth(&self, mut nth: u32) -> Option<usize> {
        let mut first = 0;
        for block in &self.blocks {
            let ones = block.load(Ordering::Relaxed);
            if nth < ones {
                break;
            }
            nth -= ones;
            first += BLOCK;
        }
        for (at, word) in self.words.iter().enumerate().skip(first) {
            let word = word.load(Ordering::Relaxed);
            let ones = word.count_ones();
            if nth < ones {
                return Ones(word).nth(usize::try_from(nth).ok()?).map(|bit| at * 64 + bit);
            }
            nth -= ones;
        }
        None
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
