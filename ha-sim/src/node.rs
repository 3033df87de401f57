//! What a user writes: how a machine is joined to the world.

use std::fmt;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use crate::rng::Rng;

/// The place of a node in its world, from zero, in the order in which the nodes were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(usize);

impl NodeIndex {
    /// The node at `index`.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index as a number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// What the outputs of a machine come back as.
pub(crate) type InputOf<N> = <<N as Node>::Machine as Machine>::Input;

/// The adapter between a machine and the world: the driver of the simulation.
///
/// The world keeps the machine; the adapter is what is around it. Fields of the adapter survive
/// [`World::crash`](crate::World::crash) as a disk does; what a crash must wipe (addresses on a
/// network card, say) is wiped in [`crashed`](Node::crashed). Invariants read the adapters.
pub trait Node: Sized {
    /// The machine under test.
    type Machine: Machine;
    /// What travels on the network: bytes, or a struct where the wire is not under test.
    type Message: Clone + fmt::Debug;

    /// Makes the machine of a node that starts or starts again.
    ///
    /// Inputs that it needs first, such as a `Start`, are given by [`Context::later`].
    fn start(&mut self, context: &mut Context<'_, Self>) -> Self::Machine;

    /// Turns a message that arrived into an input; `None` throws it away.
    fn receive(&mut self, from: NodeIndex, message: Self::Message) -> Option<InputOf<Self>>;

    /// Does what the machine wants done: sends, sets what invariants look at.
    fn perform(
        &mut self,
        output: <Self::Machine as Machine>::Output,
        context: &mut Context<'_, Self>,
    );

    /// Loses what a crash loses; the machine is gone already.
    fn crashed(&mut self) {}
}

/// One thing that an adapter asked the world for.
pub(crate) enum Request<N: Node> {
    Later(Duration, InputOf<N>),
    Multicast(N::Message),
    Note(String),
    Send(NodeIndex, N::Message),
}

/// What an adapter can ask of the world while it acts.
///
/// The requests are carried out, in order, when the call returns.
pub struct Context<'a, N: Node> {
    pub(crate) node: NodeIndex,
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut Rng,
    pub(crate) requests: &'a mut Vec<Request<N>>,
}

impl<N: Node> Context<'_, N> {
    /// Sends `message` to one node; it may be lost, late or doubled.
    pub fn send(&mut self, to: NodeIndex, message: N::Message) {
        self.requests.push(Request::Send(to, message));
    }

    /// Sends `message` to all other nodes; each copy has its own fate.
    pub fn multicast(&mut self, message: N::Message) {
        self.requests.push(Request::Multicast(message));
    }

    /// Gives `input` to the own machine after `delay` of the world's time, unless the node
    /// crashes before: the end of an effect that takes long, the tick of a slow disk.
    pub fn later(&mut self, delay: Duration, input: InputOf<N>) {
        self.requests.push(Request::Later(delay, input));
    }

    /// Writes a line into the trace.
    pub fn note(&mut self, text: impl Into<String>) {
        self.requests.push(Request::Note(text.into()));
    }

    /// The node itself.
    #[must_use]
    pub const fn node(&self) -> NodeIndex {
        self.node
    }

    /// What the node's own clock shows.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Random numbers of this node, for seeds of machines and for faults of devices.
    pub fn rng(&mut self) -> &mut Rng {
        self.rng
    }
}

impl<N: Node> fmt::Debug for Context<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("node", &self.node)
            .field("now", &self.now)
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}
