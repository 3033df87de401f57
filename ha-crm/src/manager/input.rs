//! What happens to a manager.

use std::sync::Arc;

use ha_agents::executor;
use ha_core::id::{NodeName, OpId, Term};
use ha_core::time::Instant;
use ha_membership::{Revision, View};

use super::ledger::Ledger;
use super::message::Message;
use super::request::{Request, RequestId};

/// What happens to a [`Manager`](super::Manager).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// The executor has something to say.
    Executed(executor::Output),
    /// The fencer has answered: by what the node is confirmed to be off, or why it is not.
    Fenced(OpId, NodeName, Result<String, String>),
    /// A message came from another node's manager, or from this one's.
    Heard(NodeName, Message),
    /// The store's leader, as this node knows it.
    Leadership {
        /// The term.
        term: Term,
        /// Who leads.
        leader: Option<NodeName>,
    },
    /// Leave the cluster in order.
    Leave,
    /// The store has a new ledger.
    Ledger(Arc<Ledger>),
    /// Until when this node is quorate even if it hears nobody any more; `None`: it is not.
    Quorum(Option<Instant>),
    /// The store has answered a read.
    Read(OpId, Read),
    /// Somebody asks something.
    Request(RequestId, Request),
    /// The members changed.
    View(Arc<View>),
    /// The store has answered a write.
    Written(OpId, Written),
}

/// What the store has.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_enums, reason = "the three answers of a store")]
pub enum Read {
    /// No ledger yet.
    Absent,
    /// This one.
    Found(Box<Ledger>, Revision),
    /// It gave no answer.
    Unavailable,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the three answers of a store")]
pub enum Written {
    /// It did not take place: the ledger is another one by now.
    Conflict,
    /// It took place.
    Done(Revision),
    /// Nobody knows.
    Unavailable,
}
