//! The IPv4 header (RFC 791), as raw sockets read and write it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::Ipv4Addr;

use crate::vrrp::{VRRP_PROTOCOL, sum};

const HEADER_LEN: usize = 20;
/// Version 4, five words of header.
const VERSION_AND_LEN: u8 = 0x45;

/// How a packet asks to be treated on its way: the type of service and the fragmentation flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// Internetwork control (precedence 6), may be fragmented: VRRP, as keepalived sends it.
    InternetworkControl,
    /// Low delay, never fragmented: CARP, as ucarp sends it.
    LowDelay,
}

impl Service {
    const fn tos(self) -> u8 {
        match self {
            Self::InternetworkControl => 0xc0,
            Self::LowDelay => 0x10,
        }
    }

    /// The first byte of flags and fragment offset.
    const fn flags(self) -> u8 {
        match self {
            Self::InternetworkControl => 0,
            Self::LowDelay => 0x40,
        }
    }
}

/// A packet of protocol 112, read from a raw socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ipv4Packet<'a> {
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Where it went.
    pub destination: Ipv4Addr,
    /// Its time to live.
    pub ttl: u8,
    /// What follows the header and its options.
    pub payload: &'a [u8],
}

/// Reads the IPv4 header of `packet`; `None` when it is not a whole packet of protocol 112.
///
/// The header's checksum is not looked at: the kernel has done so.
#[must_use]
pub fn decode(packet: &[u8]) -> Option<Ipv4Packet<'_>> {
    let header = packet.first_chunk::<HEADER_LEN>()?;
    let [version_and_len, _, len_high, len_low, _, _, _, _, ttl, protocol, ..] = *header;
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let header_len = usize::from(version_and_len & 0x0f).checked_mul(4)?;
    let total_len = usize::from(u16::from_be_bytes([len_high, len_low]));
    if version_and_len >> 4 != 4 || header_len < HEADER_LEN || protocol != VRRP_PROTOCOL {
        return None;
    }
    Some(Ipv4Packet {
        source: Ipv4Addr::new(s0, s1, s2, s3),
        destination: Ipv4Addr::new(d0, d1, d2, d3),
        ttl,
        payload: packet.get(header_len..total_len)?,
    })
}

/// Where the payload of a packet begins that [`decode`] has read.
#[cfg(feature = "netlink")]
pub(crate) fn payload_start(packet: &[u8]) -> usize {
    packet.first().map_or(0, |first| usize::from(first & 0x0f).saturating_mul(4))
}

/// Writes an IPv4 packet of protocol 112 with TTL 255 (RFC 9568, section 5.1.1).
///
/// `id` is the identification field; a payload over 65,515 bytes is cut.
#[must_use]
pub fn encode(source: Ipv4Addr, destination: Ipv4Addr, id: u16, payload: &[u8]) -> Vec<u8> {
    encode_as(Service::InternetworkControl, source, destination, id, payload)
}

/// Does what [`encode`] does, but replaces what is in `packet`, so that a sender can use one
/// buffer for all its packets.
pub fn encode_into(
    packet: &mut Vec<u8>,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    id: u16,
    payload: &[u8],
) {
    write(packet, Service::InternetworkControl, (source, destination), id, payload);
}

/// The same as [`encode`], with another type of service.
#[must_use]
pub fn encode_as(
    service: Service,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    id: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_LEN.saturating_add(payload.len()));
    write(&mut packet, service, (source, destination), id, payload);
    packet
}

fn write(
    packet: &mut Vec<u8>,
    service: Service,
    (source, destination): (Ipv4Addr, Ipv4Addr),
    id: u16,
    payload: &[u8],
) {
    let payload =
        payload.get(..usize::from(u16::MAX).saturating_sub(HEADER_LEN)).unwrap_or(payload);
    let len = u16::try_from(payload.len().saturating_add(HEADER_LEN)).unwrap_or(u16::MAX);
    packet.clear();
    packet.extend([VERSION_AND_LEN, service.tos()]);
    packet.extend(len.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend([service.flags(), 0, 255, VRRP_PROTOCOL, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let checksum = !sum(&[packet]);
    if let Some(field) = packet.get_mut(10..12) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    packet.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_round_trip(
            source: Ipv4Addr, destination: Ipv4Addr, id: u16,
            payload in prop::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let packet = encode(source, destination, id, &payload);
            let read = decode(&packet).expect("our own");
            prop_assert_eq!((read.source, read.destination, read.ttl), (source, destination, 255));
            prop_assert_eq!(read.payload, &payload[..]);
        }

        #[test]
        fn a_used_buffer_makes_no_difference(
            source: Ipv4Addr, destination: Ipv4Addr, id: u16,
            mut used in prop::collection::vec(any::<u8>(), 0..200),
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            encode_into(&mut used, source, destination, id, &payload);
            prop_assert_eq!(used, encode(source, destination, id, &payload));
        }

        #[test]
        fn any_bytes_are_a_packet_or_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _is_no_panic = decode(&bytes);
        }
    }
}
