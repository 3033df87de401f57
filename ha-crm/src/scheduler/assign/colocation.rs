//! What a colocation does to its dependent once its primary has a node.

use std::sync::Arc;

use ha_core::role::Role;

use super::choice::{has_any, is_available};
use crate::scheduler::cluster::{Cluster, Peers};
use crate::scheduler::constraint::Colocation;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::resource::{ABSENT, Variant};
use crate::scheduler::score::{INFINITY, sum};

/// What of the dependent it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Where it may go.
    Nodes,
    /// How much it wants to be promoted where it is.
    Promotion,
}

/// Colocations of which a resource, or what it is part of, is the dependent.
///
/// Only to be asked for once all criteria are applied: the answer is kept.
pub(crate) fn primaries_of(cluster: &Cluster<'_>, resource: RscId) -> Arc<[usize]> {
    keep(&cluster.primaries, resource, || {
        let mut all = cluster[resource].with.clone();
        for parent in spoken_for(cluster, resource, false) {
            all.extend(&cluster[parent].with);
            if cluster[parent].variant == Variant::Group {
                musts_of_others(cluster, parent, &mut all);
            }
        }
        sort(cluster, &mut all, |one| one.primary);
        all
    })
}

/// Colocations of which a resource, or what it is part of, is the primary; likewise.
pub(crate) fn dependents_of(cluster: &Cluster<'_>, resource: RscId) -> Arc<[usize]> {
    keep(&cluster.dependents, resource, || {
        let mut all = cluster[resource].dependents.clone();
        for parent in spoken_for(cluster, resource, true) {
            all.extend(&cluster[parent].dependents);
        }
        sort(cluster, &mut all, |one| one.dependent);
        all
    })
}

fn keep(kept: &Peers, resource: RscId, find: impl FnOnce() -> Vec<usize>) -> Arc<[usize]> {
    match kept.get(resource.index()) {
        Some(cell) => Arc::clone(cell.get_or_init(|| find().into())),
        None => find().into(),
    }
}

/// The collectives that a member speaks for, from the inside out.
fn spoken_for(cluster: &Cluster<'_>, resource: RscId, from_end: bool) -> Vec<RscId> {
    let mut found = Vec::new();
    let mut at = resource;
    while let Some(parent) = cluster[at].parent {
        let speaks = match cluster[parent].variant {
            Variant::Group => leads(cluster, parent, at, from_end),
            Variant::Clone => cluster[parent].parent.is_none(),
            Variant::Bundle => is_container(cluster, parent, at),
            Variant::Primitive => false,
        };
        if !speaks {
            break;
        }
        found.push(parent);
        at = parent;
    }
    found
}

/// Whether a member speaks for its group: it is the first (or last), or those before it do not
/// move because nobody manages them.
fn leads(cluster: &Cluster<'_>, group: RscId, member: RscId, from_end: bool) -> bool {
    let others = |one: &&RscId| **one != member;
    let unmanaged = |one: &RscId| !cluster[*one].managed;
    let children = &cluster[group].children;
    if from_end {
        children.iter().rev().take_while(others).all(unmanaged)
    } else {
        children.iter().take_while(others).all(unmanaged)
    }
}

/// What other members of a group must be with, the first must be with, too: they go together.
fn musts_of_others(cluster: &Cluster<'_>, group: RscId, all: &mut Vec<usize>) {
    let members = &cluster[group].children;
    for member in members.iter().skip(1) {
        for index in &cluster[*member].with {
            let Some(one) = cluster.colocations.get(*index) else { continue };
            let is_outside = !members.contains(&one.primary);
            if is_outside && one.score >= INFINITY && one.dependent_role.is_none() {
                all.push(*index);
            }
        }
    }
}

fn is_container(cluster: &Cluster<'_>, bundle: RscId, member: RscId) -> bool {
    cluster[bundle]
        .bundle
        .as_ref()
        .is_some_and(|parts| parts.replicas.iter().any(|replica| replica.container == member))
}

