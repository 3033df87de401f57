//! What a node knows of one resource.

use std::time::Duration;

use ha_agents::executor::{Action, Answer};
use ha_agents::{Check, OpContext, Severity};
use ha_core::effect::Effect;
use ha_core::id::{FencingToken, NodeName, OpId, ResourceName};
use ha_core::role::Role;
use ha_core::time::{Instant, WallTime};

use super::super::event::ManagerEvent;
use super::super::message::{ResourceReport, digest};
use crate::model::{Failures, OperationName, RawResource, ResourceStatus};

/// How long a node that is alone waits after a failure before it tries the resource again.
const ALONE_AGAIN: Duration = Duration::from_secs(1);
/// Reasons are cut to so many characters: they travel with every report.
const MAX_REASON: usize = 300;

/// An operation that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) op: OpId,
    pub(super) what: OperationName,
    /// The command that asked for it; `None`: the node itself.
    pub(super) command: Option<OpId>,
}

/// What a node knows of one resource.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) role: Option<Role>,
    pub(super) fault: Option<OperationName>,
    failures: u32,
    failed: Option<OperationName>,
    barred: bool,
    /// It was active when it was cleaned up, and was not looked at since.
    doubtful: bool,
    reason: String,
    pub(super) running: Option<Running>,
    /// The newest command for it.
    pub(super) commanded: Option<OpId>,
    pub(super) answered: Option<OpId>,
    /// What it was started with, or what is configured.
    pub(super) definition: Option<RawResource>,
    pub(super) token: Option<FencingToken>,
    /// How well this copy would do as the promoted one, by its last answer.
    promotion: Option<i32>,
    /// Where it is promoted, as the leader last said.
    pub(super) promoted_on: Option<NodeName>,
    pub(super) monitored: bool,
    /// Before then a node that is alone does not try again.
    pub(super) not_before: Instant,
}

impl Held {
    /// Whether it may be active: it is, or is being started, or was until it was cleaned up.
    pub(super) fn may_be_active(&self) -> bool {
        let starting = self.running.is_some_and(|running| running.what == OperationName::Start);
        starting || self.role.map_or(self.doubtful, Role::is_active)
    }

    /// Whether it may be promoted: it is, or is being promoted, or may have been until it was
    /// cleaned up.
    pub(super) fn may_be_promoted(&self) -> bool {
        let rising = self.running.is_some_and(|running| running.what == OperationName::Promote);
        rising || self.role.map_or(self.doubtful, |role| role == Role::Promoted)
    }

    fn is_promotable(&self) -> bool {
        self.definition.as_ref().is_some_and(|definition| definition.promotable)
    }

    /// What a recurring monitor expects.
    pub(super) fn check(&self) -> Check {
        let role = self.role.filter(|role| role.is_active()).unwrap_or(Role::Started);
        Check { depth: 0, role: Some(role) }
    }

    pub(super) fn report(&self) -> ResourceReport {
        let active = self.role.is_some_and(Role::is_active);
        ResourceReport {
            role: self.role,
            fault: self.fault,
            failures: self.failures,
            failed: self.failed,
            barred: self.barred,
            reason: self.reason.clone(),
            running: self.running.map(|running| running.what),
            answered: self.answered,
            digest: self.definition.as_ref().filter(|_| active).map(digest),
            token: self.token,
            promotion: self.promotion.filter(|_| active),
        }
    }

    /// For a policy; `None`: it was never looked at.
    pub(super) fn status(&self, at: WallTime) -> Option<ResourceStatus> {
        let role = self.role?;
        let mut status = ResourceStatus::stopped();
        (status.role, status.fault, status.promotion) = (role, self.fault, self.promotion);
        if let Some(operation) = self.failed.filter(|_| self.barred || self.failures > 0) {
            let operation = if self.barred { OperationName::Start } else { operation };
            status.failures = Some(Failures { count: self.failures.max(1), last: at, operation });
        }
        Some(status)
    }

