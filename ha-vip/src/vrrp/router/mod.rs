//! The virtual router: VRRP as a machine without I/O.

mod active;
mod backup;
mod kin;
mod state;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use self::backup::Listening;
use self::kin::KinTable;
use self::state::{After, State};
use super::config::{Priority, RouterConfig};
use super::effects::{Destination, Heard, Input, Output, Reason, RouterEvent, StateName};
use super::wire::extension::{self, is_extension};
use super::wire::{Advert, Checksum, GROUP_V4, GROUP_V6, Reject, View, decode, encode};
use crate::address::VirtualAddress;
use crate::track::Standing;

/// One virtual router of VRRPv3 (RFC 9568), for IPv4 or IPv6, or of VRRPv2 (RFC 3768).
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
/// link-layer address), and *Fault*, which a tracker may cause in any state. A router that has
/// slept through its time listens once more before it takes over; one whose link has not proven
/// itself, or whose trackers have not spoken, waits ([`RouterEvent::HeldBack`]).
#[derive(Debug, Clone)]
pub struct Router {
    config: RouterConfig,
    /// The primary address of the interface; adverts come from it.
    source: IpAddr,
    state: State,
    now: Instant,
    since: Instant,
    reason: Reason,
    /// What the trackers make of the configured priority; `None` until one says something else.
    tracked: Option<Priority>,
    /// A tracker says that this node cannot serve.
    faulty: bool,
    gates: Gates,
    /// Who was heard as the active router last.
    heard_from: Option<IpAddr>,
    /// The active router's interval, learned from its adverts (RFC 9568, section 6.1).
    active_interval: Duration,
    /// Stays back whatever its priority, after a hand-over.
    standing_back: bool,
    /// The reading of the IPv4 checksum that the others use.
    checksum: Checksum,
    /// The addresses as an advert of the same configuration has them.
    address_bytes: Vec<u8>,
    differing: Option<(IpAddr, Vec<IpAddr>)>,
    kin: KinTable,
    stats: Stats,
}

/// What may hold a backup back when its time has come.
#[derive(Debug, Clone)]
struct Gates {
    /// A tracker has not spoken yet.
    waiting: bool,
    /// Its group decides when it takes over.
    grouped: bool,
    link_proven: bool,
    /// Until then an unproven link holds it back.
    patience_until: Instant,
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
    /// Beats and offers of kin taken in.
    pub kin_received: u64,
    /// Packets dropped, in the order of [`Reject::ALL`].
    pub rejected: [u64; Reject::ALL.len()],
}

