//! The driver: virtual routers on real interfaces.

mod builder;
mod care;
mod error;
mod handle;
mod proof;
mod reload;
mod send;
mod station;
mod tell;

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ha_core::driver::{Alarm, Stop, Task, pause};
use ha_core::event::Observer;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use socket2::Socket;
use tokio::sync::{mpsc, watch};

pub use self::builder::ServiceBuilder;
pub use self::error::ServiceError;
pub use self::handle::{Changes, ReloadError, RouterHandle, ServiceHandle};

use self::care::Care;
use self::handle::Command;
use self::proof::Proofs;
use self::station::{Station, settle_any};
use super::config::{HostConfig, Instance, RouterConfig, Vrid};
use super::effects::{Heard, Input, Output, StateName};
use super::host::{Host, HostInput, HostOutput};
use super::router::Stats;
use super::socket::{Port, Received};
use super::wire::extension::is_extension;
use super::wire::{Reject, decode};
use crate::announce::{ConflictEvent, ConflictListener};
use crate::bfd::SessionHandle;
use crate::bfd::wire::State;
use crate::net::monitor::{Monitor, NetEvent, Subscription};
use crate::track::{Tracker, Verdict};

/// Commands and verdicts that wait for the driver; more are refused by making the caller wait.
const COMMANDS: usize = 64;

/// How many waiting packets are taken in before timers are looked at again: adverts of a thousand
/// routers, and an end to a flood.
const BACKLOG: usize = 4_096;

/// How long a tracker that failed is left alone.
const TRACKER_PAUSE: Duration = Duration::from_secs(1);

/// Virtual routers on interfaces, ready to run.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use ha_vip::VirtualAddress;
/// use ha_vip::vrrp::{RouterConfig, Service};
///
/// let config = RouterConfig::builder(51)
///     .address("192.0.2.10/24".parse::<VirtualAddress>()?)
///     .advert_interval(Duration::from_millis(100))
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
    ports: Vec<Port>,
    /// By the routers' ids, which begin at 0 and are never used again.
    stations: Vec<Station>,
    trackers: Vec<Box<dyn Tracker>>,
    detectors: Vec<SessionHandle>,
    /// Ends what the trackers and `news` hear when it is dropped.
    _monitor: Monitor,
    news: Subscription,
    proofs: Proofs,
    care: Care,
    alarm: Alarm,
    observer: Arc<dyn Observer>,
    commands: mpsc::Receiver<Command>,
    handle: ServiceHandle,
    unsent: u64,
    /// Sends by whatever way there is; opened when the first goodbye needs it.
    routed: Option<Socket>,
}

/// What woke the driver up.
enum Woke {
    Stop,
    Alarm,
    Command(Command),
    Word(Word),
    News(NetEvent),
    Unguarded,
    Settled(usize, crate::holder::Settled),
    Packet(usize, io::Result<Option<Received>>),
}

/// What trackers and detectors say.
#[derive(Debug)]
enum Word {
    Verdict(String, Verdict),
    /// This neighbour is gone.
    Lost(IpAddr),
    /// Another host claims an address of this station, or no longer does.
    Conflict(usize, ConflictEvent),
}

impl Service {
    /// Starts to put a service of these virtual routers together.
    pub fn builder(config: HostConfig) -> ServiceBuilder {
        ServiceBuilder::new(config)
    }

    /// Opens one virtual router on an interface: [`builder`](Self::builder) with the defaults. The
    /// router has the interface's name.
    ///
    /// # Errors
    ///
    /// As [`ServiceBuilder::open`].
    ///
    /// # Cancel safety
    ///
    /// As [`ServiceBuilder::open`].
    pub async fn open(config: RouterConfig, interface: &str) -> Result<Self, ServiceError> {
        let instance = Instance::new(interface, interface, config);
        let config = HostConfig::builder().instance(instance).build();
        let config = config.map_err(|source| ServiceError::Config { source })?;
        Self::builder(config).open().await
    }

    /// Tells `observer` of each event, under the name `subject`, such as this node's.
    #[must_use]
    pub fn observed(mut self, subject: impl Into<String>, observer: Arc<dyn Observer>) -> Self {
        let subject = subject.into();
        let alone = self.stations.len() == 1;
        for station in &mut self.stations {
            let name = station.instance.name();
            station.subject = if alone { subject.clone() } else { format!("{subject} {name}") };
        }
        self.observer = observer;
        self
    }

    /// A handle to watch and move the addresses of the first router; cheap to clone.
    ///
    /// # Panics
    ///
    /// When the service has no router at all.
    #[must_use]
    pub fn handle(&self) -> RouterHandle {
        self.handle.routers[0].clone()
    }

