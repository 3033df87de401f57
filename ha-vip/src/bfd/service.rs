//! The driver: many sessions on the network.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::Arc;

use ha_core::driver::{Alarm, Stop, Task};
use ha_core::event::{Event, EventKind, Observer};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::sync::{mpsc, oneshot, watch};

use super::config::SessionConfig;
use super::effects::{Input, Output, Packet, SessionEvent, Stats};
use super::handle::{Command, ServiceError, ServiceHandle, SessionHandle, Status};
use super::session::Session;
use super::socket::{Endpoints, Listener, Received, Sender};
use super::wire::{self, Discriminator, Reject, State};

/// Commands that wait for the driver; more are refused by making the caller wait.
const COMMANDS: usize = 16;
/// Packets that are read before timers are looked at. What a stall of some 10 ms leaves behind
/// fits in, and a flood of packets cannot keep the timers waiting.
const BATCH: usize = 256;

/// Sessions of BFD over single hops (RFC 5881), all in one task.
///
/// One socket a family hears for all sessions (UDP port 3784, so no other BFD daemon can run in
/// the same network namespace); each session sends from a port of its own. Needs no privilege.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use ha_vip::bfd::{Endpoints, Service, SessionConfig, wire::State};
///
/// let config = SessionConfig::builder()
///     .min_tx(Duration::from_millis(10))
///     .min_rx(Duration::from_millis(10))
///     .multiplier(3)
///     .build()?;
/// let mut service = Service::new()?;
/// let endpoints = Endpoints::new("192.0.2.1".parse()?, "192.0.2.2".parse()?).on("eth0");
/// let peer = service.add(endpoints, config)?;
/// let task = service.spawn();
/// if peer.changed(State::Down).await? == State::Init {
///     // … somebody is there
/// }
/// task.stop().await??; // says goodbye
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Service {
    listeners: [Option<Listener>; 2],
    members: BTreeMap<Discriminator, Member>,
    deadlines: BTreeSet<(Instant, Discriminator)>,
    alarm: Alarm,
    clock: BootClock,
    observer: Arc<dyn Observer>,
    commands: mpsc::Receiver<Command>,
    handle: ServiceHandle,
    running: bool,
    stats: ServiceStats,
    out: Vec<Output>,
}

/// A session and what belongs to it.
#[derive(Debug)]
struct Member {
    session: Session,
    endpoints: Endpoints,
    sender: Sender,
    status: watch::Sender<Status>,
    deadline: Option<Instant>,
}

/// What a service has counted, over all of its sessions, those that were removed included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServiceStats {
    /// What the sessions counted. Packets that belong to no session are among the rejected.
    pub sessions: Stats,
    /// Packets that the kernel did not send.
    pub unsent: u64,
}

impl Service {
    /// A service without sessions; must be called inside a tokio runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Socket`] when no more file descriptors are to be had.
    pub fn new() -> Result<Self, ServiceError> {
        let (sender, commands) = mpsc::channel(COMMANDS);
        Ok(Self {
            listeners: [None, None],
            members: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            alarm: Alarm::new()?,
            clock: BootClock::new(),
            observer: Arc::new(()),
            commands,
            handle: ServiceHandle::new(sender),
            running: false,
            stats: ServiceStats::default(),
            out: Vec::with_capacity(Session::MAX_OUTPUTS),
        })
    }

