//! The mesh as a machine: messages in, messages and views out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::id::{Incarnation, NodeName, ViewId};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::config::{MAX_SEEDS, MeshConfig};
use super::peer::Peer;
use super::tag;
use super::wire::{Entry, MAX_LINKS, MAX_MEMBERS, Message, Proposal};
use crate::detector::{DeadlineDetector, FailureDetector, Verdict};
use crate::view::{Standing, View};

/// The longest pause between two knocks at a seed's door.
const MAX_KNOCK: Duration = Duration::from_secs(1);
/// How often goodbye is said again, and how soon: datagrams get lost.
const GOODBYES: u8 = 2;
const GOODBYE_EVERY: Duration = Duration::from_millis(10);

/// What happens to a [`Mesh`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeshInput {
    /// A node was confirmed to be off.
    Fenced(NodeName),
    /// A message came on this link from this address.
    Heard(usize, SocketAddr, Message),
    /// Leave the cluster.
    Leave,
}

/// What a [`Mesh`] wants done, or says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores one loses an action")]
pub enum MeshOutput {
    /// What happened to another node.
    Event(MeshEvent),
    /// Send this on a link to an address.
    Send {
        /// The link's number.
        link: usize,
        /// Where to.
        to: SocketAddr,
        /// What.
        message: Arc<Message>,
    },
    /// The view, its quorum or a standing in it changed.
    View(View),
}

/// What happened to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "whoever follows the members must handle each")]
pub enum MeshEvent {
    /// A suspect or unreachable member is heard again.
    Alive(NodeName),
    /// A member is in the view no more, without having said goodbye.
    Failed(NodeName),
    /// A node is in the view for the first time, or in a new life.
    Joined(NodeName),
    /// A member left in order.
    Left(NodeName),
    /// A member was not heard in time.
    Suspected(NodeName),
    /// A member is not heard here any more, but another one hears it: a broken link, not a death;
    /// or a view without it is not agreed on yet.
    Unreachable(NodeName),
}

/// What a [`Mesh`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MeshStats {
    /// Messages sent.
    pub sent: u64,
    /// Messages taken.
    pub heard: u64,
    /// Messages of an earlier life of their sender, or older than one that came before.
    pub stale: u64,
    /// Messages that say they are from this node, or from one whose name has the same hash.
    pub name_clashes: u64,
    /// Nodes that found no room: there are 64 already.
    pub refused: u64,
    /// Views that came into force here.
    pub views: u64,
}

/// One member of a full mesh.
///
/// ```text
///           in the view       silence ≥ suspect_after     silence ≥ dead_after
///  (known) ────────────▶ Alive ────────────▶ Suspect ───────────▶ Unreachable
///     ▲                    ▲ ◀─── heard ──────┘                     │      │
///     │                    └─────────────── heard ──────────────────┘      │
///     └── nobody hears it, or it left, or it is fenced: a new view is agreed ┘
/// ```
///
/// The lowest-named member that is in reach proposes a view; when all members in it have agreed, it
/// is in force. Agreements travel through third members, too, so that one broken link between two
/// members stops nothing. A member that hears a node does not agree to a view without it.
#[derive(Debug)]
pub struct Mesh {
    pub(super) config: MeshConfig,
    pub(super) incarnation: Incarnation,
    pub(super) detector: DeadlineDetector,
    pub(super) peers: BTreeMap<NodeName, Peer>,
    pub(super) fenced: BTreeSet<NodeName>,
    pub(super) seen_all: bool,
    pub(super) installed: Proposal,
    pub(super) agreed: Proposal,
    /// The highest view id seen anywhere.
    pub(super) highest: ViewId,
    pub(super) view: View,
    /// From when on this node votes and vouches: an earlier life may have vouched until then.
    pub(super) votes_at: Instant,
    /// Tell everybody at the end of this call.
    pub(super) news: bool,
    left: bool,
    /// How often goodbye is still to be said.
    goodbyes: u8,
    next_heartbeat: Instant,
    next_knock: Instant,
    knock_delay: Duration,
    pub(super) now: Instant,
    pub(super) stats: MeshStats,
}

