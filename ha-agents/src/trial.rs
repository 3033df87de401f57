//! Tries an agent out: whether it keeps the rules that every manager builds on.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use ha_agents::native::Dummy;
//! use ha_agents::{OpContext, trial};
//! use ha_core::id::OpId;
//!
//! let context = OpContext::new("d1".parse().unwrap(), OpId::FIRST);
//! let trial = trial::run(&Dummy::new(), &context).await;
//! assert!(trial.is_passed(), "{:?}", trial.findings);
//! # });
//! ```

#[cfg(feature = "ocf")]
mod script;

use std::time::Duration;

use ha_core::role::Role;
use ha_core::time::{BootClock, Clock};

use crate::agent::{Check, Metadata, OpContext, OpResult, ResourceAgent};
use crate::outcome::Outcome;

#[cfg(feature = "ocf")]
pub use self::script::{metadata_findings, run_script};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "three grades, and no more")]
pub enum Gravity {
    /// It could be better.
    Note,
    /// It will be a trouble some day.
    Warning,
    /// A rule is broken: recovery, or what a manager knows, goes wrong.
    Error,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub gravity: Gravity,
    /// What was tried or looked at.
    pub about: String,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn new(gravity: Gravity, about: &str, found: impl Into<String>, remedy: &str) -> Self {
        let (about, found, remedy) = (about.to_owned(), found.into(), remedy.to_owned());
        Self { gravity, about, found, remedy }
    }
}

/// One operation that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// What was tried, such as `stop while stopped`.
    pub what: String,
    /// The answer; `None`: there was none.
    pub outcome: Option<Outcome>,
    /// The raw exit code, where there was a process.
    pub code: Option<i32>,
    /// The agent's reason, or why there was no answer.
    pub reason: String,
    /// How long it took.
    pub took: Duration,
    /// Whether it was as it should be.
    pub is_right: bool,
}

/// All that was tried and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Trial {
    /// The operations, in order.
    pub steps: Vec<Step>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

impl Trial {
    /// Whether no rule is broken.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.gravity < Gravity::Error)
    }
}

/// Tries the whole cycle: everything twice, as a manager may ask twice; monitors where the
/// resource is stopped; promotion if the agent knows it; and a stop from every state. The resource
/// must be stopped, and is stopped afterwards, as far as the agent can.
///
/// # Cancel safety
///
/// The resource is left as it is then.
pub async fn run(agent: &dyn ResourceAgent, context: &OpContext) -> Trial {
    let mut bench = Bench::new(agent, context);
    bench.cycle().await;
    bench.trial
}

/// An operation to try.
#[derive(Debug, Clone, Copy)]
enum Try {
    Demote,
    Monitor(Check),
    Promote,
    Start,
    Stop,
    Validate,
}

impl Try {
    const fn name(self) -> &'static str {
        match self {
            Self::Demote => "demote",
            Self::Monitor(_) => "monitor",
            Self::Promote => "promote",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Validate => "validate-all",
        }
    }
}

/// What a broken rule leads to.
mod remedy {
    pub(super) const MONITOR: &str =
        "answer 7 where it is cleanly stopped, 0 where it runs, and only what is true";
    pub(super) const PROMOTED: &str = "answer 8 where it is promoted; look whether the agent was told of promotion in its meta attributes";
    pub(super) const RUNNING: &str = "stop the resource before its agent is tried";
    pub(super) const START: &str =
        "let the start return 0 when the resource serves, and not before";
    pub(super) const START_TWICE: &str =
        "let the start return 0 for what runs: managers repeat orders";
    pub(super) const STOP: &str =
        "let the stop return 0 when nothing is left: anything else has the node fenced";
    pub(super) const STOP_PROMOTED: &str =
        "let the stop demote by itself, so that it works when there was no time to demote";
    pub(super) const STOP_TWICE: &str =
        "let the stop return 0 for what is stopped: anything else has the node fenced";
    pub(super) const TWICE: &str = "let it return 0 for what is so already: managers repeat orders";
    pub(super) const VALID: &str = "correct the parameters of this trial, or the agent's check";
}

struct Bench<'a> {
    agent: &'a dyn ResourceAgent,
    context: &'a OpContext,
    metadata: Metadata,
    trial: Trial,
}

impl<'a> Bench<'a> {
    fn new(agent: &'a dyn ResourceAgent, context: &'a OpContext) -> Self {
        Self { agent, context, metadata: agent.metadata(), trial: Trial::default() }
    }