    /// Tells `observer` of each event; the subject is the peer, such as `192.0.2.2%eth0`.
    #[must_use]
    pub fn observed(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Adds a session; while the service runs, [`ServiceHandle::add`] does the same.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: endpoints that cannot be, a second session with the same ones, no such
    /// interface, or port 3784 taken by another program.
    pub fn add(
        &mut self,
        endpoints: Endpoints,
        config: SessionConfig,
    ) -> Result<SessionHandle, ServiceError> {
        endpoints.check()?;
        if self.members.values().any(|member| member.endpoints == endpoints) {
            return Err(ServiceError::Exists { endpoints: endpoints.to_string() });
        }
        let (discriminator, seed) = self.identity()?;
        let sender = open_sender(&endpoints)?;
        let listener = &mut self.listeners[usize::from(endpoints.local().is_ipv6())];
        if listener.is_none() {
            let opened = Listener::open(endpoints.local().is_ipv6());
            *listener = Some(opened.map_err(ServiceError::of_listener)?);
        }
        let session = Session::new(config, discriminator, seed);
        let (status, watched) = watch::channel(Status::of(&session));
        let handle =
            SessionHandle::new(discriminator, endpoints.clone(), watched, self.handle.clone());
        let member = Member { session, endpoints, sender, status, deadline: None };
        self.members.insert(discriminator, member);
        if self.running {
            self.input(self.clock.now(), discriminator, Input::Start);
        }
        Ok(handle)
    }

    /// Adds and removes sessions while the service runs; cheap to clone.
    #[must_use]
    pub fn handle(&self) -> ServiceHandle {
        self.handle.clone()
    }

    /// Runs as a task on the current tokio runtime.
    #[must_use]
    pub fn spawn(self) -> Task<Result<ServiceStats, ServiceError>> {
        Task::spawn(|mut stop: Stop| self.run(async move { stop.wait().await }))
    }

    /// Runs until `stop` is ready, then tells every peer that its session is taken down.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Socket`] when the sockets can no longer be read.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped, it falls silent, and every peer takes it for dead. Complete
    /// `stop` instead.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<ServiceStats, ServiceError> {
        let mut stop = std::pin::pin!(stop);
        self.running = true;
        self.input_all(&Input::Start);
        loop {
            // Packets before timers, always: whoever stood still must hear what was said to it
            // before it judges.
            let more = self.drain()?;
            self.tick();
            if more {
                tokio::task::yield_now().await;
            }
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let [v4, v6] = &self.listeners;
            tokio::select! { biased;
                () = &mut stop => break,
                command = self.commands.recv() => self.command(command),
                packet = hear(v4.as_ref()) => self.receive(packet?),
                packet = hear(v6.as_ref()) => self.receive(packet?),
                waited = self.alarm.until(deadline) => waited?,
            }
        }
        self.input_all(&Input::Stop);
        let discriminators: Vec<Discriminator> = self.members.keys().copied().collect();
        for discriminator in discriminators {
            self.forget(discriminator);
        }
        Ok(self.stats)
    }

    /// Reads what has arrived; whether there may be more.
    fn drain(&mut self) -> Result<bool, ServiceError> {
        let mut left = BATCH;
        for family in 0..self.listeners.len() {
            while left > 0
                && let Some(listener) = self.listeners.get(family).and_then(Option::as_ref)
                && let Some(received) = listener.next()?
            {
                left -= 1;
                self.receive(received);
            }
        }
        Ok(left == 0)
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        while let Some((_, discriminator)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            let discriminator = *discriminator;
            if let Some(member) = self.members.get_mut(&discriminator) {
                member.session.tick(now, &mut self.out);
            }
            self.perform(now, discriminator);
        }
    }

    fn receive(&mut self, received: Received) {
        match self.select(&received) {
            Ok(discriminator) => {
                let (hop_limit, message) = (received.hop_limit, received.message);
                let packet = Input::Packet(Packet { hop_limit, message });
                self.input(self.clock.now(), discriminator, packet);
            }
            Err(why) => {
                self.stats.sessions.count(why);
                tracing::debug!(from = %received.source, %why, "packet dropped");
            }
        }
    }

    /// The session of a packet: by our discriminator alone if it has one (RFC 5880, section 6.3),
    /// else by where it came from and over which interface (RFC 5881, section 3).
    fn select(&self, received: &Received) -> Result<Discriminator, Reject> {
        let packet = wire::decode(&received.message)?;
        let here = |member: &&Member| {
            let bound = member.sender.interface();
            bound.is_none_or(|index| received.interface == Some(index))
        };
        let found = match packet.your_discriminator {
            Some(yours) => self.members.get(&yours).filter(here),
            None => self.members.values().filter(here).find(|member| {
                let destination = received.destination.unwrap_or(member.endpoints.local());
                member.endpoints.peer() == received.source
                    && member.endpoints.local() == destination
            }),
        };
        found.map(|member| member.session.discriminator()).ok_or(Reject::NoSession)
    }

