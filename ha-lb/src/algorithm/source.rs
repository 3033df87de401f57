//! Source hash: the same client, the same endpoint, where a real HAProxy sends it.
//!
//! # Source
//!
//! HAProxy's `balance source` with all its `hash-type`s (doc/configuration.txt; behaviour recorded
//! from HAProxy 2.6.12 in `testdata/haproxy-source.json`, which the tests replay). With the same
//! servers in the same order, every client goes where HAProxy sends it:
//!
//! * the address is cut into 32-bit words, which are combined by exclusive or; the hash function is *not*
//!   applied to it (HAProxy does not either), only the avalanche step, if it is on;
//! * map-based: a table of as many slots as the sum of the weights; even, but most clients move
//!   when an endpoint comes or goes;
//! * consistent: 16 points on a ring for each unit of weight; only the clients of an endpoint that
//!   goes move. Give weights of 10 or more, or the shares are uneven.
//!
//! Without a client address (a Unix socket, a caller that does not know) endpoints take turns, as
//! in HAProxy.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ha_core::config::ConfigError;

use crate::algorithm::round_robin::{Turn, reduced_weights};
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// How a hash is turned into an endpoint (HAProxy's `hash-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum HashType {
    /// A table; even shares, many clients move when the list changes. HAProxy's default.
    #[default]
    MapBased,
    /// A ring; few clients move when the list changes.
    Consistent,
}

/// HAProxy's hash functions, for its syntax: an address is not run through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Function {
    /// CRC-32.
    Crc32,
    /// D. J. Bernstein's.
    Djb2,
    /// The key itself.
    None,
    /// That of the sdbm database; HAProxy's default.
    Sdbm,
    /// Willy Tarreau's.
    Wt6,
}

impl Function {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Djb2 => "djb2",
            Self::None => "none",
            Self::Sdbm => "sdbm",
            Self::Wt6 => "wt6",
        }
    }
}

impl FromStr for Function {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let all = [Self::Crc32, Self::Djb2, Self::None, Self::Sdbm, Self::Wt6];
        all.into_iter().find(|function| function.as_str() == text).ok_or_else(|| {
            ConfigError::new("algorithm.function", text, "sdbm, djb2, wt6, crc32 or none")
        })
    }
}

/// The options of [`Source`]: HAProxy's `hash-type METHOD [FUNCTION] [avalanche]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SourceHash {
    hash_type: HashType,
    function: Option<Function>,
    avalanche: Option<bool>,
}

impl SourceHash {
    /// Options as written in a configuration; `None` is not written.
    #[must_use]
    pub const fn new(
        hash_type: HashType,
        function: Option<Function>,
        avalanche: Option<bool>,
    ) -> Self {
        Self { hash_type, function, avalanche }
    }

    /// How a hash is turned into an endpoint.
    #[must_use]
    pub const fn hash_type(&self) -> HashType {
        self.hash_type
    }

    /// Whether the address is run through the avalanche step.
    ///
    /// As in HAProxy: if not stated, then only for `consistent` without a function.
    #[must_use]
    pub fn avalanche(&self) -> bool {
        let consistent = self.hash_type == HashType::Consistent;
        self.avalanche.unwrap_or(consistent && self.function.is_none())
    }

    /// The hash that HAProxy computes from a client's address.
    #[must_use]
    pub fn hash(&self, client: IpAddr) -> u32 {
        let words = match client {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                [96, 64, 32, 0].iter().fold(0, |words, shift| words ^ low(bits >> shift))
            }
        };
        if self.avalanche() { avalanche(words) } else { words }
    }
}

