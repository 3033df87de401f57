//! Jump consistent hash: no table at all.
//!
//! # Source
//!
//! Lamping, Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014). Endpoints are numbered by
//! their place in the list: only one at the end of the list can go without moving the keys of others
//! (half of all keys move when the middle one of many goes). For shards with fixed numbers. Weights do not
//! count.

use crate::random::mix;
use crate::snapshot::EndpointIndex;

/// How often another hash is tried when an endpoint is not accepted.
const TRIES: u64 = 32;

/// The endpoint of the hash among `len`, if it is accepted, else that of another hash of it.
pub(super) fn find(
    hash: u64,
    len: usize,
    mut accept: impl FnMut(EndpointIndex) -> bool,
) -> Option<EndpointIndex> {
    let len = i64::try_from(len).ok().filter(|len| *len > 0)?;
    let hashes = std::iter::once(hash).chain((1..TRIES).map(|nth| mix(hash.wrapping_add(nth))));
    hashes
        .filter_map(|hash| u32::try_from(bucket(hash, len)).ok().map(EndpointIndex::new))
        .find(|index| accept(*index))
}

fn bucket(mut key: u64, len: i64) -> i64 {
    let (mut bucket, mut next) = (0_i64, 0_i64);
    while next < len {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        #[expect(clippy::cast_precision_loss, reason = "both are below 2^33")]
        let jump = (bucket + 1) as f64 * ((1_i64 << 31) as f64 / ((key >> 33) + 1) as f64);
        #[expect(clippy::cast_possible_truncation, reason = "a float is cut off at the limits")]
        let jump = jump as i64;
        next = jump;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn only_keys_for_the_new_bucket_move() {
        for key in 0..5_000_u64 {
            let hash = crate::random::mix(key);
            for len in 1..40 {
                let (before, after) = (bucket(hash, len), bucket(hash, len + 1));
                assert!(before < len && (after == before || after == len));
            }
        }
    }
}
