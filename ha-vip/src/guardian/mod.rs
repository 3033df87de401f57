//! A second process that ends what a killed one has left: an address must not outlive its router.
//!
//! ```text
//!  the program ── its will, anew at each change ──▶ the same program, with a hidden flag:
//!     │ SIGKILL, or any end without a goodbye           guardian::watch()
//!     ╳ ── end of the stream ─────────────────────▶ sends the packets, lingers, removes addresses
//! ```
//!
//! Without a guardian the addresses of a killed router stay in the kernel, which goes on answering
//! for them beside the successor, until a later life clears them. A
//! [lease](crate::backend::NetlinkBackend::with_lease) bounds that time to seconds, even when the
//! whole process group is killed or the program is stopped (SIGSTOP); a guardian ends it at once,
//! and its priority-0 adverts spare the successor the wait.
//!
//! # Limits
//!
//! Whatever kills the guardian, too, makes it useless: `systemd` with `KillMode=control-group`
//! does so with its final SIGKILL (a stop in time is orderly and needs no guardian), and so does
//! the OOM killer with `OOMPolicy=kill`. It sees ends, not hangs. Kernels before Linux 5.18 do not
//! keep the mark of an address, and no address is removed there.

mod voice;
mod watch;
mod wire;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_core::driver::Readiness;
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Notify;

pub use self::watch::watch;
use self::wire::{encode_goodbye, encode_will};
use crate::address::VirtualAddress;

/// What is to be done when the program ends without a goodbye.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the parts that a program puts together")]
pub struct Will {
    /// What to send at once: priority-0 adverts.
    pub packets: Vec<WillPacket>,
    /// What to remove, each with the index of its interface. Only an address that carries this
    /// crate's mark is removed, and not one that a new life of the program has put there since.
    pub addresses: Vec<(u32, VirtualAddress)>,
    /// How long the addresses stay after the packets: so long the kernel answers while the
    /// successor takes over. The longest skew time of the routers is a good choice. At most an
    /// hour; more is cut.
    pub linger: Duration,
}

/// A VRRP message that is ready to be sent, with hop limit 255.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "the parts of a packet")]
pub struct WillPacket {
    /// The index of the interface to send it from.
    pub interface: u32,
    /// The address to send it from.
    pub source: IpAddr,
    /// Where to: VRRP's group or a neighbour, of the same family as the source.
    pub destination: IpAddr,
    /// The message, without an IP header.
    pub message: Vec<u8>,
}

/// A guardian that runs.
///
/// Dropping it without a [`goodbye`](Self::goodbye) carries out the will, as the end of the
/// program does.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::process::Command;
/// use ha_vip::guardian::{self, Guardian, Will};
///
/// if std::env::args().nth(1).as_deref() == Some("--guardian") {
///     return Ok(guardian::watch()?); // before any runtime or thread is started
/// }
/// let mut itself = Command::new("/proc/self/exe");
/// itself.arg("--guardian");
/// let guardian = Guardian::spawn(itself)?;
/// guardian.set_will(&Will::default())?; // at each change of what is held
/// // … the program runs; then, when its addresses are gone:
/// guardian.goodbye()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Guardian {
    child: Option<Child>,
    exit: Readiness,
    stream: UnixStream,
    unsent: Mutex<Unsent>,
    changed: Notify,
}

/// What the stream has not taken yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unsent {
    /// The rest of a frame that was begun.
    begun: Vec<u8>,
    /// The latest will, which replaces any that was not begun.
    next: Option<Vec<u8>>,
}

impl Guardian {
    /// Starts a guardian: `command` is the program itself with a flag that makes it call
    /// [`watch`]. Its standard input is taken; the rest is as the caller has set it.
    ///
    /// Must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// The system's, when the command cannot be started.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let stream = UnixStream::from_std(ours)?;
        let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let exit = Readiness::new(pidfd_open(pid, PidfdFlags::NONBLOCK)?)?;
        let (unsent, changed) = (Mutex::default(), Notify::new());
        Ok(Self { child: Some(child), exit, stream, unsent, changed })
    }

    /// Replaces the will. Never blocks: what the guardian does not take at once is kept here, the
    /// latest will only, and goes out with the next call or while somebody waits in
    /// [`ended`](Self::ended).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when the will is larger than 4 MiB, and the stream's error
    /// when the guardian has ended.
    pub fn set_will(&self, will: &Will) -> io::Result<()> {
        let frame = encode_will(will)?;
        self.unsent().next = Some(frame);
        let flushed = self.flush();
        self.changed.notify_one();
        flushed.map(drop)
    }

    /// Waits until the guardian has ended, and sends meanwhile what is left of the will. It should
    /// not end by itself: start another one.
    ///
    /// # Errors
    ///
    /// The system's, when the end of the process cannot be waited for.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> io::Result<()> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let exited = self.exit.read(|fd| match waitid(WaitId::PidFd(fd), options)? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        });
        tokio::select! { biased;
            exited = exited => exited,
            never = self.send_rest() => never,
        }
    }

    /// Ends the guardian without anything being done: the program has put its house in order.
    ///
    /// # Errors
    ///
    /// The system's, when the process cannot be ended or waited for. One that has ended before is
    /// no error.
    pub fn goodbye(mut self) -> io::Result<()> {
        // In case it may not be killed, as when it has become another user.
        if self.flush().is_ok_and(|sent| sent) {
            let _a_lost_goodbye_is_followed_by_a_kill = self.write(&encode_goodbye());
        }
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        // A guardian that is stopped, or still reads an earlier will, must not find the end of the
        // stream: a killed one does nothing more.
        child.kill()?;
        child.wait().map(drop)
    }

    /// The guardian's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.as_ref().map(Child::id).unwrap_or_default()
    }

    async fn send_rest(&self) -> io::Result<()> {
        loop {
            match self.flush() {
                Ok(true) => self.changed.notified().await,
                Ok(false) => self.stream.writable().await?,
                // The guardian is about to end, which the other half waits for.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Sends what the stream takes, and tells whether that is all.
    fn flush(&self) -> io::Result<bool> {
        let mut unsent = self.unsent();
        loop {
            if unsent.begun.is_empty() {
                let Some(next) = unsent.next.take() else {
                    return Ok(true);
                };
                unsent.begun = next;
            }
            match self.write(&unsent.begun) {
                Ok(len) => drop(unsent.begun.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes what the stream takes now. tokio alone would refuse before it has looked at the
    /// stream for the first time, and a program that is killed then would have left no will.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write =
            || rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL).map_err(io::Error::from);
        match write() {
            // Again through tokio, so that it waits for the stream to take more.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stream.try_io(Interest::WRITABLE, write)
            }
            written => written,
        }
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It carries out the will now; a drop must not wait for that, and no zombie is to stay.
            let reap = move || drop(child.wait());
            let _a_zombie_stays_without_threads = std::thread::Builder::new().spawn(reap);
        }
    }
}

#[cfg(test)]
mod tests;
