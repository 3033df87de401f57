//! What persons and programs ask of a cluster, and what it answers.

use std::collections::BTreeMap;

use ha_core::id::{FencingToken, NodeName, ResourceName, Term};
use serde::{Deserialize, Serialize};

use super::ledger::DecisionRecord;
use crate::model::{NodeStatus, RawClusterConfig};

/// The number of a request, given by whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// A number that no open request has.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A request to the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// Replace the configuration; refused whole if anything in it is wrong.
    Apply {
        /// The new one; its nodes must be the present ones.
        config: Box<RawClusterConfig>,
    },
    /// Forget the failures of a resource, and look again where something was amiss.
    CleanUp {
        /// The resource.
        resource: ResourceName,
    },
    /// Take back a [`Move`](Self::Move).
    Clear {
        /// The resource or group.
        resource: ResourceName,
    },
    /// Why is a resource where it is?
    Explain {
        /// The resource.
        resource: ResourceName,
    },
    /// Prefer a node for a resource, until it is cleared.
    Move {
        /// The resource or group.
        resource: ResourceName,
        /// The node.
        node: NodeName,
    },
    /// End a [`Standby`](Self::Standby).
    Online {
        /// The node.
        node: NodeName,
    },
    /// Run nothing on a node.
    Standby {
        /// The node.
        node: NodeName,
    },
    /// How is everything?
    Status,
}

/// What the leader answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Response {
    /// It is agreed on; what follows from it is being done.
    Done,
    /// It was not done, and nothing has changed.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// How everything is.
    Status(Box<Status>),
    /// An answer in words.
    Text {
        /// The words.
        text: String,
    },
}

impl Response {
    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }
}

/// How everything is, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// Who leads.
    pub leader: NodeName,
    /// Its term.
    pub term: Term,
    /// What the leader waits for; empty: nothing.
    pub waits_for: String,
    /// The nodes.
    pub nodes: BTreeMap<NodeName, NodeLine>,
    /// The resources.
    pub resources: BTreeMap<ResourceName, ResourceLine>,
    /// The last decision.
    pub decision: DecisionRecord,
}

/// A node, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeLine {
    /// What it may be used for.
    pub status: NodeStatus,
    /// Whether it only votes.
    pub witness: bool,
    /// Whether it is heard.
    pub present: bool,
}

/// A resource, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResourceLine {
    /// What runs it.
    #[serde(default)]
    pub agent: String,
    /// Whether it runs as copies of which one is promoted.
    #[serde(default)]
    pub promotable: bool,
    /// Where it is active.
    pub active: Vec<NodeName>,
    /// Where it is promoted; of a promotable resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promoted: Vec<NodeName>,
    /// Where an operation is under way.
    pub busy: Vec<NodeName>,
    /// The failures that count, by node.
    pub failures: BTreeMap<NodeName, u32>,
    /// The last thing that went wrong, by node.
    pub faults: BTreeMap<NodeName, String>,
    /// The token of the newest start.
    pub token: Option<FencingToken>,
    /// Why it is there, or nowhere.
    pub reason: String,
    /// Why it is promoted there, or nowhere; of a promotable resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub promotion: String,
}
