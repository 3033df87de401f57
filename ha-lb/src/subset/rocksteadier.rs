//! Rings with evenly spread positions: nobody moves when somebody comes.

use ha_core::config::{ConfigError, Problems};

use super::{Kept, Subset, of_each_rank};
use crate::endpoint::Endpoint;
use crate::random::mix;

/// The next few servers on a ring, from the client's own place on.
///
/// # Source
///
/// Ward, Wankadia, Guliani, "Reinventing Backend Subsetting at Google" (ACM Queue 20(5), 2022):
/// places on the ring come from the binary van der Corput sequence, whose first so many points are
/// always spread evenly, however many they are. A server that comes takes a part of one other's,
/// and each client changes one connection at most; a client that comes changes nobody else's.
///
/// Clients are cut into lots, and each lot has a ring of its own on which the servers are in
/// another order: else neighbours would share all their servers, and fail together. The shuffle of
/// the rings keeps the places evenly spread (nested scrambling: Owen 1995); it is ours, not the
/// article's.
///
/// A server's place comes from its [id](Endpoint::with_id) if all servers have one, and otherwise
/// from its rank by name. Ids keep everyone's place when one in the middle goes; with names alone
/// those behind it move up. Give ids from 1 on without large gaps, or names that are numbered and
/// reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rocksteadier {
    client: u32,
    size: usize,
    lot: u32,
}

impl Rocksteadier {
    /// `size` servers, 1 or more, for client number `client`, counted from 0.
    ///
    /// # Errors
    ///
    /// When the size is 0.
    pub fn new(client: u32, size: usize) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if size == 0 {
            problems.add("size", size, "1 or more");
        }
        problems.into_result(Self { client, size, lot: 256 })
    }

    /// Sets how many clients share a ring: 1 or more, the same for all clients. Default: 256.
    ///
    /// Larger lots spread connections more evenly; smaller ones mix servers better. A power of two
    /// is best, and a multiple of servers over size.
    #[must_use]
    pub const fn with_lot(mut self, clients: u32) -> Self {
        self.lot = if clients == 0 { 1 } else { clients };
        self
    }

    fn choose(self, endpoints: &[Endpoint], positions: &[usize]) -> Vec<Kept> {
        if self.size >= positions.len() {
            return positions.iter().copied().map(Kept::whole).collect();
        }
        let (ring, place) = (self.client / self.lot, self.client % self.lot);
        let start = van_der_corput(place);
        let mut servers: Vec<(u32, usize)> = numbered(endpoints, positions)
            .into_iter()
            .map(|(number, position)| (shuffled(van_der_corput(number), ring), position))
            .collect();
        servers.sort_unstable();
        let first = servers.partition_point(|(at, _)| *at < start);
        let from_there = servers.iter().cycle().skip(first).take(self.size);
        from_there.map(|(_, position)| Kept::whole(*position)).collect()
    }
}

impl Subset for Rocksteadier {
    fn apply(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        of_each_rank(endpoints, |all, positions| self.choose(all, positions))
    }
}

/// A number for each server: its id, or its rank by name.
fn numbered(endpoints: &[Endpoint], positions: &[usize]) -> Vec<(u32, usize)> {
    let at = |position: &usize| endpoints.get(*position);
    let id = |position: &usize| Some((at(position)?.id()?.get() - 1, *position));
    let by_id: Option<Vec<_>> = positions.iter().map(id).collect();
    by_id.unwrap_or_else(|| {
        let mut by_name = positions.to_vec();
        by_name.sort_by_key(|position| at(position).map(Endpoint::name));
        (0..).zip(by_name).collect()
    })
}

/// The place of the nth on a ring of 2^32: its bits turned round.
const fn van_der_corput(nth: u32) -> u32 {
    nth.reverse_bits()
}

/// Turns each half, quarter, eighth of the ring round, or does not, by chance: what was evenly
/// spread stays so. The first ring is left as it is.
fn shuffled(place: u32, ring: u32) -> u32 {
    if ring == 0 {
        return place;
    }
    (0..u32::BITS).fold(place, |shuffled, bit| {
        // Whether this bit turns depends on those above it.
        let above = place.checked_shr(u32::BITS - bit).unwrap_or(0);
        let seed = u64::from(ring) << 32 | u64::from(bit);
        let turn = u32::try_from(mix(mix(seed) ^ u64::from(above)) & 1).unwrap_or_default();
        shuffled ^ (turn << (u32::BITS - 1 - bit))
    })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_sequence() {
        let eighths: Vec<u32> = (0..8).map(|nth| van_der_corput(nth) >> 29).collect();
        assert_eq!(eighths, [0, 4, 2, 6, 1, 5, 3, 7]);
    }

    #[test]
    fn a_shuffled_ring_is_another_one_and_as_even() {
        for ring in 1..50 {
            let mut places: Vec<u32> =
                (0..64).map(|nth| shuffled(van_der_corput(nth), ring) >> 26).collect();
            assert!((0..64).any(|nth| places[nth as usize] != van_der_corput(nth) >> 26));
            places.sort_unstable();
            assert_eq!(places, (0..64).collect::<Vec<_>>(), "one in each sixty-fourth");
        }
    }
}
