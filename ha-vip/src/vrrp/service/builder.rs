//! Puts a service together: interfaces are looked up, sockets opened, trackers set going.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::Alarm;
use ha_core::event::Observer;
use tokio::sync::{mpsc, watch};

use super::care::{Care, Guarded};
use super::handle::{RouterHandle, ServiceHandle};
use super::proof::Proofs;
use super::station::Station;
use super::{COMMANDS, Service, ServiceError};
use crate::address::VirtualAddress;
use crate::announce::{
    Announcer, ConflictConfig, ConflictListener, ConflictPolicy, PacketAnnouncer,
};
use crate::backend::{AddressBackend, NetlinkBackend};
use crate::bfd::SessionHandle;
use crate::holder::Holder;
use crate::net::interface::{Interface, connect};
use crate::net::monitor::Monitor;
use crate::track::{LinkTracker, Tally, Tracked, Tracker};
use crate::vrrp::RouterConfig;
use crate::vrrp::auth::Authenticator;
use crate::vrrp::config::{HostConfig, Instance, SyncGroup};
use crate::vrrp::effects::StateName;
use crate::vrrp::host::{Host, LinkId, RouterId};
use crate::vrrp::router::Router;
use crate::vrrp::socket::Port;

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

    /// Puts the addresses of the router `name` where this backend does. Default: on its interface.
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
    /// removed first. Must be called inside a tokio runtime with I/O enabled.
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
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let monitor = Monitor::open().map_err(of_first)?;
        let netlink = connect().map_err(of_first)?;
        let few = self.config.instances().len() <= MOST_EARS;
        let mut parts = Opened {
            netlink,
            host: Host::new(),
            ports: Vec::new(),
            stations: Vec::new(),
            conflicts: self.conflicts.filter(|_| few),
            lease: self.lease,
        };
        let mut handles = Vec::new();
        for instance in self.config.instances() {
            let backend = self.backends.get(instance.name()).cloned();
            let subject = self.subject_of(instance);
            let id = parts.open(instance, self.config.groups(), backend, subject).await?;
            if let Some(station) = parts.stations.last() {
                handles.push(RouterHandle {
                    id,
                    name: instance.name().into(),
                    addresses: Arc::clone(&station.addresses),
                    commands: commands.clone(),
                    state: station.state.subscribe(),
                });
            }
        }
        for group in self.config.groups() {
            let of_name = |name: &String| handles.iter().find(|handle| *handle.name == **name);
            let members = group.members().iter().filter_map(of_name).map(|handle| handle.id);
            parts.host.group(&members.collect::<Vec<_>>());
        }
        let Opened { host, ports, stations, .. } = parts;
        let links =
            stations.iter().map(|station| (station.link.interface, station.instance.interface()));
        Ok(Service {
            proofs: Proofs::new(links),
            care: Care::new(self.guarded, self.lease),
            trackers: with_links(&self.config, self.trackers, &monitor),
            detectors: self.detectors,
            news: monitor.subscribe(),
            _monitor: monitor,
            host,
            ports,
            stations,
            alarm: Alarm::new().map_err(of_first)?,
            observer: self.observer,
            commands: receiver,
            handle: ServiceHandle { routers: handles.into(), commands },
            unsent: 0,
            routed: None,
        })
    }

    fn subject_of(&self, instance: &Instance) -> String {
        let alone = self.config.instances().len() == 1;
        match &self.subject {
            Some(subject) if alone => subject.clone(),
            Some(subject) => format!("{subject} {}", instance.name()),
            None => instance.name().to_owned(),
        }
    }
}

/// What is open so far.
struct Opened {
    netlink: rtnetlink::Handle,
    host: Host,
    ports: Vec<Port>,
    stations: Vec<Station>,
    conflicts: Option<ConflictPolicy>,
    lease: Option<Duration>,
}

