//! What holds between resources and nodes: where, with whom, after whom.

use std::fmt;

use ha_core::id::{NodeName, ResourceName};
use ha_core::time::WallTime;
use serde::{Deserialize, Serialize};

use super::operation::OperationName;
use super::score::Score;

/// All constraints of a cluster; each may name resources and groups.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Constraints {
    /// Where things want to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locations: Vec<Location>,
    /// What wants to be together, or apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub colocations: Vec<Colocation>,
    /// What waits for what.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<Order>,
}

impl Constraints {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.locations.is_empty() && self.colocations.is_empty() && self.orders.is_empty()
    }
}

/// Who made a constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// It stands in the configuration.
    #[default]
    Configured,
    /// A person asked for a move; `clear` takes it away.
    Move,
}

/// How much a resource wants to be on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Location {
    /// What.
    pub resource: ResourceName,
    /// Where.
    pub node: NodeName,
    /// How much; below zero keeps it away.
    pub score: Score,
    /// Who made it.
    #[serde(default)]
    pub origin: Origin,
    /// From when on it does not count any more. Default: it always counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<WallTime>,
}

impl Location {
    /// A lasting preference.
    #[must_use]
    pub const fn new(resource: ResourceName, node: NodeName, score: Score) -> Self {
        Self { resource, node, score, origin: Origin::Configured, until: None }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.resource, self.node)
    }
}

/// How much a resource wants to be where another one is.
///
/// With `infinity` it runs only there; with `-infinity` never there; anything between is a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Colocation {
    /// What goes with the other: the dependent.
    pub resource: ResourceName,
    /// The other, placed first.
    pub with: ResourceName,
    /// How much. Default: infinity.
    #[serde(default = "infinity")]
    pub score: Score,
}

const fn infinity() -> Score {
    Score::INFINITY
}

impl Colocation {
    /// `resource` runs only where `with` runs.
    #[must_use]
    pub const fn together(resource: ResourceName, with: ResourceName) -> Self {
        Self { resource, with, score: Score::INFINITY }
    }

    /// `resource` never runs where `with` runs.
    #[must_use]
    pub const fn apart(resource: ResourceName, with: ResourceName) -> Self {
        Self { resource, with, score: Score::NEVER }
    }

    /// Sets how much.
    #[must_use]
    pub const fn score(mut self, score: Score) -> Self {
        self.score = score;
        self
    }
}

impl fmt::Display for Colocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.resource, self.with)
    }
}

/// How binding an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OrderKind {
    /// The second cannot be without the first, and is restarted with it.
    #[default]
    Mandatory,
    /// Only if both are done in one go. An optional order that would close a circle is left out.
    Optional,
}

/// One action waits for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Order {
    /// What comes first.
    pub first: ResourceName,
    /// What comes then.
    pub then: ResourceName,
    /// What is done with the first: start or stop. Default: start.
    #[serde(default = "start")]
    pub first_action: OperationName,
    /// What is done with the second: start or stop. Default: as `first_action`'s default, start.
    #[serde(default = "start")]
    pub then_action: OperationName,
    /// How binding. Default: mandatory.
    #[serde(default)]
    pub kind: OrderKind,
    /// Whether the opposite actions are done in the opposite order. Default: true.
    #[serde(default = "yes")]
    pub symmetrical: bool,
}

const fn start() -> OperationName {
    OperationName::Start
}

const fn yes() -> bool {
    true
}

impl Order {
    /// `first` starts before `then`, and stops after it.
    #[must_use]
    pub const fn new(first: ResourceName, then: ResourceName) -> Self {
        let (first_action, then_action) = (OperationName::Start, OperationName::Start);
        let kind = OrderKind::Mandatory;
        Self { first, then, first_action, then_action, kind, symmetrical: true }
    }

    /// Sets what is done with each: start or stop.
    #[must_use]
    pub const fn actions(mut self, first: OperationName, then: OperationName) -> Self {
        self.first_action = first;
        self.then_action = then;
        self
    }

    /// Makes it count only if both are done in one go.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.kind = OrderKind::Optional;
        self
    }

    /// Makes it count only in this direction.
    #[must_use]
    pub const fn asymmetrical(mut self) -> Self {
        self.symmetrical = false;
        self
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, then, first_action, then_action, .. } = self;
        write!(f, "{first_action} {first} then {then_action} {then}")
    }
}
