//! VRRPv3 on the wire (RFC 9568, section 5).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |Version| Type  | Virtual Rtr ID|   Priority    |  Addr Count   |
//! +-------+-------+-------+-------+---------------+---------------+
//! |Reserve| Max Advertise Interval|           Checksum            |
//! +-------+-----------------------+-------------------------------+
//! |                     IPvX Addresses …                          |
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::checksum::{VRRP_PROTOCOL, add, pseudo_header, sum};
use super::config::{MAX_ADDRESSES, Vrid};

/// The group that VRRP speaks to in IPv4 (RFC 9568, section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The group that VRRP speaks to in IPv6 (RFC 9568, section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

const VERSION_AND_TYPE: u8 = 0x31;
const HEADER_LEN: usize = 8;

/// An advertisement that can only be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advert {
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority; 0 says that it stops.
    pub priority: u8,
    /// The time between the sender's adverts, in centiseconds, 1 to 4095.
    pub max_advert_interval_cs: u16,
    /// The addresses that the sender serves; one family, at most 255.
    pub addresses: Vec<IpAddr>,
}

impl Advert {
    /// The time between the sender's adverts.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(10).saturating_mul(u32::from(self.max_advert_interval_cs))
    }
}

/// Which bytes the checksum of an IPv4 advert covers.
///
/// RFC 9568 (section 5.2.8) says the message alone; keepalived and FRR by default read RFC 5798
/// so that the pseudo-header belongs to it. IPv6 always has the pseudo-header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the two readings of one sentence")]
pub enum Checksum {
    /// The message and the pseudo-header: keepalived, FRR.
    PseudoHeader,
    /// The message alone: RFC 9568; keepalived with `v3_checksum_as_v2`.
    MessageOnly,
}

/// Why a packet was not taken for an advert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// It names no address, or more than its length holds.
    AddressCount,
    /// Neither reading of the checksum fits.
    Checksum,
    /// It came over a router: TTL or hop limit is not 255 (RFC 9568, section 5.1.1.3).
    HopLimit,
    /// Its advert interval is 0.
    Interval,
    /// It is shorter than its header.
    Length,
    /// It is our own, come back.
    OwnReflection,
    /// It is not an advertisement.
    Type,
    /// It is not version 3: VRRPv2, or CARP, which has the same protocol number.
    Version,
    /// It is another virtual router's.
    Vrid,
}

impl Reject {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 9] = [
        Self::AddressCount,
        Self::Checksum,
        Self::HopLimit,
        Self::Interval,
        Self::Length,
        Self::OwnReflection,
        Self::Type,
        Self::Version,
        Self::Vrid,
    ];
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AddressCount => "address count",
            Self::Checksum => "checksum",
            Self::HopLimit => "hop limit is not 255",
            Self::Interval => "advert interval is 0",
            Self::Length => "too short",
            Self::OwnReflection => "own packet",
            Self::Type => "not an advertisement",
            Self::Version => "not VRRPv3",
            Self::Vrid => "another virtual router",
        })
    }
}

/// Reads a VRRP message (what follows the IP header) that went from `source` to `destination`.
///
/// Bytes after the last address are ignored, as extensions put them there; the checksum is that
/// of the message without them, or with them.
///
/// # Errors
///
/// [`Reject`] with the first reason found (RFC 9568, section 7.1).
pub fn decode(
    message: &[u8],
    source: IpAddr,
    destination: IpAddr,
) -> Result<(Advert, Checksum), Reject> {
    let Some((header, rest)) = message.split_first_chunk::<HEADER_LEN>() else {
        return Err(Reject::Length);
    };
    let [version_and_type, vrid, priority, count, interval_high, interval_low, _, _] = *header;
    if version_and_type >> 4 != 3 {
        return Err(Reject::Version);
    }
    if version_and_type & 0x0f != 1 {
        return Err(Reject::Type);
    }
    let vrid = Vrid::new(vrid).ok_or(Reject::Vrid)?;
    let max_advert_interval_cs = u16::from_be_bytes([interval_high & 0x0f, interval_low]);
    if max_advert_interval_cs == 0 {
        return Err(Reject::Interval);
    }
    let size: usize = if source.is_ipv4() { 4 } else { 16 };
    let len = size.saturating_mul(usize::from(count));
    let addresses = rest.get(..len).filter(|_| count > 0).ok_or(Reject::AddressCount)?;
    let core = message.get(..len.saturating_add(HEADER_LEN)).ok_or(Reject::AddressCount)?;
    let checksum = verify(core, source, destination)
        .or_else(|| verify(message, source, destination))
        .ok_or(Reject::Checksum)?;
    let addresses = addresses.chunks_exact(size).filter_map(address).collect();
    Ok((Advert { vrid, priority, max_advert_interval_cs, addresses }, checksum))
}

/// The reading under which the message's checksum is right.
fn verify(message: &[u8], source: IpAddr, destination: IpAddr) -> Option<Checksum> {
    let message_only = sum(&[message]);
    let pseudo = pseudo_header(source, destination, VRRP_PROTOCOL, message.len());
    if add(message_only, pseudo) == 0xffff {
        return Some(Checksum::PseudoHeader);
    }
    (source.is_ipv4() && message_only == 0xffff).then_some(Checksum::MessageOnly)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

/// Writes the VRRP message of `advert`, to go from `source` to `destination`.
///
/// Addresses of another family than `source`, and those after the 255th, are left out: the wire
/// cannot carry them.
#[must_use]
pub fn encode(advert: &Advert, source: IpAddr, destination: IpAddr, checksum: Checksum) -> Vec<u8> {
    let interval = advert.max_advert_interval_cs.min(0x0fff).to_be_bytes();
    let mut message = vec![VERSION_AND_TYPE, advert.vrid.get(), advert.priority, 0];
    message.extend(interval);
    message.extend([0, 0]);
    let mut count: u8 = 0;
    for ip in advert.addresses.iter().take(MAX_ADDRESSES) {
        match (ip, source.is_ipv4()) {
            (IpAddr::V4(ip), true) => message.extend(ip.octets()),
            (IpAddr::V6(ip), false) => message.extend(ip.octets()),
            (IpAddr::V4(_), false) | (IpAddr::V6(_), true) => continue,
        }
        count = count.saturating_add(1);
    }
    if let Some(field) = message.get_mut(3) {
        *field = count;
    }
    let mut total = sum(&[&message]);
    if checksum == Checksum::PseudoHeader || source.is_ipv6() {
        let pseudo = pseudo_header(source, destination, VRRP_PROTOCOL, message.len());
        total = add(total, pseudo);
    }
    if let Some(field) = message.get_mut(6..HEADER_LEN) {
        field.copy_from_slice(&(!total).to_be_bytes());
    }
    message
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
