//! A child process with all its descendants that stay in its process group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::{Readiness, pause};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
    test_kill_process_group, waitid,
};
use tokio::process::{Child, Command};

use crate::family;
use crate::native::warden::Warden;

/// A look that does not wait.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// How many milliseconds killed members of a group have to be gone. What is left then, and is not
/// seen alive in the process table, is taken for zombies whose parent does not reap them: they do
/// nothing.
const BURIAL_POLLS: u32 = 1_000;

/// After how many of them the process table is searched for members that are alive.
const DEAD_POLLS: u32 = 5;

/// How often a member that is seen alive is looked at again: one that gives much memory back, or
/// waits for a disk, takes longer to die.
const LIVING_POLLS: u32 = 180;

/// The time between two of these looks.
const LIVING_POLL: Duration = Duration::from_millis(50);

/// A child that leads a process group of its own; dropping it kills the group.
///
/// The leader is not reaped before the group has got its last signal: until then its number
/// cannot be given to another process, so no signal can hit a stranger.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
    leader: Pid,
    exit: Arc<Readiness>,
    reaped: bool,
    warden: Option<Warden>,
    /// Whether it outlives this value.
    lasts: bool,
}

impl Group {
    /// Starts `command` as the leader of a new group.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        Self::begin(command.process_group(0).kill_on_drop(true))
    }

    /// Starts `command` likewise; a drop leaves it running.
    pub(crate) fn spawn_lasting(command: &mut Command) -> io::Result<Self> {
        let mut group = Self::begin(command.process_group(0).kill_on_drop(false))?;
        group.lasts = true;
        Ok(group)
    }

    fn begin(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let leader = id.ok_or_else(|| io::Error::other("a new child without a process id"))?;
        let exit = pidfd_open(leader, PidfdFlags::NONBLOCK).map_err(io::Error::from);
        // One that cannot be watched must not run on unknown.
        let exit = exit.and_then(Readiness::new).inspect_err(|_| {
            let _gone = kill_process_group(leader, Signal::KILL);
        });
        let exit = Arc::new(exit?);
        Ok(Self { child, leader, exit, reaped: false, warden: None, lasts: false })
    }

    /// Starts `command` likewise; also a death of this process by `SIGKILL` kills the group.
    pub(crate) fn spawn_guarded(command: &mut Command) -> io::Result<Self> {
        let mut group = Self::spawn(command)?;
        match Warden::watch(group.leader) {
            Ok(warden) => group.warden = Some(warden),
            Err(error) => {
                tracing::warn!(%error, "cannot start /bin/sh: a process would outlive a killed parent");
            }
        }
        Ok(group)
    }

    /// Waits until the leader has ended; it is not reaped yet.
    ///
    /// Cancel safe.
    pub(crate) async fn exited(&self) -> io::Result<()> {
        has_ended(&self.exit).await
    }

    /// The leader's number.
    pub(crate) const fn leader(&self) -> Pid {
        self.leader
    }

    /// What [`has_ended`] waits on, for somebody who does not own the group.
    pub(crate) fn exit(&self) -> Arc<Readiness> {
        Arc::clone(&self.exit)
    }

    /// Reaps a leader that has ended and leaves the others of its group alone.
    ///
    /// Cancel safe: the group is let go from the first poll on.
    pub(crate) async fn release(&mut self) -> io::Result<ExitStatus> {
        self.reaped = true;
        if let Some(warden) = &mut self.warden {
            warden.dismiss().await;
        }
        self.warden = None;
        self.child.wait().await
    }

    /// Whether the leader has ended, and says that all is well; it is not reaped yet.
    pub(crate) fn has_succeeded(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.leader), look).ok().flatten();
        !self.reaped && status.is_some_and(|status| status.exit_status() == Some(0))
    }

    /// Whether the leader has ended.
    pub(crate) fn has_exited(&self) -> bool {
        // An error means that there is no such child any more.
        self.reaped || ended(WaitId::Pid(self.leader)).unwrap_or(true)
    }

    /// Asks the group to end, kills it after `grace`, and reaps the leader.
    ///
    /// It fails as [`reap`](Self::reap) does.
    ///
    /// Cancel safe: called again, it begins again.
    pub(crate) async fn end(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        if !self.reaped {
            self.signal(Signal::TERM);
            tokio::select! { biased;
                ended = self.all_ended() => ended?,
                late = pause(grace) => late?,
            }
        }
        self.reap().await
    }

    /// Waits until the leader has ended and nobody of its group is seen alive: the time to end is
    /// for all.
    ///
    /// Cancel safe.
    pub(crate) async fn all_ended(&self) -> io::Result<()> {
        self.exited().await?;
        let mut wait = Duration::from_millis(1);
        while family::lives(self.leader) == Some(true) {
            pause(wait).await?;
            wait = (wait * 2).min(LIVING_POLL);
        }
        Ok(())
    }

    /// Kills what is left of the group, reaps the leader and waits until the others are gone.
    ///
    /// It fails with `TimedOut` while a killed member is seen alive after 10 s, as one that waits
    /// for a device that does not answer; called again, it waits again.
    ///
    /// Cancel safe: called again, it goes on.
    pub(crate) async fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        if !self.reaped {
            self.exited().await?;
        }
        if let Some(warden) = &mut self.warden {
            warden.dismiss().await;
        }
        self.warden = None;
        self.reaped = true;
        let status = self.child.wait().await?;
        self.burial().await?;
        Ok(status)
    }

    /// Waits until nobody of the killed group is alive.
    async fn burial(&self) -> io::Result<()> {
        // Also a member that this process may not signal is one.
        let is_empty = || test_kill_process_group(self.leader) == Err(Errno::SRCH);
        for poll in 1..=BURIAL_POLLS {
            // A stop in a hurry must not wait for a first process that is slow to bury its dead.
            if is_empty() || (poll % DEAD_POLLS == 0 && family::lives(self.leader) == Some(false)) {
                return Ok(());
            }
            pause(Duration::from_millis(1)).await?;
        }
        for _ in 0..LIVING_POLLS {
            // What cannot be seen are zombies of another process namespace.
            if is_empty() || family::lives(self.leader) != Some(true) {
                return Ok(());
            }
            pause(LIVING_POLL).await?;
        }
        let group = self.leader;
        let why = format!(
            "cannot end process group {}: a killed member is still alive; look what it waits for",
            group.as_raw_nonzero()
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if !self.reaped {
            // An error means that nobody is left in the group.
            let _nobody_left = kill_process_group(self.leader, signal);
        }
    }
}

/// Waits until the process of a pidfd has ended, whosever child it is; it is not reaped.
///
/// Cancel safe.
pub(crate) async fn has_ended(exit: &Readiness) -> io::Result<()> {
    let look = |fd: BorrowedFd<'_>| {
        if is_over(fd)? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    };
    exit.read(look).await
}

/// Whether the process of a pidfd has ended.
pub(crate) fn is_over(exit: impl AsFd) -> io::Result<bool> {
    let mut look = [PollFd::new(&exit, PollFlags::IN)];
    Ok(poll(&mut look, Some(&NOW))? > 0)
}

fn ended(id: WaitId<'_>) -> io::Result<bool> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(id, look)?.is_some())
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.lasts {
            self.signal(Signal::KILL);
        }
    }
}
