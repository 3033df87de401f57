//! What leader and nodes say to each other.

use std::collections::BTreeMap;

use ha_core::id::{FencingToken, Incarnation, NodeName, OpId, ResourceName, Term};
use ha_core::role::Role;
use serde::{Deserialize, Serialize};

use crate::model::{OperationName, RawResource};

/// A message between the managers of two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "both sides of a protocol")]
pub enum Message {
    /// The leader asks for a [`Report`] and says its term.
    Hello {
        /// The leader's term.
        term: Term,
    },
    /// The leader wants something done.
    Command(Box<Command>),
    /// The node runs nothing any more, and that is agreed on: it may go.
    Released {
        /// The leader's term.
        term: Term,
        /// The life of the node.
        life: Incarnation,
    },
    /// A node says what it has.
    Report(Box<Report>),
}

/// One order of the leader; may arrive twice, or late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Command {
    /// The leader's term: refused when it is over.
    pub term: Term,
    /// The life of the node for which it is meant.
    pub life: Incarnation,
    /// Grows with every command for one resource: of two the later holds.
    pub op: OpId,
    /// The resource.
    pub resource: ResourceName,
    /// How it is configured now.
    pub definition: RawResource,
    /// What to do.
    pub action: CommandAction,
    /// Of a promotable resource: where it is promoted, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<NodeName>,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_enums, reason = "both sides of a protocol")]
pub enum CommandAction {
    /// Forget its failures, and what is amiss: it will be probed again.
    CleanUp,
    /// Make the promoted one a copy.
    Demote,
    /// Tell a copy which one is promoted: [`Command::promoted`].
    Notify,
    /// Look whether it runs.
    Probe,
    /// Make a copy the promoted one.
    Promote {
        /// The right to do so, as for a start.
        token: FencingToken,
    },
    /// Start it.
    Start {
        /// The right to do so, for storage that can check it: grows with every start.
        token: FencingToken,
    },
    /// Stop it.
    Stop,
}

/// All that a node knows of its resources; a later report replaces an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The newest term that the node has seen; commands of older ones it refuses.
    pub term: Term,
    /// The life of the node.
    pub life: Incarnation,
    /// Grows with every report of one life.
    pub number: u64,
    /// Whether the node wants to leave.
    pub leaving: bool,
    /// Its resources; what is not named was never looked at.
    pub resources: BTreeMap<ResourceName, ResourceReport>,
}

/// What a node knows of one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResourceReport {
    /// What it is there; `None`: not known.
    pub role: Option<Role>,
    /// The operation that failed and has not been made good since.
    pub fault: Option<OperationName>,
    /// How often an operation of it has failed in this life of the node.
    pub failures: u32,
    /// What failed last.
    pub failed: Option<OperationName>,
    /// Whether a person must mend something on the node before it can run there.
    pub barred: bool,
    /// Why, for a person.
    pub reason: String,
    /// The operation that is under way.
    pub running: Option<OperationName>,
    /// The last command that has ended, in whatever way.
    pub answered: Option<OpId>,
    /// What it was started with, as a number that differs when the agent or a parameter does.
    pub digest: Option<u64>,
    /// The token that it was started, or promoted, with.
    pub token: Option<FencingToken>,
    /// How well this copy would do as the promoted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<i32>,
}

/// A number that differs when a resource is to be restarted: the agent or a parameter changed.
#[must_use]
pub(super) fn digest(definition: &RawResource) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(&definition.agent);
    for (name, value) in &definition.parameters {
        add(name);
        add(value);
    }
    hash
}
