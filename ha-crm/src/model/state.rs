//! What is: the state from which decisions are made.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;
use ha_core::time::WallTime;
use ha_membership::quorum::Quorum;
use serde::{Deserialize, Serialize};

use super::config::ClusterConfig;
use super::operation::OperationName;

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
    /// Is just joining: nothing is done to it yet, and what was seen on it is taken to run.
    Pending,
    /// Takes part and shall run nothing.
    Standby,
    /// Its state is not known: it may run anything, until it is fenced.
    Unclean,
}

/// The failures of a resource on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a record of three facts")]
pub struct Failures {
    /// How many.
    pub count: u32,
    /// When the last one was.
    pub last: WallTime,
    /// What failed last.
    pub operation: OperationName,
}

/// What is known of a resource on one node.
///
/// ```
/// use ha_core::time::WallTime;
/// use ha_crm::model::{OperationName, ResourceStatus};
///
/// let status = ResourceStatus::started().failed(OperationName::Monitor, WallTime::from_micros(0));
/// assert_eq!(status.failures.unwrap().count, 1);
/// assert_eq!(status.fault, Some(OperationName::Monitor));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResourceStatus {
    /// Its last known role, from a probe, a monitor or an action.
    pub role: Role,
    /// The operation that failed and has not been made good since; `stop`: it cannot be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<OperationName>,
    /// Its failures there since it was last cleaned up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,
    /// Of a copy of a promotable resource: how well it would do as the promoted one, the more the
    /// better, below zero: not at all. `None`: it has not said, and is not promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<i32>,
    /// It was started with other parameters, or by another agent, than are configured now: it is
    /// to be restarted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

impl ResourceStatus {
    /// It does not run there.
    #[must_use]
    pub const fn stopped() -> Self {
        Self { role: Role::Stopped, fault: None, failures: None, promotion: None, outdated: false }
    }

    /// It runs there.
    #[must_use]
    pub const fn started() -> Self {
        Self { role: Role::Started, ..Self::stopped() }
    }

    /// It runs there as a copy, and would do so well as the promoted one.
    #[must_use]
    pub const fn copy(promotion: i32) -> Self {
        Self { role: Role::Unpromoted, promotion: Some(promotion), ..Self::stopped() }
    }

    /// It runs there as the promoted one.
    #[must_use]
    pub const fn promoted(promotion: i32) -> Self {
        Self { role: Role::Promoted, promotion: Some(promotion), ..Self::stopped() }
    }

    /// It runs there, perhaps in part, and an operation has just failed.
    #[must_use]
    pub fn failed(self, operation: OperationName, at: WallTime) -> Self {
        let count = self.failures.map_or(0, |failures| failures.count).saturating_add(1);
        let failures = Some(Failures { count, last: at, operation });
        Self { role: self.role.max(Role::Started), fault: Some(operation), failures, ..self }
    }
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
    /// What is known of each resource on each node; what is not named here is not known, and
    /// will be probed on nodes that are online.
    pub resources: BTreeMap<ResourceName, BTreeMap<NodeName, ResourceStatus>>,
}

impl ClusterState {
    /// A quorate cluster on which all nodes are online and it is known that nothing runs.
    #[must_use]
    pub fn new(config: ClusterConfig) -> Self {
        let mut state = Self::cold(config);
        let stopped = || {
            let nodes = state.config.nodes().iter();
            nodes.map(|node| (node.clone(), ResourceStatus::stopped())).collect()
        };
        let names = state.config.resources().keys();
        state.resources = names.map(|name| (name.clone(), stopped())).collect();
        state
    }

    /// A quorate cluster on which all nodes are online and nothing is known of resources.
    #[must_use]
    pub fn cold(config: ClusterConfig) -> Self {
        let nodes = config.nodes().iter().map(|node| (node.clone(), NodeStatus::Online)).collect();
        Self { config, quorum: Quorum::Quorate, nodes, resources: BTreeMap::new() }
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
    pub fn with_active(self, resource: ResourceName, node: NodeName) -> Self {
        self.with_status(resource, node, ResourceStatus::started())
    }

    /// Sets what is known of a resource on a node.
    #[must_use]
    pub fn with_status(
        mut self,
        resource: ResourceName,
        node: NodeName,
        status: ResourceStatus,
    ) -> Self {
        self.resources.entry(resource).or_default().insert(node, status);
        self
    }

    /// Notes that an operation succeeded: a start, a stop, or a probe or monitor that found `role`.
    /// Its failures stay counted.
    pub fn note(&mut self, resource: &ResourceName, node: &NodeName, role: Role) {
        let known = self.resources.entry(resource.clone()).or_default();
        let before = known.get(node).copied().unwrap_or(ResourceStatus::stopped());
        let promotion = before.promotion.filter(|_| role.is_active());
        let after = ResourceStatus { role, promotion, ..ResourceStatus::stopped() };
        known.insert(node.clone(), ResourceStatus { failures: before.failures, ..after });
    }

    /// Notes that an operation failed, and counts it.
    pub fn note_failure(
        &mut self,
        resource: &ResourceName,
        node: &NodeName,
        operation: OperationName,
        at: WallTime,
    ) {
        let known = self.resources.entry(resource.clone()).or_default();
        let before = known.get(node).copied().unwrap_or(ResourceStatus::started());
        known.insert(node.clone(), before.failed(operation, at));
    }

    /// Forgets everything about a node's resources: it was fenced, or has left in order.
    pub fn forget_node(&mut self, node: &NodeName) {
        for known in self.resources.values_mut() {
            known.remove(node);
        }
    }

    /// Forgets a resource's failures everywhere (`cleanup`). Where something was amiss its state
    /// is not known any more, so that it is probed again.
    pub fn cleanup(&mut self, resource: &ResourceName) {
        if let Some(known) = self.resources.get_mut(resource) {
            known.retain(|_, status| status.fault.is_none());
            for status in known.values_mut() {
                status.failures = None;
            }
        }
    }

    /// A node's status; a witness counts as offline, as nothing ever runs on it.
    #[must_use]
    pub fn status(&self, node: &NodeName) -> NodeStatus {
        if self.config.is_witness(node) {
            return NodeStatus::Offline;
        }
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
        let seen = self.resources.get(resource).into_iter().flatten();
        let active = seen.filter(|(_, status)| status.role.is_active()).map(|(node, _)| node);
        active.filter(|node| self.status(node) != NodeStatus::Offline).collect()
    }
}
