//! A resource that is nothing but a check.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::{ServiceCheck, until_passed};
use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// Watches a service that something else runs, as a resource (Pacemaker's Nagios class, and the
/// connectivity of `ocf:pacemaker:ping`).
///
/// What is started and stopped is the watching: a start waits until the check is passed, a stop
/// only ends the watching, and before the start a monitor says that it is stopped, whatever the
/// service does. So it may be ordered, colocated and counted as any resource, and stops nothing
/// that is not its own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::{MemoryCheck, Watch};
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let check = MemoryCheck::new(); // or a TcpCheck, an HttpCheck, …
/// let agent = Watch::new(check.clone());
/// let context = OpContext::new("uplink".parse().unwrap(), OpId::FIRST);
/// agent.start(&context).await?;
/// check.answer(Outcome::GenericError);
/// assert_eq!(agent.monitor(&context, Check::STARTED).await?.outcome, Outcome::GenericError);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Watch<C> {
    check: C,
    watches: AtomicBool,
}

impl<C: ServiceCheck> Watch<C> {
    /// Watches by `check`.
    pub const fn new(check: C) -> Self {
        Self { check, watches: AtomicBool::new(false) }
    }
}

#[async_trait]
impl<C: ServiceCheck> ResourceAgent for Watch<C> {
    async fn start(&self, context: &OpContext) -> OpResult {
        let ask = until_passed(&self.check, context, async || Ok(None));
        let report = context.limit("start", ask).await?;
        self.watches.store(report.outcome == Outcome::Success, Ordering::SeqCst);
        Ok(report)
    }

    async fn stop(&self, _context: &OpContext) -> OpResult {
        self.watches.store(false, Ordering::SeqCst);
        Ok(Report::success())
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        if !self.watches.load(Ordering::SeqCst) {
            return Ok(Report::new(Outcome::NotRunning, ""));
        }
        context.limit("monitor", async { Ok(self.check.check().await) }).await
    }

    fn metadata(&self) -> Metadata {
        Metadata::new("watch", "Watches a service that something else runs")
    }
}