impl Mesh {
    /// A node that starts at `now`, alone; it speaks at its first tick.
    #[must_use]
    pub fn new(config: MeshConfig, now: Instant) -> Self {
        let first = now + Duration::from_nanos(1);
        let none = Proposal { id: ViewId::new(0), members: Arc::new([]) };
        let mut mesh = Self {
            incarnation: config.incarnation,
            detector: config.detector.clone(),
            peers: BTreeMap::new(),
            fenced: BTreeSet::new(),
            seen_all: false,
            installed: none.clone(),
            agreed: none,
            highest: ViewId::new(0),
            view: View::new(ViewId::new(0), [], false),
            votes_at: now + config.dead_after,
            news: false,
            left: false,
            goodbyes: 0,
            next_heartbeat: first,
            next_knock: first,
            knock_delay: config.interval,
            now,
            stats: MeshStats::default(),
            config,
        };
        mesh.agree(&mut Vec::new());
        mesh.publish(&mut Vec::new());
        mesh.news = false;
        mesh
    }

    /// The present view: the members that were agreed on, with the standings and the quorum as
    /// this node sees them.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> MeshStats {
        self.stats
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &MeshConfig {
        &self.config
    }

    /// Which life of the node this is; higher than configured if others knew a higher one.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether this node has left.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.left
    }

    fn heard(
        &mut self,
        link: usize,
        source: SocketAddr,
        message: &Message,
        out: &mut Vec<MeshOutput>,
    ) {
        if self.left {
            return;
        }
        if message.from == self.config.me || tag(&message.from) == tag(&self.config.me) {
            self.stats.name_clashes += 1;
            return;
        }
        let first = self
            .peers
            .get(&message.from)
            .is_none_or(|peer| peer.incarnation < message.incarnation || peer.heard == 0);
        if !self.meet(&message.from, message.incarnation, &message.addresses) {
            return;
        }
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&message.from) else { return };
        if message.incarnation < peer.incarnation
            || (peer.gone && !message.leaves)
            || message.sent < peer.heard
        {
            self.stats.stale += 1;
            return;
        }
        self.stats.heard += 1;
        peer.heard = message.sent.max(1);
        peer.heard_at = Some(now);
        peer.agreed = peer.agreed.max(message.agreed.id);
        if let Some(address) = peer.addresses.get_mut(link) {
            *address = source;
        }
        if message.leaves {
            self.news |= !peer.gone;
            (peer.gone, peer.left) = (true, true);
            self.detector.forget(&message.from);
        } else {
            self.fenced.remove(&message.from);
        }
        self.highest = self.highest.max(message.agreed.id).max(message.installed);
        self.take_roster(message);
        self.consider(&message.agreed);
        if message.installed == self.agreed.id {
            self.install(out);
        }
        if first && !message.leaves {
            // So that it learns of us without waiting for our next heartbeat.
            self.send_to(&message.from, &Arc::new(self.message()), out);
        }
    }

    /// What the sender knows of the others, and of us.
    fn take_roster(&mut self, message: &Message) {
        let mut says = BTreeMap::new();
        let mut echo = None;
        for entry in &message.roster {
            if entry.name == self.config.me {
                echo = Some(entry);
                continue;
            }
            says.insert(entry.name.clone(), (entry.incarnation, entry.hears));
            self.take_entry(entry);
        }
        let Some(peer) = self.peers.get_mut(&message.from) else { return };
        peer.says = says;
        let Some(echo) = echo else { return };
        if echo.incarnation > self.incarnation
            || (echo.gone && echo.incarnation == self.incarnation)
        {
            // They know a life of ours that we do not: this one must be later (SWIM, section 4.2).
            self.incarnation = echo.incarnation.next();
            self.news = true;
            return;
        }
        if echo.incarnation < self.incarnation {
            return;
        }
        let at = |nanos: u64| Instant::from_nanos(nanos);
        if echo.vouched != 0 && at(echo.vouched) <= self.now {
            peer.vouches_from = peer.vouches_from.max(Some(at(echo.vouched)));
        }
        // It is heard well only if it hears us: a deaf member must not stay for ever.
        let fresh = echo.heard != 0 && self.now.since(at(echo.heard)) < self.config.dead_after / 2;
        if fresh && !peer.gone {
            peer.vouched = peer.heard;
            self.detector.heartbeat(&message.from, self.now);
        }
    }

    fn take_entry(&mut self, entry: &Entry) {
        if !self.meet(&entry.name, entry.incarnation, &entry.addresses) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&entry.name) else { return };
        if entry.incarnation < peer.incarnation {
            return;
        }
        peer.agreed = peer.agreed.max(entry.agreed);
        self.highest = self.highest.max(entry.agreed);
        if entry.left && !peer.gone {
            peer.gone = true;
            peer.left = true;
            self.news = true;
            self.detector.forget(&entry.name);
        }
    }

    /// Takes up a node, or a new life of a known one; false if there is no room or name for it.
    fn meet(&mut self, name: &NodeName, incarnation: Incarnation, at: &[SocketAddr]) -> bool {
        let addresses: Vec<_> = at.iter().take(self.config.addresses.len()).copied().collect();
        if let Some(peer) = self.peers.get_mut(name) {
            if incarnation > peer.incarnation {
                *peer = Peer::new(incarnation, addresses);
                self.detector.forget(name);
                self.news = true;
            }
            return true;
        }
        let clash = |other: &NodeName| tag(other) == tag(name);
        if clash(&self.config.me) || self.peers.keys().any(clash) {
            self.stats.name_clashes += 1;
            return false;
        }
        if self.peers.len() + 1 >= MAX_MEMBERS && !self.make_room() {
            self.stats.refused += 1;
            return false;
        }
        self.peers.insert(name.clone(), Peer::new(incarnation, addresses));
        true
    }

    /// Forgets the node that is out of the view and was silent for longest.
    fn make_room(&mut self) -> bool {
        let spare = |name: &NodeName| {
            let listed = |proposal: &Proposal| proposal.members.iter().any(|(m, _)| m == name);
            !listed(&self.installed) && !listed(&self.agreed) && self.verdict(name) == Verdict::Dead
        };
        let oldest = self.peers.iter().filter(|(name, _)| spare(name));
        let oldest = oldest.min_by_key(|(_, peer)| peer.heard_at).map(|(name, _)| name.clone());
        oldest.is_some_and(|name| self.peers.remove(&name).is_some())
    }

    fn message(&self) -> Message {
        let roster = self.peers.iter().take(MAX_MEMBERS).map(|(name, peer)| {
            let hears = !peer.gone && self.verdict(name) != Verdict::Dead;
            let listed = |proposal: &Proposal| {
                proposal.members.iter().any(|(m, life)| m == name && *life == peer.incarnation)
            };
            let vouches =
                self.votes() && !peer.gone && listed(&self.installed) && listed(&self.agreed);
            peer.entry(name, hears, vouches)
        });
        Message {
            from: self.config.me.clone(),
            incarnation: self.incarnation,
            sent: self.now.as_nanos(),
            leaves: self.left,
            addresses: self.config.addresses.clone(),
            installed: self.installed.id,
            agreed: self.agreed.clone(),
            roster: roster.collect(),
        }
    }

    fn broadcast(&mut self, out: &mut Vec<MeshOutput>) {
        let message = Arc::new(self.message());
        let names: Vec<_> = self.peers.keys().cloned().collect();
        for name in names {
            self.send_to(&name, &message, out);
        }
    }

    fn send_to(&mut self, name: &NodeName, message: &Arc<Message>, out: &mut Vec<MeshOutput>) {
        let Some(peer) = self.peers.get(name) else { return };
        for (link, to) in peer.addresses.iter().take(MAX_LINKS).enumerate() {
            if !to.ip().is_unspecified() && to.port() != 0 {
                self.stats.sent += 1;
                out.push(MeshOutput::Send { link, to: *to, message: Arc::clone(message) });
            }
        }
    }

    /// Knocks at the doors of seeds that are not known yet, less and less often.
    fn knock(&mut self, out: &mut Vec<MeshOutput>) {
        if self.next_knock > self.now {
            return;
        }
        self.next_knock = self.now + self.knock_delay;
        self.knock_delay = (self.knock_delay * 2).min(MAX_KNOCK.max(self.config.interval));
        let known: Vec<_> = self.peers.values().filter_map(|peer| peer.addresses.first()).collect();
        let own = self.config.addresses.first();
        let seeds = self.config.seeds.iter().take(MAX_SEEDS);
        let seeds = seeds.filter(|seed| Some(*seed) != own && !known.contains(seed));
        let message = Arc::new(self.message());
        for to in seeds {
            self.stats.sent += 1;
            out.push(MeshOutput::Send { link: 0, to: *to, message: Arc::clone(&message) });
        }
    }

    fn leave(&mut self) {
        if !self.left {
            (self.left, self.news, self.goodbyes) = (true, true, GOODBYES);
            self.next_heartbeat = self.now + GOODBYE_EVERY;
        }
    }

    fn fence(&mut self, node: &NodeName) {
        self.fenced.insert(node.clone());
        if let Some(peer) = self.peers.get_mut(node) {
            peer.gone = true;
            self.detector.forget(node);
            self.news = true;
        }
    }

    pub(super) fn verdict(&self, name: &NodeName) -> Verdict {
        self.detector.suspicion(name, self.now).unwrap_or(Verdict::Dead)
    }

    fn fire(&mut self, now: Instant, out: &mut Vec<MeshOutput>) {
        self.now = self.now.max(now);
        if self.left {
            if self.goodbyes > 0 && self.next_heartbeat <= self.now {
                self.goodbyes -= 1;
                self.next_heartbeat = self.now + GOODBYE_EVERY;
                self.news = true;
            }
            return;
        }
        if self.next_heartbeat <= self.now {
            self.next_heartbeat = self.now + self.config.interval;
            self.news = true;
        }
        self.knock(out);
    }

    fn settle(&mut self, out: &mut Vec<MeshOutput>) {
        if !self.left {
            self.agree(out);
        }
        self.publish(out);
        if std::mem::take(&mut self.news) {
            self.broadcast(out);
        }
    }

    pub(super) fn standing(&self, name: &NodeName) -> Standing {
        match self.verdict(name) {
            _ if *name == self.config.me => Standing::Alive,
            Verdict::Alive => Standing::Alive,
            Verdict::Suspect => Standing::Suspect,
            Verdict::Dead => Standing::Unreachable,
        }
    }
}

