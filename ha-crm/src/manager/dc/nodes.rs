//! What the leader knows of the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ha_core::id::{Incarnation, NodeName, ResourceName};
use ha_core::role::Role;
use ha_core::time::Instant;

use super::{Dc, Scene};
use crate::manager::event::ManagerEvent;
use crate::manager::ledger::{Fate, Ledger};
use crate::manager::message::{CommandAction, Message, Report, ResourceReport, digest};
use crate::manager::output::Output;
use crate::model::{Failures, NodeStatus, OperationName, ResourceStatus};

/// A member of the view.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    life: Incarnation,
    /// Since when this leader knows it.
    since: Instant,
    asked_at: Option<Instant>,
    /// Its last report in this life.
    pub(super) report: Option<Arc<Report>>,
    /// It refuses commands of earlier leaders.
    synced: bool,
}

/// What a node is to a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was not seen since this process started, but may be on its way.
    Awaited,
    /// It is a member and has not said yet what it has.
    Joining,
    /// Nothing runs there.
    Off,
    /// It obeys.
    Ready { standby: bool },
    /// It may run anything.
    Unclean { since: Instant, why: &'static str },
}

impl Dc {
    pub(super) fn standing(&self, scene: Scene<'_>, node: &NodeName) -> Standing {
        let Some((ledger, _)) = &self.ledger else { return Standing::Awaited };
        if ledger.config.is_witness(node) {
            return Standing::Off;
        }
        let fate = ledger.fate(node);
        let Some(member) = scene.view.members().get(node) else {
            if matches!(fate, Fate::Off { .. }) || !self.config.safeguards.fencing {
                return Standing::Off;
            }
            let since = scene.seen.lost_since(node, self.config.startup_wait);
            if since > scene.now {
                return Standing::Awaited;
            }
            return Standing::Unclean { since, why: "it is not heard any more" };
        };
        if matches!(fate, Fate::Off { life: Some(life) } if life >= member.incarnation) {
            return Standing::Off;
        }
        let Some(peer) = self.peers.get(node) else { return Standing::Joining };
        match &peer.report {
            Some(report) if peer.synced => {
                let asked = ledger.nodes.get(node).is_some_and(|record| record.standby);
                Standing::Ready { standby: asked || report.leaving }
            }
            Some(_) | None => {
                let since = peer.since + self.config.answer_within;
                if since > scene.now {
                    return Standing::Joining;
                }
                Standing::Unclean { since, why: "its manager does not answer" }
            }
        }
    }

    /// Follows the members: asks the new ones, and notes who is in which life.
    pub(super) fn meet(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let gone: Vec<NodeName> = self.peers.keys().cloned().collect();
        for node in gone {
            if !scene.view.members().contains_key(&node) {
                self.lose(&node);
            }
        }
        for (node, member) in scene.view.members() {
            let peer = self.peers.get(node);
            if peer.is_none_or(|peer| peer.life != member.incarnation) {
                self.lose(node);
                let (life, since) = (member.incarnation, scene.now);
                let peer = Peer { life, since, asked_at: None, report: None, synced: false };
                self.peers.insert(node.clone(), peer);
                self.stale = true;
            }
        }
        self.ask(scene, out);
        self.admit(scene);
        self.tell(scene, out);
    }

    /// A node, or a life of it, is not there any more: what it ran it may run still.
    fn lose(&mut self, node: &NodeName) {
        let Some(peer) = self.peers.remove(node) else { return };
        let mut ghost = BTreeMap::new();
        for (resource, known) in peer.report.iter().flat_map(|report| &report.resources) {
            if known.role.is_some_and(Role::is_active) || known.running.is_some() {
                ghost.insert(resource.clone(), ResourceStatus::started());
            }
        }
        for (resource, at) in self.pending.keys() {
            if at == node {
                ghost.insert(resource.clone(), ResourceStatus::started());
            }
        }
        self.pending.retain(|(_, at), _| at != node);
        self.introduced.retain(|(_, at), _| at != node);
        self.ghosts.insert(node.clone(), ghost);
        self.stale = true;
    }

