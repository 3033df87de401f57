//! Makes the configuration of one virtual router.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::ops::RangeInclusive;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::guarantee::{AtLeastOne, Claim};

use super::{Announcing, Kin, MAX_ADDRESSES, Priority, RouterConfig, Vrid};
use crate::address::VirtualAddress;
use crate::vrrp::wire::{Checksum, Password, Version};

/// Makes a [`RouterConfig`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RouterBuilder {
    vrid: u8,
    priority: u8,
    password: Option<String>,
    config: RouterConfig,
}

impl RouterBuilder {
    pub(super) fn new(vrid: u8) -> Self {
        let config = RouterConfig {
            vrid: Vrid::new(vrid).unwrap_or(Vrid(NonZeroU8::MIN)),
            version: Version::V3,
            priority: Priority::DEFAULT,
            addresses: Vec::new(),
            unadvertised: Vec::new(),
            advert_interval: Duration::from_secs(1),
            down_adverts: 3,
            preempt: true,
            preempt_delay: Duration::ZERO,
            startup_patience: Duration::from_secs(3),
            unicast_peers: Vec::new(),
            hop_limits: 255..=255,
            kin: Vec::new(),
            beat_interval: None,
            password: None,
            checksum: Checksum::PseudoHeader,
            announce: Announcing {
                repeat: 1,
                delay: Duration::from_secs(5),
                refresh: Duration::from_mins(1),
            },
        };
        Self { vrid, priority: Priority::DEFAULT.get(), password: None, config }
    }

    /// Adds an address that floats. At least one, at most 255, all of one family.
    ///
    /// Only *at least one* things may be served by a virtual router: in a split both sides hold
    /// the address. An address that must not be active twice is a cluster's.
    ///
    /// ```compile_fail
    /// use ha_core::guarantee::{AtMostOne, Claim};
    /// # let address: ha_vip::VirtualAddress = "192.0.2.10/24".parse().unwrap();
    /// ha_vip::vrrp::RouterConfig::builder(51).address(Claim::<_, AtMostOne>::new(address));
    /// ```
    pub fn address(mut self, address: impl Into<Claim<VirtualAddress, AtLeastOne>>) -> Self {
        self.config.addresses.push(address.into().into_inner());
        self
    }

    /// Adds an address that floats along without being named in adverts, of either family
    /// (keepalived's `virtual_ipaddress_excluded`). At most 255.
    pub fn unadvertised(mut self, address: impl Into<Claim<VirtualAddress, AtLeastOne>>) -> Self {
        self.config.unadvertised.push(address.into().into_inner());
        self
    }

    /// Sets the version of the protocol. Default 3 (keepalived's `version`).
    ///
    /// Version 2 (RFC 3768) is for old peers: IPv4, whole seconds.
    pub const fn version(mut self, version: Version) -> Self {
        self.config.version = version;
        self
    }

    /// Sets the priority: 1 to 254, or 255 for the owner of the addresses. Default 100
    /// (RFC 9568, section 6.1; keepalived's `priority`).
    ///
    /// A backup of priority 254 reacts up to one advert interval sooner than one of priority 1.
    pub const fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the time between adverts. Version 3: 10 ms to 40.95 s in steps of 10 ms; version 2: 1
    /// to 255 whole seconds. Default 1 s (RFC 9568, section 6.1; keepalived's `advert_int`).
    ///
    /// A crash is seen after three to four intervals. Too short an interval takes a stall of the
    /// active router for its death: three intervals must exceed its longest stall.
    pub const fn advert_interval(mut self, interval: Duration) -> Self {
        self.config.advert_interval = interval;
        self
    }

    /// Sets after how many silent intervals the active router counts as dead: 1 to 100. Default 3,
    /// as the RFC has it (keepalived's `down_timer_adverts`). All routers should have the same.
    pub const fn down_adverts(mut self, adverts: u32) -> Self {
        self.config.down_adverts = adverts;
        self
    }

    /// Sets whether to take the addresses from an active router of lower priority. Default true
    /// (RFC 9568, section 6.1; keepalived's `nopreempt` is the opposite). The owner always does.
    ///
    /// Without preemption a router that has only just become active yields to one that was active
    /// already, whatever the priorities: it has missed adverts, and nobody wanted the move.
    pub const fn preempt(mut self, preempt: bool) -> Self {
        self.config.preempt = preempt;
        self
    }

    /// Sets how long a lower active router is left alone before it is preempted: 0 to 1000 s.
    /// Default 0 (keepalived's `preempt_delay`). Its silence is acted upon at once all the same.
    pub const fn preempt_delay(mut self, delay: Duration) -> Self {
        self.config.preempt_delay = delay;
        self
    }

