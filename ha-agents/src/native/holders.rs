//! Who keeps a mounted file system busy.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::mountinfo;

/// How many holders are named to a person.
const MAX_NAMED: usize = 5;
/// This process.
const OWN: &str = "/proc/self";

/// A process that has something of the file system open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    pub(crate) name: String,
}

/// All holders of what is mounted at `directory` but this process: by working directory, root,
/// program, open or mapped file. A process of another mount namespace, where the same path may be
/// another file system's, is one only if it has this one there too. Reads `/proc` only; call it
/// where it may take long.
pub(crate) fn find(directory: &Path) -> Vec<Holder> {
    // A `/proc` of another process namespace shows numbers that mean others here.
    let own = std::process::id().cast_signed();
    if fs::read_link("/proc/self").ok() != Some(PathBuf::from(own.to_string())) {
        return Vec::new();
    }
    let device = device(OWN, directory);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_holder = |pid: &i32| *pid != own && holds(*pid, device.as_deref(), directory);
    let holders = pids.filter(is_holder).map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Holder { pid, name: name.trim().to_owned() }
    });
    holders.collect()
}

/// Sends the signal to all holders that still are.
pub(crate) fn signal(directory: &Path, signal: Signal) {
    let device = device(OWN, directory);
    for holder in find(directory) {
        let Some(pid) = Pid::from_raw(holder.pid) else { continue };
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // Looked at again with the descriptor open: the number cannot have gone to a stranger.
        if holds(holder.pid, device.as_deref(), directory) {
            tracing::warn!(pid = holder.pid, name = holder.name, directory = %directory.display(), "holds the file system: signalled");
            // An error means that it has just ended.
            let _gone = pidfd_send_signal(&fd, signal);
        }
    }
}

/// The holders in words.
pub(crate) fn names(holders: &[Holder]) -> String {
    let named =
        holders.iter().take(MAX_NAMED).map(|Holder { pid, name }| format!("{name} ({pid})"));
    let mut text = named.collect::<Vec<_>>().join(", ");
    if holders.len() > MAX_NAMED {
        text.push_str(" and others");
    }
    if text.is_empty() { "nobody that this process can see".to_owned() } else { text }
}

/// The device of what a process has mounted at `directory`.
fn device(process: &str, directory: &Path) -> Option<String> {
    let all = mountinfo::parse(&fs::read(Path::new(process).join("mountinfo")).ok()?);
    mountinfo::at(&all, directory).map(|mounted| mounted.device.clone())
}

/// Whether paths under `directory` are to the process what they are to this one.
fn sees(process: &str, device_here: Option<&str>, directory: &Path) -> bool {
    let namespace = |process: &str| fs::read_link(Path::new(process).join("ns/mnt")).ok();
    let theirs = namespace(process);
    if theirs.is_some() && theirs == namespace(OWN) {
        // Its own list has nothing of what is outside of its root.
        return true;
    }
    device_here.is_some() && device(process, directory).as_deref() == device_here
}

fn holds(pid: i32, device: Option<&str>, directory: &Path) -> bool {
    let process = format!("/proc/{pid}");
    has_open(Path::new(&process), directory) && sees(&process, device, directory)
}

fn has_open(folder: &Path, directory: &Path) -> bool {
    let within = |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(directory));
    if ["cwd", "root", "exe"].iter().any(|link| within(folder.join(link))) {
        return true;
    }
    let files = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    if files.map(|entry| entry.path()).any(within) {
        return true;
    }
    // `address rights offset device inode    /path`.
    let maps = fs::read(folder.join("maps")).unwrap_or_default();
    maps.split(|&byte| byte == b'\n').any(|line| {
        let path = line.iter().position(|&byte| byte == b'/').and_then(|at| line.get(at..));
        path.is_some_and(|path| Path::new(std::ffi::OsStr::from_bytes(path)).starts_with(directory))
    })
}
