//! One call of a program for an operation: what adapters of all standards share.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use ha_core::time::{BootClock, Clock, Instant};
use tokio::process::Command;

use crate::agent::{AgentError, OpContext, Report, RunDetails};
use crate::leftovers;
use crate::outcome::Outcome;
use crate::run::{Ended, Guard, run};

/// Where programs are looked for, whatever the path of the embedding program.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many characters of a reason are kept.
const MAX_REASON: usize = 500;

/// How long a program whose time is up has between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// How a call went.
#[derive(Debug)]
pub(crate) enum Call {
    /// It ended by itself.
    Exited(ExitStatus, RunDetails),
    /// It could not be executed, and what that says of the resource.
    Refused(Report),
}

/// How to run it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Its operation, for errors.
    pub(crate) what: &'static str,
    /// Between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    /// Who ends it when this process is killed.
    pub(crate) guard: Guard,
}

impl Manner {
    /// For an operation that changes the resource.
    pub(crate) const fn changing(what: &'static str) -> Self {
        Self { what, grace: GRACE, guard: Guard::Warden }
    }

    /// For one that only looks.
    pub(crate) const fn looking(what: &'static str) -> Self {
        Self { what, grace: GRACE, guard: Guard::Nobody }
    }
}

/// Runs `command` for as long as the operation may take. `path` is what is executed, for errors.
///
/// # Errors
///
/// [`AgentError::TimedOut`], [`AgentError::Io`].
///
/// # Cancel safety
///
/// A drop kills the process group.
pub(crate) async fn call(
    mut command: Command,
    path: &Path,
    manner: Manner,
    context: &OpContext,
) -> Result<Call, AgentError> {
    leftovers::mark(&mut command, context);
    let what = manner.what;
    match run(command, context.timeout, manner.grace, manner.guard).await {
        Ok(Ended::Exited(status, details)) => Ok(Call::Exited(status, details)),
        Ok(Ended::TimedOut(diagnosis)) => Err(AgentError::TimedOut {
            resource: context.resource.clone(),
            what,
            limit: context.timeout,
            diagnosis: Some(Box::new(diagnosis)),
        }),
        Err(error) => match refusal(&error) {
            Some(outcome) => {
                let reason = format!("cannot execute {}: {error}", path.display());
                Ok(Call::Refused(Report::new(outcome, reason)))
            }
            None => Err(AgentError::Io { resource: context.resource.clone(), what, source: error }),
        },
    }
}

/// The operation with the time that is left of it since `began`.
pub(crate) fn rest(context: &OpContext, began: Instant) -> OpContext {
    let spent = BootClock::new().now().since(began);
    context.clone().timeout(context.timeout.saturating_sub(spent))
}

/// What the standards call a program that cannot be executed; `None`: another trouble.
pub(crate) fn refusal(error: &io::Error) -> Option<Outcome> {
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        return Some(Outcome::NotInstalled);
    }
    (kind == io::ErrorKind::PermissionDenied).then_some(Outcome::NoPermission)
}

/// A report of what a program said, under `outcome`.
pub(crate) fn report(
    outcome: Outcome,
    reason: &str,
    status: ExitStatus,
    details: RunDetails,
) -> Report {
    let mut report = Report::new(outcome, reason.chars().take(MAX_REASON).collect::<String>());
    report.code = status.code();
    report.run = Some(Box::new(details));
    report
}

/// The last words of a program that failed, on standard error or else on standard output.
pub(crate) fn last_words(status: ExitStatus, details: &RunDetails) -> String {
    let line = |text: &str| {
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    };
    match line(&details.errors).or_else(|| line(&details.output)) {
        Some(words) => format!("{status}: {words}"),
        None => status.to_string(),
    }
}
