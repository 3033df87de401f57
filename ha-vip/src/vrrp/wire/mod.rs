//! VRRP on the wire: version 3 (RFC 9568, section 5), version 2 (RFC 3768, section 5, with the
//! password of RFC 2338), and our [`extension`] for adverts below 10 ms.
//!
//! [`decode`] takes what follows the IP header and answers with a [`View`] that borrows from it
//! and can only be valid, or with the reason to drop it; it allocates nothing. [`encode`] writes
//! an [`Advert`].
//!
//! ```
//! use std::net::IpAddr;
//! use std::time::Duration;
//! use ha_vip::vrrp::Vrid;
//! use ha_vip::vrrp::wire::{Advert, Checksum, GROUP_V4, Reject, Version, decode, encode};
//!
//! let (us, group): (IpAddr, IpAddr) = ("192.0.2.1".parse()?, GROUP_V4.into());
//! let vrid = Vrid::new(51).expect("not 0");
//! let addresses = vec!["192.0.2.100".parse()?];
//! let advert = Advert::new(Version::V3, vrid, 150, Duration::from_millis(100), addresses);
//! let mut message = encode(&advert, us, group, Checksum::PseudoHeader);
//! assert_eq!(message[..6], [0x31, 51, 150, 1, 0, 10]); // 10 centiseconds
//!
//! let view = decode(&message, us, group)?;
//! assert_eq!((view.vrid(), view.priority()), (vrid, 150));
//! assert_eq!(view.checksum(), Checksum::PseudoHeader);
//! assert_eq!(view.to_advert(), advert);
//!
//! message[2] = 255; // a forger, or a broken network card
//! assert_eq!(decode(&message, us, group), Err(Reject::Checksum));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod advert;
pub mod extension;
mod v2;
mod v3;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use advert::{Advert, Password, View};

use super::checksum::{VRRP_PROTOCOL, add, pseudo_header, sum};
use super::config::MAX_ADDRESSES;

/// The group that VRRP speaks to in IPv4 (RFC 9568, section 5.1.1.2).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The group that VRRP speaks to in IPv6 (RFC 9568, section 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The length of the header of either version, and of our extension, in bytes.
const HEADER_LEN: usize = 8;
/// Where the checksum stands in it.
const CHECKSUM_AT: std::ops::Range<usize> = 6..HEADER_LEN;

/// Which VRRP a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there are two, and version 1 was never deployed")]
pub enum Version {
    /// RFC 3768: IPv4, whole seconds; keepalived's default.
    V2,
    /// RFC 9568 (and RFC 5798): IPv4 and IPv6, centiseconds.
    V3,
}

/// Which bytes the checksum of an IPv4 advert covers.
///
/// RFC 9568 (section 5.2.8) says the message alone; keepalived and FRR by default read RFC 5798
/// so that the pseudo-header belongs to it. IPv6 always has the pseudo-header, version 2 never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the two readings of one sentence")]
pub enum Checksum {
    /// The message and the pseudo-header: keepalived, FRR.
    PseudoHeader,
    /// The message alone: RFC 9568; keepalived with `v3_checksum_as_v2`; version 2.
    MessageOnly,
}

/// Why a packet was not taken for an advert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// It names no address, or more than its length holds.
    AddressCount,
    /// Its VRRPv2 authentication is of an unknown type or the IP authentication header's (type 2), or its
    /// password is not ours.
    Authentication,
    /// Neither reading of the checksum fits.
    Checksum,
    /// Its HMAC is by a key that we do not have.
    HmacKey,
    /// It has no HMAC, and ours must have one.
    HmacMissing,
    /// Its HMAC is right, but it was made outside of the window around our time: the clocks
    /// differ, or it is an old packet.
    HmacStale,
    /// Its HMAC is wrong: another secret under the same key's number, or a forgery.
    HmacWrong,
    /// It came over a router: TTL or hop limit is not 255 (RFC 9568, section 5.1.1.3).
    HopLimit,
    /// Its advert interval is 0.
    Interval,
    /// It is shorter than its header.
    Length,
    /// It is our own, come back.
    OwnReflection,
    /// Its length is not that of its kind: VRRPv2 without its authentication data, or an
    /// extension cut short.
    PacketLength,
    /// Its HMAC is right, but it is no newer than the last one of its sender.
    Replay,
    /// It comes from a host that has no say here: none of the unicast peers, or no kin.
    Source,
    /// It is not an advertisement.
    Type,
    /// It is of a version that is not spoken here: neither 2 nor 3, version 2 over IPv6, or CARP,
    /// which has the same protocol number.
    Version,
    /// It is another virtual router's.
    Vrid,
}

