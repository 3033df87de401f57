//! Version 2 (RFC 3768, section 5.3), with the simple text password of RFC 2338.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |Version| Type  | Virtual Rtr ID|   Priority    |  Addr Count   |
//! +-------+-------+---------------+---------------+---------------+
//! |   Auth Type   |   Adver Int   |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |                     IPv4 Addresses …                          |
//! +---------------------------------------------------------------+
//! |          Authentication Data: 8 bytes, with or without        |
//! |                        a password                             |
//! +---------------------------------------------------------------+
//! ```
//!
//! GAP(RFC 2338 §5.3.6): authentication type 2, the IP authentication header, is refused;
//! RFC 3768 took it out, and keepalived calls it deprecated.

use std::time::Duration;

use super::advert::{Advert, Password, View, units};
use super::{HEADER_LEN, Reject, Version};
use crate::vrrp::config::Vrid;

const VERSION_AND_TYPE: u8 = 0x21;
const NO_AUTHENTICATION: u8 = 0;
const SIMPLE_PASSWORD: u8 = 1;
const ADDRESS_LEN: usize = 4;
/// The authentication data are there whatever the type (RFC 3768, section 5.3.10).
pub(super) const AUTHENTICATION_LEN: usize = 8;
const MAX_INTERVAL: u16 = 255;

/// What follows the header of a CARP message, and its fourth byte: the length of its
/// authentication in words. Its first byte is that of VRRPv2.
const CARP_REST: usize = 28;
const CARP_AUTH_LEN: u8 = 7;

/// Reads an advert of version 2 up to its checksum.
pub(super) fn decode(header: [u8; HEADER_LEN], rest: &[u8]) -> Result<View<'_>, Reject> {
    let [_, vrid, priority, count, authentication, interval, _, _] = header;
    if count == CARP_AUTH_LEN && rest.len() == CARP_REST {
        return Err(Reject::Version);
    }
    let vrid = Vrid::new(vrid).ok_or(Reject::Vrid)?;
    if interval == 0 {
        return Err(Reject::Interval);
    }
    let len = ADDRESS_LEN.saturating_mul(usize::from(count));
    let (addresses, rest) =
        rest.split_at_checked(len).filter(|_| count > 0).ok_or(Reject::AddressCount)?;
    let data = rest.first_chunk::<AUTHENTICATION_LEN>().ok_or(Reject::PacketLength)?;
    let password = match authentication {
        NO_AUTHENTICATION => None,
        SIMPLE_PASSWORD => Some(Password::from_wire(*data)),
        _ => return Err(Reject::Authentication),
    };
    let mut view = View::new(Version::V2, vrid, priority, interval.into(), addresses);
    view.password = password;
    Ok(view)
}

/// The header of `advert`, without address count and checksum.
pub(super) fn header(advert: &Advert) -> [u8; HEADER_LEN] {
    let [_, interval] = units(advert.interval, Duration::from_secs(1), MAX_INTERVAL).to_be_bytes();
    let authentication =
        if advert.password.is_some() { SIMPLE_PASSWORD } else { NO_AUTHENTICATION };
    let vrid = advert.vrid.get();
    [VERSION_AND_TYPE, vrid, advert.priority, 0, authentication, interval, 0, 0]
}

/// What follows the addresses.
pub(super) fn authentication_data(advert: &Advert) -> [u8; AUTHENTICATION_LEN] {
    advert.password.map(Password::to_wire).unwrap_or_default()
}
