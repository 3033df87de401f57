//! Who holds an address: watches the kernels of hosts and reports overlaps and vacancies.
//!
//! A host *holds* an address while one of its interfaces has it and the host has power. Two
//! holders at a time are what a failover of the *at least one* kind may have for a moment, and one
//! of the *at most one* kind never. A host that is cut off, partitioned or frozen still holds it.
//!
//! ```
//! use std::time::Duration;
//! use ha_lab::holders::HolderWatch;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if let Err(error) = ha_lab::enter() { ha_lab::skip(error); return Ok(()); }
//! let lab = ha_lab::Lab::new()?;
//! let lan = lab.network("lan")?;
//! let a = lab.host("a")?.join(&lan, "10.77.0.1/24")?;
//! let b = lab.host("b")?.join(&lan, "10.77.0.2/24")?;
//! let watch = HolderWatch::start("10.77.0.9".parse()?, &[&a, &b])?;
//! a.add_address("eth0", "10.77.0.9/24")?;
//! watch.wait_for(&[a.name()], Duration::from_secs(10))?;
//! b.add_address("eth0", "10.77.0.9/24")?;
//! watch.wait_for(&[a.name(), b.name()], Duration::from_secs(10))?;
//! let report = watch.finish();
//! assert_eq!(report.overlaps.len(), 1);
//! # Ok(()) }
//! ```

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock as _, Instant};
use netlink_packet_core::{NLM_F_DUMP, NetlinkPayload};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

pub use report::{HolderEvent, HolderReport, HolderSpan, Overlap, Vacancy};

use crate::netlink::{AddressChange, all_addresses, messages, send};
use crate::prober::retry;
use crate::worker::{StopSign, Worker};
use crate::{Host, LabError};

/// After so many changes no more are recorded.
pub const MAX_CHANGES: usize = 1 << 20;

/// Watches which of some hosts hold an address; see the [module](self).
///
/// Changes are stamped when this process learns of them, usually less than a millisecond after
/// they happened; a loss of power is stamped just before it acts.
///
/// Dropping it stops it; it stops with the lab at the latest.
#[derive(Debug)]
pub struct HolderWatch {
    watched: Arc<Watched>,
    worker: Arc<Worker>,
}

/// What the watch, its thread and the lab share.
#[derive(Debug)]
pub(crate) struct Watched {
    ip: IpAddr,
    start: Instant,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hosts: BTreeMap<NodeName, Held>,
    events: Vec<HolderEvent>,
}

/// What one host has.
#[derive(Debug, Default)]
struct Held {
    /// The interfaces that have the address.
    interfaces: BTreeSet<u32>,
    off: bool,
    holds: bool,
}

impl HolderWatch {
    /// Starts watching who of `hosts` holds `ip`.
    ///
    /// # Errors
    ///
    /// [`LabError::NotFound`] without hosts; [`LabError::Kernel`].
    pub fn start(ip: IpAddr, hosts: &[&Host]) -> Result<Self, LabError> {
        let Some(first) = hosts.first() else {
            let why = "no host was given to be watched".to_owned();
            return Err(LabError::NotFound { what: "holder of", name: ip.to_string(), why });
        };
        let what = || format!("watch who holds {ip}");
        let failed = |error| LabError::kernel(what(), error);
        let mut sockets = Vec::new();
        let mut state = State::default();
        for host in hosts {
            let opened = host.kernel(what)?.run(open).flatten().map_err(failed)?;
            sockets.push((host.name().clone(), opened));
            state.hosts.insert(host.name().clone(), Held { off: host.is_off(), ..Held::default() });
        }
        let start = BootClock::new().now();
        let (state, changed) = (Mutex::new(state), Condvar::new());
        let watched = Arc::new(Watched { ip, start, state, changed });
        // What is there at the start is known when this returns.
        for (host, socket) in &sockets {
            watched.list(host, socket).map_err(failed)?;
        }
        // It was there when the watch began, not when the kernel's answer was read.
        watched.state().events.iter_mut().for_each(|event| event.at = start);
        first.lab.tell_power(&watched);
        let seen = Arc::clone(&watched);
        let run = move |stop: &StopSign| {
            if let Err(error) = seen.watch(&sockets, stop) {
                tracing::error!(target: "ha_lab", %error, "watch of holders stopped");
            }
        };
        let worker = Worker::start(&first.kernel(what)?, "ha-lab holders", run).map_err(failed)?;
        first.lab.adopt(&worker);
        Ok(Self { watched, worker })
    }

    /// Who holds it now.
    #[must_use]
    pub fn holders(&self) -> Vec<NodeName> {
        self.watched.state().holders()
    }

