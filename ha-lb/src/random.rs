//! Random numbers without a lock and without a shared cache line.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// The step of a Weyl sequence (Steele, Lea, Flood 2014, "`SplitMix`").
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the bits of a number.
#[inline]
pub(crate) const fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

thread_local! {
    /// 0 until the thread has one.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

#[cold]
fn seed() -> u64 {
    RandomState::new().hash_one(0)
}

/// The next random number of this thread.
#[inline]
pub(crate) fn draw() -> u64 {
    let before = match SEED.with(Cell::get) {
        0 => seed(),
        before => before,
    };
    let next = before.wrapping_add(STEP);
    SEED.with(|seed| seed.set(next));
    mix(next)
}

/// A number below `len` from a random one (Lemire's reduction); 0 if `len` is 0.
#[inline]
pub(crate) fn below(number: u64, len: usize) -> usize {
    let len = u128::try_from(len).unwrap_or_default();
    usize::try_from((u128::from(number) * len) >> 64).unwrap_or_default()
}
