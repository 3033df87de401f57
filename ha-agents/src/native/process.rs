//! A process as a resource.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::agent::{
    AgentError, Check, Metadata, OpContext, OpResult, Parameter, Report, ResourceAgent,
};
use crate::diagnose::last_lines;
use crate::group::Group;
use crate::leftovers;
use crate::native::adopted::{self, Adopted};
use crate::native::deaths::{Deaths, Life};
use crate::native::held::Held;
use crate::native::ready::{Awaited, Ready};
use crate::outcome::Outcome;

/// How often a start asks whether the process serves yet.
const READY_POLL: Duration = Duration::from_millis(10);

/// How much of the end of a log is read for the reason of a death.
const LOG_TAIL: u64 = 4 * 1024;

/// Runs a program as a resource, in a process group of its own.
///
/// - The environment is empty but for `PATH`, what [`env`](Self::env) gives, and what the cluster
///   tells at the start: `HA_RESOURCE`, the name of the resource, and `HA_FENCING_TOKEN`, the meta
///   attribute `fencing-token` if there is one, for the program to show to its storage; and by what
///   it is found again, `HA_NODE` and `HA_SESSION` ([`leftovers`]). Stdin is
///   empty, stdout and stderr are the parent's.
/// - A start returns when the program serves, if [`ready_when`](Self::ready_when),
///   [`ready_on_notify`](Self::ready_on_notify), [`ready_on_port`](Self::ready_on_port) or
///   [`ready_on_line`](Self::ready_on_line) says how to tell (the last one given holds); else when
///   it has been executed.
/// - A stop sends SIGTERM to the group at once, after [`stop_grace`](Self::stop_grace) SIGKILL, or
///   earlier, at half of the operation's timeout, so that also a stop in a hurry ends in time; it
///   reaps. When it succeeds, nobody of the group is alive; while a killed member of it still is,
///   as one that waits for a dead disk, it fails, and so does a monitor. A descendant that makes a session of
///   its own (a daemon) escapes: use programs that stay in the foreground.
/// - With a [`pidfile`](Self::pidfile) or as a [`daemon`](Self::daemon) it outlives this program, and
///   is adopted by the next that is given the same file. Otherwise:
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
    ready: Ready,
    log: Option<PathBuf>,
    pidfile: Option<Pidfile>,
    running: Mutex<Option<Held>>,
    life: Life,
}

