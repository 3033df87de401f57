//! The configuration of all virtual routers of one host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ha_core::config::{ConfigError, Problems};

use super::RouterConfig;
use crate::track::Tracked;
use crate::vrrp::auth::HmacConfig;

/// The most virtual routers of one host: 255 on each of sixteen networks.
pub const MAX_ROUTERS: usize = 4_080;

/// A virtual router with its name, its place and what it depends on (keepalived's
/// `vrrp_instance`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Instance {
    pub(in crate::vrrp) name: String,
    pub(in crate::vrrp) interface: String,
    pub(in crate::vrrp) router: RouterConfig,
    pub(in crate::vrrp) source: Option<IpAddr>,
    pub(in crate::vrrp) tracked: Vec<Tracked>,
    pub(in crate::vrrp) hmac: Option<HmacConfig>,
    pub(in crate::vrrp) virtual_mac: bool,
    pub(in crate::vrrp) accept: bool,
    pub(in crate::vrrp) second_interfaces: Vec<String>,
    pub(in crate::vrrp) address_interfaces: BTreeMap<IpAddr, String>,
}

impl Instance {
    /// A virtual router named `name` on the interface `interface`.
    pub fn new(
        name: impl Into<String>,
        interface: impl Into<String>,
        router: RouterConfig,
    ) -> Self {
        Self {
            name: name.into(),
            interface: interface.into(),
            router,
            source: None,
            tracked: Vec::new(),
            hmac: None,
            virtual_mac: false,
            accept: true,
            second_interfaces: Vec::new(),
            address_interfaces: BTreeMap::new(),
        }
    }

    /// Sets the address that adverts come from. Default: the interface's primary address, for IPv6
    /// its link-local one (keepalived's `mcast_src_ip` and `unicast_src_ip`).
    pub const fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Makes the router depend on a tracker of this name. The interface itself is always tracked.
    pub fn track(mut self, tracked: Tracked) -> Self {
        self.tracked.push(tracked);
        self
    }

    /// Authenticates adverts (keepalived 2.4's `auth_hmac`).
    pub fn hmac(mut self, hmac: HmacConfig) -> Self {
        self.hmac = Some(hmac);
        self
    }

    /// Serves the addresses with the virtual router's own link-layer address, on an interface that
    /// is made for it (RFC 9568, section 7.3; keepalived's `use_vmac`): clients need not learn
    /// anything at a takeover. Default false.
    ///
    /// IPv4 adverts leave from it, too; IPv6 adverts come from the interface itself, whose
    /// link-local address they need. `arp_ignore` and `arp_announce` of the interface are raised
    /// to 1 and 2 for as long as the router runs. Needs the kernel's module macvlan.
    pub const fn virtual_mac(mut self, on: bool) -> Self {
        self.virtual_mac = on;
        self
    }

    /// Sets whether packets that are sent to the addresses are let in (RFC 9568's `Accept_Mode`;
    /// keepalived's `accept` and `no_accept`). Default true, as a server or balancer needs it.
    ///
    /// False is for a gateway, which only passes on; the owner of the addresses always accepts. Needs
    /// the program `nft`: see [`RefusingBackend`](crate::backend::RefusingBackend).
    pub const fn accept(mut self, accept: bool) -> Self {
        self.accept = accept;
        self
    }

    /// Adds another interface of this host on which kin are reached too: goodbyes are heard there,
    /// and said there when the first link is lost. At most 8.
    pub fn second_interface(mut self, interface: impl Into<String>) -> Self {
        self.second_interfaces.push(interface.into());
        self
    }

    /// Puts one of the addresses on another interface than the adverts' (keepalived's `dev` in
    /// `virtual_ipaddress`).
    pub fn address_on(mut self, address: IpAddr, interface: impl Into<String>) -> Self {
        self.address_interfaces.insert(address, interface.into());
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface on which adverts are sent and heard.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The virtual router itself.
    #[must_use]
    pub const fn router(&self) -> &RouterConfig {
        &self.router
    }

    /// What the router depends on.
    pub fn tracked(&self) -> &[Tracked] {
        &self.tracked
    }

    /// Whether packets that are sent to the addresses are let in.
    #[must_use]
    pub const fn accepts(&self) -> bool {
        self.accept || self.router.priority.is_owner()
    }

    /// Whether the addresses are served with the virtual router's own link-layer address.
    #[must_use]
    pub const fn has_virtual_mac(&self) -> bool {
        self.virtual_mac
    }
}

/// Virtual routers that are active together or not at all (keepalived's `vrrp_sync_group`), such
/// as both sides of a firewall.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct SyncGroup {
    pub(in crate::vrrp) name: String,
    pub(in crate::vrrp) members: Vec<String>,
    pub(in crate::vrrp) tracked: Vec<Tracked>,
}

impl SyncGroup {
    /// A group of the instances with these names.
    pub fn new<S: Into<String>>(
        name: impl Into<String>,
        members: impl IntoIterator<Item = S>,
    ) -> Self {
        let members = members.into_iter().map(Into::into).collect();
        Self { name: name.into(), members, tracked: Vec::new() }
    }

