//! The driver: virtual routers on real interfaces.

mod builder;
mod care;
mod error;
mod ground;
mod handle;
mod opener;
mod proof;
mod reload;
mod reopen;
mod send;
mod station;
mod stations;
mod tell;
mod watch;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ha_core::driver::{Alarm, Stop, Task};
use ha_core::event::Observer;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use socket2::Socket;
use tokio::sync::mpsc;

pub use self::builder::ServiceBuilder;
pub use self::error::ServiceError;
pub use self::handle::{Changes, ReloadError, RouterHandle, ServiceHandle};

use self::builder::Naming;
use self::care::Care;
use self::handle::Command;
use self::opener::Opener;
use self::proof::Proofs;
use self::station::Station;
use self::stations::Stations;
use self::watch::{Word, follow_session};
use super::auth::Authenticator;
use super::config::{HostConfig, Instance, RouterConfig, Vrid};
use super::effects::{Heard, Input, Output, StateName};
use super::host::{Host, HostInput, HostOutput, RouterId};
use super::router::Stats;
use super::socket::{Port, Received};
use super::wire::extension::is_extension;
use super::wire::{Reject, decode};
use crate::bfd::SessionHandle;
use crate::holder::{Holder, Settled};
use crate::net::monitor::{Monitor, NetEvent, Subscription};

/// Commands and verdicts that wait for the driver; more are refused by making the caller wait.
const COMMANDS: usize = 64;

