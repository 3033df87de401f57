//! Units of systemd as resource agents.

mod bus;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;

use self::bus::{Bus, Job, Manager, State};
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::lsb::refuse_parameters;
use crate::outcome::Outcome;

/// The suffixes of units that can be started and stopped.
const SUFFIXES: [&str; 8] =
    [".service", ".socket", ".timer", ".path", ".mount", ".automount", ".target", ".slice"];
/// The longest name of a unit, as of systemd.
const MAX_NAME: usize = 255;
/// The drop-in's name; late, so that the unit's own do not override it.
const DROP_IN: &str = "99-ha-agents.conf";
/// What is in it: whoever restarts a unit behind a cluster's back runs it twice.
const RESTART_NO: &str = "# The cluster restarts it, maybe elsewhere.\n[Service]\nRestart=no\n";
/// Marks that systemd has not read its files again since the drop-in was changed.
const UNREAD: &str = "99-ha-agents.unread";
/// The shortest and longest time between two looks at a unit that is on its way.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A unit of systemd as a resource agent.
///
/// - A start or stop asks systemd for a job and waits for its end (the signal `JobRemoved`); the
///   answer is a success only if the unit is then in the state that was asked for.
/// - When the time is up the job goes on in systemd, so the effect is unknown; a later stop
///   replaces it.
/// - Before the first start of a service a drop-in in `/run` says `Restart=no`, as systemd and the
///   cluster must not both restart it, and systemd reads its files again (`daemon-reload`). That is
///   done once in the life of the machine, not with every operation as of Pacemaker; a reading that
///   failed, or was not waited for, is repeated at the next start (a file beside the drop-in says
///   so). The drop-in stays when the service is stopped; [`release`](Self::release) takes it away.
///   [`keep_restart`](Self::keep_restart) leaves the service as it is.
/// - A unit that is starting, stopping or reloading is pending: a monitor waits until it is not,
///   and gets no answer if that takes too long.
/// - [`death`](ResourceAgent::death) tells at once when the unit fails or stops by itself.
///
/// | `LoadState`, `ActiveState` | outcome |
/// |---|---|
/// | `not-found`, `masked`, `bad-setting`, `error` | not installed; a stop succeeds |
/// | `active` | running |
/// | `inactive`, `failed` | not running, with systemd's result as the reason |
/// | `failed`, with processes | error, and a stop fails: they have outlived SIGKILL |
/// | `activating`, `deactivating`, `reloading`, `refreshing` | pending |
/// | `maintenance` | error |
///
/// There are no parameters; the unit's file has them.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::systemd::Unit;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let nginx = Unit::new("nginx")?;
/// let context = OpContext::new("web".parse()?, OpId::FIRST);
/// nginx.start(&context).await?;
/// assert_eq!(nginx.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// # Ok(()) }
/// ```
///
/// # Source
///
/// org.freedesktop.systemd1(5), the D-Bus interface of systemd.
#[derive(Debug)]
pub struct Unit {
    name: String,
    bus: Bus,
    runtime: PathBuf,
    keeps_restart: bool,
    is_started: AtomicBool,
}

/// The name is not that of a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot use systemd unit {name:?}: a name has letters, digits and ':-_.\\@', at most 255, and one of the suffixes {}; correct it", SUFFIXES.join(" ")
)]
#[non_exhaustive]
pub struct UnitNameError {
    /// The name, cut.
    pub name: String,
}

