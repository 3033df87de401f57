//! A network namespace: an open descriptor, a netlink socket in it, and threads that visit it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use ha_core::sys::namespace::unshare_network;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::LabError;
use crate::enter::refused;
use crate::netlink::Netlink;

/// One network namespace. It has no name; the kernel removes it with its last user.
#[derive(Debug)]
pub(crate) struct Kernel {
    namespace: OwnedFd,
    pub(crate) netlink: Netlink,
}

impl Kernel {
    /// Makes a new one, with its loopback up.
    pub(crate) fn new(ipv6: bool) -> Result<Self, LabError> {
        let made = thread::scope(|scope| {
            scope
                .spawn(|| {
                    unshare_network()
                        .map_err(|error| refused("make a network namespace", error))?;
                    let what = "set up a network namespace";
                    for (key, value) in if ipv6 { QUICK_IPV6 } else { NO_IPV6 } {
                        // A kernel without IPv6 has no such files, a container may have them locked;
                        // all they do is to save a second at the start.
                        drop(std::fs::write(Path::new("/proc/sys/net").join(key), value));
                    }
                    let netlink = Netlink::open().map_err(|error| LabError::kernel(what, error))?;
                    netlink.set_up(1, true).map_err(|error| LabError::kernel(what, error))?;
                    let namespace = File::open("/proc/thread-self/ns/net")
                        .map_err(|error| LabError::kernel(what, error))?;
                    Ok(Self { namespace: namespace.into(), netlink })
                })
                .join()
        });
        made.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The descriptor that keeps it alive.
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// Runs `f` on a thread of its own inside the namespace, and waits for it.
    pub(crate) fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> io::Result<R> {
        let visit = || {
            move_into_link_name_space(self.namespace(), Some(LinkNameSpaceType::Network))?;
            Ok(f())
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(visitor_name()).spawn_scoped(scope, visit)?;
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Starts a thread inside the namespace that runs `f`.
    pub(crate) fn start(
        self: &Arc<Self>,
        name: &str,
        f: impl FnOnce() + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        self.run(|| thread::Builder::new().name(name.to_owned()).spawn(f))?
    }
}

/// The caller's name, so that a panic in the closure, and what it prints, names the test.
fn visitor_name() -> String {
    thread::current().name().unwrap_or("ha-lab visitor").to_owned()
}

/// Link-local addresses at once, without a second of duplicate address detection.
const QUICK_IPV6: &[(&str, &str)] = &[
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
];

/// A switch has no addresses.
const NO_IPV6: &[(&str, &str)] =
    &[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// Where a namespace stays until the lab takes it away, whoever still has a handle.
#[derive(Debug)]
pub(crate) struct Slot(RwLock<Option<Arc<Kernel>>>);

impl Slot {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self(RwLock::new(Some(Arc::new(kernel))))
    }

    pub(crate) fn get(&self, what: impl FnOnce() -> String) -> Result<Arc<Kernel>, LabError> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone().ok_or_else(|| LabError::Closed { what: what() })
    }

    pub(crate) fn empty(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
