//! What a CARP host is told by its operator.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU8;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::guarantee::{AtLeastOne, Claim};
use serde::{Deserialize, Serialize};

use super::wire::{self, Authenticator, MAX_PASSWORD_LEN};
use crate::address::VirtualAddress;

/// The number of a group of hosts that share addresses, 1 to 255 (ucarp's `--vhid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vhid(NonZeroU8);

impl Vhid {
    /// A group's number; `None` for 0.
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

impl fmt::Display for Vhid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The most addresses of one group; ucarp has one.
pub const MAX_ADDRESSES: usize = 255;

/// The configuration of a [`Host`](super::Host), complete and checked.
///
/// ```
/// use ha_vip::carp::HostConfig;
///
/// let config = HostConfig::builder(42)
///     .password("love")
///     .address("192.0.2.10/24".parse::<ha_vip::VirtualAddress>()?)
///     .advskew(100)
///     .build()?;
/// assert_eq!(config.interval().as_millis(), 1_390);
/// assert_eq!(config.dead_interval().as_millis(), 4_171); // ucarp's, too
///
/// let error = HostConfig::builder(0).advskew(255).build().unwrap_err();
/// assert_eq!(error.problems().len(), 4); // the number, the skew, no password and no address
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HostConfig {
    pub(super) vhid: Vhid,
    pub(super) authenticator: Authenticator,
    pub(super) addresses: Vec<VirtualAddress>,
    pub(super) advbase: u8,
    pub(super) advskew: u8,
    pub(super) deadratio: u8,
    pub(super) preempt: bool,
    pub(super) require_proof: bool,
    pub(super) multicast: bool,
    pub(super) announce_refresh: Duration,
}

impl HostConfig {
    /// Starts a configuration of the group `vhid`, 1 to 255.
    pub fn builder(vhid: u8) -> HostBuilder {
        HostBuilder {
            vhid,
            password: Vec::new(),
            addresses: Vec::new(),
            advbase: 1,
            advskew: 0,
            deadratio: 3,
            preempt: false,
            require_proof: true,
            multicast: true,
            announce_refresh: Duration::from_mins(1),
        }
    }

    /// The group's number.
    #[must_use]
    pub const fn vhid(&self) -> Vhid {
        self.vhid
    }

    /// The addresses that float, all IPv4.
    #[must_use]
    pub fn addresses(&self) -> &[VirtualAddress] {
        &self.addresses
    }

    /// The time between two adverts while master: `advbase` + `advskew`/256 seconds.
    #[must_use]
    pub fn interval(&self) -> Duration {
        wire::interval(self.advbase, self.advskew)
    }

    /// How long after the master's last advert a backup with this configuration takes over:
    /// `deadratio` of its own intervals.
    #[must_use]
    pub fn dead_interval(&self) -> Duration {
        self.interval() * u32::from(self.deadratio)
    }

    /// Whether this host takes the addresses from a master that is less preferred.
    #[must_use]
    pub const fn preempt(&self) -> bool {
        self.preempt
    }

    /// Whether a master yields only to a host that has proved to be alive.
    #[must_use]
    pub const fn require_proof(&self) -> bool {
        self.require_proof
    }

    /// Whether adverts go to the group's Ethernet address rather than to everybody's.
    #[must_use]
    pub const fn multicast(&self) -> bool {
        self.multicast
    }

    /// The time between two announcements of a settled master.
    #[must_use]
    pub const fn announce_refresh(&self) -> Duration {
        self.announce_refresh
    }
}

/// Makes a [`HostConfig`].
#[derive(Clone)]
#[must_use]
pub struct HostBuilder {
    vhid: u8,
    password: Vec<u8>,
    addresses: Vec<VirtualAddress>,
    advbase: u8,
    advskew: u8,
    deadratio: u8,
    preempt: bool,
    require_proof: bool,
    multicast: bool,
    announce_refresh: Duration,
}

impl HostBuilder {
    /// Adds an IPv4 address that floats. At least one, at most 255; exactly one together with
    /// ucarp (its `--addr`). All hosts of the group must have the same.
    ///
    /// Only *at least one* things may be served: in a split both sides hold the address.
    ///
    /// ```compile_fail
    /// use ha_core::guarantee::{AtMostOne, Claim};
    /// # let address: ha_vip::VirtualAddress = "192.0.2.10/24".parse().unwrap();
    /// ha_vip::carp::HostConfig::builder(42).address(Claim::<_, AtMostOne>::new(address));
    /// ```
    pub fn address(mut self, address: impl Into<Claim<VirtualAddress, AtLeastOne>>) -> Self {
        self.addresses.push(address.into().into_inner());
        self
    }

    /// Sets the password, 1 to 20 bytes, the same on all hosts of the group (ucarp's `--pass`).
    /// No default.
    ///
    /// It signs adverts and is never sent; one that is guessable can be found from a recorded
    /// advert.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = password.as_ref().to_vec();
        self
    }

    /// Sets the seconds between adverts: 0 to 254. Default 1 (ucarp's `--advbase`).
    ///
    /// 0 leaves the interval to [`advskew`](Self::advskew) alone: 4 ms to 1 s, between hosts of
    /// this crate only, since ucarp looks at its packets once a second.
    pub const fn advbase(mut self, seconds: u8) -> Self {
        self.advbase = seconds;
        self
    }

    /// Sets what is added to `advbase`, in 1/256 s: 0 to 254. Default 0 (ucarp's `--advskew`).
    ///
    /// The host with the shortest interval is preferred as master; give each its own.
    pub const fn advskew(mut self, skew: u8) -> Self {
        self.advskew = skew;
        self
    }

