//! What a failed operation asks for, and why.

use std::fmt;
use std::str::FromStr;

use ha_core::effect::Effect;
use ha_core::role::Role;

use super::order::{Action, Answer};
use crate::outcome::{Outcome, Severity};

/// What to do about a failure (Pacemaker's `on-fail`).
///
/// ```
/// use ha_agents::executor::{Action, OnFail};
///
/// assert_eq!("standby".parse(), Ok(OnFail::Standby));
/// assert_eq!(OnFail::default_for(Action::Stop), OnFail::Fence);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a manager must decide on each")]
pub enum OnFail {
    /// Do nothing more with the resource on this node, until a person has looked.
    Block,
    /// Take it back to a copy; if it is none to begin with, as `Restart`.
    Demote,
    /// Fence the node.
    Fence,
    /// Do as if it had succeeded.
    Ignore,
    /// Stop it and start it again, here or elsewhere.
    Restart,
    /// Take everything off the node.
    Standby,
    /// Stop it and leave it stopped.
    Stop,
}

impl OnFail {
    /// All policies.
    pub const ALL: [Self; 7] = [
        Self::Block,
        Self::Demote,
        Self::Fence,
        Self::Ignore,
        Self::Restart,
        Self::Standby,
        Self::Stop,
    ];

    /// What Pacemaker does where nothing is configured: `Fence` for a stop, `Restart` else. A
    /// manager that cannot fence takes [`Recovery::without_fencing`].
    #[must_use]
    pub const fn default_for(action: Action) -> Self {
        match action {
            Action::Stop => Self::Fence,
            Action::Demote
            | Action::MigrateFrom
            | Action::MigrateTo
            | Action::Monitor(_)
            | Action::Notify
            | Action::Promote
            | Action::Reload
            | Action::Start
            | Action::Validate => Self::Restart,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Demote => "demote",
            Self::Fence => "fence",
            Self::Ignore => "ignore",
            Self::Restart => "restart",
            Self::Standby => "standby",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for OnFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {text:?} as a policy for failures: it is none; give block, demote, fence, ignore, restart, standby or stop"
)]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// The text.
    pub text: String,
}

impl FromStr for OnFail {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let known = Self::ALL.into_iter().find(|policy| policy.name() == text);
        known.ok_or_else(|| UnknownPolicy { text: text.chars().take(40).collect() })
    }
}

/// What the executor knows of a resource's past in its own life.
///
/// Of what an earlier life of the program has started it knows nothing but what a probe finds: end
/// that before with [`leftovers`](crate::leftovers), or count it as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_structs, reason = "plain data that a manager writes out")]
pub struct Past {
    /// Whether anything that may have made it active was run, with no successful stop since.
    pub started: bool,
    /// The answer of the last probe.
    pub probe: Option<Outcome>,
}

/// A failed operation, with what the decision about it depends on.
///
/// ```
/// use ha_agents::executor::{Action, Answer, Failure, OnFail, Past};
/// use ha_agents::{Outcome, Report};
///
/// // The agent's program is not there, so its stop fails, too.
/// let answer = Answer::Report(Report::new(Outcome::NotInstalled, "no /usr/bin/squid"));
/// let mut failure = Failure { action: Action::Stop, answer: &answer, past: Past::default(), on_fail: None };
/// let recovery = failure.recovery().unwrap();
/// assert_eq!(recovery.what, OnFail::Fence); // it may run here, for all that is known
///
/// failure.past.probe = Some(Outcome::NotInstalled);
/// let recovery = failure.recovery().unwrap();
/// assert_eq!(recovery.what, OnFail::Ignore);
/// assert!(recovery.reason.contains("nothing of it was started here"));
/// ```
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "plain data that a manager writes out")]
pub struct Failure<'a> {
    /// What was asked for.
    pub action: Action,
    /// How it ended.
    pub answer: &'a Answer,
    /// What went before.
    pub past: Past,
    /// The policy that is configured; `None`: [`OnFail::default_for`] the action.
    pub on_fail: Option<OnFail>,
}

/// A decision, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// What to do.
    pub what: OnFail,
    /// How far the failure reaches: after a `Hard` one it must not be started here again, after a
    /// `Fatal` one nowhere, until a person has looked.
    pub severity: Severity,
    /// Why, for a person.
    pub reason: String,
}

