//! An agent from three closures.

use std::fmt;

use async_trait::async_trait;

use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};

/// An agent from three async closures: start, stop, monitor; each within the operation's timeout.
///
/// For what the program does itself: a role of its own state machine, a listener, a job.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use ha_agents::native::Closures;
/// use ha_agents::{Check, OpContext, Outcome, Report, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let active = Arc::new(AtomicBool::new(false));
/// let set = |to: bool| {
///     let active = Arc::clone(&active);
///     move |_context: OpContext| {
///         active.store(to, Ordering::SeqCst);
///         async { Report::success() }
///     }
/// };
/// let seen = Arc::clone(&active);
/// let agent = Closures::new("primary", set(true), set(false), move |_context, _check| {
///     let up = seen.load(Ordering::SeqCst);
///     async move { if up { Outcome::Success } else { Outcome::NotRunning }.into() }
/// });
/// let context = OpContext::new("db".parse().unwrap(), OpId::FIRST);
/// agent.start(&context).await?;
/// assert_eq!(agent.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
pub struct Closures<S, T, M> {
    name: String,
    start: S,
    stop: T,
    monitor: M,
}

impl<S, T, M> Closures<S, T, M> {
    /// An agent of the kind `name`.
    pub fn new(name: impl Into<String>, start: S, stop: T, monitor: M) -> Self {
        Self { name: name.into(), start, stop, monitor }
    }
}

impl<S, T, M> fmt::Debug for Closures<S, T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closures").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S, SF, T, TF, M, MF> ResourceAgent for Closures<S, T, M>
where
    S: Fn(OpContext) -> SF + Send + Sync,
    SF: Future<Output = Report> + Send,
    T: Fn(OpContext) -> TF + Send + Sync,
    TF: Future<Output = Report> + Send,
    M: Fn(OpContext, Check) -> MF + Send + Sync,
    MF: Future<Output = Report> + Send,
{
    async fn start(&self, context: &OpContext) -> OpResult {
        let work = (self.start)(context.clone());
        context.limit("start", async { Ok(work.await) }).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        let work = (self.stop)(context.clone());
        context.limit("stop", async { Ok(work.await) }).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        let work = (self.monitor)(context.clone(), check);
        context.limit("monitor", async { Ok(work.await) }).await
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(&self.name, "A part of this program")
    }
}
