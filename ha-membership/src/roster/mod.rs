//! The machine behind the in-process membership: heartbeats in, views out.

mod config;

use std::collections::{BTreeMap, BTreeSet};

use ha_core::id::{Incarnation, NodeName, ViewId};
use ha_core::machine::Machine;
use ha_core::time::Instant;

pub use self::config::{RosterConfig, RosterConfigBuilder};
use crate::detector::{DeadlineDetector, FailureDetector, Verdict};
use crate::quorum::{Census, QuorumPolicy};
use crate::view::{Member, Standing, View};

/// What nodes say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a message: both ends must know all of it")]
pub struct Datagram {
    /// Who says it.
    pub from: NodeName,
    /// In which life.
    pub incarnation: Incarnation,
    /// What.
    pub kind: DatagramKind,
}

/// What a [`Datagram`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a message: both ends must know all of it")]
pub enum DatagramKind {
    /// I am leaving.
    Goodbye,
    /// I am here.
    Heartbeat,
}

/// What happens to a [`Roster`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RosterInput {
    /// A node was confirmed to be off.
    Fenced(NodeName),
    /// A datagram came.
    Heard(Datagram),
    /// Leave the cluster.
    Leave,
}

/// What a [`Roster`] wants done, or says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores one loses an action")]
pub enum RosterOutput {
    /// Send this to all others.
    Send(Datagram),
    /// The view changed.
    View(View),
}

/// What a [`Roster`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RosterStats {
    /// Datagrams of this life that were sent.
    pub sent: u64,
    /// Datagrams that were taken.
    pub heard: u64,
    /// Datagrams of an earlier life of their sender.
    pub stale: u64,
    /// Datagrams of nodes that are not configured.
    pub strangers: u64,
}

/// One node's own view of who is there, from heartbeats of all to all.
///
/// ```text
///            heard                    silence ≥ suspect_after       silence ≥ dead_after
///  (absent) ───────▶ Alive ─────────────────────▶ Suspect ───────────────▶ Unreachable
///     ▲                ▲ ◀──────── heard ───────────┘                        │     │
///     │                └──────────────────── heard ─────────────────────────┘     │
///     └── goodbye (from any), or confirmed off: Fenced ───────────────────────────┘
/// ```
///
/// Views are this node's own: others may see others. Only nodes that the configuration names are
/// taken up, so memory is bounded by it.
#[derive(Debug)]
pub struct Roster {
    config: RosterConfig,
    detector: DeadlineDetector,
    incarnations: BTreeMap<NodeName, Incarnation>,
    /// Lives that ended in order: their late datagrams count no more.
    departed: BTreeMap<NodeName, Incarnation>,
    fenced: BTreeSet<NodeName>,
    seen_all: bool,
    view: View,
    next_heartbeat: Option<Instant>,
    now: Instant,
    stats: RosterStats,
}

impl Roster {
    /// A node that joins at `now`; it says so at its first tick.
    #[must_use]
    pub fn new(config: RosterConfig, now: Instant) -> Self {
        let mut roster = Self {
            detector: config.detector(),
            incarnations: BTreeMap::new(),
            departed: BTreeMap::new(),
            fenced: BTreeSet::new(),
            seen_all: false,
            view: View::new(ViewId::FIRST, [], false),
            // A nanosecond: the deadline must be after `now`.
            next_heartbeat: Some(now + std::time::Duration::from_nanos(1)),
            now,
            stats: RosterStats::default(),
            config,
        };
        roster.view = roster.look(ViewId::FIRST);
        roster
    }

