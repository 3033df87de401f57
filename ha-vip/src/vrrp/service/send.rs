//! How messages leave this host.

use std::io;
use std::net::IpAddr;

use super::station::Station;
use super::{Service, wall};
use crate::vrrp::effects::Destination;
use crate::vrrp::host::RouterId;
use crate::vrrp::router::Router;
use crate::vrrp::socket::speak_v4;
use crate::vrrp::wire::{GROUP_V4, GROUP_V6};

impl Service {
    pub(super) fn send(&mut self, id: RouterId, destination: Destination, mut message: Vec<u8>) {
        let Some(source) = self.host.router(id).map(Router::source) else {
            return;
        };
        if let Some(authenticator) = self.stations.authenticator(id) {
            authenticator.sign(&mut message, source, wall());
        }
        let sent = match (destination, source) {
            (Destination::Group, IpAddr::V4(_)) => {
                self.send_on(id, source, GROUP_V4.into(), &message)
            }
            (Destination::Group, IpAddr::V6(_)) => {
                self.send_on(id, source, GROUP_V6.into(), &message)
            }
            (Destination::Peer(to), _) => self.send_on(id, source, to, &message),
            (Destination::Routed(to), _) => self.send_routed(source, to, &message),
        };
        if let Err(error) = sent {
            // A lost advert is the protocol's to handle: the next one follows.
            self.unsent += 1;
            tracing::debug!(%error, unsent = self.unsent, "message not sent");
        }
    }

    fn send_on(
        &mut self,
        id: RouterId,
        from: IpAddr,
        to: IpAddr,
        message: &[u8],
    ) -> io::Result<()> {
        let link = self.stations.get(id).and_then(Station::link);
        let port = self.ports.iter_mut().find(|port| Some(port.link()) == link);
        port.ok_or(io::ErrorKind::NotFound)?.send(from, to, message)
    }

    fn send_routed(&mut self, from: IpAddr, to: IpAddr, message: &[u8]) -> io::Result<()> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) else {
            // A link-local source does not leave its link.
            return Err(io::ErrorKind::Unsupported.into());
        };
        if self.routed.is_none() {
            let socket = speak_v4(None)?;
            socket.set_nonblocking(true)?;
            self.routed = Some(socket);
        }
        let packet = crate::net::ipv4::encode(from, to, 0, message);
        let to = std::net::SocketAddr::from((to, 0)).into();
        self.routed.as_ref().ok_or(io::ErrorKind::NotFound)?.send_to(&packet, &to).map(|_| ())
    }
}
