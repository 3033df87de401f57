//! Tracks a route.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock, Instant};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use rustix::io::Errno;

use super::link::can_carry;
use super::route_match::{Path, RouteMatch, paths};
use super::{TrackError, Tracker, Verdict};
use crate::net::monitor::{Monitor, NetEvent, Subscription};

/// The kernel takes some routes away only after it has told of their link or address, and does
/// not tell of them: look again after so long.
const SETTLE: Duration = Duration::from_millis(50);

/// Tracks whether a route is in the kernel's table and leads somewhere.
///
/// It is up while a route to exactly this prefix is there, over the gateway and interface that the
/// [`RouteMatch`] names if any, and the interface it leads over can carry traffic. The routes are
/// read again after every change of a route, link or address, but after a reading that took long
/// (a full Internet table) not before as much time again has passed. The monitor must live for as
/// long as the tracker.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_vip::net::monitor::Monitor;
/// use ha_vip::track::{RouteMatch, RouteTracker, Tracker, Verdict};
///
/// let monitor = Monitor::open()?;
/// let uplink = "192.0.2.0/24".parse::<RouteMatch>()?.via("198.51.100.1".parse()?).dev("eth7");
/// let mut tracker = RouteTracker::new(&monitor, "uplink", uplink);
/// assert_eq!(tracker.changed().await?, Verdict::Down);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct RouteTracker {
    name: String,
    route: RouteMatch,
    subscription: Subscription,
    /// When to read next; `None`: nothing has changed.
    read_at: Option<Instant>,
    /// No event has come since the last reading.
    settling: bool,
    /// No reading before this.
    not_before: Instant,
    told: Verdict,
    alarm: Option<Alarm>,
}

impl RouteTracker {
    /// Tracks `route` under a name.
    #[must_use]
    pub fn new(monitor: &Monitor, name: impl Into<String>, route: RouteMatch) -> Self {
        Self {
            name: name.into(),
            route,
            subscription: monitor.subscribe(),
            read_at: Some(Instant::ZERO),
            settling: true,
            not_before: Instant::ZERO,
            told: Verdict::Unknown,
            alarm: None,
        }
    }

    async fn read(&mut self) -> Result<Option<Verdict>, TrackError> {
        let clock = BootClock::new();
        let started = clock.now();
        let present = is_present(&self.subscription, &self.route).await;
        let present = present.map_err(|source| self.error("read the routes", source))?;
        let now = clock.now();
        self.not_before = now + now.since(started);
        self.read_at = if self.settling { None } else { Some(now + SETTLE) };
        self.settling = true;
        let verdict = if present { Verdict::Up } else { Verdict::Down };
        let news = verdict != self.told;
        self.told = verdict;
        Ok(news.then_some(verdict))
    }

    fn error(&self, what: &'static str, source: io::Error) -> TrackError {
        let remedy = "look at the kernel's log, and for the limit of open files";
        TrackError::System { name: self.name.clone(), what, remedy, source }
    }
}

#[async_trait]
impl Tracker for RouteTracker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            let now = BootClock::new().now();
            let due = self.read_at.map(|at| at.max(self.not_before));
            if due.is_some_and(|due| due <= now) {
                if let Some(verdict) = self.read().await? {
                    return Ok(verdict);
                }
                continue;
            }
            let alarm = match self.alarm.take() {
                Some(alarm) => alarm,
                None => Alarm::new().map_err(|source| self.error("make a timer", source))?,
            };
            let alarm = self.alarm.insert(alarm);
            tokio::select! { biased;
                event = self.subscription.event() => match event {
                    Some(NetEvent::AddressAdded { .. }) => {}
                    Some(_any_other_may_change_routes) => {
                        self.read_at = Some(now);
                        self.settling = false;
                    }
                    None => return Err(TrackError::Ended { name: self.name.clone() }),
                },
                due = alarm.until(due) => if let Err(source) = due {
                    return Err(self.error("wait", source));
                },
            }
        }
    }
}

async fn is_present(subscription: &Subscription, wanted: &RouteMatch) -> io::Result<bool> {
    // The links first: whatever changes while the routes are read comes as an event.
    let (alive, dev) = links(subscription, wanted.get_dev()).await?;
    if wanted.get_dev().is_some() && dev.is_none() {
        return Ok(false);
    }
    let mut request = RouteMessage::default();
    request.header.address_family =
        if wanted.prefix().0.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    request.attributes.push(RouteAttribute::Table(wanted.get_table()));
    let mut routes = subscription.handle().route().get(request).execute();
    let mut present = false;
    loop {
        match routes.try_next().await.map_err(crate::backend::into_io) {
            // To the end in any case: an answer that is not read is not over.
            Ok(Some(route)) => present |= leads(&route, wanted, dev, &alive),
            Ok(None) => return Ok(present),
            // There is no such table.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The interfaces that can carry traffic, and the index of the one named `dev`.
async fn links(
    subscription: &Subscription,
    dev: Option<&str>,
) -> io::Result<(BTreeSet<u32>, Option<u32>)> {
    let (mut alive, mut index) = (BTreeSet::new(), None);
    let mut links = subscription.handle().link().get().execute();
    while let Some(link) = links.try_next().await.map_err(crate::backend::into_io)? {
        if can_carry(link.header.flags) {
            alive.insert(link.header.index);
        }
        let named = |attribute: &LinkAttribute| {
            if let LinkAttribute::IfName(name) = attribute {
                Some(name.as_str()) == dev
            } else {
                false
            }
        };
        if link.attributes.iter().any(named) {
            index = Some(link.header.index);
        }
    }
    Ok((alive, index))
}

fn leads(
    route: &RouteMessage,
    wanted: &RouteMatch,
    dev: Option<u32>,
    alive: &BTreeSet<u32>,
) -> bool {
    let fits = |path: &Path| {
        wanted.get_via().is_none_or(|via| path.via == Some(via))
            && dev.is_none_or(|dev| path.dev == Some(dev))
            && path.dev.is_some_and(|dev| alive.contains(&dev))
    };
    wanted.is_to(route) && paths(route).iter().any(fits)
}
