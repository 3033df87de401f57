//! Static round robin: in turn, in the order of HAProxy's table.
//!
//! # Source
//!
//! HAProxy's `static-rr`: the table of its map-based hashing (`recalc_server_map`) walked slot by slot.
//! Weights do not change on the way: an endpoint that warms up or that an agent slows down gets its
//! whole share at once. Choose it to send the same requests in the same order as HAProxy, else
//! [`round_robin`](super::round_robin).

use crate::algorithm::hash::map;
use crate::algorithm::turn::Turn;
use crate::balancer::{Balancer, PickContext};
use crate::random::mix;
use crate::snapshot::{EndpointIndex, Endpoints};

/// How many turns a pick looks at before any usable endpoint will do.
const MAX_SKIPS: usize = 32;

/// Round robin in HAProxy's order; one atomic addition a pick.
#[derive(Debug, Default)]
pub struct StaticRoundRobin {
    turn: Turn,
}

/// The slots.
#[derive(Debug)]
struct Slots(Box<[EndpointIndex]>);

impl StaticRoundRobin {
    /// Starts with the first slot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Balancer for StaticRoundRobin {
    fn name(&self) -> &'static str {
        "static-rr"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let slots = endpoints.prepared(|_: &Slots| true, || Slots(map(endpoints)));
        let mut turn = 0;
        for _ in 0..MAX_SKIPS {
            turn = self.turn.take();
            let index = *slots.0.get(turn.checked_rem(slots.0.len())?)?;
            if endpoints.admits(index, context) {
                return Some(index);
            }
        }
        endpoints.scan(mix(u64::try_from(turn).unwrap_or_default()), context)
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Slots| true, || Slots(map(endpoints)));
    }

    fn follows_health(&self) -> bool {
        true
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, _: EndpointIndex) -> String {
        let slots = endpoints.prepared(|_: &Slots| true, || Slots(map(endpoints)));
        format!("its turn among {} slots", slots.0.len())
    }
}
