//! The programs that do what the kernel or a daemon has no other door for.

use std::time::Duration;

use tokio::process::Command;

use crate::agent::{AgentError, OpContext};
use crate::leftovers;
use crate::run::{Ended, Guard, run};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How much of a program's words is told, in characters.
const MAX_WORDS: usize = 300;

/// A program that ended without success.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no such program.
    Missing,
    /// Its words, or how it ended.
    Said(String),
}

/// Runs a program without a shell and in a clean environment; its output. A run that changes
/// something is guarded: it ends also when this program is killed.
///
/// Cancel safe: a drop kills it.
pub(super) async fn call(
    context: &OpContext,
    program: &'static str,
    args: &[&str],
    guard: Guard,
) -> Result<Result<String, Failed>, AgentError> {
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    leftovers::mark(&mut command, context);
    // The operation's own limit comes first, and drops this.
    let limit = context.timeout.saturating_mul(2);
    match Box::pin(run(command, limit, Duration::ZERO, guard)).await {
        Ok(Ended::Exited(status, details)) if status.success() => Ok(Ok(details.output)),
        Ok(Ended::Exited(status, details)) => {
            let all = [details.errors.as_str(), details.output.as_str()];
            let mut lines = all.iter().flat_map(|text| text.lines()).map(str::trim);
            let words = lines.find(|line| !line.is_empty()).map(str::to_owned);
            let words = words.unwrap_or_else(|| status.to_string());
            let words: String = words.chars().take(MAX_WORDS).collect();
            Ok(Err(Failed::Said(format!("{program}: {words}"))))
        }
        Ok(Ended::TimedOut(diagnosis)) => {
            Ok(Err(Failed::Said(format!("{program} hung: {diagnosis}"))))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Err(Failed::Missing)),
        Err(source) => Err(AgentError::Io {
            resource: context.resource.clone(),
            what: "run a program for",
            source,
        }),
    }
}
