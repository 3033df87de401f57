//! The virtual router: VRRPv3 as a machine without I/O.

use std::net::IpAddr;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::config::{RouterConfig, active_down_interval, skew};
use super::effects::{Input, Output, Packet, Reason, RouterEvent, StateName};
use super::wire::{Advert, Checksum, GROUP_V4, GROUP_V6, Reject, Version, View, decode, encode};
use crate::address::VirtualAddress;

/// When a new holder announces itself after the first time: soon, in case frames were lost, and
/// again when switches and hosts have settled (keepalived's `garp_master_delay` is 5 s).
const ANNOUNCE_AFTER: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

/// How long a leaving router serves on at most after the successor's first advert.
const MAX_LINGER: Duration = Duration::from_millis(10);

/// How long a router that could not hold the addresses leaves them to others.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The state with its own timers, so that a stale timer cannot exist.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Initialize,
    Backup {
        active_down_at: Instant,
        /// Why silence would make this router active: the last active one stopped, or died.
        expected: Reason,
    },
    Active {
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
        rival: Option<IpAddr>,
    },
    /// Priority 0 is said, the addresses are still served: make before break.
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
    Initialize,
}

/// One virtual router of VRRPv3 (RFC 9568), for IPv4 or IPv6.
///
/// ```text
///                       Start, priority 255
///   Initialize ───────────────────────────────────▶ Active ◀───────────────┐
///     ▲    │ Start                                   │ │ │                 │ active router silent
///     │    └───────────▶ Backup ─────────────────────│─│─│─────────────────┘ for 3 adverts + skew
///     │                   ▲ ▲ ▲   higher priority    │ │ │
///     │                   │ │ └──────────────────────┘ │ │ AcquireFailed
///     │       Retry ┌─────┘ │                          │ └──────────▶ Fault
///     │             │ Fault │ successor heard, or      │ HandOver, Stop: priority 0 is sent
///     └─────────────────────┴────────────── Leaving ◀──┘ and the addresses are served on
/// ```
///
/// A router that meets a higher one passes through *Leaving*, too, for a few milliseconds.
///
/// Beyond the RFC: *Leaving* (the addresses stay until a successor is heard, so that a planned
/// move has no gap), the word of a router that yields to a higher one (so that the winner learns
/// that it was not alone and announces itself again, and no client stays with the loser's
/// link-layer address), and *Fault*.
#[derive(Debug, Clone)]
pub struct Router {
    config: RouterConfig,
    /// The primary address of the interface; adverts come from it.
    source: IpAddr,
    state: State,
    now: Instant,
    /// The active router's interval, learned from its adverts (RFC 9568, section 6.1).
    active_interval: Duration,
    /// Stays back whatever its priority, after a hand-over.
    standing_back: bool,
    /// The reading of the IPv4 checksum that the others use.
    checksum: Checksum,
    differing: Option<(IpAddr, Vec<IpAddr>)>,
    stats: Stats,
}

/// What a virtual router has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Adverts sent, priority 0 ones included.
    pub sent: u64,
    /// Adverts of our virtual router taken in.
    pub received: u64,
    /// How often this router became active.
    pub became_active: u64,
    /// Packets dropped, in the order of [`Reject::ALL`].
    pub rejected: [u64; Reject::ALL.len()],
}

impl Stats {
    /// How many packets were dropped for this reason.
    #[must_use]
    pub fn rejected(&self, why: Reject) -> u64 {
        Reject::ALL.iter().zip(self.rejected).find(|(r, _)| **r == why).map_or(0, |(_, n)| n)
    }
}

impl Router {
    /// A virtual router that sends from `source`, the primary address of its interface (for IPv6
    /// its link-local address). It waits for [`Input::Start`].
    #[must_use]
    pub const fn new(config: RouterConfig, source: IpAddr) -> Self {
        let active_interval = config.advert_interval;
        Self {
            config,
            source,
            state: State::Initialize,
            now: Instant::ZERO,
            active_interval,
            standing_back: false,
            checksum: Checksum::PseudoHeader,
            differing: None,
            stats: Stats {
                sent: 0,
                received: 0,
                became_active: 0,
                rejected: [0; Reject::ALL.len()],
            },
        }
    }

