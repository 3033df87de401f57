//! BFD's datagram sockets (RFC 5881, section 4).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use ha_core::config::{ConfigError, Problems};
use ha_core::driver::Readiness;
use ha_core::sys::datagram::{receive, tell_origin};
use socket2::{Domain, Protocol, Socket, Type};

use super::PORT;

/// The ports that control packets may come from (RFC 5881, section 4).
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// A control packet has at most 52 bytes; its length field cannot say more than 255.
const BUFFER_LEN: usize = 256;
/// Room for what arrives while the program stands still; the kernel gives what it allows.
const BACKLOG_BYTES: usize = 4 << 20;
/// Internetwork control (RFC 4594), which busy networks forward first.
const TRAFFIC_CLASS: u32 = 0xc0;

/// Between which two neighbours a session runs.
///
/// ```
/// use ha_vip::bfd::Endpoints;
///
/// let v4 = Endpoints::new("192.0.2.1".parse()?, "192.0.2.2".parse()?);
/// assert_eq!(v4.to_string(), "192.0.2.2");
/// let v6 = Endpoints::new("fe80::1".parse()?, "fe80::2".parse()?).on("eth0");
/// assert_eq!(v6.to_string(), "fe80::2%eth0");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoints {
    local: IpAddr,
    peer: IpAddr,
    interface: Option<String>,
}

impl Endpoints {
    /// A session between `local`, an address of this host, and `peer`, one of a neighbour.
    ///
    /// The address may still be missing: packets are sent as soon as it is there.
    #[must_use]
    pub const fn new(local: IpAddr, peer: IpAddr) -> Self {
        Self { local, peer, interface: None }
    }

    /// Sends and hears only over this interface; needed for link-local addresses.
    #[must_use]
    pub fn on(mut self, interface: impl Into<String>) -> Self {
        self.interface = Some(interface.into());
        self
    }

    /// The address of this end.
    #[must_use]
    pub const fn local(&self) -> IpAddr {
        self.local
    }

    /// The address of the other end.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The interface, if the session is bound to one.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        self.interface.as_deref()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        for (path, ip) in [("local", self.local), ("peer", self.peer)] {
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            if ip.is_unspecified() || ip.is_multicast() || broadcast {
                problems.add(path, ip, "the address of one host");
            }
            let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            if link_local && self.interface.is_none() {
                problems.add(path, ip, "a link-local address needs an interface");
            }
        }
        if self.local.is_ipv4() != self.peer.is_ipv4() {
            problems.add("peer", self.peer, format!("an address of {}'s family", self.local));
        }
        problems.into_result(())
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "{}%{interface}", self.peer),
            None => self.peer.fmt(f),
        }
    }
}

/// A control packet with its origin.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) source: IpAddr,
    pub(super) destination: Option<IpAddr>,
    pub(super) interface: Option<u32>,
    pub(super) hop_limit: u8,
    pub(super) message: Vec<u8>,
}

/// Hears the control packets of all sessions of one family.
#[derive(Debug)]
pub(super) struct Listener(Readiness);

impl Listener {
    pub(super) fn open(ipv6: bool) -> io::Result<Self> {
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if ipv6 {
            socket.set_only_v6(true)?;
        }
        socket.set_recv_buffer_size(BACKLOG_BYTES)?;
        tell_origin(socket.as_fd(), ipv6)?;
        let any = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(any, PORT).into())?;
        socket.set_nonblocking(true)?;
        Ok(Self(Readiness::new(socket)?))
    }

    /// Waits for the next packet.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn wait(&self) -> io::Result<Received> {
        self.0.read(read).await
    }

    /// The next packet that has already arrived.
    pub(super) fn next(&self) -> io::Result<Option<Received>> {
        match read(self.0.as_fd()) {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn read(socket: std::os::fd::BorrowedFd<'_>) -> io::Result<Received> {
    let mut buffer = [0; BUFFER_LEN];
    let datagram = receive(socket, &mut buffer)?;
    Ok(Received {
        source: datagram.source.ip(),
        destination: datagram.destination,
        interface: datagram.interface,
        hop_limit: datagram.hop_limit.unwrap_or_default(),
        message: buffer.get(..datagram.len).unwrap_or_default().to_vec(),
    })
}

/// Sends the control packets of one session, from a port of its own.
#[derive(Debug)]
pub(super) struct Sender {
    socket: Socket,
    to: SocketAddr,
    /// The index of the interface that the session is bound to.
    interface: Option<u32>,
}

impl Sender {
    /// Opens the socket; `random` chooses the source port.
    pub(super) fn open(endpoints: &Endpoints, random: u32) -> io::Result<Self> {
        let ipv6 = endpoints.local.is_ipv6();
        let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        let interface = match &endpoints.interface {
            Some(name) => {
                let index = rustix::net::netdevice::name_to_index(&socket, name)?;
                socket.bind_device(Some(name.as_bytes()))?;
                Some(index)
            }
            None => None,
        };
        if ipv6 {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
            socket.set_unicast_hops_v6(255)?;
            socket.set_tclass_v6(TRAFFIC_CLASS)?;
        } else {
            socket.set_freebind_v4(true)?;
            socket.set_ttl_v4(255)?;
            socket.set_tos_v4(TRAFFIC_CLASS)?;
        }
        // Nobody reads what is sent to this port, so it is not kept.
        socket.set_recv_buffer_size(0)?;
        socket.set_nonblocking(true)?;
        bind_source_port(&socket, endpoints.local, interface, random)?;
        Ok(Self { socket, to: address(endpoints.peer, PORT, interface), interface })
    }

    pub(super) const fn interface(&self) -> Option<u32> {
        self.interface
    }

    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to(message, &self.to.into()).map(drop)
    }
}

/// Binds to a free port of the range, beginning at a random one, so that each session has its own.
fn bind_source_port(
    socket: &Socket,
    local: IpAddr,
    interface: Option<u32>,
    random: u32,
) -> io::Result<()> {
    let count = SOURCE_PORTS.len();
    let start = usize::try_from(random).unwrap_or_default() % count;
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for port in SOURCE_PORTS.cycle().skip(start).take(count) {
        match socket.bind(&address(local, port, interface).into()) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

fn address(ip: IpAddr, port: u16, interface: Option<u32>) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => SocketAddr::new(ip, port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, interface.unwrap_or_default()).into(),
    }
}