impl Stats {
    /// What two routers have counted together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.sent += other.sent;
        self.received += other.received;
        self.became_active += other.became_active;
        self.kin_received += other.kin_received;
        for (ours, theirs) in self.rejected.iter_mut().zip(other.rejected) {
            *ours += theirs;
        }
        self
    }

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
    pub fn new(config: RouterConfig, source: IpAddr) -> Self {
        Self {
            source,
            state: State::Initialize,
            now: Instant::ZERO,
            since: Instant::ZERO,
            reason: Reason::Stopped,
            tracked: None,
            faulty: false,
            gates: Gates {
                waiting: false,
                grouped: false,
                link_proven: true,
                patience_until: Instant::ZERO,
            },
            heard_from: None,
            active_interval: config.advert_interval,
            standing_back: false,
            checksum: config.checksum,
            address_bytes: address_bytes(&config),
            differing: None,
            kin: KinTable::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// Takes in a packet without copying it; otherwise the same as [`Input::Packet`].
    ///
    /// What is due is done after it: a packet that waited while this process slept is older than
    /// the timer that ran out meanwhile, and must not find that the silence was acted upon.
    pub fn receive(&mut self, now: Instant, packet: Heard<'_>, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.notice_oversleep();
        let taken = if is_extension(packet.message) {
            self.take_word_of_kin(packet, out)
        } else {
            self.take_advert(packet, out)
        };
        if let Err(why) = taken {
            self.refuse(packet.source, why, out);
        }
        self.tick(now, out);
    }

    /// The state's name.
    #[must_use]
    pub const fn state(&self) -> StateName {
        match self.state {
            State::Initialize => StateName::Initialize,
            State::Backup(_) => StateName::Backup,
            State::Active(_) => StateName::Active,
            State::Leaving { .. } => StateName::Leaving,
            State::Fault { .. } => StateName::Fault,
        }
    }

    /// Since when it has been in this state, and why.
    #[must_use]
    pub const fn since(&self) -> (Instant, Reason) {
        (self.since, self.reason)
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// The priority that counts now: the configured one with what the trackers make of it.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.tracked.unwrap_or(self.config.priority)
    }

    /// The router that was heard as the active one last; `None` while this one is active.
    #[must_use]
    pub const fn active_router(&self) -> Option<IpAddr> {
        self.heard_from
    }

    /// The address that adverts come from.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// Whether it stays back after a hand-over.
    #[must_use]
    pub const fn is_standing_back(&self) -> bool {
        self.standing_back
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

    /// What is sent when the process dies while the router is active: priority 0 to all, and a
    /// word to the heir. Empty in any other state.
    #[must_use]
    pub fn will(&self) -> Vec<(Destination, Vec<u8>)> {
        let mut out = Vec::new();
        if self.state().holds() {
            self.clone().send_goodbye(&mut out);
        }
        let sent = |output| match output {
            Output::Send(destination, message) => Some((destination, message)),
            Output::Acquire | Output::Announce | Output::Event(_) | Output::Release => None,
        };
        out.into_iter().filter_map(sent).collect()
    }

    /// Goes on with another address to send from, as when its interface is a new one.
    pub(in crate::vrrp) const fn set_source(&mut self, source: IpAddr) {
        self.source = source;
    }

    /// Makes the router one of a group: when its time has come it waits for
    /// [`Input::GroupActive`].
    pub(in crate::vrrp) const fn set_grouped(&mut self, grouped: bool) {
        self.gates.grouped = grouped;
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        if self.faulty {
            self.change(State::Fault { retry_at: None }, Reason::Faulty, out);
        } else if self.config.priority.is_owner() && !self.gates.grouped && !self.gates.waiting {
            // RFC 9568 §6.4.1 (110): the owner is active at once.
            self.become_active(Reason::Owner, out);
        } else {
            // RFC 9568 §6.4.1 (120): listen for one active-down interval first.
            self.active_interval = self.config.advert_interval;
            self.become_backup(Reason::Started, out);
            if self.config.priority.is_owner() {
                self.await_owners_turn();
            }
        }
    }

    /// RFC 9568 §7.1: what must be verified before a packet is looked at.
    fn take_advert(&mut self, packet: Heard<'_>, out: &mut Vec<Output>) -> Result<(), Reject> {
        let unicast = !self.config.unicast_peers.is_empty();
        let near = if unicast {
            self.config.hop_limits.contains(&packet.hop_limit)
        } else {
            packet.hop_limit == 255
        };
        if !near {
            return Err(Reject::HopLimit);
        }
        if packet.source == self.source {
            return Err(Reject::OwnReflection);
        }
        if unicast && !self.config.unicast_peers.contains(&packet.source) {
            return Err(Reject::Source);
        }
        let advert = decode(packet.message, packet.source, packet.destination)?;
        if advert.vrid() != self.config.vrid {
            return Err(Reject::Vrid);
        }
        if advert.version() != self.config.version {
            return Err(Reject::Version);
        }
        if advert.password() != self.config.password {
            return Err(Reject::Authentication);
        }
        self.stats.received += 1;
        self.checksum = advert.checksum();
        self.compare_addresses(packet.source, &advert, out);
        self.gates.link_proven = true;
        self.advert(packet.source, &advert, out);
        Ok(())
    }

    /// Beats and offers, which nobody but kin may send, from the next host.
    fn take_word_of_kin(&mut self, packet: Heard<'_>, out: &mut Vec<Output>) -> Result<(), Reject> {
        if packet.hop_limit != 255 {
            return Err(Reject::HopLimit);
        }
        if KinTable::find(&self.config, packet.source).is_none() {
            return Err(Reject::Source);
        }
        let message = extension::decode(packet.message, packet.source, packet.destination)?;
        if message.vrid() != self.config.vrid {
            return Err(Reject::Vrid);
        }
        self.stats.kin_received += 1;
        match message {
            extension::Message::Offer(offer) => {
                let before = self.kin.heir(self.now);
                self.kin.take(packet.source, &offer, &self.config, self.now);
                self.begin_beats();
                let after = self.kin.heir(self.now);
                if after != before && self.state() == StateName::Active {
                    let heir = after.map(|kin| kin.address);
                    out.push(Output::Event(RouterEvent::Heir(heir)));
                }
            }
            extension::Message::Beat(beat) => self.beat(packet.source, &beat, out),
        }
        Ok(())
    }

    fn refuse(&mut self, from: IpAddr, why: Reject, out: &mut Vec<Output>) {
        for (reason, count) in Reject::ALL.iter().zip(&mut self.stats.rejected) {
            *count += u64::from(*reason == why);
        }
        out.push(Output::Event(RouterEvent::Rejected { from, why }));
    }

    fn advert(&mut self, from: IpAddr, advert: &View<'_>, out: &mut Vec<Output>) {
        match self.state {
            State::Backup(_) => self.advert_in_backup(from, advert, out),
            State::Active(_) => self.advert_in_active(from, advert, out),
            State::Leaving { .. } => self.advert_in_leaving(from, advert),
            State::Initialize | State::Fault { .. } => {}
        }
    }

    fn hand_over(&mut self, out: &mut Vec<Output>) {
        self.standing_back = true;
        if let State::Active(_) = self.state {
            self.say_goodbye(After::Backup, Reason::HandOver, out);
        }
    }

    fn stop(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Initialize => {}
            State::Active(_) => self.say_goodbye(After::Initialize, Reason::Stopped, out),
            State::Leaving { until, successor_heard, .. } => {
                self.state = State::Leaving { until, successor_heard, next: After::Initialize };
            }
            State::Backup(_) | State::Fault { .. } => {
                self.change(State::Initialize, Reason::Stopped, out);
            }
        }
    }

    fn become_backup(&mut self, reason: Reason, out: &mut Vec<Output>) {
        let waited = matches!(self.state, State::Initialize | State::Fault { .. });
        if waited && !self.gates.link_proven {
            self.gates.patience_until = self.now + self.config.startup_patience;
        }
        self.kin.forget_offered();
        let interval = self.config.active_down(self.priority(), self.active_interval);
        let listening = Listening::until(self.now + interval, Reason::ActiveSilent);
        self.change(State::Backup(listening), reason, out);
    }

    fn link_unproven(&mut self) {
        self.gates.link_proven = false;
        self.gates.patience_until = self.now + self.config.startup_patience;
    }

    fn standing(&mut self, standing: Standing, out: &mut Vec<Output>) {
        let before = self.priority();
        self.gates.waiting = matches!(standing, Standing::Waiting);
        self.faulty = matches!(standing, Standing::Fault);
        if let Standing::Priority(priority) = standing {
            self.tracked = Some(priority);
        }
        let (from, to) = (before.get(), self.priority().get());
        if from != to {
            out.push(Output::Event(RouterEvent::PriorityChanged { from, to }));
        }
        match self.state {
            State::Fault { retry_at: None } if !self.faulty => {
                self.become_backup(Reason::Recovered, out);
            }
            State::Fault { .. } if self.faulty => self.state = State::Fault { retry_at: None },
            State::Backup(_) | State::Active(_) | State::Leaving { .. } if self.faulty => {
                self.drop_addresses(None, Reason::Faulty, out);
            }
            // Whoever would relieve this one learns of it at once, not with the next advert.
            State::Active(_) if from != to => self.send(to, out),
            State::Backup(_) => self.reconsider(out),
            State::Initialize | State::Active(_) | State::Leaving { .. } | State::Fault { .. } => {}
        }
    }

    fn group_active(&mut self, out: &mut Vec<Output>) {
        if let State::Backup(_) = self.state {
            let reason =
                if self.waits_for_group() { self.expected_reason() } else { Reason::Group };
            self.become_active(reason, out);
        }
    }

    fn group_backup(&mut self, out: &mut Vec<Output>) {
        if let State::Active(_) = self.state {
            self.say_goodbye(After::Yield, Reason::Group, out);
        }
    }

    fn configure(&mut self, config: RouterConfig, out: &mut Vec<Output>) {
        if self.config == config {
            return;
        }
        if self.tracked == Some(self.config.priority) {
            self.tracked = None;
        }
        self.address_bytes = address_bytes(&config);
        self.differing = None;
        self.config = config;
        match self.state {
            State::Active(_) => {
                self.active_interval = self.config.advert_interval;
                self.send(self.priority().get(), out);
                out.push(Output::Announce);
            }
            State::Backup(_) | State::Initialize | State::Leaving { .. } | State::Fault { .. } => {}
        }
    }

    /// RFC 9568 §6.1: the active router's interval is the one to wait by. In version 2 all have
    /// the same (RFC 3768 §5.3.7).
    fn learn(&mut self, from: IpAddr, interval: Duration) {
        self.heard_from = Some(from);
        self.active_interval = interval;
    }

    fn compare_addresses(&mut self, from: IpAddr, advert: &View<'_>, out: &mut Vec<Output>) {
        // The usual case costs one comparison.
        if advert.address_bytes() == self.address_bytes && self.differing.is_none() {
            return;
        }
        let ours = &self.config.addresses;
        let same = advert.address_count() == ours.len()
            && ours.iter().all(|ours| advert.addresses().any(|ip| ip == ours.ip()));
        let differing = (!same).then(|| (from, advert.addresses().collect()));
        if self.differing != differing {
            self.differing.clone_from(&differing);
            if let Some((from, theirs)) = differing {
                out.push(Output::Event(RouterEvent::AddressesDiffer { from, theirs }));
            }
        }
    }

    fn send(&mut self, priority: u8, out: &mut Vec<Output>) {
        let config = &self.config;
        let addresses = config.addresses.iter().map(VirtualAddress::ip).collect();
        let (version, interval) = (config.version, config.advert_interval);
        let mut advert = Advert::new(version, config.vrid, priority, interval, addresses);
        advert.password = config.password;
        self.stats.sent += 1;
        if config.unicast_peers.is_empty() {
            let message = encode(&advert, self.source, self.group(), self.checksum);
            out.push(Output::Send(Destination::Group, message));
        }
        for peer in &config.unicast_peers {
            let message = encode(&advert, self.source, *peer, self.checksum);
            out.push(Output::Send(Destination::Peer(*peer), message));
        }
    }

    fn change(&mut self, next: State, reason: Reason, out: &mut Vec<Output>) {
        let from = self.state();
        self.state = next;
        let to = self.state();
        if from != to {
            (self.since, self.reason) = (self.now, reason);
            out.push(Output::Event(RouterEvent::StateChanged { from, to, reason }));
        }
    }
}

fn address_bytes(config: &RouterConfig) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in &config.addresses {
        match address.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes
}

impl Machine for Router {
    type Input = Input;
    type Output = Output;
    /// A tick and an input at once: each changes the state at most once, with four effects, and
    /// speaks once to each of at most 255 peers and 16 kin.
    const MAX_OUTPUTS: usize = 2 * (8 + 255 + RouterConfig::MAX_KIN);

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        if let Input::Packet(packet) = &input {
            self.receive(now, packet.as_heard(), out);
            return;
        }
        self.tick(now, out);
        match input {
            Input::AcquireFailed => self.acquire_failed(out),
            Input::Configure(config) => self.configure(*config, out),
            Input::GroupActive => self.group_active(out),
            Input::GroupBackup => self.group_backup(out),
            Input::HandOver => self.hand_over(out),
            Input::LinkProven => {
                self.gates.link_proven = true;
                self.reconsider(out);
            }
            Input::LinkUnproven => self.link_unproven(),
            Input::PeerLost(peer) => self.peer_lost(peer, out),
            Input::Refused(from, why) => self.refuse(from, why, out),
            Input::Resume => self.standing_back = false,
            Input::Standing(standing) => self.standing(standing, out),
            Input::Start if self.state() == StateName::Initialize => self.start(out),
            Input::Stop => self.stop(out),
            Input::Packet(_) | Input::Start => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        match self.state {
            State::Backup(_) => self.tick_backup(out),
            State::Active(_) => self.tick_active(out),
            State::Leaving { until, next, successor_heard } if until <= self.now => {
                if successor_heard {
                    self.leave(next, Reason::SuccessorServes, out);
                } else {
                    self.give_up_leaving(next, out);
                }
            }
            State::Fault { retry_at: Some(at) } if at <= self.now => {
                self.become_backup(Reason::Retry, out);
            }
            State::Initialize | State::Leaving { .. } | State::Fault { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Initialize => None,
            State::Backup(listening) => self.backup_deadline(listening),
            State::Active(serving) => Some(serving.deadline()),
            State::Leaving { until, .. } => Some(*until),
            State::Fault { retry_at } => *retry_at,
        }
    }
}
