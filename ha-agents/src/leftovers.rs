//! What an earlier life of a manager has left running, and its end.
//!
//! A manager that is killed by `SIGKILL` takes its native processes and operations along: a small
//! process waits for that. Where it could not (no `/bin/sh`, killed at the same moment, a process
//! that waits for a disk), the next life does not know of them, and its probes do not find them.
//! So native processes and operations are marked: with the meta attribute [`NODE`] in the
//! [`OpContext`] their environment has it as `HA_NODE`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock as _};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::sync::oneshot;

use crate::agent::OpContext;
use crate::family::{self, Stat};

/// The meta attribute whose value marks what an operation starts. It must tell the managers of one
/// machine apart, and be the same in each life of one: the node's name, with the cluster's.
pub const NODE: &str = "node";

/// The time between two looks at the process table.
const POLL: Duration = Duration::from_millis(10);
/// How long the process table may keep its reader waiting.
const LOOK: Duration = Duration::from_secs(1);

/// Ends what an earlier life has left: all native processes and unfinished operations marked with
/// `mark`. Kills their process groups, and waits until nobody of them is alive; returns whom it has
/// killed.
///
/// Call it at the start, before the first operation: it does not tell the own life's processes
/// from an earlier one's. See to it that no other manager of this mark runs.
///
/// What a finished operation has left running is the resource, which the agent's probe finds, and
/// is not touched; nor is a daemon that has made a session of its own. An operation is unfinished
/// while the leader of its group is alive, or a member is that has been killed. A daemon that has
/// made a group but no session of its own cannot be told from an operation, and ends.
///
/// # Errors
///
/// - `InvalidInput`: an empty mark.
/// - `TimedOut`: some are still alive after `limit`, such as one that waits for a device. Do not
///   start anything then.
/// - `Unsupported`: `/proc` shows other processes than this one's.
/// - What the kernel says when no thread can be started.
///
/// # Cancel safety
///
/// When it is dropped, the killing goes on for as long as `limit`.
pub async fn end(mark: &str, limit: Duration) -> io::Result<Vec<u32>> {
    if mark.is_empty() {
        let why = "cannot end what an earlier life has left: the mark is empty; give the node's";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let (tell, told) = oneshot::channel();
    let mark = mark.to_owned();
    // A thread of its own: a runtime would wait at its end for one of its own that hangs.
    std::thread::Builder::new().name("ha-leftovers".to_owned()).spawn(move || {
        // An error means that nobody waits any more.
        drop(tell.send(sweep(&mark, limit)));
    })?;
    tokio::select! { biased;
        ended = told => ended.unwrap_or_else(|_| Err(io::Error::other("the thread is gone"))),
        late = pause(limit + LOOK) => {
            late?;
            Err(late_error("the process table does not answer"))
        }
    }
}

/// Marks what `command` starts.
pub(crate) fn mark(command: &mut Command, context: &OpContext) {
    if let Some(node) = context.meta.get(NODE) {
        let session = family::stat(std::process::id().cast_signed()).map(|(stat, _)| stat.session);
        command.env("HA_NODE", node).env("HA_SESSION", session.unwrap_or_default().to_string());
    }
}

fn late_error(why: &str) -> io::Error {
    let text = format!("cannot end what an earlier life has left: {why}; look what it waits for");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Kills again and again, as a group may have new members, until none is left.
#[expect(clippy::disallowed_methods, reason = "it sleeps on a thread that is none of a runtime's")]
fn sweep(mark: &str, limit: Duration) -> io::Result<Vec<u32>> {
    let end = BootClock::new().now() + limit;
    let (mut groups, mut killed) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let left = members(mark, &mut groups).ok_or_else(|| {
            let why = "cannot look for what an earlier life has left: /proc is another process namespace's; mount the own one";
            io::Error::new(io::ErrorKind::Unsupported, why)
        })?;
        if left.is_empty() {
            return Ok(killed.into_iter().collect());
        }
        if BootClock::new().now() >= end {
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            return Err(late_error(&format!("still alive: {}", left.join(", "))));
        }
        for pid in left {
            if kill(pid, &groups) {
                killed.insert(pid.unsigned_abs());
            }
        }
        std::thread::sleep(POLL);
    }
}

/// The living members of the groups, which are those known already and those found now; a group
/// goes by its number and its session's.
fn members(mark: &str, groups: &mut BTreeSet<(i32, i32)>) -> Option<Vec<i32>> {
    let all = family::all()?;
    let (own, _) = family::stat(std::process::id().cast_signed())?;
    let living = || all.iter().filter(|(_, stat)| stat.is_alive() && stat.group != own.group);
    let found = living().filter(|(pid, stat)| is_leftover(*pid, stat, mark));
    groups.extend(found.map(|(_, stat)| (stat.group, stat.session)));
    let members = living().filter(|(_, stat)| groups.contains(&(stat.group, stat.session)));
    Some(members.map(|(pid, _)| *pid).collect())
}

/// Whether the process is of a native process or of an unfinished operation.
fn is_leftover(pid: i32, stat: &Stat, mark: &str) -> bool {
    let ours = |marks: &Marks| marks.node == mark && marks.session == stat.session.to_string();
    let Some(marks) = Marks::read(pid).filter(ours) else { return false };
    let Some(operation) = marks.operation else { return marks.resource };
    let leader = || Marks::read(stat.group)?.operation;
    pid == stat.group || leader() == Some(operation) || has_been_killed(pid)
}

/// What is in a process's environment.
struct Marks {
    node: String,
    /// The session of the manager that has started it.
    session: String,
    resource: bool,
    operation: Option<String>,
}

impl Marks {
    /// `None`: there are none, or they are not to be seen, as those of a zombie.
    fn read(pid: i32) -> Option<Self> {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let find = |name: &str| {
            let mut variables = environment.split(|byte| *byte == 0);
            let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes()));
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        Some(Self {
            node: find("HA_NODE=")?,
            session: find("HA_SESSION=")?,
            resource: find("HA_RESOURCE=").is_some(),
            operation: find("HA_OPERATION="),
        })
    }
}

/// Whether a SIGKILL waits for the process to take it.
fn has_been_killed(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pending = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    let kill = 1_u64 << (Signal::KILL.as_raw() - 1);
    pending.fold(0, |all, mask| all | mask) & kill != 0
}

/// Kills the process if it is still of the groups; whether it was.
fn kill(pid: i32, groups: &BTreeSet<(i32, i32)>) -> bool {
    let Some(id) = Pid::from_raw(pid) else { return false };
    let Ok(fd) = pidfd_open(id, PidfdFlags::empty()) else { return false };
    // Looked at again with the descriptor open: the number cannot have gone to a stranger.
    let ours = family::stat(pid)
        .is_some_and(|(stat, _)| stat.is_alive() && groups.contains(&(stat.group, stat.session)));
    ours && pidfd_send_signal(&fd, Signal::KILL).is_ok()
}
