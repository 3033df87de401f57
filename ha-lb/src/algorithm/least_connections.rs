//! Least connections: the fewest connections for the weight.
//!
//! # Source
//!
//! HAProxy's `leastconn` and nginx's `least_conn`: the smallest `(connections + 1) / weight`;
//! endpoints that are equal take turns. The scan starts at another endpoint each time and ends at
//! once at one that no other can beat: idle, and of the largest weight.

use crate::algorithm::round_robin::Turn;
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// Weighted least connections; a scan without a lock.
#[derive(Debug, Default)]
pub struct LeastConnections {
    turn: Turn,
}

impl LeastConnections {
    /// No state but whose turn it is among equals.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The largest weight among the usable endpoints.
#[derive(Debug)]
struct Heaviest(u16);

fn heaviest(endpoints: &Endpoints) -> Heaviest {
    let weights = endpoints.usable().iter().map(|index| endpoints.weight(*index));
    Heaviest(weights.max().unwrap_or_default())
}

/// Connections after the pick, over the weight; compared across, so that nothing is rounded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    connections: u64,
    weight: u64,
}

impl Load {
    /// The load of an endpoint if it got one connection more.
    pub(crate) fn of(endpoints: &Endpoints, index: EndpointIndex) -> Self {
        let connections = endpoints.state(index).map_or(0, |state| state.connections());
        let weight = u64::from(endpoints.weight(index)).max(1);
        Self { connections: u64::from(connections) + 1, weight }
    }

    /// Whether it is strictly below `other`.
    pub(crate) const fn is_below(self, other: Self) -> bool {
        self.connections * other.weight < other.connections * self.weight
    }
}

impl Balancer for LeastConnections {
    fn name(&self) -> &'static str {
        "least-connections"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let heaviest = endpoints.prepared(|_: &Heaviest| true, || heaviest(endpoints)).0;
        let unbeatable = Load { connections: 1, weight: u64::from(heaviest) };
        let usable = endpoints.usable();
        let start = self.turn.take().checked_rem(usable.len())?;
        let (before, after) = usable.split_at(start);
        let mut best: Option<(EndpointIndex, Load)> = None;
        for index in after.iter().chain(before) {
            let load = Load::of(endpoints, *index);
            let better = best.is_none_or(|(_, least)| load.is_below(least));
            if better && endpoints.admits(*index, context) {
                best = Some((*index, load));
                if !unbeatable.is_below(load) {
                    break;
                }
            }
        }
        best.map(|(index, _)| index)
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Heaviest| true, || heaviest(endpoints));
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, picked: EndpointIndex) -> String {
        let connections = endpoints.state(picked).map_or(0, |state| state.connections());
        let weight = endpoints.weight(picked);
        format!("fewest connections for its weight: {connections} at weight {weight}")
    }
}
