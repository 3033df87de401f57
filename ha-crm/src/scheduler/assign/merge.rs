//! What wants to be with a resource has a say in where it goes.

use std::sync::Arc;

use super::choice::{has_any, is_available};
use super::colocation::{dependents_of, has_influence, primaries_of};
use crate::scheduler::cluster::{Cluster, MAX_DEPTH};
use crate::scheduler::constraint::Colocation;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::resource::{ABSENT, Variant};
use crate::scheduler::score::{INFINITY, sum};

/// How scores are taken over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// By how much they are scaled, from -1 to 1.
    pub(super) factor: f64,
    /// What is against a node is left out.
    pub(super) only_for: bool,
    /// Follow those it depends on, not those that depend on it.
    pub(super) follow_primaries: bool,
    /// It counts even if no node is left.
    pub(super) may_close: bool,
}

/// Scores in the making, with their parts.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) scores: Vec<i32>,
    parts: Vec<(NodeId, i32, Why)>,
    /// Nodes that were saved from being closed.
    spared: Vec<NodeId>,
}

impl Draft {
    pub(super) fn of(cluster: &Cluster<'_>, resource: RscId) -> Self {
        Self { scores: cluster[resource].scores.clone(), parts: Vec::new(), spared: Vec::new() }
    }

    /// Goes back to how it was, of which the scores were kept.
    fn go_back(&mut self, scores: Vec<i32>, parts: usize, spared: usize) {
        self.scores = scores;
        self.parts.truncate(parts);
        self.spared.truncate(spared);
    }
}

fn scale(score: i32) -> f64 {
    f64::from(score) / f64::from(INFINITY)
}

/// Lets the dependent of a colocation have its say in the scores of the primary.
pub(super) fn hear(cluster: &mut Cluster<'_>, resource: RscId, index: usize) {
    let Some(one) = cluster.colocations.get(index).cloned() else { return };
    if !has_influence(cluster, &one) || one.dependent_role == Some(ha_core::role::Role::Promoted) {
        return;
    }
    let mut draft = Draft::of(cluster, resource);
    // What dependents have against a node is not for a clone to follow: it may be on many.
    let only_for = cluster[resource].is_cloned() || cluster.clone_of(resource).is_some();
    let terms =
        Terms { factor: scale(one.score), only_for, follow_primaries: false, may_close: false };
    // What is in a group speaks for all of it.
    let source = match cluster[one.dependent].parent {
        Some(parent)
            if cluster[parent].variant == Variant::Group
                && !cluster[parent].children.contains(&resource) =>
        {
            parent
        }
        Some(_) | None => one.dependent,
    };
    cluster.limits.begin_hearing();
    add(cluster, source, &mut draft, &one, terms);
    accept(cluster, resource, draft);
}

/// Puts a draft in force.
pub(super) fn accept(cluster: &mut Cluster<'_>, resource: RscId, draft: Draft) {
    for (node, score, why) in &draft.parts {
        cluster.ledger.add(resource, *node, *score, why);
    }
    cluster[resource].scores = draft.scores;
}

/// The scores of a resource with those of all that it is to be with.
pub(super) fn with_all(cluster: &mut Cluster<'_>, resource: RscId) -> Vec<i32> {
    let lead = match cluster[resource].variant {
        Variant::Group => cluster[resource].children.last().copied().unwrap_or(resource),
        Variant::Bundle | Variant::Clone | Variant::Primitive => resource,
    };
    let mut draft = Draft::of(cluster, lead);
    cluster[lead].is_adding_scores = true;
    cluster.limits.begin_hearing();
    for index in primaries_of(cluster, lead).iter() {
        let Some(one) = cluster.colocations.get(*index).cloned() else { continue };
        let factor = scale(one.score);
        let terms = Terms { factor, only_for: false, follow_primaries: true, may_close: false };
        add(cluster, one.primary, &mut draft, &one, terms);
    }
    cluster[lead].is_adding_scores = false;
    draft.scores
}

