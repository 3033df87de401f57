//! From DNS records to endpoints; without I/O.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::discovery::Found;
use crate::endpoint::{Endpoint, Weight};

/// The server behind an SRV record (RFC 2782), with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// The lowest is used first.
    pub(super) priority: u16,
    /// The share among those of one priority.
    pub(super) weight: u16,
    pub(super) port: u16,
    /// The name of the server.
    pub(super) target: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// An address that may become an endpoint.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    priority: u16,
    /// The share, in thousandths; 0: as little as can be.
    share: u64,
}

/// The endpoints at `addresses`, at most `most`.
pub(super) fn of_addresses(addresses: &[IpAddr], port: u16, most: usize) -> Found {
    let mut answer = Answer::default();
    for address in addresses {
        answer.add(SocketAddr::new(*address, port), Candidate { priority: 0, share: 1000 });
    }
    answer.into_found(most)
}

/// The endpoints of `servers`, at most `most`.
///
/// Those of the lowest priority are regular ones, all others backups. A server's weight is shared
/// by its addresses; weights are scaled where they are not whole numbers up to 256.
pub(super) fn of_servers(servers: &[Server], most: usize) -> Found {
    let mut answer = Answer::default();
    for server in servers {
        if server.port == 0 {
            answer.notes.push(format!("{}: port 0", server.target));
            continue;
        }
        let addresses = u64::try_from(server.addresses.len()).unwrap_or(u64::MAX).max(1);
        let share = u64::from(server.weight) * 1000 / addresses;
        for address in &server.addresses {
            let candidate = Candidate { priority: server.priority, share };
            answer.add(SocketAddr::new(*address, server.port), candidate);
        }
    }
    answer.into_found(most)
}

#[derive(Debug, Default)]
struct Answer {
    /// In order, so that the same records give the same list, whatever order they come in.
    candidates: BTreeMap<SocketAddr, Candidate>,
    notes: Vec<String>,
}

impl Answer {
    fn add(&mut self, address: SocketAddr, candidate: Candidate) {
        let ip = address.ip();
        // 0.0.0.0 is how filters say no; a connection to it would reach this very machine.
        if ip.is_unspecified() || ip.is_multicast() {
            self.notes.push(format!("{ip}: not the address of a server"));
            return;
        }
        let known = self.candidates.entry(address).or_insert(candidate);
        if candidate.priority < known.priority {
            *known = candidate;
        }
    }

    fn into_found(self, most: usize) -> Found {
        let mut sorted: Vec<_> = self.candidates.into_iter().collect();
        sorted.sort_by_key(|(address, candidate)| (candidate.priority, *address));
        let left_out = sorted.len().saturating_sub(most);
        sorted.truncate(most);
        let first = sorted.first().map_or(0, |(_, candidate)| candidate.priority);
        let scales: BTreeMap<u16, Scale> = scales(&sorted);
        let endpoints = sorted.iter().filter_map(|(address, candidate)| {
            // By address and port, so that what is known of an endpoint outlives the look-up.
            let endpoint: Endpoint = address.to_string().parse().ok()?;
            let weight = scales.get(&candidate.priority)?.weight(candidate.share);
            Some(endpoint.with_weight(weight).with_backup(candidate.priority != first))
        });
        let mut found = Found::new(endpoints.collect());
        // Few suffice: what is wrong with one record is mostly wrong with others.
        found.notes.extend(self.notes.into_iter().take(5));
        if scales.len() > 2 {
            let note = "more than two priorities: all but the first are backups of one rank";
            found = found.with_note(note);
        }
        if left_out > 0 {
            let note = format!("{left_out} records beyond the limit of {most} are left out");
            found = found.with_note(note);
        }
        found
    }
}

/// How shares become weights, for those of one priority.
#[derive(Debug, Clone, Copy, Default)]
struct Scale {
    largest: u64,
    /// Whether the shares cannot be taken as they are.
    scaled: bool,
}

fn scales(candidates: &[(SocketAddr, Candidate)]) -> BTreeMap<u16, Scale> {
    let mut scales: BTreeMap<u16, Scale> = BTreeMap::new();
    for (_, Candidate { priority, share }) in candidates {
        let scale = scales.entry(*priority).or_default();
        scale.largest = scale.largest.max(*share);
        // A share of nothing must be small beside the others, so they are made large.
        scale.scaled |= share % 1000 != 0 || *share == 0;
    }
    for scale in scales.values_mut() {
        scale.scaled |= scale.largest > u64::from(Weight::MAX.get()) * 1000;
    }
    scales
}

