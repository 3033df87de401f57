//! An agent with a check beside it.

use async_trait::async_trait;

use super::{ServiceCheck, failure, serves, until_served};
use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// Adds a check to another agent: its start waits until the service answers, and its monitor asks
/// from a depth on.
///
/// - A **start** ends when the check is passed; what has stopped meanwhile has failed, and what
///   does not answer until shortly before the time is up has, too, with the check's words.
/// - A **monitor** asks the agent first. What runs and does not pass the check is a generic error,
///   or a failed promoted one; a check can make a good answer worse, never a bad one better.
/// - All else is the agent's.
///
/// Both share the operation's time.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::{Checked, Dummy, MemoryCheck};
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let check = MemoryCheck::new(); // or a TcpCheck, an HttpCheck, …
/// let web = Checked::new(Dummy::new(), check.clone()).depth(10);
/// let context = OpContext::new("web".parse().unwrap(), OpId::FIRST);
/// web.start(&context).await?;
/// check.answer(Outcome::GenericError);
/// let deep = Check { depth: 10, ..Check::STARTED };
/// assert_eq!(web.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// assert_eq!(web.monitor(&context, deep).await?.outcome, Outcome::GenericError);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Checked<A, C> {
    agent: A,
    check: C,
    depth: u8,
    waits: bool,
}

impl<A: ResourceAgent, C: ServiceCheck> Checked<A, C> {
    /// Adds `check` to `agent`.
    pub const fn new(agent: A, check: C) -> Self {
        Self { agent, check, depth: 10, waits: true }
    }

    /// Sets the depth from which on a monitor asks the check. Default: 10; 0: each does.
    #[must_use]
    pub const fn depth(mut self, depth: u8) -> Self {
        self.depth = depth;
        self
    }

    /// Sets whether a start waits until the check is passed. Default: yes.
    #[must_use]
    pub const fn waits(mut self, waits: bool) -> Self {
        self.waits = waits;
        self
    }

    /// The agent.
    pub const fn agent(&self) -> &A {
        &self.agent
    }
}

#[async_trait]
impl<A: ResourceAgent, C: ServiceCheck> ResourceAgent for Checked<A, C> {
    async fn start(&self, context: &OpContext) -> OpResult {
        let work = async {
            let report = self.agent.start(context).await?;
            if !self.waits || report.outcome != Outcome::Success {
                return Ok(report);
            }
            let asked = until_served(&self.agent, &self.check, context).await?;
            Ok(if serves(asked.outcome) { report } else { asked })
        };
        context.limit("start", work).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.agent.stop(context).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        let work = async {
            let report = self.agent.monitor(context, check).await?;
            if check.depth < self.depth || !serves(report.outcome) {
                return Ok(report);
            }
            let asked = self.check.check().await;
            if asked.outcome == Outcome::Success {
                return Ok(report);
            }
            let promoted =
                matches!(report.outcome, Outcome::RunningPromoted | Outcome::DegradedPromoted);
            let outcome = match (serves(asked.outcome), promoted) {
                (true, true) => Outcome::DegradedPromoted,
                (true, false) => Outcome::Degraded,
                (false, true) => Outcome::FailedPromoted,
                (false, false) => failure(asked.outcome),
            };
            Ok(Report { outcome, reason: asked.reason, ..report })
        };
        context.limit("monitor", work).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        self.agent.validate(context).await
    }

    fn metadata(&self) -> Metadata {
        self.agent.metadata()
    }

    async fn promote(&self, context: &OpContext) -> OpResult {
        self.agent.promote(context).await
    }

    async fn demote(&self, context: &OpContext) -> OpResult {
        self.agent.demote(context).await
    }

    async fn death(&self) -> String {
        self.agent.death().await
    }

    async fn notify(&self, context: &OpContext) -> OpResult {
        self.agent.notify(context).await
    }

    async fn reload(&self, context: &OpContext) -> OpResult {
        self.agent.reload(context).await
    }

    async fn migrate_to(&self, context: &OpContext) -> OpResult {
        self.agent.migrate_to(context).await
    }

    async fn migrate_from(&self, context: &OpContext) -> OpResult {
        self.agent.migrate_from(context).await
    }
}
