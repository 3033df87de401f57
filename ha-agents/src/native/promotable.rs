//! A server with a primary and copies, as a promotable resource.

mod memory;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ha_core::role::Role;

pub use self::memory::MemoryReplication;
use super::check::ServiceCheck;
use super::check::{failure, serves, until_served};
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// The promotion score of a copy that must not be promoted (Pacemaker's `-INFINITY`).
pub const NEVER: i32 = -1_000_000;

/// What a server says of its part in the replication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "plain data that implementations write out")]
pub struct ReplicationStatus {
    /// Whether it takes writes.
    pub promoted: bool,
    /// How well it would do as the promoted one: [`Report::promotion`].
    pub score: Option<i32>,
    /// What is not as it should be although it runs: [`Outcome::Degraded`].
    pub doubt: Option<String>,
}

/// How to ask and tell a running server what it is: the primary, or a copy of it.
///
/// Its errors are answers of the server or the system, as a monitor's.
#[async_trait]
pub trait Replication: fmt::Debug + Send + Sync {
    /// What the agent says of itself.
    fn metadata(&self) -> Metadata;

    /// Asks the server: at depth 0 and 10 what it is, at 20 whether writes go through it, or how
    /// far it is behind.
    ///
    /// # Errors
    ///
    /// [`Outcome::NotRunning`]: nobody is there; another: it does not serve, or not yet.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn status(&self, depth: u8) -> Result<ReplicationStatus, Report>;

    /// Makes it the primary. Only called for a copy that runs.
    ///
    /// # Errors
    ///
    /// What it refused.
    ///
    /// # Cancel safety
    ///
    /// It may be the primary or not afterwards; ask [`status`](Self::status).
    async fn promote(&self) -> Result<(), Report>;

    /// Makes it a copy of the primary on the host `primary`; of nobody, and without writes, as
    /// long as there is none. Called while the server is stopped if [`is_offline`] says so.
    ///
    /// [`is_offline`]: Self::is_offline
    ///
    /// # Errors
    ///
    /// What it refused.
    ///
    /// # Cancel safety
    ///
    /// As [`promote`](Self::promote).
    async fn follow(&self, primary: Option<&str>) -> Result<(), Report>;

    /// Whether a server becomes a copy only by a restart, as `PostgreSQL` does. Default: no.
    fn is_offline(&self) -> bool {
        false
    }
}

/// A server with replication: `agent` starts and stops it, and `replication` says what it is.
///
/// - A **start** brings it up as a copy, which takes no writes, and waits until it answers. What
///   runs already is left as it is, and the start of a primary that runs fails.
/// - A **monitor** asks the agent, then the server: `Success` is a copy, `RunningPromoted` the
///   primary, with the promotion score; one that does not answer has failed.
/// - A **promote** makes it the primary, a **demote** a copy again; a server that becomes a copy
///   only by a restart is restarted for it.
/// - A **notify** after a promotion elsewhere lets it follow that node: the meta attributes
///   `notify-type` (`post`), `notify-operation` (`promote`) and `notify-promote-uname` (a node's
///   name, which must be its host name, as with `ocf:heartbeat:redis`). `notify-promoted-uname` is
///   heeded at a start and a demote. The primary itself is never made a copy by a notify.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::{Dummy, MemoryReplication, Promotable};
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let agent = Promotable::new(Dummy::new(), MemoryReplication::new());
/// let context = OpContext::new("db".parse().unwrap(), OpId::FIRST);
/// agent.start(&context).await?;
/// agent.promote(&context).await?;
/// let report = agent.monitor(&context, Check::PROBE).await?;
/// assert_eq!(report.outcome, Outcome::RunningPromoted);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Promotable<A, R> {
    agent: A,
    replication: R,
    /// The host of the primary, as far as it is known.
    primary: Mutex<Option<String>>,
}

