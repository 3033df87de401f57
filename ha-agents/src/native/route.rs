//! A route as a resource.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope,
};
use rtnetlink::{Handle, RouteMessageBuilder};
use rustix::io::Errno;

use super::described;
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// The kernel's main table.
const MAIN: u32 = 254;

/// A route in the kernel's table, there while it is started: `ocf:heartbeat:Route`, through
/// netlink, without the program `ip`.
///
/// A route that is there already, with the same destination, gateway, interface and metric, counts
/// as its own, whoever made it. One to the same destination that leads elsewhere makes the start
/// fail, and is left alone. With its interface a route goes, too: a stop succeeds then.
///
/// Needs `CAP_NET_ADMIN`, but for the monitor.
///
/// ```no_run
/// use ha_agents::native::Route;
///
/// let route = Route::new("10.1.0.0".parse()?, 16).gateway("192.0.2.1".parse()?).device("eth0");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Route {
    destination: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
    device: Option<String>,
    source: Option<IpAddr>,
    table: u32,
    metric: Option<u32>,
}

impl Route {
    /// A route to the network of `destination`; `0.0.0.0` or `::` with the prefix length 0 is the
    /// default route.
    #[must_use]
    pub fn new(destination: IpAddr, prefix: u8) -> Self {
        let destination = network(destination, prefix);
        let (gateway, device, source, metric) = Default::default();
        Self { destination, prefix, gateway, device, source, table: MAIN, metric }
    }

