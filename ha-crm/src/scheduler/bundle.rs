//! The parts of a bundle.

use crate::scheduler::id::{NodeId, RscId};

/// One replica: a container with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) ip: Option<RscId>,
    pub(crate) container: RscId,
    /// The connection to what runs in the container.
    pub(crate) remote: Option<RscId>,
    pub(crate) child: Option<RscId>,
    /// The node that the container is.
    pub(crate) node: Option<NodeId>,
}

/// A bundle's parts.
#[derive(Debug, Clone)]
pub(crate) struct BundleParts {
    pub(crate) replicas: Vec<Replica>,
    /// The clone of the primitive inside.
    pub(crate) child: Option<RscId>,
    pub(crate) replicas_per_host: usize,
}

impl Replica {
    /// All that there is of it.
    pub(crate) fn members(&self) -> impl Iterator<Item = RscId> {
        [self.ip, self.child, Some(self.container), self.remote].into_iter().flatten()
    }
}
