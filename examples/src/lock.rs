//! Runs a command for as long as a lease is held, and not longer.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::{Readiness, pause};
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};
use ha_membership::Key;
use ha_membership::lease::{Lease, LeaseError, LeaseStore};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::keeper::{Keeper, Word};

/// How long to wait before a lease that somebody holds is asked for again.
const RETRY: Duration = Duration::from_millis(100);
/// Exit status of a command whose lock was lost (`EX_TEMPFAIL`).
pub const LOST: u8 = 75;

/// Which lease, by whom, and for how long.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "the flags of a program")]
pub struct Plan {
    /// The lease.
    pub name: Key,
    /// Who takes it; each process needs another name.
    pub holder: NodeName,
    /// How long it lasts unless it is renewed.
    pub ttl: Duration,
    /// How long to wait for it; `None`: for ever.
    pub wait: Option<Duration>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The command has ended by itself.
    Command(ExitStatus),
    /// The lock was lost, and the command was ended in time.
    Lost,
}

impl Ended {
    /// The exit status to end with: the command's, 128 and its signal, or [`LOST`].
    #[must_use]
    pub fn status(self) -> u8 {
        let code = match self {
            Self::Lost => return LOST,
            Self::Command(status) => {
                status.code().or_else(|| status.signal().map(|signal| 128 + signal))
            }
        };
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }
}

/// The command was not run, or not watched to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// The lease was not taken.
    #[error("cannot take the lock: nothing was run; wait longer, or look who holds it")]
    NotTaken {
        /// Why.
        #[source]
        source: LeaseError,
    },
    /// The command could not be started.
    #[error("cannot start {program}: the lock was given back; correct its path")]
    NotStarted {
        /// The command.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel did not do what is needed to watch the command, which was killed.
    #[error("cannot watch the command: it was killed, and the lock given back")]
    System {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<io::Error> for LockError {
    fn from(source: io::Error) -> Self {
        Self::System { source }
    }
}

/// Takes a lease, runs a command with `HA_LEASE` and `HA_FENCING_TOKEN` in its environment, and
/// gives the lease back when it has ended.
///
/// The command leads a process group of its own; SIGTERM, SIGINT, SIGHUP and SIGQUIT to this
/// process are passed on to it. When the lease is about to end unrenewed the group gets SIGTERM a
/// third of the time to live before the end, and SIGKILL a tenth before: see [`Keeper`]. What is
/// left of the group when the command has ended is killed before the lease is given back; what has
/// left the group (a daemon) is not seen.
///
/// # Errors
///
/// [`LockError`].
///
/// # Cancel safety
///
/// Not cancel safe: a drop kills the group, and the lease ends by itself.
pub async fn run(
    leases: Arc<dyn LeaseStore>,
    plan: &Plan,
    mut command: Command,
) -> Result<Ended, LockError> {
    let mut signals = Signals::new()?;
    let lease = tokio::select! { biased;
        signal = signals.next() => {
            // Nothing runs yet: as if the signal had ended the command.
            return Ok(Ended::Command(ExitStatus::from_raw(signal.as_raw())));
        }
        lease = take(&*leases, plan) => lease.map_err(|source| LockError::NotTaken { source })?,
    };
    let token = lease.granted_token();
    let mut keeper = Keeper::new(leases, lease, plan.ttl)?;
    if !keeper.is_good() {
        let (name, holder) = (plan.name.clone(), plan.holder.clone());
        return Err(LockError::NotTaken { source: LeaseError::Lost { name, holder } });
    }
    command.env("HA_LEASE", plan.name.as_str()).env("HA_FENCING_TOKEN", token.to_string());
    let mut group = match Group::spawn(&mut command) {
        Ok(group) => group,
        Err(source) => {
            give_back(keeper).await;
            let program = command.get_program().to_string_lossy().into_owned();
            return Err(LockError::NotStarted { program, source });
        }
    };
    let mut lost = false;
    loop {
        tokio::select! { biased;
            exited = group.exited() => break exited?,
            word = keeper.word() => {
                lost = true;
                group.signal(if word? == Word::End { Signal::TERM } else { Signal::KILL });
            }
            signal = signals.next() => group.signal(signal),
        }
    }
    let status = group.reap()?;
    give_back(keeper).await;
    Ok(if lost { Ended::Lost } else { Ended::Command(status) })
}

async fn give_back(keeper: Keeper) {
    if let Err(error) = keeper.give_back().await {
        tracing::warn!(%error, "lock not given back; it ends by itself");
    }
}

/// Takes the lease as soon as it can be had, within the time there is.
async fn take(leases: &dyn LeaseStore, plan: &Plan) -> Result<Lease, LeaseError> {
    let until = plan.wait.map(|wait| BootClock::new().now() + wait);
    loop {
        let error = match leases.acquire(&plan.name, &plan.holder, plan.ttl).await {
            Ok(lease) => return Ok(lease),
            Err(error @ LeaseError::Ttl { .. }) => return Err(error),
            Err(error) => error,
        };
        let retry = BootClock::new().now() + RETRY;
        if until.is_some_and(|until| until < retry) || pause(RETRY).await.is_err() {
            return Err(error);
        }
    }
}

/// The signals that are passed on.
struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    fn new() -> io::Result<Self> {
        let watched = [
            (Signal::TERM, SignalKind::terminate()),
            (Signal::INT, SignalKind::interrupt()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::QUIT, SignalKind::quit()),
        ];
        let watch = |(name, kind)| signal(kind).map(|stream| (name, stream));
        watched.into_iter().map(watch).collect::<io::Result<_>>().map(Self)
    }

    /// Cancel safe.
    async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (name, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// A child that leads a process group; dropping it kills the group.
///
/// The leader is not reaped before the group has got its last signal: until then its number cannot
/// be another's.
struct Group {
    child: Child,
    leader: Pid,
    exit: Readiness,
    reaped: bool,
}

impl Group {
    fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.process_group(0).spawn()?;
        let watch = || {
            let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let leader = leader.ok_or_else(|| io::Error::other("a child without a number"))?;
            let exit = Readiness::new(pidfd_open(leader, PidfdFlags::NONBLOCK)?)?;
            Ok((leader, exit))
        };
        match watch() {
            Ok((leader, exit)) => Ok(Self { child, leader, exit, reaped: false }),
            Err(error) => {
                child.kill().and_then(|()| child.wait().map(drop)).unwrap_or_default();
                Err(error)
            }
        }
    }

    /// Waits until the leader has ended; it is not reaped yet. Cancel safe.
    async fn exited(&self) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.exit
            .read(|fd| match waitid(WaitId::PidFd(fd), look)? {
                Some(_) => Ok(()),
                None => Err(io::ErrorKind::WouldBlock.into()),
            })
            .await
    }

    fn signal(&self, signal: Signal) {
        if !self.reaped {
            // An error means that nobody is left in the group.
            kill_process_group(self.leader, signal).unwrap_or_default();
        }
    }

    /// Kills what is left of the group and reaps the leader, which has ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            self.reaped = true;
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}
