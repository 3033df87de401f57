//! The agents of the network and of paths, from their parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::config::ConfigError;

use super::Parameters;
use super::native::absolute;
use crate::agent::ResourceAgent;
use crate::native::Symlink;

type Given = BTreeMap<String, String>;
type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

/// `native:symlink`.
pub(super) fn symlink(given: &Given) -> Made {
    let mut parameters = Parameters::new(given);
    let link = absolute(&mut parameters, "link");
    let mut agent = Symlink::new(link, parameters.required("target", "a path"));
    if let Some(suffix) = parameters.optional("backup_suffix").filter(|suffix| !suffix.is_empty()) {
        if suffix.contains('/') {
            parameters.refuse("backup_suffix", "a part of a name, such as .orig");
        }
        agent = agent.backup_suffix(suffix);
    }
    parameters.finish(Arc::new(agent))
}

/// `native:route`.
#[cfg(feature = "route")]
pub(super) fn route(given: &Given) -> Made {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use crate::native::Route;

    const NETWORK: &str = "a network, such as 10.1.0.0/16 or 2001:db8::/32, or default";
    const ADDRESS: &str = "an address of the destination's family";
    let mut parameters = Parameters::new(given);
    let text = parameters.required("destination", NETWORK);
    let family = parameters.optional("family").unwrap_or("ip");
    let network = match (text, family) {
        ("default", "ip6") => Some((IpAddr::from(Ipv6Addr::UNSPECIFIED), 0)),
        ("default", _) => Some((IpAddr::from(Ipv4Addr::UNSPECIFIED), 0)),
        (text, _) => text.split_once('/').and_then(|(ip, prefix)| {
            let (ip, prefix): (IpAddr, u8) = (ip.parse().ok()?, prefix.parse().ok()?);
            (prefix <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, prefix))
        }),
    };
    if !matches!(family, "ip" | "ip6") {
        parameters.refuse("family", "ip or ip6");
    }
    if network.is_none() && !text.is_empty() {
        parameters.refuse("destination", NETWORK);
    }
    let (destination, prefix) = network.unwrap_or((Ipv4Addr::UNSPECIFIED.into(), 0));
    let mut route = Route::new(destination, prefix);
    for name in ["gateway", "source"] {
        let Some(ip) = parameters.parsed::<IpAddr>(name, ADDRESS) else { continue };
        if network.is_some() && ip.is_ipv4() != destination.is_ipv4() {
            parameters.refuse(name, ADDRESS);
        }
        route = if name == "gateway" { route.gateway(ip) } else { route.source(ip) };
    }
    match parameters.optional("device") {
        Some(device) => route = route.device(device),
        None if !given.contains_key("gateway") => {
            parameters.refuse("device", "an interface, as there is no gateway");
        }
        None => {}
    }
    if let Some(table) = parameters.parsed("table", "a number from 1 to 4294967295") {
        route = route.table(table);
    }
    if let Some(metric) = parameters.parsed("metric", "a number from 0 to 4294967295") {
        route = route.metric(metric);
    }
    parameters.finish(Arc::new(route))
}

/// `native:block-port`.
#[cfg(feature = "nftables")]
pub(super) fn block_port(given: &Given) -> Made {
    use crate::native::{BlockPort, Protocol};

    const PORTS: &str = "a port, or a range of them, such as 8000-8010";
    let mut parameters = Parameters::new(given);
    let protocol = match parameters.optional("protocol").unwrap_or("tcp") {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => {
            parameters.refuse("protocol", "tcp or udp");
            Protocol::Tcp
        }
    };
    let text = parameters.required("ports", PORTS);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first @ 1..), Ok(last)) if first <= last => first..=last,
        _ => {
            if !text.is_empty() {
                parameters.refuse("ports", PORTS);
            }
            1..=1
        }
    };
    let mut agent = BlockPort::new(protocol, ports);
    if let Some(address) = parameters.parsed("address", "an address of this node") {
        agent = agent.address(address);
    }
    agent = agent.reset(parameters.flag("reset").unwrap_or_default());
    parameters.finish(Arc::new(agent))
}
