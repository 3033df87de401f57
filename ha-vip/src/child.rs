//! Commands in process groups of their own: checks, address commands, notifications.
//!
//! No shell, a clean environment, killed with the whole group when it takes too long or nobody
//! waits for it any more; what it says is kept up to a bound.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ha_core::driver::{Alarm, Readiness};
use ha_core::time::{BootClock, Clock};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

/// So much of what a command says is kept; the rest is read and thrown away.
const MOST: usize = 64 * 1024;

/// Where programs without a path are looked for.
pub(crate) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// User and group; `None`: those of this program.
    pub(crate) user: Option<(u32, u32)>,
}

impl Spec {
    pub(crate) fn new(program: OsString) -> Self {
        let environment = BTreeMap::from([("PATH".into(), PATH.into())]);
        Self { program, args: Vec::new(), environment, user: None }
    }

    /// All strings that the kernel is given: none may hold a NUL byte.
    pub(crate) fn strings(&self) -> impl Iterator<Item = &OsString> {
        let environment = self.environment.iter().flat_map(|(key, value)| [key, value]);
        std::iter::once(&self.program).chain(&self.args).chain(environment)
    }

    /// Runs it to its end and tells what it said; `None`: it took longer than `limit` and was
    /// killed. So it is when the future is dropped.
    pub(crate) async fn run_within(
        self,
        stream: Stream,
        limit: Duration,
    ) -> io::Result<Option<(ExitStatus, String)>> {
        let alarm = Alarm::new()?;
        let end = BootClock::new().now() + limit;
        let run = async {
            // A file system that hangs must not hang the runtime.
            let starting = tokio::task::spawn_blocking(move || Started::start(&self, stream));
            let mut run = Run::new(starting.await.map_err(io::Error::other).flatten()?)?;
            let status = run.exited().await?;
            Ok((status, run.said()))
        };
        tokio::select! { biased;
            ended = run => ended.map(Some),
            late = alarm.until(Some(end)) => late.map(|()| None),
        }
    }
}

/// Which of its streams is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Nothing,
    Output,
    Errors,
}

/// A command that has just been started. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Started {
    group: Group,
    exit: OwnedFd,
    said: Option<OwnedFd>,
}

impl Started {
    /// Starts the command; may block on the file system.
    pub(crate) fn start(spec: &Spec, stream: Stream) -> io::Result<Self> {
        let (said, theirs) = match stream {
            Stream::Nothing => (None, Stdio::null()),
            Stream::Output | Stream::Errors => {
                let (said, theirs) = UnixStream::pair()?;
                said.set_nonblocking(true)?;
                (Some(said.into()), OwnedFd::from(theirs).into())
            }
        };
        let (output, errors) = match stream {
            Stream::Output => (theirs, Stdio::null()),
            Stream::Nothing | Stream::Errors => (Stdio::null(), theirs),
        };
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .env_clear()
            .envs(&spec.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        if let Some((user, group)) = spec.user {
            // As root this drops the other groups as well.
            command.uid(user).gid(group);
        }
        let group = Group(Some(command.spawn()?));
        let exit = pidfd_open(group.leader()?, PidfdFlags::NONBLOCK)?;
        Ok(Self { group, exit, said })
    }
}

/// A command that runs. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Run {
    group: Group,
    exit: Readiness,
    said: Option<Readiness>,
    text: Vec<u8>,
}

impl Run {
    pub(crate) fn new(started: Started) -> io::Result<Self> {
        let said = started.said.map(Readiness::new).transpose()?;
        Ok(Self { exit: Readiness::new(started.exit)?, group: started.group, said, text: vec![] })
    }

    /// Waits for the leader to exit and kills what is left of its group. Cancel safe.
    pub(crate) async fn exited(&mut self) -> io::Result<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let mut buffer = [0; 4096];
        loop {
            let more = tokio::select! { biased;
                more = read(self.said.as_ref(), &mut buffer), if self.said.is_some() => more?,
                exited = self.exit.read(|fd| match waitid(WaitId::PidFd(fd), options)? {
                    Some(_) => Ok(()),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                }) => {
                    exited?;
                    break;
                }
            };
            self.keep(buffer.get(..more).unwrap_or_default());
        }
        // What it said before its end is there already; a process that has left the group and
        // keeps the stream open must not keep this waiting.
        while let Some(said) = self.said.as_ref().filter(|_| self.text.len() < MOST) {
            let more = rustix::io::read(said, &mut buffer).unwrap_or_default();
            self.keep(buffer.get(..more).unwrap_or_default());
        }
        // The leader is not reaped yet, so the group's number is still its own.
        self.kill();
        let status = self.group.0.as_mut().map(Child::try_wait).transpose()?.flatten();
        let status = status.ok_or(io::ErrorKind::NotFound)?;
        self.group.0 = None;
        Ok(status)
    }

    /// Nothing more is the end.
    fn keep(&mut self, more: &[u8]) {
        if more.is_empty() {
            self.said = None;
        }
        let room = MOST.saturating_sub(self.text.len()).min(more.len());
        self.text.extend_from_slice(more.get(..room).unwrap_or_default());
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    pub(crate) fn kill(&self) {
        self.group.kill();
    }
}

async fn read(said: Option<&Readiness>, buffer: &mut [u8]) -> io::Result<usize> {
    match said {
        Some(said) => said.read(|fd| Ok(rustix::io::read(fd, &mut *buffer)?)).await,
        None => std::future::pending().await,
    }
}

/// The leader, not yet reaped.
#[derive(Debug)]
struct Group(Option<Child>);

impl Group {
    fn leader(&self) -> io::Result<Pid> {
        let id = self.0.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        id.and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn kill(&self) {
        if let Ok(leader) = self.leader() {
            // An error means that nobody is left in it.
            let _nobody_left = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let Some(mut child) = self.0.take() else {
            return;
        };
        if let Ok(Some(_reaped)) = child.try_wait() {
            return;
        }
        // It is killed but not dead yet; a drop must not wait for that, and no zombie is to stay.
        let reap = move || drop(child.wait());
        let _a_zombie_stays_without_threads = std::thread::Builder::new().spawn(reap);
    }
}
