//! How a mesh agrees on views, and which of them are quorate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ha_core::id::{Incarnation, NodeName, ViewId};
use ha_core::time::Instant;

use super::machine::{Mesh, MeshEvent, MeshOutput};
use super::wire::Proposal;
use super::{TAG_BITS, tag};
use crate::detector::Verdict;
use crate::quorum::{Census, QuorumPolicy};
use crate::view::{Member, Standing, View};

impl Mesh {
    /// Everybody in reach: heard here, or by somebody who is heard here.
    fn in_reach(&self) -> Vec<(NodeName, Incarnation)> {
        let mut reach = BTreeMap::from([(self.config.me.clone(), self.incarnation)]);
        for (name, peer) in &self.peers {
            if !peer.gone && (self.verdict(name) != Verdict::Dead || self.heard_elsewhere(name)) {
                reach.insert(name.clone(), peer.incarnation);
            }
        }
        reach.into_iter().collect()
    }

    /// Whether a node that is heard here says that it hears `name` in its present life.
    fn heard_elsewhere(&self, name: &NodeName) -> bool {
        let life = self.peers.get(name).map(|peer| peer.incarnation);
        self.peers.iter().any(|(witness, peer)| {
            !peer.gone
                && self.verdict(witness) != Verdict::Dead
                && peer.says.get(name).is_some_and(|(of, hears)| Some(*of) == life && *hears)
        })
    }

    /// Proposes a view if that is this node's part, and puts it in force when all have agreed.
    pub(super) fn agree(&mut self, out: &mut Vec<MeshOutput>) {
        let reach = self.in_reach();
        let lowest = reach.first().is_some_and(|(name, _)| *name == self.config.me);
        // A later agreement of a member may be with a view that will never be.
        let overtaken = reach
            .iter()
            .any(|(name, _)| self.peers.get(name).is_some_and(|peer| peer.agreed > self.agreed.id));
        if lowest && (*self.agreed.members != *reach || overtaken) {
            let proposal = Proposal { id: self.next_id(), members: Arc::from(reach) };
            self.consider(&proposal);
        }
        let all = self.agreed.members.iter().all(|(name, life)| {
            *name == self.config.me
                || self
                    .peers
                    .get(name)
                    .is_some_and(|peer| peer.incarnation == *life && peer.agreed == self.agreed.id)
        });
        if all {
            self.install(out);
        }
    }

    /// A number that nobody else ever gives: a count, then who counts.
    fn next_id(&self) -> ViewId {
        let count = (self.highest.get().max(self.agreed.id.get()) >> TAG_BITS) + 1;
        let count = count.max(self.config.incarnation.get()).min(u64::MAX >> TAG_BITS);
        ViewId::new(count << TAG_BITS | tag(&self.config.me))
    }

    /// Agrees to a view, if this node may; silence is a no.
    pub(super) fn consider(&mut self, proposal: &Proposal) {
        let Proposal { id, members } = proposal;
        let me = (self.config.me.clone(), self.incarnation);
        if *id <= self.agreed.id || !members.contains(&me) {
            return;
        }
        let kept = |member: &(NodeName, Incarnation)| members.contains(member);
        let may_go = |(name, life): &(NodeName, Incarnation)| {
            *name == self.config.me
                || self.peers.get(name).is_none_or(|peer| peer.incarnation > *life || peer.gone)
                || self.verdict(name) == Verdict::Dead
        };
        if self.installed.members.iter().all(|member| kept(member) || may_go(member)) {
            self.agreed = proposal.clone();
            self.highest = self.highest.max(*id);
            self.news = true;
        }
    }

    /// Puts the view in force that this node has agreed to.
    pub(super) fn install(&mut self, out: &mut Vec<MeshOutput>) {
        if self.installed.id == self.agreed.id {
            return;
        }
        let before = std::mem::replace(&mut self.installed, self.agreed.clone());
        self.stats.views += 1;
        self.news = true;
        let me = &self.config.me;
        for (name, life) in before.members.iter().filter(|(name, _)| name != me) {
            let now = self.installed.members.iter().find(|(member, _)| member == name);
            let left = self.peers.get(name).is_some_and(|p| p.left && p.incarnation == *life);
            match now {
                Some((_, now)) if now == life => {}
                _ if left => out.push(MeshOutput::Event(MeshEvent::Left(name.clone()))),
                _ => out.push(MeshOutput::Event(MeshEvent::Failed(name.clone()))),
            }
        }
        for member in self.installed.members.iter().filter(|(name, _)| name != me) {
            if before.members.contains(member) {
                continue;
            }
            out.push(MeshOutput::Event(MeshEvent::Joined(member.0.clone())));
            if self.detector_knows(&member.0) {
                continue;
            }
            // Others hear it; give it the time to be heard here before it counts as silent.
            crate::detector::FailureDetector::heartbeat(&mut self.detector, &member.0, self.now);
        }
    }