    /// Waits until just these hosts hold it, in any order; none if empty.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`].
    pub fn wait_for(&self, hosts: &[&NodeName], timeout: Duration) -> Result<(), LabError> {
        let wanted: BTreeSet<NodeName> = hosts.iter().copied().cloned().collect();
        let wrong = |state: &mut State| !state.holders().iter().eq(&wanted);
        let state = self.watched.state();
        let end = self.watched.changed.wait_timeout_while(state, timeout, wrong);
        let mut state = end.unwrap_or_else(PoisonError::into_inner).0;
        if !wrong(&mut state) {
            return Ok(());
        }
        let what = format!("see {wanted:?} hold {}", self.watched.ip);
        let seen = format!("its holders are {:?}", state.holders());
        Err(LabError::Timeout { what, limit: timeout, seen })
    }

    /// The changes so far.
    #[must_use]
    pub fn events(&self) -> Vec<HolderEvent> {
        self.watched.state().events.clone()
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self) -> HolderReport {
        let end = BootClock::new().now();
        HolderReport::of(&self.watched.state().events, self.watched.start, end)
    }

    /// Stops watching and reports.
    #[must_use]
    pub fn finish(self) -> HolderReport {
        let report = self.report();
        self.worker.stop();
        report
    }
}

impl Drop for HolderWatch {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

impl State {
    fn holders(&self) -> Vec<NodeName> {
        let holding = self.hosts.iter().filter(|(_, held)| held.holds);
        holding.map(|(name, _)| name.clone()).collect()
    }

    /// Changes what is known of `host`, and records it if that makes or ends a holder.
    fn update(&mut self, host: &NodeName, at: Instant, change: impl FnOnce(&mut Held)) {
        let Some(held) = self.hosts.get_mut(host) else { return };
        change(held);
        let holds = !held.off && !held.interfaces.is_empty();
        if holds == held.holds {
            return;
        }
        held.holds = holds;
        if self.events.len() < MAX_CHANGES {
            self.events.push(HolderEvent { at, host: host.clone(), holds });
        }
    }
}

impl Watched {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a host loses or gets power.
    pub(crate) fn power(&self, host: &NodeName, at: Instant, on: bool) {
        self.state().update(host, at, |held| held.off = !on);
        self.changed.notify_all();
    }

    fn watch(&self, sockets: &[(NodeName, Socket)], stop: &StopSign) -> io::Result<()> {
        loop {
            let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
            fds.extend(sockets.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::IN)));
            retry(|| poll(&mut fds, None))?;
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.first() == Some(&true) {
                return Ok(());
            }
            for ((host, socket), ready) in sockets.iter().zip(ready.iter().skip(1)) {
                if *ready {
                    self.read(host, socket)?;
                }
            }
            self.changed.notify_all();
        }
    }

    /// Reads one datagram of changes.
    fn read(&self, host: &NodeName, socket: &Socket) -> io::Result<()> {
        match socket.recv_from_full() {
            Ok((bytes, _)) => self.take(host, &bytes).map(drop),
            // Changes were lost for want of room: look at what is there.
            Err(error) if is(&error, Errno::NOBUFS) => self.list(host, socket),
            Err(error) if is(&error, Errno::INTR) || is(&error, Errno::AGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for all addresses and reads until the answer ends.
    fn list(&self, host: &NodeName, socket: &Socket) -> io::Result<()> {
        send(socket, all_addresses(), NLM_F_DUMP, 1)?;
        let before = {
            let state = self.state();
            state.hosts.get(host).map(|held| held.interfaces.clone()).unwrap_or_default()
        };
        let mut seen = BTreeSet::new();
        loop {
            let (bytes, _) = match socket.recv_from_full() {
                Err(error) if is(&error, Errno::NOBUFS) => continue,
                other => other?,
            };
            let (done, changed) = self.take(host, &bytes)?;
            seen.extend(changed);
            if done {
                break;
            }
        }
        let at = BootClock::new().now();
        self.state().update(host, at, |held| {
            held.interfaces.retain(|index| seen.contains(index) || !before.contains(index));
        });
        Ok(())
    }

    /// Takes note of the changes in a datagram; whether an answer ends in it, and the interfaces
    /// that it speaks of.
    fn take(&self, host: &NodeName, bytes: &[u8]) -> io::Result<(bool, Vec<u32>)> {
        let at = BootClock::new().now();
        let (mut done, mut seen) = (false, Vec::new());
        for message in messages(bytes) {
            match message?.payload {
                NetlinkPayload::Done(_) => done = true,
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(message) => {
                    let change = AddressChange::of(&message);
                    let Some(change) = change.filter(|c| c.address.ip() == self.ip) else {
                        continue;
                    };
                    seen.push(change.index);
                    self.state().update(host, at, |held| {
                        if change.there {
                            held.interfaces.insert(change.index);
                        } else {
                            held.interfaces.remove(&change.index);
                        }
                    });
                }
                NetlinkPayload::Error(_)
                | NetlinkPayload::Noop
                | NetlinkPayload::Overrun(_)
                | _ => {}
            }
        }
        Ok((done, seen))
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
const GROUPS: [u32; 2] = [5, 9];

/// Opens a socket that is told of addresses, in the calling thread's namespace.
fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}
