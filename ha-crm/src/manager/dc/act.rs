//! From a state to a decision, and from a decision to commands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ha_core::guarantee::Guarantee;
use ha_core::id::{FencingToken, Incarnation, NodeName, OpId, ResourceName};
use ha_core::role::Role;
use ha_core::time::Instant;
use ha_membership::quorum::Quorum;

use super::nodes::Standing;
use super::{Dc, Scene};
use crate::graph::ActionKind;
use crate::manager::event::ManagerEvent;
use crate::manager::ledger::Fate;
use crate::manager::message::{Command, CommandAction, Message};
use crate::manager::output::Output;
use crate::model::{ClusterState, NodeStatus};
use crate::policy::{PolicyEngine, ScorePolicy};

/// So many starts of one resource on one node within [`BURST`]; then it rests.
const MAX_BURST: usize = 5;
/// See [`MAX_BURST`].
const BURST: Duration = Duration::from_secs(20);
/// A device that failed is asked again after this, doubled each time up to the longest: most
/// failures are of a moment, and everything waits for it.
const FENCE_AGAIN: Duration = Duration::from_millis(50);
/// See [`FENCE_AGAIN`].
const FENCE_AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// So many actions of a decision are written down in words.
const MAX_WORDS: usize = 100;

/// The fencing of one node.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    /// The request under way.
    op: Option<OpId>,
    /// The life that is to end; a later one has begun after the node was off.
    life: Option<Incarnation>,
    tries: u32,
    again: Instant,
}

/// A command whose end is awaited.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) op: OpId,
    pub(super) command: Command,
    pub(super) sent: Instant,
    pub(super) done: bool,
}

impl Dc {
    /// Decides anew if anything has changed that matters.
    pub(super) fn decide(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        if let Some(at) = self.decision.as_ref().and_then(|decision| decision.next_change) {
            let at = self.config.instant(at);
            if at > scene.now {
                self.wake_at(at);
            } else {
                self.stale = true;
            }
        }
        let Some(state) = self.state(scene, out) else { return };
        if std::mem::take(&mut self.stale) {
            let decision = ScorePolicy::new().decide(&state, self.config.wall(scene.now));
            self.decision = Some(Arc::new(decision));
        }
    }

    /// What the policy looks at; `None` while a member has not said what it has.
    fn state(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) -> Option<ClusterState> {
        let (ledger, _) = self.ledger.as_ref()?;
        let mut state = ClusterState::cold(ledger.config.clone());
        let (mut awaited, mut joining) = (Vec::new(), Vec::new());
        let mut wakes = Vec::new();
        for node in ledger.config.nodes() {
            let standing = self.standing(scene, node);
            let status = self.status(scene, node);
            state.nodes.insert(node.clone(), status);
            match standing {
                Standing::Awaited => {
                    awaited.push(node.as_str());
                    wakes.push(scene.seen.lost_since(node, self.config.startup_wait));
                }
                Standing::Joining => {
                    if !matches!(ledger.fate(node), Fate::Off { .. }) {
                        joining.push(node.as_str());
                    }
                }
                Standing::Off => {}
                Standing::Ready { .. } => {
                    for (resource, status) in self.resources_of(ledger, node) {
                        state = state.with_status(resource, node.clone(), status);
                    }
                }
                Standing::Unclean { .. } => {
                    for (resource, status) in self.ghosts.get(node).into_iter().flatten() {
                        state = state.with_status(resource.clone(), node.clone(), *status);
                    }
                }
            }
        }
        let waits_for = match (joining.is_empty(), awaited.is_empty()) {
            (false, _) => format!("{} must say what runs there", joining.join(", ")),
            (true, false) => {
                state.quorum = Quorum::AfterFencing;
                format!("{} may still be on its way", awaited.join(", "))
            }
            (true, true) => String::new(),
        };
        let ready = joining.is_empty();
        for at in wakes {
            self.wake_at(at);
        }
        if self.waits_for != waits_for {
            self.stale = true;
            self.waits_for.clone_from(&waits_for);
            if !waits_for.is_empty() {
                out.push(Output::Event(ManagerEvent::Waiting { reason: waits_for }));
            }
        }
        ready.then_some(state)
    }