impl<A: ResourceAgent, R: Replication> Promotable<A, R> {
    /// A server that `agent` starts and stops.
    pub const fn new(agent: A, replication: R) -> Self {
        Self { agent, replication, primary: Mutex::new(None) }
    }

    /// Sets the host of the primary that is followed until the cluster names one: a host, or a
    /// floating address that is with the primary. Default: none, so a copy waits.
    #[must_use]
    pub fn primary(self, host: impl Into<String>) -> Self {
        self.learn(Some(host.into()));
        self
    }

    fn learn(&self, primary: Option<String>) {
        if let Some(primary) = primary.filter(|primary| !primary.is_empty()) {
            *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = Some(primary);
        }
    }

    /// Makes it a copy of the primary as it is known, if that is not this node.
    async fn follow(&self, context: &OpContext) -> Result<(), Report> {
        self.learn(first(context, "notify-promoted-uname"));
        let primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let elsewhere = primary.filter(|primary| context.meta.get("on-node") != Some(primary));
        self.replication.follow(elsewhere.as_deref()).await
    }

    /// Starts it as a copy, whether or not it is one.
    async fn bring_up(&self, context: &OpContext) -> OpResult {
        let offline = self.replication.is_offline();
        if offline && let Err(report) = self.follow(context).await {
            return Ok(report);
        }
        let report = self.agent.start(context).await?;
        if report.outcome != Outcome::Success {
            return Ok(report);
        }
        let report = self.await_service(context).await?;
        if report.outcome != Outcome::Success {
            return Ok(report);
        }
        if !offline && let Err(report) = self.follow(context).await {
            return Ok(report);
        }
        Ok(told(self.replication.status(0).await, false))
    }

    async fn await_service(&self, context: &OpContext) -> OpResult {
        until_served(&self.agent, &Answers(&self.replication), context).await
    }

    /// What it is, if its process runs.
    async fn ask(
        &self,
        context: &OpContext,
    ) -> Result<Result<ReplicationStatus, Report>, AgentError> {
        let report = self.agent.monitor(context, Check::PROBE).await?;
        if !serves(report.outcome) {
            return Ok(Err(report));
        }
        Ok(self
            .replication
            .status(0)
            .await
            .map_err(|report| Report { outcome: failure(report.outcome), ..report }))
    }

    async fn look(&self, context: &OpContext, check: Check) -> OpResult {
        let report = self.agent.monitor(context, check).await?;
        if !serves(report.outcome) {
            return Ok(report);
        }
        Ok(match self.replication.status(check.depth).await {
            Ok(status) => {
                let outcome = match (status.promoted, status.doubt.is_some()) {
                    (true, true) => Outcome::DegradedPromoted,
                    (true, false) => Outcome::RunningPromoted,
                    (false, true) => Outcome::Degraded,
                    (false, false) => Outcome::Success,
                };
                let reason = status.doubt.unwrap_or_default();
                Report { outcome, reason, promotion: status.score, ..report }
            }
            Err(asked) => {
                let promoted = check.role == Some(Role::Promoted);
                let failed = failure(asked.outcome);
                let outcome = if promoted { Outcome::FailedPromoted } else { failed };
                Report { outcome, reason: asked.reason, ..report }
            }
        })
    }

    async fn step_down(&self, context: &OpContext) -> OpResult {
        match self.ask(context).await? {
            Err(report) => return Ok(report),
            Ok(status) if !status.promoted => return Ok(told(Ok(status), false)),
            Ok(_) => {}
        }
        // It was the primary itself that this node knew.
        if self.replication.is_offline() {
            let report = self.agent.stop(context).await?;
            if report.outcome != Outcome::Success {
                return Ok(report);
            }
            return self.bring_up(context).await;
        }
        Ok(match self.follow(context).await {
            Ok(()) => told(self.replication.status(0).await, false),
            Err(report) => report,
        })
    }
}

