//! The Internet checksum (RFC 1071) with the pseudo-headers of IPv4 and IPv6.

use std::net::IpAddr;

/// The protocol number of VRRP (and of CARP).
pub const VRRP_PROTOCOL: u8 = 112;

/// A one's complement sum under way, eight bytes at a time in the machine's own byte order: the
/// sum is the same in any order of bytes, if it is turned at the end (RFC 1071, section 2).
#[derive(Debug, Clone, Copy)]
struct Sum(u64);

impl Sum {
    const ZERO: Self = Self(0);

    fn word(self, word: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        Self(sum.wrapping_add(u64::from(carry)))
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, mut rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.word(u64::from_ne_bytes(*word));
        }
        if let Some((word, after)) = rest.split_first_chunk::<4>() {
            self = self.word(u32::from_ne_bytes(*word).into());
            rest = after;
        }
        if let Some((word, after)) = rest.split_first_chunk::<2>() {
            self = self.word(u16::from_ne_bytes(*word).into());
            rest = after;
        }
        if let [last] = rest {
            self = self.word(u16::from_ne_bytes([*last, 0]).into());
        }
        self
    }

    /// The sum in 16 bits, in network byte order's sense.
    fn fold(self) -> u16 {
        let mut total = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        u16::try_from(total).unwrap_or(u16::MAX).to_be()
    }
}

/// The one's complement sum of `parts`, each an even number of bytes but the last.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    parts.iter().fold(Sum::ZERO, |total, part| total.bytes(part)).fold()
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
    let addresses = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Sum::ZERO.bytes(&source.octets()).bytes(&destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Sum::ZERO.bytes(&source.octets()).bytes(&destination.octets())
        }
        // Mixed families never reach a wire; any value makes the check fail or the peer drop it.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return 0,
    };
    addresses.bytes(&[0, 0, 0, protocol]).bytes(&len).fold()
}

/// Adds two one's complement sums.
pub(crate) const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    if carry { sum.wrapping_add(1) } else { sum }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word (RFC 1071, section 1).
    fn by_definition(bytes: &[u8]) -> u16 {
        bytes.chunks(2).fold(0, |total, word| {
            add(total, u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))
        })
    }

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        assert_eq!(sum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), 0xddf2);
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_is_the_sum_of_the_definition(
            bytes in prop::collection::vec(any::<u8>(), 0..300), even in 0usize..150,
        ) {
            prop_assert_eq!(sum(&[&bytes]), by_definition(&bytes));
            let at = (even * 2).min(bytes.len() / 2 * 2);
            prop_assert_eq!(sum(&[&bytes[..at], &bytes[at..]]), by_definition(&bytes));
        }
    }
}