impl Reject {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 17] = [
        Self::AddressCount,
        Self::Authentication,
        Self::Checksum,
        Self::HmacKey,
        Self::HmacMissing,
        Self::HmacStale,
        Self::HmacWrong,
        Self::HopLimit,
        Self::Interval,
        Self::Length,
        Self::OwnReflection,
        Self::PacketLength,
        Self::Replay,
        Self::Source,
        Self::Type,
        Self::Version,
        Self::Vrid,
    ];
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AddressCount => "address count",
            Self::Authentication => "authentication type or password",
            Self::Checksum => "checksum",
            Self::HmacKey => "unknown HMAC key",
            Self::HmacMissing => "no HMAC",
            Self::HmacStale => "made outside of the time window",
            Self::HmacWrong => "wrong HMAC",
            Self::HopLimit => "hop limit is not 255",
            Self::Interval => "advert interval is 0",
            Self::Length => "too short",
            Self::OwnReflection => "own packet",
            Self::PacketLength => "wrong length",
            Self::Replay => "replayed",
            Self::Source => "not one of the peers",
            Self::Type => "not an advertisement",
            Self::Version => "version not spoken here",
            Self::Vrid => "another virtual router",
        })
    }
}

impl std::error::Error for Reject {}

/// Reads a VRRP advert (what follows the IP header) that went from `source` to `destination`.
///
/// Bytes after the advert are not its own: an [`auth::Trailer`](crate::vrrp::auth::Trailer) is
/// told by [`View::trailer`], others are ignored, as a later extension may put them there. The
/// checksum may cover the message without them, or with them.
///
/// # Errors
///
/// [`Reject`] with the first reason found (RFC 9568, section 7.1; RFC 3768, section 7.1). A
/// VRRPv2 message with the IP authentication header is refused by its authentication type.
pub fn decode(message: &[u8], source: IpAddr, destination: IpAddr) -> Result<View<'_>, Reject> {
    let Some((header, rest)) = message.split_first_chunk::<HEADER_LEN>() else {
        return Err(Reject::Length);
    };
    let [version_and_type, ..] = *header;
    let version = match version_and_type >> 4 {
        2 if source.is_ipv4() => Version::V2,
        3 => Version::V3,
        _ => return Err(Reject::Version),
    };
    if version_and_type & 0x0f != 1 {
        return Err(Reject::Type);
    }
    let mut view = match version {
        Version::V2 => v2::decode(*header, rest)?,
        Version::V3 => v3::decode(*header, rest, source)?,
    };
    view.message = message;
    view.checksum = verify(&view, source, destination).ok_or(Reject::Checksum)?;
    Ok(view)
}

/// The reading under which the advert's checksum is right.
fn verify(view: &View<'_>, source: IpAddr, destination: IpAddr) -> Option<Checksum> {
    let advert = view.advert_bytes();
    let without = sum(&[advert]);
    let found = match view.version {
        Version::V2 => (without == 0xffff).then_some(Checksum::MessageOnly),
        Version::V3 => reading(without, advert.len(), source, destination),
    };
    if found.is_some() || view.message.len() == advert.len() {
        return found;
    }
    // A trailer: covered if the kernel made the sum (IPv6), not if the sender did (IPv4).
    let with = sum(&[view.message]);
    match view.version {
        Version::V2 => (with == 0xffff).then_some(Checksum::MessageOnly),
        // Some senders count the trailer in the pseudo-header's length alone.
        Version::V3 => reading(with, view.message.len(), source, destination)
            .or_else(|| reading(without, view.message.len(), source, destination)),
    }
}

