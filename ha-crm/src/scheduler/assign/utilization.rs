//! Room on nodes. Source: "Utilization and Placement Strategy".

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::choice::may_run;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::options::Strategy;
use crate::scheduler::resource::{ABSENT, Variant};

type Amounts = BTreeMap<Arc<str>, i64>;

/// Which of two nodes has more room: the one that is ahead in more kinds of it.
pub(super) fn compare_room(cluster: &Cluster<'_>, a: NodeId, b: NodeId) -> Ordering {
    let (a, b) = (&cluster[a].capacity, &cluster[b].capacity);
    let mut ahead = 0_i64;
    for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
        let amount = |of: &Amounts| of.get(name).copied().unwrap_or(0);
        match amount(a).cmp(&amount(b)) {
            Ordering::Greater => ahead += 1,
            Ordering::Less => ahead -= 1,
            Ordering::Equal => {}
        }
    }
    0.cmp(&ahead)
}

fn looks_at_room(cluster: &Cluster<'_>) -> bool {
    cluster.options.strategy != Strategy::Default
}

/// A resource takes its room on a node.
pub(super) fn take(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) {
    let wanted = cluster[resource].utilization.clone();
    for (name, amount) in wanted {
        if let Some(room) = cluster[node].capacity.get_mut(&name) {
            *room = room.saturating_sub(amount);
        }
    }
}

/// A resource gives its room back.
pub(super) fn give_back(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) {
    let wanted = cluster[resource].utilization.clone();
    for (name, amount) in wanted {
        if let Some(room) = cluster[node].capacity.get_mut(&name) {
            *room = room.saturating_add(amount);
        }
    }
}

fn fits(cluster: &Cluster<'_>, node: NodeId, wanted: &Amounts) -> bool {
    wanted.iter().all(|(name, amount)| {
        cluster[node].capacity.get(name).copied().unwrap_or(0) >= *amount || *amount <= 0
    })
}

/// Closes the nodes that have no room for a resource with all that must be with it; if there are
/// none, those that have no room for it alone.
///
/// If not all can be together, the node with the most room is the one to prefer.
pub(super) fn ban_full(cluster: &mut Cluster<'_>, resource: RscId) -> Option<NodeId> {
    if !looks_at_room(cluster) {
        return None;
    }
    let colocated = colocated_with(cluster, resource);
    let mut together = cluster[resource].utilization.clone();
    for other in &colocated {
        for (name, amount) in &cluster[*other].utilization {
            *together.entry(Arc::clone(name)).or_default() += amount;
        }
    }
    let open: Vec<NodeId> =
        cluster.node_ids().filter(|node| may_run(cluster, resource, *node)).collect();
    let fit_all = open.iter().any(|node| fits(cluster, *node, &together));
    let wanted = if fit_all { together } else { cluster[resource].utilization.clone() };
    let why = Why::Other("there is not enough room");
    for node in cluster.node_ids() {
        if cluster[resource].score(node) != ABSENT
            && cluster[node].is_available()
            && !fits(cluster, node, &wanted)
        {
            cluster.ban(resource, node, &why);
        }
    }
    if fit_all || colocated.is_empty() {
        return None;
    }
    open.into_iter().reduce(|best, node| {
        if compare_room(cluster, node, best) == Ordering::Less { node } else { best }
    })
}

/// What is not assigned yet and must be with a resource: its group, and mandatory colocations.
fn colocated_with(cluster: &Cluster<'_>, resource: RscId) -> BTreeSet<RscId> {
    let mut found: BTreeSet<RscId> = BTreeSet::new();
    let mut open = vec![resource];
    let mut seen = BTreeSet::from([resource]);
    while let Some(next) = open.pop() {
        let mut linked: Vec<RscId> = Vec::new();
        if let Some(parent) = cluster[next].parent
            && cluster[parent].variant == Variant::Group
        {
            linked.extend(cluster[parent].children.iter().copied());
        }
        let both =
            [next].into_iter().chain(cluster[next].parent.filter(|parent| {
                matches!(cluster[*parent].variant, Variant::Clone | Variant::Group)
            }));
        for one in both {
            for index in cluster[one].with.iter().chain(&cluster[one].dependents) {
                let Some(colocation) = cluster.colocations.get(*index) else { continue };
                if colocation.score < crate::scheduler::score::INFINITY {
                    continue;
                }
                let other = if colocation.primary == one {
                    colocation.dependent
                } else {
                    colocation.primary
                };
                // Who is with a clone need not be where this instance is.
                let is_clone = |rsc: RscId| cluster[rsc].is_cloned();
                if colocation.primary == one && is_clone(one) && !is_clone(other) {
                    continue;
                }
                linked.push(other);
            }
        }
        for other in linked {
            if !seen.insert(other) {
                continue;
            }
            open.push(other);
            let members = members_of(cluster, other).into_iter();
            found.extend(members.filter(|one| !cluster[*one].is_assigned && *one != resource));
        }
    }
    found
}

/// The primitives whose room a colocated resource takes on one node.
fn members_of(cluster: &Cluster<'_>, resource: RscId) -> Vec<RscId> {
    match cluster[resource].variant {
        Variant::Clone | Variant::Bundle => match cluster[resource].children.first() {
            Some(first) => cluster.primitives_of(*first),
            None => Vec::new(),
        },
        Variant::Group | Variant::Primitive => cluster.primitives_of(resource),
    }
}
