//! The standard interface to one kind of resource.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::effect::Effect;
use ha_core::id::{OpId, ResourceName};
use ha_core::role::Role;

use crate::diagnose::Diagnosis;
use crate::outcome::Outcome;

/// What every operation is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpContext {
    /// The resource.
    pub resource: ResourceName,
    /// Which operation this is, for logs and for what comes of it.
    pub op: OpId,
    /// How long it may take. Pacemaker's default: 20 s.
    pub timeout: Duration,
    /// The parameters of the resource.
    pub parameters: BTreeMap<String, String>,
    /// How often it is repeated; `None`: it is done once.
    pub interval: Option<Duration>,
    /// What the cluster tells the agent besides (Pacemaker's meta attributes, such as
    /// `clone-max`); OCF scripts get them as `OCF_RESKEY_CRM_meta_*`.
    pub meta: BTreeMap<String, String>,
}

impl OpContext {
    /// An operation on `resource` that may take 20 s, without parameters.
    #[must_use]
    pub const fn new(resource: ResourceName, op: OpId) -> Self {
        let timeout = Duration::from_secs(20);
        let parameters = BTreeMap::new();
        Self { resource, op, timeout, parameters, interval: None, meta: BTreeMap::new() }
    }

    /// Sets how long it may take.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long it may take as the agent advises for `operation`; longer than before at most:
    /// an agent's advice is often 20 s, which nobody has measured.
    ///
    /// Pacemaker passes over the advice, and gives 20 s.
    #[must_use]
    pub fn timeout_as(mut self, metadata: &Metadata, operation: &str) -> Self {
        if let Some(timeout) = metadata.timeouts.get(operation) {
            self.timeout = self.timeout.max(*timeout);
        }
        self
    }

    /// Sets one parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Sets how often it is repeated.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Sets one meta attribute, such as `clone-max`.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.meta.insert(name.into(), value.into());
        self
    }

    /// Runs `work` for as long as the operation may take; `what` names it in the error.
    ///
    /// # Errors
    ///
    /// [`AgentError::TimedOut`]; else what `work` gave.
    ///
    /// # Cancel safety
    ///
    /// As `work`.
    #[cfg(feature = "tokio")]
    pub async fn limit<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<T, AgentError> {
        tokio::select! { biased;
            result = work => result,
            late = ha_core::driver::pause(self.timeout) => {
                if let Err(source) = late {
                    return Err(AgentError::Io { resource: self.resource.clone(), what, source });
                }
                let (resource, limit) = (self.resource.clone(), self.timeout);
                Err(AgentError::TimedOut { resource, what, limit, diagnosis: None })
            }
        }
    }
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "OCF's two dimensions of a monitor")]
pub struct Check {
    /// 0: is it there; 10: does it answer; 20: does it do its work (OCF's `OCF_CHECK_LEVEL`). An
    /// agent takes the nearest lower depth that it has.
    pub depth: u8,
    /// What it should be; `None` for a probe.
    pub role: Option<Role>,
}

impl Check {
    /// Asks what is there.
    pub const PROBE: Self = Self { depth: 0, role: None };
    /// Asks whether it is still started.
    pub const STARTED: Self = Self { depth: 0, role: Some(Role::Started) };
}

/// An agent's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The answer, as the standard knows it.
    pub outcome: Outcome,
    /// The raw exit code, where there was a process; also codes that the standard does not know.
    pub code: Option<i32>,
    /// Why, for a person; empty if all is well.
    pub reason: String,
    /// What the process said and how it ended, where there was one.
    pub run: Option<Box<RunDetails>>,
    /// Of a promotable resource: how well this copy would do as the promoted one, the more the
    /// better, negative: not at all (Pacemaker's promotion score). `None`: nothing is said of it.
    pub promotion: Option<i32>,
}

/// What a process of an agent said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RunDetails {
    /// Its standard output; of more than 64 KiB the first and the last 32 KiB.
    pub output: String,
    /// Its standard error, likewise.
    pub errors: String,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// How long it ran.
    pub duration: Duration,
}

impl Report {
    /// All is well.
    #[must_use]
    pub const fn success() -> Self {
        let reason = String::new();
        Self { outcome: Outcome::Success, code: None, reason, run: None, promotion: None }
    }

    /// Another answer, and why.
    pub fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into(), ..Self::success() }
    }

    /// Sets the promotion score.
    #[must_use]
    pub const fn promotion(mut self, score: i32) -> Self {
        self.promotion = Some(score);
        self
    }
}

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        Self::new(outcome, "")
    }
}

/// The result of an operation: an answer, which may be a failure, or none at all.
pub type OpResult = Result<Report, AgentError>;

/// An operation ended without an answer of the agent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The kernel did not do what the operation needs.
    #[error("cannot {what} {resource}: the system refused")]
    Io {
        /// The resource.
        resource: ResourceName,
        /// The operation.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// This node has no agent for it.
    #[error("cannot run {resource}: this node has no agent for it; add one before ordering")]
    NoAgent {
        /// The resource.
        resource: ResourceName,
    },
    /// The time was up.
    #[error(
        "cannot tell whether {what} of {resource} was done: no answer in {limit:?}{}; raise its timeout, or look why it takes so long",
        told(diagnosis.as_deref())
    )]
    TimedOut {
        /// The resource.
        resource: ResourceName,
        /// The operation.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
        /// What its processes were doing then, where it has some.
        diagnosis: Option<Box<Diagnosis>>,
    },
    /// The agent does not know the operation.
    #[error("cannot {what} {resource}: its agent does not support it; do not ask for it")]
    Unsupported {
        /// The resource.
        resource: ResourceName,
        /// The operation.
        what: &'static str,
    },
}

