//! One primitive, or instance of one, gets its node.

use ha_core::role::Role;

use super::colocation::{dependents_of, primaries_of};
use super::{assign as assign_any, choice, colocation, merge, utilization};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::node::Kind;
use crate::scheduler::score::INFINITY;
use crate::scheduler::unpack::{fail_count, fence};

/// Assigns a primitive.
pub(super) fn assign(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    prefer: Option<NodeId>,
) -> Option<NodeId> {
    if let Some(parent) = cluster[resource].parent
        && !cluster[parent].is_assigning
        && !cluster[parent].is_assigned
    {
        assign_any(cluster, parent, prefer);
    }
    if cluster[resource].is_assigned {
        return cluster[resource].assigned;
    }
    if cluster[resource].is_assigning {
        return None; // A loop of colocations: whoever came first decides.
    }
    cluster[resource].is_assigning = true;
    let (musts, wishes) = primaries(cluster, resource);
    for index in musts {
        follow(cluster, resource, index);
    }
    hear_dependents(cluster, resource);
    for index in wishes {
        follow(cluster, resource, index);
    }
    decide(cluster, resource, prefer);
    cluster[resource].is_assigning = false;
    cluster[resource].assigned
}

/// The colocations with what it must be with or apart from, and those with what it would like to.
fn primaries(cluster: &Cluster<'_>, resource: RscId) -> (Vec<usize>, Vec<usize>) {
    primaries_of(cluster, resource).iter().partition(|index| {
        cluster.colocations.get(**index).is_some_and(|one| one.score.abs() >= INFINITY)
    })
}

/// Assigns what it is to be with, and takes that into account.
fn follow(cluster: &mut Cluster<'_>, resource: RscId, index: usize) {
    let Some(one) = cluster.colocations.get(index).cloned() else { return };
    let may_fail =
        one.dependent_role == Some(Role::Promoted) || (one.score < 0 && one.score > -INFINITY);
    let saved = may_fail.then(|| (cluster[resource].scores.clone(), cluster.ledger.mark(resource)));
    if !is_done(cluster, one.primary) {
        assign_any(cluster, one.primary, None);
    }
    colocation::apply(cluster, resource, one.primary, &one, colocation::Effect::Nodes);
    if let Some((scores, mark)) = saved
        && !choice::has_any(cluster, &cluster[resource].scores)
    {
        cluster[resource].scores = scores;
        cluster.ledger.take_back(resource, mark);
    }
}

fn is_done(cluster: &Cluster<'_>, resource: RscId) -> bool {
    cluster[resource].is_assigned
}

/// What wants to be with it has a say.
fn hear_dependents(cluster: &mut Cluster<'_>, resource: RscId) {
    for index in dependents_of(cluster, resource).iter() {
        merge::hear(cluster, resource, *index);
    }
}

fn decide(cluster: &mut Cluster<'_>, resource: RscId, prefer: Option<NodeId>) {
    let target = cluster[resource].target_role;
    if target == Some(Role::Stopped) {
        cluster.ban_all(resource, &Why::Other("it is to be stopped"));
    }
    if leaves(cluster, resource) {
        cluster.ban_all(resource, &Why::Other("its node shuts down"));
    }
    if !cluster[resource].managed {
        // Nobody may touch it: it is where it is.
        let node = cluster.current(resource);
        let role = cluster[resource].role;
        commit(cluster, resource, node);
        cluster[resource].next_role = role;
        return;
    }
    if cluster.options.stop_all {
        cluster[resource].why = Some("stop-all-resources is set".into());
        commit(cluster, resource, None);
        return;
    }
    let most_room = utilization::ban_full(cluster, resource);
    let prefer = prefer.or(most_room);
    let node = choice::choose(cluster, resource, prefer);
    commit(cluster, resource, node);
}

/// Settles where a primitive goes.
pub(super) fn commit(cluster: &mut Cluster<'_>, resource: RscId, node: Option<NodeId>) {
    let active = super::super::unpack::active_role(cluster, resource);
    let rsc = &mut cluster[resource];
    rsc.is_assigned = true;
    rsc.assigned = node;
    rsc.next_role = match (node, rsc.target_role) {
        (None, _) | (_, Some(Role::Stopped)) => Role::Stopped,
        (Some(_), Some(role)) if active == Role::Unpromoted => {
            role.max(Role::Unpromoted).min(Role::Unpromoted)
        }
        (Some(_), _) => active,
    };
    if let Some(node) = node {
        cluster[node].assigned += 1;
        utilization::take(cluster, resource, node);
    }
    settle_connection(cluster, resource);
}

/// Takes an assignment back.
pub(super) fn take_back(cluster: &mut Cluster<'_>, resource: RscId) {
    if !cluster[resource].is_assigned {
        return;
    }
    if let Some(node) = cluster[resource].assigned.take() {
        cluster[node].assigned = cluster[node].assigned.saturating_sub(1);
        utilization::give_back(cluster, resource, node);
    }
    cluster[resource].is_assigned = false;
}

/// A connection that will be up brings its node up.
fn settle_connection(cluster: &mut Cluster<'_>, resource: RscId) {
    let Some(node) = cluster[resource].remote else { return };
    if cluster[resource].assigned.is_some() && cluster[resource].next_role != Role::Stopped {
        cluster[node].online = true;
        if cluster[node].may_return {
            cluster[node].fence = None;
            cluster[node].unclean = false;
            cluster[node].must_reset = false;
        }
        if !cluster[node].seen {
            cluster[node].unclean = false;
        }
    } else {
        cluster[node].shutdown = true;
        if is_unrecoverable(cluster, resource, node) {
            fence(cluster, node, "its connection is unrecoverable");
        }
    }
}

/// Whether nobody can reach a node any more, though it is to be reached.
fn is_unrecoverable(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) -> bool {
    let rsc = &cluster[resource];
    let is_wanted = rsc.managed && !rsc.removed && rsc.target_role != Some(Role::Stopped);
    let is_lost = |host: &NodeId| cluster[*host].unclean || !cluster[*host].online;
    let is_cut_off =
        rsc.failed || (!cluster[node].running.is_empty() && rsc.running.iter().any(is_lost));
    cluster.options.fencing
        && cluster[node].kind == Kind::Remote
        && !cluster[node].was_fenced
        && is_wanted
        && rsc.assigned.is_none()
        && !rsc.running.is_empty()
        && !leaves(cluster, resource)
        && (is_cut_off || failed_too_often(cluster, resource))
}

/// Whether a connection failed so often that its host is closed to it. Source:
/// `migration-threshold`.
fn failed_too_often(cluster: &mut Cluster<'_>, resource: RscId) -> bool {
    let limit = cluster[resource].migration_threshold;
    let hosts = cluster[resource].running.clone();
    limit > 0 && hosts.into_iter().any(|host| fail_count(cluster, resource, host).count >= limit)
}

/// Whether the node behind a connection has asked to go, and is still connected.
fn leaves(cluster: &Cluster<'_>, resource: RscId) -> bool {
    let Some(node) = cluster[resource].remote else { return false };
    cluster[node].kind == Kind::Remote
        && !cluster[resource].running.is_empty()
        && cluster[node].attributes.get("shutdown").is_some_and(|at| at.trim() != "0")
}
