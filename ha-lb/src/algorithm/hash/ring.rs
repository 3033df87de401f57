//! Rings: points of all endpoints on a circle of 32 bits; HAProxy's, ketama of libmemcached and of nginx.

use std::net::SocketAddr;
use std::ops::Range;

use md5::{Digest, Md5};

use super::function::{Crc32, avalanche};
use crate::endpoint::Endpoint;
use crate::snapshot::{EndpointIndex, Endpoints};

/// Points in ascending order, and where to begin to look for each value of the upper bits.
#[derive(Debug)]
pub(super) struct Ring {
    points: Box<[Point]>,
    /// The first point at or after each value of the upper bits, and the number of points at last.
    starts: Box<[u32]>,
    /// How far to shift a hash to the right for its place in `starts`.
    shift: u32,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: u32,
    index: EndpointIndex,
}

/// The most points: 64 MiB. Weights that would make more are halved until they fit.
const MAX_POINTS: u64 = 1 << 23;

/// The weights, if so many points for each unit of them are not too many.
fn fitting_weights(endpoints: &Endpoints, points: u64) -> Vec<(EndpointIndex, u32)> {
    let weights = endpoints.indices().map(|index| (index, u32::from(endpoints.weight(index))));
    let mut weights: Vec<_> = weights.collect();
    let too_many = |weights: &[(EndpointIndex, u32)]| {
        weights.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>() * points > MAX_POINTS
    };
    while too_many(&weights) && weights.iter().any(|(_, weight)| *weight > 1) {
        for (_, weight) in &mut weights {
            *weight = (*weight / 2).max(1);
        }
    }
    weights
}

impl Ring {
    fn new(points: Vec<Point>) -> Self {
        let points = sorted(points);
        // About one point for each value, so that a look-up is a few steps.
        let bits = points.len().checked_ilog2().unwrap_or(0).clamp(1, 24);
        let shift = 32 - bits;
        // After the last point of each value begin those of the next; a value without any begins where
        // the one before it does.
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for (end, point) in (1..).zip(&points) {
            if let Some(start) = starts.get_mut((point.at >> shift) as usize + 1) {
                *start = end;
            }
        }
        let mut before = 0;
        for start in &mut starts {
            before = before.max(*start);
            *start = before;
        }
        Self { points: points.into(), starts: starts.into(), shift }
    }

    /// HAProxy's: each endpoint has 16 points for each unit of weight, at
    /// `avalanche(id × 4096 + nth)`; its id is the one that was set, else its position in the list, from 1.
    pub(super) fn haproxy(endpoints: &Endpoints) -> Self {
        let weights = fitting_weights(endpoints, 16);
        let points = weights.iter().map(|(_, weight)| 16 * *weight as usize).sum();
        let mut points = Vec::with_capacity(points);
        for (index, weight) in weights {
            let position = endpoints.list_position(index).and_then(|at| u32::try_from(at).ok());
            let position = position.unwrap_or(u32::MAX).wrapping_add(1);
            let id = endpoints.endpoint(index).and_then(Endpoint::id);
            let id = id.map_or(position, std::num::NonZeroU32::get);
            let first = id.wrapping_mul(4096);
            let at = |nth| Point { at: avalanche(first.wrapping_add(nth)), index };
            points.extend((0..16 * weight).map(at));
        }
        Self::new(points)
    }

    /// libmemcached's `MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_WEIGHTED`: four points from each MD5 of
    /// `ADDRESS:PORT-NTH`, 160 for an endpoint of average weight.
    pub(super) fn ketama(endpoints: &Endpoints) -> Self {
        let total: u64 = endpoints.indices().map(|i| u64::from(endpoints.weight(i))).sum();
        let servers = u64::try_from(endpoints.len()).unwrap_or(u64::MAX);
        let mut points = Vec::with_capacity(endpoints.len() * 160);
        for index in endpoints.indices() {
            let Some(state) = endpoints.state(index) else { continue };
            // `floor(weight / total × 40 × servers)`, without rounding errors.
            let weight = u64::from(endpoints.weight(index));
            let digests = weight.saturating_mul(40 * servers).checked_div(total).unwrap_or(0);
            // Kept with the endpoint, as they cost more than the rest of the ring.
            let kept = state.points(|| ketama_points(state.address(), 0..digests));
            let known = digests.min(u64::try_from(kept.len() / 4).unwrap_or(u64::MAX));
            let wanted = usize::try_from(known * 4).unwrap_or(usize::MAX);
            points.extend(kept.iter().take(wanted).map(|at| Point { at: *at, index }));
            let more = ketama_points(state.address(), known..digests);
            points.extend(more.into_iter().map(|at| Point { at, index }));
        }
        Self::new(points)
    }

    /// nginx's `hash … consistent` (and `Cache::Memcached::Fast`): 160 points for each unit of weight, each
    /// the CRC-32 of address, port and the point before it.
    pub(super) fn nginx(endpoints: &Endpoints) -> Self {
        let weights = fitting_weights(endpoints, 160);
        let points = weights.iter().map(|(_, weight)| 160 * *weight as usize).sum();
        let mut points = Vec::with_capacity(points);
        for (index, weight) in weights {
            let Some(endpoint) = endpoints.endpoint(index) else { continue };
            let (ip, port) = (endpoint.address().ip(), endpoint.address().port());
            let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            let base = Crc32::new().and(format!("{ip}\0{port}").as_bytes());
            let mut before = 0_u32;
            points.extend((0..160 * weight).map(|_| {
                before = base.and_word(before).value();
                Point { at: before, index }
            }));
        }
        Self::new(points)
    }

