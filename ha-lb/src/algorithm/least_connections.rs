//! Least connections: the fewest connections for the weight.
//!
//! # Source
//!
//! HAProxy's `leastconn` and nginx's `least_conn`: the smallest `(connections + 1) / weight`;
//! endpoints that are equal take turns. HAProxy keeps its servers in a tree behind a lock, nginx
//! looks at all of them; here a tree of minima without a lock finds one in a time that grows with the
//! logarithm of their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::algorithm::load_tree::LoadTree;
use crate::algorithm::turn::Turn;
use crate::balancer::{Balancer, LoadBook, PickContext};
use crate::random::mix;
use crate::snapshot::{EndpointIndex, Endpoints};
use crate::state::EndpointState;

/// Weighted least connections, without a lock.
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

/// Connections after the pick, over the weight; compared across, so that nothing is rounded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    connections: u64,
    weight: u64,
}

impl Load {
    /// The load of an endpoint if it got one connection more.
    #[inline]
    pub(crate) fn of(endpoints: &Endpoints, index: EndpointIndex) -> Self {
        let connections = endpoints.state(index).map_or(0, |state| state.connections());
        let weight = u64::from(endpoints.weight(index)).max(1);
        Self { connections: u64::from(connections) + 1, weight }
    }

    /// Whether it is strictly below `other`.
    #[inline]
    pub(crate) const fn is_below(self, other: Self) -> bool {
        self.connections * other.weight < other.connections * self.weight
    }
}

/// The endpoints of a group, ordered by their loads.
#[derive(Debug)]
pub(crate) struct Book<C> {
    pub(crate) tree: LoadTree,
    weights: Box<[u16]>,
    usable: Box<[AtomicBool]>,
    cost: C,
}

impl<C: Fn(&EndpointState) -> f32 + Send + Sync> Book<C> {
    /// Orders by `cost`, divided by the weight and by the part of it that an endpoint takes now.
    pub(crate) fn new(endpoints: &Endpoints, cost: C) -> Arc<Self> {
        let book = Self {
            tree: LoadTree::new(endpoints.len()),
            weights: endpoints.indices().map(|index| endpoints.weight(index)).collect(),
            usable: endpoints.indices().map(|_| AtomicBool::new(false)).collect(),
            cost,
        };
        for index in endpoints.indices() {
            if let Some(state) = endpoints.state(index) {
                book.take(index, state, endpoints.is_usable(index));
            }
        }
        Arc::new(book)
    }

    fn take(&self, index: EndpointIndex, state: &EndpointState, usable: bool) {
        if let Some(place) = self.usable.get(index.get()) {
            place.store(usable, Ordering::SeqCst);
        }
        self.order(index, state);
    }

    fn order(&self, index: EndpointIndex, state: &EndpointState) {
        // Another one may have changed it between our look and our word: the last one is right.
        let mut said = self.weigh(index, state, (self.cost)(state));
        loop {
            self.tree.set(index.get(), said);
            let now = self.weigh(index, state, (self.cost)(state));
            if now == said {
                return;
            }
            said = now;
        }
    }

    /// Sets what an endpoint costs, until it is noted again.
    pub(crate) fn set(&self, index: EndpointIndex, state: &EndpointState, cost: f32) {
        self.tree.set(index.get(), self.weigh(index, state, cost));
    }

    /// The cost for each part of the share; `None` if the endpoint takes no work.
    fn weigh(&self, index: EndpointIndex, state: &EndpointState, cost: f32) -> Option<f32> {
        let place = index.get();
        let usable = self.usable.get(place).is_some_and(|usable| usable.load(Ordering::SeqCst));
        let weight = f32::from(self.weights.get(place).copied().unwrap_or(1).max(1));
        let share = f32::from(state.share().parts());
        (usable && !state.is_full()).then(|| cost * 256.0 / (weight * share))
    }
}

impl<C> LoadBook for Book<C>
where
    C: Fn(&EndpointState) -> f32 + std::fmt::Debug + Send + Sync,
{
    fn note(&self, index: EndpointIndex, state: &EndpointState) {
        self.order(index, state);
    }

    fn set_usable(&self, index: EndpointIndex, usable: bool, state: &EndpointState) {
        self.take(index, state, usable);
    }
}

/// The endpoint of the least cost that admits the pick; a scan by `load` if the least one does not.
pub(crate) fn least_of<L: PartialOrd>(
    endpoints: &Endpoints,
    context: &PickContext<'_>,
    tree: &LoadTree,
    turn: usize,
    load: impl Fn(EndpointIndex) -> L,
) -> Option<EndpointIndex> {
    let index = u32::try_from(tree.least(turn)?).ok().map(EndpointIndex::new)?;
    if endpoints.admits(index, context) {
        return Some(index);
    }
    // It was tried already, or has filled up this moment.
    let start = usize::try_from(mix(u64::try_from(turn).unwrap_or_default())).unwrap_or_default();
    let start = start.checked_rem(endpoints.len())?;
    let mut best: Option<(EndpointIndex, L)> = None;
    for index in endpoints.usable_from(start) {
        let load = load(index);
        if best.as_ref().is_none_or(|(_, least)| load < *least) && endpoints.admits(index, context)
        {
            best = Some((index, load));
        }
    }
    best.map(|(index, _)| index)
}

/// Connections after the pick.
#[expect(clippy::cast_precision_loss, reason = "a cost to compare by")]
fn connections(state: &EndpointState) -> f32 {
    (u64::from(state.connections()) + 1) as f32
}

type ConnectionBook = Book<fn(&EndpointState) -> f32>;

fn book(endpoints: &Endpoints) -> Arc<ConnectionBook> {
    Book::new(endpoints, connections as fn(&EndpointState) -> f32)
}

impl Balancer for LeastConnections {
    fn name(&self) -> &'static str {
        "least-connections"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let book = endpoints.prepared(|_: &Arc<ConnectionBook>| true, || book(endpoints));
        let load = |index| {
            let Load { connections, weight } = Load::of(endpoints, index);
            (connections << 9) / weight
        };
        least_of(endpoints, context, &book.tree, self.turn.count(), load)
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Arc<ConnectionBook>| true, || book(endpoints));
    }

    fn book(&self, endpoints: &Endpoints) -> Option<Arc<dyn LoadBook>> {
        let book = endpoints.prepared(|_: &Arc<ConnectionBook>| true, || book(endpoints));
        let book: Arc<ConnectionBook> = Arc::clone(&book);
        Some(book)
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, picked: EndpointIndex) -> String {
        let connections = endpoints.state(picked).map_or(0, |state| state.connections());
        let weight = endpoints.weight(picked);
        format!("fewest connections for its weight: {connections} at weight {weight}")
    }
}
