//! Instances of a clone, or containers of a bundle, one after the other.

use std::cmp::Ordering;

use super::choice::{compare_names, is_available};
use super::{assign as assign_any, primitive};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::resource::{ABSENT, Variant};
use crate::scheduler::score::INFINITY;

/// How many instances each node has so far.
pub(super) struct Counts(Vec<usize>);

impl Counts {
    fn of(&self, node: NodeId) -> usize {
        self.0.get(node.index()).copied().unwrap_or(0)
    }

    fn add(&mut self, node: NodeId) {
        if let Some(count) = self.0.get_mut(node.index()) {
            *count += 1;
        }
    }
}

/// Assigns up to `max` instances, up to `per_node` to a node.
pub(super) fn assign(
    cluster: &mut Cluster<'_>,
    collective: RscId,
    instances: &[RscId],
    max: usize,
    per_node: usize,
) {
    let mut sorted = instances.to_vec();
    sort(cluster, collective, &mut sorted);
    let mut counts = Counts(vec![0; cluster.nodes.len()]);
    let open = cluster
        .node_ids()
        .filter(|node| cluster[collective].score(*node) >= 0 && is_available(cluster, *node))
        .count();
    // An even share, so that those that run do not keep a place that another node should fill.
    let share = max.checked_div(open).unwrap_or(1).max(1);
    let share = share.min(per_node.max(1));
    let mut assigned = 0;
    for instance in sorted.clone() {
        if assigned >= max {
            break;
        }
        let Some(node) = preferred(cluster, collective, instance, &counts, share) else { continue };
        let limits = Limits { per_node, available: max - assigned };
        if try_node(cluster, collective, instance, node, &counts, &limits) {
            counts.add(node);
            assigned += 1;
        }
    }
    for instance in sorted {
        if is_done(cluster, instance) {
            continue;
        }
        if assigned >= max {
            let why = Why::Other("there are instances enough");
            for member in cluster.all_of(instance) {
                cluster.ban_all(member, &why);
            }
            assign_any(cluster, instance, None);
            continue;
        }
        close_full(cluster, collective, instance, &counts, per_node);
        if let Some(node) = assign_any(cluster, instance, None) {
            counts.add(node);
            assigned += 1;
        }
    }
}

fn is_done(cluster: &Cluster<'_>, instance: RscId) -> bool {
    cluster[instance].is_assigned
}

/// Closes the nodes that have instances enough.
fn close_full(
    cluster: &mut Cluster<'_>,
    collective: RscId,
    instance: RscId,
    counts: &Counts,
    per_node: usize,
) {
    let why = Why::Other("there are instances enough on this node");
    for node in cluster.node_ids() {
        let is_closed = cluster[collective].score(node) == ABSENT;
        if is_closed || counts.of(node) >= per_node {
            for member in lead(cluster, instance) {
                if cluster[member].score(node) != ABSENT {
                    cluster.ban(member, node, &why);
                }
            }
        }
    }
}

/// The members that decide where an instance goes.
fn lead(cluster: &Cluster<'_>, instance: RscId) -> Vec<RscId> {
    match cluster[instance].variant {
        Variant::Group => cluster.all_of(instance),
        Variant::Bundle | Variant::Clone | Variant::Primitive => vec![instance],
    }
}

/// Where an instance is and may stay.
fn preferred(
    cluster: &Cluster<'_>,
    collective: RscId,
    instance: RscId,
    counts: &Counts,
    share: usize,
) -> Option<NodeId> {
    let node = cluster.current(instance)?;
    let failed = cluster.all_of(instance).into_iter().any(|member| cluster[member].failed);
    if cluster[instance].is_assigned || failed || !is_available(cluster, node) {
        return None;
    }
    if cluster[collective].score(node) < 0 || counts.of(node) >= share {
        return None;
    }
    Some(node)
}

