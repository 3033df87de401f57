//! The cluster as it is looked at while deciding: resolved, and with what is decided so far.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use ha_core::time::WallTime;

use crate::cib::{Cib, Primitive};
use crate::scheduler::attributes::Table;
use crate::scheduler::constraint::{Colocation, Order, TicketUse};
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::{Ledger, Why};
use crate::scheduler::limits::Limits;
use crate::scheduler::node::Node;
use crate::scheduler::options::Options;
use crate::scheduler::resource::{ABSENT, Resource};
use crate::scheduler::score::sum;

/// Colocations are not followed further than this from where they begin.
pub(crate) const MAX_DEPTH: usize = 300;

/// Colocations of each resource, as far as somebody asked.
pub(crate) type Peers = Vec<OnceCell<Arc<[usize]>>>;

/// A ticket, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TicketNow {
    pub(crate) granted: bool,
    pub(crate) standby: bool,
}

/// The working picture of a cluster.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts of different sources, all may hold")]
pub(crate) struct Cluster<'c> {
    pub(crate) cib: &'c Cib,
    pub(crate) now: WallTime,
    pub(crate) options: Options,
    pub(crate) nodes: Vec<Node>,
    pub(crate) resources: Vec<Resource<'c>>,
    /// What stands on its own, in the order of the configuration.
    pub(crate) top: Vec<RscId>,
    pub(crate) templates: BTreeMap<&'c str, &'c Primitive>,
    pub(crate) tags: BTreeMap<&'c str, &'c [Arc<str>]>,
    /// Resources by their names; of an instance by the name with its number.
    pub(crate) names: BTreeMap<Arc<str>, RscId>,
    /// The resource whose history was last looked at, and which came after each before.
    pub(crate) last_found: Option<RscId>,
    pub(crate) found_after: Vec<Option<RscId>>,
    pub(crate) node_names: BTreeMap<Arc<str>, NodeId>,
    pub(crate) node_ids: BTreeMap<Arc<str>, NodeId>,
    pub(crate) colocations: Vec<Colocation>,
    pub(crate) orders: Vec<Order>,
    pub(crate) ticket_uses: Vec<TicketUse>,
    pub(crate) tickets: BTreeMap<Arc<str>, TicketNow>,
    pub(crate) has_quorum: bool,
    pub(crate) has_unfencing: bool,
    pub(crate) has_fence_device: bool,
    pub(crate) ledger: Ledger,
    pub(crate) limits: Limits,
    /// For each resource, once asked for, the colocations of which it is the dependent.
    pub(crate) primaries: Peers,
    /// Likewise of which it is the primary.
    pub(crate) dependents: Peers,
    /// Whether resources have their scores: no more nodes are to be expected.
    pub(crate) is_scored: bool,
    /// How deep colocations of colocations are being followed.
    pub(crate) depth: usize,
    /// When time alone may change the decision.
    pub(crate) next_change: Option<WallTime>,
}

impl Index<NodeId> for Cluster<'_> {
    type Output = Node;

    fn index(&self, node: NodeId) -> &Node {
        &self.nodes[node.index()]
    }
}

impl IndexMut<NodeId> for Cluster<'_> {
    fn index_mut(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.index()]
    }
}

impl<'c> Index<RscId> for Cluster<'c> {
    type Output = Resource<'c>;

    fn index(&self, resource: RscId) -> &Resource<'c> {
        &self.resources[resource.index()]
    }
}

impl IndexMut<RscId> for Cluster<'_> {
    fn index_mut(&mut self, resource: RscId) -> &mut Self::Output {
        &mut self.resources[resource.index()]
    }
}