impl fmt::Display for SourceHash {
    /// Writes the options as [`Algorithm`](crate::algorithm::Algorithm) reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hash_type == HashType::Consistent {
            f.write_str(",hash-type=consistent")?;
        }
        if let Some(function) = self.function {
            write!(f, ",function={}", function.as_str())?;
        }
        if let Some(avalanche) = self.avalanche {
            write!(f, ",avalanche={avalanche}")?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is asked for")]
const fn low(bits: u128) -> u32 {
    bits as u32
}

/// Jenkins' 32-bit integer hash, then a multiplication: HAProxy's `full_hash`.
const fn avalanche(a: u32) -> u32 {
    let a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    let a = (a ^ 0xc761_c23c) ^ (a >> 19);
    let a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    let a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    let a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    let a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

/// Picks by the client's address.
#[derive(Debug, Default)]
pub struct Source {
    hash: SourceHash,
    turn: Turn,
}

impl Source {
    /// Picks as HAProxy does with the same options.
    #[must_use]
    pub fn new(hash: SourceHash) -> Self {
        Self { hash, turn: Turn::default() }
    }

    fn place<T>(&self, endpoints: &Endpoints, look: impl FnOnce(&Table) -> T) -> T {
        let wanted = self.hash.hash_type;
        let table =
            endpoints.prepared(|table: &Table| table.is(wanted), || Table::new(wanted, endpoints));
        look(&table)
    }
}

impl Balancer for Source {
    fn name(&self) -> &'static str {
        "source"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let Some(client) = context.client() else {
            return endpoints.scan(self.turn.take(), context);
        };
        let hash = self.hash.hash(client);
        self.place(endpoints, |table| {
            table.walk(hash).find(|index| endpoints.admits(*index, context))
        })
        // The walk is bounded; if it met only endpoints that are full, look at them all.
        .or_else(|| endpoints.scan(hash as usize, context))
    }

    fn prepare(&self, endpoints: &Endpoints) {
        self.place(endpoints, |_| ());
    }

    fn explain(
        &self,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
        picked: EndpointIndex,
    ) -> String {
        let Some(client) = context.client() else {
            return "its turn: the client's address is not known".to_owned();
        };
        let hash = self.hash.hash(client);
        let first = self.place(endpoints, |table| table.walk(hash).next());
        if first == Some(picked) {
            format!("client {client} hashes to it ({hash:#010x})")
        } else {
            format!("client {client} hashes to another, which is not free; this is the next")
        }
    }
}

/// How many places of a table a pick looks at before it scans.
const MAX_WALK: usize = 64;

/// Where each hash goes.
#[derive(Debug)]
enum Table {
    Map(Box<[EndpointIndex]>),
    /// Points of the ring in ascending order.
    Ring(Box<[(u32, EndpointIndex)]>),
}

impl Table {
    fn new(hash_type: HashType, endpoints: &Endpoints) -> Self {
        match hash_type {
            HashType::MapBased => Self::Map(map(endpoints)),
            HashType::Consistent => Self::Ring(ring(endpoints)),
        }
    }

    const fn is(&self, hash_type: HashType) -> bool {
        matches!(
            (self, hash_type),
            (Self::Map(_), HashType::MapBased) | (Self::Ring(_), HashType::Consistent)
        )
    }

    /// The endpoint of `hash`, and those at the places after it.
    fn walk(&self, hash: u32) -> impl Iterator<Item = EndpointIndex> {
        let (len, start) = match self {
            Self::Map(slots) => (slots.len(), (hash as usize).checked_rem(slots.len())),
            Self::Ring(points) => (points.len(), nearest(points, hash)),
        };
        let places = start.into_iter().flat_map(move |start| (start..len).chain(0..start));
        places.take(MAX_WALK).filter_map(|place| match self {
            Self::Map(slots) => slots.get(place).copied(),
            Self::Ring(points) => points.get(place).map(|(_, index)| *index),
        })
    }
}

/// The nearer of the first point at or after `hash` and the last one before it, around the ring;
/// the earlier one on a tie (HAProxy's `chash_get_server_hash`).
fn nearest(points: &[(u32, EndpointIndex)], hash: u32) -> Option<usize> {
    let after = points.partition_point(|(point, _)| *point < hash);
    let after = if after == points.len() { 0 } else { after };
    let before = after.checked_sub(1).or(points.len().checked_sub(1))?;
    let distance_after = points.get(after)?.0.wrapping_sub(hash);
    let distance_before = hash.wrapping_sub(points.get(before)?.0);
    Some(if distance_before <= distance_after { before } else { after })
}

fn ring(endpoints: &Endpoints) -> Box<[(u32, EndpointIndex)]> {
    let mut points = Vec::new();
    for index in endpoints.usable() {
        let position = u32::try_from(index.get()).unwrap_or(u32::MAX).wrapping_add(1);
        let id = endpoints.endpoint(*index).and_then(crate::endpoint::Endpoint::id);
        let id = id.map_or(position, std::num::NonZeroU32::get);
        let count = 16 * u32::from(endpoints.weight(*index));
        let first = id.wrapping_mul(4096);
        points.extend((0..count).map(|nth| (avalanche(first.wrapping_add(nth)), *index)));
    }
    points.sort_by_key(|(point, _)| *point);
    points.into()
}

/// HAProxy's table (`recalc_server_map`): in slot t, counted from 1, the first endpoint is due that
/// is furthest behind `floor(weight × t / total)` picks. HAProxy looks at every endpoint for every
/// slot; here an endpoint is looked at only when it comes to be due.
fn map(endpoints: &Endpoints) -> Box<[EndpointIndex]> {
    let weights = reduced_weights(endpoints, u64::MAX);
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    // When an endpoint is due once more: `ceil(times × total / weight)`.
    let due_at = |times: u64, weight: u64| (times * total).div_ceil(weight);
    let mut coming: BinaryHeap<Reverse<(u64, usize)>> = weights
        .iter()
        .enumerate()
        .map(|(place, (_, weight))| Reverse((due_at(1, *weight), place)))
        .collect();
    // How many picks each endpoint is behind; negative when it was picked early.
    let mut behind = vec![0_i64; weights.len()];
    let mut became_due = vec![1_u64; weights.len()];
    let mut order: BTreeSet<(Reverse<i64>, usize)> =
        (0..weights.len()).map(|place| (Reverse(0), place)).collect();
    let mut shift = |order: &mut BTreeSet<_>, place: usize, by: i64| {
        if let Some(score) = behind.get_mut(place) {
            order.remove(&(Reverse(*score), place));
            *score += by;
            order.insert((Reverse(*score), place));
        }
    };
    let mut slots = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    for slot in 1..=total {
        while let Some(Reverse((_, place))) = coming.peek().filter(|next| next.0.0 <= slot) {
            let place = *place;
            coming.pop();
            shift(&mut order, place, 1);
            if let (Some(times), Some((_, weight))) =
                (became_due.get_mut(place), weights.get(place))
            {
                *times += 1;
                coming.push(Reverse((due_at(*times, *weight), place)));
            }
        }
        let Some((_, place)) = order.first().copied() else { break };
        slots.extend(weights.get(place).map(|(index, _)| *index));
        shift(&mut order, place, -1);
    }
    slots.into()
}