    /// The actions of the decision before which nothing must be done any more.
    fn next(&self) -> Vec<ActionKind> {
        let Some(decision) = self.decision.as_ref().filter(|_| !self.stale) else {
            return Vec::new();
        };
        let none = BTreeSet::new();
        decision.graph.ready(&none).map(|action| action.kind.clone()).collect()
    }

    /// Whether an action can begin now.
    fn may_begin(&self, scene: Scene<'_>, kind: &ActionKind) -> bool {
        let node = kind.node();
        let Some(resource) = kind.resource() else {
            let fencing = self.fencing.get(node);
            let idle = fencing.is_none_or(|f| f.op.is_none() && f.again <= scene.now);
            return idle && self.fence_at(scene, node).is_none_or(|at| at <= scene.now);
        };
        if self.status(scene, node) == NodeStatus::Unclean || self.life(node).is_none() {
            return false;
        }
        let busy = self.busy_with(resource);
        let single = || {
            let (ledger, _) = self.ledger.as_ref()?;
            let definition = ledger.config.resources().get(resource)?;
            Some(definition.guarantee == Guarantee::AtMostOne && !definition.promotable)
        };
        let free = match kind {
            ActionKind::Start { .. } if single().unwrap_or(true) => busy.is_empty(),
            // A copy that is slow to start elsewhere holds up nobody.
            ActionKind::Promote { .. } => {
                !busy.contains(node) && self.changing_roles(resource).is_empty()
            }
            ActionKind::Start { .. } => !busy.contains(node),
            ActionKind::Demote { .. }
            | ActionKind::Fence { .. }
            | ActionKind::Probe { .. }
            | ActionKind::Stop { .. } => return !busy.contains(node),
        };
        free && self.start_at(resource, node).is_none_or(|at| at <= scene.now)
    }

    /// When an unclean node may be fenced: when it has had its time to stop by itself.
    fn fence_at(&self, scene: Scene<'_>, node: &NodeName) -> Option<Instant> {
        match self.standing(scene, node) {
            Standing::Unclean { since, .. } => Some(since + self.config.fence_delay),
            Standing::Awaited | Standing::Joining | Standing::Off | Standing::Ready { .. } => None,
        }
    }

    /// When a resource that was started often may be started again.
    fn start_at(&self, resource: &ResourceName, node: &NodeName) -> Option<Instant> {
        let starts = self.starts.get(&(resource.clone(), node.clone()))?;
        let at = starts.iter().rev().nth(MAX_BURST - 1)?;
        Some(*at + BURST)
    }

    /// Whether an action of the decision is under way already.
    fn has_begun(&self, kind: &ActionKind) -> bool {
        match kind.resource() {
            None => self.fencing.get(kind.node()).is_some_and(|fencing| fencing.op.is_some()),
            Some(resource) => self.busy_with(resource).contains(kind.node()),
        }
    }

    /// The decision to be written down, if an action comes next that the store does not have;
    /// also of one that has to wait for its time, so that it need not wait for the store then.
    pub(super) fn record(&mut self, scene: Scene<'_>) -> Option<Vec<ActionKind>> {
        let known = |kind: &ActionKind| self.authorised.contains_key(kind) || self.has_begun(kind);
        if self.next().iter().all(known) {
            return None;
        }
        let decision = self.decision.clone()?;
        let actions = decision.graph.actions();
        let (ledger, _) = self.ledger.as_mut()?;
        let record = &mut ledger.decision;
        record.number += 1;
        (record.term, record.by) = (self.term, self.config.me.clone());
        record.at = self.config.wall(scene.now);
        let words = actions.iter().take(MAX_WORDS);
        record.actions =
            words.map(|action| format!("{}: {}", action.kind, action.reason)).collect();
        Some(actions.iter().map(|action| action.kind.clone()).collect())
    }

