//! What a virtual router is told by its operator.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::guarantee::{AtLeastOne, Claim};
use serde::{Deserialize, Serialize};

use crate::address::VirtualAddress;

/// The number of a virtual router on its network, 1 to 255 (RFC 9568, section 5.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// A virtual router's number; `None` for 0.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match NonZeroU8::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much a router wants to be the active one, 1 to 255; 255 is the addresses' owner
/// (RFC 9568, section 5.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(NonZeroU8);

impl Priority {
    /// 100, the default of a router that does not own the addresses.
    pub const DEFAULT: Self = Self(NonZeroU8::new(100).unwrap());
    /// 255, the router whose interface addresses the virtual ones are.
    pub const OWNER: Self = Self(NonZeroU8::MAX);

    /// A priority; `None` for 0, which on the wire means "I stop".
    #[must_use]
    pub const fn new(priority: u8) -> Option<Self> {
        match NonZeroU8::new(priority) {
            Some(priority) => Some(Self(priority)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// Whether this is the owner of the addresses.
    #[must_use]
    pub const fn is_owner(self) -> bool {
        self.get() == u8::MAX
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The configuration of a [`Router`](super::Router), complete and checked.
///
/// ```
/// use std::time::Duration;
/// use ha_vip::vrrp::RouterConfig;
///
/// let config = RouterConfig::builder(51)
///     .address("192.0.2.10/24".parse::<ha_vip::VirtualAddress>()?)
///     .priority(150)
///     .advert_interval(Duration::from_millis(100))
///     .build()?;
/// assert_eq!(config.active_down_interval().as_micros(), 341_406); // 3 adverts and the skew
///
/// let error = RouterConfig::builder(0).priority(0).build().unwrap_err();
/// assert_eq!(error.problems().len(), 3); // the number, the priority, and no address
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterConfig {
    pub(super) vrid: Vrid,
    pub(super) priority: Priority,
    pub(super) addresses: Vec<VirtualAddress>,
    pub(super) advert_interval: Duration,
    pub(super) preempt: bool,
    pub(super) announce_refresh: Duration,
}

/// The most addresses of one virtual router: the count on the wire is one byte.
pub const MAX_ADDRESSES: usize = 255;

impl RouterConfig {
    /// The shortest advert interval that VRRPv3 can say: one centisecond.
    pub const MIN_ADVERT_INTERVAL: Duration = Duration::from_millis(10);
    /// The longest: 4095 centiseconds.
    pub const MAX_ADVERT_INTERVAL: Duration = Duration::from_millis(40_950);

    /// Starts a configuration of the virtual router `vrid`, 1 to 255.
    pub fn builder(vrid: u8) -> RouterBuilder {
        RouterBuilder {
            vrid,
            priority: Priority::DEFAULT.get(),
            addresses: Vec::new(),
            advert_interval: Duration::from_secs(1),
            preempt: true,
            announce_refresh: Duration::from_mins(1),
        }
    }

    /// The virtual router's number.
    #[must_use]
    pub const fn vrid(&self) -> Vrid {
        self.vrid
    }

    /// How much this router wants to be the active one.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// The addresses that float, in the order in which adverts name them.
    #[must_use]
    pub fn addresses(&self) -> &[VirtualAddress] {
        &self.addresses
    }

    /// The time between two adverts while active.
    #[must_use]
    pub const fn advert_interval(&self) -> Duration {
        self.advert_interval
    }

    /// Whether this router takes the addresses from an active one of lower priority.
    #[must_use]
    pub const fn preempt(&self) -> bool {
        self.preempt
    }

    /// The time between two announcements of a settled active router.
    #[must_use]
    pub const fn announce_refresh(&self) -> Duration {
        self.announce_refresh
    }

    /// Whether the addresses are of IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.addresses.first().is_some_and(|address| address.ip().is_ipv6())
    }

    /// How long after the last advert a backup with this configuration takes over, while its
    /// active router advertises as often as it would itself: three intervals and the skew.
    #[must_use]
    pub fn active_down_interval(&self) -> Duration {
        active_down_interval(self.priority, self.advert_interval)
    }
}

/// `Skew_Time` (RFC 9568, section 6.1).
pub(super) fn skew(priority: Priority, active_interval: Duration) -> Duration {
    active_interval * (256 - u32::from(priority.get())) / 256
}

/// `Active_Down_Interval` (RFC 9568, section 6.1).
pub(super) fn active_down_interval(priority: Priority, active_interval: Duration) -> Duration {
    3 * active_interval + skew(priority, active_interval)
}

/// Makes a [`RouterConfig`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RouterBuilder {
    vrid: u8,
    priority: u8,
    addresses: Vec<VirtualAddress>,
    advert_interval: Duration,
    preempt: bool,
    announce_refresh: Duration,
}

impl RouterBuilder {
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
        self.addresses.push(address.into().into_inner());
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

    /// Sets the time between adverts: 10 ms to 40.95 s in steps of 10 ms. Default 1 s
    /// (RFC 9568, section 6.1; keepalived's `advert_int`).
    ///
    /// A crash is seen after three to four intervals. Too short an interval takes a stall of the
    /// active router for its death: three intervals must exceed its longest stall.
    pub const fn advert_interval(mut self, interval: Duration) -> Self {
        self.advert_interval = interval;
        self
    }

    /// Sets whether to take the addresses from an active router of lower priority. Default true
    /// (RFC 9568, section 6.1; keepalived's `nopreempt` is the opposite). The owner always does.
    pub const fn preempt(mut self, preempt: bool) -> Self {
        self.preempt = preempt;
        self
    }

    /// Sets how often an active router tells its neighbours again where the addresses are: 1 s to
    /// 1 day. Default 1 minute (keepalived's `garp_master_refresh`, which is off by default).
    ///
    /// A client that was cut off during a take-over learns of it by the next one at the latest.
    pub const fn announce_refresh(mut self, every: Duration) -> Self {
        self.announce_refresh = every;
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: setter, value, what is allowed.
    pub fn build(self) -> Result<RouterConfig, ConfigError> {
        let mut problems = Problems::new();
        let vrid = Vrid::new(self.vrid);
        if vrid.is_none() {
            problems.add("vrid", self.vrid, "1 to 255");
        }
        let priority = Priority::new(self.priority);
        if priority.is_none() {
            problems.add("priority", self.priority, "1 to 254, or 255 for the addresses' owner");
        }
        check_interval(self.advert_interval, &mut problems);
        let refresh = Duration::from_secs(1)..=Duration::from_hours(24);
        if !refresh.contains(&self.announce_refresh) {
            let value = format!("{:?}", self.announce_refresh);
            problems.add("announce_refresh", value, "1 s to 1 day");
        }
        check_addresses(&self.addresses, &mut problems);
        let config = RouterConfig {
            vrid: vrid.unwrap_or(Vrid(NonZeroU8::MIN)),
            priority: priority.unwrap_or(Priority::DEFAULT),
            addresses: self.addresses,
            advert_interval: self.advert_interval,
            preempt: self.preempt,
            announce_refresh: self.announce_refresh,
        };
        problems.into_result(config)
    }
}

fn check_interval(interval: Duration, problems: &mut Problems) {
    let range = RouterConfig::MIN_ADVERT_INTERVAL..=RouterConfig::MAX_ADVERT_INTERVAL;
    let whole = interval.as_nanos().is_multiple_of(RouterConfig::MIN_ADVERT_INTERVAL.as_nanos());
    if !range.contains(&interval) || !whole {
        let allowed = "10 ms to 40950 ms in steps of 10 ms: VRRPv3 counts in centiseconds";
        problems.add("advert_interval", format!("{} ms", interval.as_secs_f64() * 1e3), allowed);
    }
}

fn check_addresses(addresses: &[VirtualAddress], problems: &mut Problems) {
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        problems.add("address", format!("{} addresses", addresses.len()), "1 to 255 addresses");
    }
    let families = addresses.iter().filter(|address| address.ip().is_ipv6()).count();
    if families != 0 && families != addresses.len() {
        let allowed = "all IPv4 or all IPv6; make a second virtual router for the other family";
        problems.add("address", "IPv4 and IPv6 mixed", allowed);
    }
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    for (index, address) in addresses.iter().enumerate() {
        if addresses.iter().take(index).any(|earlier| earlier.ip() == address.ip()) {
            problems.add("address", address, "each address once");
        }
        // RFC 9568 §5.2.9: the first IPv6 address must be the link-local one. keepalived does
        // without it, so a single global address is let through; a late link-local one is not.
        if index > 0 && link_local(address.ip()) && !link_local(addresses[0].ip()) {
            problems.add("address", address, "the link-local address first");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> VirtualAddress {
        text.parse().expect("an address")
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let error = RouterConfig::builder(0)
            .priority(0)
            .advert_interval(Duration::from_millis(15))
            .address(address("192.0.2.1/24"))
            .address(address("2001:db8::1/64"))
            .address(address("192.0.2.1/32"))
            .build()
            .expect_err("all wrong");
        let paths: Vec<&str> = error.problems().iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["vrid", "priority", "advert_interval", "address", "address"]);
        assert!(error.to_string().contains("advert_interval: 15 ms is not allowed: 10 ms to"));
    }

    #[test]
    fn the_intervals_of_the_rfc_are_kept() {
        let build = |interval| {
            RouterConfig::builder(1)
                .address(address("192.0.2.1/24"))
                .advert_interval(interval)
                .build()
        };
        for ms in [10, 100, 40_950] {
            assert!(build(Duration::from_millis(ms)).is_ok(), "{ms}");
        }
        for interval in
            [Duration::ZERO, Duration::from_millis(9), Duration::from_secs(41), Duration::MAX]
        {
            assert!(build(interval).is_err(), "{interval:?}");
        }
    }

    #[test]
    fn skew_and_down_interval_follow_section_6_1() {
        let ten = Duration::from_millis(10);
        let priority = |p| Priority::new(p).expect("not 0");
        assert_eq!(skew(priority(100), ten).as_micros(), 6_093);
        assert_eq!(active_down_interval(priority(254), ten).as_micros(), 30_078);
        assert_eq!(active_down_interval(Priority::OWNER, ten).as_micros(), 30_039);
    }
}
