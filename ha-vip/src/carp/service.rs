//! The driver: a CARP host on a real interface.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use ha_core::driver::{Alarm, Stop, Task};
use ha_core::event::{Event, EventKind, Observer};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::sync::{mpsc, watch};

use super::HostConfig;
use super::effects::{HostEvent, Input, Output, StateName, Stats};
use super::host::Host;
use super::socket::CarpSocket;
use super::wire::Reject;
use crate::address::VirtualAddress;
use crate::announce::Announcer;
use crate::backend::AddressBackend;
use crate::holder::Holder;
use crate::manager::{Holding, VipError, VipManager};

/// Commands that wait for the driver; more are refused by making the caller wait.
const COMMANDS: usize = 8;

/// Where a CARP host speaks and what it acts through.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the parts that a user puts together")]
pub struct Parts {
    /// The interface's name.
    pub interface: String,
    /// The interface's index.
    pub index: u32,
    /// The interface's primary address; adverts come from it.
    pub source: Ipv4Addr,
    /// Puts the addresses on the interface.
    pub backend: Arc<dyn AddressBackend>,
    /// Tells the neighbours.
    pub announcer: Arc<dyn Announcer>,
}

/// A CARP host on an interface, ready to run.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_vip::VirtualAddress;
/// use ha_vip::carp::{HostConfig, Service};
///
/// let config = HostConfig::builder(42)
///     .password(std::fs::read("/etc/carp.password")?.trim_ascii_end())
///     .address("192.0.2.10/24".parse::<VirtualAddress>()?)
///     .advskew(100)
///     .build()?;
/// let service = Service::open(config, "eth0").await?;
/// let handle = service.handle();
/// let task = service.spawn();
/// // … until the program ends:
/// task.stop().await??;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Service {
    host: Host,
    socket: CarpSocket,
    holder: Holder,
    alarm: Alarm,
    observer: Arc<dyn Observer>,
    subject: String,
    commands: mpsc::Receiver<Input>,
    handle: HostHandle,
    state: watch::Sender<StateName>,
    unsent: u64,
}

impl Service {
    /// Puts a CARP host together.
    ///
    /// # Errors
    ///
    /// [`ServiceError`] when the raw sockets cannot be opened.
    pub fn new(config: HostConfig, parts: Parts) -> Result<Self, ServiceError> {
        let open = |source| ServiceError::of_socket(&parts.interface, source);
        let (vhid, multicast) = (config.vhid(), config.multicast());
        let socket = CarpSocket::open(&parts.interface, parts.index, parts.source, vhid, multicast)
            .map_err(open)?;
        let alarm = Alarm::new().map_err(open)?;
        let (send_command, commands) = mpsc::channel(COMMANDS);
        let (state, watch_state) = watch::channel(StateName::Init);
        let addresses: Arc<[VirtualAddress]> = config.addresses().into();
        let holder = Holder::new(parts.backend, parts.announcer, Arc::clone(&addresses));
        Ok(Self {
            subject: parts.interface,
            host: Host::new(config, parts.source, seed()),
            socket,
            holder,
            alarm,
            observer: Arc::new(()),
            commands,
            handle: HostHandle { addresses, commands: send_command, state: watch_state },
            state,
            unsent: 0,
        })
    }

    /// Opens the interface: netlink for the addresses, raw sockets for CARP and announcements.
    ///
    /// Addresses of this configuration that an earlier life of this program left behind are
    /// removed first. Must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: no such interface, interface down, no address to send from, or a missing
    /// capability.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing was changed yet, but for leftovers that are gone.
    #[cfg(feature = "netlink")]
    pub async fn open(config: HostConfig, interface: &str) -> Result<Self, ServiceError> {
        Self::open_from(config, interface, None).await
    }

    /// The same, with adverts from `source` (ucarp's `--srcip`); `None` takes the first IPv4
    /// address of the interface that does not float.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    ///
    /// # Cancel safety
    ///
    /// As [`open`](Self::open).
    #[cfg(feature = "netlink")]
    pub async fn open_from(
        config: HostConfig,
        interface: &str,
        source: Option<Ipv4Addr>,
    ) -> Result<Self, ServiceError> {
        use crate::announce::PacketAnnouncer;
        use crate::backend::NetlinkBackend;
        use crate::net::interface::{Interface, connect};

        let name = || interface.to_owned();
        let socket = |source| ServiceError::of_socket(interface, source);
        let netlink = connect().map_err(socket)?;
        let link = Interface::find(&netlink, interface)
            .await
            .map_err(|_| ServiceError::NoInterface { interface: name() })?;
        if !link.is_up() {
            return Err(ServiceError::Down { interface: name() });
        }
        let announcer = PacketAnnouncer::open(link.index(), link.mac()).map_err(socket)?;
        let backend = NetlinkBackend::new(link.clone(), netlink.clone());
        backend.clear_leftovers(config.addresses()).await?;
        let present = link.addresses(&netlink).await.map_err(socket)?;
        let source = source
            .or_else(|| super::socket::source_address(&present, &config))
            .ok_or_else(|| ServiceError::NoSource { interface: name() })?;
        let parts = Parts {
            interface: name(),
            index: link.index(),
            source,
            backend: Arc::new(backend),
            announcer: Arc::new(announcer),
        };
        Self::new(config, parts)
    }

