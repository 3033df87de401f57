//! Raw sockets: link-layer addresses, and the hop limit and destination of a received packet.
#![expect(unsafe_code, reason = "socket2 and rustix have no safe form of these")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use socket2::{SockAddr, SockAddrStorage};

/// The address of an `AF_PACKET` socket: an interface, an `EtherType` and a link-layer address.
///
/// For `bind` the link-layer address is ignored; for `send_to` it is where the frame goes.
#[must_use]
pub fn packet_address(interface: u32, ethertype: u16, mac: [u8; 6]) -> SockAddr {
    let mut address = [0; 8];
    if let Some(start) = address.first_chunk_mut() {
        *start = mac;
    }
    let link = libc::sockaddr_ll {
        sll_family: AF_PACKET,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(interface).unwrap_or_default(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is a socket address structure, which is what `view_as` asks of its
    // type, and it fits into a `sockaddr_storage`, which is made to hold any of them.
    unsafe { *storage.view_as::<libc::sockaddr_ll>() = link };
    let len = LINK_LEN;
    // SAFETY: the storage was zeroed and then filled with a `sockaddr_ll` of just this length.
    unsafe { SockAddr::new(storage, len) }
}

#[expect(clippy::cast_possible_truncation, reason = "a constant: 17")]
const AF_PACKET: u16 = libc::AF_PACKET as u16;
#[expect(clippy::cast_possible_truncation, reason = "a constant: 20")]
const LINK_LEN: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

/// An IPv6 packet of a raw socket, which the kernel hands over without its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received6 {
    /// How many bytes of the buffer are the payload.
    pub len: usize,
    /// Who sent it.
    pub source: Ipv6Addr,
    /// To which address; `None` unless `IPV6_RECVPKTINFO` is set on the socket.
    pub destination: Option<Ipv6Addr>,
    /// The hop limit it came with; `None` unless `IPV6_RECVHOPLIMIT` is set on the socket.
    pub hop_limit: Option<u8>,
    /// Whether the buffer was too small and the rest is lost.
    pub truncated: bool,
}

/// Makes the kernel tell hop limit and destination of each packet of an IPv6 socket.
///
/// # Errors
///
/// The kernel's, when the socket is not one of IPv6.
pub fn tell_hop_limit_and_destination(socket: BorrowedFd<'_>) -> io::Result<()> {
    for option in [libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVPKTINFO] {
        set(socket, libc::IPPROTO_IPV6, option, 1)?;
    }
    Ok(())
}

/// Makes the kernel fill in the checksum at `offset` of each packet that an IPv6 raw socket sends,
/// and drop received ones whose checksum is wrong; `-1` switches that off (RFC 3542, section 3.1).
///
/// # Errors
///
/// The kernel's, when the socket is not a raw one of IPv6 or the offset is odd.
pub fn set_checksum_offset(socket: BorrowedFd<'_>, offset: i32) -> io::Result<()> {
    set(socket, libc::IPPROTO_IPV6, libc::IPV6_CHECKSUM, offset)
}

fn set(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    const LEN: libc::socklen_t = 4;
    // SAFETY: the value is a C int that lives through the call, and its length is stated.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&value).cast(), LEN)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for the control messages of one packet: hop limit and packet information need 64 bytes.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Receives one packet of an IPv6 raw socket with its hop limit and destination.
///
/// Does not wait if the socket is non-blocking.
///
/// # Errors
///
/// The kernel's; [`io::ErrorKind::WouldBlock`] when there is no packet.
pub fn receive6(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received6> {
    let mut sender = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut control = Control([0; 128]);
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros are a valid `msghdr`: null pointers and zero lengths.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = sender.as_mut_ptr().cast();
    message.msg_namelen = NAME_LEN;
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
    // SAFETY: it was zeroed, and the kernel wrote at most its length into it; zeros are valid.
    let sender = unsafe { sender.assume_init() };
    let source = SocketAddrV6::new(Ipv6Addr::from(sender.sin6_addr.s6_addr), 0, 0, 0);
    let (hop_limit, destination) = control_messages(&message);
    let truncated = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Received6 { len, source: *source.ip(), destination, hop_limit, truncated })
}

#[expect(clippy::cast_possible_truncation, reason = "a constant: 28")]
const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in6>() as libc::socklen_t;

fn control_messages(message: &libc::msghdr) -> (Option<u8>, Option<Ipv6Addr>) {
    let (mut hop_limit, mut destination) = (None, None);
    // SAFETY: the kernel filled the control buffer of `message`, which is alive; `CMSG_FIRSTHDR`
    // and `CMSG_NXTHDR` return null or a whole header inside it.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: as above; null ends the walk.
    while let Some(entry) = unsafe { header.as_ref() } {
        // SAFETY: as above: the data follows its header inside the buffer.
        let data = unsafe { libc::CMSG_DATA(entry) };
        match (entry.cmsg_level, entry.cmsg_type) {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                // SAFETY: the kernel sends a C int with this type (RFC 3542, section 6.3).
                let value = unsafe { ptr::read_unaligned(data.cast::<libc::c_int>()) };
                hop_limit = u8::try_from(value).ok();
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel sends an `in6_pktinfo` with this type (section 6.2).
                let info = unsafe { ptr::read_unaligned(data.cast::<libc::in6_pktinfo>()) };
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            _ => {}
        }
        // SAFETY: `entry` lies in the control buffer of `message`.
        header = unsafe { libc::CMSG_NXTHDR(message, entry) };
    }
    (hop_limit, destination)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn hop_limit_and_destination_of_a_packet_are_told() {
        // A datagram socket gets the same control messages as a raw one and needs no privilege.
        let Ok(target) = UdpSocket::bind("[::1]:0") else {
            return; // a kernel without IPv6
        };
        tell_hop_limit_and_destination(target.as_fd()).expect("an IPv6 socket");
        let sender = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)
            .expect("a socket");
        sender.set_unicast_hops_v6(77).expect("a hop limit");
        let to = target.local_addr().expect("bound");
        sender.send_to(b"hello", &to.into()).expect("sent");
        let mut buffer = [0; 4];
        let received = receive6(target.as_fd(), &mut buffer).expect("received");
        assert_eq!((received.len, &buffer, received.truncated), (4, b"hell", true));
        assert_eq!(received.hop_limit, Some(77));
        assert_eq!(received.destination, Some(Ipv6Addr::LOCALHOST));
        assert_eq!(received.source, Ipv6Addr::LOCALHOST);
    }
}
