//! VRRP's raw sockets.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU16, Ordering};

use ha_core::driver::Readiness;
use ha_core::sys::packet::{receive6, tell_hop_limit_and_destination};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::checksum::VRRP_PROTOCOL;
use super::effects::{Destination, Packet};
use super::wire::{GROUP_V4, GROUP_V6};
use crate::net::ipv4;

/// The largest message is 8 bytes and 255 IPv6 addresses, 4,088 bytes, after a header of 60.
const BUFFER_LEN: usize = 8 * 1024;
const VRRP: i32 = VRRP_PROTOCOL as i32;
/// `IPPROTO_RAW`: a socket that sends whole packets and receives none.
const RAW: i32 = 255;

/// Sends to VRRP's group from one interface, and hears it there.
#[derive(Debug)]
pub(super) struct VrrpSocket {
    hearing: Readiness,
    speaking: Socket,
    source: IpAddr,
    interface: u32,
    next_id: AtomicU16,
    buffer: Vec<u8>,
}

impl VrrpSocket {
    /// Opens the sockets on the interface; `source` is the address that adverts come from.
    pub(super) fn open(name: &str, interface: u32, source: IpAddr) -> io::Result<Self> {
        let (hearing, speaking) = match source {
            IpAddr::V4(_) => (hear_v4(name, interface)?, speak_v4(name)?),
            IpAddr::V6(source) => (hear_v6(name, interface)?, speak_v6(name, interface, source)?),
        };
        hearing.set_nonblocking(true)?;
        speaking.set_nonblocking(true)?;
        Ok(Self {
            hearing: Readiness::new(hearing)?,
            speaking,
            source,
            interface,
            next_id: AtomicU16::new(1),
            buffer: vec![0; BUFFER_LEN],
        })
    }

    /// Sends a VRRP message.
    pub(super) fn send(&self, destination: Destination, message: &[u8]) -> io::Result<()> {
        let to = match (destination, self.source) {
            (Destination::Group, IpAddr::V4(_)) => IpAddr::V4(GROUP_V4),
            (Destination::Group, IpAddr::V6(_)) => IpAddr::V6(GROUP_V6),
            (Destination::Peer(ip) | Destination::Routed(ip), _) => ip,
        };
        match (self.source, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                let packet = ipv4::encode(source, to, id, message);
                self.speaking.send_to(&packet, &SocketAddr::from((to, 0)).into())?;
            }
            (IpAddr::V6(_), IpAddr::V6(to)) => {
                let to = SocketAddrV6::new(to, 0, 0, self.interface);
                self.speaking.send_to(message, &to.into())?;
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(())
    }

    /// Waits for the next packet; `None` for one that is no packet of protocol 112.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Packet>> {
        let buffer = &mut self.buffer;
        match self.source {
            IpAddr::V4(_) => {
                let flags = rustix::net::RecvFlags::empty();
                let read = self.hearing.read(|socket| {
                    let (len, _) = rustix::net::recv(socket, &mut buffer[..], flags)?;
                    Ok(len)
                });
                let len = read.await?;
                Ok(buffer.get(..len).and_then(ipv4::decode).map(|packet| Packet {
                    source: packet.source.into(),
                    destination: packet.destination.into(),
                    hop_limit: packet.ttl,
                    message: packet.payload.to_vec(),
                }))
            }
            IpAddr::V6(_) => {
                let received = self.hearing.read(|socket| receive6(socket, buffer)).await?;
                Ok(buffer.get(..received.len).map(|message| Packet {
                    source: received.source.into(),
                    destination: received.destination.unwrap_or(Ipv6Addr::UNSPECIFIED).into(),
                    hop_limit: received.hop_limit.unwrap_or_default(),
                    message: message.to_vec(),
                }))
            }
        }
    }
}

fn hear_v4(name: &str, interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(VRRP)))?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface))?;
    Ok(socket)
}

fn speak_v4(name: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
    socket.set_header_included_v4(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.set_multicast_loop_v4(false)?;
    Ok(socket)
}

fn hear_v6(name: &str, interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(VRRP)))?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.join_multicast_v6(&GROUP_V6, interface)?;
    tell_hop_limit_and_destination(socket.as_fd())?;
    Ok(socket)
}

fn speak_v6(name: &str, interface: u32, source: Ipv6Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(VRRP)))?;
    socket.bind_device(Some(name.as_bytes()))?;
    // Bound to the source, so that a virtual link-local address is never taken for it; a packet
    // to the group does not fit the binding, so this socket receives none.
    socket.bind(&SocketAddrV6::new(source, 0, 0, interface).into())?;
    socket.set_multicast_if_v6(interface)?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(socket)
}

/// The primary IPv4 address, or the link-local IPv6 one, that is not a virtual address itself.
#[cfg(feature = "netlink")]
pub(super) fn source_address(
    present: &[crate::VirtualAddress],
    config: &super::RouterConfig,
) -> Option<IpAddr> {
    let virtual_ip = |ip: IpAddr| config.addresses().iter().any(|address| address.ip() == ip);
    let owner = config.priority().is_owner();
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => !config.is_ipv6(),
        IpAddr::V6(ip) => config.is_ipv6() && ip.is_unicast_link_local(),
    };
    let mut candidates = present.iter().map(crate::VirtualAddress::ip).filter(usable);
    candidates.clone().find(|ip| !virtual_ip(*ip)).or_else(|| candidates.find(|_| owner))
}

#[cfg(all(test, feature = "netlink"))]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_a_primary_address_of_the_right_family() {
        let address = |text: &str| text.parse::<crate::VirtualAddress>().expect("an address");
        let present = ["10.0.0.100/24", "10.0.0.1/24", "2001:db8::1/64", "fe80::1/64"].map(address);
        let source = |vip: &str, priority| {
            let builder = super::super::RouterConfig::builder(1).address(address(vip));
            let config = builder.priority(priority).build().expect("a configuration");
            source_address(&present, &config).map(|ip| ip.to_string())
        };
        assert_eq!(source("10.0.0.100/24", 100).as_deref(), Some("10.0.0.1"));
        assert_eq!(source("2001:db8::9/64", 100).as_deref(), Some("fe80::1"));
        let only = [address("10.0.0.100/24")];
        let config =
            |p| super::super::RouterConfig::builder(1).address(only[0]).priority(p).build();
        assert_eq!(source_address(&only, &config(100).expect("ok")), None);
        assert_eq!(source_address(&only, &config(255).expect("ok")), Some(only[0].ip()));
    }
}
