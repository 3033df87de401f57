//! Telling the neighbours where an address is now: gratuitous ARP and unsolicited neighbour
//! advertisements; and hearing whether another host says the same of itself (RFC 5227).

mod announcer;
mod arp;
mod conflict;
#[cfg(feature = "tokio")]
mod listener;
mod ndp;
#[cfg(feature = "tokio")]
mod packet;
mod probe;
mod sighting;

use std::fmt;
use std::net::IpAddr;

pub use announcer::{Announcer, MemoryAnnouncer};
pub use arp::gratuitous_arp;
pub use conflict::{
    ConflictBuilder, ConflictConfig, ConflictDetector, ConflictEvent, ConflictInput,
    ConflictOutput, ConflictPolicy, ConflictStats, MAX_RIVALS,
};
#[cfg(feature = "tokio")]
pub use listener::{ConflictListener, ListenerStats};
pub use ndp::unsolicited_advertisement;
#[cfg(feature = "tokio")]
pub use packet::PacketAnnouncer;
pub use probe::{AddressProbe, ProbeInput, ProbeOutput, ProbeTiming};
pub use sighting::{Sighting, SightingKind, Unreadable, arp_probe};

/// A link-layer address of Ethernet, such as `02:77:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address of everybody on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// An address from its bytes.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The bytes.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ":" };
            write!(f, "{separator}{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The whole Ethernet frame that says "`ip` is at `mac`": a gratuitous ARP request for IPv4, an
/// unsolicited neighbour advertisement for IPv6.
///
/// ```
/// use ha_vip::announce::{Mac, frame};
///
/// let frame = frame("192.0.2.10".parse().unwrap(), Mac::new([2, 0, 0, 0, 0, 1]));
/// assert_eq!(frame.len(), 42);
/// ```
#[must_use]
pub fn frame(ip: IpAddr, mac: Mac) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => gratuitous_arp(ip, mac),
        IpAddr::V6(ip) => unsolicited_advertisement(ip, mac),
    }
}
