//! Constraints, each between two resources, or between a resource and a ticket.

use std::sync::Arc;

use ha_core::role::Role;

use crate::cib::{LossPolicy, OrderAction, OrderKind};
use crate::scheduler::id::RscId;

/// One resource wants to be with another, or apart from it.
#[derive(Debug, Clone)]
pub(crate) struct Colocation {
    pub(crate) id: Arc<str>,
    pub(crate) dependent: RscId,
    pub(crate) primary: RscId,
    pub(crate) dependent_role: Option<Role>,
    pub(crate) primary_role: Option<Role>,
    pub(crate) score: i32,
    /// Nodes with the same value of it count as one place.
    pub(crate) node_attribute: Option<Arc<str>>,
    /// Whether the dependent has a say in where the primary goes; `None`: if it is critical.
    pub(crate) influence: Option<bool>,
}

/// One action comes after another.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) id: Arc<str>,
    pub(crate) first: First,
    pub(crate) first_action: OrderAction,
    pub(crate) then: RscId,
    pub(crate) then_action: OrderAction,
    pub(crate) kind: OrderKind,
    /// It is the way back of a symmetrical one, or has none.
    pub(crate) symmetry: Symmetry,
    /// All instances must be there, not just one.
    pub(crate) require_all: bool,
}

/// What comes first.
#[derive(Debug, Clone)]
pub(crate) enum First {
    /// One of several is enough.
    Any(Arc<[RscId]>),
    One(RscId),
}

/// How an order stands to its inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symmetry {
    /// It holds one way only.
    Asymmetric,
    /// It is the inverse.
    Inverse,
    /// It has an inverse.
    Symmetric,
}

/// A resource needs a ticket.
#[derive(Debug, Clone)]
pub(crate) struct TicketUse {
    pub(crate) resource: RscId,
    pub(crate) role: Option<Role>,
    pub(crate) ticket: Arc<str>,
    pub(crate) loss_policy: LossPolicy,
}