    fn ask(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let (term, now) = (self.term, scene.now);
        let mut due = Vec::new();
        for (node, peer) in &mut self.peers {
            let every = if peer.synced { self.config.repeat * 2 } else { self.config.repeat / 2 };
            let next = peer.asked_at.map_or(now, |at| at + every);
            if next <= now {
                peer.asked_at = Some(now);
                out.push(Output::Send { to: node.clone(), message: Message::Hello { term } });
                due.push(now + every);
            } else {
                due.push(next);
            }
            if !peer.synced {
                due.push(peer.since + self.config.answer_within);
            }
        }
        for at in due.into_iter().filter(|at| *at > now) {
            self.wake_at(at);
        }
    }

    /// Notes in the ledger who is a member in which life, before anything is started there.
    fn admit(&mut self, scene: Scene<'_>) {
        let ready: Vec<(NodeName, Incarnation)> = self
            .peers
            .iter()
            .filter(|(node, _)| matches!(self.standing(scene, node), Standing::Ready { .. }))
            .map(|(node, peer)| (node.clone(), peer.life))
            .collect();
        let Some((ledger, _)) = &mut self.ledger else { return };
        for (node, life) in ready {
            let peer = self.peers.get(&node).and_then(|peer| peer.report.as_ref());
            if peer.is_some_and(|report| report.leaving) && idle(peer) {
                let busy = self.pending.keys().any(|(_, at)| *at == node);
                if !busy && ledger.set_fate(&node, Fate::Off { life: Some(life) }) {
                    (self.dirty, self.stale) = (true, true);
                }
                continue;
            }
            if ledger.set_fate(&node, Fate::Member { life }) {
                self.dirty = true;
                self.ghosts.remove(&node);
            }
        }
    }

    /// Tells nodes that want to leave that they may.
    pub(super) fn release(&self, scene: Scene<'_>, out: &mut Vec<Output>) {
        for (node, peer) in &self.peers {
            let leaving = peer.report.as_ref().is_some_and(|report| report.leaving);
            if leaving && self.standing(scene, node) == Standing::Off {
                let message = Message::Released { term: self.term, life: peer.life };
                out.push(Output::Send { to: node.clone(), message });
            }
        }
    }

    /// Says whose status has changed.
    fn tell(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        let Some((ledger, _)) = &self.ledger else { return };
        for node in ledger.config.nodes().to_vec() {
            if self.ledger.as_ref().is_some_and(|(ledger, _)| ledger.config.is_witness(&node)) {
                continue;
            }
            let status = self.status(scene, &node);
            if self.told.insert(node.clone(), status) != Some(status) {
                self.stale = true;
                let status = format!("{status:?}").to_lowercase();
                out.push(Output::Event(ManagerEvent::Node { node, status }));
            }
        }
    }

    pub(super) fn status(&self, scene: Scene<'_>, node: &NodeName) -> NodeStatus {
        match self.standing(scene, node) {
            Standing::Awaited | Standing::Joining => NodeStatus::Pending,
            Standing::Off => NodeStatus::Offline,
            Standing::Ready { standby: true } => NodeStatus::Standby,
            Standing::Ready { standby: false } => NodeStatus::Online,
            Standing::Unclean { .. } => NodeStatus::Unclean,
        }
    }

    pub(super) fn take_report(&mut self, scene: Scene<'_>, from: &NodeName, report: Report) {
        let term = self.term;
        let Some(peer) = self.peers.get_mut(from) else { return };
        let newer = peer.report.as_ref().is_none_or(|known| known.number < report.number);
        if report.life != peer.life || !newer {
            return;
        }
        let synced = report.term == term;
        let before = peer.report.replace(Arc::new(report));
        let changed = before.is_none_or(|before| {
            peer.report.as_ref().is_none_or(|now| {
                now.resources != before.resources || now.leaving != before.leaving
            })
        });
        self.stale |= changed || peer.synced != synced;
        peer.synced = synced;
        let Some(report) = peer.report.clone() else { return };
        for ((resource, at), pending) in &mut self.pending {
            let known = report.resources.get(resource).filter(|_| at == from);
            pending.done |= known.and_then(|k| k.answered).is_some_and(|op| op >= pending.op);
        }
        let pending = self.pending.len();
        self.pending.retain(|_, pending| !pending.done);
        self.stale |= self.pending.len() != pending;
        self.count(scene, from, &report);
    }

