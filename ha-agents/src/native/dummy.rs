//! A resource that is nothing, for tests and first steps (`ocf:pacemaker:Stateful`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ha_core::role::Role;

use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// A resource that only remembers its role, and fails when it is told to.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_agents::native::Dummy;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let dummy = Dummy::new();
/// let context = OpContext::new("d1".parse().unwrap(), OpId::FIRST);
/// dummy.start(&context).await?;
/// dummy.fail_next("monitor", Outcome::NotRunning);
/// assert_eq!(dummy.monitor(&context, Check::STARTED).await?.outcome, Outcome::NotRunning);
/// assert_eq!(dummy.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Dummy {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    role: Role,
    failures: BTreeMap<&'static str, Outcome>,
    calls: Vec<&'static str>,
}

/// How many calls are remembered.
const MAX_CALLS: usize = 10_000;

impl Dummy {
    /// A stopped dummy.
    #[must_use]
    pub const fn new() -> Self {
        let state = State { role: Role::Stopped, failures: BTreeMap::new(), calls: Vec::new() };
        Self { state: Mutex::new(state) }
    }

    /// Lets the next `operation` (`start`, `stop`, `monitor`, …) answer `outcome` and do nothing.
    pub fn fail_next(&self, operation: &'static str, outcome: Outcome) {
        self.state().failures.insert(operation, outcome);
    }

    /// What it is now.
    #[must_use]
    pub fn role(&self) -> Role {
        self.state().role
    }

    /// The operations that were asked for, oldest first; the first 10,000.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, so a panic elsewhere has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out `operation`: fails as told, or moves to `role` if the present role allows it.
    #[expect(clippy::unnecessary_wraps, reason = "the operations of the trait return it as it is")]
    fn act(&self, operation: &'static str, role: Role, allowed: fn(Role) -> bool) -> OpResult {
        let mut state = self.state();
        if state.calls.len() < MAX_CALLS {
            state.calls.push(operation);
        }
        if let Some(outcome) = state.failures.remove(operation) {
            return Ok(Report::new(outcome, "told to fail"));
        }
        if !allowed(state.role) {
            return Ok(Report::new(Outcome::NotRunning, format!("it is {}", state.role)));
        }
        state.role = role;
        Ok(Report::success())
    }
}

impl Default for Dummy {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ResourceAgent for Dummy {
    async fn start(&self, _context: &OpContext) -> OpResult {
        let role = self.role().max(Role::Started);
        self.act("start", role, |_| true)
    }

    async fn stop(&self, _context: &OpContext) -> OpResult {
        self.act("stop", Role::Stopped, |_| true)
    }

    async fn monitor(&self, _context: &OpContext, _check: Check) -> OpResult {
        let role = self.role();
        let report = self.act("monitor", role, |_| true)?;
        if report.outcome != Outcome::Success {
            return Ok(report);
        }
        Ok(match role {
            Role::Stopped => Outcome::NotRunning.into(),
            Role::Started | Role::Unpromoted => Report::success(),
            Role::Promoted => Outcome::RunningPromoted.into(),
        })
    }

    fn metadata(&self) -> Metadata {
        let metadata = Metadata::new("dummy", "Remembers its role and does nothing");
        Metadata { promotable: true, ..metadata }
    }

    async fn promote(&self, _context: &OpContext) -> OpResult {
        self.act("promote", Role::Promoted, Role::is_active)
    }

    async fn demote(&self, _context: &OpContext) -> OpResult {
        self.act("demote", Role::Unpromoted, Role::is_active)
    }

    async fn notify(&self, _context: &OpContext) -> OpResult {
        let role = self.role();
        self.act("notify", role, |_| true)
    }

    async fn reload(&self, _context: &OpContext) -> OpResult {
        let role = self.role();
        self.act("reload", role, Role::is_active)
    }

    async fn migrate_to(&self, _context: &OpContext) -> OpResult {
        self.act("migrate_to", Role::Stopped, Role::is_active)
    }

    async fn migrate_from(&self, _context: &OpContext) -> OpResult {
        self.act("migrate_from", Role::Started, |_| true)
    }
}
