//! Adverts: [`Advert`] to send one, [`View`] for one that was read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::v2::AUTHENTICATION_LEN;
use super::v3::CENTISECOND;
use super::{Checksum, HEADER_LEN, Version};
use crate::vrrp::auth::Trailer;
use crate::vrrp::config::Vrid;

/// An advert to send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advert {
    /// The version to speak.
    pub version: Version,
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority; 0 says that it stops.
    pub priority: u8,
    /// The time between the sender's adverts: whole seconds, 1 to 255, in version 2;
    /// centiseconds, 1 to 4095, in version 3.
    pub interval: Duration,
    /// The addresses that the sender serves; one family, at most 255.
    pub addresses: Vec<IpAddr>,
    /// The password that goes with it in clear; version 2 only. [`Advert::new`] sets none.
    pub password: Option<Password>,
}

impl Advert {
    /// An advert without a password.
    #[must_use]
    pub const fn new(
        version: Version,
        vrid: Vrid,
        priority: u8,
        interval: Duration,
        addresses: Vec<IpAddr>,
    ) -> Self {
        Self { version, vrid, priority, interval, addresses, password: None }
    }
}

/// An advert that was read, and can only be valid; made by [`decode`](super::decode).
///
/// Borrows from the message. Whether it is of our virtual router, came from near enough, or has
/// our password is the router's to judge.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    /// All that was received.
    pub(super) message: &'a [u8],
    addresses: &'a [u8],
    address_size: usize,
    pub(super) version: Version,
    vrid: Vrid,
    priority: u8,
    /// In the version's unit.
    interval: u16,
    pub(super) checksum: Checksum,
    pub(super) password: Option<Password>,
}

impl<'a> View<'a> {
    /// A view on IPv4 addresses; message and checksum are filled in by the caller.
    pub(super) const fn new(
        version: Version,
        vrid: Vrid,
        priority: u8,
        interval: u16,
        addresses: &'a [u8],
    ) -> Self {
        Self {
            message: addresses,
            addresses,
            address_size: 4,
            version,
            vrid,
            priority,
            interval,
            checksum: Checksum::MessageOnly,
            password: None,
        }
    }

    pub(super) const fn with_address_size(mut self, size: usize) -> Self {
        self.address_size = size;
        self
    }

    /// The version that the sender speaks.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The virtual router.
    #[must_use]
    pub const fn vrid(&self) -> Vrid {
        self.vrid
    }

    /// The sender's priority; 0 says that it stops.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// The time between the sender's adverts, never 0.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let unit = match self.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => CENTISECOND,
        };
        unit.saturating_mul(self.interval.into())
    }

    /// The addresses that the sender serves, in its order; at least one, all of one family.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + Clone + use<'a> {
        self.addresses.chunks_exact(self.address_size).filter_map(address)
    }

    /// How many addresses the sender serves, 1 to 255.
    #[must_use]
    pub const fn address_count(&self) -> usize {
        match self.addresses.len().checked_div(self.address_size) {
            Some(count) => count,
            None => 0,
        }
    }

    /// The addresses as they stand in the message, 4 or 16 bytes each: to compare them with those
    /// of the last advert at the price of one comparison.
    #[must_use]
    pub const fn address_bytes(&self) -> &'a [u8] {
        self.addresses
    }

    /// The reading of the checksum that fitted: the one to answer with.
    #[must_use]
    pub const fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// The password of a version 2 message of authentication type 1.
    #[must_use]
    pub const fn password(&self) -> Option<Password> {
        self.password
    }

    /// The HMAC trailer: exactly 28 bytes after the advert, of the known kind.
    ///
    /// That it is there says nothing about whether it is right: see
    /// [`Authenticator::verify`](crate::vrrp::auth::Authenticator::verify).
    #[must_use]
    pub fn trailer(&self) -> Option<Trailer<'a>> {
        self.message.get(self.len()..).and_then(Trailer::read)
    }

    /// The advert as one to send: a copy of what was read.
    #[must_use]
    pub fn to_advert(&self) -> Advert {
        Advert {
            version: self.version,
            vrid: self.vrid,
            priority: self.priority,
            interval: self.interval(),
            addresses: self.addresses().collect(),
            password: self.password,
        }
    }

    /// The advert itself, without what follows it.
    pub(in crate::vrrp) fn advert_bytes(&self) -> &'a [u8] {
        self.message.get(..self.len()).unwrap_or(self.message)
    }

    /// The length of the advert itself.
    const fn len(&self) -> usize {
        let authentication = match self.version {
            Version::V2 => AUTHENTICATION_LEN,
            Version::V3 => 0,
        };
        self.addresses.len().saturating_add(HEADER_LEN).saturating_add(authentication)
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("version", &self.version)
            .field("vrid", &self.vrid)
            .field("priority", &self.priority)
            .field("interval", &self.interval())
            .field("addresses", &self.addresses().collect::<Vec<_>>())
            .field("checksum", &self.checksum)
            .field("password", &self.password)
            .field("trailer", &self.trailer())
            .finish_non_exhaustive()
    }
}

/// The simple text password of VRRPv2, 1 to 8 bytes (RFC 2338, section 5.3.6; keepalived's
/// `auth_type PASS` and `auth_pass`).
///
/// It goes over the network in clear, so it tells virtual routers apart that share a number by
/// mistake, and protects against nobody. `Debug` does not show it.
///
/// ```
/// use ha_vip::vrrp::wire::Password;
///
/// let password = Password::new("secret12").expect("8 bytes");
/// assert_eq!(format!("{password:?}"), "Password(…)");
/// assert!(Password::new("").is_none() && Password::new("nine byte").is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password([u8; 8]);

impl Password {
    /// A password; `None` if it is empty or longer than 8 bytes (keepalived cuts such a one).
    #[must_use]
    pub fn new(password: impl AsRef<[u8]>) -> Option<Self> {
        let password = password.as_ref();
        let mut bytes = [0; 8];
        bytes.get_mut(..password.len())?.copy_from_slice(password);
        (!password.is_empty()).then_some(Self(bytes))
    }

    /// The password of a message, whatever it is.
    pub(super) const fn from_wire(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The password, filled up with zeros.
    pub(super) const fn to_wire(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

/// `interval` in `unit`s, rounded up, at least 1 and at most `max`: a backup that waits a little
/// longer is better than one that takes over too early.
pub(super) fn units(interval: Duration, unit: Duration, max: u16) -> u16 {
    let units = interval.as_nanos().div_ceil(unit.as_nanos().max(1));
    u16::try_from(units).unwrap_or(max).clamp(1, max)
}
