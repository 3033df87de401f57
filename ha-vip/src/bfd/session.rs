//! One session as a machine without I/O.

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::auth::Sequence;
use super::config::{Intervals, Role, SessionConfig};
use super::effects::{Input, Output, Packet, SessionEvent, Stats};
use super::jitter::Jitter;
use super::wire::{self, ControlPacket, Diagnostic, Discriminator, Poll, Reject, State};

/// Whether the session has begun, and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Ended,
}

/// Where this end is in a poll sequence of its own (RFC 5880, section 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polling {
    No,
    /// Every periodic packet polls, until the answer comes.
    Asking,
    /// Answered, but late answers may follow: no other sequence before a packet without F.
    Answered,
}

/// What the other end said last; what it is taken to say before that (section 6.8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remote {
    discriminator: Option<Discriminator>,
    state: State,
    diagnostic: Diagnostic,
    demand: bool,
    min_rx_us: u32,
    desired_min_tx_us: u32,
    detect_mult: u8,
}

impl Remote {
    const UNKNOWN: Self = Self {
        discriminator: None,
        state: State::Down,
        diagnostic: Diagnostic::NONE,
        demand: false,
        min_rx_us: 1,
        desired_min_tx_us: 0,
        detect_mult: 0,
    };
}

/// One end of a session of BFD in asynchronous mode (RFC 5880).
///
/// ```text
///                              +--+
///                              |  | UP, ADMIN DOWN, TIMER
///                              |  V
///                      DOWN  +------+  INIT
///               +------------|      |------------+
///               |            | DOWN |            |
///               |  +-------->|      |<--------+  |
///               |  |         +------+         |  |
///               |  |                          |  |
///               |  |               ADMIN DOWN,|  |
///               |  |ADMIN DOWN,          DOWN,|  |
///               |  |TIMER                TIMER|  |
///               V  |                          |  V
///             +------+                      +------+
///        +----|      |                      |      |----+
///    DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
///        +--->|      | INIT, UP             |      |<---+
///             +------+                      +------+
/// ```
///
/// The words on the arrows are the states that the other end reports; *TIMER* is its silence for
/// the detection time. From every state, [`Input::Disable`] leads to `AdminDown`, which
/// [`Input::Enable`] leaves for Down.
///
/// # Standing still
///
/// Whoever stood still for longer than the detection time (a stopped process, a paused virtual
/// machine) cannot tell a dead peer from its own deafness. So a packet in hand counts before a
/// timer that ran out meanwhile: a driver reads what has queued up before it calls
/// [`tick`](Machine::tick). And a tick that comes late by more than one of the peer's intervals
/// does not end the session: the peer gets two intervals more, once, to be heard. A peer that has
/// given up on us meanwhile says so in its next packet, and that takes the session down at once.
///
/// The price: for as long as it takes to read what has queued up, and one detection time more, a
/// session can be up on what was true before.
///
/// # Not offered
///
/// The echo function (`Required Min Echo RX Interval` is 0, so no peer will use it) and demand
/// mode of this end; the demand of a peer is obeyed.
#[derive(Debug, Clone)]
pub struct Session {
    config: SessionConfig,
    discriminator: Discriminator,
    jitter: Jitter,
    sequence: Sequence,
    phase: Phase,
    now: Instant,
    state: State,
    diagnostic: Diagnostic,
    remote: Remote,
    /// What the operator wants while the session is up.
    wanted: Intervals,
    /// What packets say, and what is done: they differ while a poll is not answered (§6.8.3).
    said: Intervals,
    used: Intervals,
    polling: Polling,
    /// A poll to answer, and a change of state to tell.
    answer: bool,
    announce: bool,
    /// What the last packet said, apart from P and F.
    last: Option<ControlPacket>,
    sent_at: Option<Instant>,
    /// The next periodic packet, and the interval that it follows from.
    periodic: Option<(Instant, Duration)>,
    heard_at: Instant,
    detect_at: Option<Instant>,
    /// The peer had its second chance after this end stood still.
    spared: bool,
    /// From then on, any sequence number is right.
    resync_at: Option<Instant>,
    agreed: Option<(Duration, Duration)>,
    stats: Stats,
}

