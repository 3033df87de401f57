//! The world: nodes, network, clocks, one queue of events.

mod builder;
mod faults;
mod step;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use ha_core::time::Instant;

pub use self::builder::Builder;
use crate::clock::NodeClock;
use crate::invariant::{Invariant, Violation};
use crate::network::{Network, Quality};
use crate::node::{InputOf, Node, NodeIndex, Request};
use crate::rng::Rng;
use crate::trace::{Entry, Trace};

/// A seeded world in which machines run, fail and recover.
///
/// Everything in it follows from the seed and from what the test does to it: the same run on any
/// computer, as often as wanted. Time passes only in [`run_until`](Self::run_until) and its
/// kin, and only from event to event; a quiet hour costs nothing.
///
/// ```text
///   test ──faults──▶ ┌────────────── World ──────────────┐
///                    │  queue of events by (time, number) │──after each event──▶ invariants
///                    │   │ message     │ deadline  │ input │
///                    │   ▼             ▼           ▼       │
///                    │  Node::receive ──▶ Machine ──▶ Node::perform ──▶ Context: send, later
///                    └────────────────────────────────────┘
/// ```
pub struct World<N: Node> {
    seed: u64,
    now: Instant,
    slots: Vec<Slot<N>>,
    network: Network,
    quality: Quality,
    jitter: Duration,
    receive_buffer: usize,
    jitter_rng: Rng,
    chaos_rng: Rng,
    queue: BTreeMap<Key, Pending<N>>,
    sequence: u64,
    invariants: Vec<Box<dyn Invariant<N>>>,
    violation: Option<Violation>,
    trace: Trace<N::Message>,
    stats: Stats,
    max_events: u64,
    outputs: Vec<<N::Machine as ha_core::machine::Machine>::Output>,
    requests: Vec<Request<N>>,
}

/// What a world counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Messages that were sent, a multicast once for each receiver.
    pub sent: u64,
    /// Messages that a machine was given.
    pub delivered: u64,
    /// Messages that the network lost by chance.
    pub lost: u64,
    /// Messages that arrived a second time.
    pub duplicated: u64,
    /// Messages that a partition or a cut stopped.
    pub cut_off: u64,
    /// Messages for a node that was down, or had been since they were sent.
    pub node_down: u64,
    /// Messages that found the receive buffer of a paused node full.
    pub buffer_full: u64,
    /// Events that were run, of all kinds.
    pub events: u64,
}

/// The place of an event in the queue: at one time, the first queued comes first.
type Key = (Instant, u64);

/// What is going to happen.
enum Pending<N: Node> {
    Input { to: NodeIndex, life: u64, input: InputOf<N> },
    Message { from: NodeIndex, to: NodeIndex, life: u64, message: N::Message },
    Tick { node: NodeIndex },
}

/// What arrived at a node.
enum Arrival<N: Node> {
    Input(InputOf<N>),
    Message(NodeIndex, N::Message),
    Tick,
}

/// One node.
struct Slot<N: Node> {
    node: N,
    /// `None` while the node is down.
    machine: Option<N::Machine>,
    /// Which life of the node this is; what was meant for an earlier one is dropped.
    life: u64,
    paused: bool,
    /// What arrived while the node was paused.
    backlog: VecDeque<Arrival<N>>,
    /// How many of those are messages: the buffer bounds only them.
    buffered: usize,
    clock: NodeClock,
    /// The machine's deadline by its own clock, and the event that stands for it.
    tick: Option<(Instant, Key)>,
    rng: Rng,
}

impl<N: Node> World<N> {
    /// A world without nodes; everything random in it comes from `seed`.
    pub fn builder(seed: u64) -> Builder<N> {
        Builder::new(seed)
    }

    /// Runs all events up to `end`, and `end` is then the present.
    ///
    /// # Errors
    ///
    /// The first [`Violation`]: an invariant, a law of [`Machine`](ha_core::machine::Machine), or
    /// the limit on events. The world stands still from then on and returns the same again.
    pub fn run_until(&mut self, end: Instant) -> Result<(), Violation> {
        while self.step(end)? {}
        self.now = self.now.max(end);
        Ok(())
    }

    /// Runs all events of the next `duration`.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until).
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Violation> {
        self.run_until(self.now + duration)
    }

