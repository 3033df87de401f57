//! Least response time: the shortest expected wait among all endpoints.
//!
//! # Source
//!
//! nginx's `least_time`: the smallest `latency × (connections + 1) / weight`. The latency is the moving
//! average of [`EndpointState::latency`], as of the end of the last work; an endpoint that was never
//! measured is tried before any other, one at a time.

use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::least_connections::{Book, least_of};
use crate::algorithm::turn::Turn;
use crate::balancer::{Balancer, LoadBook, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};
use crate::state::EndpointState;

/// How long a latency counts: HAProxy and Finagle average over times like this.
pub(crate) const DECAY: Duration = Duration::from_secs(10);

/// Least response time, without a lock.
#[derive(Debug, Default)]
pub struct LeastTime {
    turn: Turn,
}

impl LeastTime {
    /// No state but whose turn it is among equals.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The expected wait in seconds, if an endpoint of this latency got one connection more.
pub(crate) fn cost(latency: Option<Duration>, connections: u32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a cost to compare by")]
    let connections = connections as f32;
    match latency {
        Some(latency) => latency.as_secs_f32() * (connections + 1.0),
        // Unknown: free for one, to be measured; then as if it took a minute.
        None => connections * 60.0,
    }
}

fn last_cost(state: &EndpointState) -> f32 {
    cost(state.last_latency(), state.connections())
}

type TimeBook = Book<fn(&EndpointState) -> f32>;

fn book(endpoints: &Endpoints) -> Arc<TimeBook> {
    Book::new(endpoints, last_cost as fn(&EndpointState) -> f32)
}

impl Balancer for LeastTime {
    fn name(&self) -> &'static str {
        "least-time"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let book = endpoints.prepared(|_: &Arc<TimeBook>| true, || book(endpoints));
        let load = |index| {
            let weight = f32::from(endpoints.weight(index).max(1));
            endpoints.state(index).map_or(f32::MAX, |state| last_cost(state) / weight)
        };
        let turn = self.turn.count();
        // Averages decay with time: each pick looks at one endpoint anew, or one that was slow once
        // would never get work again.
        let looked_at = turn.checked_rem(endpoints.len())?;
        let looked_at = u32::try_from(looked_at).ok().map(EndpointIndex::new)?;
        if let Some(state) = endpoints.state(looked_at) {
            let latency = state.latency(context.now(), DECAY);
            book.set(looked_at, state, cost(latency, state.connections()));
        }
        least_of(endpoints, context, &book.tree, turn, load)
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Arc<TimeBook>| true, || book(endpoints));
    }

    fn book(&self, endpoints: &Endpoints) -> Option<Arc<dyn LoadBook>> {
        let book = endpoints.prepared(|_: &Arc<TimeBook>| true, || book(endpoints));
        let book: Arc<TimeBook> = Arc::clone(&book);
        Some(book)
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
        let Some(state) = endpoints.state(picked) else {
            return "shortest expected wait".to_owned();
        };
        let connections = state.connections();
        match state.latency(context.now(), DECAY) {
            Some(latency) => {
                format!("shortest expected wait: {latency:?} each, {connections} before it")
            }
            None => "not measured yet".to_owned(),
        }
    }
}
