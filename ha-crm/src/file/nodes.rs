//! The part of the file that is the nodes': addresses and timing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ha_core::id::NodeName;
use toml::Value;

use super::section::{SPAN, SWITCH, Section, shown, span_of, switch};
use super::{DEFAULT_PORT, NodeAddress, Timing};
use crate::Cluster;

const ADDRESS: &str = "\"IP\" or \"IP:PORT\" of one host, such as \"10.0.0.1\" or \
                       \"[2001:db8::1]:7405\"; names are not looked up";

pub(super) fn addresses(file: &mut Section<'_>) -> BTreeMap<NodeName, NodeAddress> {
    let mut found = BTreeMap::new();
    let Some(section) = file.section("nodes") else {
        let allowed = "nodes = { n1 = \"10.0.0.1\", … }, each node with its address";
        file.problem("nodes", "nothing", allowed);
        return found;
    };
    let problems = section.problems();
    let mut taken = BTreeMap::new();
    for (name, path, value) in section.entries::<NodeName>() {
        let node = node(&path, value, file).unwrap_or(NodeAddress {
            address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            second: None,
            witness: false,
        });
        for address in node.second.iter().chain([&node.address]).filter(|to| to.port() != 0) {
            if let Some(other) = taken.insert(*address, name.clone()) {
                let allowed = format!("each address once; {other} has it");
                problems.borrow_mut().add(path.clone(), address, allowed);
            }
        }
        found.insert(name, node);
    }
    found
}

/// A node's address; one that is wrong was told of.
fn node(path: &str, value: Value, file: &Section<'_>) -> Option<NodeAddress> {
    if value.is_str() {
        let address = address(&value);
        if address.is_none() {
            file.problem(path, shown(&value), ADDRESS);
        }
        return Some(NodeAddress { address: address?, second: None, witness: false });
    }
    if !value.is_table() {
        file.problem(path, shown(&value), format!("{ADDRESS}; or {{ address, second, witness }}"));
        return None;
    }
    let mut section = Section::of(path.to_owned(), value, file.problems())?;
    let first = section.needed("address", ADDRESS, address);
    let second = section.read("second", ADDRESS, address);
    let witness = section.read("witness", SWITCH, switch).unwrap_or_default();
    section.finish();
    let address = first.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    Some(NodeAddress { address, second, witness })
}

fn address(value: &Value) -> Option<SocketAddr> {
    let text = value.as_str()?;
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, DEFAULT_PORT),
        Err(_) => text.parse().ok()?,
    };
    let ip = address.ip();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    let one_host = !ip.is_unspecified() && !ip.is_multicast() && !broadcast;
    (one_host && address.port() != 0).then_some(address)
}

pub(super) fn timing(file: &mut Section<'_>) -> Timing {
    let mut section = file.section("timing");
    let mut read =
        |key| section.as_mut().and_then(|s: &mut Section<'_>| s.read(key, SPAN, span_of));
    let interval = read("interval").unwrap_or(Duration::from_millis(100));
    let stop_within = read("stop_within").unwrap_or(Duration::from_millis(100));
    let timing = Timing {
        interval,
        dead_after: read("dead_after").unwrap_or(interval.saturating_mul(7)),
        stop_within,
        fence_delay: read("fence_delay").unwrap_or(stop_within),
        startup_wait: read("startup_wait").unwrap_or(Duration::from_secs(10)),
    };
    if let Some(section) = section {
        check(&timing, &section);
        section.finish();
    }
    timing
}

/// Has the membership and the manager check what is theirs.
fn check(timing: &Timing, section: &Section<'_>) {
    if timing.dead_after < timing.interval.saturating_mul(3) {
        let value = format!("{:?}", timing.dead_after);
        let allowed = format!("at least three intervals of {:?}", timing.interval);
        section.problem("dead_after", value, allowed);
        return;
    }
    let Ok(name) = NodeName::new("n") else { return };
    let mesh = timing.mesh(name.clone()).link((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into());
    let cluster = Cluster::builder().node(name.clone()).build();
    let manager = cluster.and_then(|cluster| timing.manager(name, cluster).build());
    for error in [mesh.build().err(), manager.err()].into_iter().flatten() {
        for problem in error.problems() {
            section.problem(&problem.path, &problem.value, problem.allowed.clone());
        }
    }
}