    /// What an operation is told.
    pub(super) fn context(
        &self,
        resource: &ResourceName,
        op: OpId,
        (what, limit): (OperationName, Option<Duration>),
    ) -> OpContext {
        let mut context = OpContext::new(resource.clone(), op);
        if let Some(definition) = &self.definition {
            context.timeout = definition.operation(what).timeout;
            context.parameters = definition.parameters.clone();
        }
        if let Some(token) = self.token {
            context = context.meta("fencing-token", token.to_string());
        }
        if let Some(limit) = limit {
            context.timeout = context.timeout.min(limit);
        }
        match &self.promoted_on {
            Some(node) if what == OperationName::Notify => context
                .meta("notify-type", "post")
                .meta("notify-operation", "promote")
                .meta("notify-promote-uname", node.as_str()),
            Some(node) => context.meta("notify-promoted-uname", node.as_str()),
            None => context,
        }
    }

    /// The recurring monitors that it shall have: depth and interval, with their time limits.
    pub(super) fn monitors(&self) -> Vec<(Duration, Duration)> {
        let operations = self.definition.iter().flat_map(|definition| &definition.operations);
        let monitors = operations.filter(|op| op.name == OperationName::Monitor);
        let recurring = monitors.filter(|op| !op.interval.is_zero());
        recurring.map(|op| (op.interval, op.timeout)).collect()
    }

    /// The operation under way has ended.
    pub(super) fn ended(
        &mut self,
        resource: &ResourceName,
        (action, answer): (Action, &Answer),
        now: Instant,
    ) -> Option<ManagerEvent> {
        let command = self.running.take().and_then(|running| running.command);
        self.answered = self.answered.max(command);
        let operation = action.operation();
        if matches!(answer, Answer::Cancelled) {
            return None;
        }
        if action == Action::Notify {
            if answer.severity(operation) != Severity::None {
                tracing::warn!(%resource, reason = why(answer), "a copy was not told whom to follow");
            }
            return None;
        }
        self.doubtful = false;
        self.take_promotion(answer);
        let (severity, role) = (answer.severity(operation), answer.role(operation));
        let (what, done) = match action {
            Action::Demote => (OperationName::Demote, Role::Unpromoted),
            Action::Promote => (OperationName::Promote, Role::Promoted),
            Action::Start => (OperationName::Start, Role::Started),
            Action::Stop => (OperationName::Stop, Role::Stopped),
            Action::Monitor(Check { .. })
            | Action::MigrateFrom
            | Action::MigrateTo
            | Action::Notify
            | Action::Reload
            | Action::Validate => (OperationName::Monitor, role.unwrap_or(Role::Started)),
        };
        let is_copy = done == Role::Started && self.is_promotable();
        let done = if is_copy { Role::Unpromoted } else { done };
        if severity == Severity::None {
            let before = self.role.replace(done);
            // A role that has changed mends nothing but its own failed change: what failed is to be
            // restarted.
            let mends = match what {
                OperationName::Demote | OperationName::Promote => self.fault == Some(what),
                OperationName::Monitor
                | OperationName::Notify
                | OperationName::Start
                | OperationName::Stop => true,
            };
            if mends {
                (self.fault, self.barred) = (None, false);
            }
            // Another role has monitors of its own.
            let other = before.is_some_and(|before| before.is_active() && before != done);
            self.monitored &= done.is_active() && !other;
            let resource = resource.clone();
            match (action, before) {
                (Action::Promote, _) => return Some(ManagerEvent::Promoted { resource }),
                (Action::Demote, _) => return Some(ManagerEvent::Demoted { resource }),
                _ => {}
            }
            if done.is_active() {
                return (before != Some(done)).then_some(ManagerEvent::Started { resource });
            }
            let was_active = what == OperationName::Stop || before.is_some_and(Role::is_active);
            return was_active.then_some(ManagerEvent::Stopped { resource });
        }
        let nothing_done =
            matches!(answer, Answer::NoAnswer { effect: Effect::None, .. }) || never_ran(answer);
        let role = match what {
            OperationName::Stop => role.unwrap_or(Role::Started).max(self.at_least()),
            _ if nothing_done => self.role.filter(|role| role.is_active()).unwrap_or(Role::Stopped),
            // It may be promoted, or still be.
            OperationName::Promote | OperationName::Demote => Role::Promoted,
            // A probe that failed has found nothing out: it may be promoted.
            OperationName::Monitor if role.is_none() && self.is_promotable() => Role::Promoted,
            OperationName::Monitor | OperationName::Notify | OperationName::Start => {
                role.unwrap_or(Role::Started).max(self.at_least())
            }
        };
        self.role = Some(role);
        self.barred = severity >= Severity::Hard || nothing_done;
        Some(self.fails(resource, what, &why(answer), now))
    }

