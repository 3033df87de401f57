//! Unsolicited neighbour advertisements (RFC 4861, sections 4.4 and 7.2.6).

use std::net::{IpAddr, Ipv6Addr};

use super::Mac;
use crate::vrrp::{add, pseudo_header, sum};

const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
/// Neighbour advertisement, code 0, checksum to be filled in, override flag set.
const HEADER: [u8; 8] = [136, 0, 0, 0, 0x20, 0, 0, 0];
/// Target link-layer address, one unit of eight bytes.
const TARGET_LINK_LAYER: [u8; 2] = [2, 1];
const CHECKSUM: std::ops::Range<usize> = 2..4;

/// The Ethernet frame of an unsolicited neighbour advertisement: `ip` is at `mac`.
///
/// To all nodes, with the override flag and the target's link-layer address, as keepalived
/// sends it; the router flag is off, since whether this host routes is not known here.
#[must_use]
pub fn unsolicited_advertisement(ip: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = Vec::with_capacity(32);
    message.extend(HEADER);
    message.extend(ip.octets());
    message.extend(TARGET_LINK_LAYER);
    message.extend(mac.octets());
    let pseudo = pseudo_header(IpAddr::V6(ip), IpAddr::V6(ALL_NODES), ICMPV6, message.len());
    let checksum = !add(sum(&[&message]), pseudo);
    if let Some(field) = message.get_mut(CHECKSUM) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }

    let mut frame = Vec::with_capacity(86);
    frame.extend(ALL_NODES_MAC);
    frame.extend(mac.octets());
    frame.extend(ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0, 0, 32, ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}