impl Machine for Mesh {
    type Input = MeshInput;
    type Output = MeshOutput;
    /// At most three times: a broadcast on two links, knocks, an event for each member lost, each
    /// gained and each changed, a view; and an answer.
    const MAX_OUTPUTS: usize =
        3 * (4 * MAX_MEMBERS + MAX_LINKS * MAX_MEMBERS + MAX_SEEDS + 1 + MAX_LINKS);

    fn handle(&mut self, now: Instant, input: MeshInput, out: &mut Vec<MeshOutput>) {
        self.tick(now, out);
        match input {
            MeshInput::Fenced(node) if node != self.config.me => self.fence(&node),
            MeshInput::Fenced(_) => {}
            MeshInput::Heard(link, source, message) => self.heard(link, source, &message, out),
            MeshInput::Leave => self.leave(),
        }
        self.settle(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<MeshOutput>) {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        self.fire(now, out);
        if due {
            self.settle(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.left {
            return (self.goodbyes > 0).then_some(self.next_heartbeat);
        }
        let verdict = FailureDetector::deadline(&self.detector, self.now);
        let heartbeat = self.next_heartbeat.min(self.next_knock);
        let votes_at = Some(self.votes_at).filter(|at| *at > self.now);
        let soonest = [verdict, self.voucher_ends(), votes_at].into_iter().flatten().min();
        Some(soonest.map_or(heartbeat, |at| at.min(heartbeat)))
    }
}
