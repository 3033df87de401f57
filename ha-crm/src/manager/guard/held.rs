//! What a node knows of one resource.

use std::time::Duration;

use ha_agents::executor::{Action, Answer};
use ha_agents::{Check, OpContext, Severity};
use ha_core::effect::Effect;
use ha_core::id::{FencingToken, OpId, ResourceName};
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
        }
    }

    /// For a policy; `None`: it was never looked at.
    pub(super) fn status(&self, at: WallTime) -> Option<ResourceStatus> {
        let role = self.role?;
        let mut status = ResourceStatus::stopped();
        (status.role, status.fault) = (role, self.fault);
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
        context
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
        self.doubtful = false;
        let (severity, role) = (answer.severity(operation), answer.role(operation));
        let (what, done) = match action {
            Action::Start => (OperationName::Start, Role::Started),
            Action::Stop => (OperationName::Stop, Role::Stopped),
            Action::Monitor(Check { .. })
            | Action::Demote
            | Action::MigrateFrom
            | Action::MigrateTo
            | Action::Notify
            | Action::Promote
            | Action::Reload
            | Action::Validate => (OperationName::Monitor, role.unwrap_or(Role::Started)),
        };
        if severity == Severity::None {
            let before = self.role.replace(done);
            (self.fault, self.barred) = (None, false);
            self.monitored &= done.is_active();
            let resource = resource.clone();
            if done.is_active() {
                return (before != Some(done)).then_some(ManagerEvent::Started { resource });
            }
            let was_active = what == OperationName::Stop || before.is_some_and(Role::is_active);
            return was_active.then_some(ManagerEvent::Stopped { resource });
        }
        let nothing_done =
            matches!(answer, Answer::NoAnswer { effect: Effect::None, .. }) || never_ran(answer);
        let role = if nothing_done && what != OperationName::Stop {
            self.role.filter(|role| role.is_active()).unwrap_or(Role::Stopped)
        } else {
            role.unwrap_or(Role::Started).max(Role::Started)
        };
        self.role = Some(role);
        self.barred = severity >= Severity::Hard || nothing_done;
        Some(self.fails(resource, what, &why(answer), now))
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