    /// Tells `observer` of each event, under the name `subject`, such as this node's.
    #[must_use]
    pub fn observed(mut self, subject: impl Into<String>, observer: Arc<dyn Observer>) -> Self {
        self.subject = subject.into();
        self.observer = observer;
        self
    }

    /// A handle to watch and move the addresses; cheap to clone.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        self.handle.clone()
    }

    /// Runs as a task on the current tokio runtime.
    #[must_use]
    pub fn spawn(self) -> Task<Result<Stats, ServiceError>> {
        Task::spawn(|mut stop: Stop| self.run(async move { stop.wait().await }))
    }

    /// Runs until `stop` is ready, then lets go of the addresses: the goodbye is sent, the
    /// addresses stay until the successor is heard (at most one and a half intervals) and are
    /// removed.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Socket`] when the interface can no longer be read; the addresses were
    /// removed as far as that is possible.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it leaves the addresses on the interface without anybody who
    /// advertises them. Complete `stop` instead.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Stats, ServiceError> {
        let clock = BootClock::new();
        let mut out = Vec::with_capacity(Host::MAX_OUTPUTS);
        let (mut stopping, mut failure) = (false, None);
        let mut stop = std::pin::pin!(stop);
        self.host.handle(clock.now(), Input::Start, &mut out);
        self.perform(clock.now(), &mut out);
        while !(stopping && self.is_done()) {
            let input = tokio::select! { biased;
                () = &mut stop, if !stopping => { stopping = true; Some(Input::Stop) }
                waited = self.alarm.until(self.host.deadline()) => {
                    waited.map_err(|source| self.socket_error(source))?;
                    None
                }
                settled = self.holder.settled() => self.settled(clock.now(), settled),
                Some(command) = self.commands.recv() => Some(command),
                packet = self.socket.receive(), if failure.is_none() => match packet {
                    Ok(packet) => packet.map(Input::Packet),
                    Err(error) => {
                        failure = self.unreadable(error);
                        stopping |= failure.is_some();
                        failure.is_some().then_some(Input::Stop)
                    }
                },
            };
            let now = clock.now();
            match input {
                Some(input) => self.host.handle(now, input, &mut out),
                None => self.host.tick(now, &mut out),
            }
            self.perform(now, &mut out);
        }
        failure.map_or_else(|| Ok(self.host.stats().clone()), Err)
    }

    fn is_done(&self) -> bool {
        self.host.state() == StateName::Init && self.holder.is_settled()
    }

    fn perform(&mut self, now: Instant, out: &mut Vec<Output>) {
        for output in out.drain(..) {
            match output {
                Output::Acquire => self.holder.acquire(),
                Output::Release => self.holder.release(),
                Output::Announce => self.holder.announce(),
                Output::Send(message) => {
                    if let Err(error) = self.socket.send(&message) {
                        // A lost advert is the protocol's to handle: the next one follows.
                        self.unsent += 1;
                        tracing::debug!(%error, unsent = self.unsent, "advert not sent");
                    }
                }
                Output::Event(event) => self.tell(now, &event),
            }
        }
        self.state.send_if_modified(|state| {
            let changed = *state != self.host.state();
            *state = self.host.state();
            changed
        });
    }

    fn settled(&mut self, now: Instant, settled: crate::holder::Settled) -> Option<Input> {
        let observe = |kind| self.observer.observe(&Event::new(now, &self.subject, kind));
        let addresses = self.handle.addresses.iter().map(ToString::to_string);
        match settled {
            Ok(true) => addresses.for_each(|address| observe(EventKind::AddressAdded { address })),
            Ok(false) => {
                addresses.for_each(|address| observe(EventKind::AddressRemoved { address }));
            }
            Err(error) => {
                tracing::error!(%error, "addresses not changed");
                observe(EventKind::Note { text: error.to_string() });
                return Some(Input::AcquireFailed);
            }
        }
        None
    }

    fn tell(&self, now: Instant, event: &HostEvent) {
        let (kind, reason) = match event {
            HostEvent::StateChanged { from, to, reason } => {
                tracing::info!(subject = self.subject, %from, %to, %reason, "state changed");
                let (from, to) = (from.to_string(), to.to_string());
                (EventKind::StateChanged { from, to }, reason.to_string())
            }
            HostEvent::Rival { from, interval } => {
                let text = format!("{from} is master too, with an advert every {interval:?}");
                (EventKind::Note { text }, "split brain, or a take-over".to_owned())
            }
            HostEvent::Unproven { from } => {
                tracing::warn!(subject = self.subject, %from, "advert not proven");
                let text = format!("{from} says it is preferred, and has yet to prove it");
                (EventKind::Note { text }, "it has just started, or is a copy".to_owned())
            }
            // Counted in the statistics; an event each would let anybody on the link fill logs, so
            // those that an operator must know of are told of at 1, 2, 4, 8, …
            HostEvent::Rejected { from, why: why @ (Reject::Digest | Reject::Replay) } => {
                let count = self.host.stats().rejected(*why);
                if !count.is_power_of_two() {
                    return;
                }
                tracing::warn!(subject = self.subject, %from, %why, count, "advert refused");
                let text = format!("{count} adverts refused, the last from {from}");
                (EventKind::Note { text }, why.to_string())
            }
            HostEvent::Rejected { from, why } => {
                tracing::debug!(subject = self.subject, %from, %why, "packet dropped");
                return;
            }
        };
        self.observer.observe(&Event::new(now, &self.subject, kind).because(reason));
    }

    /// Whether the interface cannot be read any more, rather than only now.
    fn unreadable(&self, error: io::Error) -> Option<ServiceError> {
        // ENETDOWN is told once when the interface goes down; the sockets live on.
        if error.raw_os_error() == Some(rustix::io::Errno::NETDOWN.raw_os_error()) {
            tracing::warn!(subject = self.subject, "interface is down");
            return None;
        }
        Some(self.socket_error(error))
    }

    fn socket_error(&self, source: io::Error) -> ServiceError {
        ServiceError::Socket { interface: self.subject.clone(), source }
    }
}

