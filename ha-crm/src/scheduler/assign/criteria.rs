//! What speaks for and against nodes before anything is assigned.

use std::sync::Arc;

use crate::cib::{Discovery, LossPolicy};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::constraint::{Colocation, TicketUse};
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::resource::{ABSENT, Variant};
use crate::scheduler::score::INFINITY;
use crate::scheduler::unpack::{add_colocation, ban_scope, fail_count, fence};
use ha_core::role::Role;

/// Applies all criteria, in order.
pub(super) fn apply(cluster: &mut Cluster<'_>) {
    lock_to_nodes(cluster);
    for resource in cluster.resource_ids() {
        if !cluster[resource].is_primitive() {
            continue;
        }
        stick(cluster, resource);
        ban_failures(cluster, resource);
        keep_exclusive(cluster, resource);
        if cluster[resource].removed && cluster[resource].managed {
            cluster.ban_all(resource, &Why::Other("it is not configured"));
        }
    }
    join_members(cluster);
    apply_tickets(cluster);
}

/// Being there speaks for staying. Source: `resource-stickiness`.
fn stick(cluster: &mut Cluster<'_>, resource: RscId) {
    let rsc = &cluster[resource];
    let stickiness = rsc.stickiness;
    let [node] = rsc.running.as_slice() else { return };
    let node = *node;
    if stickiness == 0 || !rsc.managed {
        return;
    }
    if cluster.options.symmetric || rsc.score(node) != ABSENT {
        cluster.add_score(resource, node, stickiness, &Why::Stickiness);
    }
}

/// After too many failures a node is closed. Source: `migration-threshold`.
fn ban_failures(cluster: &mut Cluster<'_>, resource: RscId) {
    if cluster[resource].migration_threshold == 0 || cluster[resource].failure_ignored {
        return;
    }
    for node in cluster.node_ids() {
        if !has_failures(cluster, node) {
            continue;
        }
        let count = fail_count(cluster, resource, node).count;
        if count > 0 && count >= cluster[resource].migration_threshold {
            let scope = ban_scope(cluster, resource);
            for member in cluster.all_of(scope) {
                if member == scope || is_same(cluster, member, resource) {
                    cluster.ban(member, node, &Why::Failures);
                }
            }
        }
    }
}

fn has_failures(cluster: &Cluster<'_>, node: NodeId) -> bool {
    cluster[node].attributes.iter().any(|(name, _)| name.starts_with("fail-count-"))
}

/// Whether two are instances of the same.
fn is_same(cluster: &Cluster<'_>, a: RscId, b: RscId) -> bool {
    cluster[a].base == cluster[b].base
}

/// With exclusive discovery only the named nodes are left.
fn keep_exclusive(cluster: &mut Cluster<'_>, resource: RscId) {
    if !cluster[resource].exclusive_discovery {
        return;
    }
    for node in cluster.node_ids() {
        let is_named = cluster[resource].discovery.get(&node) == Some(&Discovery::Exclusive);
        if !is_named && cluster[resource].score(node) != ABSENT {
            cluster.ban(resource, node, &Why::Discovery);
        }
    }
}

/// A clean shutdown of a node keeps its resources for it. Source: `shutdown-lock`.
fn lock_to_nodes(cluster: &mut Cluster<'_>) {
    if !cluster.options.shutdown_lock {
        return;
    }
    for resource in cluster.resource_ids() {
        if !cluster[resource].is_primitive() || !may_lock(cluster, resource) {
            continue;
        }
        let lock = match (cluster[resource].lock_node, cluster[resource].running.as_slice()) {
            (Some(node), []) => Some(node).filter(|node| is_away(cluster, *node)),
            (None, [node]) => Some(*node).filter(|node| {
                cluster[*node].shutdown && cluster[*node].online && !cluster[*node].unclean
            }),
            // It runs somewhere: the lock has no meaning any more.
            (Some(_), [_, ..]) | (None, _) => None,
        };
        cluster[resource].lock_node = lock;
        let Some(lock) = lock else { continue };
        for node in cluster.node_ids() {
            if node != lock && cluster[resource].score(node) != ABSENT {
                cluster.ban(resource, node, &Why::Lock);
            }
        }
    }
}

fn is_away(cluster: &Cluster<'_>, node: NodeId) -> bool {
    cluster[node].shutdown || !cluster[node].online
}