    /// The first point at or after the hash; the number of points if there is none.
    fn after(&self, hash: u32) -> usize {
        let upper = (hash >> self.shift) as usize;
        let start = self.starts.get(upper).copied().unwrap_or_default() as usize;
        let end = self.starts.get(upper + 1).map_or(self.points.len(), |end| *end as usize);
        let among = self.points.get(start..end).unwrap_or_default();
        start + among.partition_point(|point| point.at < hash)
    }

    /// The endpoint at the first point at or after the hash that is accepted, around the ring.
    pub(super) fn next(
        &self,
        hash: u32,
        mut accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let start = self.after(hash);
        let (before, after) = self.points.split_at_checked(start)?;
        let mut points = after.iter().chain(before).map(|point| point.index);
        points.find(|index| accept(*index))
    }

    /// The endpoint at the nearer of the next accepted point and the accepted one before it; the
    /// earlier one on a tie (HAProxy's `chash_get_server_hash`).
    pub(super) fn nearest(
        &self,
        hash: u32,
        mut accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let start = self.after(hash);
        let (before, after) = self.points.split_at_checked(start)?;
        let next = after.iter().chain(before).find(|point| accept(point.index))?;
        let mut previous = before.iter().rev().chain(after.iter().rev());
        let previous = previous.find(|point| accept(point.index))?;
        let far = next.at.wrapping_sub(hash);
        let near = hash.wrapping_sub(previous.at);
        Some(if near <= far { previous.index } else { next.index })
    }
}

/// The points in ascending order; those at the same place stay in the order of the list.
///
/// By counting: the upper 8 bits first, so that what is left to be done of each part fits into a
/// cache. A ring of a million points takes a few milliseconds.
fn sorted(mut points: Vec<Point>) -> Vec<Point> {
    const FEW: usize = 512;
    if points.len() < FEW {
        points.sort_by_key(|point| point.at);
        return points;
    }
    let mut sorted = points.clone();
    let mut places = Vec::new();
    scatter(&points, &mut sorted, 24, 8, &mut places);
    let ends = places.clone();
    let (mut points, mut rest, mut start) = (&mut *points, &mut *sorted, 0);
    for end in ends {
        let len = (end - start) as usize;
        start = end;
        let (Some(spare), Some(part)) = (points.split_off_mut(..len), rest.split_off_mut(..len))
        else {
            break;
        };
        if len < FEW {
            part.sort_by_key(|point| point.at);
        } else {
            scatter(part, spare, 0, 12, &mut places);
            scatter(spare, part, 12, 12, &mut places);
        }
    }
    sorted
}

/// Copies the points in the order of some of their bits; `places` is then where each part ends.
fn scatter(from: &[Point], to: &mut [Point], shift: u32, bits: u32, places: &mut Vec<u32>) {
    let digit = |point: &Point| (point.at >> shift) as usize & ((1 << bits) - 1);
    places.clear();
    places.resize(1 << bits, 0);
    for point in from {
        if let Some(count) = places.get_mut(digit(point)) {
            *count += 1;
        }
    }
    let mut next = 0;
    for place in &mut *places {
        next += std::mem::replace(place, next);
    }
    for point in from {
        if let Some(place) = places.get_mut(digit(point))
            && let Some(free) = to.get_mut(*place as usize)
        {
            *free = *point;
            *place += 1;
        }
    }
}

/// The points of an endpoint on ketama's ring, four for each of these digests.
fn ketama_points(address: SocketAddr, digests: Range<u64>) -> Box<[u32]> {
    // Port 11211 is left out, as memcached's own.
    let mut text = match address.port() {
        11_211 => format!("{}-", address.ip()),
        port => format!("{}:{port}-", address.ip()),
    };
    let prefix = text.len();
    let words = digests.flat_map(|nth| {
        text.truncate(prefix);
        text.push_str(&nth.to_string());
        let digest: [u8; 16] = Md5::digest(&text).into();
        let (words, _) = digest.as_chunks::<4>();
        <[[u8; 4]; 4]>::try_from(words).unwrap_or_default().map(u32::from_le_bytes)
    });
    words.collect()
}

/// The hash of a key on ketama's ring.
pub(super) fn ketama_hash(key: &[u8]) -> u32 {
    let digest = Md5::digest(key);
    let word = digest.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn points_are_sorted_and_equal_ones_keep_their_order(seed: u64, mask: u32) {
            let points: Vec<Point> = (0..5_000)
                .map(|nth| {
                    let hash = crate::random::mix(seed.wrapping_add(u64::from(nth)));
                    let at = u32::try_from(hash >> 32).expect("half") & mask;
                    Point { at, index: EndpointIndex::new(nth) }
                })
                .collect();
            let mut model = points.clone();
            model.sort_by_key(|point| point.at);
            let pairs = |points: &[Point]| -> Vec<(u32, usize)> {
                points.iter().map(|point| (point.at, point.index.get())).collect()
            };
            prop_assert_eq!(pairs(&sorted(points)), pairs(&model));
        }
    }
}