impl Session {
    /// A session that waits for [`Input::Start`].
    ///
    /// `discriminator` is its number, unique among the sessions of this system; both it and `seed`
    /// should be random, so that nobody can guess them and ends do not move in step.
    #[must_use]
    pub fn new(config: SessionConfig, discriminator: Discriminator, seed: u64) -> Self {
        let mut jitter = Jitter::new(seed);
        let wanted = config.intervals;
        let mut session = Self {
            sequence: Sequence::new(jitter.next_u32()),
            config,
            discriminator,
            jitter,
            phase: Phase::Waiting,
            now: Instant::ZERO,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            remote: Remote::UNKNOWN,
            wanted,
            said: wanted,
            used: wanted,
            polling: Polling::No,
            answer: false,
            announce: false,
            last: None,
            sent_at: None,
            periodic: None,
            heard_at: Instant::ZERO,
            detect_at: None,
            spared: false,
            resync_at: None,
            agreed: None,
            stats: Stats::default(),
        };
        session.said = session.suitable();
        session.used = session.said;
        session
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Why the session went down last.
    #[must_use]
    pub const fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// This end's number of the session.
    #[must_use]
    pub const fn discriminator(&self) -> Discriminator {
        self.discriminator
    }

    /// The other end's number of the session, while it is heard.
    #[must_use]
    pub const fn remote_discriminator(&self) -> Option<Discriminator> {
        self.remote.discriminator
    }

    /// The state that the other end reported last.
    #[must_use]
    pub const fn remote_state(&self) -> State {
        self.remote.state
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The interval of packets before jitter: the slower of what this end would like and the other
    /// one can take (RFC 5880, section 6.8.7).
    #[must_use]
    pub fn transmit_interval(&self) -> Duration {
        micros(self.used.min_tx_us.max(self.remote.min_rx_us))
    }

    /// After which silence of the other end the session is down (RFC 5880, section 6.8.4); zero
    /// while the other end is not known.
    #[must_use]
    pub fn detection_time(&self) -> Duration {
        self.remote_interval() * u32::from(self.remote.detect_mult)
    }

    fn remote_interval(&self) -> Duration {
        micros(self.used.min_rx_us.max(self.remote.desired_min_tx_us))
    }

    fn start(&mut self) {
        if self.phase != Phase::Running {
            self.phase = Phase::Running;
            self.state = State::Down;
            self.remote = Remote::UNKNOWN;
            self.announce = true;
            self.polling = Polling::No;
            self.said = self.suitable();
            self.used = self.said;
        }
    }

    fn stop(&mut self, out: &mut Vec<Output>) {
        if self.phase == Phase::Running {
            // RFC 5880 §6.8.16. The silence that follows tells the same to a peer that does not
            // get this packet; another one may not follow within a second.
            self.disable(out);
            self.speak(out);
        }
        self.phase = Phase::Ended;
        (self.periodic, self.detect_at) = (None, None);
    }

    fn disable(&mut self, out: &mut Vec<Output>) {
        self.enter(State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN, out);
    }

    fn enable(&mut self, out: &mut Vec<Output>) {
        if self.state == State::AdminDown && self.phase == Phase::Running {
            self.enter(State::Down, self.diagnostic, out);
        }
    }

    /// Takes a packet in, in the order of RFC 5880, section 6.8.6.
    fn packet(&mut self, packet: &Packet, out: &mut Vec<Output>) {
        match self.admit(packet) {
            Ok(control) => {
                self.stats.received += 1;
                self.learn(&control);
                if self.state != State::AdminDown {
                    self.react(&control, out);
                    self.answer |= control.poll == Poll::Poll;
                }
                self.heard_at = self.now;
                self.spared = false;
                self.watch();
            }
            Err(why) => {
                self.stats.count(why);
                out.push(Output::Event(SessionEvent::Rejected { why }));
            }
        }
    }

    fn admit(&mut self, packet: &Packet) -> Result<ControlPacket, Reject> {
        // RFC 5881 §5: a packet that came over a router is not from a neighbour.
        if packet.hop_limit != u8::MAX {
            return Err(Reject::HopLimit);
        }
        let control = wire::decode(&packet.message)?;
        if control.your_discriminator.is_some_and(|yours| yours != self.discriminator) {
            return Err(Reject::NoSession);
        }
        if self.resync_at.is_some_and(|at| at <= self.now) {
            // RFC 5880 §6.8.1, bfd.AuthSeqKnown: after twice the detection time.
            self.sequence.forget();
        }
        self.sequence.verify(self.config.auth.as_ref(), &control, &packet.message)?;
        Ok(control)
    }

    fn learn(&mut self, control: &ControlPacket) {
        self.remote = Remote {
            discriminator: Some(control.my_discriminator),
            state: control.state,
            diagnostic: control.diagnostic,
            demand: control.demand,
            min_rx_us: control.required_min_rx_us,
            desired_min_tx_us: control.desired_min_tx_us,
            detect_mult: control.detect_mult.get(),
        };
        match (self.polling, control.poll == Poll::Final) {
            (Polling::Asking, true) => {
                // RFC 5880 §6.8.3: now that the peer knows, slower packets and a shorter
                // detection time are safe.
                self.polling = Polling::Answered;
                self.used = self.said;
            }
            (Polling::Answered, false) => {
                self.polling = Polling::No;
                self.adjust();
            }
            (Polling::Asking, false) | (Polling::Answered, true) | (Polling::No, _) => {}
        }
    }

    /// The state machine (RFC 5880, section 6.8.6).
    fn react(&mut self, control: &ControlPacket, out: &mut Vec<Output>) {
        let none = Diagnostic::NONE;
        match (self.state, control.state) {
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.enter(State::Down, Diagnostic::NEIGHBOR_DOWN, out);
            }
            (State::Down, State::Down) => self.enter(State::Init, none, out),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(State::Up, none, out);
            }
            (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up)
            | (State::AdminDown, _) => {}
        }
    }

