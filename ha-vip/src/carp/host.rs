//! The CARP host: the protocol as a machine without I/O.

use std::net::Ipv4Addr;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::config::HostConfig;
use super::effects::{HostEvent, Input, Output, Packet, Reason, StateName, Stats};
use super::replay::{Counters, Freshness};
use super::wire::{self, Advert, Reject, decode, encode};

/// When a new master announces itself after the first time: soon, in case frames were lost, and
/// again when switches and hosts have settled.
const ANNOUNCE_AFTER: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

/// How long a leaving host serves on at most after the successor's first advert.
const MAX_LINGER: Duration = Duration::from_millis(10);

/// How long a host that could not hold the addresses leaves them to others.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// After a goodbye the preferred backup goes first: a step for each `advskew` is longer than its
/// advert takes to the others, and the last one still comes 52 ms after the goodbye.
const SUCCESSION_STEP: Duration = Duration::from_micros(200);
const FIRST_SUCCESSION: Duration = Duration::from_millis(1);

/// The largest `advskew` of a host that serves; 255 is a goodbye's.
const MAX_SKEW: u8 = 254;

/// The state with its own timers, so that a stale timer cannot exist.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Init,
    Backup {
        dead_at: Instant,
        /// Why silence would make this host master: the last one stopped, or died.
        expected: Reason,
        /// It has overslept and listens for a moment before it believes in silence.
        doubts: bool,
    },
    Master {
        advert_at: Instant,
        announce_at: Instant,
        /// How many of [`ANNOUNCE_AFTER`] are done.
        announced: usize,
        since: Instant,
        /// No answer to a rival before this: a flood of adverts must not make us flood.
        assert_after: Instant,
        /// Announce once more: a rival was heard, and an announcement of its may still follow.
        settle_at: Option<Instant>,
        /// The rival that was told of; it is told of again after another one.
        rival: Option<Ipv4Addr>,
    },
    /// The goodbye is said, the addresses are still served: make before break.
    Leaving {
        until: Instant,
        next: After,
        successor_heard: bool,
    },
    Fault {
        retry_at: Instant,
    },
}

/// What follows [`State::Leaving`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Backup,
    Init,
}

/// One host of a CARP group, as ucarp is one.
///
/// ```text
///            Start               silent for deadratio intervals, a goodbye, or preemption
///   Init ───────────▶ Backup ──────────────────────────────────────────────▶ Master
///    ▲                ▲ ▲ ▲      a preferred host, alive beyond doubt          │ │ │
///    │                │ │ └──── Leaving ◀──────────────────────────────────────┘ │ │
///    │          Retry │ │          ▲ HandOver, Stop: the goodbye is sent         │ │
///    │              Fault          └─────────────────────────────────────────────┘ │
///    │                ▲                       AcquireFailed                        │
///    └─ Leaving       └────────────────────────────────────────────────────────────┘
/// ```
///
/// The comparison is ucarp's: the shorter interval is preferred, of two equal ones the lower
/// source address. A preferred advert makes a master yield, with a last advert that tells the
/// winner that it was not alone; a worse one makes it announce again.
///
/// ```
/// use ha_core::{machine::Machine, time::Instant};
/// use ha_vip::carp::{Host, HostConfig, Input, Output};
///
/// let address: ha_vip::VirtualAddress = "192.0.2.10/24".parse()?;
/// let config = HostConfig::builder(42).address(address).password("love").build()?;
/// let mut host = Host::new(config, "192.0.2.1".parse()?, 1);
///
/// let mut out = Vec::new();
/// host.handle(Instant::ZERO, Input::Start, &mut out);
/// let silent_until = host.deadline().expect("a backup waits for the master");
/// assert_eq!(silent_until, Instant::from_secs(3));
/// host.tick(silent_until, &mut out); // nobody was heard
/// assert!(out.contains(&Output::Acquire) && out.contains(&Output::Announce));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Host {
    config: HostConfig,
    /// The primary address of the interface; adverts come from it.
    source: Ipv4Addr,
    state: State,
    now: Instant,
    counters: Counters,
    demotion: u8,
    /// Stays back however preferred it is, after a hand-over.
    standing_back: bool,
    stats: Stats,
}

