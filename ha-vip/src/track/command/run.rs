//! One run of a command, in a process group of its own.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use ha_core::driver::Readiness;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};

use super::CommandBuilder;

/// A command that has just been started. Dropping it kills its group.
#[derive(Debug)]
pub(super) struct Started {
    group: Group,
    exit: OwnedFd,
}

impl Started {
    /// Starts the command; may block on the file system.
    pub(super) fn start(config: &CommandBuilder) -> io::Result<Self> {
        let mut command = Command::new(&config.program);
        command
            .args(&config.args)
            .env_clear()
            .envs(&config.environment)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        if let Some((user, group)) = config.user {
            // As root this drops the other groups as well.
            command.uid(user).gid(group);
        }
        let child = command.spawn()?;
        let group = Group(Some(child));
        let exit = pidfd_open(group.leader()?, PidfdFlags::NONBLOCK)?;
        Ok(Self { group, exit })
    }
}

/// A command that runs. Dropping it kills its group.
#[derive(Debug)]
pub(super) struct Run {
    group: Group,
    exit: Readiness,
}

impl Run {
    pub(super) fn new(started: Started) -> io::Result<Self> {
        Ok(Self { exit: Readiness::new(started.exit)?, group: started.group })
    }

    /// Waits for the leader to exit, kills what is left of its group, and tells whether the exit
    /// status was 0. Cancel safe.
    pub(super) async fn exited(&mut self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let has_exited = self.exit.read(|fd| match waitid(WaitId::PidFd(fd), options)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        });
        has_exited.await?;
        // The leader is not reaped yet, so the group's number is still its own.
        self.kill();
        match self.group.0.as_mut().map(Child::try_wait).transpose()?.flatten() {
            Some(status) => {
                self.group.0 = None;
                Ok(status.success())
            }
            None => Ok(false),
        }
    }

    pub(super) fn kill(&self) {
        self.group.kill();
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
