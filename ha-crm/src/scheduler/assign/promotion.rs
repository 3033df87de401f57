//! Which instances of a promotable clone are promoted.

use std::cmp::Ordering;

use ha_core::role::Role;

use super::choice::is_available;
use super::colocation::{Effect, apply as apply_colocation, has_influence};
use super::instances;
use super::merge::{self, Draft, Terms};
use crate::cib::CibValue;
use crate::model::Score;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::options::NoQuorum;
use crate::scheduler::resource::ABSENT;
use crate::scheduler::score::{INFINITY, sum};

/// The promotion score of a primitive on a node, as its agent set it.
///
/// Source: node attributes `master-NAME`, "Promotable clone resource agent requirements".
fn attribute_score(
    cluster: &Cluster<'_>,
    clone: RscId,
    primitive: RscId,
    node: NodeId,
) -> Option<i32> {
    let rsc = &cluster[primitive];
    let by = |name: &str| {
        let value = cluster.attribute_for(primitive, node, &format!("master-{name}"))?;
        Score::read(value).map(Score::get)
    };
    if rsc.unique {
        return by(&rsc.id);
    }
    // Old agents wrote the number of the instance, too.
    let known_as = cluster.primitives_of(clone).into_iter().find_map(|other| {
        let other = &cluster[other];
        let is_it = other.base == rsc.base && other.running.contains(&node);
        if is_it { other.alias.clone() } else { None }
    });
    by(&rsc.base)
        .or_else(|| known_as.and_then(|name| by(&name)))
        .or_else(|| rsc.alias.as_ref().and_then(|name| by(name)))
        .or_else(|| by(&rsc.id))
}

/// The promotion score of an instance on a node; `None` if none is set.
fn score(cluster: &Cluster<'_>, clone: RscId, instance: RscId, node: NodeId) -> Option<i32> {
    let mut total: Option<i32> = None;
    for primitive in cluster.primitives_of(instance) {
        if cluster[primitive].score(node) == ABSENT
            || cluster[primitive].score(node) < 0 && cluster[primitive].assigned != Some(node)
        {
            continue;
        }
        if let Some(score) = attribute_score(cluster, clone, primitive, node) {
            total = Some(sum(total.unwrap_or(0), score));
        }
    }
    total
}

/// Where it can be promoted an instance is wanted more.
pub(super) fn add_scores(cluster: &mut Cluster<'_>, clone: RscId) {
    for instance in cluster[clone].children.clone() {
        let lead = cluster.primitives_of(instance).first().copied().unwrap_or(instance);
        for node in cluster.node_ids() {
            let now = cluster[lead].score(node);
            if now == ABSENT || now < 0 || !is_available(cluster, node) {
                continue;
            }
            let Some(score) = score(cluster, clone, instance, node) else { continue };
            if score > 0 {
                cluster.add_score(lead, node, score, &Why::Other("promotion score"));
            }
        }
    }
}

/// Promotes as many instances as there shall be.
pub(super) fn promote(cluster: &mut Cluster<'_>, clone: RscId) {
    let instances = cluster[clone].children.clone();
    for instance in &instances {
        rate(cluster, clone, *instance);
    }
    let sorted = sort(cluster, clone, &instances);
    let settings = cluster[clone].clone.clone();
    let mut per_node = vec![0_usize; cluster.nodes.len()];
    let mut promoted = 0;
    for instance in sorted {
        let may = promoted < settings.promoted_max && can_promote(cluster, clone, instance);
        let node = cluster[instance].assigned.filter(|_| may);
        let node = node.filter(|node| {
            per_node.get(node.index()).is_some_and(|count| *count < settings.promoted_node_max)
        });
        match node {
            Some(node) => {
                if let Some(count) = per_node.get_mut(node.index()) {
                    *count += 1;
                }
                promoted += 1;
                set_role(cluster, instance, Role::Promoted);
            }
            None => set_role(cluster, instance, Role::Unpromoted),
        }
    }
}

fn set_role(cluster: &mut Cluster<'_>, instance: RscId, role: Role) {
    for member in cluster.all_of(instance) {
        let rsc = &mut cluster[member];
        if rsc.is_primitive() && !rsc.managed {
            continue;
        }
        if rsc.next_role != Role::Stopped {
            rsc.next_role = role;
        }
    }
}