/// Assigns an instance if it goes where it is preferred; else leaves everything as it was.
fn try_node(
    cluster: &mut Cluster<'_>,
    collective: RscId,
    instance: RscId,
    node: NodeId,
    counts: &Counts,
    limits: &Limits,
) -> bool {
    let members = cluster.all_of(instance);
    let saved: Vec<(RscId, Vec<i32>, usize)> = members
        .iter()
        .map(|one| (*one, cluster[*one].scores.clone(), cluster.ledger.mark(*one)))
        .collect();
    let why = Why::Other("another instance goes there");
    let mut left_to_others: Vec<NodeId> = Vec::new();
    for _ in 0..limits.available.max(1) {
        close_full(cluster, collective, instance, counts, limits.per_node);
        for better in &left_to_others {
            for member in lead(cluster, instance) {
                if cluster[member].score(*better) != ABSENT {
                    cluster.ban(member, *better, &why);
                }
            }
        }
        let chosen = assign_any(cluster, instance, Some(node));
        if chosen == Some(node) {
            return true;
        }
        unassign(cluster, &members);
        for (member, scores, mark) in &saved {
            cluster[*member].scores.clone_from(scores);
            cluster.ledger.take_back(*member, *mark);
        }
        // A better node may be left to one of those that have none yet.
        let Some(better) = chosen else { break };
        left_to_others.push(better);
    }
    false
}

/// How many there may be.
struct Limits {
    per_node: usize,
    /// Instances that have no node yet.
    available: usize,
}

fn unassign(cluster: &mut Cluster<'_>, members: &[RscId]) {
    for member in members {
        if cluster[*member].is_primitive() {
            primitive::take_back(cluster, *member);
        }
        cluster[*member].is_assigned = false;
        cluster[*member].assigned = None;
    }
}

/// Who is assigned first: those that run where they may, on nodes with few; the failed later.
fn sort(cluster: &Cluster<'_>, collective: RscId, instances: &mut [RscId]) {
    let mut at: Vec<usize> = vec![0; cluster.nodes.len()];
    for instance in instances.iter() {
        for node in &cluster[*instance].running {
            if let Some(count) = at.get_mut(node.index()) {
                *count += 1;
            }
        }
    }
    instances.sort_by(|a, b| compare(cluster, collective, &at, *a, *b));
}

/// Which of two instances comes first.
pub(super) fn compare(
    cluster: &Cluster<'_>,
    collective: RscId,
    counts: &[usize],
    a: RscId,
    b: RscId,
) -> Ordering {
    let node = |one: RscId| cluster.current(one);
    let allowed = |one: RscId| {
        node(one).is_some_and(|node| {
            let lead = cluster.primitives_of(one).first().copied().unwrap_or(one);
            cluster[collective].score(node) > -INFINITY
                && cluster[lead].score(node) > -INFINITY
                && is_available(cluster, node)
        })
    };
    let first_if = |a: bool, b: bool| b.cmp(&a);
    let count = |one: RscId| node(one).and_then(|at| counts.get(at.index())).copied().unwrap_or(0);
    let failed = |one: RscId| cluster.all_of(one).into_iter().any(|member| cluster[member].failed);
    let pending = |one: RscId| cluster[one].pending_node.is_some();
    first_if(node(a).is_some() && allowed(a), node(b).is_some() && allowed(b))
        .then_with(|| first_if(node(a).is_some(), node(b).is_some()))
        .then_with(|| cluster[b].priority.cmp(&cluster[a].priority))
        .then_with(|| first_if(!cluster[a].removed, !cluster[b].removed))
        .then_with(|| count(a).cmp(&count(b)))
        .then_with(|| first_if(!failed(a), !failed(b)))
        .then_with(|| first_if(pending(a), pending(b)))
        .then_with(|| by_scores(cluster, a, b))
        .then_with(|| compare_names(&cluster[a].id, &cluster[b].id))
}

/// The one that is wanted more where it is, then on the best nodes.
fn by_scores(cluster: &Cluster<'_>, a: RscId, b: RscId) -> Ordering {
    let (Some(here), Some(there)) = (cluster.current(a), cluster.current(b)) else {
        return Ordering::Equal;
    };
    let lead = |one: RscId| cluster.primitives_of(one).first().copied().unwrap_or(one);
    let (a, b) = (lead(a), lead(b));
    cluster[b].score(there).cmp(&cluster[a].score(here))
}
