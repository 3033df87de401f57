//! A session's driver: a UDP socket and a clock.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ha_core::driver::Alarm;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock};
use tokio::net::UdpSocket;

use super::session::{Input, Login, Output, Session, SessionError};
use super::wire::{Request, Response};

/// Larger than any packet of the protocol: 272 bytes of message (table 13-9) and its headers.
const MAX_PACKET: usize = 1024;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// A socket to a board with the session on it. Dropping it logs out.
#[derive(Debug)]
pub(super) struct Link {
    socket: UdpSocket,
    session: Session,
    alarm: Alarm,
    clock: BootClock,
}

impl Link {
    /// A socket to `board`; nothing is sent yet.
    pub(super) async fn connect(board: SocketAddr, login: Login) -> io::Result<Self> {
        let any: IpAddr = match board {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(board).await?;
        let mut seed = [0; 32];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        let session = Session::new(login, seed);
        Ok(Self { socket, session, alarm: Alarm::new()?, clock: BootClock::new() })
    }

    /// Asks, logging in first where that is needed.
    ///
    /// Not cancel safe: the board may have had the question.
    pub(super) async fn ask(&mut self, request: Request) -> Result<Response, LinkError> {
        let (mut buffer, mut out) = (vec![0; MAX_PACKET], Vec::new());
        self.session.handle(self.clock.now(), Input::Ask(request), &mut out);
        loop {
            for output in out.drain(..) {
                match output {
                    Output::Send(packet) => send(&self.socket, &packet).await?,
                    Output::Answered(response) => return Ok(response),
                    Output::Failed(error) => return Err(error.into()),
                    Output::Rejected(why) => tracing::debug!(reason = why, "packet dropped"),
                }
            }
            let received = tokio::select! { biased;
                received = self.socket.recv(&mut buffer) => Some(received),
                due = self.alarm.until(self.session.deadline()) => { due?; None }
            };
            let now = self.clock.now();
            match received {
                Some(Ok(len)) => {
                    let datagram = buffer.get(..len).unwrap_or_default().to_vec();
                    self.session.handle(now, Input::Received(datagram), &mut out);
                }
                // Nobody listens, or the way there is broken: perhaps only for a moment.
                Some(Err(error)) => tracing::debug!(%error, "no way to the board"),
                None => self.session.tick(now, &mut out),
            }
        }
    }
}

/// Sends a datagram; that it is lost is the session's to handle.
async fn send(socket: &UdpSocket, packet: &[u8]) -> io::Result<()> {
    match socket.send(packet).await {
        // What a datagram before this one came upon.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let _lost = socket.send(packet).await;
            Ok(())
        }
        sent => sent.map(|_| ()),
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut out = Vec::new();
        self.session.handle(self.clock.now(), Input::Close, &mut out);
        for output in out {
            if let Output::Send(packet) = output {
                // A board that does not get it ends the session after a minute (section 6.12).
                let _lost = self.socket.try_send(&packet);
            }
        }
    }
}
