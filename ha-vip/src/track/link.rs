//! Tracks an interface.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock};
use netlink_packet_route::link::LinkFlags;
use rustix::io::Errno;

use super::debounce::Debounce;
use super::{TrackError, Tracker, Verdict};
use crate::net::monitor::{Monitor, NetEvent, Subscription};

const OPEN_FILES: &str = "raise the limit of open files (LimitNOFILE=, ulimit -n)";

/// Tracks whether an interface can carry traffic (keepalived's `track_interface`).
///
/// It is up while an interface of this name is switched on, has its carrier and may be used
/// (RFC 2863's operational state). An interface that is removed or renamed is down until there is
/// one of this name again, the same or another. The monitor must live for as long as the tracker.
///
/// A link that bounces can be held down or up for a while (keepalived's
/// `interface_up_down_delays`). Keep the delay of a failure shorter than the time in which the
/// backups notice that the adverts stay away, or two routers are active meanwhile.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_vip::net::monitor::Monitor;
/// use ha_vip::track::{LinkTracker, Tracker, Verdict};
///
/// let monitor = Monitor::open()?;
/// let mut uplink = LinkTracker::new(&monitor, "no-such-link").down_delay(Duration::from_millis(20));
/// assert_eq!(uplink.changed().await?, Verdict::Down); // the first verdict has no delay
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct LinkTracker {
    name: String,
    interface: String,
    up_delay: Duration,
    down_delay: Duration,
    subscription: Subscription,
    /// The interface that has the name now.
    index: Option<u32>,
    /// How things are must be read before anything is told.
    stale: bool,
    debounce: Debounce,
    alarm: Option<Alarm>,
}

impl LinkTracker {
    /// Tracks the interface `interface`, which need not be there; the tracker has its name.
    #[must_use]
    pub fn new(monitor: &Monitor, interface: impl Into<String>) -> Self {
        let interface = interface.into();
        Self {
            name: interface.clone(),
            interface,
            up_delay: Duration::ZERO,
            down_delay: Duration::ZERO,
            subscription: monitor.subscribe(),
            index: None,
            stale: true,
            debounce: Debounce::new(Duration::ZERO, Duration::ZERO),
            alarm: None,
        }
    }

    /// Gives the tracker another name than the interface's.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long the interface must have been up before that is told; default 0.
    #[must_use]
    pub const fn up_delay(mut self, delay: Duration) -> Self {
        self.up_delay = delay;
        self.debounce = Debounce::new(self.up_delay, self.down_delay);
        self
    }

    /// How long the interface must have been down before that is told; default 0.
    #[must_use]
    pub const fn down_delay(mut self, delay: Duration) -> Self {
        self.down_delay = delay;
        self.debounce = Debounce::new(self.up_delay, self.down_delay);
        self
    }

    /// The interface's name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    fn observe(&mut self, running: bool) {
        let verdict = if running { Verdict::Up } else { Verdict::Down };
        self.debounce.observe(BootClock::new().now(), verdict);
    }

    fn take(&mut self, event: NetEvent) {
        match event {
            NetEvent::Link { index, name, up, running, .. } if name == self.interface => {
                self.index = Some(index);
                self.observe(up && running);
            }
            // It has another name now, or is gone.
            NetEvent::Link { index, .. } | NetEvent::LinkGone { index, .. }
                if self.index == Some(index) =>
            {
                self.index = None;
                self.observe(false);
            }
            NetEvent::Overrun => self.stale = true,
            NetEvent::Link { .. }
            | NetEvent::LinkGone { .. }
            | NetEvent::AddressAdded { .. }
            | NetEvent::AddressRemoved { .. }
            | NetEvent::RoutesChanged => {}
        }
    }

    async fn read(&mut self) -> Result<(), TrackError> {
        let found = find(&self.subscription, &self.interface).await;
        let found = found.map_err(|source| self.error("read the interface", source))?;
        self.stale = false;
        self.index = found.map(|(index, _)| index);
        self.observe(found.is_some_and(|(_, running)| running));
        Ok(())
    }

    fn error(&self, what: &'static str, source: io::Error) -> TrackError {
        TrackError::System { name: self.name.clone(), what, remedy: OPEN_FILES, source }
    }
}

#[async_trait]
impl Tracker for LinkTracker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            if self.stale {
                self.read().await?;
            }
            if let Some(verdict) = self.debounce.take(BootClock::new().now()) {
                return Ok(verdict);
            }
            let alarm = match self.alarm.take() {
                Some(alarm) => alarm,
                None => Alarm::new().map_err(|source| self.error("make a timer", source))?,
            };
            let alarm = self.alarm.insert(alarm);
            let event = tokio::select! { biased;
                event = self.subscription.event() => {
                    Some(event.ok_or_else(|| TrackError::Ended { name: self.name.clone() })?)
                }
                due = alarm.until(self.debounce.due()) => match due {
                    Ok(()) => None,
                    Err(source) => return Err(self.error("wait", source)),
                },
            };
            if let Some(event) = event {
                self.take(event);
            }
        }
    }
}

/// The index of the interface, and whether it can carry traffic; `None` when there is none.
async fn find(subscription: &Subscription, name: &str) -> io::Result<Option<(u32, bool)>> {
    let mut links = subscription.handle().link().get().match_name(name).execute();
    match links.try_next().await.map_err(crate::backend::into_io) {
        Ok(link) => Ok(link.map(|link| (link.header.index, can_carry(link.header.flags)))),
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an interface with these flags can carry traffic, as [`NetEvent::Link`] has it.
pub(super) const fn can_carry(flags: LinkFlags) -> bool {
    flags.contains(LinkFlags::Up.union(LinkFlags::Running).union(LinkFlags::LowerUp))
}
