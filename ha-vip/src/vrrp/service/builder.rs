//! Puts a service together: interfaces are looked up, sockets opened, trackers set going.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::Alarm;
use ha_core::event::Observer;
use tokio::sync::{mpsc, watch};

use super::care::{Care, Guarded};
use super::ground::clear_rules;
use super::opener::Opener;
use super::proof::Proofs;
use super::stations::Stations;
use super::{COMMANDS, Service, ServiceError};
use crate::announce::ConflictPolicy;
use crate::backend::AddressBackend;
use crate::bfd::SessionHandle;
use crate::net::interface::connect;
use crate::net::monitor::Monitor;
use crate::track::{Tally, Tracked, Tracker};
use crate::vrrp::config::{HostConfig, Instance, SyncGroup};
use crate::vrrp::host::Host;

/// The most virtual routers that each listen for conflicts.
const MOST_EARS: usize = 16;

/// Makes a [`Service`].
#[derive(Debug)]
#[must_use]
pub struct ServiceBuilder {
    config: HostConfig,
    trackers: Vec<Box<dyn Tracker>>,
    detectors: Vec<SessionHandle>,
    backends: BTreeMap<String, Arc<dyn AddressBackend>>,
    conflicts: Option<ConflictPolicy>,
    lease: Option<Duration>,
    guarded: Option<Guarded>,
    observer: Arc<dyn Observer>,
    subject: Option<String>,
}

impl ServiceBuilder {
    pub(super) fn new(config: HostConfig) -> Self {
        Self {
            config,
            trackers: Vec::new(),
            detectors: Vec::new(),
            backends: BTreeMap::new(),
            conflicts: Some(ConflictPolicy::Tell),
            lease: None,
            guarded: None,
            observer: Arc::new(()),
            subject: None,
        }
    }

    /// Adds a tracker, which routers name in [`Instance::track`]. Interfaces need none: a name
    /// that no tracker has is taken for an interface's.
    pub fn tracker(mut self, tracker: impl Tracker + 'static) -> Self {
        self.trackers.push(Box::new(tracker));
        self
    }

    /// Watches a neighbour with BFD: when the session goes down, every backup that had it for its
    /// active router takes over at once, without waiting for three adverts.
    ///
    /// This is not keepalived's `track_bfd`, which puts *this* router into fault: for that, add a
    /// [`WatchTracker`](crate::track::WatchTracker) over the session.
    pub fn detector(mut self, session: SessionHandle) -> Self {
        self.detectors.push(session);
        self
    }

    /// Puts the addresses of the router `name` where this backend does, such as a cloud's API.
    /// Default: on its interface. One with a [lease](AddressBackend::lease) is asked every third of
    /// it whether the addresses are still there.
    pub fn backend(mut self, name: impl Into<String>, backend: Arc<dyn AddressBackend>) -> Self {
        self.backends.insert(name.into(), backend);
        self
    }

    /// Lets the kernel remove the addresses when this process no longer renews them: whole seconds,
    /// at least 1. Default: addresses stay. Renewed every third of it; the kernel's resolution is
    /// one second.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Starts a [`guardian`](crate::guardian) with this command, and again whenever it has ended:
    /// the program itself, with a flag that makes it call [`guardian::watch`].
    ///
    /// [`guardian::watch`]: crate::guardian::watch
    pub fn guardian(mut self, command: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        self.guarded = Some(Guarded(Box::new(command)));
        self
    }

    /// Sets what to do when another host claims an address that is held here, such as one with the
    /// same address by mistake, or the other half of a split (RFC 5227); `None` does not listen.
    /// Default [`ConflictPolicy::Tell`]: both link-layer addresses and how long it lasted. Beyond
    /// sixteen virtual routers nothing listens: each has an ear of its own.
    pub const fn conflicts(mut self, policy: Option<ConflictPolicy>) -> Self {
        self.conflicts = policy;
        self
    }

    /// Tells `observer` of each event, under the name `subject`, such as this node's; several
    /// routers add their own names to it.
    pub fn observed(mut self, subject: impl Into<String>, observer: Arc<dyn Observer>) -> Self {
        self.subject = Some(subject.into());
        self.observer = observer;
        self
    }

    /// Opens the interfaces: netlink for the addresses, raw sockets for VRRP and announcements.
    ///
    /// Addresses of this configuration that an earlier life of this program left behind are
    /// removed first, and so are its rules that let nobody in. Must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: no such interface, interface down, no address to send from, or a missing
    /// capability.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing was changed yet, but for leftovers that are gone.
    pub async fn open(self) -> Result<Service, ServiceError> {
        let first = self.config.instances().first().map_or("", Instance::interface).to_owned();
        let of_first = |source| ServiceError::of_socket(&first, source);
        clear_rules(self.config.instances()).await?;
        let few = self.config.instances().len() <= MOST_EARS;
        let monitor = Monitor::open().map_err(of_first)?;
        let opener = Opener {
            netlink: connect().map_err(of_first)?,
            backends: self.backends,
            conflicts: self.conflicts.filter(|_| few),
            lease: self.lease,
        };
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let (words, heard) = mpsc::channel(COMMANDS);
        let mut service = Service {
            host: Host::new(),
            ports: Vec::new(),
            stations: Stations::default(),
            opener: Arc::new(opener),
            naming: Naming { subject: self.subject, alone: self.config.instances().len() == 1 },
            trackers: BTreeMap::new(),
            detectors: self.detectors,
            news: monitor.subscribe(),
            monitor,
            proofs: Proofs::default(),
            look_at: None,
            gives_up: false,
            care: Care::new(self.guarded),
            alarm: Alarm::new().map_err(of_first)?,
            observer: self.observer,
            commands: receiver,
            sender: commands,
            words,
            heard,
            published: watch::Sender::new([].into()),
            unsent: 0,
            farewells: Vec::new(),
            routed: None,
        };
        for instance in self.config.instances() {
            let found = service.opener.open(instance, &[]).await?;
            service.open_ports(&found)?;
            service.add(found, self.config.groups());
        }
        service.group(self.config.groups());
        service.follow_all(self.trackers, &self.config);
        service.publish();
        Ok(service)
    }
}

/// How events of the routers are named.
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) subject: Option<String>,
    /// A single router has the subject's name alone.
    pub(super) alone: bool,
}

impl Naming {
    pub(super) fn of(&self, instance: &Instance) -> String {
        match &self.subject {
            Some(subject) if self.alone => subject.clone(),
            Some(subject) => format!("{subject} {}", instance.name()),
            None => instance.name().to_owned(),
        }
    }
}

/// What an instance depends on: its own interface, what it names, and what its group names.
pub(super) fn tally_of(instance: &Instance, groups: &[SyncGroup]) -> Tally {
    let mut tracked = instance.tracked.clone();
    let in_group = |group: &&SyncGroup| group.members.contains(&instance.name);
    for group in groups.iter().filter(in_group) {
        tracked.extend(group.tracked.iter().cloned());
    }
    if !tracked.iter().any(|tracked| tracked.name() == instance.interface) {
        tracked.push(Tracked::new(&instance.interface));
    }
    Tally::new(instance.router.priority(), tracked)
}
