//! The netlink socket that hears the kernel's routing events.

use std::io;

use ha_core::driver::Readiness;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};

/// `RTMGRP_LINK`, `_IPV4_IFADDR`, `_IPV4_ROUTE`, `_IPV6_IFADDR`, `_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// The largest message of Linux 4.9 and later is 32 KiB.
const MESSAGE_LEN: usize = 64 * 1024;
/// Datagrams that are thrown away after an overrun before the others on the runtime get their
/// turn.
const DRAIN: usize = 4096;

/// What a read brought.
#[derive(Debug)]
pub(super) enum Received {
    /// So many bytes of messages.
    Messages(usize),
    /// Something that is not from the kernel.
    Foreign,
    /// Events were lost, and all that were queued then have been thrown away.
    Overrun,
}

/// Hears links, addresses and routes.
///
/// When the queue overflows, the kernel says so once (`ENOBUFS`), and keeps dropping without a
/// word until the queue has been read empty. So an overrun is told only then: whoever reads again
/// how things are does so after the last silent loss, and no old event follows.
#[derive(Debug)]
pub(super) struct RouteSocket {
    socket: Readiness,
    buffer: Vec<u8>,
    /// Lost events, but the queue is not empty yet.
    overrun: bool,
}

impl RouteSocket {
    pub(super) fn open(receive_buffer: usize) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // No protocol is number 0, NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        if sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, receive_buffer)?;
        }
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let socket = Readiness::new(socket)?;
        Ok(Self { socket, buffer: vec![0; MESSAGE_LEN], overrun: false })
    }

    /// Waits for the next datagram. Cancel safe.
    pub(super) async fn receive(&mut self) -> io::Result<Received> {
        while self.overrun {
            if let Some(drained) = self.drain() {
                return Ok(drained);
            }
            tokio::task::yield_now().await;
        }
        let buffer = &mut self.buffer;
        let received = self.socket.read(|socket| {
            let (len, whole, from) =
                rustix::net::recvfrom(socket, &mut **buffer, RecvFlags::TRUNC)?;
            Ok((len, whole, from))
        });
        match received.await {
            Ok((len, whole, from)) => Ok(kind(len, whole, from)),
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                self.overrun = true;
                Ok(self.drain().unwrap_or(Received::Foreign))
            }
            Err(error) => Err(error),
        }
    }

    /// The next datagram if one is there; errors are left for [`receive`](Self::receive).
    pub(super) fn receive_now(&mut self) -> Option<Received> {
        if self.overrun {
            return None;
        }
        match rustix::net::recvfrom(&self.socket, &mut *self.buffer, RecvFlags::TRUNC) {
            Ok((len, whole, from)) => Some(kind(len, whole, from)),
            Err(Errno::NOBUFS) => {
                self.overrun = true;
                self.drain()
            }
            Err(_) => None,
        }
    }

    /// The first `len` bytes of what was read last.
    pub(super) fn bytes(&self, len: usize) -> &[u8] {
        self.buffer.get(..len).unwrap_or_default()
    }

    /// Throws away what is queued; `None` when more is left after many.
    fn drain(&mut self) -> Option<Received> {
        for _ in 0..DRAIN {
            match rustix::net::recv(&self.socket, &mut *self.buffer, RecvFlags::TRUNC) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => {
                    self.overrun = false;
                    return Some(Received::Overrun);
                }
            }
        }
        None
    }
}

fn kind(len: usize, whole: usize, from: Option<rustix::net::SocketAddrAny>) -> Received {
    let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
    if from.is_none_or(|from| from.pid() != 0) {
        return Received::Foreign;
    }
    // Cut off: something was lost, and what follows in the queue is newer than what will be read.
    if whole > len { Received::Overrun } else { Received::Messages(len) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use ha_lab::Lab;

    use super::*;

    #[test]
    fn no_event_that_is_older_than_an_overrun_comes_after_it() {
        ha_lab::run_test(|| {
            let lab = Lab::new().expect("a lab");
            let host = lab.host("a").expect("a host");
            let read = host.run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime");
                let _inside = runtime.enter();
                let mut socket = RouteSocket::open(1).expect("a socket");
                for address in 1..60 {
                    let address = format!("10.99.0.{address}/32");
                    let mut ip = Command::new("ip");
                    ip.args(["address", "add", &address, "dev", "lo"]);
                    assert!(ip.status().expect("ip runs").success());
                }
                std::iter::from_fn(|| socket.receive_now()).collect::<Vec<_>>()
            });
            let read = read.expect("the lab runs");
            let overrun = |received: &Received| matches!(received, Received::Overrun);
            assert!(read.last().is_some_and(overrun), "{read:?}");
            assert_eq!(read.iter().filter(|received| overrun(received)).count(), 1, "{read:?}");
        });
    }
}
