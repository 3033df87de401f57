//! Sockets that are open before they are needed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Protocol, Socket, Type};

use super::WillPacket;
use crate::net::ipv4;
use crate::vrrp::VRRP_PROTOCOL;

const VRRP: i32 = VRRP_PROTOCOL as i32;
/// `IPPROTO_RAW`: a socket that sends whole packets and receives none.
const RAW: i32 = 255;

/// Sends VRRP messages from any interface.
#[derive(Debug, Default)]
pub(super) struct Voice(BTreeMap<(u32, IpAddr), Socket>);

impl Voice {
    /// Opens what `packets` need, and closes the rest. What cannot be opened now is tried again
    /// when it is needed.
    pub(super) fn prepare(&mut self, packets: &[WillPacket]) {
        let needed: Vec<_> =
            packets.iter().map(|packet| (packet.interface, packet.source)).collect();
        self.0.retain(|place, _| needed.contains(place));
        for (interface, source) in needed {
            let _tried_again_when_needed = self.socket(interface, source);
        }
    }

    pub(super) fn send(&mut self, packet: &WillPacket) -> io::Result<()> {
        let socket = self.socket(packet.interface, packet.source)?;
        match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                // The identification differs from those of the adverts, which count from 1.
                let bytes = ipv4::encode(source, to, u16::MAX, &packet.message);
                socket.send_to(&bytes, &SocketAddr::from((to, 0)).into())?;
            }
            (IpAddr::V6(_), IpAddr::V6(to)) => {
                let to = SocketAddrV6::new(to, 0, 0, packet.interface);
                socket.send_to(&packet.message, &to.into())?;
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(())
    }

    fn socket(&mut self, interface: u32, source: IpAddr) -> io::Result<&Socket> {
        let socket = match self.0.remove(&(interface, source)) {
            Some(socket) => socket,
            None => match source {
                IpAddr::V4(_) => open_v4(interface)?,
                IpAddr::V6(source) => open_v6(interface, source)?,
            },
        };
        Ok(self.0.entry((interface, source)).or_insert(socket))
    }
}

fn open_v4(interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
    let name = rustix::net::netdevice::index_to_name(&socket, interface)?;
    socket.set_header_included_v4(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn open_v6(interface: u32, source: Ipv6Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(VRRP)))?;
    let name = rustix::net::netdevice::index_to_name(&socket, interface)?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.bind(&SocketAddrV6::new(source, 0, 0, interface).into())?;
    socket.set_multicast_if_v6(interface)?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