    fn count(&mut self, scene: Scene<'_>, node: &NodeName, report: &Report) {
        let at = self.config.wall(scene.now);
        let Some((ledger, _)) = &mut self.ledger else { return };
        for (resource, known) in &report.resources {
            let Some(operation) = known.failed else { continue };
            let counted = (report.life, known.failures);
            if ledger.count_failures((resource, node), counted, (operation, at)) {
                (self.dirty, self.stale) = (true, true);
            }
        }
    }

    /// The resources of a node that obeys, for the policy.
    pub(super) fn resources_of(
        &self,
        ledger: &Ledger,
        node: &NodeName,
    ) -> Vec<(ResourceName, ResourceStatus)> {
        let report = self.peers.get(node).and_then(|peer| peer.report.as_ref());
        let known = report.into_iter().flat_map(|report| &report.resources);
        known
            .filter_map(|(resource, known)| {
                Some((resource.clone(), resource_status(ledger, (resource, node), known)?))
            })
            .collect()
    }

    pub(super) fn known(
        &self,
        resource: &ResourceName,
        node: &NodeName,
    ) -> Option<&ResourceReport> {
        self.peers.get(node)?.report.as_ref()?.resources.get(resource)
    }

    /// The life of a member.
    pub(super) fn life(&self, node: &NodeName) -> Option<Incarnation> {
        self.peers.get(node).map(|peer| peer.life)
    }

    /// The nodes on which something is at work that may make a copy the promoted one, or show it:
    /// all but a start, which makes a copy, and a notification.
    pub(super) fn changing_roles(&self, resource: &ResourceName) -> BTreeSet<NodeName> {
        let pending = self.pending.iter().filter(|((name, _), pending)| {
            let action = pending.command.action;
            name == resource
                && !matches!(action, CommandAction::Start { .. } | CommandAction::Notify)
        });
        let pending = pending.map(|((_, node), _)| node.clone());
        let running = self.peers.keys().filter(|node| {
            let running = self.known(resource, node).and_then(|known| known.running);
            running
                .is_some_and(|what| !matches!(what, OperationName::Start | OperationName::Notify))
        });
        pending.chain(running.cloned()).collect()
    }

    /// The nodes that something is at work on for a resource.
    pub(super) fn busy_with(&self, resource: &ResourceName) -> BTreeSet<NodeName> {
        let pending = self.pending.keys().filter(|(name, _)| name == resource);
        let pending = pending.map(|(_, node)| node.clone());
        let running = self
            .peers
            .keys()
            .filter(|node| self.known(resource, node).is_some_and(|known| known.running.is_some()));
        pending.chain(running.cloned()).collect()
    }
}

/// Whether it is known that nothing runs on a node, and nothing is being done.
fn idle(report: Option<&Arc<Report>>) -> bool {
    let mut known = report.into_iter().flat_map(|report| report.resources.values());
    known.all(|known| known.role.is_some_and(|role| !role.is_active()) && known.running.is_none())
}

fn resource_status(
    ledger: &Ledger,
    (resource, node): (&ResourceName, &NodeName),
    known: &ResourceReport,
) -> Option<ResourceStatus> {
    let role = known.role?;
    let configured = ledger.config.resources().get(resource).map(digest);
    let mut status = ResourceStatus::stopped();
    (status.role, status.fault, status.promotion) = (role, known.fault, known.promotion);
    status.outdated = known.digest.is_some() && configured.is_some() && known.digest != configured;
    let record = ledger.failures.get(resource).and_then(|nodes| nodes.get(node));
    status.failures = record.and_then(|record| record.failures);
    if known.barred {
        // What cannot run there is treated as a start that failed there.
        let (count, last) = status
            .failures
            .map_or((1, ha_core::time::WallTime::from_micros(0)), |f| (f.count, f.last));
        status.failures = Some(Failures { count, last, operation: OperationName::Start });
    }
    Some(status)
}
