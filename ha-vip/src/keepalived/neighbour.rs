//! `bfd_instance`: neighbours watched with BFD.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::block::Statement;
use super::check::{Checks, Kind};
use super::global::unknown;
use super::report::Report;
use crate::bfd::{Endpoints, Intervals, Role, SessionConfig};
use crate::track::Weight;

/// A neighbour to be watched with BFD (keepalived's `bfd_instance`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    name: String,
    peer: IpAddr,
    source: Option<IpAddr>,
    config: SessionConfig,
}

impl Neighbour {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The neighbour's address.
    #[must_use]
    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The session's settings.
    #[must_use]
    pub const fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Both ends of the session. Without a `source_ip` this end is the address from which this
    /// host would send to the neighbour now.
    ///
    /// # Errors
    ///
    /// When there is no `source_ip` and the host has no way to the neighbour.
    pub fn endpoints(&self) -> std::io::Result<Endpoints> {
        if let Some(source) = self.source {
            return Ok(Endpoints::new(source, self.peer));
        }
        // Connecting sends nothing; it only looks the way up.
        let any: IpAddr = match self.peer {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(self.peer, crate::bfd::PORT))?;
        Ok(Endpoints::new(socket.local_addr()?.ip(), self.peer))
    }
}

pub(super) fn take(
    block: &Statement,
    neighbours: &mut Vec<Neighbour>,
    checks: &mut Checks,
    report: &mut Report,
) {
    let Some(name) = block.name(report) else {
        return;
    };
    let (mut peer, mut source, mut weight) = (None, None, (Weight::FAULT, false));
    let mut config = SessionConfig::builder();
    let longest = u64::try_from(Intervals::MAX.as_millis()).unwrap_or_default();
    for statement in block.inner() {
        let millis = |report: &mut Report| statement.millis(report, longest);
        match statement.keyword() {
            "neighbor_ip" | "neighbour_ip" => peer = statement.ip(report),
            "source_ip" => source = statement.ip(report),
            "min_rx" => config = millis(report).map_or(config.clone(), |t| config.min_rx(t)),
            "min_tx" => config = millis(report).map_or(config.clone(), |t| config.min_tx(t)),
            "idle_tx" => config = millis(report).map_or(config.clone(), |t| config.idle_tx(t)),
            "multiplier" => {
                config = config.multiplier(statement.number(report, 1..=255).unwrap_or(5));
            }
            "passive" => config = config.role(Role::Passive),
            "weight" => weight = statement.weight(report).unwrap_or(weight),
            "ttl" | "max_hops" | "hoplimit" if !is_direct(statement) => {
                let why = "packets of neighbours leave and arrive with 255 (RFC 5881)";
                report.refuse(&statement.at, statement.text(), why);
            }
            // The last two say whom keepalived tells of it.
            "ttl" | "max_hops" | "hoplimit" | "vrrp" | "checker" => {}
            _ => unknown(&statement.at, statement, "bfd_instance", report),
        }
    }
    let config = match config.build() {
        Ok(config) => Some(config),
        Err(error) => {
            for problem in error.problems() {
                let what = format!("{} of `{name}`: {}", problem.path, problem.value);
                report.wrong(&block.at, what, problem.allowed.clone());
            }
            None
        }
    };
    if peer.is_none() {
        report.wrong(&block.at, block.text(), "it needs a `neighbor_ip`");
    }
    if let Some((source, peer)) = source.zip(peer)
        && source.is_ipv4() != peer.is_ipv4()
    {
        report.wrong(&block.at, format!("`source_ip {source}`"), "an address of the peer's family");
    }
    if checks.insert((Kind::Bfd, name.to_owned()), (weight, None)).is_some() {
        report.wrong(&block.at, format!("a second `{name}`"), "each name once");
    }
    if let Some((peer, config)) = peer.zip(config) {
        neighbours.push(Neighbour { name: name.to_owned(), peer, source, config });
    }
}

/// Whether the setting is the one that neighbours on one link have anyway.
fn is_direct(statement: &Statement) -> bool {
    let only = if statement.keyword() == "max_hops" { "0" } else { "255" };
    statement.arg(0) == Some(only)
}