    /// The state's name.
    #[must_use]
    pub const fn state(&self) -> StateName {
        match self.state {
            State::Initialize => StateName::Initialize,
            State::Backup { .. } => StateName::Backup,
            State::Active { .. } => StateName::Active,
            State::Leaving { .. } => StateName::Leaving,
            State::Fault { .. } => StateName::Fault,
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The group that adverts go to.
    #[must_use]
    pub const fn group(&self) -> IpAddr {
        match self.source {
            IpAddr::V4(_) => IpAddr::V4(GROUP_V4),
            IpAddr::V6(_) => IpAddr::V6(GROUP_V6),
        }
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        if self.config.priority.is_owner() {
            // RFC 9568 §6.4.1 (110): the owner is active at once.
            self.become_active(Reason::Owner, out);
        } else {
            // RFC 9568 §6.4.1 (120): listen for one active-down interval first.
            self.active_interval = self.config.advert_interval;
            self.become_backup(Reason::Started, out);
        }
    }

    fn packet(&mut self, packet: &Packet, out: &mut Vec<Output>) {
        match self.admit(packet) {
            Ok(advert) => {
                self.stats.received += 1;
                let checksum = advert.checksum();
                if self.checksum != checksum {
                    tracing::debug!(from = %packet.source, ?checksum, "checksum reading mirrored");
                    self.checksum = checksum;
                }
                self.compare_addresses(packet.source, &advert, out);
                self.advert(packet.source, &advert, out);
            }
            Err(why) => {
                for (reason, count) in Reject::ALL.iter().zip(&mut self.stats.rejected) {
                    *count += u64::from(*reason == why);
                }
                out.push(Output::Event(RouterEvent::Rejected { from: packet.source, why }));
            }
        }
    }

    /// RFC 9568 §7.1: what must be verified before a packet is looked at.
    fn admit<'a>(&self, packet: &'a Packet) -> Result<View<'a>, Reject> {
        if packet.hop_limit != 255 {
            return Err(Reject::HopLimit);
        }
        if packet.source == self.source {
            return Err(Reject::OwnReflection);
        }
        let advert = decode(&packet.message, packet.source, packet.destination)?;
        if advert.version() != Version::V3 {
            return Err(Reject::Version);
        }
        if advert.vrid() != self.config.vrid {
            return Err(Reject::Vrid);
        }
        Ok(advert)
    }

    fn advert(&mut self, from: IpAddr, advert: &View<'_>, out: &mut Vec<Output>) {
        match self.state {
            State::Backup { .. } => self.advert_in_backup(advert),
            State::Active { .. } => self.advert_in_active(from, advert, out),
            State::Leaving { next, successor_heard: false, .. } if advert.priority() > 0 => {
                self.learn(advert);
                let until = self.now + self.linger();
                self.state = State::Leaving { until, next, successor_heard: true };
            }
            State::Initialize | State::Fault { .. } | State::Leaving { .. } => {}
        }
    }

    fn advert_in_backup(&mut self, advert: &View<'_>) {
        if advert.priority() == 0 {
            // RFC 9568 §6.4.2 (430): the active router stops: wait for the skew alone.
            let skew = skew(self.config.priority, self.active_interval);
            self.state =
                State::Backup { active_down_at: self.now + skew, expected: Reason::ActiveStopped };
        } else if advert.priority() >= self.config.priority.get()
            || !self.config.preempt
            || self.standing_back
        {
            // RFC 9568 §6.4.2 (440): an active router that we accept is alive.
            self.learn(advert);
            self.listen();
        }
        // RFC 9568 §6.4.2 (460): a lower one is ignored, so that the timer runs out: preemption.
    }

    fn advert_in_active(&mut self, from: IpAddr, advert: &View<'_>, out: &mut Vec<Output>) {
        if advert.priority() == 0 {
            // RFC 9568 §6.4.3 (620): another active router stops; say that this one goes on. It
            // was not alone: clients may know the other's link-layer address.
            self.assert(out);
            return;
        }
        let (theirs, ours) = (advert.priority(), self.config.priority.get());
        self.tell_rival(from, theirs, out);
        if theirs > ours || (theirs == ours && from > self.source) {
            // RFC 9568 §6.4.3 (640): the other one wins. The last word tells it that it was not
            // alone, so that it announces the addresses again; they stay here for a moment, as
            // one that preempts may not have them yet.
            self.send(ours, out);
            self.learn(advert);
            let until = self.now + self.linger();
            let next = State::Leaving { until, next: After::Backup, successor_heard: true };
            self.change(next, Reason::HigherPriority, out);
        } else {
            // RFC 9568 §6.4.3 (675): assert the active state at once.
            self.assert(out);
        }
    }