    /// A handle to all routers; cheap to clone.
    #[must_use]
    pub fn handles(&self) -> ServiceHandle {
        self.handle.clone()
    }

    /// Runs as a task on the current tokio runtime.
    #[must_use]
    pub fn spawn(self) -> Task<Result<Stats, ServiceError>> {
        Task::spawn(|mut stop: Stop| self.run(async move { stop.wait().await }))
    }

    /// Runs until `stop` is ready, then lets go of the addresses: priority 0 is sent, the
    /// addresses stay until the successor is heard (at most one and a half advert intervals) and
    /// are removed. Returns the sum of what all routers have counted.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Socket`] when no timer is to be had; the addresses were removed as far as
    /// that is possible. An interface that cannot be read is no error: its routers go into fault
    /// when its link is lost.
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
        let (sender, mut words) = mpsc::channel(COMMANDS);
        let trackers = std::mem::take(&mut self.trackers).into_iter();
        let mut tasks: Vec<Task<()>> = trackers.map(|tracker| follow(tracker, &sender)).collect();
        tasks.extend(
            std::mem::take(&mut self.detectors).into_iter().map(|d| follow_session(d, &sender)),
        );
        for (index, station) in self.stations.iter_mut().enumerate() {
            let state = station.state.subscribe();
            let listener = station.listener.take().into_iter();
            tasks.extend(listener.map(|listener| listen(listener, state.clone(), index, &sender)));
        }
        let mut out = Vec::new();
        let mut stopping = false;
        let mut stop = pin!(stop);
        for interface in self.proofs.silent() {
            self.tell_link(clock.now(), interface, &Input::LinkUnproven, &mut out);
        }
        self.host.handle(clock.now(), HostInput::All(Input::Start), &mut out);
        self.perform(clock.now(), &mut out);
        while !(stopping && self.is_done()) {
            let deadline = self.deadline();
            let woke = tokio::select! { biased;
                () = &mut stop, if !stopping => Woke::Stop,
                Some(command) = self.commands.recv() => Woke::Command(command),
                Some(word) = words.recv() => Woke::Word(word),
                event = self.news.next() => Woke::News(event),
                () = self.care.guardian_ended() => Woke::Unguarded,
                (index, settled) = settle_any(&mut self.stations) => Woke::Settled(index, settled),
                (index, packet) = receive_any(&mut self.ports) => Woke::Packet(index, packet),
                waited = self.alarm.until(deadline) => {
                    waited.map_err(|source| self.timer_error(source))?;
                    Woke::Alarm
                }
            };
            // What waits was sent before now: it is taken in before any timer that has run out.
            let now = clock.now();
            stopping |= matches!(woke, Woke::Stop);
            let woke = self.take_packet(now, woke, &mut out);
            self.drain(now, &mut out);
            self.take(now, woke, &mut out);
            self.look_for_proof(now, &mut out);
            self.renew_leases(now);
            self.host.tick(now, &mut out);
            self.perform(now, &mut out);
        }
        self.care.dismiss();
        Ok(self.host.routers().fold(Stats::default(), |sum, (_, router)| sum.plus(router.stats())))
    }

    fn deadline(&self) -> Option<Instant> {
        let own = [self.proofs.look_at(), self.care.renew_at];
        own.into_iter().flatten().chain(self.host.deadline()).min()
    }

    fn is_done(&self) -> bool {
        self.host.routers().all(|(_, router)| router.state() == StateName::Initialize)
            && self.stations.iter().all(|station| station.holder.is_settled())
    }

    fn take_packet(&mut self, now: Instant, woke: Woke, out: &mut Vec<HostOutput>) -> Option<Woke> {
        let Woke::Packet(index, packet) = woke else {
            return Some(woke);
        };
        match packet {
            Ok(Some(received)) => self.hear(now, index, received, out),
            Ok(None) => {}
            Err(error) => self.cannot_hear(index, &error),
        }
        None
    }

    fn take(&mut self, now: Instant, woke: Option<Woke>, out: &mut Vec<HostOutput>) {
        match woke {
            Some(Woke::Stop) => self.host.handle(now, HostInput::All(Input::Stop), out),
            Some(Woke::Command(Command::Input(id, input))) => {
                self.host.handle(now, HostInput::Router(id, input), out);
            }
            Some(Woke::Command(Command::Reload(config, reply))) => {
                let changed = self.reload(now, &config, out);
                // Nobody waits for the answer any more: it was given up.
                drop(reply.send(changed));
            }
            Some(Woke::Command(Command::Snapshot(reply))) => drop(reply.send(self.snapshot(now))),
            Some(Woke::Word(Word::Verdict(name, verdict))) => {
                self.host.handle(now, HostInput::Verdict(name, verdict), out);
            }
            Some(Woke::Word(Word::Lost(peer))) => {
                self.host.handle(now, HostInput::All(Input::PeerLost(peer)), out);
            }
            Some(Woke::Word(Word::Conflict(index, event))) => {
                self.tell_conflict(now, index, &event);
            }
            Some(Woke::News(event)) => self.take_news(now, &event, out),
            Some(Woke::Settled(index, settled)) => {
                let id = self.handle.routers.get(index).map(|handle| handle.id);
                let input = self.tell_settled(now, index, settled);
                if let (Some(id), Some(input)) = (id, input) {
                    self.host.handle(now, HostInput::Router(id, input), out);
                }
            }
            Some(Woke::Unguarded) => self.care.lose_guardian(),
            Some(Woke::Alarm | Woke::Packet(..)) | None => {}
        }
    }

    /// Takes in all packets that wait.
    fn drain(&mut self, now: Instant, out: &mut Vec<HostOutput>) {
        for index in 0..self.ports.len() {
            for _ in 0..BACKLOG {
                let received = self.ports.get_mut(index).map(Port::try_receive);
                match received {
                    Some(Ok(Some(received))) => self.hear(now, index, received, out),
                    Some(Ok(None)) => {}
                    Some(Err(_)) | None => break,
                }
            }
        }
    }

    fn hear(&mut self, now: Instant, port: usize, received: Received, out: &mut Vec<HostOutput>) {
        let Some(port) = self.ports.get(port) else {
            return;
        };
        let (link, heard) = (port.link(), port.heard(received));
        let vrid = heard.message.get(1).copied().and_then(Vrid::new);
        let id = vrid.and_then(|vrid| self.host.find(link, vrid));
        let station = id.and_then(|id| self.stations.get_mut(id.index()));
        if let (Some(id), Some(station)) = (id, station)
            && let Err(why) = authenticate(station, heard)
        {
            let input = Input::Refused(heard.source, why);
            self.host.handle(now, HostInput::Router(id, input), out);
            return;
        }
        self.host.receive(now, link, heard, out);
    }

    fn cannot_hear(&self, port: usize, error: &io::Error) {
        // ENETDOWN is told once when the interface goes down; the sockets live on.
        let interface = self.ports.get(port).map(Port::name).unwrap_or_default();
        tracing::warn!(%error, interface, "cannot hear");
    }

    fn take_news(&mut self, now: Instant, event: &NetEvent, out: &mut Vec<HostOutput>) {
        match event {
            NetEvent::Link { index, running, .. } => {
                let came_back = self.proofs.link(*index, *running, now);
                if came_back {
                    self.tell_link(now, *index, &Input::LinkUnproven, out);
                }
                // IPv6 addresses do not survive an interface that is set down.
                for station in self.stations_on(*index) {
                    station.holder.resync();
                }
            }
            NetEvent::AddressRemoved { index, address } => {
                for station in self.stations_on(*index) {
                    station.holder.address_removed(*address);
                }
            }
            NetEvent::Overrun => {
                for station in &mut self.stations {
                    station.holder.resync();
                }
            }
            NetEvent::LinkGone { .. } | NetEvent::AddressAdded { .. } | NetEvent::RoutesChanged => {
            }
        }
    }

    fn stations_on(&mut self, interface: u32) -> impl Iterator<Item = &mut Station> {
        self.stations.iter_mut().filter(move |station| station.link.interface == interface)
    }

    /// Looks whether silent links have spoken, if it is time to.
    fn look_for_proof(&mut self, now: Instant, out: &mut Vec<HostOutput>) {
        for interface in self.proofs.look(now) {
            self.tell_link(now, interface, &Input::LinkProven, out);
        }
    }

    fn tell_link(
        &mut self,
        now: Instant,
        interface: u32,
        input: &Input,
        out: &mut Vec<HostOutput>,
    ) {
        for handle in self.handle.routers.iter() {
            let station = self.stations.get(handle.id.index());
            if station.is_some_and(|station| station.link.interface == interface) {
                self.host.handle(now, HostInput::Router(handle.id, input.clone()), out);
            }
        }
    }

    fn perform(&mut self, now: Instant, out: &mut Vec<HostOutput>) {
        for (id, output) in out.drain(..) {
            let Some(station) = self.stations.get_mut(id.index()) else {
                continue;
            };
            match output {
                Output::Acquire => station.holder.acquire(),
                Output::Release => station.holder.release(),
                Output::Announce => station.holder.announce(),
                Output::Send(destination, message) => self.send(id, destination, message),
                Output::Event(event) => {
                    if let Some(router) = self.host.router(id) {
                        let state = router.state();
                        let modify = |known: &mut _| std::mem::replace(known, state) != state;
                        if station.state.send_if_modified(modify) {
                            self.care.note_change();
                        }
                    }
                    self.tell(now, id, &event);
                }
            }
        }
        self.write_will();
    }

    fn timer_error(&self, source: io::Error) -> ServiceError {
        let interface = self.ports.first().map(|port| port.name().to_owned()).unwrap_or_default();
        ServiceError::Socket { interface, source }
    }
}

