//! Counts over a sliding window of time, without a lock.
//!
//! Time is cut into slots. A counter is a ring of cells, each a word of a slot's number (its lower
//! 32 bits) and the count of that slot: whoever counts first in a new slot takes the cell of the
//! oldest one over, so nothing ever has to be swept. A slot's number comes round after 2^32 slots;
//! a cell would have to be left alone for exactly so long (13 years of slots of 100 ms) to be
//! mistaken for a fresh one.

use std::num::NonZeroU64;
use std::time::Duration;

use ha_core::time::Instant;

use super::atomics::{AtomicU64, Ordering};

const LOW: u64 = u32::MAX as u64;

/// Time cut into slots of one length; the newest slot that was seen never goes back.
#[derive(Debug)]
pub(super) struct Slots {
    nanos: NonZeroU64,
    newest: AtomicU64,
}

impl Slots {
    /// Slots of `length`, at least a nanosecond.
    pub(super) fn new(length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let nanos = NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN);
        Self { nanos, newest: AtomicU64::new(0) }
    }

    /// The slot at `now`; a `now` that goes back counts as the last one.
    pub(super) fn advance(&self, now: Instant) -> u64 {
        let slot = now.as_nanos() / self.nanos;
        let newest = self.newest.load(Ordering::Acquire);
        if slot <= newest {
            return newest;
        }
        self.newest.fetch_max(slot, Ordering::AcqRel).max(slot)
    }

    /// The newest slot that was seen.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }
}

/// A count for each of the last slots.
#[derive(Debug)]
pub(super) struct Counter {
    cells: Box<[AtomicU64]>,
}

impl Counter {
    /// Counts over the newest slot and the `slots` before it.
    pub(super) fn new(slots: usize) -> Self {
        Self { cells: (0..=slots).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts one at `now`; returns the slot in which it was counted.
    pub(super) fn add(&self, slots: &Slots, now: Instant) -> u64 {
        loop {
            let slot = slots.advance(now);
            let Some(cell) = self.cell(slot) else { return slot };
            let word = cell.load(Ordering::Acquire);
            let next = if is_of(word, slot) {
                if word & LOW == LOW { word } else { word + 1 }
            } else if slots.newest() == slot {
                (slot << 32) | 1
            } else {
                continue; // a newer slot began meanwhile and may have taken the cell
            };
            if cell.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return slot;
            }
        }
    }

    /// Takes one back that was counted in `slot`, unless the slot has passed.
    pub(super) fn take_back(&self, slot: u64) {
        let Some(cell) = self.cell(slot) else { return };
        let _passed = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (is_of(word, slot) && word & LOW > 0).then(|| word - 1)
        });
    }

    /// The sum of the slots up to `newest`.
    pub(super) fn sum(&self, newest: u64) -> u64 {
        let slots = u64::try_from(self.cells.len()).unwrap_or(LOW);
        let words = self.cells.iter().map(|cell| cell.load(Ordering::Acquire));
        words.filter(|word| (newest.wrapping_sub(word >> 32) & LOW) < slots).map(|w| w & LOW).sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.cells.iter().for_each(|cell| cell.store(0, Ordering::Release));
    }

    fn cell(&self, slot: u64) -> Option<&AtomicU64> {
        let cells = u64::try_from(self.cells.len()).ok()?;
        self.cells.get(usize::try_from(slot.checked_rem(cells)?).ok()?)
    }
}

/// Whether the word is that of `slot`.
const fn is_of(word: u64, slot: u64) -> bool {
    word >> 32 == slot & LOW
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_are_those_of_the_slots_in_the_window(
            steps in prop::collection::vec(0u64..4_000, 0..200), start: u64,
        ) {
            let (slots, counter) = (Slots::new(Duration::from_micros(1)), Counter::new(3));
            let mut counted = Vec::new();
            let mut now = Instant::from_nanos(start);
            for step in steps {
                now += Duration::from_nanos(step);
                counted.push(counter.add(&slots, now));
                let newest = slots.newest();
                prop_assert_eq!(newest, now.as_nanos() / 1_000);
                let oldest = newest.saturating_sub(3);
                let expected = counted.iter().filter(|slot| **slot >= oldest).count();
                prop_assert_eq!(counter.sum(newest), u64::try_from(expected).expect("few"));
            }
        }
    }

    #[test]
    fn one_that_was_taken_back_is_not_counted_and_a_clock_that_goes_back_is_ignored() {
        let (slots, counter) = (Slots::new(Duration::from_secs(1)), Counter::new(3));
        let first = counter.add(&slots, Instant::from_secs(10));
        assert_eq!(counter.add(&slots, Instant::from_secs(2)), first);
        counter.take_back(first);
        assert_eq!(counter.sum(slots.newest()), 1);
        let much_later = slots.advance(Instant::from_secs(14));
        counter.take_back(first);
        assert_eq!(counter.sum(much_later), 0);
    }
}