/// By what it is found again.
#[derive(Debug)]
struct Pidfile {
    path: PathBuf,
    /// Whether the program goes to the background and writes it.
    daemon: bool,
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
            ready: Ready::Executed,
            log: None,
            pidfile: None,
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
        self.ready = Ready::Asked(Arc::new(move || Box::pin(ready())));
        self
    }

    /// It serves when it has said so by `sd_notify(3)`: `READY=1` on the socket that its environment
    /// names as `NOTIFY_SOCKET`. Messages of others than its process group are not taken. What it
    /// says as `STATUS=` is in the reason of a start that fails.
    #[must_use]
    pub fn ready_on_notify(mut self) -> Self {
        self.ready = Ready::Notified;
        self
    }

    /// It serves when it takes connections on a TCP port; every monitor looks again.
    #[must_use]
    pub fn ready_on_port(mut self, address: SocketAddr) -> Self {
        self.ready = Ready::Port(address);
        self
    }

    /// It serves when `text` has come in what it says; its output goes to the file, as with
    /// [`log`](Self::log).
    #[must_use]
    pub fn ready_on_line(mut self, log: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let log = log.into();
        self.ready = Ready::Line { log: log.clone(), text: text.into() };
        self.log(log)
    }

    /// Appends its standard output and error to a file, which is made if it is not there; its last
    /// line is in the reason when the process has died. Default: they are the parent's. The file is
    /// not rotated: use a program that does it for what talks much.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// Lets the process outlive this program, and writes its number to the file. A start, monitor or
    /// stop that knows of no process looks there first: a process that was started with the same
    /// pidfile (its environment has it as `HA_PIDFILE`), or whose executable has the name of the
    /// program, is adopted. The death of one that is adopted is told like any other, but not how it
    /// ended. A stop ends it and then all that have inherited its environment.
    ///
    /// [`leftovers`](crate::leftovers) does not touch it.
    #[must_use]
    pub fn pidfile(mut self, file: impl Into<PathBuf>) -> Self {
        self.pidfile = Some(Pidfile { path: file.into(), daemon: false });
        self
    }

    /// The same for a program that goes to the background by itself, and writes the number of the
    /// process that stays to the file: a start adopts that one.
    #[must_use]
    pub fn daemon(mut self, pidfile: impl Into<PathBuf>) -> Self {
        self.pidfile = Some(Pidfile { path: pidfile.into(), daemon: true });
        self
    }

    /// The process id of the leader, while it is known to run.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn id(&self) -> Option<u32> {
        let running = self.running.lock().await;
        running.as_ref().map(|held| held.pid().as_raw_nonzero().get().unsigned_abs())
    }

    /// The deaths of the process from now on, each once, as they happen: what ended by a
    /// [`stop`](ResourceAgent::stop) is not among them. A process that has ended unseen until now
    /// is.
    #[must_use]
    pub fn deaths(&self) -> Deaths {
        self.life.deaths()
    }

    fn command(&self, context: &OpContext) -> io::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().envs(&self.env).stdin(Stdio::null());
        command.env("HA_RESOURCE", context.resource.as_str());
        if let Some(token) = context.meta.get("fencing-token") {
            command.env("HA_FENCING_TOKEN", token);
        }
        match &self.pidfile {
            Some(pidfile) => {
                command.env(adopted::MARK, &pidfile.path);
            }
            None => leftovers::mark(&mut command, context),
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(log) = &self.log {
            let log = OpenOptions::new().create(true).append(true).open(log)?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        Ok(command)
    }

    /// Starts the process, or adopts one that runs.
    fn begin(&self, context: &OpContext) -> io::Result<Held> {
        if let Some(held) = self.find() {
            return Ok(held);
        }
        let mut command = self.command(context)?;
        let awaited = self.ready.prepare(&mut command)?;
        let group = match &self.pidfile {
            None => Group::spawn_guarded(&mut command)?,
            Some(Pidfile { path, daemon }) => {
                if *daemon {
                    // One of an earlier life, which does not run, must not be taken for the new one.
                    let _not_there = std::fs::remove_file(path);
                }
                let group = Group::spawn_lasting(&mut command)?;
                if !*daemon && let Err(error) = adopted::write(path, group.leader()) {
                    // Nobody would find it again.
                    group.signal(Signal::KILL);
                    let why = format!("cannot write its pidfile {}: {error}", path.display());
                    return Err(io::Error::other(why));
                }
                group
            }
        };
        Ok(Held::child(group, awaited))
    }

    /// The process that the pidfile names, if it runs.
    fn find(&self) -> Option<Held> {
        let pidfile = self.pidfile.as_ref()?;
        Adopted::find(&pidfile.path, &self.program).map(Held::adopted)
    }

    /// Looks for a process that an earlier life has left, if none is known.
    fn look_around(&self, running: &mut Option<Held>) {
        // A start whose time was up may have left one in the background.
        let in_place = running.as_ref().is_some_and(|held| !self.is_daemon() || held.is_adopted());
        if !in_place && let Some(held) = self.find() {
            self.life.began(held.exit());
            *running = Some(held);
        }
    }

    async fn bring_up(&self, context: &OpContext, running: &mut Option<Held>) -> OpResult {
        self.look_around(running);
        if running.as_ref().is_some_and(Held::has_exited)
            && let Err(report) = self.bury(running).await
        {
            return Ok(report);
        }
        if running.is_none() {
            match self.begin(context) {
                Ok(held) => {
                    if !self.is_daemon() || held.is_adopted() {
                        self.life.began(held.exit());
                    }
                    *running = Some(held);
                }
                Err(error) => return Ok(refusal(&error)),
            }
        }
        while !self.serves(running).await {
            if running.as_ref().is_none_or(Held::has_exited) {
                match self.background(running).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return Ok(refusal(&error)),
                }
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

    fn is_daemon(&self) -> bool {
        self.pidfile.as_ref().is_some_and(|pidfile| pidfile.daemon)
    }

    /// The leader has ended during a start: adopts the process that it has left in the background,
    /// if it was to; waits for its pidfile.
    async fn background(&self, running: &mut Option<Held>) -> io::Result<bool> {
        let Some(held) = running.as_mut().filter(|_| self.is_daemon()) else { return Ok(false) };
        if !held.release().await? {
            return Ok(false);
        }
        loop {
            if let Some(mut daemon) = self.find() {
                self.life.began(daemon.exit());
                daemon.awaited = std::mem::replace(&mut held.awaited, Awaited::Nothing);
                *running = Some(daemon);
                return Ok(true);
            }
            pause(READY_POLL).await?;
        }
    }

    async fn look(&self, running: &mut Option<Held>) -> OpResult {
        self.look_around(running);
        let Some(exited) = running.as_ref().map(Held::has_exited) else {
            return Ok(Report::new(Outcome::NotRunning, ""));
        };
        if exited {
            return Ok(match self.bury(running).await {
                Ok(reason) => Report::new(Outcome::NotRunning, reason),
                Err(report) => report,
            });
        }
        if self.serves(running).await {
            return Ok(Report::success());
        }
        let status = running.as_ref().map(|held| held.awaited.status()).unwrap_or_default();
        let colon = if status.is_empty() { "" } else { "; it says: " };
        let reason = format!("it runs but does not serve{colon}{status}");
        Ok(Report::new(Outcome::GenericError, reason))
    }

    /// Reaps a leader that has ended, with what is left of its group; says how it ended.
    ///
    /// The group is kept, and the answer is a failure, as long as a member of it is alive.
    async fn bury(&self, running: &mut Option<Held>) -> Result<String, Report> {
        let Some(held) = running.as_mut() else {
            return Ok(String::new());
        };
        self.life.fell();
        let reaped = match held.reap().await {
            Ok(status) => self.end_background().await.map(|()| status),
            Err(error) => Err(error),
        };
        match reaped {
            Ok(status) => {
                *running = None;
                Ok(format!("the process ended: {status}{}", self.last_words()))
            }
            Err(error) => {
                let reason = format!("the process ended, but not its group: {error}");
                Err(Report::new(Outcome::GenericError, reason))
            }
        }
    }

    /// Kills what a program that goes to the background has left there: also one that its pidfile
    /// does not name yet.
    async fn end_background(&self) -> io::Result<()> {
        match self.pidfile.as_ref().filter(|pidfile| pidfile.daemon) {
            Some(pidfile) => adopted::end_marked(&adopted::mark(&pidfile.path)).await,
            None => Ok(()),
        }
    }

    /// Whether it serves. A program that goes to the background does not before it has.
    async fn serves(&self, running: &mut Option<Held>) -> bool {
        let Some(held) = running.as_mut() else { return false };
        let in_place = !self.is_daemon() || held.is_adopted();
        let leader = held.pid().as_raw_nonzero().get();
        in_place && held.awaited.has_come(leader) && self.ready.ask().await
    }

    /// The last line of its log, as a part of a sentence.
    fn last_words(&self) -> String {
        let last = self.log.as_deref().and_then(|log| tail(log).ok());
        let last = last
            .and_then(|text| last_lines(&text).into_iter().rfind(|line| !line.trim().is_empty()));
        let words = |line: String| {
            let line: String = line.trim().chars().take(200).collect();
            format!("; it last said {line:?}")
        };
        last.map(words).unwrap_or_default()
    }
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
    let mut text = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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
    Report::new(outcome, format!("cannot start it: {error}"))
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
            self.look_around(&mut running);
            let Some(held) = running.as_mut() else {
                return Ok(Report::success());
            };
            self.life.is_stopped();
            let grace = self.stop_grace.min(context.timeout / 2);
            let ended = match held.end(grace).await {
                Ok(_) => self.end_background().await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => {
                    if let Some(pidfile) = &self.pidfile {
                        // A daemon may have removed it itself.
                        let _not_there = std::fs::remove_file(&pidfile.path);
                    }
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
                parameter("log", "a file to which its output is appended", Some("")),
                parameter("ready", "notify, port IP:PORT or line TEXT", Some("")),
                parameter("pidfile", "lets it outlive its manager, which adopts it", Some("")),
                parameter("daemon", "whether it writes the pidfile itself", Some("false")),
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