impl Unit {
    /// A unit of the system's manager; without a suffix it is a service.
    ///
    /// # Errors
    ///
    /// [`UnitNameError`].
    pub fn new(name: &str) -> Result<Self, UnitNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let has_suffix = SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
        let full = if has_suffix { name.to_owned() } else { format!("{name}.service") };
        let stem = full.rsplit_once('.').map_or("", |(stem, _)| stem);
        if stem.is_empty() || full.len() > MAX_NAME || !full.chars().all(allowed) {
            return Err(UnitNameError { name: name.chars().take(80).collect() });
        }
        Ok(Self {
            name: full,
            bus: Bus::system(),
            runtime: PathBuf::from("/run/systemd/system"),
            keeps_restart: false,
            is_started: AtomicBool::new(false),
        })
    }

    /// Talks to the systemd at another D-Bus address. Default: the system's bus.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.bus = Bus::at(address.into());
        self
    }

    /// Where drop-ins for the life of the machine go. Default: `/run/systemd/system`.
    #[must_use]
    pub fn runtime_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.runtime = directory.into();
        self
    }

    /// Leaves the service's own `Restart=` as it is.
    #[must_use]
    pub const fn keep_restart(mut self) -> Self {
        self.keeps_restart = true;
        self
    }

    /// Its name, with suffix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the service back to systemd: its own `Restart=` holds again.
    ///
    /// # Errors
    ///
    /// The drop-in cannot be removed, or systemd cannot be asked to read its files again.
    ///
    /// # Cancel safety
    ///
    /// Call it again after a drop.
    pub async fn release(&self) -> io::Result<()> {
        let drop_in = self.drop_in();
        if drop_in.exists() {
            fs::write(self.unread(), "")?;
            fs::remove_file(drop_in)?;
        }
        if self.unread().exists() {
            let manager = self.bus.manager().await.map_err(io::Error::other)?;
            self.read_again(&manager).await.map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn drop_in(&self) -> PathBuf {
        self.runtime.join(format!("{}.d", self.name)).join(DROP_IN)
    }

    fn unread(&self) -> PathBuf {
        self.drop_in().with_file_name(UNREAD)
    }

    /// Lets systemd read its files again; until that is done, the mark says that it is not.
    async fn read_again(&self, manager: &Manager) -> zbus::Result<()> {
        manager.reload().await?;
        // One that stays costs another reading.
        fs::remove_file(self.unread()).unwrap_or_default();
        Ok(())
    }

    /// Sees to it that systemd does not restart it; whether systemd must read its files for that.
    fn take(&self) -> io::Result<bool> {
        let path = self.drop_in();
        if self.keeps_restart || !is_service(&self.name) {
            return Ok(false);
        }
        if fs::read(&path).is_ok_and(|text| text == RESTART_NO.as_bytes()) {
            return Ok(self.unread().exists());
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        fs::write(self.unread(), "")?;
        let made = directory.join(format!(".{DROP_IN}-{}", std::process::id()));
        fs::write(&made, RESTART_NO)?;
        fs::rename(&made, &path)?;
        Ok(true)
    }

    async fn run(&self, job: Job, context: &OpContext) -> OpResult {
        let manager = match self.bus.manager().await {
            Ok(manager) => manager,
            Err(error) => return failed(&error, job, context),
        };
        if job == Job::Start {
            match self.take() {
                Ok(false) => {}
                Ok(true) => {
                    if let Err(error) = self.read_again(&manager).await {
                        return failed(&error, job, context);
                    }
                }
                Err(source) => {
                    let resource = context.resource.clone();
                    return Err(AgentError::Io { resource, what: "start", source });
                }
            }
        }
        let ended = match manager.run(job, &self.name).await {
            Ok(ended) => ended,
            Err(error) => return failed(&error, job, context),
        };
        let state = match manager.state(&self.name).await {
            Ok(state) => state,
            Err(error) => return failed(&error, job, context),
        };
        let left = match manager.leftovers(&self.name, &state).await {
            Ok(left) => left,
            Err(error) => return failed(&error, job, context),
        };
        let is_so = match job {
            Job::Start => state.outcome() == Some(Outcome::Success),
            // One that was not reloaded still runs.
            Job::Reload => state.outcome() == Some(Outcome::Success) && ended == "done",
            Job::Stop => state.is_stopped() && left.is_empty(),
        };
        if is_so {
            return Ok(Report::success());
        }
        let left = told(&left);
        let why = format!("systemd's job ended as {ended}, and {} is {state}{left}", self.name);
        Ok(Report::new(Outcome::GenericError, why))
    }

    /// The state when it is no longer on its way.
    async fn settled(&self, context: &OpContext) -> OpResult {
        let io =
            |source| AgentError::Io { resource: context.resource.clone(), what: "monitor", source };
        let mut wait = POLL.0;
        loop {
            let manager = self.bus.manager().await.map_err(|error| io(io::Error::other(error)))?;
            let state = manager.state(&self.name).await;
            let state = state.map_err(|error| io(io::Error::other(error)))?;
            let left = manager.leftovers(&self.name, &state).await;
            let left = left.map_err(|error| io(io::Error::other(error)))?;
            if !left.is_empty() {
                let reason = format!("{state}{}", told(&left));
                return Ok(Report::new(Outcome::GenericError, reason));
            }
            if let Some(outcome) = state.outcome() {
                let fine = matches!(outcome, Outcome::Success);
                let reason = if fine { String::new() } else { state.to_string() };
                return Ok(Report::new(outcome, reason));
            }
            pause(wait).await.map_err(io)?;
            wait = (wait * 2).min(POLL.1);
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "systemd:{}", self.name)
    }
}

/// What is left of a unit, as the end of a sentence.
fn told(pids: &[u32]) -> String {
    if pids.is_empty() {
        return String::new();
    }
    let some: Vec<String> = pids.iter().take(8).map(u32::to_string).collect();
    format!("; {} processes of it are left, such as {}", pids.len(), some.join(", "))
}

/// Whether the unit has a `Restart=`.
fn is_service(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|suffix| suffix == "service")
}

/// What an error of systemd says of the resource.
fn failed(error: &zbus::Error, job: Job, context: &OpContext) -> OpResult {
    let words = error.to_string();
    let outcome = match bus::error_name(error) {
        // Nothing can run of a unit that there is not.
        Some("org.freedesktop.systemd1.NoSuchUnit" | "org.freedesktop.systemd1.LoadFailed")
            if job == Job::Stop =>
        {
            return Ok(Report::new(Outcome::Success, words));
        }
        Some(
            "org.freedesktop.systemd1.NoSuchUnit"
            | "org.freedesktop.systemd1.LoadFailed"
            | "org.freedesktop.systemd1.UnitMasked"
            | "org.freedesktop.systemd1.BadUnitSetting",
        ) => Outcome::NotInstalled,
        Some(
            bus::ACCESS_DENIED | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
        ) => Outcome::NoPermission,
        Some(name) if name.starts_with("org.freedesktop.systemd1.") => Outcome::GenericError,
        Some(_) | None => {
            let (resource, what) = (context.resource.clone(), job.what());
            return Err(AgentError::Io { resource, what, source: io::Error::other(words) });
        }
    };
    Ok(Report::new(outcome, words))
}

#[async_trait]
impl ResourceAgent for Unit {
    async fn start(&self, context: &OpContext) -> OpResult {
        if let Some(refused) = refuse_parameters(&context.parameters) {
            return Ok(refused);
        }
        let report = context.limit("start", self.run(Job::Start, context)).await?;
        self.is_started.store(report.outcome == Outcome::Success, Ordering::Relaxed);
        Ok(report)
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.is_started.store(false, Ordering::Relaxed);
        context.limit("stop", self.run(Job::Stop, context)).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        context.limit("monitor", self.settled(context)).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        if let Some(refused) = refuse_parameters(&context.parameters) {
            return Ok(refused);
        }
        let report = self.monitor(context, Check::PROBE).await?;
        Ok(match report.outcome {
            Outcome::NotInstalled => report,
            Outcome::Success
            | Outcome::GenericError
            | Outcome::InvalidArguments
            | Outcome::Unimplemented
            | Outcome::NoPermission
            | Outcome::NotConfigured
            | Outcome::NotRunning
            | Outcome::RunningPromoted
            | Outcome::FailedPromoted
            | Outcome::Degraded
            | Outcome::DegradedPromoted => Report::success(),
        })
    }

    async fn reload(&self, context: &OpContext) -> OpResult {
        context.limit("reload", self.run(Job::Reload, context)).await
    }

    async fn death(&self) -> String {
        if self.is_started.load(Ordering::Relaxed)
            && let Ok(manager) = self.bus.manager().await
            && let Ok(State { active, result, .. }) = manager.end(&self.name).await
        {
            return format!("systemd says that {} is {active} ({result})", self.name);
        }
        // It cannot be known; the monitor will tell.
        std::future::pending().await
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(self.to_string(), "a unit of systemd")
    }
}