/// How much an instance wants to be promoted where it is.
fn rate(cluster: &mut Cluster<'_>, clone: RscId, instance: RscId) {
    let target =
        cluster.primitives_of(instance).iter().filter_map(|one| cluster[*one].target_role).min();
    let Some(node) = cluster[instance].assigned else {
        cluster[instance].promotion = -INFINITY;
        return;
    };
    cluster[instance].promotion = match target {
        Some(Role::Unpromoted | Role::Stopped) => -INFINITY,
        // Without a score and without a constraint nobody is promoted.
        Some(Role::Promoted | Role::Started) | None => {
            score(cluster, clone, instance, node).unwrap_or(-1)
        }
    };
    if cluster[instance].promotion <= -INFINITY {
        return;
    }
    let locations = cluster[instance].promotion_locations.clone();
    let mut own: Vec<(NodeId, i32)> = locations;
    if cluster[instance].is_collective() {
        own.clone_from(&cluster[clone].promotion_locations);
    }
    for (at, score) in own {
        if at == node {
            cluster[instance].promotion = sum(cluster[instance].promotion, score);
        }
    }
    let mut with = cluster[holder(cluster, clone)].with.clone();
    with.extend(&cluster[instance].with);
    for index in with {
        let Some(one) = cluster.colocations.get(index).cloned() else { continue };
        if matches!(one.dependent_role, Some(Role::Promoted | Role::Unpromoted)) {
            apply_colocation(cluster, instance, one.primary, &one, Effect::Promotion);
        }
    }
}

/// What constraints on a clone name: itself, or the bundle that it is inside of.
fn holder(cluster: &Cluster<'_>, clone: RscId) -> RscId {
    cluster[clone].parent.unwrap_or(clone)
}

/// The order in which instances are promoted.
fn sort(cluster: &mut Cluster<'_>, clone: RscId, instances: &[RscId]) -> Vec<RscId> {
    let holder = holder(cluster, clone);
    let mut draft = Draft::of(cluster, holder);
    for instance in instances {
        let Some(node) = cluster.seat(*instance) else { continue };
        let own = cluster[*instance].assigned.map_or(ABSENT, |own| cluster[clone].score(own));
        if let Some(slot) = draft.scores.get_mut(node.index()) {
            if holder != clone {
                *slot = own;
            }
            if *slot != ABSENT {
                *slot = sum(*slot, cluster[*instance].promotion);
            }
        }
    }
    cluster[holder].is_adding_scores = true;
    cluster.limits.begin_hearing();
    for index in cluster[holder].with.clone() {
        let Some(one) = cluster.colocations.get(index).cloned() else { continue };
        // What is only wished for was counted with the instance.
        if one.dependent_role == Some(Role::Promoted) && one.score.abs() >= INFINITY {
            let factor = f64::from(one.score) / f64::from(INFINITY);
            let may_close = one.score >= INFINITY;
            let terms = Terms { factor, only_for: false, follow_primaries: false, may_close };
            merge::add(cluster, one.primary, &mut draft, &one, terms);
        }
    }
    for index in cluster[holder].dependents.clone() {
        let Some(one) = cluster.colocations.get(index).cloned() else { continue };
        if one.primary_role == Some(Role::Promoted) && has_influence(cluster, &one) {
            let factor = f64::from(one.score) / f64::from(INFINITY);
            let terms = Terms { factor, only_for: true, follow_primaries: false, may_close: false };
            merge::add(cluster, one.dependent, &mut draft, &one, terms);
        }
    }
    cluster[holder].is_adding_scores = false;
    for instance in instances {
        let promotion = cluster[*instance].promotion;
        let at = cluster.seat(*instance).and_then(|node| draft.scores.get(node.index()));
        let unmanaged = cluster.all_of(*instance).into_iter().any(|one| !cluster[one].managed);
        let role = cluster.primitives_of(*instance).iter().map(|one| cluster[*one].role).max();
        cluster[*instance].sort_promotion = if unmanaged && role == Some(Role::Promoted) {
            INFINITY
        } else if promotion < 0 {
            promotion
        } else {
            at.copied().filter(|score| *score != ABSENT).unwrap_or(promotion)
        };
    }
    let counts = vec![0; cluster.nodes.len()];
    let mut sorted = instances.to_vec();
    sorted.sort_by(|a, b| {
        let role = |one: RscId| cluster.primitives_of(one).iter().map(|m| cluster[*m].role).max();
        cluster[*b]
            .sort_promotion
            .cmp(&cluster[*a].sort_promotion)
            .then_with(|| role(*b).cmp(&role(*a)))
            .then_with(|| instances::compare(cluster, clone, &counts, *a, *b))
            .then(Ordering::Equal)
    });
    sorted
}

fn can_promote(cluster: &Cluster<'_>, clone: RscId, instance: RscId) -> bool {
    let Some(node) = cluster[instance].assigned else { return false };
    let members = cluster.primitives_of(instance);
    let is_promoted = members.iter().any(|one| cluster[*one].role == Role::Promoted);
    let unmanaged = members.iter().any(|one| !cluster[*one].managed);
    if unmanaged {
        return is_promoted;
    }
    if !cluster.has_quorum
        && cluster.options.no_quorum == NoQuorum::Demote
        && !matches!(cluster[instance].requires, Some(crate::cib::Requires::Nothing))
    {
        return false;
    }
    if !cluster.has_quorum && cluster.options.no_quorum == NoQuorum::Freeze && !is_promoted {
        return false; // Nothing rises without quorum.
    }
    if members.iter().any(|one| cluster[*one].next_role == Role::Stopped) {
        return false;
    }
    cluster[instance].sort_promotion >= 0
        && is_available(cluster, node)
        && cluster[clone].score(node) >= 0
}