    fn enter(&mut self, to: State, diagnostic: Diagnostic, out: &mut Vec<Output>) {
        let from = std::mem::replace(&mut self.state, to);
        if from == to {
            return;
        }
        if matches!(to, State::Down | State::AdminDown) {
            self.diagnostic = diagnostic;
        }
        self.stats.came_up += u64::from(to == State::Up);
        self.announce = true;
        let remote_diagnostic = self.remote.diagnostic;
        let event = SessionEvent::StateChanged { from, to, diagnostic, remote_diagnostic };
        out.push(Output::Event(event));
        // RFC 5880 §6.8.3: at least a second between packets while the session is not up. With a
        // change of state nothing waits for a poll, so one under way does not matter.
        self.polling = Polling::No;
        self.adjust();
    }

    /// What packets should say in this state.
    fn suitable(&self) -> Intervals {
        match self.state {
            State::Up => self.wanted,
            State::AdminDown | State::Down | State::Init => {
                let min_tx_us = self.wanted.min_tx_us.max(self.config.idle_tx_us);
                Intervals { min_tx_us, ..self.wanted }
            }
        }
    }

    /// Changes what packets say, with a poll sequence, unless one is under way (RFC 5880,
    /// section 6.8.3: two changes at once would share one answer).
    fn adjust(&mut self) {
        let up = self.state == State::Up;
        let suitable = self.suitable();
        if up && self.polling != Polling::No {
            return;
        }
        if suitable != self.said {
            self.said = suitable;
            self.polling = Polling::Asking;
        }
        self.used = suitable.while_unknown(up.then_some(self.used));
        if self.detect_at.is_some() {
            self.watch();
        }
    }

    /// Sets the detection timer from what was heard last.
    fn watch(&mut self) {
        let detection = self.detection_time();
        let next = self.now + Duration::from_nanos(1);
        self.detect_at = Some((self.heard_at + detection).max(next));
        self.resync_at = Some(self.heard_at + 2 * detection);
    }

    /// The detection time is over (RFC 5880, section 6.8.4).
    fn expire(&mut self, out: &mut Vec<Output>) {
        let Some(detect_at) = self.detect_at.filter(|at| *at <= self.now) else {
            return;
        };
        let interval = self.remote_interval();
        let live = matches!(self.state, State::Init | State::Up);
        if live && !self.spared && self.now.since(detect_at) > interval {
            self.spared = true;
            self.stats.oversleeps += 1;
            self.detect_at = Some(self.now + 2 * interval);
            return;
        }
        self.detect_at = None;
        if live {
            self.enter(State::Down, Diagnostic::DETECTION_TIME_EXPIRED, out);
        }
        // §6.8.1 and §6.8.18: the peer, and what it asked for, are forgotten.
        self.remote = Remote::UNKNOWN;
    }

