//! The processes of one operation, in the process table.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use ha_core::driver::pause;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::oneshot;

use crate::diagnose::{Diagnosis, ProcessState};

/// How many processes a diagnosis tells of.
const MAX_PROCESSES: usize = 32;
/// How many functions of the kernel are kept.
const MAX_STACK: usize = 16;
/// How many characters of a command line are kept.
const MAX_COMMAND: usize = 200;
/// How long a look at the processes may take.
const LOOK: Duration = Duration::from_secs(1);

/// The processes of one operation: its group, and those that left the group, known by the mark that
/// all inherit in their environment.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) leader: i32,
    pub(crate) mark: String,
    /// Whether those in sessions of their own belong to it, too. A daemon that a start has left is
    /// the resource, not a part of the operation; one that a monitor has left is nobody's.
    pub(crate) all_sessions: bool,
}

impl Family {
    /// Looks at the family; empty if that takes too long.
    pub(crate) async fn diagnose(&self) -> Diagnosis {
        let family = self.clone();
        aside(move || {
            let mut members = family.members();
            let more = members.len().saturating_sub(MAX_PROCESSES);
            members.truncate(MAX_PROCESSES);
            let processes = members.iter().map(describe).collect();
            Diagnosis { processes, more, ..Diagnosis::default() }
        })
        .await
        .unwrap_or_default()
    }

    /// Signals the members of the family outside the leader's group; how many these were, `None`
    /// if looking for them takes too long.
    pub(crate) async fn signal_strays(&self, signal: Signal) -> Option<usize> {
        let family = self.clone();
        aside(move || {
            let members = family.members();
            let strays = members.iter().filter(|member| member.stat.group != family.leader);
            strays.filter(|stray| family.signal(stray.pid, signal)).count()
        })
        .await
    }

    /// Whether it was there to be signalled.
    fn signal(&self, pid: i32, signal: Signal) -> bool {
        let Some(id) = Pid::from_raw(pid) else { return false };
        let Ok(fd) = pidfd_open(id, PidfdFlags::empty()) else { return false };
        // Looked at again with the descriptor open: the number cannot have gone to a stranger.
        self.is_marked(pid) && pidfd_send_signal(&fd, signal).is_ok()
    }

    /// By rising number.
    fn members(&self) -> Vec<Member> {
        let own_session = stat(std::process::id().cast_signed()).map(|(stat, _)| stat.session);
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut ids: Vec<i32> = ids.collect();
        ids.sort_unstable();
        let members = ids.into_iter().filter_map(|pid| {
            let (stat, name) = stat(pid)?;
            let near = self.all_sessions || Some(stat.session) == own_session;
            let stray = near && stat.state != 'D';
            let ours = stat.group == self.leader || (stray && self.is_marked(pid));
            ours.then_some(Member { pid, stat, name })
        });
        members.collect()
    }

    fn is_marked(&self, pid: i32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.mark.as_bytes())
    }
}

/// Does `work` on a thread of its own; `None` if that takes too long. A runtime would wait at its end
/// for one of its own threads that hangs in `/proc`.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        // An error means that nobody waits any more.
        drop(tell.send(work()));
    };
    std::thread::Builder::new().name("ha-family".to_owned()).spawn(work).ok()?;
    tokio::select! { biased;
        done = told => done.ok(),
        _late = pause(LOOK) => None,
    }
}

/// Kills who is alive in the group of that session; how many these were, `None` if that is unseen.
pub(crate) async fn kill_home(home: (i32, i32)) -> Option<usize> {
    let kill = move || {
        let is_of = |stat: &Stat| stat.is_alive() && (stat.group, stat.session) == home;
        let all = all()?.into_iter().filter(|(_, stat)| is_of(stat));
        let living: Vec<i32> = all.map(|(pid, _)| pid).collect();
        for pid in &living {
            let fd = Pid::from_raw(*pid).and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
            // Looked at again with the descriptor open: the number cannot have gone to a stranger.
            if let Some(fd) = fd.filter(|_| stat(*pid).is_some_and(|(stat, _)| is_of(&stat))) {
                // An error means that it has ended.
                let _ended = pidfd_send_signal(&fd, Signal::KILL);
            }
        }
        Some(living.len())
    };
    aside(kill).await.flatten()
}

struct Member {
    pid: i32,
    stat: Stat,
    name: String,
}

