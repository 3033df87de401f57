//! What the executor is asked for, and what it answers.

use std::fmt;

use ha_core::effect::Effect;
use ha_core::id::{OpId, ResourceName, Term};
use ha_core::role::Role;

use crate::agent::{Check, OpContext, OpResult, Report};
use crate::outcome::{Operation, Outcome, Severity};

/// An operation of a resource agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the operations of ResourceAgent")]
pub enum Action {
    /// Back to a copy.
    Demote,
    /// Take over a resource that runs.
    MigrateFrom,
    /// Hand over a resource that runs.
    MigrateTo,
    /// Look; again and again if the order's context has an interval.
    Monitor(Check),
    /// Tell it of its copies.
    Notify,
    /// To the one that takes writes.
    Promote,
    /// Take over changed parameters.
    Reload,
    /// Start.
    Start,
    /// Stop.
    Stop,
    /// Check the parameters.
    Validate,
}

impl Action {
    /// What the answer's meaning depends on.
    #[must_use]
    pub const fn operation(self) -> Operation {
        match self {
            Self::Demote => Operation::Demote,
            Self::Monitor(Check { role: None, .. }) => Operation::Probe,
            Self::Monitor(Check { role: Some(role), .. }) => Operation::Monitor(role),
            Self::Promote => Operation::Promote,
            Self::Start => Operation::Start,
            Self::Stop => Operation::Stop,
            Self::MigrateFrom | Self::MigrateTo | Self::Notify | Self::Reload | Self::Validate => {
                Operation::Other
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Demote => "demote",
            Self::MigrateFrom => "migrate_from",
            Self::MigrateTo => "migrate_to",
            Self::Monitor(Check { role: None, .. }) => "probe",
            Self::Monitor(_) => "monitor",
            Self::Notify => "notify",
            Self::Promote => "promote",
            Self::Reload => "reload",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Validate => "validate",
        })
    }
}

/// The budgets that do not take from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Stop,
    Action,
    Probe,
    Monitor,
}

impl Lane {
    pub(super) const ALL: [Self; 4] = [Self::Stop, Self::Action, Self::Probe, Self::Monitor];
}

/// One order to the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data that a manager writes out")]
pub struct Order {
    /// The term of the one who decided it; `None`: this node itself, which is always obeyed (a
    /// stop because quorum is lost).
    pub term: Option<Term>,
    /// What to do.
    pub action: Action,
    /// To which resource, under which operation id, with what parameters, for how long.
    pub context: OpContext,
}

impl Order {
    /// The operation's id.
    #[must_use]
    pub const fn op(&self) -> OpId {
        self.context.op
    }

    /// The resource.
    #[must_use]
    pub const fn resource(&self) -> &ResourceName {
        &self.context.resource
    }

    /// Which budget it is of.
    pub(super) fn lane(&self) -> Lane {
        match self.action {
            Action::Stop | Action::Demote => Lane::Stop,
            Action::Monitor(_) if self.recurs() => Lane::Monitor,
            Action::Monitor(_) => Lane::Probe,
            Action::MigrateFrom
            | Action::MigrateTo
            | Action::Notify
            | Action::Promote
            | Action::Reload
            | Action::Start
            | Action::Validate => Lane::Action,
        }
    }

    pub(super) fn recurs(&self) -> bool {
        let interval = self.context.interval.unwrap_or_default();
        matches!(self.action, Action::Monitor(_)) && !interval.is_zero()
    }

    /// Whether it asks for the same as `other`, under whatever id and term.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.action == other.action
            && self.context.resource == other.context.resource
            && self.context.parameters == other.context.parameters
            && self.context.meta == other.context.meta
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a manager must decide on each")]
pub enum Answer {
    /// It was taken back, or a stop came before it; it never began. A recurring monitor: it is
    /// not repeated any more.
    Cancelled,
    /// The agent gave no answer.
    NoAnswer {
        /// Whether it may have happened all the same.
        effect: Effect,
        /// Why, for a person.
        reason: String,
    },
    /// The agent's answer.
    Report(Report),
}

impl Answer {
    /// How far the failure reaches; [`Severity::None`] if it is none.
    #[must_use]
    pub const fn severity(&self, operation: Operation) -> Severity {
        match self {
            Self::Cancelled => Severity::None,
            Self::NoAnswer { .. } => Severity::Soft,
            Self::Report(report) => report.outcome.meaning(operation).severity,
        }
    }

    /// The role that the resource has by this answer; `None`: unknown.
    #[must_use]
    pub const fn role(&self, operation: Operation) -> Option<Role> {
        match self {
            Self::Cancelled | Self::NoAnswer { .. } => None,
            Self::Report(report) => report.outcome.meaning(operation).role,
        }
    }

    pub(super) const fn promotion(&self) -> Option<i32> {
        match self {
            Self::Cancelled | Self::NoAnswer { .. } => None,
            Self::Report(report) => report.promotion,
        }
    }

    pub(super) const fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Cancelled | Self::NoAnswer { .. } => None,
            Self::Report(report) => Some(report.outcome),
        }
    }
}

impl From<OpResult> for Answer {
    fn from(result: OpResult) -> Self {
        match result {
            Ok(report) => Self::Report(report),
            Err(error) => {
                let mut reason = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(why) = cause {
                    reason = format!("{reason}: {why}");
                    cause = why.source();
                }
                Self::NoAnswer { effect: error.effect(), reason }
            }
        }
    }
}

/// Why an order was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The operation id is that of an operation that is not ended yet.
    #[error("cannot take the order: its operation is under way already; wait for its result")]
    Known,
    /// Too much is waiting.
    #[error("cannot take the order: too many are waiting; wait for results, then repeat it")]
    Full,
    /// The executor is shutting down and only stops.
    #[error("cannot take the order: the executor is shutting down; it only stops resources now")]
    ShuttingDown,
    /// It is of a term that is over.
    #[error("cannot take the order: its term is over, the present one is {term}; ask the leader")]
    Term {
        /// The newest term seen.
        term: Term,
    },
}