    /// Tells of another active router once, not with each of its adverts.
    fn tell_rival(&mut self, from: IpAddr, priority: u8, out: &mut Vec<Output>) {
        if let State::Active { rival, .. } = &mut self.state
            && rival.replace(from) != Some(from)
        {
            out.push(Output::Event(RouterEvent::Rival { from, priority }));
        }
    }

    /// Sends an advert and announces the addresses, at most twice an interval; and announces them
    /// once more a little later, since a client may hear the rival's announcement after this one.
    fn assert(&mut self, out: &mut Vec<Output>) {
        let interval = self.config.advert_interval;
        let now = self.now;
        if let State::Active { assert_after, advert_at, settle_at, .. } = &mut self.state {
            settle_at.get_or_insert(now + interval / 2);
            if *assert_after <= now {
                *assert_after = now + interval / 2;
                *advert_at = now + interval;
                self.send(self.config.priority.get(), out);
                out.push(Output::Announce);
            }
        }
    }

    fn hand_over(&mut self, out: &mut Vec<Output>) {
        self.standing_back = true;
        if let State::Active { .. } = self.state {
            self.say_goodbye(After::Backup, Reason::HandOver, out);
        }
    }

    fn resume(&mut self) {
        self.standing_back = false;
    }

    fn stop(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Initialize => {}
            State::Active { .. } => self.say_goodbye(After::Initialize, Reason::Stopped, out),
            State::Leaving { until, successor_heard, .. } => {
                self.state = State::Leaving { until, successor_heard, next: After::Initialize };
            }
            State::Backup { .. } | State::Fault { .. } => {
                self.change(State::Initialize, Reason::Stopped, out);
            }
        }
    }

    fn acquire_failed(&mut self, out: &mut Vec<Output>) {
        if self.state().holds() {
            self.send(0, out);
            let retry_at = self.now + RETRY_AFTER.max(4 * self.config.advert_interval);
            self.change(State::Fault { retry_at }, Reason::AcquireFailed, out);
            out.push(Output::Release);
        }
    }

    /// RFC 9568 §6.4.3 (610) sends priority 0 and stops serving; here the addresses are served on
    /// until the successor is heard. One interval is longer than any successor's skew.
    fn say_goodbye(&mut self, next: After, reason: Reason, out: &mut Vec<Output>) {
        self.send(0, out);
        let patience = self.config.advert_interval + self.config.advert_interval / 2;
        let until = self.now + patience.max(Duration::from_millis(20));
        self.change(State::Leaving { until, next, successor_heard: false }, reason, out);
    }

    /// How long a leaving router serves on after the successor's first advert: the RFC lets that
    /// one send the advert before it has the addresses. Half an advert interval at most.
    fn linger(&self) -> Duration {
        MAX_LINGER.min(self.config.advert_interval / 2)
    }

    fn leave(&mut self, next: After, reason: Reason, out: &mut Vec<Output>) {
        match next {
            After::Initialize => self.change(State::Initialize, reason, out),
            After::Backup => self.become_backup(reason, out),
        }
        out.push(Output::Release);
    }

    /// No successor was heard. A router that stops goes all the same; one that was to hand over
    /// serves on: at least one must.
    fn give_up_leaving(&mut self, next: After, out: &mut Vec<Output>) {
        match next {
            After::Initialize => self.leave(next, Reason::NoSuccessor, out),
            After::Backup => {
                self.standing_back = false;
                self.become_active(Reason::NoSuccessor, out);
            }
        }
    }

    fn become_active(&mut self, reason: Reason, out: &mut Vec<Output>) {
        self.stats.became_active += 1;
        self.active_interval = self.config.advert_interval;
        let next = State::Active {
            advert_at: self.now + self.config.advert_interval,
            announce_at: self.now + ANNOUNCE_AFTER[0],
            announced: 0,
            since: self.now,
            assert_after: self.now,
            settle_at: None,
            rival: None,
        };
        self.change(next, reason, out);
        // RFC 9568 §6.4.2 (380-420): advert, then gratuitous ARP or neighbour advertisement.
        self.send(self.config.priority.get(), out);
        out.push(Output::Acquire);
        out.push(Output::Announce);
    }

    fn become_backup(&mut self, reason: Reason, out: &mut Vec<Output>) {
        let next = State::Backup { active_down_at: self.now, expected: Reason::ActiveSilent };
        self.change(next, reason, out);
        self.listen();
    }

    /// Waits for the active-down interval from now on.
    fn listen(&mut self) {
        let interval = active_down_interval(self.config.priority, self.active_interval);
        self.state =
            State::Backup { active_down_at: self.now + interval, expected: Reason::ActiveSilent };
    }

    /// RFC 9568 §6.1: the active router's interval is the one to wait by.
    fn learn(&mut self, advert: &View<'_>) {
        self.active_interval = advert.interval();
    }

    fn compare_addresses(&mut self, from: IpAddr, advert: &View<'_>, out: &mut Vec<Output>) {
        let mut theirs = advert.addresses();
        let same = advert.address_count() == self.config.addresses.len()
            && self.config.addresses.iter().all(|ours| theirs.clone().any(|ip| ip == ours.ip()));
        let differing = (!same).then(|| (from, theirs.by_ref().collect()));
        if self.differing != differing {
            self.differing.clone_from(&differing);
            if let Some((from, theirs)) = differing {
                out.push(Output::Event(RouterEvent::AddressesDiffer { from, theirs }));
            }
        }
    }

    fn send(&mut self, priority: u8, out: &mut Vec<Output>) {
        let addresses = self.config.addresses.iter().map(VirtualAddress::ip).collect();
        let interval = self.config.advert_interval;
        let advert = Advert::new(Version::V3, self.config.vrid, priority, interval, addresses);
        self.stats.sent += 1;
        out.push(Output::Send(encode(&advert, self.source, self.group(), self.checksum)));
    }

    fn change(&mut self, next: State, reason: Reason, out: &mut Vec<Output>) {
        let from = self.state();
        self.state = next;
        let to = self.state();
        if from != to {
            out.push(Output::Event(RouterEvent::StateChanged { from, to, reason }));
        }
    }

    /// Fires the timers of [`State::Active`].
    fn tick_active(&mut self, out: &mut Vec<Output>) {
        let now = self.now;
        let interval = self.config.advert_interval;
        let (mut advert, mut announce) = (false, false);
        if let State::Active { advert_at, announce_at, announced, since, settle_at, .. } =
            &mut self.state
        {
            if *advert_at <= now {
                // RFC 9568 §6.4.3 (600). A router that overslept by two adverts may have lost the
                // addresses to another: it says again where they are, or is told otherwise.
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
            self.send(self.config.priority.get(), out);
        }
        if announce {
            out.push(Output::Announce);
        }
    }
}