    /// What it is at the least after something about it has failed.
    fn at_least(&self) -> Role {
        self.role.filter(|role| role.is_active()).unwrap_or(Role::Started)
    }

    /// Keeps what an answer says of how well it would do as the promoted one; whether that is new.
    pub(super) fn take_promotion(&mut self, answer: &Answer) -> bool {
        let Answer::Report(report) = answer else { return false };
        let Some(score) = report.promotion else { return false };
        self.promotion.replace(score) != Some(score)
    }

    /// A recurring monitor has answered something that is not as it should be.
    pub(super) fn failed_monitor(
        &mut self,
        resource: &ResourceName,
        answer: &Answer,
        now: Instant,
    ) -> Option<ManagerEvent> {
        let operation = Action::Monitor(self.check()).operation();
        if answer.severity(operation) == Severity::None {
            return None;
        }
        if answer.role(operation) == Some(Role::Promoted) && self.role.is_some() {
            // Whoever did that: it must be known.
            self.role = Some(Role::Promoted);
        }
        self.broke(resource, &why(answer), now)
    }

    /// A recurring monitor failed, or the resource has died.
    pub(super) fn broke(
        &mut self,
        resource: &ResourceName,
        reason: &str,
        now: Instant,
    ) -> Option<ManagerEvent> {
        let stopping = self.running.is_some_and(|running| running.what == OperationName::Stop);
        if stopping || !self.role.is_some_and(Role::is_active) || self.fault.is_some() {
            return None;
        }
        Some(self.fails(resource, OperationName::Monitor, reason, now))
    }

    fn fails(
        &mut self,
        resource: &ResourceName,
        operation: OperationName,
        reason: &str,
        now: Instant,
    ) -> ManagerEvent {
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(operation);
        self.fault = self.role.filter(|role| role.is_active()).map(|_| operation);
        self.not_before = now + ALONE_AGAIN;
        self.reason = reason.chars().take(MAX_REASON).collect();
        ManagerEvent::OperationFailed {
            resource: resource.clone(),
            operation,
            reason: self.reason.clone(),
        }
    }

    /// Its failures are forgotten; where something is amiss nothing is known any more.
    pub(super) fn clean_up(&mut self) {
        if self.fault.is_some() || self.barred {
            self.doubtful |= self.role.is_some_and(Role::is_active);
            self.role = None;
        }
        (self.fault, self.barred, self.failed) = (None, false, None);
        self.reason.clear();
    }
}

/// Whether the agent itself is not there, so that it can have done nothing.
fn never_ran(answer: &Answer) -> bool {
    match answer {
        Answer::Report(report) => report.outcome == ha_agents::Outcome::NotInstalled,
        Answer::Cancelled | Answer::NoAnswer { .. } => false,
    }
}

/// Why an operation failed, for a person.
pub(super) fn why(answer: &Answer) -> String {
    match answer {
        Answer::Cancelled => "it was taken back".to_owned(),
        Answer::NoAnswer { reason, .. } => reason.clone(),
        Answer::Report(report) if report.reason.is_empty() => format!("{:?}", report.outcome),
        Answer::Report(report) => report.reason.clone(),
    }
}
