//! What the leader looks at besides its own knowledge.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::Instant;
use ha_membership::View;

/// What the leader sees of the node that it runs on.
#[derive(Debug, Clone, Copy)]
pub(in crate::manager) struct Scene<'a> {
    pub(in crate::manager) now: Instant,
    pub(in crate::manager) view: &'a View,
    /// Whether this node may act for the cluster.
    pub(in crate::manager) quorate: bool,
    pub(in crate::manager) seen: &'a Seen,
}

/// When nodes were lost.
#[derive(Debug)]
pub(in crate::manager) struct Seen {
    started: Instant,
    lost: BTreeMap<NodeName, Instant>,
}

impl Seen {
    /// Nobody was seen before `started`.
    pub(in crate::manager) const fn new(started: Instant) -> Self {
        Self { started, lost: BTreeMap::new() }
    }

    /// Notes who is there no more, and who is there.
    pub(in crate::manager) fn change(
        &mut self,
        before: &[NodeName],
        now: &[NodeName],
        at: Instant,
    ) {
        for node in before.iter().filter(|node| !now.contains(node)) {
            self.lost.insert(node.clone(), at);
        }
        for node in now {
            self.lost.remove(node);
        }
    }

    /// Since when a node that is not there is lost; later than now: it is still awaited.
    pub(in crate::manager) fn lost_since(&self, node: &NodeName, wait: Duration) -> Instant {
        self.lost.get(node).copied().unwrap_or(self.started + wait)
    }
}
