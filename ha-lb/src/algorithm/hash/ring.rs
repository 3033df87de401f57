//! Rings: points of all endpoints on a circle of 32 bits; HAProxy's, ketama of libmemcached and of nginx.

use std::net::SocketAddr;

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
    /// What the points of each endpoint follow from.
    sources: Box<[Source]>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: u32,
    index: EndpointIndex,
}

impl Point {
    /// Those at the same place stand in the order of the list.
    const fn place(self) -> (u32, usize) {
        (self.at, self.index.get())
    }
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

/// What the points of an endpoint follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    mark: Mark,
    /// How many points it has, or digests of four.
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Address(SocketAddr),
    Id(u32),
}

impl Ring {
    /// The ring of endpoints with these sources; `add` adds the points of one. Those of endpoints that
    /// are in the ring before are taken over.
    fn new(
        sources: Box<[Source]>,
        before: Option<&Self>,
        add: impl Fn(EndpointIndex, Source, &mut Vec<Point>),
    ) -> Self {
        let kept = before.and_then(|ring| Some((ring, Kept::new(&ring.sources, &sources)?)));
        let is_kept = |index| kept.as_ref().is_some_and(|(_, kept)| kept.has(index));
        let count: u64 = sources.iter().map(|source| source.count).sum();
        let few = kept.as_ref().map_or(count, |_| 0);
        let mut points = Vec::with_capacity(usize::try_from(few).unwrap_or_default());
        for (nth, source) in (0..).zip(&sources) {
            if !is_kept(nth) {
                add(EndpointIndex::new(nth), *source, &mut points);
            }
        }
        let mut points = sorted(points);
        if let Some((ring, kept)) = kept {
            points = kept.merge(&ring.points, points);
        }
        // About eight points for each value: they are one or two cache lines, and the table of
        // values is small enough to stay in a cache.
        let bits = (points.len() / 8).checked_ilog2().unwrap_or(0).clamp(1, 24);
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
        Self { points: points.into(), starts: starts.into(), shift, sources }
    }

    /// HAProxy's: each endpoint has 16 points for each unit of weight, at
    /// `avalanche(id × 4096 + nth)`; its id is the one that was set, else its position in the list, from 1.
    pub(super) fn haproxy(endpoints: &Endpoints, before: Option<&Self>) -> Self {
        let source = |(index, weight)| {
            let position = endpoints.list_position(index).and_then(|at| u32::try_from(at).ok());
            let position = position.unwrap_or(u32::MAX).wrapping_add(1);
            let id = endpoints.endpoint(index).and_then(Endpoint::id);
            let mark = Mark::Id(id.map_or(position, std::num::NonZeroU32::get));
            Source { mark, count: 16 * u64::from(weight) }
        };
        let sources = fitting_weights(endpoints, 16).into_iter().map(source).collect();
        Self::new(sources, before, |index, Source { mark, count }, points| {
            let Mark::Id(id) = mark else { return };
            let first = id.wrapping_mul(4096);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let at = |nth| Point { at: avalanche(first.wrapping_add(nth)), index };
            points.extend((0..count).map(at));
        })
    }

    /// libmemcached's `MEMCACHED_DISTRIBUTION_CONSISTENT_KETAMA_WEIGHTED`: four points from each MD5 of
    /// `ADDRESS:PORT-NTH`, 160 for an endpoint of average weight.
    pub(super) fn ketama(endpoints: &Endpoints, before: Option<&Self>) -> Self {
        let total: u64 = endpoints.indices().map(|i| u64::from(endpoints.weight(i))).sum();
        let servers = u64::try_from(endpoints.len()).unwrap_or(u64::MAX);
        let sources = endpoints.states().map(|(index, state)| {
            // `floor(weight / total × 40 × servers)`, without rounding errors.
            let weight = u64::from(endpoints.weight(index));
            let count = weight.saturating_mul(40 * servers).checked_div(total).unwrap_or(0);
            Source { mark: Mark::Address(state.address()), count }
        });
        Self::new(sources.collect(), before, |index, Source { mark, count }, points| {
            let Mark::Address(address) = mark else { return };
            ketama_points(address, count, |at| points.push(Point { at, index }));
        })
    }