    /// Begins what may begin and the store has, and repeats what was not answered.
    pub(super) fn act(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        self.repeat(scene, out);
        for kind in self.next() {
            // A start that began in this loop makes others of the resource wait.
            if !self.may_begin(scene, &kind) {
                continue;
            }
            let Some(revision) = self.authorised.remove(&kind) else { continue };
            let (node, resource, action) = match kind {
                ActionKind::Fence { node } => {
                    self.fence(scene, node, out);
                    continue;
                }
                ActionKind::Demote { resource, node } => (node, resource, CommandAction::Demote),
                ActionKind::Probe { resource, node } => (node, resource, CommandAction::Probe),
                ActionKind::Promote { resource, node } => {
                    let token = FencingToken::new(revision.get());
                    (node, resource, CommandAction::Promote { token })
                }
                ActionKind::Start { resource, node } => {
                    let token = FencingToken::new(revision.get());
                    (node, resource, CommandAction::Start { token })
                }
                ActionKind::Stop { resource, node } => (node, resource, CommandAction::Stop),
            };
            self.command(scene, (node, resource), action, out);
        }
        self.introduce(scene, out);
        self.wake_for_waits(scene);
    }

    pub(super) fn command(
        &mut self,
        scene: Scene<'_>,
        (node, resource): (NodeName, ResourceName),
        action: CommandAction,
        out: &mut Vec<Output>,
    ) {
        let Some((ledger, _)) = &self.ledger else { return };
        let Some(life) = self.life(&node) else { return };
        let configured = ledger.config.resources().get(&resource).cloned();
        // What is no longer configured is stopped by what the node has of it.
        let definition = configured.unwrap_or_else(|| {
            let mut unknown = crate::model::Resource::new(resource.clone(), "").raw;
            unknown.guarantee = Guarantee::AtMostOne;
            unknown
        });
        let promoted = if definition.promotable { self.promoted(&resource, &node) } else { None };
        let (term, op) = (self.term, self.next_op());
        let name = resource.clone();
        let command = Command { term, life, op, resource: name, definition, action, promoted };
        if matches!(action, CommandAction::Promote { .. } | CommandAction::Start { .. }) {
            let starts = self.starts.entry((resource.clone(), node.clone())).or_default();
            starts.push_back(scene.now);
            if starts.len() > MAX_BURST {
                starts.pop_front();
            }
        }
        let message = Message::Command(Box::new(command.clone()));
        out.push(Output::Send { to: node.clone(), message });
        let pending = Pending { op, command, sent: scene.now, done: false };
        self.pending.insert((resource, node), pending);
    }

    /// Tells copies whom to follow, as they come and the promoted one changes.
    fn introduce(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let Some((ledger, _)) = &self.ledger else { return };
        let config = ledger.config.resources();
        let promotable = config.iter().filter(|(_, definition)| definition.promotable);
        let promotable: Vec<ResourceName> = promotable.map(|(name, _)| name.clone()).collect();
        let nodes: Vec<NodeName> = self.peers.keys().cloned().collect();
        for resource in promotable {
            for node in &nodes {
                let key = (resource.clone(), node.clone());
                let copy = self.known(&resource, node).filter(|known| {
                    known.fault.is_none()
                        && known.role.is_some_and(|role| role.is_active() && role != Role::Promoted)
                });
                let ready = matches!(self.standing(scene, node), Standing::Ready { .. });
                let Some(promoted) = self.promoted(&resource, node).filter(|_| copy.is_some())
                else {
                    self.introduced.remove(&key);
                    continue;
                };
                let idle = ready && !self.busy_with(&resource).contains(node);
                if idle && self.introduced.get(&key) != Some(&promoted) {
                    self.introduced.insert(key, promoted);
                    let at = (node.clone(), resource.clone());
                    self.command(scene, at, CommandAction::Notify, out);
                }
            }
        }
    }

    /// Where a resource is promoted, other than on `node`; `None` if nowhere, or not in one place.
    fn promoted(&self, resource: &ResourceName, node: &NodeName) -> Option<NodeName> {
        let mut on = self.peers.keys().filter(|node| {
            self.known(resource, node).is_some_and(|known| known.role == Some(Role::Promoted))
        });
        let (first, second) = (on.next()?, on.next());
        (second.is_none() && first != node).then(|| first.clone())
    }

