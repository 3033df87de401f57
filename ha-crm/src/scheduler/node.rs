//! A node, as far as deciding needs to know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::scheduler::attributes::Table;
use crate::scheduler::id::RscId;

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// Runs the cluster's stack.
    #[default]
    Member,
    /// Is served over a connection that is a resource.
    Remote,
    /// Is a remote node inside a resource: a virtual machine, a container.
    Guest,
}

/// A node.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts of different sources, all may hold")]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) attributes: Table,
    /// What it offers, by the name of the attribute.
    pub(crate) capacity: BTreeMap<Arc<str>, i64>,
    /// Whether a `node_state` was seen for it.
    pub(crate) seen: bool,
    pub(crate) online: bool,
    pub(crate) unclean: bool,
    /// Why it must be fenced.
    pub(crate) fence: Option<Arc<str>>,
    pub(crate) standby: bool,
    /// Standby as the answer to a failure.
    pub(crate) standby_on_fail: bool,
    /// Has joined the membership, but not yet the cluster.
    pub(crate) pending: bool,
    pub(crate) shutdown: bool,
    pub(crate) expected_up: bool,
    pub(crate) maintenance: bool,
    pub(crate) discovery: bool,
    /// The whole of its health, and whether any of it is bad.
    pub(crate) health: i32,
    /// The resource that is its connection.
    pub(crate) connection: Option<RscId>,
    /// Its connection must be made anew.
    pub(crate) must_reset: bool,
    /// It is not fenced if its connection can be made again.
    pub(crate) may_return: bool,
    /// The devices that let it in have changed.
    pub(crate) must_unfence: bool,
    /// It was fenced already.
    pub(crate) was_fenced: bool,
    /// Its rest of history was looked at.
    pub(crate) unpacked: bool,
    /// What is active on it.
    pub(crate) running: Vec<RscId>,
    /// How many resources are assigned to it.
    pub(crate) assigned: u32,
}

impl Node {
    pub(crate) fn is_remote(&self) -> bool {
        self.kind != Kind::Member
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.kind == Kind::Guest
    }

    /// Whether it could run something.
    pub(crate) fn is_available(&self) -> bool {
        self.online && !self.shutdown && !self.unclean && !self.standby && !self.maintenance
    }

    /// Whether two names are of one node.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}