    /// Makes every member depend on a tracker of this name.
    pub fn track(mut self, tracked: Tracked) -> Self {
        self.tracked.push(tracked);
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The members' names.
    #[must_use]
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// What every member depends on.
    pub fn tracked(&self) -> &[Tracked] {
        &self.tracked
    }
}

/// All virtual routers of one host, complete and checked.
///
/// ```
/// use ha_vip::vrrp::{HostConfig, Instance, RouterConfig, SyncGroup};
///
/// let router = |vrid, address: &str| {
///     let address: ha_vip::VirtualAddress = address.parse().expect("an address");
///     RouterConfig::builder(vrid).address(address).build()
/// };
/// let config = HostConfig::builder()
///     .instance(Instance::new("inside", "eth0", router(1, "10.0.0.1/24")?))
///     .instance(Instance::new("outside", "eth1", router(1, "192.0.2.1/24")?))
///     .group(SyncGroup::new("firewall", ["inside", "outside"]))
///     .build()?;
/// assert_eq!(config.instances().len(), 2);
///
/// let error = HostConfig::builder().group(SyncGroup::new("g", ["nobody"])).build().unwrap_err();
/// assert!(error.to_string().contains("group.g.members"));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostConfig {
    instances: Vec<Instance>,
    groups: Vec<SyncGroup>,
}

impl HostConfig {
    /// Starts an empty configuration.
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// The virtual routers, in the order in which they were named.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// The groups.
    pub fn groups(&self) -> &[SyncGroup] {
        &self.groups
    }
}

/// Makes a [`HostConfig`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct HostBuilder(HostConfig);

impl HostBuilder {
    /// Adds a virtual router. At most 4,080; names, and numbers on one interface, once.
    pub fn instance(mut self, instance: Instance) -> Self {
        self.0.instances.push(instance);
        self
    }

    /// Adds a group. An instance is in at most one.
    pub fn group(mut self, group: SyncGroup) -> Self {
        self.0.groups.push(group);
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: path, value, what is allowed.
    pub fn build(self) -> Result<HostConfig, ConfigError> {
        let mut problems = Problems::new();
        let Self(config) = self;
        let count = config.instances.len();
        if count > MAX_ROUTERS {
            problems.add("instance", format!("{count} instances"), "at most 4080 instances");
        }
        check_instances(&config.instances, &mut problems);
        check_groups(&config, &mut problems);
        problems.into_result(config)
    }
}

fn check_instances(instances: &[Instance], problems: &mut Problems) {
    let (mut names, mut numbers, mut addresses) =
        (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    check_places(instances, problems);
    for instance in instances {
        let path = |field: &str| format!("instance.{}.{field}", instance.name);
        if !names.insert(&instance.name) {
            problems.add(path("name"), &instance.name, "each name once");
        }
        // IFNAMSIZ is 16 with the closing zero.
        for interface in std::iter::once(&instance.interface).chain(&instance.second_interfaces) {
            if interface.is_empty() || interface.len() > 15 || interface.contains(['/', ' ']) {
                let allowed = "an interface's name, 1 to 15 bytes without / and spaces";
                problems.add(path("interface"), interface, allowed);
            }
        }
        if instance.second_interfaces.len() > 8 {
            let value = format!("{} interfaces", instance.second_interfaces.len());
            problems.add(path("second_interface"), value, "at most 8 interfaces");
        }
        let router = &instance.router;
        let number = (&instance.interface, router.is_ipv6(), router.vrid);
        if let Some(other) = numbers.insert(number, &instance.name) {
            let allowed = format!("another number than `{other}` has on this interface");
            problems.add(path("vrid"), router.vrid, allowed);
        }
        for address in router.addresses.iter().chain(&router.unadvertised) {
            if let Some(other) = addresses.insert(address.ip(), &instance.name) {
                let allowed = format!("an address that `{other}` does not serve already");
                problems.add(path("address"), address, allowed);
            }
        }
        if instance.source.is_some_and(|source| source.is_ipv6() != router.is_ipv6()) {
            let value = instance.source.map(|source| source.to_string()).unwrap_or_default();
            problems.add(path("source"), value, "an address of the virtual addresses' family");
        }
    }
}

/// Where the addresses of each instance are to be.
fn check_places(instances: &[Instance], problems: &mut Problems) {
    let mut virtual_macs = BTreeMap::new();
    for instance in instances {
        let path = |field: &str| format!("instance.{}.{field}", instance.name);
        let router = &instance.router;
        let other = instance
            .virtual_mac
            .then(|| virtual_macs.insert((router.is_ipv6(), router.vrid), &instance.name));
        if let Some(other) = other.flatten() {
            let allowed = format!("another number than `{other}`, which has this virtual MAC");
            problems.add(path("virtual_mac"), router.vrid, allowed);
        }
        for ip in instance.address_interfaces.keys() {
            let mut addresses = router.addresses.iter().chain(&router.unadvertised);
            if !addresses.any(|address| address.ip() == *ip) {
                problems.add(path("address_on"), ip, "one of the instance's addresses");
            }
        }
    }
}

fn check_groups(config: &HostConfig, problems: &mut Problems) {
    let mut in_group: BTreeMap<&String, &String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for group in &config.groups {
        let path = |field: &str| format!("group.{}.{field}", group.name);
        if !names.insert(&group.name) {
            problems.add(path("name"), &group.name, "each name once");
        }
        if group.members.is_empty() {
            problems.add(path("members"), "nobody", "at least one instance");
        }
        for member in &group.members {
            if !config.instances.iter().any(|instance| &instance.name == member) {
                problems.add(path("members"), member, "the name of an instance");
            } else if let Some(other) = in_group.insert(member, &group.name) {
                let allowed = format!("an instance that is not in `{other}` already");
                problems.add(path("members"), member, allowed);
            }
        }
    }
}
