//! Bounded loads: an endpoint may have so many times the mean of connections.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::balancer::LoadBook;
use crate::snapshot::{EndpointIndex, Endpoints};
use crate::state::EndpointState;

/// The connections of a group together, and the weight that shares them.
#[derive(Debug)]
pub(super) struct Bound {
    /// In percent of the mean.
    factor: u64,
    connections: AtomicU64,
    weight: AtomicU64,
    seen: Box<[Seen]>,
}

/// What of an endpoint is in the sums.
#[derive(Debug)]
struct Seen {
    weight: u16,
    connections: AtomicU32,
    usable: AtomicBool,
}

impl Bound {
    pub(super) fn new(endpoints: &Endpoints, factor: NonZeroU16) -> Arc<Self> {
        let seen = endpoints.indices().map(|index| Seen {
            weight: endpoints.weight(index),
            connections: AtomicU32::new(0),
            usable: AtomicBool::new(false),
        });
        let bound = Self {
            factor: u64::from(factor.get()),
            connections: AtomicU64::new(0),
            weight: AtomicU64::new(0),
            seen: seen.collect(),
        };
        for index in endpoints.indices() {
            if let Some(state) = endpoints.state(index) {
                bound.set_usable(index, endpoints.is_usable(index), state);
            }
        }
        Arc::new(bound)
    }

    /// Whether the endpoint may have one connection more:
    /// `connections < ⌈factor × (all + 1) × weight / weights⌉`.
    pub(super) fn allows(&self, index: EndpointIndex, endpoints: &Endpoints) -> bool {
        let (all, weights) =
            (self.connections.load(Ordering::Relaxed), self.weight.load(Ordering::Relaxed).max(1));
        let weight = u64::from(endpoints.weight(index));
        let all = u128::from(all.saturating_add(1)) * u128::from(self.factor * weight);
        let most = all.div_ceil(u128::from(weights) * 100);
        let connections = endpoints.state(index).map_or(0, |state| state.connections());
        u128::from(connections) < most
    }
}

impl LoadBook for Bound {
    fn note(&self, index: EndpointIndex, state: &EndpointState) {
        let Some(seen) = self.seen.get(index.get()) else { return };
        let now = state.connections();
        let before = seen.connections.swap(now, Ordering::Relaxed);
        // Differences add up, whatever the order of those who note them.
        let change = u64::from(now).wrapping_sub(u64::from(before));
        self.connections.fetch_add(change, Ordering::Relaxed);
    }

    fn set_usable(&self, index: EndpointIndex, usable: bool, state: &EndpointState) {
        if let Some(seen) = self.seen.get(index.get())
            && seen.usable.swap(usable, Ordering::Relaxed) != usable
        {
            let weight = u64::from(seen.weight);
            let change = if usable { weight } else { 0_u64.wrapping_sub(weight) };
            self.weight.fetch_add(change, Ordering::Relaxed);
        }
        self.note(index, state);
    }
}
