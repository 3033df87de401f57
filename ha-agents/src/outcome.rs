//! What an agent answers, and what each answer means for each operation (OCF 1.1).

use std::fmt;

use ha_core::role::Role;
use serde::{Deserialize, Serialize};

/// The answer of a resource agent: the exit codes of the OCF standard.
///
/// What it means depends on the operation that was asked for: see [`meaning`](Self::meaning).
///
/// ```
/// use ha_agents::{Operation, Outcome, Severity};
/// use ha_core::role::Role;
///
/// // "Not running" is good news to a probe, and a failure to a monitor.
/// let probe = Outcome::NotRunning.meaning(Operation::Probe);
/// assert_eq!((probe.role, probe.severity), (Some(Role::Stopped), Severity::None));
/// let monitor = Outcome::NotRunning.meaning(Operation::Monitor(Role::Started));
/// assert_eq!(monitor.severity, Severity::Soft);
/// ```
///
/// # Source
///
/// OCF Resource Agent API 1.1, section "Return codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "OCF defines these; a manager must decide on each")]
pub enum Outcome {
    /// 0, `OCF_SUCCESS`.
    Success,
    /// 1, `OCF_ERR_GENERIC`, and every code that is not of the standard.
    GenericError,
    /// 2, `OCF_ERR_ARGS`: the parameters cannot be right on this node.
    InvalidArguments,
    /// 3, `OCF_ERR_UNIMPLEMENTED`.
    Unimplemented,
    /// 4, `OCF_ERR_PERM`.
    NoPermission,
    /// 5, `OCF_ERR_INSTALLED`: what it needs is not on this node.
    NotInstalled,
    /// 6, `OCF_ERR_CONFIGURED`: the parameters cannot be right on any node.
    NotConfigured,
    /// 7, `OCF_NOT_RUNNING`: cleanly stopped.
    NotRunning,
    /// 8, `OCF_RUNNING_PROMOTED`.
    RunningPromoted,
    /// 9, `OCF_FAILED_PROMOTED`.
    FailedPromoted,
    /// 190, `OCF_DEGRADED`: running, but likely to fail soon.
    Degraded,
    /// 191, `OCF_DEGRADED_PROMOTED`.
    DegradedPromoted,
}

/// What was asked for, as far as it changes what an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the columns of the table of meanings")]
pub enum Operation {
    /// Back to a copy.
    Demote,
    /// A recurring monitor of something that should have this role.
    Monitor(Role),
    /// Any operation that changes no role: validate, notify, reload, the halves of a migration.
    Other,
    /// A single monitor that asks what is there.
    Probe,
    /// To the one that takes writes.
    Promote,
    /// Start.
    Start,
    /// Stop.
    Stop,
}

/// How far a failure reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "Pacemaker's three kinds of failure, and none")]
pub enum Severity {
    /// No failure.
    None,
    /// Recover it, on this node if it may.
    Soft,
    /// Not on this node until a person has mended it.
    Hard,
    /// On no node until a person has mended it.
    Fatal,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the two things that a policy needs of an answer")]
pub struct Meaning {
    /// What the resource now is on the node; `None`: unknown, treat it as active.
    pub role: Option<Role>,
    /// Whether it is a failure, and how far it reaches.
    pub severity: Severity,
}

impl Outcome {
    /// All outcomes, by rising code.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::GenericError,
        Self::InvalidArguments,
        Self::Unimplemented,
        Self::NoPermission,
        Self::NotInstalled,
        Self::NotConfigured,
        Self::NotRunning,
        Self::RunningPromoted,
        Self::FailedPromoted,
        Self::Degraded,
        Self::DegradedPromoted,
    ];