/// By the priority of the other, clones before groups before primitives.
fn sort(cluster: &Cluster<'_>, all: &mut Vec<usize>, other: impl Fn(&Colocation) -> RscId) {
    let key = |index: &usize| {
        let one = cluster.colocations.get(*index).map(&other);
        let one = one.map(|one| &cluster[one]);
        let priority = one.map_or(0, |one| one.priority);
        let kind = one.map_or(3, |one| match one.variant {
            Variant::Clone if one.clone.promotable => 0,
            Variant::Clone | Variant::Bundle => 1,
            Variant::Group => 2,
            Variant::Primitive => 3,
        });
        (std::cmp::Reverse(priority), kind, *index)
    };
    all.sort_by_key(key);
    all.dedup();
}

/// Whether the dependent has a say in where the primary goes.
pub(crate) fn has_influence(cluster: &Cluster<'_>, one: &Colocation) -> bool {
    one.influence.unwrap_or(cluster[one.dependent].critical)
        || cluster[one.primary].running.is_empty()
}

/// Applies a colocation to its dependent.
pub(super) fn apply(
    cluster: &mut Cluster<'_>,
    dependent: RscId,
    primary: RscId,
    one: &Colocation,
    effect: Effect,
) {
    match cluster[primary].variant {
        Variant::Primitive => apply_to(cluster, dependent, primary, one, effect),
        Variant::Group => apply_group(cluster, dependent, primary, one, effect),
        Variant::Bundle | Variant::Clone => apply_clone(cluster, dependent, primary, one, effect),
    }
}

/// The promotable clone that a role is of, or the resource itself.
fn role_of(cluster: &Cluster<'_>, resource: RscId) -> Role {
    cluster[resource].next_role
}

fn apply_to(
    cluster: &mut Cluster<'_>,
    dependent: RscId,
    primary: RscId,
    one: &Colocation,
    effect: Effect,
) {
    if !cluster[primary].is_assigned {
        return;
    }
    if one.primary_role.is_some_and(|role| role != role_of(cluster, primary)) {
        return;
    }
    match effect {
        Effect::Promotion => apply_promotion(cluster, dependent, primary, one),
        Effect::Nodes => {
            // What concerns a role is for later, when roles are given.
            if one.dependent_role.is_none() {
                apply_nodes(cluster, dependent, primary, one);
            }
        }
    }
}

fn why(cluster: &Cluster<'_>, primary: RscId, one: &Colocation) -> Why {
    Why::Colocation(Arc::clone(&one.id), Arc::clone(&cluster[primary].id))
}

/// The value by which places are told apart.
pub(super) fn place<'a>(
    cluster: &'a Cluster<'_>,
    node: NodeId,
    one: &Colocation,
) -> Option<&'a str> {
    match &one.node_attribute {
        Some(name) => cluster.attribute(node, name),
        None => Some(&cluster[node].name),
    }
}

/// Where something is, for what is to be with it.
///
/// A connection cannot be made from behind another: with a container on a remote node it is where
/// the connection of that node is.
fn reached_from(cluster: &Cluster<'_>, dependent: RscId, primary: RscId) -> Option<NodeId> {
    let at = cluster[primary].assigned?;
    let is_content =
        cluster[dependent].remote.is_some() && cluster[dependent].container == Some(primary);
    let connection = cluster[at].connection.filter(|_| is_content && cluster[at].is_remote());
    connection.map_or(Some(at), |connection| cluster[connection].assigned)
}

fn apply_nodes(cluster: &mut Cluster<'_>, dependent: RscId, primary: RscId, one: &Colocation) {
    let at = reached_from(cluster, dependent, primary);
    // The connection into a bundle's container waits for the container rather than for a node.
    let waits =
        cluster[dependent].container == Some(primary) && cluster.bundle_of(dependent).is_some();
    if at.is_none() && (one.score < 0 || waits) {
        return;
    }
    let mut changes: Vec<(NodeId, i32)> = Vec::new();
    for node in cluster.node_ids() {
        if cluster[dependent].score(node) == ABSENT {
            continue;
        }
        match at {
            None => changes.push((node, -one.score)),
            Some(at) => {
                let here = place(cluster, node, one);
                if here.is_some() && here == place(cluster, at, one) {
                    if one.score < INFINITY {
                        changes.push((node, one.score));
                    }
                } else if one.score >= INFINITY {
                    changes.push((node, -INFINITY));
                }
            }
        }
    }
    let mut scores = cluster[dependent].scores.clone();
    for (node, change) in &changes {
        if let Some(score) = scores.get_mut(node.index()) {
            *score = sum(*score, *change);
        }
    }
    if one.score.abs() >= INFINITY || has_any(cluster, &scores) {
        let why = why(cluster, primary, one);
        for (node, change) in changes {
            cluster.add_score(dependent, node, change, &why);
        }
    }
}

