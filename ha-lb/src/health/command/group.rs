//! A child process with its process group.

use std::io;
use std::process::ExitStatus;

use ha_core::driver::Readiness;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::process::{Child, Command};

/// A child that leads a process group of its own; dropping it kills the group.
///
/// The leader is not reaped before the group has got its last signal: until then its number cannot
/// be given to another process, so no signal can hit a stranger.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    leader: Pid,
    exit: Readiness,
    killed: bool,
}

impl Group {
    /// Starts `command` as the leader of a new group.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let leader = id.ok_or_else(|| io::Error::other("a new child without a process id"))?;
        let exit = Readiness::new(pidfd_open(leader, PidfdFlags::NONBLOCK)?)?;
        Ok(Self { child, leader, exit, killed: false })
    }

    /// Waits until the leader has ended; it is not reaped yet.
    ///
    /// Cancel safe.
    pub(super) async fn exited(&self) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.exit
            .read(|fd| match waitid(WaitId::PidFd(fd), look) {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            })
            .await
    }

    /// Kills what is left of the group, and reaps the leader, which has ended.
    pub(super) async fn finish(mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.child.wait().await
    }

    fn kill(&mut self) {
        if !self.killed {
            self.killed = true;
            // An error means that nobody is left in the group.
            let _nobody_left = kill_process_group(self.leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