    async fn cycle(&mut self) {
        use Outcome::{NotRunning, RunningPromoted, Success};
        let probe = Try::Monitor(Check::PROBE);
        let monitor = Try::Monitor(Check::STARTED);
        if !self.step("validate", Try::Validate, Success, remedy::VALID).await
            || !self.step("probe while stopped", probe, NotRunning, remedy::MONITOR).await
        {
            if self.trial.steps.last().is_some_and(|step| step.outcome == Some(Success)) {
                self.error("probe while stopped", "it runs already", remedy::RUNNING);
            }
            return;
        }
        self.step("monitor while stopped", monitor, NotRunning, remedy::MONITOR).await;
        self.step("stop while stopped", Try::Stop, Success, remedy::STOP_TWICE).await;
        if self.step("start", Try::Start, Success, remedy::START).await {
            self.step("probe while started", probe, Success, remedy::MONITOR).await;
            for depth in [10, 20] {
                let deep = Try::Monitor(Check { depth, ..Check::STARTED });
                let what = format!("monitor at depth {depth}");
                self.step(&what, deep, Success, remedy::MONITOR).await;
            }
            self.step("start while started", Try::Start, Success, remedy::START_TWICE).await;
            self.step("monitor while started", monitor, Success, remedy::MONITOR).await;
            if self.metadata.promotable {
                let promoted = Check { depth: 0, role: Some(Role::Promoted) };
                let promoted = Try::Monitor(promoted);
                self.step("promote", Try::Promote, Success, remedy::PROMOTED).await;
                let what = "monitor while promoted";
                self.step(what, promoted, RunningPromoted, remedy::PROMOTED).await;
                self.step("promote while promoted", Try::Promote, Success, remedy::TWICE).await;
                self.step("demote", Try::Demote, Success, remedy::PROMOTED).await;
                self.step("monitor after demote", monitor, Success, remedy::PROMOTED).await;
                self.step("demote while unpromoted", Try::Demote, Success, remedy::TWICE).await;
                if self.step("promote again", Try::Promote, Success, remedy::PROMOTED).await {
                    self.stop_promoted().await;
                }
            }
        }
        self.step("stop", Try::Stop, Success, remedy::STOP).await;
        self.step("probe after stop", probe, NotRunning, remedy::MONITOR).await;
        self.step("stop again", Try::Stop, Success, remedy::STOP_TWICE).await;
    }

    /// A manager demotes before it stops, unless it is in a hurry.
    async fn stop_promoted(&mut self) {
        let (what, grade) = ("stop while promoted", (Gravity::Note, remedy::STOP_PROMOTED));
        if !self.graded(what, Try::Stop, Outcome::Success, grade).await {
            self.step("demote before stop", Try::Demote, Outcome::Success, remedy::TWICE).await;
        }
    }

    /// Tries one operation; whether the answer was the one that is wanted.
    async fn step(&mut self, what: &str, tried: Try, wanted: Outcome, remedy: &str) -> bool {
        self.graded(what, tried, wanted, (Gravity::Error, remedy)).await
    }

    async fn graded(
        &mut self,
        what: &str,
        tried: Try,
        wanted: Outcome,
        grade: (Gravity, &str),
    ) -> bool {
        let context = self.context.clone().timeout_as(&self.metadata, tried.name());
        let began = BootClock::new().now();
        let answer = match tried {
            Try::Demote => self.agent.demote(&context).await,
            Try::Monitor(check) => self.agent.monitor(&context, check).await,
            Try::Promote => self.agent.promote(&context).await,
            Try::Start => self.agent.start(&context).await,
            Try::Stop => self.agent.stop(&context).await,
            Try::Validate => self.agent.validate(&context).await,
        };
        let took = BootClock::new().now().since(began);
        let right = self.note(what, answer, &[wanted], grade, took);
        let advised = self.metadata.timeouts.get(tried.name());
        if let Some(advised) = advised.filter(|advised| right && took * 2 > **advised) {
            let found = format!("it took {took:.1?} of the {advised:?} that its metadata advises");
            let remedy = "raise the time-out in the metadata: on a busy machine all takes longer";
            self.trial.findings.push(Finding::new(Gravity::Warning, what, found, remedy));
        }
        right
    }

    /// Notes an answer; whether it was one of those that are wanted.
    fn note(
        &mut self,
        what: &str,
        answer: OpResult,
        wanted: &[Outcome],
        (gravity, remedy): (Gravity, &str),
        took: Duration,
    ) -> bool {
        let (outcome, code, reason) = match answer {
            Ok(report) => (Some(report.outcome), report.code, report.reason),
            Err(error) => (None, None, error.to_string()),
        };
        let is_right = outcome.is_some_and(|outcome| wanted.contains(&outcome));
        if !is_right {
            let wanted: Vec<String> =
                wanted.iter().map(|it| format!("{it} ({})", it.code())).collect();
            let told = match (outcome, code) {
                (Some(outcome), Some(code)) => format!("{outcome} ({code})"),
                (Some(outcome), None) => format!("{outcome} ({})", outcome.code()),
                (None, _) => "no answer".to_owned(),
            };
            let mut found = format!("{told}, where {} is wanted", wanted.join(" or "));
            if !reason.is_empty() {
                found = format!("{found}: {reason}");
            }
            self.trial.findings.push(Finding::new(gravity, what, found, remedy));
        }
        let what = what.to_owned();
        self.trial.steps.push(Step { what, outcome, code, reason, took, is_right });
        is_right
    }

    fn error(&mut self, about: &str, found: &str, remedy: &str) {
        self.trial.findings.push(Finding::new(Gravity::Error, about, found, remedy));
    }
}
