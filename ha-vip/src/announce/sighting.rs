//! Who says that an address is where: ARP packets and neighbour advertisements, read.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Mac;

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, six and four bytes of address.
const ETHERNET_AND_IPV4: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const TARGET_LINK_LAYER: u8 = 2;
/// No advertisement in use has more; a packet with more is not walked to its end.
const MAX_OPTIONS: usize = 16;

/// Somebody was seen to have an address, or to ask whether it is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "who, which address, and whether it is claimed")]
pub struct Sighting {
    /// The address.
    pub ip: IpAddr,
    /// The link-layer address of who said it.
    pub mac: Mac,
    /// What was said.
    pub kind: SightingKind,
}

/// What was said of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "RFC 5227 knows these two")]
pub enum SightingKind {
    /// The sender has the address: it is the sender of an ARP packet, or the target of a neighbour
    /// advertisement.
    Claim,
    /// The sender wants the address and asks whether it is free (RFC 5227, section 2.1.1).
    Probe,
}

/// Why a packet says nothing of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is not of Ethernet and IPv4, or not an ARP frame at all.
    Family,
    /// It came over a router: its hop limit is not 255 (RFC 4861, section 7.1.2).
    HopLimit,
    /// It is shorter than its header, or its options are.
    Length,
    /// It names no link-layer address that one host can have, or none.
    Mac,
    /// It is neither request nor reply, and no advertisement.
    Operation,
    /// It names no address that one host can have.
    Unspecified,
}

impl Unreadable {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Family, Self::HopLimit, Self::Length, Self::Mac, Self::Operation, Self::Unspecified];
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Family => "not of Ethernet and IPv4",
            Self::HopLimit => "hop limit is not 255",
            Self::Length => "too short",
            Self::Mac => "no link-layer address of one host",
            Self::Operation => "no request, reply or advertisement",
            Self::Unspecified => "no address of one host",
        })
    }
}

impl std::error::Error for Unreadable {}

impl Sighting {
    /// Reads an Ethernet frame of ARP (RFC 826); what follows the packet is padding.
    ///
    /// ```
    /// use ha_vip::announce::{Mac, Sighting, SightingKind, gratuitous_arp};
    ///
    /// let mac = Mac::new([2, 0, 0, 0, 0, 1]);
    /// let frame = gratuitous_arp("192.0.2.10".parse()?, mac);
    /// let seen = Sighting::of_arp(&frame)?;
    /// assert_eq!((seen.ip.to_string(), seen.mac), ("192.0.2.10".into(), mac));
    /// assert_eq!(seen.kind, SightingKind::Claim);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unreadable`] with the first reason found.
    pub fn of_arp(frame: &[u8]) -> Result<Self, Unreadable> {
        let (ethernet, packet) = frame.split_first_chunk::<14>().ok_or(Unreadable::Length)?;
        if !ethernet.ends_with(&ETHERTYPE_ARP) {
            return Err(Unreadable::Family);
        }
        let packet = packet.first_chunk::<28>().ok_or(Unreadable::Length)?;
        let (head, rest) = packet.split_first_chunk::<6>().ok_or(Unreadable::Length)?;
        if *head != ETHERNET_AND_IPV4 {
            return Err(Unreadable::Family);
        }
        let (operation, rest) = rest.split_first_chunk::<2>().ok_or(Unreadable::Length)?;
        if *operation != REQUEST && *operation != REPLY {
            return Err(Unreadable::Operation);
        }
        let (mac, rest) = rest.split_first_chunk::<6>().ok_or(Unreadable::Length)?;
        let (sender, rest) = rest.split_first_chunk::<4>().ok_or(Unreadable::Length)?;
        let target = rest.last_chunk::<4>().ok_or(Unreadable::Length)?;
        let mac = single(Mac::new(*mac))?;
        let (ip, kind) = match Ipv4Addr::from(*sender) {
            Ipv4Addr::UNSPECIFIED if *operation == REQUEST => {
                (Ipv4Addr::from(*target), SightingKind::Probe)
            }
            sender => (sender, SightingKind::Claim),
        };
        if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() {
            return Err(Unreadable::Unspecified);
        }
        Ok(Self { ip: ip.into(), mac, kind })
    }

    /// Reads the `ICMPv6` message of a neighbour advertisement (RFC 4861, section 4.4), which
    /// came with this hop limit. Its checksum is not looked at: the kernel has done so.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] with the first reason found.
    pub fn of_advertisement(message: &[u8], hop_limit: u8) -> Result<Self, Unreadable> {
        let (head, rest) = message.split_first_chunk::<8>().ok_or(Unreadable::Length)?;
        let [kind, code, ..] = *head;
        if kind != NEIGHBOUR_ADVERTISEMENT || code != 0 {
            return Err(Unreadable::Operation);
        }
        if hop_limit != 255 {
            return Err(Unreadable::HopLimit);
        }
        let (target, options) = rest.split_first_chunk::<16>().ok_or(Unreadable::Length)?;
        let ip = Ipv6Addr::from(*target);
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(Unreadable::Unspecified);
        }
        let mac = single(target_mac(options)?)?;
        Ok(Self { ip: ip.into(), mac, kind: SightingKind::Claim })
    }
}

