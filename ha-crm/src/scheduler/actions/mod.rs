//! What must be done, and what depends on what.
//!
//! Every resource gets the actions that could be needed for it, each at first needed or not, able
//! to run or not. Edges between them then spread both until nothing changes.

mod collective;
mod colocated;
mod digest;
mod fencing;
mod migrate;
mod orders;
mod schedule;
mod spread;

pub(crate) use self::digest::has_changed;
pub(crate) use self::fencing::is_fenced;

use std::sync::Arc;

use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{ActId, NodeId, RscId};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Task {
    Demote,
    /// All that a collective demotes is demoted.
    Demoted,
    Fence,
    /// One of several has been done.
    OneOf,
    Promote,
    /// All that a collective promotes is promoted.
    Promoted,
    /// All that a collective starts is started.
    Running,
    Start,
    Stop,
    /// All that a collective stops is stopped.
    Stopped,
    Unfence,
}

impl Task {
    /// Whether a resource is more active after it.
    pub(crate) const fn begins(self) -> bool {
        matches!(self, Self::Promote | Self::Start)
    }

    /// Whether a resource is less active after it.
    pub(crate) const fn ends(self) -> bool {
        matches!(self, Self::Demote | Self::Stop)
    }
}

/// An action that could be needed.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is spread on its own")]
pub(crate) struct Action {
    pub(crate) task: Task,
    pub(crate) resource: Option<RscId>,
    pub(crate) node: Option<NodeId>,
    /// It need not be done.
    pub(crate) optional: bool,
    pub(crate) runnable: bool,
    /// Nothing is run for it.
    pub(crate) pseudo: bool,
    /// A stop or start that a live migration could stand for.
    pub(crate) migratable: bool,
    pub(crate) why: Option<Arc<str>>,
    /// It is not to be done at all.
    pub(crate) inhibited: bool,
    /// How many of its firsts must be able to run; 0: all that say so.
    pub(crate) enough: usize,
}

/// What an edge does. Several may hold.
pub(crate) mod flag {
    /// Only the order, if both are done.
    pub(crate) const ORDERED: u16 = 0;
    /// If the first must be done, the second must be too.
    pub(crate) const FIRST_IMPLIES_THEN: u16 = 1;
    /// If the second must be done, the first must be too.
    pub(crate) const THEN_IMPLIES_FIRST: u16 = 1 << 1;
    /// If the first cannot run, the second cannot.
    pub(crate) const UNRUNNABLE_BLOCKS: u16 = 1 << 2;
    /// The two are the halves of a restart.
    pub(crate) const RESTART: u16 = 1 << 3;
    /// It holds one way only.
    pub(crate) const ASYMMETRIC: u16 = 1 << 4;
    /// The second needs so many of its firsts.
    pub(crate) const MIN_RUNNABLE: u16 = 1 << 5;
    /// A first that is needed but cannot run blocks.
    pub(crate) const NEEDED_FIRST_BLOCKS: u16 = 1 << 6;
    /// The first cannot be migrated while the second is not.
    pub(crate) const SHARES_MIGRATION: u16 = 1 << 7;
}

/// One action before another.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) first: ActId,
    pub(crate) then: ActId,
    pub(crate) flags: u16,
    pub(crate) why: Arc<str>,
}

/// All actions and edges of a decision in the making.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) edges: Vec<Edge>,
    by_resource: Vec<Vec<ActId>>,
    pub(crate) fences: Vec<ActId>,
    /// Resources that migrate live.
    pub(crate) migrations: Vec<RscId>,
}

impl std::ops::Index<ActId> for Plan {
    type Output = Action;

    fn index(&self, action: ActId) -> &Action {
        &self.actions[action.index()]
    }
}

impl std::ops::IndexMut<ActId> for Plan {
    fn index_mut(&mut self, action: ActId) -> &mut Action {
        &mut self.actions[action.index()]
    }
}

impl Plan {
    /// The action of a kind for a resource, on a node or on none in particular.
    pub(crate) fn find(&self, resource: RscId, task: Task, node: Option<NodeId>) -> Option<ActId> {
        self.of(resource).iter().copied().find(|id| {
            let action = &self[*id];
            action.task == task && action.node == node
        })
    }

    /// Every action for a resource.
    pub(crate) fn of(&self, resource: RscId) -> &[ActId] {
        self.by_resource.get(resource.index()).map_or(&[], Vec::as_slice)
    }

    /// Every action of a kind for a resource.
    pub(crate) fn all(&self, resource: RscId, task: Task) -> Vec<ActId> {
        self.of(resource).iter().copied().filter(|id| self[*id].task == task).collect()
    }

    /// The action of a kind, made if it is not there.
    pub(crate) fn need(
        &mut self,
        resource: Option<RscId>,
        task: Task,
        node: Option<NodeId>,
    ) -> ActId {
        if let Some(resource) = resource
            && let Some(found) = self.find(resource, task, node)
        {
            return found;
        }
        let id = ActId::new(self.actions.len());
        self.actions.push(Action {
            task,
            resource,
            node,
            optional: true,
            runnable: true,
            pseudo: false,
            migratable: false,
            why: None,
            inhibited: false,
            enough: 0,
        });
        if let Some(resource) = resource {
            if self.by_resource.len() <= resource.index() {
                self.by_resource.resize_with(resource.index() + 1, Vec::new);
            }
            self.by_resource[resource.index()].push(id);
        }
        id
    }

    /// Says that an action must be done.
    pub(crate) fn require(&mut self, action: ActId, why: &str) {
        let action = &mut self[action];
        action.optional = false;
        if action.why.is_none() {
            action.why = Some(why.into());
        }
    }

    pub(crate) fn edge(&mut self, first: ActId, then: ActId, flags: u16, why: &Arc<str>) {
        if first != then {
            self.edges.push(Edge { first, then, flags, why: Arc::clone(why) });
        }
    }
}

/// Makes the plan of a cluster that is assigned.
pub(crate) fn plan(cluster: &mut Cluster<'_>) -> Plan {
    digest::compare(cluster);
    let mut plan = Plan::default();
    fencing::add_fences(cluster, &mut plan);
    for resource in cluster.resource_ids() {
        if cluster[resource].is_primitive() {
            schedule::schedule(cluster, &mut plan, resource);
        }
    }
    collective::add(cluster, &mut plan);
    fencing::order(cluster, &mut plan);
    orders::add(cluster, &mut plan);
    colocated::add(cluster, &mut plan);
    migrate::mark(cluster, &mut plan);
    spread::spread(cluster, &mut plan);
    migrate::settle(cluster, &mut plan);
    plan
}

/// The word for a task.
pub(crate) const fn word(task: Task) -> &'static str {
    match task {
        Task::Demote => "demote",
        Task::Demoted => "demoted",
        Task::Fence => "fence",
        Task::OneOf => "one of several",
        Task::Promote => "promote",
        Task::Promoted => "promoted",
        Task::Running => "running",
        Task::Start => "start",
        Task::Stop => "stop",
        Task::Stopped => "stopped",
        Task::Unfence => "unfence",
    }
}