/// Adds what a resource wants, and what those want that are to be with it.
pub(super) fn add(
    cluster: &mut Cluster<'_>,
    source: RscId,
    draft: &mut Draft,
    one: &Colocation,
    terms: Terms,
) {
    if cluster[source].is_adding_scores || cluster.depth > MAX_DEPTH {
        return;
    }
    cluster.depth += 1;
    cluster[source].is_adding_scores = true;
    let (scores, parts, spared) = (draft.scores.clone(), draft.parts.len(), draft.spared.len());
    if cluster[source].variant == Variant::Group {
        if let Some(first) = cluster[source].children.first().copied() {
            add(cluster, first, draft, one, terms);
        }
    } else {
        take(cluster, source, draft, one, terms);
        if has_any(cluster, &draft.scores) {
            follow(cluster, source, draft, terms);
        }
    }
    // Who only wants to be with it must not keep it from running.
    if !terms.may_close && !has_any(cluster, &draft.scores) {
        draft.go_back(scores, parts, spared);
    }
    cluster[source].is_adding_scores = false;
    cluster.depth -= 1;
}

/// Adds what those want that a resource is to be with, or that are to be with it.
fn follow(cluster: &mut Cluster<'_>, source: RscId, draft: &mut Draft, terms: Terms) {
    let peers = if terms.follow_primaries {
        primaries_of(cluster, source)
    } else {
        dependents_of(cluster, source)
    };
    let (resources, nodes) = (cluster.resources.len(), cluster.nodes.len());
    for index in peers.iter() {
        let Some(next) = cluster.colocations.get(*index).cloned() else { continue };
        let other = if terms.follow_primaries { next.primary } else { next.dependent };
        if has_influence(cluster, &next) {
            if !cluster.limits.may_follow(resources, nodes) {
                break;
            }
            let terms = Terms { factor: terms.factor * scale(next.score), ..terms };
            add(cluster, other, draft, &next, terms);
        }
    }
}

fn take(cluster: &Cluster<'_>, source: RscId, work: &mut Draft, one: &Colocation, terms: Terms) {
    let why = Why::Colocation(Arc::clone(&one.id), Arc::clone(&cluster[source].id));
    let is_tied = cluster[source].scores.iter().filter(|score| **score >= 0).count() == 1;
    for node in cluster.node_ids() {
        let Some(slot) = work.scores.get_mut(node.index()) else { continue };
        if *slot == ABSENT || work.spared.contains(&node) {
            continue;
        }
        let score = best_in_place(cluster, source, node, one);
        // That the dependent avoids a node is no reason to prefer it for what it wants to be apart
        // from, unless the dependent has no choice.
        if score < 0 && terms.factor < 0.0 && !is_tied {
            continue;
        }
        let part = round(terms.factor, score);
        if part == 0 {
            continue;
        }
        let total = sum(*slot, part);
        if terms.only_for && total < 0 && *slot >= INFINITY {
            continue; // What it must have it keeps.
        }
        if terms.only_for && total < 0 && *slot >= 0 {
            if *slot > 0 && !work.spared.contains(&node) {
                // It stays possible, but only just.
                work.spared.push(node);
                work.parts.push((node, 1 - *slot, why.clone()));
                *slot = 1;
            }
            continue;
        }
        *slot = total;
        work.parts.push((node, part, why.clone()));
    }
}

/// The best score of a resource on the nodes that count as the same place.
fn best_in_place(cluster: &Cluster<'_>, source: RscId, node: NodeId, one: &Colocation) -> i32 {
    let open = |node: NodeId| {
        let score = cluster[source].score(node);
        if score == ABSENT || !is_available(cluster, node) { -INFINITY } else { score }
    };
    match &one.node_attribute {
        None => open(node),
        Some(name) => {
            let here = cluster.attribute(node, name);
            let same = cluster
                .node_ids()
                .filter(|other| here.is_some() && cluster.attribute(*other, name) == here);
            same.map(open).max().unwrap_or(-INFINITY)
        }
    }
}

/// A scaled score, away from nothing if it was something.
#[expect(clippy::cast_possible_truncation, reason = "a score times at most one")]
fn round(factor: f64, score: i32) -> i32 {
    let exact = factor * f64::from(score);
    let rounded = exact.round() as i32;
    if rounded == 0 && score != 0 && factor != 0.0 {
        if factor > 0.0 { 1 } else { -1 }
    } else {
        rounded
    }
}
