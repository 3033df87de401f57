//! Opens what a virtual router needs of the system: at the start, for a reload, and when its
//! interface has come back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::Handle;

use super::ServiceError;
use super::ground::{Ground, announcer};
use crate::address::VirtualAddress;
use crate::announce::{ConflictConfig, ConflictListener, ConflictPolicy};
use crate::backend::AddressBackend;
use crate::net::interface::Interface;
use crate::vrrp::RouterConfig;
use crate::vrrp::config::Instance;
use crate::vrrp::host::LinkId;

/// How virtual routers are opened here.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) netlink: Handle,
    pub(super) backends: BTreeMap<String, Arc<dyn AddressBackend>>,
    pub(super) conflicts: Option<ConflictPolicy>,
    pub(super) lease: Option<Duration>,
}

/// What a virtual router needs.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) instance: Instance,
    /// Its own link and the second ones, with the interfaces' names.
    pub(super) links: Vec<(String, LinkId)>,
    pub(super) source: IpAddr,
    pub(super) addresses: Arc<[VirtualAddress]>,
    pub(super) ground: Ground,
    pub(super) listener: Option<ConflictListener>,
}

impl Opener {
    /// Looks the interfaces up and opens all but the ears. What an earlier life left of the
    /// addresses is removed, but for those of `spared`, which this life serves.
    ///
    /// Cancel safe: nothing was changed yet, but for leftovers that are gone.
    pub(super) async fn open(
        &self,
        instance: &Instance,
        spared: &[VirtualAddress],
    ) -> Result<Opened, ServiceError> {
        let interface = instance.interface();
        let failed = |source| ServiceError::of_socket(interface, source);
        let config = instance.router();
        let link = self.find(interface).await?;
        // First, as it is where a missing privilege shows.
        let announcer = announcer(instance, &link)?;
        let addresses: Arc<[VirtualAddress]> =
            config.addresses().iter().chain(config.unadvertised()).copied().collect();
        let present = link.addresses(&self.netlink).await.map_err(failed)?;
        let source = instance.source.or_else(|| source_address(&present, config));
        let no_source = || ServiceError::NoSource { interface: interface.to_owned() };
        let source = source.ok_or_else(no_source)?;
        let own = LinkId { interface: link.index(), ipv6: config.is_ipv6() };
        let mut links = vec![(interface.to_owned(), own)];
        for second in &instance.second_interfaces {
            let interface = self.find(second).await?.index();
            links.push((second.clone(), LinkId { interface, ipv6: config.is_ipv6() }));
        }
        let ground = self.ground(instance, (&link, announcer), spared).await?;
        let listener = self.listen(&addresses, &ground)?;
        let instance = instance.clone();
        Ok(Opened { instance, links, source, addresses, ground, listener })
    }

    fn listen(
        &self,
        addresses: &[VirtualAddress],
        ground: &Ground,
    ) -> Result<Option<ConflictListener>, ServiceError> {
        let Some(policy) = self.conflicts else {
            return Ok(None);
        };
        let Ground { interface: link, elsewhere, announcer, .. } = ground;
        let conflicts = ConflictConfig::builder(link.mac()).policy(policy);
        let here = addresses.iter().filter(|address| !elsewhere.contains_key(&address.ip()));
        let conflicts = here.fold(conflicts, |c, address| c.address(*address));
        let config = conflicts.build().map_err(|source| ServiceError::Config { source })?;
        let ear = ConflictListener::open(link.name(), link.index(), config, Arc::clone(announcer));
        ear.map(Some).map_err(|source| ServiceError::of_socket(link.name(), source))
    }

    pub(super) async fn find(&self, interface: &str) -> Result<Interface, ServiceError> {
        let name = || interface.to_owned();
        let link = Interface::find(&self.netlink, interface).await;
        let link = link.map_err(|_| ServiceError::NoInterface { interface: name() })?;
        if link.is_up() { Ok(link) } else { Err(ServiceError::Down { interface: name() }) }
    }
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
