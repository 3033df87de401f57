//! The parts of scores, kept if somebody will ask.

use std::fmt;
use std::sync::Arc;

use crate::scheduler::id::{NodeId, RscId};

/// Where a part of a score comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// A colocation: its name, and the other resource.
    Colocation(Arc<str>, Arc<str>),
    /// Exclusive discovery elsewhere.
    Discovery,
    /// Failures there.
    Failures,
    /// The node's health.
    Health,
    /// A location constraint.
    Location(Arc<str>),
    /// It is locked to the node that was shut down.
    Lock,
    /// A fixed reason.
    Other(&'static str),
    /// It runs there.
    Stickiness,
    /// The starting point.
    Start,
    /// A ticket.
    Ticket(Arc<str>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Colocation(id, other) => write!(f, "colocation {id} with {other}"),
            Self::Discovery => f.write_str("exclusive discovery elsewhere"),
            Self::Failures => f.write_str("failures there"),
            Self::Health => f.write_str("health of the node"),
            Self::Location(id) => write!(f, "location {id}"),
            Self::Lock => f.write_str("locked to the node that shuts down"),
            Self::Other(why) => f.write_str(why),
            Self::Stickiness => f.write_str("stickiness"),
            Self::Start => f.write_str("every node to start with"),
            Self::Ticket(id) => write!(f, "ticket {id}"),
        }
    }
}

/// One part.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) node: NodeId,
    pub(crate) score: i32,
    pub(crate) why: Why,
}

/// All parts, by resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    wanted: bool,
    entries: Vec<Vec<Entry>>,
}

impl Ledger {
    pub(crate) fn new(wanted: bool) -> Self {
        Self { wanted, entries: Vec::new() }
    }

    pub(crate) fn add(&mut self, resource: RscId, node: NodeId, score: i32, why: &Why) {
        if !self.wanted || score == 0 {
            return;
        }
        if self.entries.len() <= resource.index() {
            self.entries.resize_with(resource.index() + 1, Vec::new);
        }
        self.entries[resource.index()].push(Entry { node, score, why: why.clone() });
    }

    /// How much there is of a resource.
    pub(crate) fn mark(&self, resource: RscId) -> usize {
        self.entries.get(resource.index()).map_or(0, Vec::len)
    }

    /// Takes back what came after a mark.
    pub(crate) fn take_back(&mut self, resource: RscId, mark: usize) {
        if let Some(entries) = self.entries.get_mut(resource.index()) {
            entries.truncate(mark);
        }
    }

    pub(crate) fn of(&self, resource: RscId) -> &[Entry] {
        self.entries.get(resource.index()).map_or(&[], Vec::as_slice)
    }
}