/// The target's link-layer address among the options.
fn target_mac(mut options: &[u8]) -> Result<Mac, Unreadable> {
    for _ in 0..MAX_OPTIONS {
        let Some(([kind, eights], _)) = options.split_first_chunk::<2>() else {
            return Err(Unreadable::Mac);
        };
        let len = usize::from(*eights).saturating_mul(8);
        // RFC 4861 §7.1.2: an option of length 0 makes the packet invalid.
        let option = options.get(..len).filter(|option| !option.is_empty());
        let option = option.ok_or(Unreadable::Length)?;
        if *kind == TARGET_LINK_LAYER && len == 8 {
            let mac = option.last_chunk::<6>().ok_or(Unreadable::Length)?;
            return Ok(Mac::new(*mac));
        }
        options = options.get(len..).unwrap_or_default();
    }
    Err(Unreadable::Mac)
}

/// An address of one host: neither all zeros nor a group's.
fn single(mac: Mac) -> Result<Mac, Unreadable> {
    let [first, ..] = mac.octets();
    let is_group = first & 1 == 1;
    if is_group || mac.octets() == [0; 6] { Err(Unreadable::Mac) } else { Ok(mac) }
}

/// The Ethernet frame of an ARP probe: "is `ip` free?", from `mac` (RFC 5227, section 2.1.1).
///
/// The sender's address is 0.0.0.0, so that nobody's ARP cache changes. Who has the address
/// answers, Linux included.
#[must_use]
pub fn arp_probe(ip: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(Mac::BROADCAST.octets());
    frame.extend(mac.octets());
    frame.extend(ETHERTYPE_ARP);
    frame.extend(ETHERNET_AND_IPV4);
    frame.extend(REQUEST);
    frame.extend(mac.octets());
    frame.extend(Ipv4Addr::UNSPECIFIED.octets());
    frame.extend([0; 6]);
    frame.extend(ip.octets());
    frame
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::announce::{gratuitous_arp, unsolicited_advertisement};

    fn macs() -> impl Strategy<Value = Mac> {
        any::<[u8; 6]>().prop_map(|mut octets| {
            octets[0] = octets[0] & 0xfe | 2;
            Mac::new(octets)
        })
    }

    proptest! {
        #[test]
        fn our_own_announcements_are_read_as_claims(ip in 0x0a00_0000u32..0x0aff_ffff, mac in macs()) {
            let ip = Ipv4Addr::from(ip);
            let seen = Sighting { ip: ip.into(), mac, kind: SightingKind::Claim };
            prop_assert_eq!(Sighting::of_arp(&gratuitous_arp(ip, mac)), Ok(seen));
            let asked = Sighting { kind: SightingKind::Probe, ..seen };
            prop_assert_eq!(Sighting::of_arp(&arp_probe(ip, mac)), Ok(asked));
        }

        #[test]
        fn our_own_advertisements_are_read_as_claims(low: u64, mac in macs()) {
            let ip = Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(low));
            let frame = unsolicited_advertisement(ip, mac);
            let seen = Sighting { ip: ip.into(), mac, kind: SightingKind::Claim };
            prop_assert_eq!(Sighting::of_advertisement(&frame[54..], 255), Ok(seen));
            prop_assert_eq!(
                Sighting::of_advertisement(&frame[54..], 254),
                Err(Unreadable::HopLimit)
            );
        }

        #[test]
        fn any_bytes_are_a_sighting_or_a_reason(
            bytes in prop::collection::vec(any::<u8>(), 0..200), hop_limit: u8,
        ) {
            let _is_no_panic = Sighting::of_arp(&bytes);
            let _is_no_panic = Sighting::of_advertisement(&bytes, hop_limit);
            // And behind headers that are right.
            let mut frame = gratuitous_arp(Ipv4Addr::new(10, 0, 0, 1), Mac::new([2; 6]));
            frame.truncate(20);
            frame.extend(&bytes);
            let _is_no_panic = Sighting::of_arp(&frame);
            let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0];
            message.extend([0x20; 16]);
            message.extend(&bytes);
            let _is_no_panic = Sighting::of_advertisement(&message, 255);
        }
    }

    #[test]
    fn what_is_no_sighting_is_told_by_reason() {
        type Edit = fn(&mut Vec<u8>);
        let cases: [(Unreadable, Edit); 7] = [
            (Unreadable::Length, |frame| frame.truncate(41)),
            (Unreadable::Family, |frame| frame[13] = 0),
            (Unreadable::Family, |frame| frame[18] = 8),
            (Unreadable::Operation, |frame| frame[21] = 9),
            (Unreadable::Mac, |frame| frame[22] = 0xff),
            (Unreadable::Mac, |frame| frame[22..28].fill(0)),
            (Unreadable::Unspecified, |frame| frame[28] = 224),
        ];
        for (why, edit) in cases {
            let mut frame = gratuitous_arp(Ipv4Addr::new(10, 0, 0, 1), Mac::new([2; 6]));
            edit(&mut frame);
            assert_eq!(Sighting::of_arp(&frame), Err(why));
        }
    }
}