impl Host {
    /// A host that sends from `source`, the primary address of its interface (ucarp's `--srcip`).
    /// It waits for [`Input::Start`].
    ///
    /// `seed` makes its counters unforeseeable, together with the password: it must differ from
    /// one life to the next.
    #[must_use]
    pub fn new(config: HostConfig, source: Ipv4Addr, seed: u64) -> Self {
        Self {
            config,
            source,
            state: State::Init,
            now: Instant::ZERO,
            counters: Counters::new(seed),
            demotion: 0,
            standing_back: false,
            stats: Stats::default(),
        }
    }

    /// The state's name.
    #[must_use]
    pub const fn state(&self) -> StateName {
        match self.state {
            State::Init => StateName::Init,
            State::Backup { .. } => StateName::Backup,
            State::Master { .. } => StateName::Master,
            State::Leaving { .. } => StateName::Leaving,
            State::Fault { .. } => StateName::Fault,
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &HostConfig {
        &self.config
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// `advskew` with the demotion.
    #[must_use]
    pub fn advskew(&self) -> u8 {
        self.config.advskew.saturating_add(self.demotion).min(MAX_SKEW)
    }

    fn interval(&self) -> Duration {
        wire::interval(self.config.advbase, self.advskew())
    }

    fn dead_interval(&self) -> Duration {
        self.interval() * u32::from(self.config.deadratio)
    }

    /// Whether the sender of `advert` is preferred to this host as master.
    fn prefers(&self, from: Ipv4Addr, advert: &Advert) -> bool {
        let ours = (self.config.advbase, self.advskew(), self.source);
        (advert.advbase, advert.advskew, from) < ours
    }

    fn packet(&mut self, packet: &Packet, out: &mut Vec<Output>) {
        match self.admit(packet) {
            Ok((advert, freshness)) => {
                self.stats.received += 1;
                self.advert(packet.source, &advert, freshness, out);
            }
            Err(why) => {
                for (reason, count) in Reject::ALL.iter().zip(&mut self.stats.rejected) {
                    *count += u64::from(*reason == why);
                }
                out.push(Output::Event(HostEvent::Rejected { from: packet.source, why }));
                if why == Reject::Replay {
                    // Two hosts that succeed one master at once begin with the same counter:
                    // whoever is there must hear of the other soon.
                    self.ask(out);
                }
            }
        }
    }

    fn admit(&mut self, packet: &Packet) -> Result<(Advert, Freshness), Reject> {
        if packet.hop_limit != 255 {
            return Err(Reject::HopLimit);
        }
        if packet.source == self.source {
            return Err(Reject::OwnReflection);
        }
        let advert = decode(&packet.message, self.config.vhid, &self.config.authenticator)?;
        match self.counters.judge(advert.counter) {
            Freshness::Copy => Err(Reject::Replay),
            Freshness::Stale => {
                self.counters.pass_over(advert.counter);
                Err(Reject::Stale)
            }
            fresh @ (Freshness::Proven | Freshness::Follows | Freshness::Unknown) => {
                Ok((advert, fresh))
            }
        }
    }

    fn advert(
        &mut self,
        from: Ipv4Addr,
        advert: &Advert,
        freshness: Freshness,
        out: &mut Vec<Output>,
    ) {
        let proven = freshness == Freshness::Proven || !self.config.require_proof;
        match self.state {
            State::Backup { dead_at, .. } => {
                self.counters.accept(advert.counter);
                self.advert_in_backup(from, advert, dead_at, out);
            }
            State::Master { .. } => {
                self.counters.remember(advert.counter);
                self.advert_in_master(from, advert, proven, out);
            }
            State::Leaving { next, successor_heard: false, .. }
                if proven && !advert.is_goodbye() =>
            {
                self.counters.end();
                self.counters.accept(advert.counter);
                let until = self.now + self.linger();
                self.state = State::Leaving { until, next, successor_heard: true };
            }
            State::Init | State::Fault { .. } | State::Leaving { .. } => {}
        }
    }

    fn advert_in_backup(
        &mut self,
        from: Ipv4Addr,
        advert: &Advert,
        dead_at: Instant,
        out: &mut Vec<Output>,
    ) {
        if advert.is_goodbye() || advert.interval() > self.dead_interval() {
            // The master will be silent for longer than it may: do not wait for that (ucarp:
            // "going to time out"). The preferred backup goes first.
            let step = SUCCESSION_STEP * u32::from(self.advskew());
            let dead_at = dead_at.min(self.now + FIRST_SUCCESSION + step);
            self.state = State::Backup { dead_at, expected: Reason::MasterStopped, doubts: true };
        } else if self.config.preempt && !self.standing_back && !self.prefers(from, advert) {
            self.become_master(Reason::Preempted, out);
        } else {
            self.listen();
        }
    }

    fn advert_in_master(
        &mut self,
        from: Ipv4Addr,
        advert: &Advert,
        proven: bool,
        out: &mut Vec<Output>,
    ) {
        if advert.is_goodbye() {
            // It was master, too: clients may know its link-layer address.
            self.assert(advert, out);
        } else if !self.prefers(from, advert) {
            let interval = advert.interval();
            self.tell_rival(from, HostEvent::Rival { from, interval }, out);
            self.assert(advert, out);
        } else if proven {
            let interval = advert.interval();
            self.tell_rival(from, HostEvent::Rival { from, interval }, out);
            self.yield_to(advert, out);
        } else {
            // It may be a copy of an advert that was recorded before our memory begins.
            self.tell_rival(from, HostEvent::Unproven { from }, out);
            self.ask(out);
        }
    }

    /// The last word tells the winner that it was not alone, so that it announces the addresses
    /// again; they stay here for a moment, as one that preempts may not have them yet.
    fn yield_to(&mut self, advert: &Advert, out: &mut Vec<Output>) {
        self.send_question(out);
        self.counters.end();
        self.counters.accept(advert.counter);
        let until = self.now + self.linger();
        let next = State::Leaving { until, next: After::Backup, successor_heard: true };
        self.change(next, Reason::Preferred, out);
    }

    /// Tells of another master once, not with each of its adverts.
    fn tell_rival(&mut self, from: Ipv4Addr, event: HostEvent, out: &mut Vec<Output>) {
        if let State::Master { rival, .. } = &mut self.state
            && rival.replace(from) != Some(from)
        {
            out.push(Output::Event(event));
        }
    }

    /// Proves to a worse host that this one is there and announces the addresses, at most twice an
    /// interval; and announces them once more a little later, since a client may hear the rival's
    /// announcement after this one.
    fn assert(&mut self, theirs: &Advert, out: &mut Vec<Output>) {
        let half = self.interval() / 2;
        let now = self.now;
        if let State::Master { assert_after, settle_at, .. } = &mut self.state {
            settle_at.get_or_insert(now + half);
            if *assert_after <= now {
                *assert_after = now + half;
                // Beside our sequence, which backups follow: the next advert goes on with it.
                let counter = self.counters.answer(theirs.counter);
                self.send(counter, out);
                out.push(Output::Announce);
            }
        }
    }

    /// Sends an advert that only a living host can answer, at most twice an interval.
    fn ask(&mut self, out: &mut Vec<Output>) {
        let half = self.interval() / 2;
        if let State::Master { assert_after, .. } = &mut self.state
            && *assert_after <= self.now
        {
            *assert_after = self.now + half;
            self.send_question(out);
        }
    }

    fn hand_over(&mut self, out: &mut Vec<Output>) {
        self.standing_back = true;
        if let State::Master { .. } = self.state {
            self.say_goodbye(After::Backup, Reason::HandOver, out);
        }
    }

    fn stop(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Init => {}
            State::Master { .. } => self.say_goodbye(After::Init, Reason::Stopped, out),
            State::Leaving { until, successor_heard, .. } => {
                self.state = State::Leaving { until, successor_heard, next: After::Init };
            }
            State::Backup { .. } | State::Fault { .. } => {
                self.change(State::Init, Reason::Stopped, out);
            }
        }
    }

    fn acquire_failed(&mut self, out: &mut Vec<Output>) {
        if self.state().holds() {
            self.send_goodbye(out);
            self.counters.end();
            let retry_at = self.now + RETRY_AFTER.max(4 * self.interval());
            self.change(State::Fault { retry_at }, Reason::AcquireFailed, out);
            out.push(Output::Release);
        }
    }

    /// The addresses are served on until the successor is heard. One and a half intervals are
    /// longer than a ucarp needs, which reads its packets once a second.
    fn say_goodbye(&mut self, next: After, reason: Reason, out: &mut Vec<Output>) {
        self.send_goodbye(out);
        let patience = self.interval() + self.interval() / 2;
        let until = self.now + patience.max(Duration::from_millis(100));
        self.change(State::Leaving { until, next, successor_heard: false }, reason, out);
    }

    /// How long a leaving host serves on after the successor's first advert.
    fn linger(&self) -> Duration {
        MAX_LINGER.min(self.interval() / 2)
    }

    fn leave(&mut self, next: After, reason: Reason, out: &mut Vec<Output>) {
        match next {
            After::Init => self.change(State::Init, reason, out),
            After::Backup => self.become_backup(reason, out),
        }
        out.push(Output::Release);
    }

    /// No successor was heard. A host that stops goes all the same; one that was to hand over
    /// serves on: at least one must.
    fn give_up_leaving(&mut self, next: After, out: &mut Vec<Output>) {
        match next {
            After::Init => self.leave(next, Reason::NoSuccessor, out),
            After::Backup => {
                self.standing_back = false;
                self.become_master(Reason::NoSuccessor, out);
            }
        }
    }

    fn become_master(&mut self, reason: Reason, out: &mut Vec<Output>) {
        self.stats.became_master += 1;
        self.counters.begin();
        let next = State::Master {
            advert_at: self.now + self.interval(),
            announce_at: self.now + ANNOUNCE_AFTER[0],
            announced: 0,
            since: self.now,
            assert_after: self.now,
            settle_at: None,
            rival: None,
        };
        self.change(next, reason, out);
        if matches!(reason, Reason::Preempted | Reason::MasterStopped) {
            // Whoever is master now hears that its last advert was heard.
            let counter = self.counters.succeed(&self.config.authenticator);
            self.send(counter, out);
        } else {
            self.send_question(out);
        }
        out.push(Output::Acquire);
        out.push(Output::Announce);
    }

    fn become_backup(&mut self, reason: Reason, out: &mut Vec<Output>) {
        let dead_at = self.now + self.dead_interval();
        let next = State::Backup { dead_at, expected: Reason::MasterSilent, doubts: false };
        self.change(next, reason, out);
    }

    /// Waits for the dead interval from now on.
    fn listen(&mut self) {
        let dead_at = self.now + self.dead_interval();
        self.state = State::Backup { dead_at, expected: Reason::MasterSilent, doubts: false };
    }

    fn send_question(&mut self, out: &mut Vec<Output>) {
        let counter = self.counters.question(&self.config.authenticator);
        self.send(counter, out);
    }

    fn send_goodbye(&mut self, out: &mut Vec<Output>) {
        let counter = self.counters.question(&self.config.authenticator);
        self.send_advert(Advert::new(self.config.vhid, u8::MAX, u8::MAX, counter), out);
    }

    fn send(&mut self, counter: u64, out: &mut Vec<Output>) {
        let (advbase, advskew) = (self.config.advbase, self.advskew());
        self.send_advert(Advert::new(self.config.vhid, advbase, advskew, counter), out);
    }

    fn send_advert(&mut self, advert: Advert, out: &mut Vec<Output>) {
        self.stats.sent += 1;
        out.push(Output::Send(encode(&advert, &self.config.authenticator)));
    }

    fn change(&mut self, next: State, reason: Reason, out: &mut Vec<Output>) {
        let from = self.state();
        self.state = next;
        let to = self.state();
        if from != to {
            out.push(Output::Event(HostEvent::StateChanged { from, to, reason }));
        }
    }

    /// Silence counts only for a backup that was awake: one that was paused has adverts waiting.
    fn tick_backup(&mut self, late: Duration, expected: Reason, out: &mut Vec<Output>) {
        if late >= self.interval() {
            let dead_at = self.now + self.interval() / 4;
            self.state = State::Backup { dead_at, expected, doubts: true };
        } else {
            self.become_master(expected, out);
        }
    }

    /// Fires the timers of [`State::Master`].
    fn tick_master(&mut self, out: &mut Vec<Output>) {
        let (now, interval) = (self.now, self.interval());
        let (mut advert, mut announce) = (false, false);
        if let State::Master { advert_at, announce_at, announced, since, settle_at, .. } =
            &mut self.state
        {
            if *advert_at <= now {
                // A master that overslept by two adverts may have lost the addresses to another:
                // it says again where they are, or is told otherwise.
                announce = now.since(*advert_at) >= 2 * interval;
                advert = true;
                *advert_at = now + interval;
            }
            announce |= settle_at.take_if(|at| *at <= now).is_some();
            while *announce_at <= now {
                announce = true;
                *announced += 1;
                let next = ANNOUNCE_AFTER.get(*announced).map(|after| *since + *after);
                *announce_at = next.unwrap_or(now + self.config.announce_refresh);
            }
        }
        if advert {
            self.send_question(out);
        }
        if announce {
            out.push(Output::Announce);
        }
    }
}

impl Machine for Host {
    type Input = Input;
    type Output = Output;
    /// A tick and an input at once: each changes the state at most once, with four effects.
    const MAX_OUTPUTS: usize = 10;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match (&self.state, input) {
            (State::Init, Input::Start) => self.become_backup(Reason::Started, out),
            (_, Input::Packet(packet)) => self.packet(&packet, out),
            (_, Input::Stop) => self.stop(out),
            (_, Input::HandOver) => self.hand_over(out),
            (_, Input::Resume) => self.standing_back = false,
            (_, Input::Demote(by)) => self.demotion = by,
            (_, Input::AcquireFailed) => self.acquire_failed(out),
            (
                State::Backup { .. }
                | State::Master { .. }
                | State::Leaving { .. }
                | State::Fault { .. },
                Input::Start,
            ) => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match self.state {
            State::Backup { dead_at, expected, doubts } if dead_at <= self.now => {
                let late = if doubts { Duration::ZERO } else { self.now.since(dead_at) };
                self.tick_backup(late, expected, out);
            }
            State::Leaving { until, next, successor_heard } if until <= self.now => {
                if successor_heard {
                    self.leave(next, Reason::SuccessorServes, out);
                } else {
                    self.counters.end();
                    self.give_up_leaving(next, out);
                }
            }
            State::Fault { retry_at } if retry_at <= self.now => {
                self.become_backup(Reason::Retry, out);
            }
            State::Master { .. } => self.tick_master(out),
            State::Init | State::Backup { .. } | State::Leaving { .. } | State::Fault { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Init => None,
            State::Backup { dead_at, .. } => Some(dead_at),
            State::Master { advert_at, announce_at, settle_at, .. } => {
                let next = announce_at.min(advert_at);
                Some(settle_at.map_or(next, |at| at.min(next)))
            }
            State::Leaving { until, .. } => Some(until),
            State::Fault { retry_at } => Some(retry_at),
        }
    }
}

#[cfg(test)]
mod tests;