    /// Sets how long a starting router waits for its link to prove itself before it serves all the
    /// same: 0 to 10 minutes. Default 3 s.
    ///
    /// A port of a switch that still learns (spanning tree), or half a bond, has a carrier and
    /// lets nothing through: whoever hears nobody there must not conclude that nobody is there.
    /// The link is proven once any frame came in through it.
    pub const fn startup_patience(mut self, patience: Duration) -> Self {
        self.config.startup_patience = patience;
        self
    }

    /// Adds a peer that adverts go to, instead of to the group (keepalived's `unicast_peer`). At
    /// most 255, of the addresses' family. Adverts of others are then dropped.
    pub fn unicast_peer(mut self, peer: IpAddr) -> Self {
        self.config.unicast_peers.push(peer);
        self
    }

    /// Sets which TTLs or hop limits a unicast advert may arrive with. Default 255 alone
    /// (keepalived's `min_ttl` and `max_ttl`; its IPv6 unicast adverts leave with 64).
    ///
    /// With less than 255 anybody on the way may forge adverts: use authentication then.
    pub const fn hop_limits(mut self, allowed: RangeInclusive<u8>) -> Self {
        self.config.hop_limits = allowed;
        self
    }

    /// Names a peer of this implementation. At most 16.
    ///
    /// Kin tell one another who the heir is, so that a goodbye needs no skew; the protocol is in
    /// `docs/protocol/vrrp-extension.md`. Nothing of it is ever sent to an address that was not
    /// named here.
    pub fn kin(mut self, peer: impl Into<Kin>) -> Self {
        self.config.kin.push(peer.into());
        self
    }

    /// Sets the time between beats to kin: 1 ms to 1 s. Default none.
    ///
    /// A backup that gets beats takes over after three silent beat intervals and the skew of one:
    /// 12 ms with beats every 3 ms.
    pub const fn beat_interval(mut self, interval: Duration) -> Self {
        self.config.beat_interval = Some(interval);
        self
    }

    /// Sets the password of version 2, 1 to 8 bytes; longer ones are cut, as keepalived does
    /// (its `auth_pass`). It travels in clear: it keeps out mistakes, not attackers.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets which reading of the IPv4 checksum is sent until a peer is heard, whose reading is
    /// then mirrored. Default [`Checksum::PseudoHeader`] (keepalived's `v3_checksum_as_v2`).
    pub const fn checksum(mut self, checksum: Checksum) -> Self {
        self.config.checksum = checksum;
        self
    }

    /// Sets how many frames announce an address at a time: 1 to 10. Default 1 (keepalived's
    /// `garp_master_repeat`, 5 by default). The schedule announces four times in any case.
    pub const fn announce_repeat(mut self, frames: u8) -> Self {
        self.config.announce.repeat = frames;
        self
    }

    /// Sets when a new active router announces the last time on its own schedule (at once, after
    /// 100 ms, 1 s, and this): 1 s to 1 minute. Default 5 s (keepalived's `garp_master_delay`).
    pub const fn announce_delay(mut self, delay: Duration) -> Self {
        self.config.announce.delay = delay;
        self
    }

