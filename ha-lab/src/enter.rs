//! Becoming able to make namespaces, as root and as an ordinary user.

use std::io;
use std::path::Path;

use ha_core::sys::namespace::enter_user_namespace;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use crate::LabError;

/// Makes the calling process able to build a [`Lab`](crate::Lab): call it first in `main`.
///
/// With the capabilities `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` (root) there is nothing to do. An
/// ordinary user's process moves into a new user namespace, in which it is root; outside it stays
/// who it was, and it keeps its network until it visits a host of the lab.
///
/// In the user namespace only user and group 0 exist: programs that want to drop their privileges
/// fail there (keepalived's scripts, HAProxy with `user`), and files of others belong to `nobody`.
///
/// # Errors
///
/// [`LabError::Threads`] when the process has more than one thread and is not root;
/// [`LabError::Forbidden`] when a setting of the machine forbids user namespaces: it names the
/// setting and the remedy.
pub fn enter() -> Result<(), LabError> {
    if is_privileged() {
        return Ok(());
    }
    let count = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if count > 1 {
        return Err(LabError::Threads { count });
    }
    enter_user_namespace().map_err(|error| refused("enter a user namespace", error))
}

/// Whether the calling thread may make namespaces and configure networks.
pub(crate) fn is_privileged() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// The error for a namespace that the kernel refused: which setting forbids it, and what to do.
pub(crate) fn refused(what: &'static str, source: io::Error) -> LabError {
    let os = source.raw_os_error();
    let forbidden = [Errno::PERM, Errno::ACCESS, Errno::NOSPC, Errno::USERS];
    if !forbidden.iter().any(|errno| os == Some(errno.raw_os_error())) {
        return LabError::kernel(what, source);
    }
    let (setting, remedy) = culprit(|path| std::fs::read_to_string(path).ok());
    LabError::Forbidden { what, setting, remedy, source }
}

/// The settings that can forbid user namespaces, each with the value that does and its remedy.
const SETTINGS: [(&str, &str, &str); 4] = [
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("/proc/sys/user/max_net_namespaces", "0", "sysctl user.max_net_namespaces=10000"),
];

/// Names the setting that is to blame, given a way to read settings.
fn culprit(read: impl Fn(&str) -> Option<String>) -> (String, String) {
    for (path, forbids, remedy) in SETTINGS {
        if read(path).is_some_and(|value| value.trim() == forbids) {
            let command = format!("as root run `{remedy}`, or run this as root");
            return (format!("{path} = {forbids}"), command);
        }
    }
    let seccomp = read("/proc/self/status").is_some_and(|status| {
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        mode.is_some_and(|mode| mode.trim() != "0")
    });
    if seccomp {
        return (
            "the system call filter (seccomp) of this process, set by a container or a service,"
                .to_owned(),
            "start the container with --privileged, or with --cap-add SYS_ADMIN --cap-add \
             NET_ADMIN --security-opt seccomp=unconfined"
                .to_owned(),
        );
    }
    if Path::new("/proc/sys/user").exists() {
        let limits = "a limit on namespaces (/proc/sys/user/max_*_namespaces) or a security module";
        return (limits.to_owned(), "raise the limits, or run this as root".to_owned());
    }
    ("the kernel, built without user namespaces,".to_owned(), "run this as root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting_and_the_remedy() {
        for (path, value, remedy) in SETTINGS {
            let read = |asked: &str| (asked == path).then(|| format!("{value}\n"));
            let (setting, todo) = culprit(read);
            assert_eq!(setting, format!("{path} = {value}"));
            assert!(todo.contains(remedy), "{todo}");
        }
        let read = |path: &str| (path == "/proc/self/status").then(|| "Seccomp:\t2\n".to_owned());
        assert!(culprit(read).0.contains("seccomp"));
        let error = refused("enter a user namespace", Errno::PERM.into()).to_string();
        assert!(error.starts_with("cannot enter a user namespace: "), "{error}");
    }

    #[test]
    fn another_failure_is_not_called_forbidden() {
        let error = refused("enter a user namespace", Errno::NOMEM.into());
        assert!(matches!(error, LabError::Kernel { .. }), "{error}");
    }
}