    fn detector_knows(&self, name: &NodeName) -> bool {
        self.detector.peers().any(|peer| peer == name)
    }

    /// Until when `name` vouches for this node.
    fn voucher(&self, name: &NodeName) -> Option<Instant> {
        let peer = self.peers.get(name).filter(|peer| !peer.gone)?;
        Some(peer.vouches_from? + self.config.voucher())
    }

    /// Whether this life is old enough to vote: what an earlier one has promised is over.
    pub(super) fn votes(&self) -> bool {
        self.now >= self.votes_at
    }

    /// When the next voucher ends.
    pub(super) fn voucher_ends(&self) -> Option<Instant> {
        let ends = self.peers.keys().filter_map(|name| self.voucher(name));
        ends.filter(|end| *end > self.now).min()
    }

    fn is_quorate(&mut self) -> bool {
        let Some(quorum) = &self.config.quorum else { return false };
        let vouches = |name: &NodeName| {
            (*name == self.config.me && self.votes())
                || self.voucher(name).is_some_and(|end| end > self.now)
        };
        let members = self.installed.members.iter().map(|(name, _)| name);
        let present = members.filter(|name| vouches(name)).cloned().collect();
        let mut census = Census { present, fenced: self.fenced.clone(), seen_all: self.seen_all };
        census.seen_all |= quorum.votes().keys().all(|voter| census.present.contains(voter));
        self.seen_all = census.seen_all;
        quorum.decide(&census).is_quorate()
    }

    /// Until when this node is quorate even if it hears nobody any more; `None` if it is not.
    ///
    /// Whoever acts for the cluster checks this against its clock before each effect: a process
    /// that was paused then finds out before it acts, also when the mesh has not been ticked yet.
    #[must_use]
    pub fn quorate_until(&self) -> Option<Instant> {
        let quorum = self.config.quorum.as_ref().filter(|_| self.view.is_quorate())?;
        let mut ends: Vec<(Instant, &NodeName)> = Vec::new();
        for (name, _) in self.installed.members.iter() {
            let end = match self.voucher(name) {
                _ if *name == self.config.me => Instant::MAX,
                Some(end) if end > self.now => end,
                Some(_) | None => continue,
            };
            ends.push((end, name));
        }
        ends.sort_unstable();
        let mut present: BTreeSet<NodeName> =
            ends.iter().map(|(_, name)| (*name).clone()).collect();
        for (end, name) in ends {
            present.remove(name);
            let (fenced, seen_all) = (self.fenced.clone(), self.seen_all);
            let census = Census { present: present.clone(), fenced, seen_all };
            if !quorum.decide(&census).is_quorate() {
                return Some(end);
            }
        }
        Some(Instant::MAX)
    }

    /// Tells what changed in the view as it should be now.
    pub(super) fn publish(&mut self, out: &mut Vec<MeshOutput>) {
        let view = if self.has_left() {
            View::new(self.installed.id, [], false)
        } else {
            let quorate = self.is_quorate();
            let members = self.installed.members.iter().map(|(name, life)| {
                (name.clone(), Member { incarnation: *life, standing: self.standing(name) })
            });
            View::new(self.installed.id, members, quorate)
        };
        if view == self.view {
            return;
        }
        for (name, member) in view.members() {
            let before = self.view.members().get(name);
            let before = before.filter(|before| before.incarnation == member.incarnation);
            let left = self.peers.get(name).is_some_and(|peer| peer.left);
            if left || before.is_none_or(|before| before.standing == member.standing) {
                continue;
            }
            let name = name.clone();
            out.push(MeshOutput::Event(match member.standing {
                Standing::Alive => MeshEvent::Alive(name),
                Standing::Suspect => MeshEvent::Suspected(name),
                Standing::Unreachable => MeshEvent::Unreachable(name),
            }));
        }
        self.view = view.clone();
        out.push(MeshOutput::View(view));
    }
}
