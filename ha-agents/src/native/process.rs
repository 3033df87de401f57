//! A process as a resource.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::agent::{
    AgentError, Check, Metadata, OpContext, OpResult, Parameter, Report, ResourceAgent,
};
use crate::group::Group;
use crate::leftovers;
use crate::native::deaths::{Deaths, Life};
use crate::outcome::Outcome;

/// How often a start asks whether the process serves yet.
const READY_POLL: Duration = Duration::from_millis(10);

type ReadyFuture = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Runs a program as a resource, in a process group of its own.
///
/// - The environment is empty but for `PATH`, what [`env`](Self::env) gives, and what the cluster
///   tells at the start: `HA_RESOURCE`, the name of the resource, and `HA_FENCING_TOKEN`, the meta
///   attribute `fencing-token` if there is one, for the program to show to its storage; and by what
///   it is found again, `HA_NODE` and `HA_SESSION` ([`leftovers`]). Stdin is
///   empty, stdout and stderr are the parent's.
/// - A start returns when the program serves, if [`ready_when`](Self::ready_when) says how to
///   tell; else when it has been executed.
/// - A stop sends SIGTERM to the group at once, after [`stop_grace`](Self::stop_grace) SIGKILL, or
///   earlier, at half of the operation's timeout, so that also a stop in a hurry ends in time; it
///   reaps. When it succeeds, nobody of the group is alive; while a killed member of it still is,
///   as one that waits for a dead disk, it fails, and so does a monitor. A descendant that makes a session of
///   its own (a daemon) escapes: use programs that stay in the foreground.
/// - Dropping the agent kills the group. When this program dies without that, even by SIGKILL, the
///   group is killed by a small process that waits for just that, a `/bin/sh`; it starts right
///   after the program, and where there is no `/bin/sh` a warning is logged and the program would
///   live on.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::Process;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let sleeper = Process::new("sleep").arg("1000");
/// let context = OpContext::new("sleeper".parse().unwrap(), OpId::FIRST);
/// sleeper.start(&context).await?;
/// assert_eq!(sleeper.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// sleeper.stop(&context).await?;
/// assert_eq!(sleeper.monitor(&context, Check::PROBE).await?.outcome, Outcome::NotRunning);
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
pub struct Process {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    stop_grace: Duration,
    ready: Option<Arc<dyn Fn() -> ReadyFuture + Send + Sync>>,
    running: Mutex<Option<Group>>,
    life: Life,
}