impl Scale {
    fn weight(self, share: u64) -> Weight {
        if self.largest == 0 {
            return Weight::ONE;
        }
        let weight = if self.scaled {
            share * u64::from(Weight::MAX.get()) / self.largest
        } else {
            share / 1000
        };
        // Never 0: that would take it out of balancing.
        let weight = u16::try_from(weight).unwrap_or(u16::MAX);
        Weight::new(weight).map_or(Weight::MAX, |weight| weight.max(Weight::ONE))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn server(priority: u16, weight: u16, last: &[u8]) -> Server {
        let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
        Server { priority, weight, port: 80, target: format!("s{priority}.example."), addresses }
    }

    fn weights(found: &Found) -> Vec<(u16, bool)> {
        found.endpoints.iter().map(|e| (e.weight().get(), e.is_backup())).collect()
    }

    #[test]
    fn addresses_are_endpoints_named_by_themselves_in_order() {
        let addresses: Vec<IpAddr> =
            ["2001:db8::2", "192.0.2.9", "192.0.2.1", "192.0.2.9", "0.0.0.0"]
                .map(|text| text.parse().expect("an address"))
                .to_vec();
        let found = of_addresses(&addresses, 5432, 10);
        let names: Vec<_> = found.endpoints.iter().map(|e| e.name().to_string()).collect();
        assert_eq!(names, ["192.0.2.1:5432", "192.0.2.9:5432", "2001:db8:0:0:0:0:0:2:5432"]);
        assert_eq!(found.notes, ["0.0.0.0: not the address of a server"]);
        let mut reversed = addresses;
        reversed.reverse();
        assert_eq!(of_addresses(&reversed, 5432, 10), found);
    }

    #[test]
    fn weights_are_kept_where_they_can_be_and_scaled_where_not() {
        let found = |servers: &[Server]| weights(&of_servers(servers, 99));
        assert_eq!(found(&[server(1, 5, &[1]), server(1, 20, &[2])]), [(5, false), (20, false)]);
        let large = [server(1, 1_000, &[1]), server(1, 500, &[2]), server(1, 1, &[3])];
        assert_eq!(found(&large), [(256, false), (128, false), (1, false)]);
        // Two addresses share a server's weight.
        assert_eq!(found(&[server(1, 10, &[1, 2]), server(1, 5, &[3])]), [(5, false); 3]);
        let uneven = [server(1, 1, &[1, 2]), server(1, 1, &[3])];
        assert_eq!(found(&uneven), [(128, false), (128, false), (256, false)]);
        // Nothing is said of shares; and nothing beside something is as little as can be.
        assert_eq!(found(&[server(1, 0, &[1]), server(1, 0, &[2])]), [(1, false), (1, false)]);
        assert_eq!(found(&[server(1, 0, &[1]), server(1, 9, &[2])]), [(1, false), (256, false)]);
    }

    #[test]
    fn higher_priorities_are_backups() {
        let servers = [server(20, 7, &[1]), server(10, 3, &[2]), server(30, 1, &[3])];
        let found = of_servers(&servers, 99);
        assert_eq!(weights(&found), [(3, false), (7, true), (1, true)]);
        assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
        // One that is there twice counts where it comes first.
        let twice = of_servers(&[server(20, 7, &[1]), server(10, 3, &[1])], 99);
        assert_eq!(weights(&twice), [(3, false)]);
    }

    #[test]
    fn what_cannot_be_a_server_is_left_out_and_told() {
        let mut no_port = server(1, 1, &[1]);
        no_port.port = 0;
        let found = of_servers(&[no_port, server(1, 1, &[2])], 99);
        assert_eq!((found.endpoints.len(), found.notes.len()), (1, 1));
    }

    #[test]
    fn of_too_many_the_same_ones_stay() {
        let addresses: Vec<IpAddr> =
            (0..1000_u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes())).collect();
        let found = of_addresses(&addresses, 80, 100);
        assert_eq!(found.endpoints.len(), 100);
        assert_eq!(found.notes, ["900 records beyond the limit of 100 are left out"]);
        let mut rotated = addresses;
        rotated.rotate_left(777);
        assert_eq!(of_addresses(&rotated, 80, 100), found);
    }

    proptest! {
        #[test]
        fn any_answer_gives_a_bounded_list_with_weights_above_zero(
            servers in prop::collection::vec(
                (any::<u16>(), any::<u16>(), any::<u16>(),
                 prop::collection::vec(any::<IpAddr>(), 0..5)), 0..50),
            most in 1usize..100,
        ) {
            let servers: Vec<_> = servers
                .into_iter()
                .map(|(priority, weight, port, addresses)| {
                    Server { priority, weight, port, target: "s.".to_owned(), addresses }
                })
                .collect();
            let found = of_servers(&servers, most);
            prop_assert!(found.endpoints.len() <= most);
            prop_assert!(found.endpoints.iter().all(|endpoint| !endpoint.weight().is_zero()));
            prop_assert!(found.endpoints.is_empty()
                || found.endpoints.iter().any(|endpoint| !endpoint.is_backup()));
        }
    }
}