    /// Says again what was not answered and does not seem to have arrived.
    fn repeat(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let every = self.config.repeat;
        let keys: Vec<_> = self.pending.keys().cloned().collect();
        for key in keys {
            let at_work = self.known(&key.0, &key.1).is_some_and(|known| known.running.is_some());
            let Some(pending) = self.pending.get_mut(&key) else { continue };
            if pending.sent + every <= scene.now {
                pending.sent = scene.now;
                if !at_work {
                    let message = Message::Command(Box::new(pending.command.clone()));
                    out.push(Output::Send { to: key.1.clone(), message });
                }
            }
            let next = pending.sent + every;
            self.wake_at(next);
        }
    }

    fn wake_for_waits(&mut self, scene: Scene<'_>) {
        let Some(decision) = self.decision.clone() else { return };
        for action in decision.graph.actions() {
            let node = action.kind.node();
            let at = match action.kind.resource() {
                None => {
                    let again = self.fencing.get(node).map(|fencing| fencing.again);
                    again.max(self.fence_at(scene, node))
                }
                Some(resource) => self.start_at(resource, node),
            };
            if let Some(at) = at.filter(|at| *at > scene.now) {
                self.wake_at(at);
            }
        }
    }

    fn fence(&mut self, scene: Scene<'_>, node: NodeName, out: &mut Vec<Output>) {
        let op = self.next_op();
        let life = self.present_life(&node);
        let fencing = self.fencing.entry(node.clone()).or_default();
        (fencing.op, fencing.life) = (Some(op), life);
        fencing.tries += 1;
        let reason = match self.standing(scene, &node) {
            Standing::Unclean { why, .. } => why.to_owned(),
            Standing::Awaited | Standing::Joining | Standing::Off | Standing::Ready { .. } => {
                "something on it could not be stopped".to_owned()
            }
        };
        out.push(Output::Event(ManagerEvent::FenceRequested { node: node.clone(), reason }));
        let fencing = self.ledger.as_ref().and_then(|(ledger, _)| ledger.config.fencing());
        let fencing = Box::new(fencing.cloned().unwrap_or_default());
        out.push(Output::Fence { op, node, fencing });
    }

    /// The latest life of a node that is known.
    fn present_life(&self, node: &NodeName) -> Option<Incarnation> {
        let fate = self.ledger.as_ref().map(|(ledger, _)| ledger.fate(node));
        let recorded = match fate {
            Some(Fate::Member { life }) => Some(life),
            Some(Fate::Off { life }) => life,
            Some(Fate::Unknown) | None => None,
        };
        recorded.max(self.life(node))
    }

    /// The fencer has answered: by what the node is off, or why that is not sure, for a person.
    pub(in crate::manager) fn fenced(
        &mut self,
        scene: Scene<'_>,
        (op, node): (OpId, NodeName),
        result: Result<String, String>,
        out: &mut Vec<Output>,
    ) {
        let Some(fencing) = self.fencing.get_mut(&node).filter(|f| f.op == Some(op)) else {
            return;
        };
        let life = fencing.life;
        fencing.op = None;
        self.stale = true;
        let confirmed = result.is_ok();
        let (Ok(reason) | Err(reason)) = result;
        let event = ManagerEvent::FenceReported { node: node.clone(), confirmed, reason };
        out.push(Output::Event(event));
        if !confirmed {
            let doublings = fencing.tries.saturating_sub(1).min(10);
            let pause = FENCE_AGAIN.saturating_mul(1 << doublings).min(FENCE_AGAIN_LONGEST);
            fencing.again = scene.now + pause;
            return;
        }
        self.fencing.remove(&node);
        if self.present_life(&node) > life {
            return; // It is back already, and says itself what it runs.
        }
        self.ghosts.remove(&node);
        let Some((ledger, _)) = &mut self.ledger else { return };
        if ledger.set_fate(&node, Fate::Off { life }) {
            self.dirty = true;
        }
        // Nor may a decision that is just being written start anything on the strength of it.
        self.withdraw();
        // What waited for it is decided anew, so that the store has the fencing before a start;
        // and the membership without the node may not be quorate.
        self.authorised.clear();
        out.push(Output::ConfirmFenced(node));
    }
}