    /// nginx's `hash … consistent` (and `Cache::Memcached::Fast`): 160 points for each unit of weight, each
    /// the CRC-32 of address, port and the point before it.
    pub(super) fn nginx(endpoints: &Endpoints, before: Option<&Self>) -> Self {
        let weights = fitting_weights(endpoints, 160);
        let sources = endpoints.states().zip(weights).map(|((_, state), (_, weight))| Source {
            mark: Mark::Address(state.address()),
            count: 160 * u64::from(weight),
        });
        Self::new(sources.collect(), before, |index, Source { mark, count }, points| {
            let Mark::Address(address) = mark else { return };
            let (ip, port) = (address.ip(), address.port());
            let ip = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            let base = Crc32::new().and(format!("{ip}\0{port}").as_bytes());
            let mut before = 0_u32;
            points.extend((0..count).map(|_| {
                before = base.and_word(before).value();
                Point { at: before, index }
            }));
        })
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

/// Which endpoints of a ring are in the next one, too.
#[derive(Debug)]
struct Kept {
    /// The index in the next ring, by that in the one before.
    next: Vec<Option<EndpointIndex>>,
    /// By the index in the next ring.
    is_kept: Vec<bool>,
}

impl Kept {
    /// `None` if so few are kept that it does not pay, or if their order is another one.
    fn new(before: &[Source], after: &[Source]) -> Option<Self> {
        let mut known: Vec<(Source, u32)> = before.iter().copied().zip(0..).collect();
        known.sort_unstable();
        let mut kept = Self { next: vec![None; before.len()], is_kept: vec![false; after.len()] };
        let (mut count, mut last) = (0, None);
        for ((nth, source), is_kept) in (0..).zip(after).zip(&mut kept.is_kept) {
            let at = known.partition_point(|(other, _)| other < source);
            let Some((_, index)) = known.get(at).filter(|(other, _)| other == source) else {
                continue;
            };
            // Points at the same place stand in the order of the list: it must not have changed.
            if last.is_some_and(|last| last >= *index) {
                return None;
            }
            last = Some(*index);
            *kept.next.get_mut(*index as usize)? = Some(EndpointIndex::new(nth));
            *is_kept = true;
            count += 1;
        }
        (count * 2 > after.len()).then_some(kept)
    }

    fn has(&self, index: u32) -> bool {
        self.is_kept.get(index as usize).copied().unwrap_or_default()
    }

    /// The points that are kept, and new ones; both are sorted.
    fn merge(&self, before: &[Point], new: Vec<Point>) -> Vec<Point> {
        let mut merged = Vec::with_capacity(before.len() + new.len());
        let mut new = new.into_iter().peekable();
        for point in before {
            let Some(Some(index)) = self.next.get(point.index.get()) else { continue };
            let point = Point { at: point.at, index: *index };
            while let Some(first) = new.next_if(|first| first.place() < point.place()) {
                merged.push(first);
            }
            merged.push(point);
        }
        merged.extend(new);
        merged
    }
}

/// Works out the points of an endpoint on ketama's ring, four for each digest.
fn ketama_points(address: SocketAddr, digests: u64, mut add: impl FnMut(u32)) {
    // Port 11211 is left out, as memcached's own.
    let mut text = match address.port() {
        11_211 => format!("{}-", address.ip()),
        port => format!("{}:{port}-", address.ip()),
    };
    let prefix = text.len();
    for nth in 0..digests {
        text.truncate(prefix);
        text.push_str(&nth.to_string());
        let digest: [u8; 16] = Md5::digest(&text).into();
        let (words, _) = digest.as_chunks::<4>();
        for word in words {
            add(u32::from_le_bytes(*word));
        }
    }
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

    fn ring(addresses: &[(u16, u64)], before: Option<&Ring>) -> Ring {
        let source = |(port, count): &(u16, u64)| Source {
            mark: Mark::Address((std::net::Ipv4Addr::LOCALHOST, *port).into()),
            count: *count,
        };
        let sources = addresses.iter().map(source).collect();
        Ring::new(sources, before, |index, Source { mark, count }, points| {
            let Mark::Address(address) = mark else { return };
            // Few places, so that points meet.
            let at = |nth: u64| {
                let hash = crate::random::mix(u64::from(address.port()) << 32 | nth);
                Point { at: u32::try_from(hash % 97).expect("small"), index }
            };
            points.extend((0..count).map(at));
        })
    }

    proptest! {
        #[test]
        fn a_ring_that_takes_over_is_as_one_made_anew(
            before in prop::collection::vec((0_u16..40, 1_u64..9), 0..30),
            after in prop::collection::vec((0_u16..40, 1_u64..9), 0..30),
            keep in 0_usize..30,
        ) {
            // Lists that have much in common, in the same order or not; addresses may occur twice.
            let after = [before.get(..keep).unwrap_or(&before), &after].concat();
            let old = ring(&before, None);
            let (anew, taken_over) = (ring(&after, None), ring(&after, Some(&old)));
            let places = |ring: &Ring| -> Vec<_> { ring.points.iter().map(|p| p.place()).collect() };
            prop_assert_eq!(places(&anew), places(&taken_over));
            prop_assert_eq!(anew.starts, taken_over.starts);
        }
    }

    #[test]
    fn most_of_a_ring_is_taken_over() {
        let before: Vec<Source> =
            (0..10).map(|id| Source { mark: Mark::Id(id), count: 1 }).collect();
        let after: Vec<Source> = before.iter().skip(1).copied().collect();
        let kept = Kept::new(&before, &after).expect("nine of ten");
        assert!((0..9).all(|index| kept.has(index)));
        assert!(Kept::new(&before, &before[..4]).is_some(), "all four are known");
        assert!(Kept::new(&before[..4], &before).is_none(), "too few are");
        let turned: Vec<Source> = before.iter().rev().copied().collect();
        assert!(Kept::new(&before, &turned).is_none(), "in another order");
    }
}
