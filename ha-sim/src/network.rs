//! The network between the nodes: how good it is, and who can reach whom.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use ha_core::time::Instant;

use crate::node::NodeIndex;
use crate::rng::Rng;

/// How good the network is; the same for every pair of nodes.
///
/// Default: [`Quality::lan`]. Probabilities are from 0 to 1; values outside count as the nearer
/// end. Messages from one node to another stay in order unless [`reorder`](Self::reorder) says
/// otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    pub(crate) latency: RangeInclusive<Duration>,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    pub(crate) reorder: f64,
}

impl Quality {
    /// A switched network in one room: 50 to 500 µs, nothing lost.
    #[must_use]
    pub const fn lan() -> Self {
        Self {
            latency: Duration::from_micros(50)..=Duration::from_micros(500),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
        }
    }

    /// Between cities: 10 to 80 ms, 0.5 % lost, 0.1 % doubled, 1 % out of order.
    #[must_use]
    pub const fn wan() -> Self {
        Self {
            latency: Duration::from_millis(10)..=Duration::from_millis(80),
            loss: 0.005,
            duplicate: 0.001,
            reorder: 0.01,
        }
    }

    /// Sets how long a message travels; drawn evenly from the range.
    #[must_use]
    pub fn latency(mut self, range: RangeInclusive<Duration>) -> Self {
        self.latency = range;
        self
    }

    /// Sets the share of messages that never arrive.
    #[must_use]
    pub const fn loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// Sets the share of messages that arrive twice.
    #[must_use]
    pub const fn duplicate(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// Sets the share of messages that are held back by up to ten times the longest latency, so
    /// that later ones overtake them.
    #[must_use]
    pub const fn reorder(mut self, probability: f64) -> Self {
        self.reorder = probability;
        self
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self::lan()
    }
}

/// The wires.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) quality: Quality,
    /// The group of each node; nodes of different groups are cut off from each other.
    groups: Vec<usize>,
    /// Cut directions.
    cuts: BTreeSet<(NodeIndex, NodeIndex)>,
    /// When the last message in order from a node to another arrives.
    last: Vec<Instant>,
    rng: Rng,
}

impl Network {
    pub(crate) fn new(quality: Quality, nodes: usize, rng: Rng) -> Self {
        let last = vec![Instant::ZERO; nodes * nodes];
        Self { quality, groups: vec![0; nodes], cuts: BTreeSet::new(), last, rng }
    }

    pub(crate) fn partition(&mut self, groups: &[&[NodeIndex]]) {
        self.groups.fill(0);
        for (group, members) in groups.iter().enumerate() {
            for member in *members {
                if let Some(slot) = self.groups.get_mut(member.get()) {
                    *slot = group + 1;
                }
            }
        }
    }

    pub(crate) fn cut(&mut self, from: NodeIndex, to: NodeIndex) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: NodeIndex, to: NodeIndex) {
        self.cuts.remove(&(from, to));
    }

    pub(crate) fn unpartition(&mut self) {
        self.groups.fill(0);
    }

    pub(crate) fn heal(&mut self) {
        self.unpartition();
        self.cuts.clear();
    }

    pub(crate) fn connects(&self, from: NodeIndex, to: NodeIndex) -> bool {
        self.groups.get(from.get()) == self.groups.get(to.get()) && !self.cuts.contains(&(from, to))
    }

    /// When the copies of a message sent now arrive; none if it is lost.
    pub(crate) fn arrivals(
        &mut self,
        now: Instant,
        from: NodeIndex,
        to: NodeIndex,
    ) -> impl Iterator<Item = Instant> + use<> {
        let lost = self.rng.chance(self.quality.loss);
        let first = (!lost).then(|| self.arrival(now, from, to));
        let doubled = !lost && self.rng.chance(self.quality.duplicate);
        let second = doubled.then(|| self.arrival(now, from, to));
        first.into_iter().chain(second)
    }

    fn arrival(&mut self, now: Instant, from: NodeIndex, to: NodeIndex) -> Instant {
        let (low, high) = (*self.quality.latency.start(), *self.quality.latency.end());
        let at = now + self.rng.between(low, high);
        if self.rng.chance(self.quality.reorder) {
            return at + self.rng.between(Duration::ZERO, high.saturating_mul(10));
        }
        let nodes = self.groups.len();
        let Some(last) = self.last.get_mut(from.get() * nodes + to.get()) else {
            return at;
        };
        *last = at.max(*last);
        *last
    }
}
