//! Maglev: a look-up table that each endpoint fills to its share.
//!
//! # Source
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section
//! 3.4; weights as in Envoy: an endpoint of half the largest weight takes every second turn.

use super::function::hash64;
use crate::endpoint::Endpoint;
use crate::random::mix;
use crate::snapshot::{EndpointIndex, Endpoints};

/// A table of a prime number of entries.
#[derive(Debug)]
pub(super) struct Maglev {
    table: Box<[EndpointIndex]>,
}

/// How an endpoint goes through the table until it is full.
struct Turn {
    index: EndpointIndex,
    at: u32,
    skip: u32,
    weight: u64,
    due: u64,
}

impl Maglev {
    /// A table of at least `size` entries: the next prime.
    pub(super) fn new(endpoints: &Endpoints, size: u32) -> Self {
        let size = next_prime(size.max(2));
        let mut turns: Vec<Turn> = endpoints
            .indices()
            .map(|index| {
                let name = endpoints.endpoint(index).map(Endpoint::name);
                let hash = name.map_or(0, |name| hash64(name.as_str().as_bytes()));
                Turn {
                    index,
                    at: part(hash, size),
                    skip: part(mix(hash), size - 1) + 1,
                    weight: u64::from(endpoints.weight(index)),
                    due: 0,
                }
            })
            .collect();
        let heaviest = turns.iter().map(|turn| turn.weight).max().unwrap_or(1).max(1);
        let mut table = vec![EndpointIndex::new(0); size as usize];
        let mut taken = vec![0_u64; (size as usize).div_ceil(64)];
        let mut left = if turns.is_empty() { 0 } else { size };
        let mut round = 0_u64;
        while left > 0 {
            round += 1;
            for turn in &mut turns {
                if left == 0 {
                    break;
                }
                // `round × weight` runs up to the heaviest once in `heaviest / weight` rounds.
                if round * turn.weight < turn.due + heaviest {
                    continue;
                }
                turn.due += heaviest;
                while !take(&mut taken, turn.at) {
                    turn.step(size);
                }
                if let Some(entry) = table.get_mut(turn.at as usize) {
                    *entry = turn.index;
                }
                turn.step(size);
                left -= 1;
            }
        }
        if endpoints.is_empty() {
            table.clear();
        }
        Self { table: table.into() }
    }

    /// The endpoint of the hash if it is accepted, else that of the next entries.
    pub(super) fn find(
        &self,
        hash: u64,
        mut accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let start = crate::random::below(hash, self.table.len());
        if let Some(index) = self.table.get(start).filter(|index| accept(**index)) {
            return Some(*index);
        }
        // A hash of its own for each further try: so the work of one that is down is spread over
        // all others, and every key of it finds the same way again.
        for nth in 1..64 {
            let at = crate::random::below(mix(hash.wrapping_add(nth)), self.table.len());
            if let Some(index) = self.table.get(at).filter(|index| accept(**index)) {
                return Some(*index);
            }
        }
        None
    }
}

impl Turn {
    const fn step(&mut self, size: u32) {
        // Below 2^32: both are below the size, which is below 2^31.
        self.at += self.skip;
        if self.at >= size {
            self.at -= size;
        }
    }
}

/// Takes an entry if it is free.
fn take(taken: &mut [u64], entry: u32) -> bool {
    let mask = 1 << (entry % 64);
    match taken.get_mut((entry / 64) as usize) {
        Some(word) if *word & mask == 0 => {
            *word |= mask;
            true
        }
        Some(_) => false,
        None => true,
    }
}

fn part(hash: u64, size: u32) -> u32 {
    u32::try_from(crate::random::below(hash, size as usize)).unwrap_or_default()
}

/// The smallest prime that is not below `number`.
fn next_prime(number: u32) -> u32 {
    let is_prime = |n: &u32| {
        let divisors = 2..=n.isqrt();
        *n > 1 && divisors.into_iter().all(|divisor| !n.is_multiple_of(divisor))
    };
    (number..=u32::MAX).find(is_prime).unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::next_prime;

    #[test]
    fn sizes_are_primes() {
        assert_eq!([2, 4, 65_536, 655_373].map(next_prime), [2, 5, 65_537, 655_373]);
    }
}