    fn command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Add { endpoints, config, reply }) => {
                let added = self.add(endpoints, config);
                self.reply(reply, added);
            }
            Some(Command::Input { session, input }) => {
                self.input(self.clock.now(), session, input);
            }
            Some(Command::Remove { session }) => {
                self.input(self.clock.now(), session, Input::Stop);
                self.forget(session);
            }
            // Never: this service holds a sender itself.
            None => {}
        }
    }

    /// Hands out a new session; one that nobody waits for any more is not kept.
    fn reply(
        &mut self,
        reply: oneshot::Sender<Result<SessionHandle, ServiceError>>,
        added: Result<SessionHandle, ServiceError>,
    ) {
        if let Err(Ok(handle)) = reply.send(added) {
            self.input(self.clock.now(), handle.discriminator(), Input::Stop);
            self.forget(handle.discriminator());
        }
    }

    fn forget(&mut self, discriminator: Discriminator) {
        if let Some(member) = self.members.remove(&discriminator) {
            self.deadlines.retain(|(_, other)| *other != discriminator);
            self.stats.sessions.add(member.session.stats());
        }
    }

    fn input_all(&mut self, input: &Input) {
        let discriminators: Vec<Discriminator> = self.members.keys().copied().collect();
        for discriminator in discriminators {
            self.input(self.clock.now(), discriminator, input.clone());
        }
    }

    fn input(&mut self, now: Instant, discriminator: Discriminator, input: Input) {
        if let Some(member) = self.members.get_mut(&discriminator) {
            member.session.handle(now, input, &mut self.out);
        }
        self.perform(now, discriminator);
    }

    fn perform(&mut self, now: Instant, discriminator: Discriminator) {
        let Some(member) = self.members.get_mut(&discriminator) else { return };
        for output in self.out.drain(..) {
            match output {
                Output::Send(message) => {
                    if let Err(error) = member.send(&message) {
                        // A lost packet is the protocol's to handle: the next one follows.
                        self.stats.unsent += 1;
                        tracing::debug!(peer = %member.endpoints, %error, "packet not sent");
                    }
                }
                Output::Event(event) => member.tell(now, &event, &*self.observer),
            }
        }
        let deadline = member.session.deadline();
        if deadline != member.deadline {
            if let Some(at) = std::mem::replace(&mut member.deadline, deadline) {
                self.deadlines.remove(&(at, discriminator));
            }
            self.deadlines.extend(deadline.map(|at| (at, discriminator)));
        }
        let status = Status::of(&member.session);
        member.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
    }

    /// A discriminator that no other session has, and a seed, both random (RFC 5880, section
    /// 6.8.1).
    fn identity(&self) -> Result<(Discriminator, u64), ServiceError> {
        loop {
            let number = Discriminator::new(u32::from_ne_bytes(random()?));
            let free = number.filter(|number| !self.members.contains_key(number));
            if let Some(discriminator) = free {
                return Ok((discriminator, u64::from_ne_bytes(random()?)));
            }
        }
    }
}

impl Member {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        use rustix::io::Errno;
        let gone = [Errno::NODEV, Errno::NXIO].map(Errno::raw_os_error);
        match self.sender.send(message) {
            Err(error) if error.raw_os_error().is_some_and(|code| gone.contains(&code)) => {
                // The interface was made anew, and with it its index.
                self.sender = Sender::open(&self.endpoints, u32::from_ne_bytes(random()?))?;
                self.sender.send(message)
            }
            sent => sent,
        }
    }

    fn tell(&self, now: Instant, event: &SessionEvent, observer: &dyn Observer) {
        let peer = self.endpoints.to_string();
        let (kind, reason) = match event {
            SessionEvent::StateChanged { from, to, diagnostic, remote_diagnostic } => {
                tracing::info!(peer, %from, %to, reason = %diagnostic, %remote_diagnostic, "state changed");
                let reason = match to {
                    State::AdminDown | State::Down => diagnostic.to_string(),
                    State::Init | State::Up => String::new(),
                };
                let (from, to) = (from.to_string(), to.to_string());
                (EventKind::StateChanged { from, to }, reason)
            }
            SessionEvent::Agreed { transmit, detection } => {
                let text = format!("sends every {transmit:?}, detects within {detection:?}");
                (EventKind::Note { text }, String::new())
            }
            // Counted in the statistics; an event each would let anybody on the link fill logs.
            SessionEvent::Rejected { why } => {
                tracing::debug!(peer, %why, "packet dropped");
                return;
            }
        };
        observer.observe(&Event::new(now, peer, kind).because(reason));
    }
}

async fn hear(listener: Option<&Listener>) -> io::Result<Received> {
    match listener {
        Some(listener) => listener.wait().await,
        None => std::future::pending().await,
    }
}

fn open_sender(endpoints: &Endpoints) -> Result<Sender, ServiceError> {
    Sender::open(endpoints, u32::from_ne_bytes(random()?))
        .map_err(|source| ServiceError::of_sender(endpoints, source))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}