/// Watches and moves the addresses of a running [`Service`]; cheap to clone.
#[derive(Debug, Clone)]
pub struct HostHandle {
    addresses: Arc<[VirtualAddress]>,
    commands: mpsc::Sender<Input>,
    state: watch::Receiver<StateName>,
}

impl HostHandle {
    /// The host's state.
    #[must_use]
    pub fn state(&self) -> StateName {
        *self.state.borrow()
    }

    /// Waits until the host is in a state for which `wanted` is true.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the service ended before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until(
        &self,
        mut wanted: impl FnMut(StateName) -> bool + Send,
    ) -> Result<StateName, VipError> {
        let mut state = self.state.clone();
        let found = state.wait_for(|state| wanted(*state)).await;
        found.map(|state| *state).map_err(|_| VipError::Ended)
    }

    async fn command(&self, command: Input) -> Result<(), VipError> {
        self.commands.send(command).await.map_err(|_| VipError::Ended)
    }
}

const fn holding(state: StateName) -> Holding {
    match state {
        StateName::Master => Holding::Here,
        StateName::Leaving => Holding::Leaving,
        StateName::Backup | StateName::Fault | StateName::Init => Holding::Elsewhere,
    }
}

#[async_trait]
impl VipManager for HostHandle {
    fn addresses(&self) -> &[VirtualAddress] {
        &self.addresses
    }

    fn holding(&self) -> Holding {
        holding(self.state())
    }

    async fn changed(&self, known: Holding) -> Result<Holding, VipError> {
        self.until(|state| holding(state) != known).await.map(holding)
    }

    async fn hand_over(&self) -> Result<(), VipError> {
        self.command(Input::HandOver).await
    }

    async fn resume(&self) -> Result<(), VipError> {
        self.command(Input::Resume).await
    }
}

/// What differs from one life to the next: the keys that the standard library draws from the
/// system's random numbers.
fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// A CARP host cannot run on an interface.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The interface's addresses cannot be changed.
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// The interface is down.
    #[error("cannot run CARP on {interface}: it is down; set it up first")]
    Down {
        /// The interface.
        interface: String,
    },
    /// There is no such interface.
    #[error("cannot run CARP on {interface}: there is no such network interface")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// The interface has no IPv4 address that adverts could come from.
    #[error(
        "cannot run CARP on {interface}: it has no primary address to send adverts \
         from; give it an IPv4 address besides the virtual ones"
    )]
    NoSource {
        /// The interface.
        interface: String,
    },
    /// The process may not open raw sockets.
    #[error(
        "cannot run CARP on {interface}: the capability CAP_NET_RAW is missing; run \
         as root, or grant CAP_NET_RAW and CAP_NET_ADMIN with AmbientCapabilities= or setcap"
    )]
    Privilege {
        /// The interface.
        interface: String,
    },
    /// A socket failed.
    #[error("cannot run CARP on {interface}: a socket failed")]
    Socket {
        /// The interface.
        interface: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}

impl ServiceError {
    fn of_socket(interface: &str, source: io::Error) -> Self {
        let interface = interface.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::Privilege { interface };
        }
        Self::Socket { interface, source }
    }
}