    /// Sets how many of its own intervals a backup waits in silence: 1 to 255. Default 3 (ucarp's
    /// `--deadratio`).
    pub const fn deadratio(mut self, ratio: u8) -> Self {
        self.deadratio = ratio;
        self
    }

    /// Sets whether to take the addresses from a less preferred master. Default false (ucarp's
    /// `--preempt`).
    pub const fn preempt(mut self, preempt: bool) -> Self {
        self.preempt = preempt;
        self
    }

    /// Sets whether a master yields only to a host that proves that it is alive, as
    /// [`replay`](super::replay) explains. Default true.
    ///
    /// False is ucarp's behaviour, with the copies of the last 1024 adverts still refused: for
    /// peers that do not count up from what they hear.
    pub const fn require_proof(mut self, require: bool) -> Self {
        self.require_proof = require;
        self
    }

    /// Sets whether adverts go to the multicast group's Ethernet address. Default true; false is
    /// ucarp's `--nomcast`: Ethernet broadcast, for switches that lose multicast.
    pub const fn multicast(mut self, multicast: bool) -> Self {
        self.multicast = multicast;
        self
    }

    /// Sets how often a master tells its neighbours again where the addresses are: 1 s to 1 day.
    /// Default 1 minute.
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
    /// [`ConfigError`] with every problem: setter, value, what is allowed. The password is never
    /// shown.
    pub fn build(self) -> Result<HostConfig, ConfigError> {
        let mut problems = Problems::new();
        let vhid = Vhid::new(self.vhid);
        if vhid.is_none() {
            problems.add("vhid", self.vhid, "1 to 255");
        }
        if self.advbase == u8::MAX {
            problems.add("advbase", self.advbase, "0 to 254 s; 255 says that a host stops");
        }
        if self.advskew == u8::MAX {
            problems.add("advskew", self.advskew, "0 to 254; 255 says that a host stops");
        }
        if (self.advbase, self.advskew) == (0, 0) {
            problems.add("advskew", 0, "1 to 254 where advbase is 0: the interval would be zero");
        }
        if self.deadratio == 0 {
            problems.add("deadratio", 0, "1 to 255");
        }
        let refresh = Duration::from_secs(1)..=Duration::from_hours(24);
        if !refresh.contains(&self.announce_refresh) {
            let value = format!("{:?}", self.announce_refresh);
            problems.add("announce_refresh", value, "1 s to 1 day");
        }
        let signed = check_addresses(&self.addresses, &mut problems);
        let authenticator = Authenticator::new(&self.password, &signed);
        if authenticator.is_none() {
            let value = format!("a password of {} bytes", self.password.len());
            problems.add("password", value, format!("1 to {MAX_PASSWORD_LEN} bytes"));
        }
        let (Some(vhid), Some(authenticator)) = (vhid, authenticator) else {
            // Both told above.
            return problems.into_result(()).and(Err(ConfigError::new("vhid", self.vhid, "")));
        };
        problems.into_result(HostConfig {
            vhid,
            authenticator,
            addresses: self.addresses,
            advbase: self.advbase,
            advskew: self.advskew,
            deadratio: self.deadratio,
            preempt: self.preempt,
            require_proof: self.require_proof,
            multicast: self.multicast,
            announce_refresh: self.announce_refresh,
        })
    }
}

impl fmt::Debug for HostBuilder {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBuilder")
            .field("vhid", &self.vhid)
            .field("addresses", &self.addresses)
            .field("advbase", &self.advbase)
            .field("advskew", &self.advskew)
            .finish_non_exhaustive()
    }
}

/// The addresses that are signed.
fn check_addresses(addresses: &[VirtualAddress], problems: &mut Problems) -> Vec<Ipv4Addr> {
    if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
        problems.add("address", format!("{} addresses", addresses.len()), "1 to 255 addresses");
    }
    let mut signed = Vec::with_capacity(addresses.len());
    for address in addresses {
        match address.ip() {
            IpAddr::V4(ip) if signed.contains(&ip) => {
                problems.add("address", address, "each address once");
            }
            IpAddr::V4(ip) => signed.push(ip),
            IpAddr::V6(_) => {
                problems.add("address", address, "IPv4; serve IPv6 addresses by VRRP");
            }
        }
    }
    signed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once_and_the_password_never() {
        let address = |text: &str| text.parse::<VirtualAddress>().expect("an address");
        let error = HostConfig::builder(0)
            .advbase(255)
            .advskew(255)
            .deadratio(0)
            .password("a password of more than 20 bytes")
            .announce_refresh(Duration::ZERO)
            .address(address("192.0.2.1/24"))
            .address(address("192.0.2.1/32"))
            .address(address("2001:db8::1/64"))
            .build()
            .expect_err("all wrong");
        let paths: Vec<&str> = error.problems().iter().map(|p| p.path.as_str()).collect();
        let all = ["vhid", "advbase", "advskew", "deadratio", "announce_refresh", "address"];
        assert_eq!(paths[..6], all);
        assert_eq!(paths[6..], ["address", "password"]);
        assert!(!error.to_string().contains("a password of more"));
    }

    #[test]
    fn an_interval_of_zero_is_refused_and_one_below_a_second_is_not() {
        let build = |base, skew| {
            let address: VirtualAddress = "192.0.2.1/24".parse().expect("an address");
            let builder = HostConfig::builder(1).address(address).password("x");
            builder.advbase(base).advskew(skew).build()
        };
        assert!(build(0, 0).is_err());
        assert_eq!(build(0, 64).expect("ok").interval(), Duration::from_millis(250));
    }
}
