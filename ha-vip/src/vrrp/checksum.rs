//! The Internet checksum (RFC 1071) with the pseudo-headers of IPv4 and IPv6.

use std::net::IpAddr;

/// The protocol number of VRRP (and of CARP).
pub const VRRP_PROTOCOL: u8 = 112;

/// The one's complement sum of `parts`, each an even number of bytes but the last.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut total: u64 = 0;
    for part in parts {
        for word in part.chunks(2) {
            let high = word.first().copied().unwrap_or_default();
            let low = word.get(1).copied().unwrap_or_default();
            total = total.wrapping_add(u64::from(u16::from_be_bytes([high, low])));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

/// The sum of the pseudo-header: source, destination, protocol and length of `message`
/// (RFC 9293, section 3.1 for IPv4, RFC 8200, section 8.1 for IPv6).
pub(crate) fn pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    message_len: usize,
) -> u16 {
    let len = u32::try_from(message_len).unwrap_or(u32::MAX).to_be_bytes();
    let tail = [0, 0, 0, protocol];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum(&[&source.octets(), &destination.octets(), &tail, &len])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            sum(&[&source.octets(), &destination.octets(), &tail, &len])
        }
        // Mixed families never reach a wire; any value makes the check fail or the peer drop it.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    }
}

/// Adds two one's complement sums.
pub(crate) const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    if carry { sum.wrapping_add(1) } else { sum }
}
