//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use ha_core::effect::Effect;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::TcpListener;

/// How many connections wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The proxy cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {remedy}")]
#[non_exhaustive]
pub struct BindError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// What to do about it.
    pub remedy: &'static str,
    /// What the kernel says.
    pub source: io::Error,
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the program that listens there (`ss -ltnp` names it) or choose another port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "give the address to an interface first, or listen on 0.0.0.0 or [::]"
            }
            io::ErrorKind::PermissionDenied => {
                "a port below 1024 needs root or CAP_NET_BIND_SERVICE; or choose a higher one"
            }
            _ => "see the kernel's error",
        };
        Self { address, remedy, source }
    }

    /// Nothing was bound.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        Effect::None
    }
}

/// Listens on `address`; returns the real address as well, for port 0.
pub(crate) fn listen(
    address: SocketAddr,
    reuse_port: bool,
) -> Result<(TcpListener, SocketAddr), BindError> {
    try_listen(address, reuse_port).map_err(|source| BindError::new(address, source))
}

fn try_listen(address: SocketAddr, reuse_port: bool) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the past to time out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    // Accepted connections inherit it; set here, it costs no call for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Makes the kernel drop what would open a new connection, without an answer.
///
/// A handshake that is under way goes on: only segments with SYN and without ACK are dropped.
pub(crate) fn drop_new_connections(listener: &TcpListener) -> io::Result<()> {
    // Classic BPF (linux/filter.h); the packet starts at the TCP header, its flags are byte 13.
    const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
    const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
    const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let filter = [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&filter)
}