impl Opened {
    async fn open(
        &mut self,
        instance: &Instance,
        groups: &[SyncGroup],
        backend: Option<Arc<dyn AddressBackend>>,
        subject: String,
    ) -> Result<RouterId, ServiceError> {
        let interface = instance.interface();
        let name = || interface.to_owned();
        let failed = |source| ServiceError::of_socket(interface, source);
        let config = instance.router().clone();
        let link = self.find(interface).await?;
        // First, as it is where a missing privilege shows.
        let announcer = PacketAnnouncer::open(link.index(), link.mac()).map_err(failed)?;
        let announcer = announcer.repeating(config.announce_repeat());
        let netlink = NetlinkBackend::new(link.clone(), self.netlink.clone());
        let addresses: Arc<[VirtualAddress]> =
            config.addresses().iter().chain(config.unadvertised()).copied().collect();
        netlink.clear_leftovers(&addresses).await?;
        let present = link.addresses(&self.netlink).await.map_err(failed)?;
        let source = instance.source.or_else(|| source_address(&present, &config));
        let source = source.ok_or_else(|| ServiceError::NoSource { interface: name() })?;
        let own = LinkId { interface: link.index(), ipv6: config.is_ipv6() };
        self.port(interface, own)?.speak_from(source).map_err(failed)?;
        let mut links = vec![own];
        for second in &instance.second_interfaces {
            let index = self.find(second).await?.index();
            let link = LinkId { interface: index, ipv6: config.is_ipv6() };
            self.port(second, link)?;
            links.push(link);
        }
        let announcer: Arc<dyn Announcer> = Arc::new(announcer);
        let listener = match self.conflicts {
            Some(policy) => {
                let conflicts = ConflictConfig::builder(link.mac()).policy(policy);
                let conflicts = addresses.iter().fold(conflicts, |c, address| c.address(*address));
                let config = conflicts.build();
                let config = config.map_err(|source| ServiceError::Config { source })?;
                let ear =
                    ConflictListener::open(interface, link.index(), config, Arc::clone(&announcer));
                Some(ear.map_err(failed)?)
            }
            None => None,
        };
        let netlink = match self.lease {
            Some(lease) => netlink.with_lease(lease),
            None => netlink,
        };
        let backend = backend.unwrap_or_else(|| Arc::new(netlink));
        let tally = tally_of(instance, groups);
        let id = self.host.add(Router::new(config, source), tally, &links);
        self.stations.push(Station {
            instance: instance.clone(),
            subject,
            link: own,
            holder: Holder::new(backend, announcer, Arc::clone(&addresses)),
            listener,
            addresses,
            authenticator: instance.hmac.clone().map(Authenticator::new),
            state: watch::channel(StateName::Initialize).0,
        });
        Ok(id)
    }

    async fn find(&self, interface: &str) -> Result<Interface, ServiceError> {
        let name = || interface.to_owned();
        let link = Interface::find(&self.netlink, interface).await;
        let link = link.map_err(|_| ServiceError::NoInterface { interface: name() })?;
        if link.is_up() { Ok(link) } else { Err(ServiceError::Down { interface: name() }) }
    }

    /// The port of this link, which all its routers share.
    fn port(&mut self, name: &str, link: LinkId) -> Result<&mut Port, ServiceError> {
        if !self.ports.iter().any(|port| port.link() == link) {
            let opened = Port::open(name, link);
            self.ports.push(opened.map_err(|source| ServiceError::of_socket(name, source))?);
        }
        let gone = || ServiceError::NoInterface { interface: name.to_owned() };
        self.ports.iter_mut().find(|port| port.link() == link).ok_or_else(gone)
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

/// Adds a link tracker for each name that no tracker has.
fn with_links(
    config: &HostConfig,
    mut trackers: Vec<Box<dyn Tracker>>,
    monitor: &Monitor,
) -> Vec<Box<dyn Tracker>> {
    let known: BTreeSet<String> =
        trackers.iter().map(|tracker| tracker.name().to_owned()).collect();
    let mut links = BTreeSet::new();
    for instance in config.instances() {
        links.extend(tally_of(instance, config.groups()).names().map(str::to_owned));
    }
    for name in links.difference(&known) {
        trackers.push(Box::new(LinkTracker::new(monitor, name)));
    }
    trackers
}

/// The primary IPv4 address, or the link-local IPv6 one, that is not a virtual address itself.
fn source_address(present: &[VirtualAddress], config: &RouterConfig) -> Option<IpAddr> {
    let virtual_ip = |ip: IpAddr| config.addresses().iter().any(|address| address.ip() == ip);
    let owner = config.priority().is_owner();
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => !config.is_ipv6(),
        IpAddr::V6(ip) => config.is_ipv6() && ip.is_unicast_link_local(),
    };
    let mut candidates = present.iter().map(VirtualAddress::ip).filter(usable);
    candidates.clone().find(|ip| !virtual_ip(*ip)).or_else(|| candidates.find(|_| owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_a_primary_address_of_the_right_family() {
        let address = |text: &str| text.parse::<VirtualAddress>().expect("an address");
        let present = ["10.0.0.100/24", "10.0.0.1/24", "2001:db8::1/64", "fe80::1/64"].map(address);
        let source = |vip: &str, priority| {
            let builder = RouterConfig::builder(1).address(address(vip));
            let config = builder.priority(priority).build().expect("a configuration");
            source_address(&present, &config).map(|ip| ip.to_string())
        };
        assert_eq!(source("10.0.0.100/24", 100).as_deref(), Some("10.0.0.1"));
        assert_eq!(source("2001:db8::9/64", 100).as_deref(), Some("fe80::1"));
        let only = [address("10.0.0.100/24")];
        let config = |p| RouterConfig::builder(1).address(only[0]).priority(p).build();
        assert_eq!(source_address(&only, &config(100).expect("ok")), None);
        assert_eq!(source_address(&only, &config(255).expect("ok")), Some(only[0].ip()));
    }
}
