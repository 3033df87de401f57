//! What a resource is on a node, as the cluster knows it.

use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;

/// What one copy of a resource is on one node, as `crm_mon` shows it.
///
/// ```
/// use ha_agents::attributes::ResourceState;
/// use ha_core::role::Role;
///
/// let (db, n1) = ("db".parse()?, "n1".parse()?);
/// let state = ResourceState::new(db, "ocf:heartbeat:pgsql", n1, Role::Promoted);
/// let state = state.in_clone("db-clone".parse()?);
/// assert!(state.role.is_active() && !state.is_failed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceState {
    /// The resource; of a copy without its number.
    pub resource: ResourceName,
    /// Its agent, as `ocf:heartbeat:pgsql`.
    pub agent: String,
    /// The clone it is a copy of.
    pub clone: Option<ResourceName>,
    /// Where.
    pub node: NodeName,
    /// What it is there.
    pub role: Role,
    /// Whether its last operation failed. Agents count no failed copy as the promoted one.
    pub is_failed: bool,
    /// Whether the cluster starts and stops it.
    pub is_managed: bool,
    /// Whether it runs though it is no longer configured. Agents do not count it either.
    pub is_orphan: bool,
}

impl ResourceState {
    /// A resource that is configured, managed, not failed, and no copy.
    #[must_use]
    pub fn new(
        resource: ResourceName,
        agent: impl Into<String>,
        node: NodeName,
        role: Role,
    ) -> Self {
        let (agent, clone) = (agent.into(), None);
        let (is_failed, is_managed, is_orphan) = (false, true, false);
        Self { resource, agent, clone, node, role, is_failed, is_managed, is_orphan }
    }

    /// Says that it is a copy of `clone`.
    #[must_use]
    pub fn in_clone(mut self, clone: ResourceName) -> Self {
        self.clone = Some(clone);
        self
    }
}
