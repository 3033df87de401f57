//! Whose turn it is, counted by each thread for itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads beyond these share a counter with others.
const SHARDS: usize = 16;

/// A counter of turns; threads do not share a cache line for it, as far as there are enough.
///
/// Within one thread turns follow each other without a gap. The first thread begins with turn 0, each
/// further one elsewhere in the cycle, so that they do not all begin with the first endpoint.
#[derive(Debug)]
pub(crate) struct Turn {
    shards: [Shard; SHARDS],
    begun: AtomicUsize,
}

/// The next turn of a thread; 0 is one that has not begun.
#[derive(Debug)]
#[repr(align(64))]
struct Shard(AtomicUsize);

impl Default for Turn {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Shard(AtomicUsize::new(0)));
        Self { shards, begun: AtomicUsize::new(0) }
    }
}

thread_local! {
    static SHARD: Cell<usize> = Cell::new(next_shard());
}

fn next_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
}

impl Turn {
    /// This turn's number; wraps around.
    #[inline]
    pub(crate) fn take(&self) -> usize {
        let Some(Shard(next)) = self.shards.get(SHARD.with(Cell::get)) else {
            return 0;
        };
        match next.fetch_add(1, Ordering::Relaxed) {
            0 => self.begin(next),
            turn => turn,
        }
    }

    /// The first turn of a thread: the golden ratio spreads beginnings evenly, however many there are.
    #[cold]
    fn begin(&self, next: &AtomicUsize) -> usize {
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        let first = nth.wrapping_mul(0x9e37_79b1) >> 3;
        next.store(first.wrapping_add(1), Ordering::Relaxed);
        first
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
                scope.spawn(|| [(); 3].map(|()| turn.take())).join().expect("no panic")
            });
            assert_eq!(turns, [0, 1, 2]);
            let other = turn.take();
            assert!(other == 3 || other > 1_000, "a shared counter, or one of its own: {other}");
        }
    }
}