/// The reading under which `sum`, that of `len` bytes of version 3, is right.
fn reading(sum: u16, len: usize, source: IpAddr, destination: IpAddr) -> Option<Checksum> {
    if add(sum, pseudo_header(source, destination, VRRP_PROTOCOL, len)) == 0xffff {
        return Some(Checksum::PseudoHeader);
    }
    (source.is_ipv4() && sum == 0xffff).then_some(Checksum::MessageOnly)
}

/// Writes the VRRP message of `advert`, to go from `source` to `destination`.
///
/// `checksum` is the reading for version 3 in IPv4; IPv6 and version 2 have but one. An interval
/// that the wire cannot say is rounded up to one that it can: whole seconds, 1 to 255, in version
/// 2; centiseconds, 1 to 4095, in version 3. Addresses of another family than `source` (in
/// version 2: of IPv6), and those after the 255th, are left out.
#[must_use]
pub fn encode(advert: &Advert, source: IpAddr, destination: IpAddr, checksum: Checksum) -> Vec<u8> {
    let mut message = Vec::new();
    encode_into(&mut message, advert, source, destination, checksum);
    message
}

/// Does what [`encode`] does, but replaces what is in `message`, so that a sender can use one
/// buffer for all its adverts.
pub fn encode_into(
    message: &mut Vec<u8>,
    advert: &Advert,
    source: IpAddr,
    destination: IpAddr,
    checksum: Checksum,
) {
    message.clear();
    let (header, ipv4) = match advert.version {
        Version::V2 => (v2::header(advert), true),
        Version::V3 => (v3::header(advert), source.is_ipv4()),
    };
    message.extend_from_slice(&header);
    let mut count: u8 = 0;
    for ip in advert.addresses.iter().take(MAX_ADDRESSES) {
        match (ip, ipv4) {
            (IpAddr::V4(ip), true) => message.extend_from_slice(&ip.octets()),
            (IpAddr::V6(ip), false) => message.extend_from_slice(&ip.octets()),
            (IpAddr::V4(_), false) | (IpAddr::V6(_), true) => continue,
        }
        count = count.saturating_add(1);
    }
    if let Some(field) = message.get_mut(3) {
        *field = count;
    }
    let mut pseudo = source.is_ipv6() || checksum == Checksum::PseudoHeader;
    if advert.version == Version::V2 {
        message.extend_from_slice(&v2::authentication_data(advert));
        pseudo = false;
    }
    write_checksum(message, pseudo.then_some((source, destination)));
}

/// Fills in the checksum of `message`, whose field is 0, with the pseudo-header from and to these
/// addresses, or without one.
fn write_checksum(message: &mut [u8], pseudo: Option<(IpAddr, IpAddr)>) {
    let mut total = sum(&[message]);
    if let Some((source, destination)) = pseudo {
        let pseudo = pseudo_header(source, destination, VRRP_PROTOCOL, message.len());
        total = add(total, pseudo);
    }
    if let Some(field) = message.get_mut(CHECKSUM_AT) {
        field.copy_from_slice(&(!total).to_be_bytes());
    }
}

/// Makes the checksum of `message` cover the `tail` that is about to follow it, too, as it does
/// in IPv6: by the difference (RFC 1624), so that the addresses need not be known.
pub(super) fn cover_with_checksum(message: &mut [u8], tail: &[u8]) {
    let longer = u16::try_from(tail.len()).unwrap_or(u16::MAX);
    let added = add(sum(&[tail]), longer);
    if let Some([high, low]) = message.get_mut(CHECKSUM_AT) {
        let total = add(!u16::from_be_bytes([*high, *low]), added);
        [*high, *low] = (!total).to_be_bytes();
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
