//! Whose turn it is, counted by each thread for itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::random::mix;

/// Threads beyond these share a counter with others.
const SHARDS: usize = 32;

/// A counter of turns; threads do not share a cache line for it, as far as there are enough.
///
/// Within one thread turns follow each other without a gap. The first thread begins with turn 0, each
/// further one elsewhere in the cycle, so that they do not all begin with the first endpoint.
///
/// Threads that share a counter may both be given a turn, or one turn may be left out: it costs a
/// little evenness, and an addition that no other thread may see halfway would cost more than all else
/// of a pick.
#[derive(Debug)]
pub(crate) struct Turn {
    shards: [Shard; SHARDS],
    begun: AtomicUsize,
}

/// One thread's count.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    /// One more than the next turn; 0 before the first one.
    next: AtomicU32,
    /// The next running number; 0 before the first one.
    counted: AtomicUsize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { shards: Default::default(), begun: AtomicUsize::new(0) }
    }
}

thread_local! {
    /// [`SHARDS`] until the thread has one.
    static SHARD: Cell<usize> = const { Cell::new(SHARDS) };
}

#[cold]
fn join_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.with(|own| own.set(shard));
    shard
}

impl Turn {
    /// Where in a cycle of `len` turns this one is; `None` if there are none.
    #[inline]
    pub(crate) fn take(&self, len: usize) -> Option<usize> {
        let Shard { next, .. } = self.shard()?;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let turn = match next.load(Ordering::Relaxed).checked_sub(1) {
            Some(turn) => turn,
            None => self.begin(),
        };
        let turn = if turn < len { turn } else { turn.checked_rem(len)? };
        next.store(turn.saturating_add(2), Ordering::Relaxed);
        Some(turn as usize)
    }

    /// A running number, for turns among a number of endpoints that changes; wraps around.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        let Some(Shard { counted, .. }) = self.shard() else {
            return 0;
        };
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let first = self.begin() as usize;
                counted.store(first.wrapping_add(1), Ordering::Relaxed);
                first
            }
            count => count,
        }
    }

    /// A number for what depends on chance; the same ones in each run of a program of one thread.
    #[inline]
    pub(crate) fn salt(&self) -> u64 {
        mix(u64::try_from(self.count()).unwrap_or_default())
    }

    #[inline]
    fn shard(&self) -> Option<&Shard> {
        let own = match SHARD.with(Cell::get) {
            SHARDS => join_shard(),
            own => own,
        };
        self.shards.get(own)
    }

    /// The first turn of a thread: the golden ratio spreads beginnings evenly, however many there are.
    #[cold]
    fn begin(&self) -> u32 {
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        u32::try_from(nth.wrapping_mul(0x9e37_79b1) & 0xffff_ffff).unwrap_or_default() >> 3
    }
}

#[cfg(test)]
mod tests {
    use super::Turn;

    #[test]
    fn the_first_thread_begins_with_the_first_turn_whatever_thread_it_is() {
        for _ in 0..20 {
            let turn = Turn::default();
            let turns = std::thread::scope(|scope| {
                scope.spawn(|| [(); 4].map(|()| turn.take(3))).join().expect("no panic")
            });
            assert_eq!(turns, [Some(0), Some(1), Some(2), Some(0)]);
            assert_eq!(turn.take(0), None);
        }
    }

    #[test]
    fn later_threads_begin_elsewhere() {
        let turn = Turn::default();
        let first = || {
            let turn = &turn;
            std::thread::scope(|scope| {
                scope.spawn(|| turn.take(1_000_000)).join().expect("no panic")
            })
        };
        let mut beginnings = [(); 8].map(|()| first().expect("a turn"));
        beginnings.sort_unstable();
        assert_eq!(beginnings[0], 0);
        assert!(beginnings.windows(2).all(|pair| pair[1] - pair[0] > 10_000), "{beginnings:?}");
    }
}