    /// Runs until `reached` holds after an event, for at most `limit`; returns how long it took.
    ///
    /// This is the second phase of a test: first chaos, then [`recover`](Self::recover), then
    /// everything must be well again in a stated time.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until); also when the limit is over.
    pub fn converges_within(
        &mut self,
        limit: Duration,
        mut reached: impl FnMut(&Self) -> bool,
    ) -> Result<Duration, Violation> {
        let (start, end) = (self.now, self.now + limit);
        while !reached(self) {
            if !self.step(end)? {
                self.now = end;
                return Err(self.violation("converges", format!("not within {limit:?}")));
            }
        }
        Ok(self.now.since(start))
    }

    /// Gives `input` to a node's machine now: an operator's command, a tracked object's fault.
    ///
    /// # Errors
    ///
    /// As [`run_until`](Self::run_until). A node that is down never sees it, a paused one later.
    pub fn input(&mut self, node: NodeIndex, input: InputOf<N>) -> Result<(), Violation> {
        let Some(life) = self.slots.get(node.get()).map(|slot| slot.life) else {
            return Ok(());
        };
        let key = self.next_key(self.now);
        self.queue.insert(key, Pending::Input { to: node, life, input });
        self.run_until(self.now)
    }

    /// The present, in the world's time, which no node knows.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The seed that everything random comes from.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// All nodes in order, also those that are down.
    #[must_use]
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeIndex, &N)> + ExactSizeIterator {
        self.slots.iter().enumerate().map(|(index, slot)| (NodeIndex::new(index), &slot.node))
    }

    /// The indices of all nodes.
    #[must_use]
    pub fn indices(&self) -> Vec<NodeIndex> {
        (0..self.slots.len()).map(NodeIndex::new).collect()
    }

    /// A node's adapter; `None` if there is no such node.
    #[must_use]
    pub fn node(&self, node: NodeIndex) -> Option<&N> {
        self.slots.get(node.get()).map(|slot| &slot.node)
    }

    /// A node's adapter, to change what is around its machine: break a disk, deny an address.
    pub fn node_mut(&mut self, node: NodeIndex) -> Option<&mut N> {
        self.slots.get_mut(node.get()).map(|slot| &mut slot.node)
    }

    /// A node's machine; `None` while it is down.
    #[must_use]
    pub fn machine(&self, node: NodeIndex) -> Option<&N::Machine> {
        self.slots.get(node.get())?.machine.as_ref()
    }

    /// Whether the node is up and not paused.
    #[must_use]
    pub fn is_running(&self, node: NodeIndex) -> bool {
        self.slots.get(node.get()).is_some_and(|slot| slot.machine.is_some() && !slot.paused)
    }

    /// Whether the node is up but paused.
    #[must_use]
    pub fn is_paused(&self, node: NodeIndex) -> bool {
        self.slots.get(node.get()).is_some_and(|slot| slot.machine.is_some() && slot.paused)
    }

    /// What the node's own clock shows.
    #[must_use]
    pub fn local_time(&self, node: NodeIndex) -> Option<Instant> {
        Some(self.slots.get(node.get())?.clock.local(self.now))
    }

    /// Whether a message sent now from one node to another can arrive.
    #[must_use]
    pub fn connects(&self, from: NodeIndex, to: NodeIndex) -> bool {
        self.network.connects(from, to)
    }

    /// The last things that happened, one a line, oldest first; see [`Builder::trace_lines`].
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.trace.lines()
    }

    /// Makes the report of something that does not hold, for conditions that a test checks itself.
    pub fn violation(&self, invariant: impl Into<String>, what: impl Into<String>) -> Violation {
        Violation {
            seed: self.seed,
            at: self.now,
            invariant: invariant.into(),
            what: what.into(),
            trace: self.trace.lines(),
        }
    }

    pub(crate) const fn chaos_rng(&mut self) -> &mut Rng {
        &mut self.chaos_rng
    }

    fn next_key(&mut self, at: Instant) -> Key {
        self.sequence += 1;
        (at, self.sequence)
    }

    fn note(&mut self, entry: Entry<N::Message>) {
        self.trace.add(self.now, entry);
    }
}

impl<N: Node> fmt::Debug for World<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("nodes", &self.slots.len())
            .field("queued", &self.queue.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