    /// Sets the router that it leads through.
    #[must_use]
    pub const fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }

    /// Sets the interface that it leads through. Without a gateway it must be given.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Sets the address of this node that packets on it come from. Default: the kernel's choice.
    #[must_use]
    pub const fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Sets the table. Default: 254, the main one.
    #[must_use]
    pub const fn table(mut self, table: u32) -> Self {
        self.table = table;
        self
    }

    /// Sets the metric. Default: the kernel's.
    #[must_use]
    pub const fn metric(mut self, metric: u32) -> Self {
        self.metric = Some(metric);
        self
    }

    fn objection(&self) -> Option<Report> {
        let v4 = self.destination.is_ipv4();
        let mixed = [self.gateway, self.source].into_iter().flatten().any(|ip| ip.is_ipv4() != v4);
        let longest = if v4 { 32 } else { 128 };
        let reason = if self.gateway.is_none() && self.device.is_none() {
            "it leads nowhere: give a gateway or a device"
        } else if mixed {
            "its gateway and its source must be of its destination's family"
        } else if self.prefix > longest {
            "its prefix length is too long: 0 to 32, for IPv6 to 128"
        } else {
            return None;
        };
        Some(Report::new(Outcome::NotConfigured, reason))
    }

    /// The route as the kernel wants it; `index` is that of the interface.
    fn message(&self, index: Option<u32>) -> io::Result<RouteMessage> {
        let odd = |error| io::Error::other(format!("{error:?}"));
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(self.destination, self.prefix)
            .map_err(odd)?
            .table_id(self.table);
        if let Some(gateway) = self.gateway {
            builder = builder.gateway(gateway).map_err(odd)?;
        } else {
            builder = builder.scope(RouteScope::Link);
        }
        if let Some(source) = self.source {
            builder = builder.pref_source(source).map_err(odd)?;
        }
        if let Some(index) = index {
            builder = builder.output_interface(index);
        }
        if let Some(metric) = self.metric {
            builder = builder.priority(metric);
        }
        Ok(builder.build())
    }

    /// Whether a route of the kernel's is this one.
    fn is_this(&self, route: &RouteMessage, index: Option<u32>) -> bool {
        let (mut destination, mut gateway, mut device, mut metric) = (None, None, None, None);
        let mut table = u32::from(route.header.table);
        for attribute in &route.attributes {
            if let RouteAttribute::Destination(address) = attribute {
                destination = ip(address);
            } else if let RouteAttribute::Gateway(address) = attribute {
                gateway = ip(address);
            } else if let RouteAttribute::Oif(index) = attribute {
                device = Some(*index);
            } else if let RouteAttribute::Priority(number) = attribute {
                metric = Some(*number);
            } else if let RouteAttribute::Table(number) = attribute {
                table = *number;
            }
        }
        // The default route has no destination.
        let anywhere = destination.is_none() && self.prefix == 0;
        table == self.table
            && route.header.destination_prefix_length == self.prefix
            && (anywhere || destination == Some(self.destination))
            && gateway == self.gateway
            && index.is_none_or(|index| device == Some(index))
            && self.metric.is_none_or(|wanted| metric.unwrap_or_default() == wanted)
    }

    async fn is_there(&self, handle: &Handle, index: Option<u32>) -> io::Result<bool> {
        let mut request = RouteMessage::default();
        let v4 = self.destination.is_ipv4();
        request.header.address_family = if v4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
        request.attributes.push(RouteAttribute::Table(self.table));
        let mut routes = handle.route().get(request).execute();
        let mut there = false;
        loop {
            match routes.try_next().await.map_err(into_io) {
                // To the end in any case: an answer that is not read is not over.
                Ok(Some(route)) => there |= self.is_this(&route, index),
                Ok(None) => return Ok(there),
                // There is no such table.
                Err(error) if is(&error, Errno::NOENT) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// The interface's number; `Err`: it is not there.
    async fn index(&self, handle: &Handle) -> io::Result<Result<Option<u32>, Report>> {
        let Some(device) = &self.device else { return Ok(Ok(None)) };
        let mut links = handle.link().get().match_name(device.clone()).execute();
        match links.try_next().await.map_err(into_io) {
            Ok(Some(link)) => Ok(Ok(Some(link.header.index))),
            Ok(None) => Ok(Err(missing(device))),
            Err(error) if is(&error, Errno::NODEV) => Ok(Err(missing(device))),
            Err(error) => Err(error),
        }
    }

    async fn add(&self, handle: &Handle) -> io::Result<Report> {
        let index = match self.index(handle).await? {
            Ok(index) => index,
            Err(report) => return Ok(report),
        };
        match handle.route().add(self.message(index)?).execute().await.map_err(into_io) {
            Ok(()) => Ok(Report::success()),
            Err(error) if is(&error, Errno::EXIST) => {
                if self.is_there(handle, index).await? {
                    return Ok(Report::success());
                }
                let reason = format!(
                    "there is another route to {}/{}; remove it",
                    self.destination, self.prefix
                );
                Ok(Report::new(Outcome::GenericError, reason))
            }
            Err(error) => refused(error),
        }
    }

    async fn remove(&self, handle: &Handle) -> io::Result<Report> {
        // With its interface a route has gone.
        let Ok(index) = self.index(handle).await? else { return Ok(Report::success()) };
        while self.is_there(handle, index).await? {
            let mut message = self.message(index)?;
            // Whoever made it.
            message.header.protocol = RouteProtocol::Unspec;
            match handle.route().del(message).execute().await.map_err(into_io) {
                Ok(()) => {}
                Err(error) if is(&error, Errno::SRCH) => {
                    let reason = "the kernel lists the route, and does not find it to remove it";
                    return Ok(Report::new(Outcome::GenericError, reason));
                }
                Err(error) => return refused(error),
            }
        }
        Ok(Report::success())
    }

    async fn look(&self, handle: &Handle) -> io::Result<Report> {
        let there = match self.index(handle).await? {
            Ok(index) => self.is_there(handle, index).await?,
            Err(Report { reason, .. }) => return Ok(Report::new(Outcome::NotRunning, reason)),
        };
        Ok(if there { Report::success() } else { Report::new(Outcome::NotRunning, "") })
    }
}

/// The address without the bits that the prefix does not cover.
fn network(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    if let RouteAddress::Inet(address) = address {
        Some((*address).into())
    } else if let RouteAddress::Inet6(address) = address {
        Some((*address).into())
    } else {
        None
    }
}

fn missing(device: &str) -> Report {
    Report::new(Outcome::NotInstalled, format!("there is no interface {device}"))
}

fn is(error: &io::Error, number: Errno) -> bool {
    error.raw_os_error() == Some(number.raw_os_error())
}

/// The kernel's refusal as an answer.
fn refused(error: io::Error) -> io::Result<Report> {
    if error.raw_os_error().is_none() {
        return Err(error);
    }
    let denied = error.kind() == io::ErrorKind::PermissionDenied;
    let outcome = if denied { Outcome::NoPermission } else { Outcome::GenericError };
    let hint = if denied { "; it needs CAP_NET_ADMIN" } else { "" };
    Ok(Report::new(outcome, format!("the kernel refuses the route: {error}{hint}")))
}

fn into_io(error: rtnetlink::Error) -> io::Error {
    if let rtnetlink::Error::NetlinkError(message) = error {
        message.to_io()
    } else {
        io::Error::other(error.to_string())
    }
}

/// Opens a connection to the kernel, and drives it for as long as `work` takes.
async fn talk(
    context: &OpContext,
    what: &'static str,
    work: impl AsyncFnOnce(&Handle) -> io::Result<Report>,
) -> OpResult {
    let talk = async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let work = work(&handle);
        tokio::pin!(work, connection);
        tokio::select! { biased;
            done = &mut work => done,
            () = &mut connection => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    let done = async {
        let resource = || context.resource.clone();
        talk.await.map_err(|source| AgentError::Io { resource: resource(), what, source })
    };
    context.limit(what, done).await
}

#[async_trait]
impl ResourceAgent for Route {
    async fn start(&self, context: &OpContext) -> OpResult {
        if let Some(report) = self.objection() {
            return Ok(report);
        }
        talk(context, "start", async |handle| self.add(handle).await).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        // What cannot be started is not there.
        if self.objection().is_some() {
            return Ok(Report::success());
        }
        talk(context, "stop", async |handle| self.remove(handle).await).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        talk(context, "monitor", async |handle| self.look(handle).await).await
    }

    async fn validate(&self, _context: &OpContext) -> OpResult {
        Ok(self.objection().unwrap_or_else(Report::success))
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("destination", "the network with its prefix length, or default", None),
            ("gateway", "the router that it leads through", Some("")),
            ("device", "the interface that it leads through", Some("")),
            ("source", "the address that packets on it come from", Some("")),
            ("family", "ip or ip6, for the destination default", Some("ip")),
            ("table", "the number of the table", Some("254")),
            ("metric", "its metric", Some("the kernel's")),
        ];
        described("route", "A route in the kernel's table", &parameters)
    }
}