impl Process {
    /// Runs `program`, a path or a name on `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        let path = (
            OsString::from("PATH"),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        );
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::from([path]),
            directory: None,
            stop_grace: Duration::from_secs(10),
            ready: None,
            running: Mutex::new(None),
            life: Life::default(),
        }
    }

    /// Adds an argument; no shell looks at it.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.args.push(argument.into());
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets the working directory. Default: the parent's.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets how long the program has to end by itself after SIGTERM. Default: 10 s. Half of the
    /// stop operation's timeout is the most that it gets.
    #[must_use]
    pub const fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Sets how to tell that the program serves; asked every 10 ms during a start, and by every
    /// monitor.
    #[must_use]
    pub fn ready_when<F>(mut self, ready: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.ready = Some(Arc::new(move || Box::pin(ready())));
        self
    }

    /// The process id of the leader, while it is known to run.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn id(&self) -> Option<u32> {
        self.running.lock().await.as_ref().and_then(|group| group.child.id())
    }

    /// The deaths of the process from now on, each once, as they happen: what ended by a
    /// [`stop`](ResourceAgent::stop) is not among them. A process that has ended unseen until now
    /// is.
    #[must_use]
    pub fn deaths(&self) -> Deaths {
        self.life.deaths()
    }

    fn command(&self, context: &OpContext) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.env).stdin(Stdio::null());
        command.env("HA_RESOURCE", context.resource.as_str());
        if let Some(token) = context.meta.get("fencing-token") {
            command.env("HA_FENCING_TOKEN", token);
        }
        leftovers::mark(&mut command, context);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    async fn bring_up(&self, context: &OpContext, running: &mut Option<Group>) -> OpResult {
        if running.as_ref().is_some_and(Group::has_exited)
            && let Err(report) = self.bury(running).await
        {
            return Ok(report);
        }
        if running.is_none() {
            match Group::spawn_guarded(&mut self.command(context)) {
                Ok(group) => {
                    self.life.began(group.exit());
                    *running = Some(group);
                }
                Err(error) => return Ok(refusal(&error)),
            }
        }
        while !self.is_ready().await {
            if running.as_ref().is_none_or(Group::has_exited) {
                return Ok(match self.bury(running).await {
                    Ok(reason) => Report::new(Outcome::GenericError, reason),
                    Err(report) => report,
                });
            }
            if let Err(error) = pause(READY_POLL).await {
                return Ok(Report::new(Outcome::GenericError, error.to_string()));
            }
        }
        Ok(Report::success())
    }

    async fn look(&self, running: &mut Option<Group>) -> OpResult {
        match running {
            None => Ok(Report::new(Outcome::NotRunning, "")),
            Some(group) if group.has_exited() => Ok(match self.bury(running).await {
                Ok(reason) => Report::new(Outcome::NotRunning, reason),
                Err(report) => report,
            }),
            Some(_) if self.is_ready().await => Ok(Report::success()),
            Some(_) => Ok(Report::new(Outcome::GenericError, "it runs but does not serve")),
        }
    }

    /// Reaps a leader that has ended, with what is left of its group; says how it ended.
    ///
    /// The group is kept, and the answer is a failure, as long as a member of it is alive.
    async fn bury(&self, running: &mut Option<Group>) -> Result<String, Report> {
        let Some(group) = running.as_mut() else {
            return Ok(String::new());
        };
        self.life.fell();
        match group.reap().await {
            Ok(status) => {
                *running = None;
                Ok(format!("the process ended: {status}"))
            }
            Err(error) => {
                let reason = format!("the process ended, but not its group: {error}");
                Err(Report::new(Outcome::GenericError, reason))
            }
        }
    }

    async fn is_ready(&self) -> bool {
        match &self.ready {
            Some(ready) => ready().await,
            None => true,
        }
    }
}

/// What the standard calls a program that cannot be executed.
fn refusal(error: &io::Error) -> Report {
    let outcome = if error.kind() == io::ErrorKind::NotFound {
        Outcome::NotInstalled
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Outcome::NoPermission
    } else {
        Outcome::GenericError
    };
    Report::new(outcome, format!("cannot execute it: {error}"))
}

#[async_trait]
impl ResourceAgent for Process {
    async fn start(&self, context: &OpContext) -> OpResult {
        let work = async {
            let mut running = self.running.lock().await;
            self.bring_up(context, &mut running).await
        };
        context.limit("start", work).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        let work = async {
            let mut running = self.running.lock().await;
            let Some(group) = running.as_mut() else {
                return Ok(Report::success());
            };
            self.life.is_stopped();
            let grace = self.stop_grace.min(context.timeout / 2);
            match group.end(grace).await {
                Ok(_) => {
                    *running = None;
                    Ok(Report::success())
                }
                Err(source) => {
                    let resource = context.resource.clone();
                    Err(AgentError::Io { resource, what: "stop", source })
                }
            }
        };
        context.limit("stop", work).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        let work = async {
            let mut running = self.running.lock().await;
            self.look(&mut running).await
        };
        context.limit("monitor", work).await
    }

    async fn death(&self) -> String {
        self.deaths().next().await;
        "the process ended by itself".to_owned()
    }

    fn metadata(&self) -> Metadata {
        let parameter = |name: &str, summary: &str, default: Option<&str>| Parameter {
            name: name.to_owned(),
            summary: summary.to_owned(),
            default: default.map(str::to_owned),
        };
        let metadata = Metadata::new("process", "Runs a program in a process group of its own");
        Metadata {
            parameters: vec![
                parameter("program", "a path, or a name on PATH", None),
                parameter("args", "its arguments, split at blanks outside of quotes", Some("")),
                parameter("directory", "its working directory", Some("")),
                parameter("env.NAME", "a variable of its environment", Some("")),
                parameter("stop_grace", "the time from SIGTERM to SIGKILL", Some("10s")),
            ],
            ..metadata
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the environment: it may have secrets.
        f.debug_struct("Process")
            .field("program", &self.program)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}