/// How many waiting packets are taken in before timers are looked at again: adverts of a thousand
/// routers, and an end to a flood.
const BACKLOG: usize = 4_096;

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
    stations: Stations,
    opener: Arc<Opener>,
    naming: Naming,
    /// By name; each ends when it is dropped.
    trackers: BTreeMap<String, Task<()>>,
    detectors: Vec<SessionHandle>,
    monitor: Monitor,
    news: Subscription,
    proofs: Proofs,
    /// When to look for lost interfaces.
    look_at: Option<Instant>,
    /// Some routers are no longer configured, and stop.
    gives_up: bool,
    care: Care,
    alarm: Alarm,
    observer: Arc<dyn Observer>,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::Sender<Command>,
    heard: mpsc::Receiver<Word>,
    words: mpsc::Sender<Word>,
    published: tokio::sync::watch::Sender<Arc<[RouterHandle]>>,
    unsent: u64,
    /// Interfaces that are being removed.
    farewells: Vec<Task<()>>,
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
    Settled(Vec<(RouterId, Settled)>),
    Packet(usize, io::Result<Option<Received>>),
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
        self.naming.subject = Some(subject.into());
        for station in self.stations.values_mut() {
            station.subject = self.naming.of(&station.instance);
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
        self.published.borrow()[0].clone()
    }

    /// A handle to all routers; cheap to clone.
    #[must_use]
    pub fn handles(&self) -> ServiceHandle {
        ServiceHandle {
            routers: self.published.subscribe(),
            commands: self.sender.clone(),
            opener: Arc::clone(&self.opener),
        }
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
        let detectors = std::mem::take(&mut self.detectors).into_iter();
        // They end when they are dropped.
        let _detecting: Vec<Task<()>> =
            detectors.map(|session| follow_session(session, &self.words)).collect();
        for station in self.stations.values_mut() {
            station.listen(&self.words);
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
                Some(word) = self.heard.recv() => Woke::Word(word),
                event = self.news.next() => Woke::News(event),
                () = self.care.guardian_ended() => Woke::Unguarded,
                settled = self.stations.settled() => Woke::Settled(settled),
                (index, packet) = receive_any(&mut self.ports) => Woke::Packet(index, packet),
                waited = self.alarm.until(deadline) => {
                    waited.map_err(|source| self.timer_error(source))?;
                    Woke::Alarm
                }
            };
            let now = clock.now();
            stopping |= matches!(woke, Woke::Stop);
            let woke = self.take_packet(now, woke, &mut out);
            // What waits was sent before now: it is taken in before any timer that has run out.
            if self.host.deadline().is_some_and(|at| at <= now) {
                self.drain(now, &mut out);
            }
            self.take(now, woke, &mut out);
            self.look_for_proof(now, &mut out);
            self.renew_leases(now);
            self.seek(now);
            self.host.tick(now, &mut out);
            self.perform(now, &mut out);
            self.clear_out();
        }
        self.remove_all_virtual().await;
        self.care.dismiss();
        Ok(self.host.routers().fold(Stats::default(), |sum, (_, router)| sum.plus(router.stats())))
    }

    fn deadline(&self) -> Option<Instant> {
        let own = [self.proofs.look_at(), self.care.renew_at, self.look_at];
        own.into_iter().flatten().chain(self.host.deadline()).min()
    }

    fn is_done(&self) -> bool {
        self.host.routers().all(|(_, router)| router.state() == StateName::Initialize)
            && self.stations.values().all(|station| station.holder.is_settled())
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
            Some(Woke::Command(command)) => self.take_command(now, command, out),
            Some(Woke::Word(word)) => self.take_word(now, word, out),
            Some(Woke::News(event)) => self.take_news(now, &event, out),
            Some(Woke::Settled(settled)) => {
                for (id, settled) in settled {
                    if let Some(input) = self.tell_settled(now, id, settled) {
                        self.host.handle(now, HostInput::Router(id, input), out);
                    }
                }
            }
            Some(Woke::Unguarded) => self.care.lose_guardian(),
            Some(Woke::Alarm | Woke::Packet(..)) | None => {}
        }
    }

    fn take_command(&mut self, now: Instant, command: Command, out: &mut Vec<HostOutput>) {
        // Nobody may wait for an answer any more: it was given up.
        match command {
            Command::Input(id, input) => {
                self.host.handle(now, HostInput::Router(id, input), out);
            }
            Command::Plan(config, reply) => drop(reply.send(self.plan(&config))),
            Command::Reload(reload, reply) => drop(reply.send(self.reload(now, *reload, out))),
            Command::Snapshot(reply) => drop(reply.send(self.snapshot(now))),
        }
    }

    fn take_word(&mut self, now: Instant, word: Word, out: &mut Vec<HostOutput>) {
        match word {
            Word::Verdict(name, verdict) => {
                self.host.handle(now, HostInput::Verdict(name, verdict), out);
            }
            Word::Lost(peer) => {
                self.host.handle(now, HostInput::All(Input::PeerLost(peer)), out);
            }
            Word::Conflict(id, event) => self.tell_conflict(now, id, &event),
            Word::Opened(id, opened) => self.move_to(now, id, opened, out),
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
        if let Some(id) = id
            && let Some(authenticator) = self.stations.authenticator(id)
            && let Err(why) = authenticate(authenticator, heard)
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
            NetEvent::Link { index, running, name, .. } => {
                let came_back = self.proofs.link(*index, *running, now);
                if came_back {
                    self.tell_link(now, *index, &Input::LinkUnproven, out);
                }
                // IPv6 addresses do not survive an interface that is set down.
                let stations = self.stations.values_mut();
                for station in stations.filter(|station| station.ground.is_on(*index)) {
                    station.holder.resync();
                }
                self.find_link(now, *index, name);
            }
            NetEvent::LinkGone { index, .. } => self.lose_link(now, *index),
            NetEvent::AddressAdded { .. } => self.look_soon(now),
            NetEvent::AddressRemoved { index, address } => {
                let stations = self.stations.values_mut();
                for station in stations.filter(|station| station.ground.is_on(*index)) {
                    station.holder.address_removed(*address);
                }
            }
            NetEvent::Overrun => {
                for station in self.stations.values_mut() {
                    station.holder.resync();
                }
                self.look_soon(now);
            }
            NetEvent::RoutesChanged => {}
        }
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
        let on = |(id, station): (RouterId, &Station)| station.is_on(interface).then_some(id);
        for id in self.stations.iter().filter_map(on).collect::<Vec<_>>() {
            self.host.handle(now, HostInput::Router(id, input.clone()), out);
        }
    }

    fn perform(&mut self, now: Instant, out: &mut Vec<HostOutput>) {
        for (id, output) in out.drain(..) {
            match output {
                Output::Acquire => self.hold(id, Holder::acquire),
                Output::Release => self.hold(id, Holder::release),
                Output::Announce => self.hold(id, Holder::announce),
                Output::Send(destination, message) => self.send(id, destination, message),
                Output::Event(event) => {
                    self.note_state(id);
                    self.tell(now, id, &event);
                }
            }
        }
        self.write_will();
    }

    fn hold(&mut self, id: RouterId, change: impl FnOnce(&mut Holder)) {
        if let Some(station) = self.stations.get_mut(id) {
            change(&mut station.holder);
        }
    }

    /// Shows the state that a router has now to those who watch it.
    fn note_state(&mut self, id: RouterId) {
        if let (Some(router), Some(station)) = (self.host.router(id), self.stations.get(id)) {
            let state = router.state();
            let modify = |known: &mut _| std::mem::replace(known, state) != state;
            if station.state.send_if_modified(modify) {
                self.care.note_change();
            }
        }
    }

    fn timer_error(&self, source: io::Error) -> ServiceError {
        let interface = self.ports.first().map(|port| port.name().to_owned()).unwrap_or_default();
        ServiceError::Socket { interface, source }
    }
}

/// Whether the packet's sender has proven itself.
fn authenticate(authenticator: &mut Authenticator, heard: Heard<'_>) -> Result<(), Reject> {
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