/// Whether the packet's sender has proven itself, where that is asked for.
fn authenticate(station: &mut Station, heard: Heard<'_>) -> Result<(), Reject> {
    let Some(authenticator) = &mut station.authenticator else {
        return Ok(());
    };
    if is_extension(heard.message) {
        return authenticator.verify_extension(heard.message, heard.source, wall());
    }
    // What cannot be read is the router's to count.
    decode(heard.message, heard.source, heard.destination)
        .map_or(Ok(()), |advert| authenticator.verify(&advert, heard.source, wall()))
}

/// Since the start of 1970.
fn wall() -> Duration {
    let micros = u64::try_from(BootClock::new().wall().as_micros()).unwrap_or_default();
    Duration::from_micros(micros)
}

/// Waits until a packet has come in at one of the ports.
///
/// # Cancel safety
///
/// Cancel safe.
async fn receive_any(ports: &mut [Port]) -> (usize, io::Result<Option<Received>>) {
    poll_fn(|context| {
        for (index, port) in ports.iter_mut().enumerate() {
            if let Poll::Ready(received) = port.poll_receive(context) {
                return Poll::Ready((index, received));
            }
        }
        Poll::Pending
    })
    .await
}

/// Runs a tracker for as long as the task lives; each verdict goes to the driver.
fn follow(mut tracker: Box<dyn Tracker>, to: &mpsc::Sender<Word>) -> Task<()> {
    let to = to.clone();
    Task::spawn(|mut stop| async move {
        let told = async {
            loop {
                let (verdict, failed) = match tracker.changed().await {
                    Ok(verdict) => (verdict, false),
                    Err(error) => {
                        tracing::warn!(%error, tracker = tracker.name(), "tracker failed");
                        (Verdict::Unknown, true)
                    }
                };
                let sent = to.send(Word::Verdict(tracker.name().to_owned(), verdict)).await;
                if sent.is_err() || (failed && pause(TRACKER_PAUSE).await.is_err()) {
                    return;
                }
            }
        };
        tokio::select! { biased;
            () = stop.wait() => {}
            () = told => {}
        }
    })
}

