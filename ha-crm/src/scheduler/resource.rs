//! A resource, as far as deciding needs to know it: what it is, where it is, where it may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_core::role::Role;

use crate::cib::{OnFail, Primitive, Requires};
use crate::scheduler::attributes::Table;
use crate::scheduler::bundle::BundleParts;
use crate::scheduler::id::{NodeId, NodeSet, RscId};

/// The score of a node that a resource knows nothing of.
pub(crate) const ABSENT: i32 = i32::MIN;

/// What kind of resource it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Variant {
    Bundle,
    Clone,
    Group,
    #[default]
    Primitive,
}

/// What to do when more than one instance is active. Source: `multiple-active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MultipleActive {
    Block,
    StopOnly,
    #[default]
    StopStart,
    StopUnexpected,
}

/// How many instances a clone has, and how they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct CloneSettings {
    pub(crate) max: usize,
    pub(crate) node_max: usize,
    /// Dependents may go on with so many instances; 0: not said.
    pub(crate) min: usize,
    pub(crate) promoted_max: usize,
    pub(crate) promoted_node_max: usize,
    pub(crate) interleave: bool,
    pub(crate) promotable: bool,
    pub(crate) notify: bool,
}

/// One operation of the configuration, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) name: Arc<str>,
    pub(crate) interval_ms: u64,
    pub(crate) role: Option<Role>,
    pub(crate) on_fail: Option<OnFail>,
    /// Parameters of the operation's own.
    pub(crate) parameters: Table,
}

/// A live migration that stands halfway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Migration {
    pub(crate) source: NodeId,
    pub(crate) target: NodeId,
}

/// What happened to a resource on a node that decides what is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FailureAnswer {
    Ignore,
    Demote,
    Recover,
    Block,
    Stop,
    RestartContainer,
    ResetRemote,
    Standby,
    Fence,
}

/// A resource.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts of different sources, all may hold")]
pub(crate) struct Resource<'c> {
    /// Its name; an instance's ends in a number.
    pub(crate) id: Arc<str>,
    /// Its name in the configuration.
    pub(crate) base: Arc<str>,
    pub(crate) variant: Variant,
    pub(crate) parent: Option<RscId>,
    pub(crate) children: Vec<RscId>,
    pub(crate) config: Option<&'c Primitive>,
    pub(crate) template: Option<&'c Primitive>,
    pub(crate) class: Arc<str>,
    pub(crate) provider: Option<Arc<str>>,
    pub(crate) agent: Arc<str>,
    pub(crate) meta: Table,
    /// Parameters that do not come from the configuration.
    pub(crate) implied: Table,
    pub(crate) operations: Arc<Vec<Op>>,

    pub(crate) priority: i32,
    pub(crate) stickiness: i32,
    pub(crate) migration_threshold: i32,
    pub(crate) failure_timeout: Duration,
    pub(crate) target_role: Option<Role>,
    pub(crate) multiple_active: MultipleActive,
    pub(crate) requires: Option<Requires>,
    pub(crate) managed: bool,
    /// Whether the configuration alone leaves it managed.
    pub(crate) is_managed_by_itself: bool,
    pub(crate) maintenance: bool,
    pub(crate) blocked: bool,
    pub(crate) critical: bool,
    pub(crate) unique: bool,
    pub(crate) can_migrate: bool,
    pub(crate) allow_unhealthy: bool,
    /// Not configured, but there.
    pub(crate) removed: bool,
    /// A fence device.
    pub(crate) is_fencing: bool,
    pub(crate) exclusive_discovery: bool,
    pub(crate) clone: CloneSettings,
    pub(crate) bundle: Option<Box<BundleParts>>,
    pub(crate) utilization: BTreeMap<Arc<str>, i64>,

    /// The node whose connection it is.
    pub(crate) remote: Option<NodeId>,
    /// The resource that it lives in.
    pub(crate) container: Option<RscId>,
    /// What lives in it.
    pub(crate) contents: Vec<RscId>,

    /// The name under which histories know it.
    pub(crate) alias: Option<Arc<str>>,
    /// Failures that no longer count: the node, and the operation with its interval.
    pub(crate) void_failures: Vec<(NodeId, String)>,
    pub(crate) role: Role,
    pub(crate) next_role: Role,
    /// Why the next role is what it is.
    pub(crate) next_role_why: Option<Arc<str>>,
    pub(crate) running: Vec<NodeId>,
    pub(crate) known: NodeSet,
    pub(crate) failed: bool,
    pub(crate) failure_ignored: bool,
    pub(crate) start_pending: bool,
    /// The failure asks that it is stopped.
    pub(crate) must_stop: bool,
    pub(crate) reload: bool,
    pub(crate) must_restart: bool,
    pub(crate) migration: Option<Migration>,
    /// Where half a migration may have left it.
    pub(crate) dangling: Vec<NodeId>,
    pub(crate) lock_node: Option<NodeId>,
    /// Where some operation of it is still running.
    pub(crate) pending_node: Option<NodeId>,
    pub(crate) answer: Option<FailureAnswer>,

    /// The score of every node; [`ABSENT`] where it knows none.
    pub(crate) scores: Vec<i32>,
    /// Nodes that must not be probed, or alone may be.
    pub(crate) discovery: BTreeMap<NodeId, crate::cib::Discovery>,
    /// Rules for promotion: the node and the score.
    pub(crate) promotion_locations: Vec<(NodeId, i32)>,
    /// Colocations of which it is the dependent.
    pub(crate) with: Vec<usize>,
    /// Colocations of which it is the primary.
    pub(crate) dependents: Vec<usize>,

    pub(crate) assigned: Option<NodeId>,
    pub(crate) is_assigned: bool,
    pub(crate) is_assigning: bool,
    pub(crate) is_adding_scores: bool,
    /// How much an instance wants to be promoted.
    pub(crate) promotion: i32,
    pub(crate) sort_promotion: i32,
    /// Why the nodes were closed, for an explanation.
    pub(crate) why: Option<Arc<str>>,
}

impl Default for BundleParts {
    fn default() -> Self {
        Self { replicas: Vec::new(), child: None, replicas_per_host: 1 }
    }
}

impl Resource<'_> {
    pub(crate) fn is_primitive(&self) -> bool {
        self.variant == Variant::Primitive
    }

    pub(crate) fn is_collective(&self) -> bool {
        self.variant != Variant::Primitive
    }

    /// A clone, or a bundle.
    pub(crate) fn is_cloned(&self) -> bool {
        matches!(self.variant, Variant::Clone | Variant::Bundle)
    }

    /// The score on a node; [`ABSENT`] if none is known.
    pub(crate) fn score(&self, node: NodeId) -> i32 {
        self.scores.get(node.index()).copied().unwrap_or(ABSENT)
    }

    /// Whether the members of a group go together. Source: `collocated`, which later versions
    /// spell `colocated`.
    pub(crate) fn keeps_together(&self) -> bool {
        self.meta.read("collocated") != Some(false) && self.meta.read("colocated") != Some(false)
    }

    /// Whether its role can be promoted.
    pub(crate) fn may_be_promoted(&self) -> bool {
        self.clone.promotable
    }
}
