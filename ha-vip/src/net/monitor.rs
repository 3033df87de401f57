//! What changes in the network of this host: links, addresses, routes, as the kernel tells it.
//!
//! ```text
//!  kernel ── multicast ──▶ Monitor (one socket, one task) ──┬──▶ Subscription
//!                                                           └──▶ Subscription …
//! ```
//!
//! Events say what has changed; how things are must be read, at the start and after each
//! [`NetEvent::Overrun`]. Subscribe first, then read, then follow the events: nothing falls in
//! between.

mod decode;
mod socket;

use std::io;
use std::time::Duration;

use ha_core::driver::{Stop, Task, pause};
use rtnetlink::Handle;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use self::decode::{Decoded, decode};
use self::socket::{Received, RouteSocket};
use crate::VirtualAddress;
use crate::announce::Mac;

/// Events that a subscriber may be behind; one that is further behind gets an overrun.
const BACKLOG: usize = 1024;
/// 4 MiB hold some ten thousand events: a few hundred interfaces that change at once.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Messages that are read before the changes of routes among them are told, as one.
const BATCH: usize = 64;
/// A wait after an error that should not be, so that it cannot become a busy loop.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Something that changed in the network of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetEvent {
    /// An interface is new or has changed: its name, its address, its state. May repeat itself.
    Link {
        /// Its index, which stays the same for as long as it lives.
        index: u32,
        /// Its name now.
        name: String,
        /// Its link-layer address; all zeros if it has none of six bytes.
        mac: Mac,
        /// Whether it is switched on (`IFF_UP`).
        up: bool,
        /// Whether it can carry traffic: it has its carrier (`IFF_LOWER_UP`), and its operational
        /// state (RFC 2863) allows it (`IFF_RUNNING`).
        running: bool,
    },
    /// An interface was removed, or moved to another network namespace.
    LinkGone {
        /// Its index.
        index: u32,
        /// Its last name.
        name: String,
    },
    /// An address was put on an interface, or one there has changed. May repeat itself.
    AddressAdded {
        /// The interface.
        index: u32,
        /// The address.
        address: VirtualAddress,
    },
    /// An address was taken off an interface.
    AddressRemoved {
        /// The interface.
        index: u32,
        /// The address.
        address: VirtualAddress,
    },
    /// Routes were added, changed or removed, one or many. The kernel does not tell of all: IPv4
    /// routes over an interface that is switched off go silently.
    RoutesChanged,
    /// Events were lost: read again how things are.
    Overrun,
}

/// Listens to the kernel, for any number of subscribers.
///
/// Belongs to the network namespace of the thread that opened it. Dropping it ends its task.
///
/// A carrier that is lost is told within some ten microseconds of the kernel's own event. The
/// kernel holds back a second change of a physical link within one second, for up to that long.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_vip::net::monitor::Monitor;
///
/// let monitor = Monitor::open()?;
/// let mut subscription = monitor.subscribe();
/// tokio::select! { biased;
///     event = subscription.next() => println!("{event:?}"),
///     () = std::future::ready(()) => println!("nothing has changed so far"),
/// }
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Monitor {
    events: broadcast::Sender<NetEvent>,
    handle: Handle,
    /// Ends the task when dropped.
    _task: Task<()>,
}

impl Monitor {
    /// Listens to links, addresses and routes with a receive buffer of 4 MiB, or what the system
    /// allows; must be called inside a tokio runtime. Needs no privilege.
    ///
    /// # Errors
    ///
    /// The kernel's, when no more file descriptors are to be had.
    pub fn open() -> io::Result<Self> {
        Self::with_receive_buffer(RECEIVE_BUFFER)
    }

    /// As [`open`](Self::open), with a receive buffer of so many bytes. Beyond
    /// `net.core.rmem_max` that takes `CAP_NET_ADMIN`, without which it gets only that much.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn with_receive_buffer(bytes: usize) -> io::Result<Self> {
        let handle = super::interface::connect()?;
        let socket = RouteSocket::open(bytes)?;
        let (events, _) = broadcast::channel(BACKLOG);
        let sender = events.clone();
        let task = Task::spawn(|stop| run(socket, sender, stop));
        Ok(Self { events, handle, _task: task })
    }

    /// Another subscriber, which hears what changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { events: self.events.subscribe(), handle: self.handle.clone() }
    }
}

/// Hears what a [`Monitor`] hears. One that is slow holds up nobody: it gets an overrun.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<NetEvent>,
    handle: Handle,
}

impl Subscription {
    /// Waits for the next event; for ever once the monitor is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> NetEvent {
        match self.event().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Waits for the next event; `None` once the monitor is gone. Cancel safe.
    pub(crate) async fn event(&mut self) -> Option<NetEvent> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(_)) => {
                // What is still kept is older than what will be read now: without it the last
                // event stays the truth.
                self.events = self.events.resubscribe();
                Some(NetEvent::Overrun)
            }
        }
    }

    /// Talks to the kernel of the monitor's network namespace.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

async fn run(mut socket: RouteSocket, events: broadcast::Sender<NetEvent>, mut stop: Stop) {
    loop {
        let received = tokio::select! { biased;
            () = stop.wait() => return,
            received = socket.receive() => received,
        };
        match received {
            Ok(first) => relay(&mut socket, first, &events),
            Err(error) => {
                tracing::warn!(%error, "cannot listen to the kernel's network events");
                tokio::select! { biased;
                    () = stop.wait() => return,
                    _without_a_timer_at_once = pause(AFTER_ERROR) => {}
                }
                tell(&events, NetEvent::Overrun);
            }
        }
    }
}

/// Tells what is there to be read, and all changes of routes in it as one.
fn relay(socket: &mut RouteSocket, first: Received, events: &broadcast::Sender<NetEvent>) {
    let (mut routes, mut received, mut left) = (false, first, BATCH);
    loop {
        match received {
            Received::Foreign => {}
            Received::Overrun => tell(events, NetEvent::Overrun),
            Received::Messages(len) => decode(socket.bytes(len), |decoded| match decoded {
                Decoded::Event(event) => tell(events, event),
                Decoded::Routes => routes = true,
            }),
        }
        left = left.saturating_sub(1);
        let next = if left == 0 { None } else { socket.receive_now() };
        let Some(next) = next else {
            break;
        };
        received = next;
    }
    if routes {
        tell(events, NetEvent::RoutesChanged);
    }
}

fn tell(events: &broadcast::Sender<NetEvent>, event: NetEvent) {
    // An error means that nobody has subscribed.
    let _nobody_listens = events.send(event);
}
