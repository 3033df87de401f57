//! Announcements as Ethernet frames through a packet socket.

use std::io;
use std::net::IpAddr;

use ha_core::sys::packet::packet_address;
use socket2::{Domain, Socket, Type};

use super::{Announcer, Mac, frame};
use crate::address::VirtualAddress;

/// Sends gratuitous ARP and unsolicited neighbour advertisements out of one interface.
///
/// Needs `CAP_NET_RAW`.
#[derive(Debug)]
pub struct PacketAnnouncer {
    socket: Socket,
    interface: u32,
    mac: Mac,
    repeat: u8,
}

impl PacketAnnouncer {
    /// Opens a packet socket that only sends, out of the interface with this index and MAC.
    ///
    /// # Errors
    ///
    /// The kernel's; [`io::ErrorKind::PermissionDenied`] without `CAP_NET_RAW`.
    pub fn open(interface: u32, mac: Mac) -> io::Result<Self> {
        // Protocol 0: the socket receives nothing.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, interface, mac, repeat: 1 })
    }

    /// Sends each frame so many times in a row, at least once (keepalived's `garp_master_repeat`).
    #[must_use]
    pub const fn repeating(mut self, times: u8) -> Self {
        self.repeat = times;
        self
    }

    /// The same for the interface with this name, as it is now.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and when there is no such interface.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    #[cfg(feature = "netlink")]
    pub async fn on(name: &str) -> io::Result<Self> {
        use crate::net::interface::{Interface, connect};

        let link = Interface::find(&connect()?, name).await?;
        Self::open(link.index(), link.mac())
    }
}

impl Announcer for PacketAnnouncer {
    fn announce(&self, addresses: &[VirtualAddress]) -> io::Result<()> {
        for address in addresses {
            let frame = frame(address.ip(), self.mac);
            let (ethertype, destination) = match address.ip() {
                IpAddr::V4(_) => (0x0806, Mac::BROADCAST.octets()),
                IpAddr::V6(_) => (0x86dd, [0x33, 0x33, 0, 0, 0, 1]),
            };
            let to = packet_address(self.interface, ethertype, destination);
            for _ in 0..self.repeat.max(1) {
                self.socket.send_to(&frame, &to)?;
            }
        }
        Ok(())
    }
}
