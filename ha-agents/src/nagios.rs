//! Plugins of Nagios and its kin as resource agents.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock};
use tokio::process::Command;

use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;
use crate::program::{self, Call, Manner, PATH};

/// The time between two looks of a start.
const POLL: Duration = Duration::from_secs(1);

/// What a plugin's warning (code 1) is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Warning {
    /// [`Outcome::Degraded`]: noted, but nothing is recovered.
    Degraded,
    /// [`Outcome::GenericError`], as of Pacemaker.
    #[default]
    Failure,
}

/// A monitoring plugin, which only looks: the service itself is started elsewhere, as inside of a
/// container.
///
/// - A start runs the plugin again and again, every second, until it says OK, or the time is
///   nearly up: then it fails with the plugin's last words.
/// - A stop does nothing, and a probe says that nothing runs unless this agent was started: what
///   the plugin sees is somebody else's.
/// - Code 0 is success, everything else a failure; 1 can be [degraded](Warning::Degraded). The
///   first line of the output, without performance data, is the reason.
/// - Parameters of the operation are long options: `port` = `80` becomes `--port=80`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::nagios::Nagios;
/// use ha_agents::{OpContext, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let check = Nagios::new("/usr/lib/nagios/plugins/check_tcp").arg("-p").arg("80");
/// let context = OpContext::new("web".parse()?, OpId::FIRST).parameter("hostname", "192.0.2.1");
/// check.start(&context).await?;
/// # Ok(()) }
/// ```
///
/// # Source
///
/// The Monitoring Plugins Development Guidelines, section "Plugin Return Codes".
#[derive(Debug)]
pub struct Nagios {
    path: PathBuf,
    args: Vec<OsString>,
    warning: Warning,
    is_started: AtomicBool,
}

impl Nagios {
    /// A plugin at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, is_started) = (path.into(), AtomicBool::new(false));
        Self { path, args: Vec::new(), warning: Warning::default(), is_started }
    }

    /// Adds an argument, before those from parameters.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Says what a warning is taken for. Default: a failure.
    #[must_use]
    pub const fn warning(mut self, warning: Warning) -> Self {
        self.warning = warning;
        self
    }

    async fn look(&self, context: &OpContext) -> OpResult {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        for (name, value) in &context.parameters {
            if !is_option(name) || value.contains('\0') {
                let reason = format!("parameter {name:?} cannot be an option of a plugin");
                return Ok(Report::new(Outcome::NotConfigured, reason));
            }
            command.arg(format!("--{name}={value}"));
        }
        let manner = Manner::looking("monitor");
        let (status, details) = match program::call(command, &self.path, manner, context).await? {
            Call::Exited(status, details) => (status, details),
            Call::Refused(report) => return Ok(report),
        };
        let line = details.output.lines().next().unwrap_or_default();
        let line = line.split('|').next().unwrap_or_default().trim();
        let words =
            if line.is_empty() { program::last_words(status, &details) } else { line.to_owned() };
        let (outcome, reason) = match (status.code(), self.warning) {
            (Some(0), _) => (Outcome::Success, String::new()),
            (Some(1), Warning::Degraded) => (Outcome::Degraded, words),
            (Some(_) | None, _) => (Outcome::GenericError, words),
        };
        Ok(program::report(outcome, &reason, status, details))
    }
}

/// Whether `--NAME=…` is one option.
fn is_option(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}

#[async_trait]
impl ResourceAgent for Nagios {
    async fn start(&self, context: &OpContext) -> OpResult {
        let began = BootClock::new().now();
        loop {
            let report = self.look(&program::rest(context, began)).await?;
            match report.outcome {
                Outcome::Success | Outcome::Degraded => {
                    self.is_started.store(true, Ordering::Relaxed);
                    return Ok(Report { outcome: Outcome::Success, ..report });
                }
                Outcome::NotInstalled | Outcome::NoPermission | Outcome::NotConfigured => {
                    return Ok(report);
                }
                Outcome::GenericError
                | Outcome::InvalidArguments
                | Outcome::Unimplemented
                | Outcome::NotRunning
                | Outcome::RunningPromoted
                | Outcome::FailedPromoted
                | Outcome::DegradedPromoted => {}
            }
            if program::rest(context, began).timeout <= 2 * POLL {
                return Ok(report);
            }
            pause(POLL).await.map_err(|source| AgentError::Io {
                resource: context.resource.clone(),
                what: "start",
                source,
            })?;
        }
    }

    async fn stop(&self, _context: &OpContext) -> OpResult {
        self.is_started.store(false, Ordering::Relaxed);
        Ok(Report::success())
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        if check.role.is_none() && !self.is_started.load(Ordering::Relaxed) {
            return Ok(Outcome::NotRunning.into());
        }
        self.look(context).await
    }

    fn metadata(&self) -> Metadata {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        Metadata::new(format!("nagios:{name}"), "a monitoring plugin")
    }
}
