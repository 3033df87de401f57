//! Where the addresses of a virtual router are: on the adverts' interface, on one with the
//! virtual link-layer address, or some of them elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::ServiceError;
use super::opener::Opener;
use crate::address::VirtualAddress;
use crate::announce::{Announcer, PacketAnnouncer};
use crate::backend::{
    AddressBackend, DividedAnnouncer, DividedBackend, NetlinkBackend, RefusingBackend,
    clear_leftovers,
};
use crate::holder::Holder;
use crate::net::interface::Interface;
use crate::net::macvlan::{MacVlan, VirtualMac};
use crate::net::sysctl::{Changed, Wanted};
use crate::vrrp::config::Instance;

/// How many routers of this process have begun to let nobody in.
static REFUSING: AtomicU32 = AtomicU32::new(0);

/// Where a router's addresses go, and how that is told to the network.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) backend: Arc<dyn AddressBackend>,
    pub(super) announcer: Arc<dyn Announcer>,
    /// The interface that has the addresses, but for those in `elsewhere`.
    pub(super) interface: Interface,
    pub(super) elsewhere: BTreeMap<IpAddr, u32>,
    pub(super) virtual_link: Option<VirtualLink>,
}

impl Ground {
    /// Who keeps the addresses there.
    pub(super) fn holder(&self, addresses: &Arc<[VirtualAddress]>) -> Holder {
        let (backend, announcer) = (Arc::clone(&self.backend), Arc::clone(&self.announcer));
        Holder::new(backend, announcer, Arc::clone(addresses))
    }

    /// The index of the interface that has the address.
    pub(super) fn index_of(&self, address: VirtualAddress) -> u32 {
        self.elsewhere.get(&address.ip()).copied().unwrap_or(self.interface.index())
    }

    pub(super) fn is_on(&self, interface: u32) -> bool {
        self.interface.index() == interface || self.elsewhere.values().any(|on| *on == interface)
    }
}

impl Opener {
    /// Finds or makes the interfaces of the addresses (`link` is the adverts', which `own` announces
    /// on), and clears what an earlier life has left
    /// there, but for those of `spared`.
    pub(super) async fn ground(
        &self,
        instance: &Instance,
        (link, own): (&Interface, Arc<dyn Announcer>),
        spared: &[VirtualAddress],
    ) -> Result<Ground, ServiceError> {
        let virtual_link =
            if instance.virtual_mac { Some(VirtualLink::open(instance).await?) } else { None };
        let (interface, announcer) = match &virtual_link {
            Some(made) => {
                let interface = self.find(made.macvlan.name()).await?;
                let announcer = announcer(instance, &interface)?;
                (interface, announcer)
            }
            None => (link.clone(), own),
        };
        let router = instance.router();
        let all = router.addresses().iter().chain(router.unadvertised()).copied();
        let (there, here): (Vec<_>, Vec<_>) =
            all.partition(|address| instance.address_interfaces.contains_key(&address.ip()));
        let first = self.backend(&interface, &here, spared).await?;
        let mut ground = Ground {
            backend: first,
            announcer,
            interface,
            elsewhere: BTreeMap::new(),
            virtual_link,
        };
        if !there.is_empty() {
            self.divide(instance, &there, spared, &mut ground).await?;
        }
        if let Some(backend) = self.backends.get(instance.name()) {
            ground.backend = Arc::clone(backend);
        }
        if !instance.accepts() {
            // The one that a reload has given up may still let go of its own.
            let nth = REFUSING.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}{nth}", rules_of(instance));
            ground.backend = Arc::new(RefusingBackend::new(ground.backend, &name));
        }
        Ok(ground)
    }

    async fn divide(
        &self,
        instance: &Instance,
        there: &[VirtualAddress],
        spared: &[VirtualAddress],
        ground: &mut Ground,
    ) -> Result<(), ServiceError> {
        let (mut backends, mut announcers) = (BTreeMap::new(), BTreeMap::new());
        for address in there {
            let Some(name) = instance.address_interfaces.get(&address.ip()) else {
                continue;
            };
            let interface = self.find(name).await?;
            backends.insert(address.ip(), self.backend(&interface, &[*address], spared).await?);
            announcers.insert(address.ip(), announcer(instance, &interface)?);
            ground.elsewhere.insert(address.ip(), interface.index());
        }
        ground.backend = Arc::new(DividedBackend::new(Arc::clone(&ground.backend), backends));
        let first = Arc::clone(&ground.announcer);
        ground.announcer = Arc::new(DividedAnnouncer { first, others: announcers });
        Ok(())
    }

    async fn backend(
        &self,
        interface: &Interface,
        addresses: &[VirtualAddress],
        spared: &[VirtualAddress],
    ) -> Result<Arc<dyn AddressBackend>, ServiceError> {
        let backend = NetlinkBackend::new(interface.clone(), self.netlink.clone());
        let of_earlier = addresses.iter().copied().filter(|address| !spared.contains(address));
        backend.clear_leftovers(&of_earlier.collect::<Vec<_>>()).await?;
        Ok(match self.lease {
            Some(lease) => Arc::new(backend.with_lease(lease)),
            None => Arc::new(backend),
        })
    }
}

