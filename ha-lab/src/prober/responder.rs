//! What answers probes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;

use ha_core::id::NodeName;
use rustix::event::{PollFd, PollFlags, poll};

use super::retry;
use crate::worker::{StopSign, Worker};
use crate::{Host, LabError};

/// A thread in a host's network that answers each probe with the host's name, on every address.
///
/// It belongs to this process and stands for the host's *kernel*: it answers for every address
/// that the host holds, whatever becomes of the host's processes, also while they are frozen or
/// killed; when the power goes it is cut off. A service that shall die with a process must be part
/// of it: see [`answer`].
///
/// Dropping it stops it; it stops with the lab at the latest.
#[derive(Debug)]
pub struct Responder {
    worker: Arc<Worker>,
}

impl Responder {
    /// Starts answering on a UDP port of every address of `host`, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`], for instance when the port is taken.
    pub fn start(host: &Host, port: u16) -> Result<Self, LabError> {
        let what = || format!("answer probes on port {port} of {}", host.name());
        let failed = |error| LabError::kernel(what(), error);
        let kernel = host.kernel(what)?;
        let bind = || {
            // A socket of IPv6 takes both families; a kernel without IPv6 has only the other.
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
                .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        };
        let socket = kernel.run(bind).flatten().map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let (name, thread) = (host.name().clone(), format!("ha-lab responder {}", host.name()));
        let run = move |stop: &StopSign| {
            if let Err(error) = respond(&socket, &name, stop) {
                tracing::error!(target: "ha_lab", %error, host = %name, "responder stopped");
            }
        };
        let worker = Worker::start(&kernel, &thread, run).map_err(failed)?;
        host.lab.adopt(&worker);
        Ok(Self { worker })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

fn respond(socket: &UdpSocket, name: &NodeName, stop: &StopSign) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(stop, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        retry(|| poll(&mut fds, None))?;
        let [stopped, readable] = fds.map(|fd| !fd.revents().is_empty());
        if stopped {
            return Ok(());
        }
        if readable {
            drop(answer(socket, name));
        }
    }
}

/// Answers the next probe that `socket` gets, as a part of a program of one's own: called in a
/// loop, it makes a process that answers until it is killed or frozen.
///
/// Packets that are no probes are not answered.
///
/// # Errors
///
/// Those of the socket.
pub fn answer(socket: &UdpSocket, name: &NodeName) -> io::Result<()> {
    let mut buffer = [0; 512];
    let (len, from) = socket.recv_from(&mut buffer)?;
    if len != 16 {
        return Ok(());
    }
    let reply = [buffer.get(..len).unwrap_or_default(), name.as_str().as_bytes()].concat();
    socket.send_to(&reply, from).map(drop)
}