/// An operation that must end as a copy (`promoted`: as the primary) has done its work.
fn told(status: Result<ReplicationStatus, Report>, promoted: bool) -> Report {
    match status {
        Err(report) => Report { outcome: failure(report.outcome), ..report },
        Ok(status) if status.promoted == promoted => {
            Report { promotion: status.score, ..Report::success() }
        }
        Ok(_) => {
            let role = if promoted { Role::Promoted } else { Role::Unpromoted };
            Report::new(Outcome::GenericError, format!("it has not become {role}"))
        }
    }
}

/// The first of the words of a meta attribute.
fn first(context: &OpContext, name: &str) -> Option<String> {
    context.meta.get(name)?.split_whitespace().next().map(str::to_owned)
}

/// A server's word as the answer of a check.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
pub(super) fn checked(status: Result<ReplicationStatus, Report>) -> Report {
    match status {
        Ok(ReplicationStatus { doubt: Some(doubt), .. }) => Report::new(Outcome::Degraded, doubt),
        Ok(_) => Report::success(),
        Err(report) => report,
    }
}

/// Whether the server answers at all, as a check.
#[derive(Debug)]
struct Answers<'a, R>(&'a R);

#[async_trait]
impl<R: Replication> ServiceCheck for Answers<'_, R> {
    fn name(&self) -> String {
        self.0.metadata().name
    }

    async fn check(&self) -> Report {
        self.0.status(0).await.err().unwrap_or_else(Report::success)
    }
}

#[async_trait]
impl<A: ResourceAgent, R: Replication> ResourceAgent for Promotable<A, R> {
    async fn start(&self, context: &OpContext) -> OpResult {
        let work = async {
            let found = self.agent.monitor(context, Check::PROBE).await?;
            if serves(found.outcome) {
                // What runs keeps its role; a primary is not what a start ends with.
                let report = self.await_service(context).await?;
                if report.outcome != Outcome::Success {
                    return Ok(report);
                }
                return Ok(told(self.replication.status(0).await, false));
            }
            self.bring_up(context).await
        };
        context.limit("start", work).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.agent.stop(context).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        context.limit("monitor", self.look(context, check)).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        self.agent.validate(context).await
    }

    fn metadata(&self) -> Metadata {
        Metadata { promotable: true, ..self.replication.metadata() }
    }

    async fn promote(&self, context: &OpContext) -> OpResult {
        let work = async {
            match self.ask(context).await? {
                Err(report) => return Ok(report),
                Ok(status) if status.promoted => return Ok(told(Ok(status), true)),
                Ok(_) => {}
            }
            Ok(match self.replication.promote().await {
                Ok(()) => told(self.replication.status(0).await, true),
                Err(report) => report,
            })
        };
        context.limit("promote", work).await
    }

    async fn demote(&self, context: &OpContext) -> OpResult {
        context.limit("demote", self.step_down(context)).await
    }

    async fn death(&self) -> String {
        self.agent.death().await
    }

    async fn notify(&self, context: &OpContext) -> OpResult {
        let is = |name: &str, value: &str| context.meta.get(name).is_some_and(|v| v == value);
        if !is("notify-type", "post") || !is("notify-operation", "promote") {
            return Ok(Report::success());
        }
        self.learn(first(context, "notify-promote-uname"));
        let work = async {
            match self.ask(context).await? {
                // What is stopped follows when it starts.
                Err(_) => return Ok(Report::success()),
                Ok(status) if status.promoted => return Ok(Report::success()),
                Ok(_) => {}
            }
            if self.replication.is_offline() {
                let report = self.agent.stop(context).await?;
                if report.outcome != Outcome::Success {
                    return Ok(report);
                }
                return self.bring_up(context).await;
            }
            Ok(self.follow(context).await.err().unwrap_or_else(Report::success))
        };
        context.limit("notify", work).await
    }

    async fn reload(&self, context: &OpContext) -> OpResult {
        self.agent.reload(context).await
    }
}
