//! The socket on which a program says that it serves (`sd_notify(3)`).

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, UCred, recvmsg, sockopt};
use rustix::process::getuid;

use crate::family;

/// How many messages are taken at once, so that a talkative program keeps nobody.
const MOST: usize = 64;
/// How many characters of its status are kept.
const MAX_STATUS: usize = 200;

static SOCKETS: AtomicU64 = AtomicU64::new(0);

/// A socket in the abstract name space: programs of any user reach it, so who speaks is looked at.
#[derive(Debug)]
pub(super) struct NotifySocket {
    socket: UnixDatagram,
    name: String,
    /// What the program says that it is at.
    pub(super) status: String,
}

impl NotifySocket {
    pub(super) fn bind() -> io::Result<Self> {
        let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("ha-notify-{}-{number}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_nonblocking(true)?;
        sockopt::set_socket_passcred(&socket, true)?;
        Ok(Self { socket, name, status: String::new() })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(super) fn address(&self) -> OsString {
        format!("@{}", self.name).into()
    }

    /// Takes what has come; whether a process of the group has said that it serves.
    pub(super) fn is_ready(&mut self, leader: i32) -> bool {
        let mut ready = false;
        for _ in 0..MOST {
            let Ok((text, sender)) = self.receive() else { break };
            if !sender.is_some_and(|sender| may_speak(sender, leader)) {
                continue;
            }
            for line in text.lines() {
                ready |= line == "READY=1";
                if let Some(status) = line.strip_prefix("STATUS=") {
                    self.status = status.chars().take(MAX_STATUS).collect();
                }
            }
        }
        ready
    }

    fn receive(&self) -> io::Result<(String, Option<UCred>)> {
        let mut buffer = [0; 4_096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let parts = &mut [IoSliceMut::new(&mut buffer)];
        let length = recvmsg(&self.socket, parts, &mut control, flags)?.bytes;
        let sender = control.drain().find_map(|message| {
            let RecvAncillaryMessage::ScmCredentials(sender) = message else { return None };
            Some(sender)
        });
        let text = buffer.get(..length).unwrap_or_default();
        Ok((String::from_utf8_lossy(text).into_owned(), sender))
    }
}

/// Whether it is of the group; or a helper that has ended already, of root or of our own user.
fn may_speak(sender: UCred, leader: i32) -> bool {
    match family::stat(sender.pid.as_raw_nonzero().get()) {
        Some((stat, _)) => stat.group == leader || stat.session == leader,
        None => sender.uid.is_root() || sender.uid == getuid(),
    }
}