/// The diagnosis as a part of a sentence.
fn told(diagnosis: Option<&Diagnosis>) -> String {
    match diagnosis {
        Some(diagnosis) if !diagnosis.is_empty() => format!(" (it was at: {diagnosis})"),
        _ => String::new(),
    }
}

impl AgentError {
    /// Whether the operation may have happened all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NoAgent { .. } | Self::Unsupported { .. } => Effect::None,
            Self::Io { .. } | Self::TimedOut { .. } => Effect::Unknown,
        }
    }
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// The kind of resource, such as `process`.
    pub name: String,
    /// One sentence on it.
    pub summary: String,
    /// The parameters it takes.
    pub parameters: Vec<Parameter>,
    /// Whether it knows promote and demote.
    pub promotable: bool,
    /// How long it thinks that its operations (`start`, `stop`, `monitor`, `promote`, …) need at
    /// most; see [`OpContext::timeout_as`].
    pub timeouts: BTreeMap<String, Duration>,
}

impl Metadata {
    /// An agent without parameters.
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self { name: name.into(), summary: summary.into(), ..Self::default() }
    }
}

/// One parameter of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "plain data that agents write out")]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub summary: String,
    /// What is taken if it is not given; `None`: it must be given.
    pub default: Option<String>,
}

fn unsupported(context: &OpContext, what: &'static str) -> OpResult {
    Err(AgentError::Unsupported { resource: context.resource.clone(), what })
}

/// The standard interface to one kind of resource (OCF's resource agent).
///
/// The rules of the standard hold: starting what runs and stopping what is stopped is a success;
/// a stop that succeeds means that *nothing* of the resource is left; a monitor changes nothing.
///
/// # Cancel safety
///
/// When the future of an operation is dropped, the operation may have happened, wholly or in part:
/// probe before building on it. No agent leaves something behind that a stop would not find.
#[async_trait]
pub trait ResourceAgent: fmt::Debug + Send + Sync {
    /// Starts the resource, and returns when it serves.
    ///
    /// # Errors
    ///
    /// [`AgentError`] when there is no answer; a failure is an answer.
    async fn start(&self, context: &OpContext) -> OpResult;

    /// Stops the resource, and returns when nothing of it is left.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    async fn stop(&self, context: &OpContext) -> OpResult;

    /// Looks what state the resource is in; changes nothing.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult;

    /// Checks the parameters against this node, without touching the resource.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    async fn validate(&self, _context: &OpContext) -> OpResult {
        Ok(Report::success())
    }

    /// What the agent says of itself.
    fn metadata(&self) -> Metadata {
        Metadata::default()
    }

    /// Makes a started copy the one that takes writes.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); [`AgentError::Unsupported`] by default.
    async fn promote(&self, context: &OpContext) -> OpResult {
        unsupported(context, "promote")
    }

    /// Makes it a copy again.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    async fn demote(&self, context: &OpContext) -> OpResult {
        unsupported(context, "demote")
    }

    /// Waits until the resource, which was started, has ended by itself, and says how. An agent
    /// that cannot know without being asked waits for ever.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn death(&self) -> String {
        std::future::pending().await
    }

    /// Tells it that something is about to happen to its copies, or has happened.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    async fn notify(&self, context: &OpContext) -> OpResult {
        unsupported(context, "notify")
    }

    /// Takes over changed parameters without a restart.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    async fn reload(&self, context: &OpContext) -> OpResult {
        unsupported(context, "reload")
    }

    /// Moves the running resource away from this node, to the one in the parameters.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    async fn migrate_to(&self, context: &OpContext) -> OpResult {
        unsupported(context, "migrate")
    }

    /// Takes over the running resource on its new node.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    async fn migrate_from(&self, context: &OpContext) -> OpResult {
        unsupported(context, "take over")
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<A: ResourceAgent + ?Sized> ResourceAgent for $pointer {
            async fn start(&self, context: &OpContext) -> OpResult {
                (**self).start(context).await
            }
            async fn stop(&self, context: &OpContext) -> OpResult {
                (**self).stop(context).await
            }
            async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
                (**self).monitor(context, check).await
            }
            async fn validate(&self, context: &OpContext) -> OpResult {
                (**self).validate(context).await
            }
            fn metadata(&self) -> Metadata {
                (**self).metadata()
            }
            async fn promote(&self, context: &OpContext) -> OpResult {
                (**self).promote(context).await
            }
            async fn demote(&self, context: &OpContext) -> OpResult {
                (**self).demote(context).await
            }
            async fn death(&self) -> String {
                (**self).death().await
            }
            async fn notify(&self, context: &OpContext) -> OpResult {
                (**self).notify(context).await
            }
            async fn reload(&self, context: &OpContext) -> OpResult {
                (**self).reload(context).await
            }
            async fn migrate_to(&self, context: &OpContext) -> OpResult {
                (**self).migrate_to(context).await
            }
            async fn migrate_from(&self, context: &OpContext) -> OpResult {
                (**self).migrate_from(context).await
            }
        }
    )*};
}

forward!(&A, Box<A>, Arc<A>);
