//! Floating addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address with its prefix length, such as `192.0.2.10/24` or `2001:db8::10/64`.
///
/// ```
/// use ha_vip::VirtualAddress;
///
/// let address: VirtualAddress = "192.0.2.10/24".parse()?;
/// assert_eq!((address.ip().to_string(), address.prefix_len()), ("192.0.2.10".into(), 24));
/// assert!("192.0.2.10/33".parse::<VirtualAddress>().is_err());
/// # Ok::<(), ha_vip::AddressError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VirtualAddress {
    ip: IpAddr,
    prefix_len: u8,
}

impl VirtualAddress {
    /// An address with its prefix length: at most 32 for IPv4, 128 for IPv6.
    ///
    /// # Errors
    ///
    /// [`AddressError`] when the prefix is too long, or the address is one that no single host
    /// can have (unspecified, multicast, broadcast, loopback).
    pub fn new(ip: IpAddr, prefix_len: u8) -> Result<Self, AddressError> {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let why = if prefix_len > longest {
            "the prefix is longer than the address"
        } else if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || broadcast {
            "no single host on a network can have this address"
        } else {
            return Ok(Self { ip, prefix_len });
        };
        Err(AddressError { text: format!("{ip}/{prefix_len}"), why })
    }

    /// The address alone.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The length of the network part, in bits.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix_len
    }
}

impl fmt::Display for VirtualAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)
    }
}

impl FromStr for VirtualAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |why| AddressError { text: text.chars().take(80).collect(), why };
        let (ip, prefix_len) = text.split_once('/').ok_or(error("the prefix length is missing"))?;
        let ip = ip.parse().map_err(|_| error("this is no IP address"))?;
        let prefix_len = prefix_len.parse().map_err(|_| error("this is no prefix length"))?;
        Self::new(ip, prefix_len)
    }
}

impl TryFrom<String> for VirtualAddress {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<VirtualAddress> for String {
    fn from(address: VirtualAddress) -> Self {
        address.to_string()
    }
}

/// The text is not an address that can float.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {text:?} as a floating address: {why}; write ADDRESS/PREFIX, as 192.0.2.10/24")]
#[non_exhaustive]
pub struct AddressError {
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_round_trip(ip: IpAddr, prefix in 0u8..=128) {
            if let Ok(address) = VirtualAddress::new(ip, prefix) {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }

        #[test]
        fn any_text_is_an_address_or_an_error(text: String) {
            let _is_no_panic = text.parse::<VirtualAddress>();
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (text, why) in [
            ("192.0.2.1", "prefix length is missing"),
            ("192.0.2.256/24", "no IP address"),
            ("192.0.2.1/x", "no prefix length"),
            ("::1/64", "no single host"),
            ("224.0.0.18/24", "no single host"),
            ("10.0.0.1/40", "longer than the address"),
        ] {
            let error = text.parse::<VirtualAddress>().expect_err(text).to_string();
            assert!(error.contains(why) && error.contains(text), "{error}");
        }
    }
}
