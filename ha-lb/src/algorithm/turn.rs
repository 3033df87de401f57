//! Whose turn it is, counted by each thread for itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads beyond these share a counter with others.
const SHARDS: usize = 16;

/// A counter of turns; threads do not share a cache line for it, as far as there are enough.
///
/// Within one thread turns follow each other without a gap. Each thread begins elsewhere in the cycle, so
/// that they do not all begin with the first endpoint.
#[derive(Debug)]
pub(crate) struct Turn([Shard; SHARDS]);

#[derive(Debug)]
#[repr(align(64))]
struct Shard(AtomicUsize);

impl Default for Turn {
    fn default() -> Self {
        // The golden ratio spreads beginnings evenly, however many there are; the first is 0.
        let begin = |shard: usize| shard.wrapping_mul(0x9e37_79b1) >> 3;
        Self(std::array::from_fn(|shard| Shard(AtomicUsize::new(begin(shard)))))
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
        let shard = SHARD.with(Cell::get);
        self.0.get(shard).map_or(0, |shard| shard.0.fetch_add(1, Ordering::Relaxed))
    }
}