/// Removes the rules that an earlier life has left of these virtual routers: they would keep out
/// everybody, also where all are to be let in now.
///
/// Without any router that lets nobody in, it does not matter whether there is nftables.
pub(super) async fn clear_rules(instances: &[Instance]) -> Result<(), ServiceError> {
    let beginnings: Vec<String> = instances.iter().map(rules_of).collect();
    match clear_leftovers(&beginnings).await {
        Err(error) if instances.iter().all(Instance::accepts) => {
            tracing::debug!(%error, "no rules looked for");
            Ok(())
        }
        cleared => cleared.map_err(ServiceError::from),
    }
}

/// How the names of a router's rules begin.
fn rules_of(instance: &Instance) -> String {
    let family = if instance.router().is_ipv6() { "v6" } else { "v4" };
    format!("{}_{}_{family}_", instance.interface(), instance.router().vrid())
}

pub(super) fn announcer(
    instance: &Instance,
    interface: &Interface,
) -> Result<Arc<dyn Announcer>, ServiceError> {
    let announcer = PacketAnnouncer::open(interface.index(), interface.mac());
    let announcer =
        announcer.map_err(|source| ServiceError::of_socket(interface.name(), source))?;
    Ok(Arc::new(announcer.repeating(instance.router().announce_repeat())))
}

/// An interface with the virtual router's link-layer address, and what keeps the base interface
/// from answering for it.
#[derive(Debug)]
pub(super) struct VirtualLink {
    base: String,
    macvlan: MacVlan,
    settings: Changed,
}

impl VirtualLink {
    async fn open(instance: &Instance) -> Result<Self, ServiceError> {
        let base = instance.interface();
        let vrid = instance.router().vrid();
        let mac =
            if instance.router().is_ipv6() { VirtualMac::V6(vrid) } else { VirtualMac::V4(vrid) };
        let interface = base.to_owned();
        let macvlan = MacVlan::open(base, mac).await;
        let macvlan = macvlan.map_err(|source| ServiceError::VirtualLink { interface, source })?;
        let mut settings = Changed::default();
        let set = set(&mut settings, base, macvlan.name());
        let link = Self { base: base.to_owned(), macvlan, settings };
        if let Err(source) = set {
            link.remove().await.restore();
            return Err(ServiceError::of_socket(base, source));
        }
        Ok(link)
    }

    /// Removes the interface; the settings of its base are to be put back.
    pub(super) async fn remove(self) -> Changed {
        if let Err(error) = self.macvlan.remove().await {
            tracing::error!(%error, "virtual interface left behind");
        }
        self.settings
    }

    /// Puts these settings back, too, in the end: another interface over the same base has gone.
    pub(super) fn inherit(&mut self, settings: Changed) {
        self.settings.inherit(settings);
    }

    /// Gives the settings away that are to be put back.
    pub(super) fn give_settings(&mut self) -> Changed {
        std::mem::take(&mut self.settings)
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn name(&self) -> &str {
        self.macvlan.name()
    }
}

/// Each interface answers ARP for its own addresses only, and asks with its own: otherwise the
/// base would tell the network its own link-layer address for the virtual one. What comes in for
/// the virtual link-layer address goes out over the base, which the reverse-path filter must bear.
fn set(settings: &mut Changed, base: &str, virtual_link: &str) -> std::io::Result<()> {
    for interface in [base, virtual_link] {
        settings.set_ipv4(interface, "arp_ignore", Wanted::AtLeast(1))?;
        settings.set_ipv4(interface, "arp_announce", Wanted::AtLeast(2))?;
    }
    settings.set_ipv4(virtual_link, "rp_filter", Wanted::Exactly(2))
}