    /// The present view.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> RosterStats {
        self.stats
    }

    fn heard(&mut self, datagram: Datagram) {
        let Datagram { from, incarnation, kind } = datagram;
        if from == *self.config.me() || !self.config.quorum().votes().contains_key(&from) {
            self.stats.strangers += 1;
            return;
        }
        let known = self.incarnations.get(&from).is_some_and(|known| incarnation < *known);
        if known || self.departed.get(&from).is_some_and(|left| incarnation <= *left) {
            self.stats.stale += 1;
            return;
        }
        self.stats.heard += 1;
        match kind {
            DatagramKind::Heartbeat => {
                self.fenced.remove(&from);
                self.detector.heartbeat(&from, self.now);
                self.incarnations.insert(from, incarnation);
            }
            DatagramKind::Goodbye => {
                self.remove(&from);
                self.departed.insert(from, incarnation);
            }
        }
    }

    fn remove(&mut self, node: &NodeName) {
        self.incarnations.remove(node);
        self.detector.forget(node);
    }

    fn leave(&mut self, out: &mut Vec<RosterOutput>) {
        if self.next_heartbeat.take().is_some() {
            self.send(DatagramKind::Goodbye, out);
        }
    }

    fn send(&mut self, kind: DatagramKind, out: &mut Vec<RosterOutput>) {
        self.stats.sent += 1;
        let (from, incarnation) = (self.config.me().clone(), self.config.incarnation());
        out.push(RosterOutput::Send(Datagram { from, incarnation, kind }));
    }

    /// Fires what is due, without looking at the view.
    fn fire(&mut self, now: Instant, out: &mut Vec<RosterOutput>) {
        self.now = self.now.max(now);
        if self.next_heartbeat.is_some_and(|at| at <= self.now) {
            self.next_heartbeat = Some(self.now + self.config.interval());
            self.send(DatagramKind::Heartbeat, out);
        }
    }

    /// The view as it should be now.
    fn look(&mut self, id: ViewId) -> View {
        if self.next_heartbeat.is_none() {
            return View::new(id, [], false);
        }
        let me = Member { incarnation: self.config.incarnation(), standing: Standing::Alive };
        let others = self.incarnations.iter().map(|(name, incarnation)| {
            let standing = match self.detector.suspicion(name, self.now) {
                Some(Verdict::Alive) => Standing::Alive,
                Some(Verdict::Suspect) => Standing::Suspect,
                Some(Verdict::Dead) | None => Standing::Unreachable,
            };
            (name.clone(), Member { incarnation: *incarnation, standing })
        });
        let members: BTreeMap<_, _> = others.chain([(self.config.me().clone(), me)]).collect();
        let present = members.iter().filter(|(_, member)| member.standing.counts());
        let present: BTreeSet<_> = present.map(|(name, _)| name.clone()).collect();
        let voters = self.config.quorum().votes();
        self.seen_all |= voters.keys().all(|voter| present.contains(voter));
        let (fenced, seen_all) = (self.fenced.clone(), self.seen_all);
        let quorum = self.config.quorum().decide(&Census { present, fenced, seen_all });
        View::new(id, members, quorum.is_quorate())
    }

    fn publish(&mut self, out: &mut Vec<RosterOutput>) {
        let view = self.look(self.view.id());
        if view != self.view {
            self.view = self.look(self.view.id().next());
            out.push(RosterOutput::View(self.view.clone()));
        }
    }
}

impl Machine for Roster {
    type Input = RosterInput;
    type Output = RosterOutput;
    /// A heartbeat and a view for what was due; a goodbye and a view for the input.
    const MAX_OUTPUTS: usize = 4;

    fn handle(&mut self, now: Instant, input: RosterInput, out: &mut Vec<RosterOutput>) {
        self.tick(now, out);
        match input {
            RosterInput::Fenced(node) if node != *self.config.me() => {
                self.remove(&node);
                if self.config.quorum().votes().contains_key(&node) {
                    self.fenced.insert(node);
                }
            }
            RosterInput::Fenced(_) => {}
            RosterInput::Heard(datagram) => self.heard(datagram),
            RosterInput::Leave => self.leave(out),
        }
        self.publish(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<RosterOutput>) {
        self.fire(now, out);
        self.publish(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.next_heartbeat?;
        let verdict = FailureDetector::deadline(&self.detector, self.now);
        Some(verdict.map_or(heartbeat, |verdict| verdict.min(heartbeat)))
    }
}
