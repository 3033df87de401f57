//! Plain commands as a resource agent.

use std::ffi::OsString;
use std::path::Path;

use async_trait::async_trait;
use ha_core::time::{BootClock, Clock};
use tokio::process::Command;

use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;
use crate::program::{self, Call, Manner, PATH};

/// A resource that commands start, stop and check: for whatever has no agent.
///
/// Each command is a program with its arguments, and no shell looks at them.
///
/// - The check answers 0 if it runs, and 1 to 124 if it does not; a signal, or a code from 125 on,
///   which shells and `timeout` use, is an error. With [`ocf_codes`](Self::ocf_codes) its codes are
///   those of OCF.
/// - A start asks the check first and does nothing for what runs; afterwards the check must say
///   that it runs.
/// - A stop always runs its command, as what hangs fails its check, too, and may hold its files and
///   ports all the same. It is done only when the check then says that it does not run: a command
///   that lies is found out, and one that fails because there is nothing to stop has succeeded. So
///   the command should wait for the end of what it stops, and kill it at last.
/// - What a start command leaves running stays, in a session of its own if it makes one.
/// - The environment has `PATH`, `LC_ALL=C`, and each parameter as `HA_PARAMETER_NAME`, with its
///   name as it is; and what [`env`](Self::env) gives.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::command::Commands;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// # let dir = tempfile::tempdir().unwrap();
/// let flag = dir.path().join("flag").display().to_string();
/// let agent = Commands::new(["touch", &flag], ["rm", &flag], ["test", "-e", &flag]);
/// let context = OpContext::new("flag".parse().unwrap(), OpId::FIRST);
/// agent.start(&context).await?;
/// assert_eq!(agent.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// agent.stop(&context).await?;
/// assert_eq!(agent.monitor(&context, Check::PROBE).await?.outcome, Outcome::NotRunning);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Commands {
    start: Vec<OsString>,
    stop: Vec<OsString>,
    check: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    ocf_codes: bool,
}

impl Commands {
    /// Commands to start, to stop and to check, each a program with its arguments; a program
    /// without `/` is looked for in the system's directories.
    pub fn new<W: Into<OsString>>(
        start: impl IntoIterator<Item = W>,
        stop: impl IntoIterator<Item = W>,
        check: impl IntoIterator<Item = W>,
    ) -> Self {
        Self {
            start: start.into_iter().map(Into::into).collect(),
            stop: stop.into_iter().map(Into::into).collect(),
            check: check.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            ocf_codes: false,
        }
    }

    /// Sets a variable of the commands' environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Lets the codes of the check be those of OCF: 7 is stopped, 8 promoted, 1 failed, and so on.
    #[must_use]
    pub const fn ocf_codes(mut self) -> Self {
        self.ocf_codes = true;
        self
    }

    /// Runs one of the commands; its code goes through `meaning`.
    async fn call(
        &self,
        words: &[OsString],
        manner: Manner,
        context: &OpContext,
        meaning: impl FnOnce(Option<i32>) -> Outcome,
    ) -> OpResult {
        let Some((program, args)) = words.split_first() else {
            let reason = format!("there is no command to {} it", manner.what);
            return Ok(Report::new(Outcome::NotConfigured, reason));
        };
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        for (name, value) in &context.parameters {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let reason = format!("{name:?} cannot be a variable of the environment");
                return Ok(Report::new(Outcome::NotConfigured, reason));
            }
            command.env(format!("HA_PARAMETER_{name}"), value);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        Ok(match program::call(command, Path::new(program), manner, context).await? {
            Call::Exited(status, details) => {
                let outcome = meaning(status.code());
                let reason = match outcome {
                    Outcome::Success | Outcome::NotRunning | Outcome::RunningPromoted => {
                        String::new()
                    }
                    Outcome::GenericError
                    | Outcome::InvalidArguments
                    | Outcome::Unimplemented
                    | Outcome::NoPermission
                    | Outcome::NotInstalled
                    | Outcome::NotConfigured
                    | Outcome::FailedPromoted
                    | Outcome::Degraded
                    | Outcome::DegradedPromoted => program::last_words(status, &details),
                };
                program::report(outcome, &reason, status, details)
            }
            Call::Refused(report) => report,
        })
    }

    async fn check(&self, context: &OpContext) -> OpResult {
        let ocf = self.ocf_codes;
        let meaning = |code| match code {
            Some(0) => Outcome::Success,
            Some(code) if ocf => Outcome::from_code(code),
            Some(1..=124) => Outcome::NotRunning,
            Some(_) | None => Outcome::GenericError,
        };
        self.call(&self.check, Manner::looking("monitor"), context, meaning).await
    }

    /// Does `words`; what its code says.
    async fn act(&self, what: &'static str, words: &[OsString], context: &OpContext) -> OpResult {
        let plain = |code| match code {
            Some(0) => Outcome::Success,
            Some(_) | None => Outcome::GenericError,
        };
        self.call(words, Manner::changing(what), context, plain).await
    }
}

/// The command succeeded, and has done nothing.
fn found_out(what: &str, done: Report, after: Outcome) -> Report {
    let reason = format!("the command to {what} it succeeded, but its check says: {after}");
    Report { outcome: Outcome::GenericError, reason, ..done }
}

#[async_trait]
impl ResourceAgent for Commands {
    async fn start(&self, context: &OpContext) -> OpResult {
        let began = BootClock::new().now();
        let before = self.check(context).await?;
        if before.outcome == Outcome::Success {
            return Ok(before);
        }
        let done = self.act("start", &self.start, &program::rest(context, began)).await?;
        if done.outcome != Outcome::Success {
            return Ok(done);
        }
        let after = self.check(&program::rest(context, began)).await?.outcome;
        Ok(if after == Outcome::Success { done } else { found_out("start", done, after) })
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        let began = BootClock::new().now();
        let mut done = self.act("stop", &self.stop, context).await?;
        // One that could not be executed has stopped nothing.
        if done.outcome != Outcome::Success && done.run.is_none() {
            return Ok(done);
        }
        let after = self.check(&program::rest(context, began)).await?.outcome;
        if done.outcome == Outcome::Success {
            let is_so = after == Outcome::NotRunning;
            return Ok(if is_so { done } else { found_out("stop", done, after) });
        }
        if after == Outcome::NotRunning {
            done.reason = format!("it is stopped all the same ({})", done.reason);
            done.outcome = Outcome::Success;
        }
        Ok(done)
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        self.check(context).await
    }

    fn metadata(&self) -> Metadata {
        Metadata::new("command", "commands that start, stop and check something")
    }
}
