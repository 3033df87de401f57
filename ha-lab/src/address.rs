//! An address with the length of its network's prefix.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Serialize;

use crate::LabError;

/// An address as an interface has it: with the length of its network's prefix.
///
/// ```
/// use ha_lab::InterfaceAddress;
///
/// let address: InterfaceAddress = "10.77.0.1/24".parse()?;
/// assert_eq!((address.ip().to_string().as_str(), address.prefix_len()), ("10.77.0.1", 24));
/// assert_eq!(address.to_string(), "10.77.0.1/24");
/// # Ok::<(), ha_lab::LabError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct InterfaceAddress {
    ip: IpAddr,
    prefix_len: u8,
}

impl InterfaceAddress {
    /// An address with a prefix length of 0 to 32 (IPv4) or 0 to 128 (IPv6) bits.
    ///
    /// # Errors
    ///
    /// [`LabError::Address`] when the length is greater.
    pub fn new(ip: IpAddr, prefix_len: u8) -> Result<Self, LabError> {
        if prefix_len > if ip.is_ipv4() { 32 } else { 128 } {
            let text = format!("{ip}/{prefix_len}");
            return Err(LabError::Address { text, why: "the prefix is longer than the address" });
        }
        Ok(Self { ip, prefix_len })
    }

    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// How many bits of it name the network.
    #[must_use]
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }
}

impl FromStr for InterfaceAddress {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let wrong = |why| LabError::Address { text: text.chars().take(80).collect(), why };
        let (ip, len) = text.split_once('/').ok_or_else(|| wrong("there is no '/'"))?;
        let ip = ip.parse().map_err(|_| wrong("before the '/' is no IP address"))?;
        let len = len.parse().map_err(|_| wrong("after the '/' is no number of bits"))?;
        Self::new(ip, len)
    }
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_round_trip_through_text(ip: IpAddr, len in 0_u8..=32) {
            let address = InterfaceAddress::new(ip, len).expect("short enough for both families");
            prop_assert_eq!(address.to_string().parse::<InterfaceAddress>().expect("it is"), address);
        }

        #[test]
        fn any_text_is_an_address_or_an_error(text: String) {
            prop_assert!(text.parse::<InterfaceAddress>().is_err() || text.contains('/'));
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for (text, why) in [
            ("10.0.0.1", "there is no '/'"),
            ("10.0.0/8", "no IP address"),
            ("10.0.0.1/x", "no number"),
            ("10.0.0.1/33", "longer than the address"),
        ] {
            let error = text.parse::<InterfaceAddress>().expect_err("wrong").to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
