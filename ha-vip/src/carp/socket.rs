//! CARP's raw sockets.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};

use ha_core::driver::Readiness;
use ha_core::sys::packet::packet_address;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::config::Vhid;
use super::effects::Packet;
use super::wire::GROUP;
use crate::net::ipv4::{self, Service};
use crate::vrrp::VRRP_PROTOCOL;

/// A CARP message has 36 bytes; VRRP's, which has the same protocol number, up to 4,088.
const BUFFER_LEN: usize = 8 * 1024;
const ETHERTYPE_IPV4: u16 = 0x0800;
/// Where frames to 224.0.0.18 go (RFC 1112, section 6.4).
const GROUP_MAC: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];

/// Sends to CARP's group from one interface, and hears it there.
///
/// Frames come from the group's own link-layer address, 00:00:5e:00:00:VHID, as ucarp's do, so
/// they go out through a packet socket.
#[derive(Debug)]
pub(super) struct CarpSocket {
    hearing: Readiness,
    speaking: Socket,
    source: Ipv4Addr,
    interface: u32,
    from_mac: [u8; 6],
    to_mac: [u8; 6],
    next_id: AtomicU16,
    buffer: Vec<u8>,
}

impl CarpSocket {
    /// Opens the sockets on the interface; `source` is the address that adverts come from.
    pub(super) fn open(
        name: &str,
        interface: u32,
        source: Ipv4Addr,
        vhid: Vhid,
        multicast: bool,
    ) -> io::Result<Self> {
        let hearing =
            Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(i32::from(VRRP_PROTOCOL))))?;
        hearing.bind_device(Some(name.as_bytes()))?;
        hearing.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(interface))?;
        hearing.set_nonblocking(true)?;
        // Protocol 0: the socket receives nothing.
        let speaking = Socket::new(Domain::PACKET, Type::RAW, None)?;
        speaking.set_nonblocking(true)?;
        Ok(Self {
            hearing: Readiness::new(hearing)?,
            speaking,
            source,
            interface,
            from_mac: [0x00, 0x00, 0x5e, 0x00, 0x00, vhid.get()],
            to_mac: if multicast { GROUP_MAC } else { [0xff; 6] },
            next_id: AtomicU16::new(1),
            buffer: vec![0; BUFFER_LEN],
        })
    }

    /// Sends a CARP message to the group.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let packet = ipv4::encode_as(Service::LowDelay, self.source, GROUP, id, message);
        let mut frame = Vec::with_capacity(packet.len() + 14);
        frame.extend(self.to_mac);
        frame.extend(self.from_mac);
        frame.extend(ETHERTYPE_IPV4.to_be_bytes());
        frame.extend(packet);
        self.speaking
            .send_to(&frame, &packet_address(self.interface, ETHERTYPE_IPV4, self.to_mac))?;
        Ok(())
    }

    /// Waits for the next packet; `None` for one that is no packet of protocol 112.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Packet>> {
        let buffer = &mut self.buffer;
        let flags = rustix::net::RecvFlags::empty();
        let read = self.hearing.read(|socket| {
            let (len, _) = rustix::net::recv(socket, &mut buffer[..], flags)?;
            Ok(len)
        });
        let len = read.await?;
        Ok(buffer.get(..len).and_then(ipv4::decode).map(|packet| Packet {
            source: packet.source,
            hop_limit: packet.ttl,
            message: packet.payload.to_vec(),
        }))
    }
}

/// The primary IPv4 address of the interface that is not a virtual address itself.
#[cfg(feature = "netlink")]
pub(super) fn source_address(
    present: &[crate::VirtualAddress],
    config: &super::HostConfig,
) -> Option<Ipv4Addr> {
    let is_virtual = |ip: std::net::IpAddr| config.addresses().iter().any(|a| a.ip() == ip);
    present.iter().map(crate::VirtualAddress::ip).find_map(|ip| match ip {
        std::net::IpAddr::V4(v4) if !is_virtual(ip) => Some(v4),
        std::net::IpAddr::V4(_) | std::net::IpAddr::V6(_) => None,
    })
}