    /// The exit code of the standard.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::GenericError => 1,
            Self::InvalidArguments => 2,
            Self::Unimplemented => 3,
            Self::NoPermission => 4,
            Self::NotInstalled => 5,
            Self::NotConfigured => 6,
            Self::NotRunning => 7,
            Self::RunningPromoted => 8,
            Self::FailedPromoted => 9,
            Self::Degraded => 190,
            Self::DegradedPromoted => 191,
        }
    }

    /// The outcome of an exit code; codes outside the standard are a generic error (as in
    /// Pacemaker). Keep the raw code for the report: [`Report::code`](crate::Report::code).
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        let known = Self::ALL.into_iter().find(|outcome| outcome.code() == code);
        known.unwrap_or(Self::GenericError)
    }

    /// What this answer means for `operation`.
    ///
    /// | code | probe | monitor | start, promote, demote | stop |
    /// |---|---|---|---|---|
    /// | 0 | is started | fine; soft if it should be promoted | done | done |
    /// | 1 | unknown, soft | unknown, soft | unknown, soft | unknown, soft |
    /// | 2, 4 | unknown, hard | unknown, hard | unknown, hard | unknown, hard |
    /// | 3 | unknown, hard | not supported: no failure | unknown, hard | unknown, hard |
    /// | 5 | stopped, hard | unknown, hard | unknown, hard | unknown, hard |
    /// | 6 | unknown, fatal | unknown, fatal | unknown, fatal | unknown, fatal |
    /// | 7 | is stopped | stopped, soft | stopped, soft | unknown, soft: must be 0 |
    /// | 8 | is promoted | fine if it should be; else soft | promoted, soft | promoted, soft |
    /// | 9 | promoted, soft | promoted, soft | promoted, soft | promoted, soft |
    /// | 190, 191 | as 0, 8 | as 0, 8 | unknown, soft | unknown, soft |
    ///
    /// # Source
    ///
    /// OCF 1.1, and what Pacemaker's scheduler makes of it.
    #[must_use]
    pub const fn meaning(self, operation: Operation) -> Meaning {
        match operation {
            Operation::Probe => self.meaning_to_probe(),
            Operation::Monitor(role) => self.meaning_to_monitor(role),
            Operation::Start => self.meaning_to_action(Some(Role::Started)),
            Operation::Promote => self.meaning_to_action(Some(Role::Promoted)),
            Operation::Demote => self.meaning_to_action(Some(Role::Unpromoted)),
            Operation::Stop if matches!(self, Self::NotRunning) => {
                Meaning { role: None, severity: Severity::Soft }
            }
            Operation::Stop => self.meaning_to_action(Some(Role::Stopped)),
            Operation::Other => self.meaning_to_action(None),
        }
    }

    const fn meaning_to_probe(self) -> Meaning {
        let (role, severity) = match self {
            Self::Success | Self::Degraded => (Some(Role::Started), Severity::None),
            Self::NotRunning => (Some(Role::Stopped), Severity::None),
            Self::RunningPromoted | Self::DegradedPromoted => {
                (Some(Role::Promoted), Severity::None)
            }
            Self::FailedPromoted => (Some(Role::Promoted), Severity::Soft),
            Self::NotInstalled => (Some(Role::Stopped), Severity::Hard),
            Self::GenericError
            | Self::InvalidArguments
            | Self::Unimplemented
            | Self::NoPermission
            | Self::NotConfigured => (None, self.reach()),
        };
        Meaning { role, severity }
    }

    const fn meaning_to_monitor(self, expected: Role) -> Meaning {
        let (role, severity) = match self {
            Self::Success | Self::Degraded => {
                let (fine, role) = match expected {
                    Role::Started | Role::Unpromoted => (true, expected),
                    Role::Stopped | Role::Promoted => (false, Role::Started),
                };
                (Some(role), if fine { Severity::None } else { Severity::Soft })
            }
            Self::RunningPromoted | Self::DegradedPromoted => {
                let fine = matches!(expected, Role::Promoted);
                (Some(Role::Promoted), if fine { Severity::None } else { Severity::Soft })
            }
            Self::NotRunning => {
                let fine = matches!(expected, Role::Stopped);
                (Some(Role::Stopped), if fine { Severity::None } else { Severity::Soft })
            }
            Self::FailedPromoted => (Some(Role::Promoted), Severity::Soft),
            Self::Unimplemented => (None, Severity::None),
            Self::GenericError
            | Self::InvalidArguments
            | Self::NoPermission
            | Self::NotInstalled
            | Self::NotConfigured => (None, self.reach()),
        };
        Meaning { role, severity }
    }

    const fn meaning_to_action(self, done: Option<Role>) -> Meaning {
        let (role, severity) = match self {
            Self::Success => (done, Severity::None),
            Self::NotRunning => (Some(Role::Stopped), Severity::Soft),
            Self::RunningPromoted | Self::FailedPromoted => (Some(Role::Promoted), Severity::Soft),
            Self::GenericError
            | Self::InvalidArguments
            | Self::Unimplemented
            | Self::NoPermission
            | Self::NotInstalled
            | Self::NotConfigured
            | Self::Degraded
            | Self::DegradedPromoted => (None, self.reach()),
        };
        Meaning { role, severity }
    }

    /// How far the error reaches, whatever was asked for.
    const fn reach(self) -> Severity {
        match self {
            Self::InvalidArguments
            | Self::Unimplemented
            | Self::NoPermission
            | Self::NotInstalled => Severity::Hard,
            Self::NotConfigured => Severity::Fatal,
            Self::Success
            | Self::GenericError
            | Self::NotRunning
            | Self::RunningPromoted
            | Self::FailedPromoted
            | Self::Degraded
            | Self::DegradedPromoted => Severity::Soft,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Success => "ok",
            Self::GenericError => "error",
            Self::InvalidArguments => "invalid arguments",
            Self::Unimplemented => "not implemented",
            Self::NoPermission => "no permission",
            Self::NotInstalled => "not installed",
            Self::NotConfigured => "not configured",
            Self::NotRunning => "not running",
            Self::RunningPromoted => "promoted",
            Self::FailedPromoted => "failed while promoted",
            Self::Degraded => "degraded",
            Self::DegradedPromoted => "degraded while promoted",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
