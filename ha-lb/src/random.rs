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
///
/// Wang Yi's "wyrand": one multiplication, which is half the cost of a `SplitMix`.
#[inline]
pub(crate) fn draw() -> u64 {
    SEED.with(|cell| {
        let before = match cell.get() {
            0 => seed(),
            before => before,
        };
        let next = before.wrapping_add(0xa076_1d64_78bd_642f);
        cell.set(next);
        let product = u128::from(next) * u128::from(next ^ 0xe703_7ed1_a0b4_28db);
        let [low, high] = halves(product);
        low ^ high
    })
}

/// The lower and the upper half.
#[expect(clippy::cast_possible_truncation, reason = "that is what is wanted")]
const fn halves(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

/// A number below `len` from a random one (Lemire's reduction); 0 if `len` is 0.
#[inline]
pub(crate) fn below(number: u64, len: usize) -> usize {
    let len = u128::try_from(len).unwrap_or_default();
    let [_, upper] = halves(u128::from(number) * len);
    usize::try_from(upper).unwrap_or_default()
}
