//! Which route is meant.

use std::net::IpAddr;
use std::str::FromStr;

use ha_core::config::ConfigError;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHopFlags, RouteType, RouteVia,
};

/// The main table.
const MAIN: u32 = 254;

/// Which route is meant: to a prefix, in a table, over a gateway or an interface.
///
/// ```
/// use ha_vip::track::RouteMatch;
///
/// let route: RouteMatch = "203.0.113.0/24".parse()?;
/// assert_eq!(route.to_string(), "203.0.113.0/24");
/// let route = "default".parse::<RouteMatch>()?.via("192.0.2.1".parse()?).dev("eth0").table(100);
/// assert_eq!(route.to_string(), "0.0.0.0/0 via 192.0.2.1 dev eth0 table 100");
/// assert!("203.0.113.7/24".parse::<RouteMatch>().is_err()); // an address, not a prefix
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RouteMatch {
    ip: IpAddr,
    prefix_len: u8,
    via: Option<IpAddr>,
    dev: Option<String>,
    table: u32,
}

impl RouteMatch {
    /// A route to exactly this prefix, in the main table; 0 is the default route.
    ///
    /// # Errors
    ///
    /// When the length is over 32 (IPv6: 128), or bits after it are set.
    pub fn to(ip: IpAddr, prefix_len: u8) -> Result<Self, ConfigError> {
        let (bits, width) = match ip {
            IpAddr::V4(ip) => (u128::from(ip.to_bits()) << 96, 32),
            IpAddr::V6(ip) => (ip.to_bits(), 128),
        };
        let host = bits.checked_shl(prefix_len.into()).unwrap_or_default();
        if prefix_len > width || host != 0 {
            let value = format!("{ip}/{prefix_len}");
            let allowed = format!("a prefix: a length up to {width}, no bits set after it");
            return Err(ConfigError::new("route", value, allowed));
        }
        Ok(Self { ip, prefix_len, via: None, dev: None, table: MAIN })
    }

    /// Only over this gateway; default: any, or none.
    pub const fn via(mut self, gateway: IpAddr) -> Self {
        self.via = Some(gateway);
        self
    }

    /// Only over this interface; default: any.
    pub fn dev(mut self, interface: impl Into<String>) -> Self {
        self.dev = Some(interface.into());
        self
    }

    /// In this routing table; default 254, the main one.
    pub const fn table(mut self, table: u32) -> Self {
        self.table = table;
        self
    }

    /// The prefix.
    #[must_use]
    pub const fn prefix(&self) -> (IpAddr, u8) {
        (self.ip, self.prefix_len)
    }

    pub(super) const fn get_via(&self) -> Option<IpAddr> {
        self.via
    }

    pub(super) fn get_dev(&self) -> Option<&str> {
        self.dev.as_deref()
    }

    pub(super) const fn get_table(&self) -> u32 {
        self.table
    }

    /// Whether `route` goes to the prefix, in the table, and forwards packets.
    pub(super) fn is_to(&self, route: &RouteMessage) -> bool {
        let table = route.attributes.iter().find_map(|attribute| {
            if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None }
        });
        let table = table.unwrap_or_else(|| route.header.table.into());
        let to = route.attributes.iter().find_map(|attribute| {
            if let RouteAttribute::Destination(to) = attribute { ip(to) } else { None }
        });
        // The default route has no destination.
        let same = to.map_or(self.prefix_len == 0, |to| to == self.ip);
        let forwards = matches!(route.header.kind, RouteType::Unicast | RouteType::Local);
        forwards
            && table == self.table
            && route.header.destination_prefix_length == self.prefix_len
            && same
    }
}

impl FromStr for RouteMatch {
    type Err = ConfigError;

    /// Reads `203.0.113.0/24`, `2001:db8::/32`; `default` is IPv4's, `::/0` IPv6's.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let text = if text == "default" { "0.0.0.0/0" } else { text };
        let prefix = text.split_once('/');
        let prefix = prefix.and_then(|(ip, len)| Some((ip.parse().ok()?, len.parse().ok()?)));
        let allowed = "a prefix, such as 203.0.113.0/24, or default";
        let (ip, len) = prefix.ok_or_else(|| ConfigError::new("route", text, allowed))?;
        Self::to(ip, len)
    }
}

impl std::fmt::Display for RouteMatch {
    /// As `ip route` writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix_len)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.table != MAIN {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

/// One way that a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Path {
    pub(super) via: Option<IpAddr>,
    pub(super) dev: Option<u32>,
}

impl Path {
    fn of(attributes: &[RouteAttribute]) -> Self {
        let mut path = Self::default();
        for attribute in attributes {
            if let RouteAttribute::Gateway(gateway) = attribute {
                path.via = ip(gateway);
            } else if let RouteAttribute::Via(RouteVia::Inet(gateway)) = attribute {
                path.via = Some((*gateway).into());
            } else if let RouteAttribute::Via(RouteVia::Inet6(gateway)) = attribute {
                path.via = Some((*gateway).into());
            } else if let RouteAttribute::Oif(index) = attribute {
                path.dev = Some(*index);
            }
        }
        path
    }
}

/// The ways of a route that the kernel uses: one, or those of a multipath route.
pub(super) fn paths(route: &RouteMessage) -> Vec<Path> {
    let several = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::MultiPath(hops) = attribute { Some(hops) } else { None }
    });
    let Some(hops) = several else {
        return vec![Path::of(&route.attributes)];
    };
    let unusable = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let usable = hops.iter().filter(|hop| !hop.flags.intersects(unusable));
    usable.map(|hop| Path { dev: Some(hop.interface_index), ..Path::of(&hop.attributes) }).collect()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(ip) = address {
        return Some((*ip).into());
    }
    if let RouteAddress::Inet6(ip) = address { Some((*ip).into()) } else { None }
}