/// Watches a BFD session for as long as the task lives, and tells when its peer is lost. A session
/// that a person took down at the other end says nothing of that host (RFC 5882, section 4.2).
fn follow_session(session: SessionHandle, to: &mpsc::Sender<Word>) -> Task<()> {
    let to = to.clone();
    Task::spawn(|mut stop| async move {
        let told = async {
            let mut known = session.state();
            while let Ok(state) = session.changed(known).await {
                let lost = known == State::Up && session.remote_state() != State::AdminDown;
                let peer = session.peer();
                if lost && to.send(Word::Lost(peer)).await.is_err() {
                    return;
                }
                known = state;
            }
        };
        tokio::select! { biased;
            () = stop.wait() => {}
            () = told => {}
        }
    })
}

/// Listens for conflicts for as long as the task lives, while the router holds its addresses.
fn listen(
    mut listener: ConflictListener,
    mut state: watch::Receiver<StateName>,
    station: usize,
    to: &mpsc::Sender<Word>,
) -> Task<()> {
    let to = to.clone();
    Task::spawn(move |mut stop| async move {
        loop {
            if state.borrow_and_update().holds() {
                listener.hold();
            } else {
                listener.release();
            }
            let event = tokio::select! { biased;
                () = stop.wait() => return,
                changed = state.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                event = listener.next() => event,
            };
            let sent = match event {
                Ok(event) => to.send(Word::Conflict(station, event)).await.is_ok(),
                Err(error) => {
                    tracing::warn!(%error, "cannot listen for conflicts");
                    pause(TRACKER_PAUSE).await.is_ok()
                }
            };
            if !sent {
                return;
            }
        }
    })
}