    /// Sets how often an active router tells its neighbours again where the addresses are: 1 s to
    /// 1 day. Default 1 minute (keepalived's `garp_master_refresh`, which is off by default).
    ///
    /// A client that was cut off during a take-over learns of it by the next one at the latest.
    pub const fn announce_refresh(mut self, every: Duration) -> Self {
        self.config.announce.refresh = every;
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: setter, value, what is allowed.
    pub fn build(self) -> Result<RouterConfig, ConfigError> {
        let Self { vrid, priority, password, mut config } = self;
        let mut problems = Problems::new();
        if Vrid::new(vrid).is_none() {
            problems.add("vrid", vrid, "1 to 255");
        }
        if let Some(priority) = Priority::new(priority) {
            config.priority = priority;
        } else {
            problems.add("priority", priority, "1 to 254, or 255 for the addresses' owner");
        }
        match password.as_deref().map(Password::new) {
            Some(None) => problems.add("password", "nothing", "1 to 8 bytes"),
            Some(password) => config.password = password,
            None => {}
        }
        check_version(&config, &mut problems);
        check_times(&config, &mut problems);
        check_addresses(&config, &mut problems);
        check_peers(&config, &mut problems);
        problems.into_result(config)
    }
}

fn check_version(config: &RouterConfig, problems: &mut Problems) {
    let interval = config.advert_interval;
    let text = format!("{} ms", interval.as_secs_f64() * 1e3);
    match config.version {
        Version::V2 => {
            let whole = interval.subsec_nanos() == 0 && (1..=255).contains(&interval.as_secs());
            if !whole {
                let allowed = "1 to 255 whole seconds: VRRPv2 counts in seconds; use version 3";
                problems.add("advert_interval", text, allowed);
            }
            if config.is_ipv6() {
                problems.add("version", "2 with IPv6", "version 3 for IPv6 addresses");
            }
            if config.beat_interval.is_some() || !config.kin.is_empty() {
                problems.add("kin", "with version 2", "version 3, which all kin speak");
            }
        }
        Version::V3 => {
            let range = RouterConfig::MIN_ADVERT_INTERVAL..=RouterConfig::MAX_ADVERT_INTERVAL;
            let step = RouterConfig::MIN_ADVERT_INTERVAL.as_nanos();
            if !range.contains(&interval) || !interval.as_nanos().is_multiple_of(step) {
                let allowed = "10 ms to 40950 ms in steps of 10 ms: VRRPv3 counts in centiseconds; for \
                     less, name the peers as `kin` and set `beat_interval`";
                problems.add("advert_interval", text, allowed);
            }
            if config.password.is_some() {
                let allowed = "no password with version 3, which has none; use HMAC keys";
                problems.add("password", "with version 3", allowed);
            }
        }
    }
}

fn check_times(config: &RouterConfig, problems: &mut Problems) {
    let mut within = |name: &str, value: Duration, low: Duration, high: Duration| {
        if !(low..=high).contains(&value) {
            problems.add(name, format!("{value:?}"), format!("{low:?} to {high:?}"));
        }
    };
    let (second, ms) = (Duration::from_secs(1), Duration::from_millis(1));
    within("preempt_delay", config.preempt_delay, Duration::ZERO, second * 1000);
    within("startup_patience", config.startup_patience, Duration::ZERO, second * 600);
    within("announce_delay", config.announce.delay, second, second * 60);
    within("announce_refresh", config.announce.refresh, second, second * 86_400);
    within("beat_interval", config.beat_interval.unwrap_or(ms), ms, second);
    if !(1..=100).contains(&config.down_adverts) {
        problems.add("down_adverts", config.down_adverts, "1 to 100");
    }
    if !(1..=10).contains(&config.announce.repeat) {
        problems.add("announce_repeat", config.announce.repeat, "1 to 10");
    }
}

fn check_addresses(config: &RouterConfig, problems: &mut Problems) {
    let addresses = &config.addresses;
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        problems.add("address", format!("{} addresses", addresses.len()), "1 to 255 addresses");
    }
    let families = addresses.iter().filter(|address| address.ip().is_ipv6()).count();
    if families != 0 && families != addresses.len() {
        let allowed = "all IPv4 or all IPv6; make a second virtual router for the other family";
        problems.add("address", "IPv4 and IPv6 mixed", allowed);
    }
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let first_is_link_local = addresses.first().is_some_and(|first| link_local(first.ip()));
    let mut seen = std::collections::BTreeSet::new();
    for (index, address) in addresses.iter().enumerate() {
        if !seen.insert(address.ip()) {
            problems.add("address", address, "each address once");
        }
        // RFC 9568 §5.2.9: the first IPv6 address must be the link-local one. keepalived does
        // without it, so a single global address is let through; a late link-local one is not.
        if index > 0 && link_local(address.ip()) && !first_is_link_local {
            problems.add("address", address, "the link-local address first");
        }
    }
    for address in &config.unadvertised {
        if !seen.insert(address.ip()) {
            problems.add("unadvertised", address, "each address once");
        }
    }
    if config.unadvertised.len() > MAX_ADDRESSES {
        let value = format!("{} addresses", config.unadvertised.len());
        problems.add("unadvertised", value, "at most 255 addresses");
    }
}

fn check_peers(config: &RouterConfig, problems: &mut Problems) {
    let of_family = |ip: &IpAddr| ip.is_ipv6() == config.is_ipv6();
    if config.unicast_peers.len() > MAX_ADDRESSES {
        let value = format!("{} peers", config.unicast_peers.len());
        problems.add("unicast_peer", value, "at most 255 peers");
    }
    for peer in config.unicast_peers.iter().filter(|peer| !of_family(peer)) {
        problems.add("unicast_peer", peer, "an address of the virtual addresses' family");
    }
    if config.kin.len() > RouterConfig::MAX_KIN {
        problems.add("kin", format!("{} peers", config.kin.len()), "at most 16 peers");
    }
    for kin in config.kin.iter().filter(|kin| !of_family(&kin.address)) {
        problems.add("kin", kin.address, "an address of the virtual addresses' family");
    }
    if config.beat_interval.is_some() && config.kin.is_empty() {
        let allowed = "`kin` beside it: beats go to none but the peers that are named";
        problems.add("beat_interval", "without kin", allowed);
    }
    if config.hop_limits.is_empty() {
        problems.add("hop_limits", format!("{:?}", config.hop_limits), "a range of 1 to 255");
    }
    if config.unicast_peers.is_empty() && config.hop_limits != (255..=255) {
        let allowed = "255 alone where adverts go to the group, which no router passes on";
        problems.add("hop_limits", format!("{:?}", config.hop_limits), allowed);
    }
}