/// Being promoted beside something, or apart from it.
fn apply_promotion(cluster: &mut Cluster<'_>, dependent: RscId, primary: RscId, one: &Colocation) {
    let Some(here) = cluster.seat(dependent) else { return };
    let mine = place(cluster, here, one);
    let there = cluster[primary].assigned.and_then(|there| place(cluster, there, one));
    if mine.is_none() || mine != there {
        if one.score >= INFINITY && one.dependent_role == Some(Role::Promoted) {
            cluster[dependent].promotion = -INFINITY;
        }
        return;
    }
    let score = if one.dependent_role == Some(Role::Unpromoted) { -one.score } else { one.score };
    cluster[dependent].promotion = sum(cluster[dependent].promotion, score);
}

/// A group stands where its members do; all of it must be there to be with.
fn apply_group(
    cluster: &mut Cluster<'_>,
    dependent: RscId,
    group: RscId,
    one: &Colocation,
    effect: Effect,
) {
    if !cluster[group].is_assigned && !cluster[group].is_assigning {
        return;
    }
    let children = cluster[group].children.clone();
    if !cluster[group].keeps_together() {
        for child in children {
            apply_to(cluster, dependent, child, one, effect);
        }
        return;
    }
    let assigned = |child: &&RscId| cluster[**child].assigned.is_some();
    let member = if one.score < 0 {
        children.iter().find(assigned).or(children.first())
    } else {
        children.last()
    };
    if let Some(member) = member.copied() {
        apply_to(cluster, dependent, member, one, effect);
    }
}

/// The clone that a resource is an instance of, if its instances go pairwise with others'.
fn interleaves(cluster: &Cluster<'_>, dependent: RscId) -> Option<RscId> {
    let clone = cluster.clone_of(dependent).filter(|clone| cluster[*clone].parent.is_none());
    let clone = clone.or_else(|| cluster.bundle_of(dependent))?;
    cluster[clone].clone.interleave.then_some(clone)
}

/// The node of an instance: the host of a container, or where the instance is.
pub(super) fn instance_nodes(
    cluster: &Cluster<'_>,
    primary: RscId,
) -> Vec<(RscId, Option<NodeId>, Role)> {
    if let Some(parts) = &cluster[primary].bundle {
        let replica = |replica: &crate::scheduler::bundle::Replica| {
            let role = replica
                .child
                .map_or(cluster[replica.container].next_role, |child| cluster[child].next_role);
            (replica.container, cluster[replica.container].assigned, role)
        };
        return parts.replicas.iter().map(replica).collect();
    }
    cluster[primary]
        .children
        .iter()
        .map(|child| (*child, cluster[*child].assigned, cluster[*child].next_role))
        .collect()
}