fn may_lock(cluster: &Cluster<'_>, resource: RscId) -> bool {
    let rsc = &cluster[resource];
    !rsc.is_fencing
        && rsc.remote.is_none()
        && cluster.clone_of(resource).is_none()
        && cluster.bundle_of(resource).is_none()
}

/// What belongs together by its nature: members of groups, what lives in containers.
fn join_members(cluster: &mut Cluster<'_>) {
    for resource in cluster.resource_ids() {
        match cluster[resource].variant {
            Variant::Group => {
                if !cluster[resource].keeps_together() {
                    continue;
                }
                let children = cluster[resource].children.clone();
                for pair in children.windows(2) {
                    if let [before, member] = pair {
                        join(cluster, "group", *member, *before, None);
                    }
                }
            }
            Variant::Bundle => join_replicas(cluster, resource),
            Variant::Clone => {}
            Variant::Primitive => {
                let container = cluster[resource].container;
                let is_alone = cluster.bundle_of(resource).is_none();
                if let (Some(container), true) = (container, is_alone) {
                    join(cluster, "container", resource, container, Some(true));
                }
            }
        }
    }
}

fn join_replicas(cluster: &mut Cluster<'_>, bundle: RscId) {
    let replicas = cluster[bundle].bundle.as_ref().map(|parts| parts.replicas.clone());
    for replica in replicas.into_iter().flatten() {
        if let Some(ip) = replica.ip {
            join(cluster, "bundle", ip, replica.container, Some(true));
        }
        if let Some(remote) = replica.remote {
            join(cluster, "bundle", remote, replica.container, Some(true));
        }
    }
}

fn join(
    cluster: &mut Cluster<'_>,
    what: &str,
    dependent: RscId,
    primary: RscId,
    influence: Option<bool>,
) {
    let influence = influence.or_else(|| {
        let is_critical = cluster[dependent].critical;
        // What is already there has a say even if it is not critical.
        Some(is_critical)
    });
    let id: Arc<str> = format!("of the {what}").into();
    add_colocation(
        cluster,
        Colocation {
            id,
            dependent,
            primary,
            dependent_role: None,
            primary_role: None,
            score: INFINITY,
            node_attribute: None,
            influence,
        },
    );
}

/// What needs a ticket that is not there. Source: `rsc_ticket`, `loss-policy`.
fn apply_tickets(cluster: &mut Cluster<'_>) {
    for index in 0..cluster.ticket_uses.len() {
        let Some(using) = cluster.ticket_uses.get(index).cloned() else { continue };
        let ticket = cluster.tickets.get(&using.ticket).copied().unwrap_or_default();
        if ticket.granted && !ticket.standby {
            continue;
        }
        if using.role == Some(Role::Promoted) {
            forbid_promotion(cluster, using.resource);
        }
        for member in cluster.all_of(using.resource) {
            miss_ticket(cluster, member, &using, ticket.granted);
        }
    }
}

/// A resource does without a ticket that it needs.
fn miss_ticket(cluster: &mut Cluster<'_>, member: RscId, using: &TicketUse, granted: bool) {
    let why = Why::Ticket(Arc::clone(&using.ticket));
    let is_for_promotion = using.role == Some(Role::Promoted);
    if granted || cluster[member].running.is_empty() {
        // In standby, or where nothing is to be lost: only that it does not run.
        if !is_for_promotion || using.loss_policy == LossPolicy::Stop {
            cluster.ban_all(member, &why);
        }
        return;
    }
    match using.loss_policy {
        LossPolicy::Stop => cluster.ban_all(member, &why),
        LossPolicy::Demote => {
            if !is_for_promotion {
                cluster.ban_all(member, &why);
            }
        }
        LossPolicy::Fence => {
            if is_for_promotion && cluster[member].role != Role::Promoted {
                return;
            }
            cluster.ban_all(member, &why);
            for node in cluster[member].running.clone() {
                fence(cluster, node, "it must give up a ticket");
            }
        }
        LossPolicy::Freeze => {
            if cluster[member].is_primitive() {
                cluster[member].managed = false;
                cluster[member].blocked = true;
            }
        }
    }
}

/// Without its ticket nothing is promoted.
fn forbid_promotion(cluster: &mut Cluster<'_>, resource: RscId) {
    for member in cluster.all_of(resource) {
        for node in cluster.node_ids() {
            cluster[member].promotion_locations.push((node, -INFINITY));
        }
    }
}
