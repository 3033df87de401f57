//! An LXC container as a resource.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::described;
use super::tool::{Failed, call};
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;
use crate::run::Guard;

/// A system container of LXC: `ocf:heartbeat:lxc`, through the programs `lxc-start`, `lxc-stop` and
/// `lxc-info`.
///
/// - A **start** returns when the container runs; what is in it may still be starting.
/// - A **stop** asks the container's init to shut down (its `lxc.signal.halt`), and kills all of
///   it after [`stop_grace`](Self::stop_grace), or at half of the operation's time.
/// - A **monitor** looks whether the container's monitor listens, which costs no process; only a
///   container that seems stopped is asked for with `lxc-info`. At depth 10 always: one that is
///   frozen has failed.
///
/// ```no_run
/// use ha_agents::native::Lxc;
///
/// let agent = Lxc::new("web").path("/srv/containers");
/// ```
#[derive(Debug, Clone)]
pub struct Lxc {
    name: String,
    path: PathBuf,
    config: Option<PathBuf>,
    stop_grace: Duration,
}

impl Lxc {
    /// The container of this name in `/var/lib/lxc`.
    pub fn new(name: impl Into<String>) -> Self {
        let path = PathBuf::from("/var/lib/lxc");
        Self { name: name.into(), path, config: None, stop_grace: Duration::from_secs(30) }
    }

    /// Sets the directory of containers. Default: `/var/lib/lxc`.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the configuration file. Default: the file `config` of the container.
    #[must_use]
    pub fn config(mut self, config: impl Into<PathBuf>) -> Self {
        self.config = Some(config.into());
        self
    }

    /// Sets how long the container has to shut down by itself. Default: 30 s. Half of the stop
    /// operation's timeout is the most that it gets.
    #[must_use]
    pub const fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    fn objection(&self) -> Option<Report> {
        let odd = |c: char| c == '/' || c.is_control() || c.is_whitespace();
        if self.name.is_empty() || self.name.starts_with(['-', '.']) || self.name.contains(odd) {
            let reason = format!("{:?} cannot be the name of a container", self.name);
            return Some(Report::new(Outcome::NotConfigured, reason));
        }
        let default = || self.path.join(&self.name).join("config");
        let config = self.config.clone().unwrap_or_else(default);
        let reason = || format!("there is no {}; make the container", config.display());
        (!config.exists()).then(|| Report::new(Outcome::NotInstalled, reason()))
    }

    /// Whether the container's monitor listens on its socket, by the kernel's list.
    fn listens(&self) -> bool {
        let socket = format!("@{}/{}/command", self.path.display(), self.name);
        let list = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        list.lines().any(|line| line.split_whitespace().last() == Some(&socket))
    }

    async fn call(
        &self,
        context: &OpContext,
        program: &'static str,
        more: &[&str],
    ) -> Result<Result<String, Failed>, AgentError> {
        let path = self.path.display().to_string();
        let args = [&["-P", &path, "-n", &self.name], more].concat();
        let guard = if program == "lxc-info" { Guard::Nobody } else { Guard::Warden };
        call(context, program, &args, guard).await
    }

    /// Its state in LXC's words, such as `RUNNING`; `STOPPED` if there is no such container.
    async fn state(&self, context: &OpContext) -> Result<Result<String, Report>, AgentError> {
        Ok(match self.call(context, "lxc-info", &["-s", "-H"]).await? {
            Ok(state) => Ok(state.trim().to_owned()),
            Err(Failed::Said(words)) if words.contains("doesn't exist") => Ok("STOPPED".to_owned()),
            Err(failed) => Err(refused(failed)),
        })
    }

    async fn bring_up(&self, context: &OpContext) -> OpResult {
        match self.state(context).await? {
            Ok(state) if state == "RUNNING" => return Ok(Report::success()),
            Ok(state) if state == "STOPPED" => {}
            Ok(state) => return Ok(odd_state(&state)),
            Err(report) => return Ok(report),
        }
        let config = self.config.as_ref().map(|config| config.display().to_string());
        let mut more = vec!["-d"];
        if let Some(config) = &config {
            more.extend(["-f", config]);
        }
        let said = self.call(context, "lxc-start", &more).await?;
        Ok(match (self.state(context).await?, said) {
            (Ok(state), _) if state == "RUNNING" => Report::success(),
            (Ok(_), Err(failed)) => refused(failed),
            (Ok(state), Ok(_)) => odd_state(&state),
            (Err(report), _) => report,
        })
    }

    async fn shut_down(&self, context: &OpContext) -> OpResult {
        match self.state(context).await? {
            Ok(state) if state == "STOPPED" => return Ok(Report::success()),
            // Where there is no LXC, no container is.
            Err(report) if report.outcome == Outcome::NotInstalled && !self.listens() => {
                return Ok(Report::success());
            }
            Ok(_) => {}
            Err(report) => return Ok(report),
        }
        let grace = self.stop_grace.min(context.timeout / 2).as_secs().to_string();
        let how = if grace == "0" { vec!["-k"] } else { vec!["-t", &grace] };
        let said = self.call(context, "lxc-stop", &how).await?;
        Ok(match (self.state(context).await?, said) {
            (Ok(state), _) if state == "STOPPED" => Report::success(),
            (Ok(_), Err(failed)) => refused(failed),
            (Ok(state), Ok(_)) => odd_state(&state),
            (Err(report), _) => report,
        })
    }

    async fn look(&self, context: &OpContext, check: Check) -> OpResult {
        if check.depth < 10 && self.listens() {
            return Ok(Report::success());
        }
        Ok(match self.state(context).await? {
            Ok(state) if state == "RUNNING" => Report::success(),
            Ok(state) if state == "STOPPED" => Report::new(Outcome::NotRunning, ""),
            Ok(state) => odd_state(&state),
            Err(report) => report,
        })
    }
}

fn odd_state(state: &str) -> Report {
    Report::new(Outcome::GenericError, format!("the container is {state:?}"))
}

fn refused(failed: Failed) -> Report {
    match failed {
        Failed::Missing => Report::new(Outcome::NotInstalled, "this node has no LXC; install it"),
        Failed::Said(words) => Report::new(Outcome::GenericError, words),
    }
}

#[async_trait]
impl ResourceAgent for Lxc {
    async fn start(&self, context: &OpContext) -> OpResult {
        if let Some(report) = self.objection() {
            return Ok(report);
        }
        context.limit("start", self.bring_up(context)).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        context.limit("stop", self.shut_down(context)).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        context.limit("monitor", self.look(context, check)).await
    }

    async fn validate(&self, _context: &OpContext) -> OpResult {
        Ok(self.objection().unwrap_or_else(Report::success))
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("container", "its name", None),
            ("path", "the directory of containers", Some("/var/lib/lxc")),
            ("config", "its configuration file", Some("the container's")),
            ("stop_grace", "the time to shut down by itself", Some("30s")),
        ];
        described("lxc", "Runs a system container of LXC", &parameters)
    }
}
