//! Version 3 (RFC 9568, section 5.2).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |Version| Type  | Virtual Rtr ID|   Priority    |  Addr Count   |
//! +-------+-------+-------+-------+---------------+---------------+
//! |Reserve| Max Advertise Interval|           Checksum            |
//! +-------+-----------------------+-------------------------------+
//! |                     IPvX Addresses …                          |
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::advert::{Advert, View, units};
use super::{HEADER_LEN, Reject, Version};
use crate::vrrp::config::Vrid;

const VERSION_AND_TYPE: u8 = 0x31;
/// The unit of the interval.
pub(super) const CENTISECOND: Duration = Duration::from_millis(10);
/// The interval has twelve bits.
const MAX_INTERVAL: u16 = 0x0fff;

/// Reads an advert of version 3 up to its checksum.
pub(super) fn decode(
    header: [u8; HEADER_LEN],
    rest: &[u8],
    source: IpAddr,
) -> Result<View<'_>, Reject> {
    let [_, vrid, priority, count, interval_high, interval_low, _, _] = header;
    let vrid = Vrid::new(vrid).ok_or(Reject::Vrid)?;
    let interval = u16::from_be_bytes([interval_high, interval_low]) & MAX_INTERVAL;
    if interval == 0 {
        return Err(Reject::Interval);
    }
    let size: usize = if source.is_ipv4() { 4 } else { 16 };
    let len = size.saturating_mul(usize::from(count));
    let addresses = rest.get(..len).filter(|_| count > 0).ok_or(Reject::AddressCount)?;
    Ok(View::new(Version::V3, vrid, priority, interval, addresses).with_address_size(size))
}

/// The header of `advert`, without address count and checksum.
pub(super) fn header(advert: &Advert) -> [u8; HEADER_LEN] {
    let [high, low] = units(advert.interval, CENTISECOND, MAX_INTERVAL).to_be_bytes();
    [VERSION_AND_TYPE, advert.vrid.get(), advert.priority, 0, high, low, 0, 0]
}
