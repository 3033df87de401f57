//! Hash functions: HAProxy's, and ours.

use std::str::FromStr;

use ha_core::config::ConfigError;

/// HAProxy's hash functions (`hash-type METHOD FUNCTION`).
///
/// ```
/// use ha_lb::algorithm::hash::Function;
///
/// assert_eq!(Function::Crc32.hash(b"123456789"), 0xcbf4_3926);
/// assert_eq!(Function::None.hash(b"123456789"), 123_456_789);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Function {
    /// CRC-32.
    Crc32,
    /// D. J. Bernstein's.
    Djb2,
    /// The key itself, read as a decimal number.
    None,
    /// That of the sdbm database; HAProxy's default.
    Sdbm,
    /// Willy Tarreau's.
    Wt6,
}

impl Function {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Djb2 => "djb2",
            Self::None => "none",
            Self::Sdbm => "sdbm",
            Self::Wt6 => "wt6",
        }
    }

    /// The hash of a key, before the avalanche step.
    #[must_use]
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            Self::Crc32 => Crc32::new().and(key).value(),
            Self::Djb2 => key.iter().fold(5_381, |hash, c| hash_add(hash_mul(hash, 33), *c)),
            Self::None => number(key),
            Self::Sdbm => key.iter().fold(0, |hash: u32, c| {
                let shifted = (hash << 6).wrapping_add(hash << 16);
                hash_add(shifted.wrapping_sub(hash), *c)
            }),
            Self::Wt6 => wt6(key),
        }
    }
}

impl FromStr for Function {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let all = [Self::Crc32, Self::Djb2, Self::None, Self::Sdbm, Self::Wt6];
        all.into_iter().find(|function| function.as_str() == text).ok_or_else(|| {
            ConfigError::new("algorithm.function", text, "sdbm, djb2, wt6, crc32 or none")
        })
    }
}

fn hash_add(hash: u32, byte: u8) -> u32 {
    hash.wrapping_add(u32::from(byte))
}

const fn hash_mul(hash: u32, by: u32) -> u32 {
    hash.wrapping_mul(by)
}

/// A leading decimal number; what follows it counts for nothing.
fn number(key: &[u8]) -> u32 {
    let digits = key.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u32, digit| hash_add(number.wrapping_mul(10), digit - b'0'))
}

/// Two lanes that are exchanged and rotated by amounts that follow from what was read.
fn wt6(key: &[u8]) -> u32 {
    let (mut left, mut right) = (0xa53c_965a_u32, 0x5ca6_953a_u32);
    let (mut by_low, mut by_high) = (6_u32, 18_u32);
    for byte in key {
        left = !(left ^ u32::from(*byte));
        right = !hash_add(right, *byte);
        (left, right) = (right.rotate_left(by_low), left.rotate_left(by_high));
        let amounts = ((left >> 16) ^ right) & 0xffff;
        (by_low, by_high) = (amounts & 31, amounts >> 11);
    }
    left ^ right
}

/// A CRC-32 of IEEE 802.3, reflected, that goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crc32(u32);

/// What a byte adds when it is the last one, and when one to three more follow.
static CRC: [[u32; 256]; 4] = crc_tables();

fn crc_of(followed_by: usize, byte: u8) -> u32 {
    let table = CRC.get(followed_by);
    table.and_then(|table| table.get(usize::from(byte))).copied().unwrap_or_default()
}

impl Crc32 {
    pub(super) const fn new() -> Self {
        Self(u32::MAX)
    }

    #[must_use]
    pub(super) fn and(self, bytes: &[u8]) -> Self {
        let step = |crc: u32, byte: &u8| {
            let [low, ..] = crc.to_le_bytes();
            crc_of(0, low ^ byte) ^ (crc >> 8)
        };
        Self(bytes.iter().fold(self.0, step))
    }

    /// Four bytes at once, the lowest first.
    #[must_use]
    pub(super) fn and_word(self, word: u32) -> Self {
        let [first, second, third, last] = (self.0 ^ word).to_le_bytes();
        Self(crc_of(3, first) ^ crc_of(2, second) ^ crc_of(1, third) ^ crc_of(0, last))
    }

    pub(super) const fn value(self) -> u32 {
        !self.0
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn crc_tables() -> [[u32; 256]; 4] {
    let mut tables = [crc_table(), [0; 256], [0; 256], [0; 256]];
    let mut followed_by = 1;
    while followed_by < 4 {
        let mut at = 0;
        while at < 256 {
            let before = tables[followed_by - 1][at];
            tables[followed_by][at] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            at += 1;
        }
        followed_by += 1;
    }
    tables
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
#[expect(clippy::cast_possible_truncation, reason = "below 256")]
const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
}

/// Jenkins' 32-bit integer hash, then a multiplication: HAProxy's `full_hash`.
pub(super) const fn avalanche(a: u32) -> u32 {
    let a = a.wrapping_add(0x7ed5_5d16).wrapping_add(a << 12);
    let a = (a ^ 0xc761_c23c) ^ (a >> 19);
    let a = a.wrapping_add(0x1656_67b1).wrapping_add(a << 5);
    let a = a.wrapping_add(0xd3a2_646c) ^ (a << 9);
    let a = a.wrapping_add(0xfd70_46c5).wrapping_add(a << 3);
    let a = (a ^ 0xb55a_4f09) ^ (a >> 16);
    a.wrapping_mul(3_221_225_473)
}

/// A hash of 64 bits for the methods that HAProxy does not have: FNV-1a (Fowler, Noll, Vo), mixed
/// at the end. It is the same on every machine and in every version of this crate.
///
/// ```
/// use ha_lb::algorithm::hash::hash64;
///
/// assert_eq!(hash64(b"session-17"), hash64(b"session-17"));
/// assert_ne!(hash64(b"session-17"), hash64(b"session-18"));
/// ```
#[must_use]
pub fn hash64(key: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    crate::random::mix(key.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Crc32;

    proptest! {
        #[test]
        fn a_word_counts_as_its_bytes(before: Vec<u8>, word: u32) {
            let crc = Crc32::new().and(&before);
            prop_assert_eq!(crc.and_word(word).value(), crc.and(&word.to_le_bytes()).value());
        }
    }
}