/// Whether somebody of the process group is alive; `None` where that cannot be seen.
pub(crate) fn lives(group: Pid) -> Option<bool> {
    Some(has_living(group.as_raw_nonzero().get(), all()?.into_iter().map(|(_, stat)| stat)))
}

/// All processes, by number; `None` where they cannot be seen.
pub(crate) fn all() -> Option<Vec<(i32, Stat)>> {
    // A `/proc` of another process namespace shows other numbers.
    let own = std::process::id();
    if fs::read_link("/proc/self").ok()? != Path::new(&own.to_string()) {
        return None;
    }
    let entries = fs::read_dir("/proc").ok()?;
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(ids.filter_map(|id| Some((id, stat(id)?.0))).collect())
}

/// Whether one of the processes is of the group and alive.
fn has_living(group: i32, mut processes: impl Iterator<Item = Stat>) -> bool {
    processes.any(|stat| stat.group == group && stat.is_alive())
}

pub(crate) struct Stat {
    state: char,
    parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    threads: i32,
}

impl Stat {
    /// Whether it can still do something. Zombies are dead: nothing of them runs or is open; but a
    /// leader that has ended may have threads that have not.
    pub(crate) const fn is_alive(&self) -> bool {
        self.threads > 1 || !matches!(self.state, 'Z' | 'X')
    }
}

/// Reads `/proc/PID/stat`; the name in it may have spaces and parentheses.
pub(crate) fn stat(pid: i32) -> Option<(Stat, String)> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(text: &str) -> Option<(Stat, String)> {
    let (head, tail) = text.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split(' ');
    let state = fields.next()?.chars().next()?;
    let mut number = || fields.next()?.parse().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    // Field 20 of proc_pid_stat(5); the session is field 6.
    let threads = fields.nth(13)?.parse().ok()?;
    Some((Stat { state, parent, group, session, threads }, name))
}

fn describe(member: &Member) -> ProcessState {
    let Member { pid, stat, name } = member;
    // The command line of a process that waits for a device may keep its reader waiting, too.
    let command = match stat.state {
        'D' => Err(io::ErrorKind::WouldBlock.into()),
        _ => fs::read(format!("/proc/{pid}/cmdline")),
    };
    let command = command.unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    let command: String = command.trim().chars().take(MAX_COMMAND).collect();
    let waits_in = fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    ProcessState {
        pid: *pid,
        stack: stack(&fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default()),
        parent: stat.parent,
        group: stat.group,
        state: stat.state,
        waits_in: if waits_in == "0" { String::new() } else { waits_in },
        command: if command.is_empty() { format!("[{name}]") } else { command },
    }
}

/// The names in the lines of the kernel's, such as `[<0>] do_wait+0x5c/0x110`.
fn stack(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let function = line.split_once("] ").map_or(line, |(_, function)| function);
        function.split(['+', ' ']).next().unwrap_or_default().chars().take(80).collect::<String>()
    };
    text.lines().map(name).filter(|name| !name.is_empty()).take(MAX_STACK).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the kernel's with these values.
    fn process(name: &str, state: char, group: i32, threads: u32) -> Stat {
        let line = format!(
            "7 ({name}) {state} 1 {group} 5 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0"
        );
        parse(&line).expect("a line").0
    }

    #[test]
    fn only_a_member_that_can_still_do_something_counts_as_alive() {
        let lives = |processes: Vec<Stat>| has_living(40, processes.into_iter());
        assert!(!lives(Vec::new()));
        assert!(!lives(vec![process("a", 'Z', 40, 1), process("b", 'X', 40, 1)]), "all are dead");
        assert!(!lives(vec![process("a", 'R', 41, 1)]), "a stranger");
        assert!(lives(vec![process("a", 'Z', 40, 2)]), "a thread is left");
        for state in ['D', 'R', 'S', 'T'] {
            assert!(lives(vec![process("a", 'Z', 40, 1), process("x) Z (y", state, 40, 1)]));
        }
    }

    #[test]
    fn a_kernel_stack_is_its_functions() {
        let text = "[<0>] do_wait+0x5c/0x110\n[<0>] kernel_wait4+0xa2/0x140 [kvm]\nodd\n\n";
        assert_eq!(stack(text), ["do_wait", "kernel_wait4", "odd"]);
        assert_eq!(stack(&text.repeat(50)).len(), MAX_STACK);
    }

    #[test]
    fn the_own_group_lives() {
        assert_ne!(lives(rustix::process::getpgrp()), Some(false));
    }
}