impl Cluster<'_> {
    pub(crate) fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId::new)
    }

    pub(crate) fn resource_ids(&self) -> impl Iterator<Item = RscId> + use<> {
        (0..self.resources.len()).map(RscId::new)
    }

    /// The node of a name.
    pub(crate) fn find_node(&self, name: &str) -> Option<NodeId> {
        if let Some(node) = self.node_names.get(name) {
            return Some(*node);
        }
        let position = self.nodes.iter().position(|node| node.is_called(name));
        position.map(NodeId::new)
    }

    /// The clone that it is an instance of, or in an instance of.
    pub(crate) fn clone_of(&self, resource: RscId) -> Option<RscId> {
        let mut at = resource;
        while let Some(parent) = self[at].parent {
            if self[parent].variant == crate::scheduler::resource::Variant::Clone {
                return Some(parent);
            }
            at = parent;
        }
        None
    }

    /// The bundle that it is part of.
    pub(crate) fn bundle_of(&self, resource: RscId) -> Option<RscId> {
        let mut at = resource;
        while let Some(parent) = self[at].parent {
            if self[parent].bundle.is_some() {
                return Some(parent);
            }
            at = parent;
        }
        None
    }

    /// It and all below it.
    pub(crate) fn all_of(&self, resource: RscId) -> Vec<RscId> {
        let mut all = vec![resource];
        let mut at = 0;
        while let Some(next) = all.get(at).copied() {
            all.extend(self[next].children.iter().copied());
            at += 1;
        }
        all
    }

    /// The primitives of it, in order.
    pub(crate) fn primitives_of(&self, resource: RscId) -> Vec<RscId> {
        let mut found = Vec::new();
        let mut open = vec![resource];
        while let Some(next) = open.pop() {
            if self[next].is_primitive() {
                found.push(next);
            }
            open.extend(self[next].children.iter().rev().copied());
        }
        found
    }

    /// The role it has: of a collective the highest of its members'.
    pub(crate) fn role_of(&self, resource: RscId) -> ha_core::role::Role {
        let members = self.primitives_of(resource);
        members.into_iter().map(|member| self[member].role).max().unwrap_or_default()
    }

    /// The node it is on now; the first if there are several.
    pub(crate) fn current(&self, resource: RscId) -> Option<NodeId> {
        self[resource].running.first().copied()
    }

    /// The node it is assigned to; for what lives in a bundle's container the host of that.
    ///
    /// Constraints on bundles speak of hosts.
    pub(crate) fn seat(&self, resource: RscId) -> Option<NodeId> {
        let node = self[resource].assigned?;
        let connection = self[node].connection.filter(|rsc| self.bundle_of(*rsc).is_some());
        match connection.and_then(|connection| self[connection].container) {
            Some(container) => self[container].assigned,
            None => Some(node),
        }
    }

    /// Adds to the score of a node.
    pub(crate) fn add_score(&mut self, resource: RscId, node: NodeId, score: i32, why: &Why) {
        let slot = self.resources[resource.index()].scores.get_mut(node.index());
        let Some(slot) = slot else { return };
        *slot = if *slot == ABSENT { score } else { sum(*slot, score) };
        self.ledger.add(resource, node, score, why);
    }

    /// Closes a node to a resource.
    pub(crate) fn ban(&mut self, resource: RscId, node: NodeId, why: &Why) {
        self.add_score(resource, node, -crate::scheduler::score::INFINITY, why);
    }

    /// Closes every node to a resource.
    pub(crate) fn ban_all(&mut self, resource: RscId, why: &Why) {
        for node in self.node_ids() {
            if self[resource].score(node) != ABSENT {
                self.ban(resource, node, why);
            }
        }
    }

    /// What an attribute says to a resource on a node: in a container perhaps the host's counts.
    ///
    /// Source: `container-attribute-target`.
    pub(crate) fn attribute_for(&self, resource: RscId, node: NodeId, name: &str) -> Option<&str> {
        let container = self[node].connection.and_then(|connection| self[connection].container);
        if let (Some(container), Some("host")) =
            (container, self[resource].meta.get("container-attribute-target"))
        {
            let now = if self[container].is_assigned {
                self[container].assigned
            } else {
                self.current(container)
            };
            return now.and_then(|host| self.attribute(host, name));
        }
        self.attribute(node, name)
    }

    /// What an attribute of a node says.
    pub(crate) fn attribute(&self, node: NodeId, name: &str) -> Option<&str> {
        self[node].attributes.get(name)
    }

    /// Time at which the decision may change by itself.
    pub(crate) fn recheck_at(&mut self, at: WallTime) {
        if at > self.now && self.next_change.is_none_or(|known| at < known) {
            self.next_change = Some(at);
        }
    }

    /// The parameters of a resource on a node.
    pub(crate) fn parameters(&self, resource: RscId, node: Option<NodeId>) -> Table {
        let rsc = &self[resource];
        let mut facts = crate::model::rule::Facts::at(self.now);
        if let Some(node) = node {
            facts = facts.node(&self[node].attributes);
        }
        let mut table = Table::default();
        if let Some(config) = rsc.config {
            table.add(&config.instance, &facts);
        }
        if let Some(template) = rsc.template {
            table.add(&template.instance, &facts);
        }
        table.inherit(&rsc.implied);
        table
    }
}
