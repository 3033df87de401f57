//! One run of a command, and what it says.

use std::collections::BTreeMap;
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
use tokio::task::JoinHandle;

/// So much of what a command says is kept; the rest is read and thrown away.
const MOST: usize = 64 * 1024;

/// Which of its streams is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    Output,
    Errors,
}

/// A command that is being started.
pub(super) struct Run(JoinHandle<io::Result<Started>>);

/// A command that has just been started.
struct Started {
    group: Group,
    exit: OwnedFd,
    said: OwnedFd,
}

impl Run {
    /// Starts a command; a file system that hangs must not hang the runtime.
    pub(super) fn start(
        argv: Vec<String>,
        environment: BTreeMap<String, String>,
        stream: Stream,
    ) -> Self {
        Self(tokio::task::spawn_blocking(move || start(&argv, &environment, stream)))
    }

    /// Waits for its end and tells what it said; `None`: it took longer than `limit` and was
    /// killed. So it is when the future is dropped.
    pub(super) async fn within(self, limit: Duration) -> io::Result<Option<(ExitStatus, String)>> {
        let alarm = Alarm::new()?;
        let end = BootClock::new().now() + limit;
        let run = async {
            let started = self.0.await.map_err(io::Error::other).flatten()?;
            end_of(started).await
        };
        tokio::select! { biased;
            ended = run => ended.map(Some),
            late = alarm.until(Some(end)) => late.map(|()| None),
        }
    }
}

fn start(
    argv: &[String],
    environment: &BTreeMap<String, String>,
    stream: Stream,
) -> io::Result<Started> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (said, theirs) = UnixStream::pair()?;
    said.set_nonblocking(true)?;
    let theirs = Stdio::from(OwnedFd::from(theirs));
    let (output, errors) = match stream {
        Stream::Output => (theirs, Stdio::null()),
        Stream::Errors => (Stdio::null(), theirs),
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0);
    let group = Group(Some(command.spawn()?));
    let exit = pidfd_open(group.leader()?, PidfdFlags::NONBLOCK)?;
    Ok(Started { group, exit, said: said.into() })
}

async fn end_of(started: Started) -> io::Result<(ExitStatus, String)> {
    let Started { mut group, exit, said } = started;
    let (exit, said) = (Readiness::new(exit)?, Readiness::new(said)?);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let (mut text, mut buffer, mut open) = (Vec::new(), [0; 4096], true);
    loop {
        tokio::select! { biased;
            read = said.read(|fd| Ok(rustix::io::read(fd, &mut buffer)?)), if open => {
                let len = read?;
                open = len > 0;
                let room = MOST.saturating_sub(text.len()).min(len);
                text.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            exited = exit.read(|fd| match waitid(WaitId::PidFd(fd), options)? {
                Some(_) => Ok(()),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }) => {
                exited?;
                break;
            }
        }
    }
    // What it said before its end is there already; a process that has left the group and keeps
    // the stream open must not keep this waiting.
    while open && text.len() < MOST {
        let len = rustix::io::read(&said, &mut buffer).unwrap_or_default();
        text.extend_from_slice(buffer.get(..len).unwrap_or_default());
        open = len > 0;
    }
    // The leader is not reaped yet, so the group's number is still its own.
    group.kill();
    let status = group.0.as_mut().map(Child::try_wait).transpose()?.flatten();
    let status = status.ok_or(io::ErrorKind::NotFound)?;
    group.0 = None;
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// The leader, not yet reaped. Dropping it kills the group.
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
        // It is killed but not dead yet; a drop must not wait for that, and no zombie is to stay.
        let reap = move || drop(child.wait());
        let _a_zombie_stays_without_threads = std::thread::Builder::new().spawn(reap);
    }
}
