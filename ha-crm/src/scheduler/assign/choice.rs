//! The best of several nodes.

use std::cmp::Ordering;

use super::utilization;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::node::Kind;
use crate::scheduler::options::Strategy;
use crate::scheduler::resource::ABSENT;

/// Whether a node can run something at all; a guest needs that what it lives in will run.
pub(crate) fn is_available(cluster: &Cluster<'_>, node: NodeId) -> bool {
    if !cluster[node].is_available() {
        return false;
    }
    if cluster[node].kind == Kind::Guest {
        let connection = cluster[node].connection;
        let container = connection.and_then(|connection| cluster[connection].container);
        if let Some(container) = container
            && cluster[container].is_assigned
            && cluster[container].assigned.is_none()
        {
            return false;
        }
    }
    true
}

/// Whether a node is there for a resource: what a bundle has inside waits for its own container.
fn is_open(cluster: &Cluster<'_>, resource: Option<RscId>, node: NodeId) -> bool {
    if cluster[node].is_guest() && resource.is_some_and(|one| cluster.bundle_of(one).is_some()) {
        return cluster[node].is_available();
    }
    is_available(cluster, node)
}

/// Whether a resource may run on a node.
pub(crate) fn may_run(cluster: &Cluster<'_>, resource: RscId, node: NodeId) -> bool {
    is_open(cluster, Some(resource), node) && cluster[resource].score(node) >= 0
}

/// Whether any node is left.
pub(super) fn has_any(cluster: &Cluster<'_>, scores: &[i32]) -> bool {
    cluster.node_ids().any(|node| {
        scores.get(node.index()).is_some_and(|score| *score >= 0) && is_available(cluster, node)
    })
}

/// Names, with the numbers in them as numbers.
pub(crate) fn compare_names(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (first, second) = (left.chars().next(), right.chars().next());
        let (Some(first), Some(second)) = (first, second) else {
            return first.is_some().cmp(&second.is_some()).then_with(|| a.cmp(b));
        };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let (one, rest) = left.split_at(digits(left));
            let (two, others) = right.split_at(digits(right));
            let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
            let by_number = one.len().cmp(&two.len()).then_with(|| one.cmp(two));
            if by_number != Ordering::Equal {
                return by_number;
            }
            (left, right) = (rest, others);
        } else {
            let lower = |c: char| c.to_ascii_lowercase();
            let by_letter = lower(first).cmp(&lower(second));
            if by_letter != Ordering::Equal {
                return by_letter;
            }
            left = left.get(first.len_utf8()..).unwrap_or_default();
            right = right.get(second.len_utf8()..).unwrap_or_default();
        }
    }
}

/// Nodes by what they have to offer, whatever the resource.
pub(super) fn compare_empty(cluster: &Cluster<'_>, a: NodeId, b: NodeId) -> Ordering {
    compare(cluster, None, (a, 0), (b, 0))
}

/// Which of two nodes comes first: score, room, number of resources, where it is now, name.
fn compare(
    cluster: &Cluster<'_>,
    resource: Option<RscId>,
    (a, a_score): (NodeId, i32),
    (b, b_score): (NodeId, i32),
) -> Ordering {
    let closed = -crate::scheduler::score::INFINITY;
    let effective = |node: NodeId, score: i32| {
        if is_open(cluster, resource, node) { score } else { closed }
    };
    let by_wish = effective(b, b_score).cmp(&effective(a, a_score));
    if by_wish != Ordering::Equal {
        return by_wish;
    }
    let strategy = cluster.options.strategy;
    if strategy != Strategy::Minimal {
        if strategy == Strategy::Balanced {
            let by_room = utilization::compare_room(cluster, a, b);
            if by_room != Ordering::Equal {
                return by_room;
            }
        }
        let by_count = cluster[a].assigned.cmp(&cluster[b].assigned);
        if by_count != Ordering::Equal {
            return by_count;
        }
    }
    let active = resource.and_then(|resource| cluster.current(resource));
    match (active == Some(a), active == Some(b)) {
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (true, true) | (false, false) => {}
    }
    compare_names(&cluster[a].name, &cluster[b].name)
}

/// The best node for a resource, if there is one.
pub(super) fn choose(
    cluster: &Cluster<'_>,
    resource: RscId,
    prefer: Option<NodeId>,
) -> Option<NodeId> {
    let rsc = &cluster[resource];
    let mut best: Option<(NodeId, i32)> = None;
    for node in cluster.node_ids() {
        let score = rsc.score(node);
        if score == ABSENT {
            continue;
        }
        let is_better = best.is_none_or(|best| {
            compare(cluster, Some(resource), (node, score), best) == Ordering::Less
        });
        if is_better {
            best = Some((node, score));
        }
    }
    let (best, score) = best.filter(|(node, _)| may_run(cluster, resource, *node))?;
    if let Some(prefer) = prefer
        && may_run(cluster, resource, prefer)
        && rsc.score(prefer) >= score
    {
        return Some(prefer);
    }
    // What runs stays, if staying is as good.
    let is_numbered = rsc.unique && cluster.clone_of(resource).is_some();
    if score > 0
        && !is_numbered
        && let [active] = rsc.running.as_slice()
        && may_run(cluster, resource, *active)
        && rsc.score(*active) == score
    {
        return Some(*active);
    }
    Some(best)
}