impl Machine for Router {
    type Input = Input;
    type Output = Output;
    /// A tick and an input at once: each changes the state at most once, with four effects.
    const MAX_OUTPUTS: usize = 12;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match (&self.state, input) {
            (State::Initialize, Input::Start) => self.start(out),
            (_, Input::Packet(packet)) => self.packet(&packet, out),
            (_, Input::Stop) => self.stop(out),
            (_, Input::HandOver) => self.hand_over(out),
            (_, Input::Resume) => self.resume(),
            (_, Input::AcquireFailed) => self.acquire_failed(out),
            (
                State::Backup { .. }
                | State::Active { .. }
                | State::Leaving { .. }
                | State::Fault { .. },
                Input::Start,
            ) => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match self.state {
            State::Backup { active_down_at, expected } if active_down_at <= self.now => {
                // RFC 9568 §6.4.2 (370): the active router is gone.
                self.become_active(expected, out);
            }
            State::Leaving { until, next, successor_heard } if until <= self.now => {
                if successor_heard {
                    self.leave(next, Reason::SuccessorServes, out);
                } else {
                    self.give_up_leaving(next, out);
                }
            }
            State::Fault { retry_at } if retry_at <= self.now => {
                self.become_backup(Reason::Retry, out);
            }
            State::Active { .. } => self.tick_active(out),
            State::Initialize
            | State::Backup { .. }
            | State::Leaving { .. }
            | State::Fault { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Initialize => None,
            State::Backup { active_down_at, .. } => Some(active_down_at),
            State::Active { advert_at, announce_at, settle_at, .. } => {
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
