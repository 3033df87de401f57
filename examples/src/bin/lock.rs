//! Runs a command under a lock that holds on all nodes of a cluster: flock(1) across machines.
//!
//! ```text
//! lock --name backup --wait 30s -- backup-all /srv
//! ```
//!
//! The lock is a lease, renewed every third of its time to live. If it cannot be renewed the
//! command gets SIGTERM a third of the time to live before the end, and SIGKILL a tenth before,
//! so that it has ended before anybody else can have the lock. Its whole process group is ended;
//! it does not read from the terminal, as it is not in the foreground there. When this program is
//! itself killed the command is, too. A machine that is suspended is not in time for anything:
//! let what the command writes to check `HA_FENCING_TOKEN`, which grows with every grant. The lock
//! of a program that was killed is free once it has not changed for its time to live, a twentieth
//! and 50 ms before the eyes of the one who waits for it.
//!
//! Exit status: the command's, 128 and the signal that ended it, 127 if there is no such command,
//! 75 if the lock was lost, 1 if it was not to be had, 2 for wrong flags.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use ha_core::id::NodeName;
use ha_crm::control::SocketStore;
use ha_examples::cli::{self, FAILURE, USAGE};
use ha_examples::lock::{LockError, Plan, run};
use ha_membership::Key;
use ha_membership::lease::{LeaseStore, MAX_TTL, StoreLeases};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Where a node listens if nothing else is said.
const SOCKET: &str = "/var/lib/ha/ha.sock";
/// A shorter lease is eaten up by scheduling delays.
const MIN_TTL: Duration = Duration::from_millis(300);
/// Exit status of a shell when there is no such command.
const NO_COMMAND: u8 = 127;

/// Runs a command under a lock that holds on all nodes of a cluster.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Name of the lock
    #[arg(long, value_name = "N", required_unless_present = "child_of")]
    name: Option<Key>,
    /// How long the lock lasts unless it is renewed: 300ms to 24h
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = ttl)]
    ttl: Duration,
    /// How long to wait for the lock; without this and --no-wait: for ever
    #[arg(long, value_name = "SPAN", value_parser = span)]
    wait: Option<Duration>,
    /// Do not wait for the lock
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Control socket of a node; if it is not given `HA_SOCKET` of the environment, or
    /// /var/lib/ha/ha.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Become the command, as a child that dies with this process
    #[arg(long, hide = true)]
    child_of: Option<i32>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn span(text: &str) -> Result<Duration, String> {
    let allowed = "a whole number with ms, s, min or h, such as 10s";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| allowed.to_owned())?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "min" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or_else(|| allowed.to_owned())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = span(text)?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl) { Ok(ttl) } else { Err("300ms to 24h".to_owned()) }
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    if let Some(parent) = flags.child_of {
        let why = become_command(parent, &flags.command);
        return cli::fail(NO_COMMAND, &format!("cannot run the command: {why}"));
    }
    cli::log("warn");
    let socket = flags.socket.or_else(|| std::env::var_os("HA_SOCKET").map(PathBuf::from));
    let store = SocketStore::new(socket.unwrap_or_else(|| SOCKET.into()));
    let leases: Arc<dyn LeaseStore> = Arc::new(StoreLeases::new(store));
    let (Some(name), Ok(holder)) = (flags.name, holder()) else {
        return cli::fail(USAGE, "cannot make a name of this host's name; correct it");
    };
    let wait = if flags.no_wait { Some(Duration::ZERO) } else { flags.wait };
    let plan = Plan { name, holder, ttl: flags.ttl, wait };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        // The thread that starts the command is the one with which it dies: the main one.
        Ok(runtime) => runtime.block_on(run(leases, &plan, child(&flags.command))),
        Err(source) => Err(LockError::System { source }),
    };
    match ended {
        Ok(ended) => ExitCode::from(ended.status()),
        Err(error) => cli::fail(FAILURE, &cli::chain(&error)),
    }
}

/// This process, by a name that no other has: the host's and its number.
fn holder() -> io::Result<NodeName> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    let name = format!("{}:{}", host.trim(), std::process::id());
    name.parse().map_err(io::Error::other)
}

/// This program again, to become the command.
fn child(command: &[OsString]) -> Command {
    let mut child = Command::new("/proc/self/exe");
    child.arg0("lock").arg(format!("--child-of={}", std::process::id())).arg("--").args(command);
    child
}

/// Turns this process into the command, to be killed when its parent dies; returns only what went
/// wrong.
fn become_command(parent: i32, command: &[OsString]) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // It may have died before that.
    if getppid() != Pid::from_raw(parent) {
        return io::Error::other("the process that holds the lock is gone");
    }
    let [program, arguments @ ..] = command else { return io::ErrorKind::InvalidInput.into() };
    Command::new(program).args(arguments).exec()
}
