//! Datagram sockets: from where, to where, over which interface, and with which hop limit.
#![expect(unsafe_code, reason = "socket2 and rustix have no safe form of these")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use socket2::{SockAddr, SockAddrStorage};

/// A received datagram, but for its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// How many bytes of the buffer are its payload.
    pub len: usize,
    /// Who sent it.
    pub source: SocketAddr,
    /// To which address.
    pub destination: Option<IpAddr>,
    /// The index of the interface that it came over.
    pub interface: Option<u32>,
    /// The TTL or hop limit that it came with.
    pub hop_limit: Option<u8>,
    /// Whether the buffer was too small and the rest is lost.
    pub truncated: bool,
}

/// Makes the kernel tell hop limit, destination and interface of each datagram of a socket of IPv4
/// or IPv6, for [`receive`].
///
/// # Errors
///
/// The kernel's, when the socket is not one of that family.
pub fn tell_origin(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let options = if ipv6 {
        [
            (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        ]
    } else {
        [(libc::IPPROTO_IP, libc::IP_RECVTTL), (libc::IPPROTO_IP, libc::IP_PKTINFO)]
    };
    options.into_iter().try_for_each(|(level, option)| switch_on(socket, level, option))
}

fn switch_on(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    let one: libc::c_int = 1;
    // SAFETY: the value is a C int that lives through the call, and its length is stated.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&one).cast(), LEN)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for the control messages of one datagram: an int and a packet information need 64 bytes.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives one datagram with its origin; see [`tell_origin`].
///
/// Does not wait if the socket is non-blocking.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] when there is no datagram.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    let mut name = SockAddrStorage::zeroed();
    let mut control = Control([0; 128]);
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = ptr::from_mut(&mut name).cast();
    message.msg_namelen = name.size_of();
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: every pointer in `message` is to a live local of the length given beside it.
    let received =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let Ok(len) = usize::try_from(received) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel wrote a socket address of this length into the storage.
    let source = unsafe { SockAddr::new(name, message.msg_namelen) };
    let unnamed = || io::Error::new(io::ErrorKind::InvalidData, "a datagram without a source");
    let mut datagram = Datagram {
        len,
        source: source.as_socket().ok_or_else(unnamed)?,
        destination: None,
        interface: None,
        hop_limit: None,
        truncated: message.msg_flags & libc::MSG_TRUNC != 0,
    };
    read_control(&message, &mut datagram);
    Ok(datagram)
}

const INT: usize = size_of::<libc::c_int>();

fn read_control(message: &libc::msghdr, datagram: &mut Datagram) {
    // SAFETY: the kernel filled the control buffer of `message`, which is alive; `CMSG_FIRSTHDR`
    // and `CMSG_NXTHDR` return null or a whole header inside it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: as above; null ends the walk.
    while let Some(entry) = unsafe { header.as_ref() } {
        // SAFETY: as above: the data follows its header inside the buffer.
        let data = unsafe { libc::CMSG_DATA(entry) };
        match (entry.cmsg_level, entry.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                let mut value = [0; INT];
                // SAFETY: the kernel sends a C int with these types (ip(7), RFC 3542 §6.3).
                unsafe { ptr::copy_nonoverlapping(data, value.as_mut_ptr(), INT) };
                datagram.hop_limit = u8::try_from(libc::c_int::from_ne_bytes(value)).ok();
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel sends an `in_pktinfo` with this type (ip(7)).
                let info = unsafe { ptr::read_unaligned(data.cast::<libc::in_pktinfo>()) };
                let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                datagram.destination = Some(address.into());
                datagram.interface = u32::try_from(info.ipi_ifindex).ok();
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel sends an `in6_pktinfo` with this type (RFC 3542 §6.2).
                let info = unsafe { ptr::read_unaligned(data.cast::<libc::in6_pktinfo>()) };
                datagram.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                datagram.interface = Some(info.ipi6_ifindex);
            }
            _ => {}
        }
        // SAFETY: `entry` lies in the control buffer of `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, entry) };
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn told(address: &str, hop_limit: impl Fn(&socket2::Socket)) {
        let Ok(target) = UdpSocket::bind(address) else {
            return; // a kernel without IPv6
        };
        let to = target.local_addr().expect("bound");
        tell_origin(target.as_fd(), to.is_ipv6()).expect("a socket of that family");
        let sender = UdpSocket::bind(address).expect("bound");
        let sender = socket2::Socket::from(sender);
        hop_limit(&sender);
        sender.send_to(b"hello", &to.into()).expect("sent");
        let mut buffer = [0; 4];
        let received = receive(target.as_fd(), &mut buffer).expect("received");
        assert_eq!((received.len, &buffer, received.truncated), (4, b"hell", true));
        assert_eq!(received.hop_limit, Some(77));
        assert_eq!(received.destination, Some(to.ip()));
        assert!(received.interface.is_some_and(|index| index > 0));
        let source = sender.local_addr().expect("bound").as_socket();
        assert_eq!(Some(received.source), source);
        target.set_nonblocking(true).expect("set");
        let nothing = receive(target.as_fd(), &mut buffer).expect_err("nothing more");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_origin_of_a_datagram_is_told() {
        told("127.0.0.1:0", |socket| socket.set_ttl_v4(77).expect("a TTL"));
        told("[::1]:0", |socket| socket.set_unicast_hops_v6(77).expect("a hop limit"));
    }
}