impl Failure<'_> {
    /// What is asked for; `None`: it is no failure.
    ///
    /// - A stop that fails when nothing was ever started here and the last probe said that the
    ///   resource cannot run here does not ask for fencing: `not installed` counts as stopped and is
    ///   ignored, `not configured` is blocked until a person has mended the parameters.
    /// - `Demote` of what is not promoted is `Restart`.
    /// - The rest is as configured.
    #[must_use]
    pub fn recovery(&self) -> Option<Recovery> {
        let severity = self.answer.severity(self.action.operation());
        if severity == Severity::None {
            return None;
        }
        let configured = self.on_fail.unwrap_or(OnFail::default_for(self.action));
        let why = self.why();
        let (what, reason) = match (self.action, configured, self.never_ran()) {
            (Action::Stop, OnFail::Fence, Some(probe)) => {
                let absent = probe == Outcome::NotInstalled;
                let what = if absent { OnFail::Ignore } else { OnFail::Block };
                let reason = format!(
                    "{why}; no fencing: nothing of it was started here, and its probe answered \"{probe}\""
                );
                (what, reason)
            }
            (_, OnFail::Demote, _) if !self.is_promoted() => {
                (OnFail::Restart, format!("{why}; it is not promoted: restart instead of demote"))
            }
            (Action::Stop, OnFail::Fence, None) => {
                (OnFail::Fence, format!("{why}; it may still be active here: fence the node"))
            }
            (_, what, _) => {
                let source = if self.on_fail.is_some() { "configured" } else { "default" };
                (what, format!("{why}; {source} policy: {what}"))
            }
        };
        Some(Recovery { what, severity, reason })
    }

    /// The probe's answer by which it cannot have run here.
    fn never_ran(&self) -> Option<Outcome> {
        let hopeless = [Outcome::NotInstalled, Outcome::NotConfigured];
        self.past.probe.filter(|probe| !self.past.started && hopeless.contains(probe))
    }

    fn is_promoted(&self) -> bool {
        let expected = match self.action {
            Action::Monitor(check) => check.role,
            Action::Demote
            | Action::MigrateFrom
            | Action::MigrateTo
            | Action::Notify
            | Action::Promote
            | Action::Reload
            | Action::Start
            | Action::Stop
            | Action::Validate => None,
        };
        let found = self.answer.role(self.action.operation());
        [expected, found].contains(&Some(Role::Promoted))
    }

    fn why(&self) -> String {
        let action = self.action;
        match self.answer {
            Answer::Cancelled => format!("{action} was cancelled"),
            Answer::NoAnswer { effect, reason } => {
                let doubt = match effect {
                    Effect::None => "nothing of it has happened",
                    Effect::Unknown => "it may have happened all the same",
                };
                format!("{action} gave no answer, {doubt}: {reason}")
            }
            Answer::Report(report) => {
                let code = report.code.map(|code| format!(", code {code}")).unwrap_or_default();
                let colon = if report.reason.is_empty() { "" } else { ": " };
                format!("{action} failed ({}{code}){colon}{}", report.outcome, report.reason)
            }
        }
    }
}

impl Recovery {
    /// The same where no fence device reaches the node: it is blocked instead.
    #[must_use]
    pub fn without_fencing(mut self) -> Self {
        if self.what == OnFail::Fence {
            self.what = OnFail::Block;
            self.reason.push_str("; there is no fencing: blocked until a person has looked");
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Check, Report};

    fn decide(action: Action, answer: &Answer, past: Past, on_fail: Option<OnFail>) -> OnFail {
        let recovery = Failure { action, answer, past, on_fail }.recovery().expect("a failure");
        assert!(recovery.reason.len() > 10, "no reason: {recovery:?}");
        recovery.what
    }

    #[test]
    fn a_failed_stop_fences_unless_a_probe_said_that_it_cannot_run_and_we_never_started_it() {
        for outcome in Outcome::ALL.into_iter().filter(|outcome| *outcome != Outcome::Success) {
            let answer = Answer::Report(Report::new(outcome, "why"));
            for probe in Outcome::ALL.into_iter().map(Some).chain([None]) {
                for started in [false, true] {
                    let expected = match (started, probe) {
                        (false, Some(Outcome::NotInstalled)) => OnFail::Ignore,
                        (false, Some(Outcome::NotConfigured)) => OnFail::Block,
                        _ => OnFail::Fence,
                    };
                    let past = Past { started, probe };
                    for policy in [None, Some(OnFail::Fence)] {
                        let decided = decide(Action::Stop, &answer, past, policy);
                        assert_eq!(decided, expected, "{outcome} {past:?}");
                    }
                    // Fencing that is asked for after another operation is not about the stop.
                    let start = decide(Action::Start, &answer, past, Some(OnFail::Fence));
                    assert_eq!(start, OnFail::Fence);
                }
            }
        }
    }

    #[test]
    fn a_policy_is_taken_as_configured_and_demote_only_for_what_is_promoted() {
        let dead = Answer::Report(Report::new(Outcome::NotRunning, ""));
        let monitor = |role| Action::Monitor(Check { depth: 0, role: Some(role) });
        for policy in OnFail::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            let decided = decide(monitor(Role::Promoted), &dead, Past::default(), Some(policy));
            assert_eq!(decided, policy);
            let of_copy = decide(monitor(Role::Started), &dead, Past::default(), Some(policy));
            let expected = if policy == OnFail::Demote { OnFail::Restart } else { policy };
            assert_eq!(of_copy, expected);
        }
        let fine = Answer::Report(Report::success());
        let (action, past) = (Action::Stop, Past::default());
        assert_eq!(Failure { action, answer: &fine, past, on_fail: None }.recovery(), None);
    }

    #[test]
    fn the_reason_says_what_is_known() {
        let reason = "no answer in 5s".to_owned();
        let answer = Answer::NoAnswer { effect: Effect::Unknown, reason };
        let failure =
            Failure { action: Action::Stop, answer: &answer, past: Past::default(), on_fail: None };
        let recovery = failure.recovery().expect("a failure");
        assert_eq!(
            recovery.reason,
            "stop gave no answer, it may have happened all the same: no answer in 5s; it may \
             still be active here: fence the node"
        );
        let recovery = recovery.without_fencing();
        assert_eq!(recovery.what, OnFail::Block);
        assert!(recovery.reason.ends_with("blocked until a person has looked"));
    }
}
