//! What a virtual router is told by its operator.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod builder;
mod host;
#[cfg(test)]
mod tests;

pub use builder::RouterBuilder;
pub use host::{HostBuilder, HostConfig, Instance, MAX_ROUTERS, SyncGroup};

use super::wire::{Checksum, Password, Version};
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
    pub(super) version: Version,
    pub(super) priority: Priority,
    pub(super) addresses: Vec<VirtualAddress>,
    pub(super) unadvertised: Vec<VirtualAddress>,
    pub(super) advert_interval: Duration,
    pub(super) down_adverts: u32,
    pub(super) preempt: bool,
    pub(super) preempt_delay: Duration,
    pub(super) startup_patience: Duration,
    pub(super) unicast_peers: Vec<IpAddr>,
    pub(super) hop_limits: RangeInclusive<u8>,
    pub(super) kin: Vec<Kin>,
    pub(super) beat_interval: Option<Duration>,
    pub(super) password: Option<Password>,
    pub(super) checksum: Checksum,
    pub(super) announce: Announcing,
}

/// When and how often an active router tells its neighbours where the addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Announcing {
    pub(super) repeat: u8,
    pub(super) delay: Duration,
    pub(super) refresh: Duration,
}

/// A peer of this implementation, named by the operator: it is told who the heir is, and may be
/// sent beats (`docs/protocol/vrrp-extension.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "an address, and another way to the same host")]
pub struct Kin {
    /// Its primary address on the virtual router's network.
    pub address: IpAddr,
    /// Another address of the same host, over another network: the way for a goodbye when the
    /// first network's link is lost.
    #[serde(default)]
    pub second: Option<IpAddr>,
}

impl From<IpAddr> for Kin {
    fn from(address: IpAddr) -> Self {
        Self { address, second: None }
    }
}

/// The most addresses of one virtual router: the count on the wire is one byte.
pub const MAX_ADDRESSES: usize = 255;

impl RouterConfig {
    /// The shortest advert interval that VRRPv3 can say: one centisecond.
    pub const MIN_ADVERT_INTERVAL: Duration = Duration::from_millis(10);
    /// The most peers that can be named as kin.
    pub const MAX_KIN: usize = 16;
    /// The longest: 4095 centiseconds.
    pub const MAX_ADVERT_INTERVAL: Duration = Duration::from_millis(40_950);

    /// Starts a configuration of the virtual router `vrid`, 1 to 255.
    pub fn builder(vrid: u8) -> RouterBuilder {
        RouterBuilder::new(vrid)
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

    /// Addresses that float along without being named in adverts.
    #[must_use]
    pub fn unadvertised(&self) -> &[VirtualAddress] {
        &self.unadvertised
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

    /// How long a router that would preempt waits first.
    #[must_use]
    pub const fn preempt_delay(&self) -> Duration {
        self.preempt_delay
    }

    /// The version of the protocol that is spoken.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The peers that adverts go to one by one; empty: to the group.
    #[must_use]
    pub fn unicast_peers(&self) -> &[IpAddr] {
        &self.unicast_peers
    }

    /// The peers of this implementation that the operator named.
    #[must_use]
    pub fn kin(&self) -> &[Kin] {
        &self.kin
    }

    /// The time between two beats to kin; `None`: no beats.
    #[must_use]
    pub const fn beat_interval(&self) -> Option<Duration> {
        self.beat_interval
    }

    /// How many frames announce one address at a time.
    #[must_use]
    pub const fn announce_repeat(&self) -> u8 {
        self.announce.repeat
    }

    /// The time between two announcements of a settled active router.
    #[must_use]
    pub const fn announce_refresh(&self) -> Duration {
        self.announce.refresh
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
        self.active_down(self.priority, self.advert_interval)
    }

    /// `Skew_Time` (RFC 9568, section 6.1), or that of version 2, whose skew is of a second
    /// (RFC 3768, section 6.1).
    pub(super) fn skew(&self, priority: Priority, active_interval: Duration) -> Duration {
        let of = match self.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => active_interval,
        };
        of * (256 - u32::from(priority.get())) / 256
    }

    /// `Active_Down_Interval` (RFC 9568, section 6.1).
    pub(super) fn active_down(&self, priority: Priority, active_interval: Duration) -> Duration {
        self.down_adverts * active_interval + self.skew(priority, active_interval)
    }
}
