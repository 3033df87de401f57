//! Looks through `/proc` for processes that match.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use super::ParamMatch;

/// Each takes a file descriptor, of which a program has 1,024 by default.
pub(super) const MAX_WATCHED: usize = 256;
/// The kernel keeps 15 bytes of a process's name.
const COMM_LEN: usize = 15;
/// More of a command line than anybody compares with.
const MAX_COMMAND_LINE: u64 = 64 * 1024;

/// Which processes are meant.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Name(String),
    CommandLine(Vec<Vec<u8>>, ParamMatch),
    Pid(i32),
    /// None that is new.
    Nothing,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Scan {
    /// Those of the known ones that still match.
    pub(super) known: BTreeSet<i32>,
    pub(super) new: Vec<(i32, OwnedFd)>,
}

impl Scan {
    /// Looks at all processes; those that come or go meanwhile may be seen or not.
    pub(super) fn of(pattern: &Pattern, known: &BTreeSet<i32>) -> io::Result<Self> {
        let mut scan = Self { known: BTreeSet::new(), new: Vec::new() };
        let pids: Vec<i32> = match pattern {
            // The known one is the one that was meant.
            Pattern::Nothing => {
                scan.known.clone_from(known);
                return Ok(scan);
            }
            Pattern::Pid(pid) => vec![*pid],
            Pattern::Name(_) | Pattern::CommandLine(..) => pids()?,
        };
        for pid in pids {
            if !pattern.matches(pid) {
                continue;
            }
            if known.contains(&pid) {
                scan.known.insert(pid);
            } else if let Some(fd) = open(pid)?.filter(|_| pattern.matches(pid)) {
                // Matched again with the pidfd open: what was read is of this very process, unless
                // that has ended.
                if !has_ended(&fd) {
                    scan.new.push((pid, fd));
                }
            }
        }
        Ok(scan)
    }
}

fn pids() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

/// A pidfd; `None` when there is no such process any more. Too many open files are an error.
fn open(pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A zombie has ended, too.
fn has_ended(fd: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

impl Pattern {
    fn matches(&self, pid: i32) -> bool {
        match self {
            Self::Name(name) => read(pid, "comm").is_some_and(|comm| is_named(&comm, name)),
            Self::CommandLine(wanted, how) => {
                read(pid, "cmdline").is_some_and(|line| is_started_as(&line, wanted, *how))
            }
            Self::Pid(_) => true,
            Self::Nothing => false,
        }
    }
}

fn read(pid: i32, what: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let file = File::open(format!("/proc/{pid}/{what}")).ok()?;
    file.take(MAX_COMMAND_LINE).read_to_end(&mut text).ok()?;
    Some(text)
}

fn is_named(comm: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    comm.strip_suffix(b"\n").unwrap_or(comm) == name.get(..COMM_LEN).unwrap_or(name)
}

fn is_started_as(line: &[u8], wanted: &[Vec<u8>], how: ParamMatch) -> bool {
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    let present: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let Some(begin) = present.get(..wanted.len()) else {
        return false;
    };
    let same = |(present, wanted): (&&[u8], &Vec<u8>)| *present == &wanted[..];
    let all_same = || begin.iter().zip(wanted).all(same);
    match how {
        ParamMatch::Exact => present.len() == wanted.len() && all_same(),
        ParamMatch::Partial => all_same(),
        ParamMatch::Initial => match (begin.split_last(), wanted.split_last()) {
            // The command itself is always compared whole.
            (Some((last, begin)), Some((wanted, before))) if !before.is_empty() => {
                last.starts_with(wanted) && begin.iter().zip(before).all(same)
            }
            _ => all_same(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_matches_exactly_partially_or_initially() {
        let matches = |line: &str, wanted: &[&str], how| {
            let wanted: Vec<Vec<u8>> = wanted.iter().map(|text| text.as_bytes().to_vec()).collect();
            is_started_as(line.replace(' ', "\0").as_bytes(), &wanted, how)
        };
        let line = "haproxy -f /etc/haproxy.cfg -W ";
        for (wanted, exact, partial, initial) in [
            (&["haproxy", "-f", "/etc/haproxy.cfg", "-W"][..], true, true, true),
            (&["haproxy", "-f", "/etc/haproxy.cfg"], false, true, true),
            (&["haproxy", "-f", "/etc/ha"], false, false, true),
            (&["haproxy"], false, true, true),
            (&["hap"], false, false, false),
            (&["haproxy", "-f", "/etc/haproxy.cfg", "-W", "-d"], false, false, false),
        ] {
            assert_eq!(matches(line, wanted, ParamMatch::Exact), exact, "{wanted:?}");
            assert_eq!(matches(line, wanted, ParamMatch::Partial), partial, "{wanted:?}");
            assert_eq!(matches(line, wanted, ParamMatch::Initial), initial, "{wanted:?}");
        }
    }

    #[test]
    fn only_the_fifteen_bytes_that_the_kernel_keeps_are_compared() {
        assert!(is_named(b"systemd-resolve\n", "systemd-resolved"));
        assert!(is_named(b"sshd\n", "sshd") && !is_named(b"sshd\n", "ssh"));
    }
}
