//! What is: the state from which decisions are made.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::id::{NodeName, ResourceName};
use ha_membership::quorum::Quorum;
use serde::{Deserialize, Serialize};

use super::config::ClusterConfig;

/// What a node may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "the field's words; a policy must decide on each")]
pub enum NodeStatus {
    /// Takes part, and what runs on it is left alone.
    Maintenance,
    /// Known to be off, or never joined: nothing runs on it.
    Offline,
    /// Takes part and can run resources.
    Online,
    /// Takes part and shall run nothing.
    Standby,
    /// Its state is not known: it may run anything, until it is fenced.
    Unclean,
}

/// Everything that a policy looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClusterState {
    /// What is wanted.
    pub config: ClusterConfig,
    /// Whether this part of the cluster may act.
    pub quorum: Quorum,
    /// Each node's status; a node that is not named here is offline.
    pub nodes: BTreeMap<NodeName, NodeStatus>,
    /// Where each resource was last known to be active.
    pub active: BTreeMap<ResourceName, BTreeSet<NodeName>>,
}

impl ClusterState {
    /// A quorate cluster on which all nodes are online and nothing runs.
    #[must_use]
    pub fn new(config: ClusterConfig) -> Self {
        let nodes = config.nodes().iter().map(|node| (node.clone(), NodeStatus::Online)).collect();
        Self { config, quorum: Quorum::Quorate, nodes, active: BTreeMap::new() }
    }

    /// Sets whether this part may act.
    #[must_use]
    pub const fn with_quorum(mut self, quorum: Quorum) -> Self {
        self.quorum = quorum;
        self
    }

    /// Sets a node's status.
    #[must_use]
    pub fn with_node(mut self, node: NodeName, status: NodeStatus) -> Self {
        self.nodes.insert(node, status);
        self
    }

    /// Notes that a resource is active on a node.
    #[must_use]
    pub fn with_active(mut self, resource: ResourceName, node: NodeName) -> Self {
        self.active.entry(resource).or_default().insert(node);
        self
    }

    /// A node's status.
    #[must_use]
    pub fn status(&self, node: &NodeName) -> NodeStatus {
        self.nodes.get(node).copied().unwrap_or(NodeStatus::Offline)
    }

    /// The nodes of a status in the order of their names, also those that are no longer configured:
    /// what is left of them may still run something.
    #[must_use]
    pub fn nodes_that_are(&self, status: NodeStatus) -> Vec<&NodeName> {
        let known: BTreeSet<_> = self.nodes.keys().chain(self.config.nodes()).collect();
        known.into_iter().filter(|node| self.status(node) == status).collect()
    }

    /// Where a resource may be active: everywhere it was seen, but for nodes that are off.
    #[must_use]
    pub fn holders(&self, resource: &ResourceName) -> Vec<&NodeName> {
        let seen = self.active.get(resource).into_iter().flatten();
        seen.filter(|node| self.status(node) != NodeStatus::Offline).collect()
    }
}
