//! The deterministic aperture: clients and servers on one ring, each client uses what it overlaps.

use ha_core::config::{ConfigError, Problems};

use super::{Kept, Subset, hash, of_each_rank};
use crate::endpoint::{Endpoint, Weight};

/// An arc of a ring on which all servers are, each with an equal part.
///
/// # Source
///
/// Finagle's deterministic aperture ("Load Balancing" in its user guide). The ring is divided once
/// among the servers and once among the clients. A client's arc begins at its own part and is as
/// many parts long as it takes to reach the least number of servers. So each point of the ring is
/// in equally many arcs: the load is equal exactly, and servers at an arc's ends get a weight by
/// the part of them that lies in it. Servers' connections differ by one at most.
///
/// Every change of the number of servers or clients shifts all arcs: connections are closed and
/// made anew for it. Where sizes change often, [`Rocksteadier`](super::Rocksteadier) is better.
///
/// ```
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::subset::{Aperture, Subset};
///
/// let servers = parse_list("a=192.0.2.1:80,b=192.0.2.2:80,c=192.0.2.3:80")?;
/// // Two clients, three servers: one and a half for each.
/// let ours = Aperture::new(0, 2)?.with_least(1).apply(servers);
/// let weights: Vec<_> = ours.iter().map(|server| server.weight().get()).collect();
/// assert_eq!(weights.iter().max(), Some(&256));
/// assert_eq!(weights.iter().min(), Some(&128));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aperture {
    client: u32,
    clients: u32,
    least: u32,
}

impl Aperture {
    /// Of client `client`, counted from 0, of `clients`.
    ///
    /// # Errors
    ///
    /// When there are no clients, or this one is none of them.
    pub fn new(client: u32, clients: u32) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if clients == 0 {
            problems.add("clients", clients, "1 or more");
        } else if client >= clients {
            problems.add("client", client, format!("0 to {}", clients - 1));
        }
        problems.into_result(Self { client, clients, least: 12 })
    }

    /// Sets how many servers a client uses at least, 1 or more. Default: 12, as Finagle's: with
    /// fewer the loss of one server is too much of the whole.
    #[must_use]
    pub const fn with_least(mut self, servers: u32) -> Self {
        self.least = if servers == 0 { 1 } else { servers };
        self
    }

    fn choose(self, endpoints: &[Endpoint], positions: &[usize]) -> Vec<Kept> {
        let servers = u64::try_from(positions.len()).unwrap_or(u64::MAX);
        let (client, clients) = (u64::from(self.client), u64::from(self.clients));
        // How many clients' parts as many servers' parts take, rounded up.
        let parts = (u64::from(self.least) * clients).div_ceil(servers.max(1));
        if u64::from(self.least) >= servers || parts >= clients {
            return positions.iter().copied().map(Kept::whole).collect();
        }
        // Neighbours on the ring should not be neighbours elsewhere.
        let mut ring: Vec<usize> = positions.to_vec();
        ring.sort_by_cached_key(|position| {
            endpoints.get(*position).map(|endpoint| {
                (hash(&[endpoint.name().as_str().as_bytes()]), endpoint.name().clone())
            })
        });
        // A ring of `clients × servers`: a server's part is `clients` long, a client's `servers`.
        let (whole, start, len) = (clients * servers, client * servers, parts * servers);
        let scale = scale(endpoints, positions);
        let kept = (0..).zip(&ring).filter_map(|(nth, position): (u64, &usize)| {
            let begin = nth * clients;
            // The arc, and its part that reaches round into the ring's beginning.
            let within = overlap(begin, begin + clients, start, start + len)
                + overlap(begin + whole, begin + whole + clients, start, start + len);
            let endpoint = endpoints.get(*position).filter(|_| within > 0)?;
            let weight = u64::from(endpoint.weight().get()) * scale;
            // An overlap is never so small that it is not used at all.
            let part = ((weight * within + clients / 2) / clients).clamp(weight.min(1), 256);
            let weight = u16::try_from(part).ok().and_then(|part| Weight::new(part).ok());
            Some(Kept { position: *position, weight })
        });
        kept.collect()
    }
}

impl Subset for Aperture {
    fn apply(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        of_each_rank(endpoints, |all, positions| self.choose(all, positions))
    }
}

/// By how much weights are multiplied, so that parts of them can be told apart: the same for
/// all clients.
fn scale(endpoints: &[Endpoint], positions: &[usize]) -> u64 {
    let weights = positions.iter().filter_map(|position| endpoints.get(*position));
    let heaviest = weights.map(|endpoint| u64::from(endpoint.weight().get())).max();
    256 / heaviest.unwrap_or(1).max(1)
}

/// How much of both ranges is in the other.
fn overlap(begin: u64, end: u64, other_begin: u64, other_end: u64) -> u64 {
    end.min(other_end).saturating_sub(begin.max(other_begin))
}
