//! How a world is set up.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use ha_core::time::Instant;

use super::{Slot, Stats, World};
use crate::clock::NodeClock;
use crate::invariant::Invariant;
use crate::network::{Network, Quality};
use crate::node::{Node, NodeIndex};
use crate::rng::Rng;
use crate::trace::Trace;

/// Purposes of random streams, so that one more draw for one changes nothing for the others.
const NETWORK: u64 = 1;
const JITTER: u64 = 2;
const CHAOS: u64 = 3;
const CLOCKS: u64 = 4;
const FIRST_NODE: u64 = 1_000;

/// Sets up a [`World`].
#[must_use = "a builder does nothing until build() is called"]
pub struct Builder<N: Node> {
    seed: u64,
    nodes: Vec<N>,
    quality: Quality,
    jitter: Duration,
    clock_error_ppm: u32,
    clock_offset: Duration,
    receive_buffer: usize,
    trace_lines: usize,
    max_events: u64,
    invariants: Vec<Box<dyn Invariant<N>>>,
}

impl<N: Node> Builder<N> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: Vec::new(),
            quality: Quality::default(),
            jitter: Duration::ZERO,
            clock_error_ppm: 0,
            clock_offset: Duration::ZERO,
            receive_buffer: 256,
            trace_lines: 60,
            max_events: 50_000_000,
            invariants: Vec::new(),
        }
    }

    /// Adds a node; the first is number zero.
    pub fn node(mut self, node: N) -> Self {
        self.nodes.push(node);
        self
    }

    /// Adds nodes.
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.nodes.extend(nodes);
        self
    }

    /// Sets how good the network is. Default: [`Quality::lan`].
    pub fn network(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// Sets how late, at most, a deadline is noticed: a busy host. Default: 0, to the nanosecond.
    pub const fn jitter(mut self, longest: Duration) -> Self {
        self.jitter = longest;
        self
    }

    /// Sets the largest rate error of the nodes' clocks, in parts per million; each node's own is
    /// drawn from −`ppm` to +`ppm`. Default: 0. Quartz has up to 100; at most 500,000.
    pub const fn clock_error_ppm(mut self, ppm: u32) -> Self {
        self.clock_error_ppm = ppm;
        self
    }

    /// Sets how far apart the nodes' clocks start; each node's own offset is drawn from 0 to
    /// `longest`, as boot times are. Default: 0.
    pub const fn clock_offset(mut self, longest: Duration) -> Self {
        self.clock_offset = longest;
        self
    }

    /// Sets how many messages a paused node keeps; more are dropped. Default: 256, about what the
    /// kernel's default socket buffer takes of small packets.
    pub const fn receive_buffer(mut self, messages: usize) -> Self {
        self.receive_buffer = messages;
        self
    }

    /// Sets how many lines of trace are kept. Default: 60.
    pub const fn trace_lines(mut self, lines: usize) -> Self {
        self.trace_lines = lines;
        self
    }

    /// Sets after how many events the run is a violation: nodes that answer each other for ever.
    /// Default: 50 million.
    pub const fn max_events(mut self, events: u64) -> Self {
        self.max_events = events;
        self
    }

    /// Adds a condition that is checked after every event.
    pub fn invariant(mut self, invariant: impl Invariant<N> + 'static) -> Self {
        self.invariants.push(Box::new(invariant));
        self
    }

    /// Makes the world, at time zero; all nodes start.
    #[must_use]
    pub fn build(self) -> World<N> {
        let seed = self.seed;
        let mut clocks = Rng::stream(seed, CLOCKS);
        let count = self.nodes.len();
        let (offset, ppm) = (self.clock_offset, self.clock_error_ppm);
        let slots = (FIRST_NODE..).zip(self.nodes).map(|(purpose, node)| Slot {
            node,
            machine: None,
            life: 0,
            paused: false,
            backlog: VecDeque::new(),
            buffered: 0,
            clock: drawn_clock(&mut clocks, offset, ppm),
            tick: None,
            rng: Rng::stream(seed, purpose),
        });
        let mut world = World {
            seed,
            now: Instant::ZERO,
            slots: slots.collect(),
            network: Network::new(self.quality.clone(), count, Rng::stream(seed, NETWORK)),
            quality: self.quality,
            jitter: self.jitter,
            receive_buffer: self.receive_buffer,
            jitter_rng: Rng::stream(seed, JITTER),
            chaos_rng: Rng::stream(seed, CHAOS),
            queue: BTreeMap::new(),
            sequence: 0,
            invariants: self.invariants,
            violation: None,
            trace: Trace::new(self.trace_lines),
            stats: Stats::default(),
            max_events: self.max_events,
            outputs: Vec::new(),
            requests: Vec::new(),
        };
        for node in 0..count {
            world.start(NodeIndex::new(node));
        }
        world
    }
}

fn drawn_clock(rng: &mut Rng, offset: Duration, ppm: u32) -> NodeClock {
    let offset = rng.between(Duration::ZERO, offset);
    let drawn = i64::try_from(rng.below(u64::from(ppm) * 2 + 1)).unwrap_or_default();
    let rate = i32::try_from(drawn - i64::from(ppm)).unwrap_or_default();
    NodeClock::new(offset, rate)
}

impl<N: Node> fmt::Debug for Builder<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("seed", &self.seed)
            .field("nodes", &self.nodes.len())
            .field("quality", &self.quality)
            .finish_non_exhaustive()
    }
}
