//! Smooth weighted round robin: in turn, by weight, evenly spread.
//!
//! # Source
//!
//! The aim is that of nginx's smooth weighted round robin (`ngx_http_upstream_round_robin.c`) and
//! HAProxy's `roundrobin`: exact shares over a cycle, and no bursts within it. nginx compares all
//! endpoints at every pick; here the cycle is laid down when the pool changes, so that a pick is one
//! step: endpoints of equal weight form a class, the classes are merged by earliest
//! deadline (Liu and Layland 1973; Demers, Keshav, Shenker 1989), the members of a class take turns.
//!
//! An endpoint that takes no work forfeits its turn: the others keep their shares among them, and
//! nothing is laid down anew when health changes. Each thread follows the cycle for itself, so
//! that threads do not fight for a counter; one thread sees every turn in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::algorithm::turn::Turn;
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// The longest cycle: 16 MiB. Longer ones (many endpoints with coprime weights) have their weights
/// halved until they fit, which makes their shares approximate.
const MAX_CYCLE: u64 = 1 << 22;

/// How many turns a pick looks at before any usable endpoint will do: enough unless most endpoints
/// are down, full, or at a small part of their share.
const MAX_SKIPS: usize = 32;

/// Smooth weighted round robin; one step a pick.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: Turn,
}

impl RoundRobin {
    /// Starts with the first endpoint.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The order of one cycle.
#[derive(Debug)]
struct Schedule(Box<[EndpointIndex]>);

impl Balancer for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let schedule = endpoints.prepared(|_: &Schedule| true, || schedule(endpoints));
        for _ in 0..MAX_SKIPS {
            let index = *schedule.0.get(self.turn.take(schedule.0.len())?)?;
            if endpoints.accepts_by(index, context, || self.turn.salt()) {
                return Some(index);
            }
        }
        endpoints.scan(self.turn.salt(), context)
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Schedule| true, || schedule(endpoints));
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, picked: EndpointIndex) -> String {
        let schedule = endpoints.prepared(|_: &Schedule| true, || schedule(endpoints));
        let turns = schedule.0.iter().filter(|index| **index == picked).count();
        format!("its turn: {turns} of the {} in a cycle", schedule.0.len())
    }
}

/// The weights of all endpoints divided by their greatest common divisor, and halved until the
/// sum is at most `limit`; none becomes 0.
pub(crate) fn reduced_weights(endpoints: &Endpoints, limit: u64) -> Vec<(EndpointIndex, u64)> {
    reduce(endpoints, endpoints.indices(), limit)
}

/// As [`reduced_weights`], of some of the endpoints.
pub(crate) fn reduce(
    endpoints: &Endpoints,
    some: impl Iterator<Item = EndpointIndex>,
    limit: u64,
) -> Vec<(EndpointIndex, u64)> {
    let mut reduced: Vec<_> =
        some.map(|index| (index, u64::from(endpoints.weight(index)))).collect();
    let divisor = reduced.iter().fold(0, |divisor, (_, weight)| gcd(divisor, *weight)).max(1);
    for (_, weight) in &mut reduced {
        *weight = (*weight / divisor).max(1);
    }
    while reduced.iter().map(|(_, weight)| weight).sum::<u64>() > limit
        && reduced.iter().any(|(_, weight)| *weight > 1)
    {
        for (_, weight) in &mut reduced {
            *weight = (*weight / 2).max(1);
        }
    }
    reduced
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Endpoints of one weight: `turns` of them in a cycle, taken by the members in rotation.
struct Class {
    members: Vec<EndpointIndex>,
    turns: u64,
}

/// When a class is due next: at `(2 × taken + 1) / (2 × turns)` of the cycle.
struct Due {
    taken: u64,
    turns: u64,
    class: usize,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Fractions compared across; both sides stay below 2^46, as a cycle has at most 2^22 turns.
        let left = (2 * self.taken + 1) * other.turns;
        let right = (2 * other.taken + 1) * self.turns;
        left.cmp(&right).then(self.class.cmp(&other.class))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

fn schedule(endpoints: &Endpoints) -> Schedule {
    let mut classes: BTreeMap<Reverse<u64>, Class> = BTreeMap::new();
    for (index, weight) in reduced_weights(endpoints, MAX_CYCLE) {
        let class = classes
            .entry(Reverse(weight))
            .or_insert_with(|| Class { members: Vec::new(), turns: 0 });
        class.members.push(index);
        class.turns += weight;
    }
    let classes: Vec<Class> = classes.into_values().collect();
    let mut due: BinaryHeap<_> = classes
        .iter()
        .enumerate()
        .map(|(class, Class { turns, .. })| Reverse(Due { taken: 0, turns: *turns, class }))
        .collect();
    let mut order = Vec::new();
    while let Some(Reverse(next)) = due.pop() {
        if let Some(Class { members, .. }) = classes.get(next.class) {
            // In range: the remainder of a division by the length.
            let member = usize::try_from(next.taken).unwrap_or_default() % members.len();
            order.extend(members.get(member));
        }
        if next.taken + 1 < next.turns {
            due.push(Reverse(Due { taken: next.taken + 1, ..next }));
        }
    }
    Schedule(order.into())
}
