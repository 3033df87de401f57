//! VRRP's raw sockets: one ear on each link, whatever the number of routers there.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use ha_core::driver::Readiness;
use ha_core::sys::packet::{receive6, tell_hop_limit_and_destination};
use rustix::net::RecvFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::checksum::VRRP_PROTOCOL;
use super::config::Vrid;
use super::effects::Heard;
use super::host::LinkId;
use super::wire::{GROUP_V4, GROUP_V6};
use crate::net::ipv4;

/// The largest message is 8 bytes and 255 IPv6 addresses, 4,088 bytes, after a header of 60.
const BUFFER_LEN: usize = 8 * 1024;
/// Adverts of a thousand routers that wait while this process does not run.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
const VRRP: i32 = VRRP_PROTOCOL as i32;
/// `IPPROTO_RAW`: a socket that sends whole packets and receives none.
const RAW: i32 = 255;

/// Sends to VRRP's group and to neighbours from one interface, and hears them there.
#[derive(Debug)]
pub(super) struct Port {
    link: LinkId,
    name: String,
    hearing: Readiness,
    speaking: BTreeMap<IpAddr, Socket>,
    /// For routers whose adverts come from their virtual link-layer address.
    through: BTreeMap<(IpAddr, Vrid), Socket>,
    next_id: u16,
    buffer: Vec<u8>,
    packet: Vec<u8>,
}

/// The place of a received packet in a port's buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    start: usize,
    end: usize,
}

impl Port {
    /// Opens an ear on the interface.
    pub(super) fn open(name: &str, link: LinkId) -> io::Result<Self> {
        let hearing =
            if link.ipv6 { hear_v6(name, link.interface)? } else { hear_v4(name, link.interface)? };
        hearing.set_nonblocking(true)?;
        // Less is what the system allows without privilege.
        hearing.set_recv_buffer_size(RECEIVE_BUFFER)?;
        Ok(Self {
            link,
            name: name.to_owned(),
            hearing: Readiness::new(hearing)?,
            speaking: BTreeMap::new(),
            through: BTreeMap::new(),
            next_id: 0,
            buffer: vec![0; BUFFER_LEN],
            packet: Vec::new(),
        })
    }

    pub(super) const fn link(&self) -> LinkId {
        self.link
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes it possible to send from `source`, an address of the interface.
    pub(super) fn speak_from(&mut self, source: IpAddr) -> io::Result<()> {
        let socket = match source {
            IpAddr::V4(_) => speak_v4(Some(&self.name))?,
            IpAddr::V6(source) => speak_v6(&self.name, self.link.interface, source)?,
        };
        socket.set_nonblocking(true)?;
        self.speaking.insert(source, socket);
        Ok(())
    }

    /// Makes the adverts of this router leave through an interface over this one, which has the
    /// virtual link-layer address: so switches go on knowing where it is (RFC 9568, section 7.3).
    pub(super) fn speak_through(
        &mut self,
        source: IpAddr,
        vrid: Vrid,
        interface: &str,
    ) -> io::Result<()> {
        let socket = speak_v4(Some(interface))?;
        socket.set_nonblocking(true)?;
        self.through.insert((source, vrid), socket);
        Ok(())
    }

    /// Sends a VRRP message.
    pub(super) fn send(&mut self, from: IpAddr, to: IpAddr, message: &[u8]) -> io::Result<()> {
        let vrid = message.get(1).copied().and_then(Vrid::new);
        let through = vrid.filter(|_| to == IpAddr::V4(GROUP_V4));
        let through = through.and_then(|vrid| self.through.get(&(from, vrid)));
        let socket = through.or_else(|| self.speaking.get(&from));
        let socket = socket.ok_or(io::ErrorKind::AddrNotAvailable)?;
        match (from, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                self.next_id = self.next_id.wrapping_add(1).max(1);
                ipv4::encode_into(&mut self.packet, source, to, self.next_id, message);
                socket.send_to(&self.packet, &SocketAddr::from((to, 0)).into())?;
            }
            (IpAddr::V6(_), IpAddr::V6(to)) => {
                let to = SocketAddrV6::new(to, 0, 0, self.link.interface);
                socket.send_to(message, &to.into())?;
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(())
    }

    /// Waits for the next packet; `None` for one that is no packet of protocol 112.
    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Received>>> {
        let (ipv6, buffer) = (self.link.ipv6, &mut self.buffer);
        self.hearing.poll_read(context, |socket| receive(socket, ipv6, buffer))
    }

    /// Takes a packet that waits already.
    pub(super) fn try_receive(&mut self) -> io::Result<Option<Received>> {
        receive(self.hearing.as_fd(), self.link.ipv6, &mut self.buffer)
    }

    /// What was received last.
    pub(super) fn heard(&self, received: Received) -> Heard<'_> {
        let Received { source, destination, hop_limit, start, end } = received;
        let message = self.buffer.get(start..end).unwrap_or_default();
        Heard { source, destination, hop_limit, message }
    }
}

fn receive(socket: BorrowedFd<'_>, ipv6: bool, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    if ipv6 {
        let received = receive6(socket, buffer)?;
        return Ok(Some(Received {
            source: received.source.into(),
            destination: received.destination.unwrap_or(Ipv6Addr::UNSPECIFIED).into(),
            hop_limit: received.hop_limit.unwrap_or_default(),
            start: 0,
            end: received.len,
        }));
    }
    let (len, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?;
    Ok(buffer.get(..len).and_then(ipv4::decode).map(|packet| Received {
        source: packet.source.into(),
        destination: packet.destination.into(),
        hop_limit: packet.ttl,
        start: ipv4::payload_start(buffer),
        end: ipv4::payload_start(buffer) + packet.payload.len(),
    }))
}

fn hear_v4(name: &str, interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(VRRP)))?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface))?;
    Ok(socket)
}

/// A socket that sends whole IPv4 packets: out of the interface `name`, or by any way.
pub(super) fn speak_v4(name: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))?;
    socket.set_header_included_v4(true)?;
    socket.bind_device(name.map(str::as_bytes))?;
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
    // to the group does not fit the binding, and what else it receives nobody reads.
    socket.bind(&SocketAddrV6::new(source, 0, 0, interface).into())?;
    socket.set_multicast_if_v6(interface)?;
    socket.set_multicast_hops_v6(255)?;
    socket.set_unicast_hops_v6(255)?;
    socket.set_multicast_loop_v6(false)?;
    Ok(socket)
}
