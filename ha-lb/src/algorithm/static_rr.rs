//! Static round robin: in turn, in the order of HAProxy's table.
//!
//! # Source
//!
//! HAProxy's `static-rr`: the table of its map-based hashing (`recalc_server_map`) walked slot by slot.
//! Weights do not change on the way: an endpoint that warms up or that an agent slows down gets its
//! whole share at once. Choose it to send the same requests in the same order as HAProxy, else
//! [`round_robin`](super::round_robin).

use crate::algorithm::hash::Map;
use crate::algorithm::turn::Turn;
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// How many turns a pick looks at before any usable endpoint will do.
const MAX_SKIPS: usize = 32;

/// Round robin in HAProxy's order; one step a pick.
#[derive(Debug, Default)]
pub struct StaticRoundRobin {
    turn: Turn,
}

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
        let map = endpoints.prepared(|_: &Map| true, || Map::new(endpoints));
        for _ in 0..MAX_SKIPS {
            let index = map.get(self.turn.take(map.len(endpoints))?, endpoints);
            let Some(index) = index else { continue };
            if endpoints.admits(index, context) {
                return Some(index);
            }
        }
        endpoints.scan(self.turn.salt(), context)
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Map| true, || Map::new(endpoints));
    }

    fn follows_health(&self, endpoints: &Endpoints) -> bool {
        endpoints.prepared(|_: &Map| true, || Map::new(endpoints)).follows_health()
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, _: EndpointIndex) -> String {
        let map = endpoints.prepared(|_: &Map| true, || Map::new(endpoints));
        format!("its turn among {} slots", map.len(endpoints))
    }
}
