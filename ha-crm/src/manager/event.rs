//! What a manager tells of itself, for logs and timelines.

use std::fmt;

use ha_core::id::{FencingToken, NodeName, ResourceName, Term};
use serde::{Deserialize, Serialize};

use crate::model::OperationName;

/// What happened in the cluster, as one node's manager sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ManagerEvent {
    /// A command was not obeyed.
    CommandRefused {
        /// Who sent it.
        from: NodeName,
        /// Why.
        reason: String,
    },
    /// The leader has decided, and the store has it.
    Decided {
        /// The decision's number.
        number: u64,
        /// The leader's term.
        term: Term,
        /// What is to be done, and why.
        actions: Vec<String>,
    },
    /// A demote was ordered here.
    DemoteRequested {
        /// The resource.
        resource: ResourceName,
        /// Whether by this node itself, as it has no quorum.
        alone: bool,
    },
    /// The promoted one is a copy now.
    Demoted {
        /// The resource.
        resource: ResourceName,
    },
    /// A fence device has answered.
    FenceReported {
        /// The node.
        node: NodeName,
        /// Whether it is confirmed to be off.
        confirmed: bool,
        /// By what, and what that is worth; or why not.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A node is to be fenced.
    FenceRequested {
        /// The node.
        node: NodeName,
        /// Why.
        reason: String,
    },
    /// This node leads, or does not any more.
    Leading {
        /// Whether it leads.
        leads: bool,
        /// Its term.
        term: Term,
    },
    /// The members changed.
    Membership {
        /// All members.
        members: Vec<NodeName>,
        /// Whether they may act for the cluster.
        quorate: bool,
    },
    /// A node's standing, as its leader sees it, changed: online, standby, unclean, offline.
    Node {
        /// The node.
        node: NodeName,
        /// What it is now.
        status: String,
    },
    /// An operation has failed, or a resource has died.
    OperationFailed {
        /// The resource.
        resource: ResourceName,
        /// The operation; a death counts as a failed monitor.
        operation: OperationName,
        /// Why.
        reason: String,
    },
    /// A promotion was ordered here.
    PromoteRequested {
        /// The resource.
        resource: ResourceName,
        /// Its token.
        token: Option<FencingToken>,
    },
    /// The copy here is the promoted one now.
    Promoted {
        /// The resource.
        resource: ResourceName,
    },
    /// This node may act with the others again.
    QuorumGained,
    /// This node may not act: it stops what is at-most-one.
    QuorumLost,
    /// Not all was stopped in time: the node is to be made harmless by force.
    SelfFence {
        /// What was not stopped.
        resources: Vec<ResourceName>,
    },
    /// A start was ordered here.
    StartRequested {
        /// The resource.
        resource: ResourceName,
        /// Its token.
        token: Option<FencingToken>,
    },
    /// A resource runs here.
    Started {
        /// The resource.
        resource: ResourceName,
    },
    /// A stop was ordered here.
    StopRequested {
        /// The resource.
        resource: ResourceName,
        /// Whether by this node itself, as it has no quorum.
        alone: bool,
    },
    /// A resource does not run here any more.
    Stopped {
        /// The resource.
        resource: ResourceName,
    },
    /// Nothing was heard from a member for a while.
    Suspect {
        /// The member.
        node: NodeName,
    },
    /// Something is awaited before the leader can decide.
    Waiting {
        /// What for.
        reason: String,
    },
}

impl fmt::Display for ManagerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandRefused { from, reason } => {
                write!(f, "refuses a command of {from}: {reason}")
            }
            Self::Decided { number, actions, .. } => {
                write!(f, "decides #{number}: {}", actions.join("; "))
            }
            Self::DemoteRequested { resource, .. } => write!(f, "demotes {resource}"),
            Self::Demoted { resource } => write!(f, "has demoted {resource}"),
            Self::FenceReported { node, confirmed: true, reason } => {
                write!(f, "{node} is fenced: {reason}")
            }
            Self::FenceReported { node, reason, .. } => {
                write!(f, "{node} could not be fenced: {reason}")
            }
            Self::FenceRequested { node, reason } => write!(f, "fences {node}: {reason}"),
            Self::Leading { leads: true, term } => write!(f, "leads, term {term}"),
            Self::Leading { term, .. } => write!(f, "leads no more, term {term}"),
            Self::Membership { members, quorate } => {
                let names: Vec<&str> = members.iter().map(NodeName::as_str).collect();
                let quorum = if *quorate { "quorate" } else { "no quorum" };
                write!(f, "members: {} ({quorum})", names.join(", "))
            }
            Self::Node { node, status } => write!(f, "{node} is {status}"),
            Self::OperationFailed { resource, operation, reason } => {
                write!(f, "{operation} of {resource} failed: {reason}")
            }
            Self::PromoteRequested { resource, .. } => write!(f, "promotes {resource}"),
            Self::Promoted { resource } => write!(f, "has promoted {resource}"),
            Self::QuorumGained => f.write_str("has quorum"),
            Self::QuorumLost => f.write_str("has no quorum: stops what is at-most-one"),
            Self::SelfFence { resources } => {
                let names: Vec<&str> = resources.iter().map(ResourceName::as_str).collect();
                write!(f, "could not stop {} in time", names.join(", "))
            }
            Self::StartRequested { resource, .. } => write!(f, "starts {resource}"),
            Self::Started { resource } => write!(f, "runs {resource}"),
            Self::StopRequested { resource, .. } => write!(f, "stops {resource}"),
            Self::Stopped { resource } => write!(f, "has stopped {resource}"),
            Self::Suspect { node } => write!(f, "does not hear {node}"),
            Self::Waiting { reason } => write!(f, "waits: {reason}"),
        }
    }
}