fn apply_clone(
    cluster: &mut Cluster<'_>,
    dependent: RscId,
    primary: RscId,
    one: &Colocation,
    effect: Effect,
) {
    if !cluster[primary].is_assigned {
        return;
    }
    let in_role = |role: Role| one.primary_role.is_none_or(|wanted| wanted == role);
    let instances = instance_nodes(cluster, primary);
    if effect == Effect::Nodes && one.dependent_role.is_some() {
        return;
    }
    if effect == Effect::Promotion {
        let matching: Vec<_> = instances.iter().filter(|(.., role)| in_role(*role)).collect();
        apply_promotion_beside(cluster, dependent, &matching, one);
        return;
    }
    if one.primary_role.is_none() && interleaves(cluster, dependent).is_some() {
        match compatible(cluster, dependent, &instances) {
            Some((instance, _)) => {
                let as_if = Colocation { primary_role: None, ..one.clone() };
                apply_instance(cluster, dependent, instance, &as_if);
            }
            None if one.score >= INFINITY => {
                let why = why(cluster, primary, one);
                cluster.ban_all(dependent, &why);
            }
            None => {}
        }
        return;
    }
    if one.score >= INFINITY {
        let open: Vec<NodeId> = instances
            .iter()
            .filter(|(instance, _, role)| in_role(*role) && !is_blocked(cluster, *instance))
            .filter_map(|(_, node, _)| *node)
            .collect();
        keep_only(cluster, dependent, primary, &open, one);
        return;
    }
    for (instance, node, role) in instances {
        if in_role(role) && node.is_some() {
            let as_if = Colocation { primary_role: None, ..one.clone() };
            apply_instance(cluster, dependent, instance, &as_if);
        }
    }
}

fn is_blocked(cluster: &Cluster<'_>, instance: RscId) -> bool {
    cluster.all_of(instance).into_iter().any(|member| cluster[member].blocked)
}

fn apply_instance(cluster: &mut Cluster<'_>, dependent: RscId, instance: RscId, one: &Colocation) {
    match cluster[instance].variant {
        Variant::Group => apply_group(cluster, dependent, instance, one, Effect::Nodes),
        Variant::Bundle | Variant::Clone | Variant::Primitive => {
            apply_to(cluster, dependent, instance, one, Effect::Nodes);
        }
    }
}

/// The instance on the dependent's best node that has one.
fn compatible(
    cluster: &Cluster<'_>,
    dependent: RscId,
    instances: &[(RscId, Option<NodeId>, Role)],
) -> Option<(RscId, NodeId)> {
    let on = |node: NodeId| {
        instances
            .iter()
            .find(|(_, at, _)| *at == Some(node))
            .map(|(instance, ..)| (*instance, node))
    };
    if let Some(node) = cluster[dependent].assigned {
        return on(node);
    }
    let mut nodes: Vec<NodeId> = cluster
        .node_ids()
        .filter(|node| cluster[dependent].score(*node) >= 0 && is_available(cluster, *node))
        .collect();
    nodes.sort_by(|a, b| {
        let score = |node: NodeId| std::cmp::Reverse(cluster[dependent].score(node));
        score(*a)
            .cmp(&score(*b))
            .then_with(|| cluster[*a].assigned.cmp(&cluster[*b].assigned))
            .then_with(|| super::choice::compare_names(&cluster[*a].name, &cluster[*b].name))
    });
    nodes.into_iter().find_map(on)
}

/// Closes all nodes that are not in the same place as one of those given.
fn keep_only(
    cluster: &mut Cluster<'_>,
    dependent: RscId,
    primary: RscId,
    open: &[NodeId],
    one: &Colocation,
) {
    let why = why(cluster, primary, one);
    for node in cluster.node_ids() {
        if cluster[dependent].score(node) == ABSENT {
            continue;
        }
        let here = place(cluster, node, one);
        let matches =
            here.is_some() && open.iter().any(|other| place(cluster, *other, one) == here);
        if !matches {
            cluster.ban(dependent, node, &why);
        }
    }
}

fn apply_promotion_beside(
    cluster: &mut Cluster<'_>,
    dependent: RscId,
    instances: &[&(RscId, Option<NodeId>, Role)],
    one: &Colocation,
) {
    let Some(here) = cluster.seat(dependent) else { return };
    let mine = place(cluster, here, one);
    let beside = instances.iter().any(|(_, node, _)| {
        node.is_some_and(|node| mine.is_some() && place(cluster, node, one) == mine)
    });
    if beside {
        let score =
            if one.dependent_role == Some(Role::Unpromoted) { -one.score } else { one.score };
        cluster[dependent].promotion = sum(cluster[dependent].promotion, score);
    } else if one.score >= INFINITY && one.dependent_role == Some(Role::Promoted) {
        cluster[dependent].promotion = -INFINITY;
    }
}
