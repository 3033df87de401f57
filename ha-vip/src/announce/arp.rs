//! Gratuitous ARP (RFC 5227, section 3; RFC 9568, section 6.4.2).

use std::net::Ipv4Addr;

use super::Mac;

const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, six and four bytes of address, request.
const HEADER: [u8; 8] = [0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01];

/// The Ethernet frame of a gratuitous ARP request: `ip` is at `mac`.
///
/// Sender and target address are both `ip`, the target's link-layer address is the broadcast
/// one, as keepalived and FRR send it. Every host that knows `ip` updates its entry.
#[must_use]
pub fn gratuitous_arp(ip: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(Mac::BROADCAST.octets());
    frame.extend(mac.octets());
    frame.extend(ETHERTYPE_ARP);
    frame.extend(HEADER);
    frame.extend(mac.octets());
    frame.extend(ip.octets());
    frame.extend(Mac::BROADCAST.octets());
    frame.extend(ip.octets());
    frame
}
