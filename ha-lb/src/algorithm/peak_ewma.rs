//! Peak EWMA: the shorter expected wait of two that are drawn by weight.
//!
//! # Source
//!
//! Finagle's and Linkerd's P2C with Peak EWMA: the cost of an endpoint is its latency, a moving average
//! that follows peaks at once ([`EndpointState::latency`]), times its connections and the one that
//! would come. An endpoint that is slow, or that failed and is slow to say so, is left alone until its
//! average has decayed.
//!
//! [`EndpointState::latency`]: crate::state::EndpointState::latency

use std::time::Duration;

use crate::algorithm::least_time::{DECAY, cost};
use crate::algorithm::random::{Alias, Drawn, Numbers};
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};
use crate::state::EndpointState;

/// The less costly of two endpoints that are drawn by weight, by latency and connections.
#[derive(Debug)]
pub struct PeakEwma {
    numbers: Numbers,
}

impl PeakEwma {
    /// With seeds from the operating system.
    #[must_use]
    pub const fn new() -> Self {
        Self { numbers: Numbers::Thread }
    }

    /// As [`new`](Self::new), with a seed that makes the draws repeatable.
    #[must_use]
    pub const fn with_seed(seed: u64) -> Self {
        Self { numbers: Numbers::seeded(seed) }
    }
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self::new()
    }
}

impl Balancer for PeakEwma {
    fn name(&self) -> &'static str {
        "peak-ewma"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let mut drawn = Drawn::by_weight(endpoints, context, &self.numbers);
        let first = drawn.next();
        let (Some(one), Some(other)) = (first, drawn.next()) else {
            return first.or_else(|| endpoints.scan(self.numbers.take(), context));
        };
        if one == other {
            return Some(one);
        }
        // As both decay alike, which one is the less costly does not depend on what time it is.
        let (one_state, other_state) = (endpoints.state(one)?, endpoints.state(other)?);
        let cheaper = other_state.is_quicker_than(one_state, DECAY).unwrap_or_else(|| {
            let cost = |state: &EndpointState| cost(state.last_latency(), state.connections());
            cost(other_state) < cost(one_state)
        });
        Some(if cheaper { other } else { one })
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Alias| true, || Alias::new(endpoints));
    }

    fn measures_latency(&self) -> Option<Duration> {
        Some(DECAY)
    }

    fn explain(
        &self,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
        picked: EndpointIndex,
    ) -> String {
        let now = context.now();
        let latency = endpoints.state(picked).and_then(|state| state.latency(now, DECAY));
        let connections = endpoints.state(picked).map_or(0, |state| state.connections());
        let latency = latency.map_or("unknown".to_owned(), |latency| format!("{latency:?}"));
        format!("cheaper of two drawn: latency {latency}, {connections} connections")
    }
}
