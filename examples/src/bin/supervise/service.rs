//! One service: decides what is done next. Without I/O.
//!
//! ```text
//! Starting ──ok──▶ Running ──died, failed──▶ Waiting ──time──▶ Clearing ──stopped──▶ Starting
//!     └──────────────failed───────────────────▶┘ └─too often─▶ Clearing ──stopped──▶ GivenUp
//! any ──end──▶ Ending ──stopped──▶ Down         a stop that fails: Blocked
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use ha_agents::executor::{Action, Answer, Output};
use ha_agents::restart::{Backoff, Restart, RestartLimit};
use ha_agents::{Check, OpContext, Severity};
use ha_core::config::ConfigError;
use ha_core::id::{OpId, ResourceName};
use ha_core::role::Role;
use ha_core::time::Instant;

use super::config::Settings;

/// What a service is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A stop has failed: nothing more is done with it.
    Blocked,
    /// What is left of it is stopped; then it is started, or given up.
    Clearing {
        give_up: bool,
    },
    Down,
    Ending,
    GivenUp,
    Running,
    Starting,
    Waiting {
        until: Instant,
    },
}

impl State {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Clearing { .. } => "clearing",
            Self::Down => "down",
            Self::Ending => "ending",
            Self::GivenUp => "given-up",
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Waiting { .. } => "waiting",
        }
    }
}

pub(crate) struct Service {
    name: ResourceName,
    settings: Settings,
    limit: RestartLimit,
    state: State,
    orders: VecDeque<Action>,
    failures: u32,
    news: Option<String>,
}

impl Service {
    pub(crate) fn new(
        name: ResourceName,
        settings: Settings,
        seed: u64,
    ) -> Result<Self, ConfigError> {
        let millis = Duration::from_millis;
        let backoff =
            Backoff::new(millis(settings.backoff_ms), millis(settings.backoff_most_ms), seed)?;
        let limit = RestartLimit::new(backoff, settings.restarts, millis(settings.window_ms))?;
        let (state, orders) = (State::Down, VecDeque::new());
        Ok(Self { name, settings, limit, state, orders, failures: 0, news: None })
    }

    pub(crate) const fn name(&self) -> &ResourceName {
        &self.name
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether an end has come to its end.
    pub(crate) const fn is_down(&self) -> bool {
        matches!(self.state, State::Down | State::Blocked)
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Blocked
            | State::Clearing { .. }
            | State::Down
            | State::Ending
            | State::GivenUp
            | State::Running
            | State::Starting => None,
        }
    }

    /// The state that it has come to, and why, once.
    pub(crate) fn news(&mut self) -> Option<(State, String)> {
        self.news.take().map(|reason| (self.state, reason))
    }

    /// What is to be ordered next.
    pub(crate) fn wants(&mut self) -> Option<Action> {
        self.orders.pop_front()
    }

    pub(crate) fn context(&self, action: Action, op: u64) -> OpContext {
        let context = OpContext::new(self.name.clone(), OpId::new(op));
        let context = context.timeout(Duration::from_millis(self.settings.timeout_ms));
        let parameters = self.settings.parameters.iter();
        let context =
            parameters.fold(context, |context, (name, value)| context.parameter(name, value));
        match (action, self.settings.monitor()) {
            (Action::Monitor(_), Some(interval)) => context.every(interval),
            _ => context,
        }
    }

    pub(crate) fn begin(&mut self) {
        self.go(State::Starting, String::new());
        self.orders.push_back(Action::Start);
    }

    /// Stops it for good.
    pub(crate) fn end(&mut self) {
        if self.state != State::Blocked {
            self.go(State::Ending, String::new());
            self.orders.push_back(Action::Stop);
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|until| until <= now) {
            self.go(State::Clearing { give_up: false }, String::new());
            self.orders.push_back(Action::Stop);
        }
    }

    /// The executor's word.
    pub(crate) fn take(&mut self, now: Instant, result: &Output) {
        match (result, self.state) {
            (Output::Died { reason, .. }, State::Running) => self.failed(now, reason.clone()),
            (Output::Monitored { answer, .. }, State::Running)
                if answer.severity(self.monitor().operation()) != Severity::None =>
            {
                self.failed(now, why(answer));
            }
            (Output::Ended { action: Action::Start, answer, .. }, State::Starting) => {
                self.started(now, answer);
            }
            (Output::Ended { action: Action::Stop, answer, .. }, state) => {
                self.stopped(state, answer);
            }
            _ => {}
        }
    }

    fn started(&mut self, now: Instant, answer: &Answer) {
        if answer.severity(Action::Start.operation()) != Severity::None {
            return self.failed(now, why(answer));
        }
        self.limit.started(now);
        self.go(State::Running, String::new());
        if self.settings.monitor().is_some() {
            self.orders.push_back(self.monitor());
        }
    }

    fn stopped(&mut self, state: State, answer: &Answer) {
        if answer.severity(Action::Stop.operation()) != Severity::None {
            return self.go(State::Blocked, why(answer));
        }
        match state {
            State::Clearing { give_up: false } => self.begin(),
            State::Clearing { give_up: true } => {
                self.go(
                    State::GivenUp,
                    "it has failed too often; mend it, then restart".to_owned(),
                );
            }
            State::Ending => self.go(State::Down, String::new()),
            // One of before.
            State::Blocked
            | State::Down
            | State::GivenUp
            | State::Running
            | State::Starting
            | State::Waiting { .. } => {}
        }
    }

    fn failed(&mut self, now: Instant, reason: String) {
        self.failures = self.failures.saturating_add(1);
        match self.limit.failed(now) {
            Restart::At(until) => self.go(State::Waiting { until }, reason),
            Restart::GiveUp { .. } => {
                self.go(State::Clearing { give_up: true }, reason);
                self.orders.push_back(Action::Stop);
            }
        }
    }

    fn go(&mut self, state: State, reason: String) {
        self.state = state;
        self.news = Some(reason);
    }

    const fn monitor(&self) -> Action {
        Action::Monitor(Check { depth: self.settings.depth, role: Some(Role::Started) })
    }
}

fn why(answer: &Answer) -> String {
    match answer {
        Answer::Cancelled => "cancelled".to_owned(),
        Answer::NoAnswer { reason, .. } => reason.clone(),
        Answer::Report(report) if report.reason.is_empty() => report.outcome.to_string(),
        Answer::Report(report) => format!("{}: {}", report.outcome, report.reason),
    }
}