    /// Sends what is due, and tells which times are agreed on.
    fn speak(&mut self, out: &mut Vec<Output>) {
        let (answer, announce) =
            (std::mem::take(&mut self.answer), std::mem::take(&mut self.announce));
        let silent = self.remote.discriminator.is_none() && self.config.role == Role::Passive;
        if silent || self.phase != Phase::Running {
            (self.periodic, self.agreed) = (None, None);
            return;
        }
        let news = self.last.as_ref() != Some(&self.content());
        if news && self.remote_demands() && self.polling == Polling::No {
            // RFC 5880 §6.6: without periodic packets only a poll makes sure that it is known.
            self.polling = Polling::Asking;
        }
        if answer {
            self.send(Poll::Final, out);
        }
        self.schedule();
        let due = self.periodic.is_some_and(|(at, _)| at <= self.now);
        // An answer tells the new state as well.
        if due || (announce && !answer) {
            let asking = self.polling == Polling::Asking;
            self.send(if asking { Poll::Poll } else { Poll::Neither }, out);
            self.sent_at = Some(self.now);
            self.periodic = None;
            self.schedule();
        }
        self.tell_agreed(out);
    }

    fn tell_agreed(&mut self, out: &mut Vec<Output>) {
        let transmit = self.periodic.map_or(Duration::ZERO, |(_, interval)| interval);
        let agreed = (self.state == State::Up).then(|| (transmit, self.detection_time()));
        if agreed != self.agreed {
            self.agreed = agreed;
            if let Some((transmit, detection)) = agreed {
                out.push(Output::Event(SessionEvent::Agreed { transmit, detection }));
            }
        }
    }

    /// Plans the next periodic packet; anew if the interval has changed, from the last one on.
    fn schedule(&mut self) {
        if !self.transmits() {
            self.periodic = None;
            return;
        }
        let interval = self.transmit_interval();
        if self.periodic.is_none_or(|(_, planned)| planned != interval) {
            let jittered = self.jitter.apply(interval, self.config.multiplier.get());
            let at = self.sent_at.map_or(self.now, |sent| sent + jittered);
            self.periodic = Some((at, interval));
        }
    }

    /// Whether packets are sent periodically (RFC 5880, section 6.8.7).
    fn transmits(&self) -> bool {
        self.remote.min_rx_us != 0 && (!self.remote_demands() || self.polling == Polling::Asking)
    }

    /// Whether demand mode is active on the other end (RFC 5880, section 6.6).
    fn remote_demands(&self) -> bool {
        self.remote.demand && self.state == State::Up && self.remote.state == State::Up
    }

    fn send(&mut self, poll: Poll, out: &mut Vec<Output>) {
        let content = self.content();
        let packet = ControlPacket { poll, ..content.clone() };
        self.last = Some(content);
        let message = match &self.config.auth {
            Some(auth) => self.sequence.sign(auth, packet),
            None => wire::encode(&packet),
        };
        self.stats.sent += 1;
        out.push(Output::Send(message));
    }

    /// What a packet says now, apart from P and F.
    const fn content(&self) -> ControlPacket {
        ControlPacket {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: Poll::Neither,
            // It shares the fate of the program that it is part of.
            control_plane_independent: false,
            demand: false,
            detect_mult: self.config.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx_us: self.said.min_tx_us,
            required_min_rx_us: self.said.min_rx_us,
            required_min_echo_rx_us: 0,
            authentication: None,
        }
    }
}

const fn micros(us: u32) -> Duration {
    Duration::from_micros(us as u64)
}

impl Machine for Session {
    type Input = Input;
    type Output = Output;
    /// Two changes of state, a rejected packet, the agreed times, an answer and a packet.
    const MAX_OUTPUTS: usize = 6;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.now = now.max(self.now);
        match input {
            // Evidence first: it has waited here while the timer ran out.
            Input::Packet(packet) if self.phase == Phase::Running => self.packet(&packet, out),
            Input::Start => self.start(),
            Input::Stop => self.stop(out),
            Input::Disable if self.phase == Phase::Running => self.disable(out),
            Input::Packet(_) | Input::Disable => {}
            Input::Enable => self.enable(out),
            Input::Intervals(wanted) => {
                self.wanted = wanted;
                self.adjust();
            }
        }
        self.expire(out);
        self.speak(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = now.max(self.now);
        self.expire(out);
        self.speak(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let periodic = self.periodic.map(|(at, _)| at);
        periodic.into_iter().chain(self.detect_at).min()
    }
}

#[cfg(test)]
mod tests;
