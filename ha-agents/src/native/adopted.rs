//! A process that is not our child: found by its pidfile.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::{Readiness, pause};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::family::{self, Family};
use crate::group::has_ended;

/// The variable by which it is known, with the path of its pidfile.
pub(super) const MARK: &str = "HA_PIDFILE";
/// The longest pidfile.
const MAX_FILE: u64 = 64;
/// How often the last of a killed process's family are looked for.
const LOOKS: u32 = 100;
/// The time between two of these.
const LOOK: Duration = Duration::from_millis(20);

/// A process that was started by an earlier life of this program, or went to the background.
#[derive(Debug)]
pub(super) struct Adopted {
    pid: Pid,
    exit: Arc<Readiness>,
    mark: String,
    /// Its process group and session, where these are its own.
    home: Option<(i32, i32)>,
}

impl Adopted {
    /// The process that the file names, if it runs and is the program: it has the mark that all
    /// inherit which were started by us, or (as some overwrite their environment) its executable
    /// is the program.
    pub(super) fn find(file: &Path, program: &OsStr) -> Option<Self> {
        let pid = read(file)?;
        // Opened before it is looked at: the number cannot go to a stranger after that.
        let exit = pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        let mark = mark(file);
        let (stat, _) = family::stat(pid.as_raw_nonzero().get())?;
        if !stat.is_alive() || !is_it(pid, &mark, program) {
            return None;
        }
        // Led by it, or by one that has gone to make it a daemon; others share theirs with strangers.
        let is_own = stat.group == pid.as_raw_nonzero().get() || family::stat(stat.group).is_none();
        let own = rustix::process::getpgrp().as_raw_nonzero().get();
        let home = (is_own && stat.group != own).then_some((stat.group, stat.session));
        Some(Self { pid, exit: Arc::new(Readiness::new(exit).ok()?), mark, home })
    }

    pub(super) fn exit(&self) -> Arc<Readiness> {
        Arc::clone(&self.exit)
    }

    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks it to end, kills it after `grace`, and then all that inherited its mark.
    ///
    /// It fails with `TimedOut` while one of them is seen alive after 2 s.
    ///
    /// Cancel safe: called again, it begins again.
    pub(super) async fn end(&self, grace: Duration) -> io::Result<()> {
        self.signal(Signal::TERM);
        tokio::select! { biased;
            ended = has_ended(&self.exit) => ended?,
            late = pause(grace) => late?,
        }
        self.bury().await
    }

    /// Kills what is left.
    pub(super) async fn bury(&self) -> io::Result<()> {
        self.signal(Signal::KILL);
        has_ended(&self.exit).await?;
        // Some overwrite their environment, and with it the mark; they are known by their group.
        let Some(home) = self.home else { return end_marked(&self.mark).await };
        for _ in 0..LOOKS {
            if family::kill_home(home).await == Some(0) {
                return end_marked(&self.mark).await;
            }
            pause(LOOK).await?;
        }
        Err(still_alive(&self.mark))
    }

    fn signal(&self, signal: Signal) {
        // An error means that it has ended.
        let _ended = pidfd_send_signal(&*self.exit, signal);
    }
}

/// The mark of all that a process with this pidfile has started.
pub(super) fn mark(file: &Path) -> String {
    format!("{MARK}={}", file.display())
}

/// Kills all that have the mark.
///
/// It fails with `TimedOut` while one of them is seen alive after 2 s.
pub(super) async fn end_marked(mark: &str) -> io::Result<()> {
    let family = Family { leader: 0, mark: mark.to_owned(), all_sessions: true };
    for _ in 0..LOOKS {
        if family.signal_strays(Signal::KILL).await == Some(0) {
            return Ok(());
        }
        pause(LOOK).await?;
    }
    Err(still_alive(mark))
}

fn still_alive(mark: &str) -> io::Error {
    let why = format!(
        "cannot end all that was started with {mark}: some are still alive; look what they wait for"
    );
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Writes the number so that no reader sees half of it.
pub(super) fn write(file: &Path, pid: Pid) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, format!("{}\n", pid.as_raw_nonzero()))?;
    fs::rename(&new, file)
}

fn read(file: &Path) -> Option<Pid> {
    if fs::metadata(file).ok()?.len() > MAX_FILE {
        return None;
    }
    let number: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    // Neither the first process nor a group, nor ourselves.
    let own = std::process::id().cast_signed();
    if number > 1 && number != own { Pid::from_raw(number) } else { None }
}

fn is_it(pid: Pid, mark: &str, program: &OsStr) -> bool {
    let number = pid.as_raw_nonzero();
    let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
    // One that is marked is that of its own pidfile only, whatever it executes.
    let prefix = format!("{MARK}=");
    let mut variables = environment.split(|byte| *byte == 0);
    if let Some(own) = variables.find(|variable| variable.starts_with(prefix.as_bytes())) {
        return own == mark.as_bytes();
    }
    let executable = fs::read_link(format!("/proc/{number}/exe")).ok();
    let name = executable.as_deref().and_then(Path::file_name);
    name.is_some() && name == Path::new(program).file_name()
}
