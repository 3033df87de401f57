//! The processes of a `PostgreSQL` server.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock as _, Instant};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::family;
use crate::native::Process;
use crate::outcome::Outcome;

/// How often a stop looks whether all have ended.
const POLL: Duration = Duration::from_millis(20);

/// A `PostgreSQL` server on a data directory: `pg_ctl` without the program.
///
/// - It runs in the foreground, as the owner of the data directory.
/// - What the file `postmaster.pid` names is the server, whoever started it: a monitor finds it,
///   and a stop stops it.
/// - A stop is a fast shutdown: clients are cut off, and nothing is lost. At half of the
///   operation's time it is told to stop at once, which costs a recovery at the next start. It
///   succeeds when no process of the server is left, also none whose parent was killed.
///
/// ```no_run
/// use ha_agents::native::PostgresServer;
///
/// let server = PostgresServer::new("/var/lib/postgresql/15/main").arg("-p").arg("5433");
/// ```
#[derive(Debug)]
pub struct PostgresServer {
    data: PathBuf,
    process: Process,
}

impl PostgresServer {
    /// The server on a data directory, with the program of its version in
    /// `/usr/lib/postgresql/VERSION/bin`, or else the `postgres` on `PATH`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let data = data.into();
        let version = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default();
        let ours = Path::new("/usr/lib/postgresql").join(version.trim()).join("bin/postgres");
        let program = if ours.exists() { ours } else { PathBuf::from("postgres") };
        Self::by(data, program)
    }

    /// The server on a data directory by another program.
    pub fn by(data: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        let (data, program) = (data.into(), program.into());
        // The server refuses to run as root.
        let owner = fs::metadata(&data).map(|metadata| (metadata.uid(), metadata.gid())).ok();
        let foreign = owner.filter(|(uid, _)| *uid != rustix::process::geteuid().as_raw());
        let process = match foreign {
            Some((uid, gid)) => Process::new("setpriv")
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"))
                .arg("--init-groups")
                .arg("--")
                .arg(program),
            None => Process::new(program),
        };
        let process = process.arg("-D").arg(&data);
        Self { data, process }
    }

    /// Adds an argument, such as `-c` and then `config_file=/etc/…`.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<std::ffi::OsString>) -> Self {
        self.process = self.process.arg(argument);
        self
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    async fn find(&self, context: &OpContext, what: &'static str) -> Result<Found, AgentError> {
        let data = self.data.clone();
        let found = tokio::task::spawn_blocking(move || find(&data)).await;
        found.map_err(io::Error::from).flatten().map_err(|source| AgentError::Io {
            resource: context.resource.clone(),
            what,
            source,
        })
    }

    async fn rest(&self, context: &OpContext) -> Result<(), AgentError> {
        pause(POLL).await.map_err(|source| AgentError::Io {
            resource: context.resource.clone(),
            what: "stop",
            source,
        })
    }

    /// Tells the server to end, until none of its processes is left.
    async fn shut_down(&self, context: &OpContext) -> OpResult {
        let immediately: Instant = BootClock::new().now() + context.timeout / 2;
        let (mut told, mut seen) = (None, BTreeSet::new());
        loop {
            let Found { leader, members } = self.find(context, "stop").await?;
            seen.extend(members.iter().copied());
            if members.is_empty() {
                // At its very end a process has no directory any more.
                seen.retain(|&pid| family::stat(pid).is_some_and(|(stat, _)| stat.is_alive()));
                if seen.is_empty() {
                    break;
                }
            }
            let late = BootClock::new().now() >= immediately;
            let signal = if late { Signal::QUIT } else { Signal::INT };
            // Workers of a leader that was killed see that and end; a stubborn one is killed.
            let orphans = leader.is_none() && late;
            let targets = if orphans { members } else { leader.into_iter().collect() };
            if told != Some((signal, targets.clone())) {
                for &pid in &targets {
                    tell(pid, if orphans { Signal::KILL } else { signal }, &self.data);
                }
                told = Some((signal, targets));
            }
            self.rest(context).await?;
        }
        // Buries our own child, and forgets it.
        self.process.stop(context).await
    }
}

/// The processes of a server.
struct Found {
    /// The one in `postmaster.pid`, if it runs.
    leader: Option<i32>,
    /// All.
    members: Vec<i32>,
}

/// The server's processes have the data directory as their own.
fn find(data: &Path) -> io::Result<Found> {
    let Some(leader) = leader(data)? else {
        let mut members = Vec::new();
        // A directory that is not there has nobody in it.
        let Ok(data) = fs::canonicalize(data) else { return Ok(Found { leader: None, members }) };
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            members.extend(pid.filter(|&pid| is_member(pid, &data)));
        }
        return Ok(Found { leader: None, members });
    };
    Ok(Found { leader: Some(leader), members: vec![leader] })
}

/// The process in the file, if it is a server on this directory.
fn leader(data: &Path) -> io::Result<Option<i32>> {
    let text = match fs::read_to_string(data.join("postmaster.pid")) {
        Ok(text) => text,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    let data = fs::canonicalize(data)?;
    Ok(pid.filter(|&pid| pid > 1 && is_member(pid, &data)))
}

fn is_member(pid: i32, data: &Path) -> bool {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    // The dead have no directory; it goes after the open files.
    if !fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd == data) {
        return false;
    }
    match fs::read_link(folder.join("exe")) {
        Ok(exe) => {
            exe.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres"))
        }
        // One that is about to end.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn tell(pid: i32, signal: Signal, data: &Path) {
    let Some(id) = Pid::from_raw(pid) else { return };
    let Ok(fd) = pidfd_open(id, PidfdFlags::empty()) else { return };
    // Looked at again with the descriptor open: the number cannot have gone to a stranger.
    if fs::canonicalize(data).is_ok_and(|data| is_member(pid, &data)) {
        // An error means that it has just ended.
        let _gone = pidfd_send_signal(&fd, signal);
    }
}

#[async_trait]
impl ResourceAgent for PostgresServer {
    async fn start(&self, context: &OpContext) -> OpResult {
        let work = async {
            let found = self.find(context, "start").await?;
            if found.leader.is_some() {
                return Ok(Report::success());
            }
            if !found.members.is_empty() {
                let reason = "processes of a server that was killed are left; stop it first";
                return Ok(Report::new(Outcome::GenericError, reason));
            }
            if !self.data.join("PG_VERSION").exists() {
                let data = self.data.display();
                let reason =
                    format!("{data} is no data directory; make it with initdb, or mount it");
                return Ok(Report::new(Outcome::NotInstalled, reason));
            }
            self.process.start(context).await
        };
        context.limit("start", work).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        context.limit("stop", self.shut_down(context)).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        let work = async {
            // Ours may not have written its file yet, and its end is known with its reason.
            let report = self.process.monitor(context, check).await?;
            if report.outcome != Outcome::NotRunning {
                return Ok(report);
            }
            let data = self.data.clone();
            let found = tokio::task::spawn_blocking(move || leader(&data)).await;
            let found = found.map_err(io::Error::from).flatten();
            let found = found.map_err(|source| AgentError::Io {
                resource: context.resource.clone(),
                what: "monitor",
                source,
            })?;
            Ok(if found.is_some() { Report::success() } else { report })
        };
        context.limit("monitor", work).await
    }

    async fn death(&self) -> String {
        self.process.death().await
    }

    fn metadata(&self) -> Metadata {
        Metadata::new("postgres-server", "Runs a PostgreSQL server")
    }
}
