//! A resource that takes its time, for tests of timeouts (`ocf:heartbeat:Delay`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;

use super::described;
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// Does nothing, slowly: `ocf:heartbeat:Delay`, but the state is in memory, so it ends with the
/// program.
///
/// An operation that is given less time than it takes ends with
/// [`AgentError::TimedOut`], and has no effect.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_agents::native::Delay;
/// use ha_agents::{AgentError, OpContext, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let slow = Delay::new(Duration::ZERO).stop_delay(Duration::from_secs(60));
/// let context = OpContext::new("slow".parse().unwrap(), OpId::FIRST);
/// slow.start(&context).await?;
/// let hurry = context.timeout(Duration::from_millis(5));
/// assert!(matches!(slow.stop(&hurry).await, Err(AgentError::TimedOut { .. })));
/// # Ok::<(), AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Delay {
    start: Duration,
    stop: Duration,
    monitor: Duration,
    runs: AtomicBool,
}

impl Delay {
    /// Takes `delay` for each operation. `Delay`'s default for a start: 30 s.
    #[must_use]
    pub const fn new(delay: Duration) -> Self {
        Self { start: delay, stop: delay, monitor: delay, runs: AtomicBool::new(false) }
    }

    /// Sets how long a stop takes (`stopdelay`).
    #[must_use]
    pub const fn stop_delay(mut self, delay: Duration) -> Self {
        self.stop = delay;
        self
    }

    /// Sets how long a monitor takes (`mondelay`), also a probe of a stopped one.
    #[must_use]
    pub const fn monitor_delay(mut self, delay: Duration) -> Self {
        self.monitor = delay;
        self
    }

    async fn wait(
        &self,
        context: &OpContext,
        what: &'static str,
        delay: Duration,
    ) -> Result<(), AgentError> {
        let work = async {
            let resource = || context.resource.clone();
            pause(delay).await.map_err(|source| AgentError::Io {
                resource: resource(),
                what,
                source,
            })
        };
        context.limit(what, work).await
    }
}

#[async_trait]
impl ResourceAgent for Delay {
    async fn start(&self, context: &OpContext) -> OpResult {
        if !self.runs.load(Ordering::SeqCst) {
            self.wait(context, "start", self.start).await?;
            self.runs.store(true, Ordering::SeqCst);
        }
        Ok(Report::success())
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        if self.runs.load(Ordering::SeqCst) {
            self.wait(context, "stop", self.stop).await?;
            self.runs.store(false, Ordering::SeqCst);
        }
        Ok(Report::success())
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        self.wait(context, "monitor", self.monitor).await?;
        let runs = self.runs.load(Ordering::SeqCst);
        Ok(if runs { Report::success() } else { Report::new(Outcome::NotRunning, "") })
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("start_delay", "how long a start takes", Some("30s")),
            ("stop_delay", "how long a stop takes", Some("start_delay")),
            ("monitor_delay", "how long a monitor takes", Some("start_delay")),
        ];
        described("delay", "Does nothing, slowly", &parameters)
    }
}
