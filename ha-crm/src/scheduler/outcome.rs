//! What is active once the transition is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::role::Role;

use crate::scheduler::actions::{Plan, Task, is_fenced};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};

/// Resource, role, nodes; a node once for each instance.
pub(crate) type Outcome = BTreeMap<Arc<str>, BTreeMap<Role, Vec<Arc<str>>>>;

/// Where a primitive is active afterwards, and whether it is promoted there.
pub(crate) fn after(cluster: &Cluster<'_>, plan: &Plan, resource: RscId) -> Vec<(NodeId, bool)> {
    let rsc = &cluster[resource];
    let is_promoted = rsc.role == Role::Promoted;
    let done = |action: crate::scheduler::id::ActId| {
        !plan[action].optional && plan[action].runnable && rsc.managed
    };
    let mut at: Vec<(NodeId, bool)> = Vec::new();
    let mut running = rsc.running.clone();
    for node in &rsc.dangling {
        if !running.contains(node) {
            running.push(*node);
        }
    }
    let migrates = plan.migrations.contains(&resource);
    for node in running {
        if is_fenced(cluster, node) {
            continue;
        }
        let stopped = plan.find(resource, Task::Stop, Some(node)).is_some_and(done);
        if stopped || (migrates && Some(node) != rsc.assigned) {
            continue;
        }
        let demoted = plan.find(resource, Task::Demote, Some(node)).is_some_and(done);
        at.push((node, is_promoted && !demoted));
    }
    if let Some(node) = rsc.assigned {
        let starts = plan.find(resource, Task::Start, Some(node)).is_some_and(done);
        if (starts || migrates) && !at.iter().any(|(here, _)| *here == node) {
            at.push((node, false));
        }
        if plan.find(resource, Task::Promote, Some(node)).is_some_and(done) {
            for (here, promoted) in &mut at {
                *promoted |= *here == node;
            }
        }
    }
    at
}

/// The whole outcome.
pub(crate) fn outcome(cluster: &Cluster<'_>, plan: &Plan) -> Outcome {
    let mut found = Outcome::new();
    for resource in cluster.resource_ids() {
        if !cluster[resource].is_primitive() || cluster.bundle_of(resource).is_some() {
            continue;
        }
        if cluster[resource].config.is_none() && !cluster[resource].removed {
            continue; // A connection to a guest.
        }
        for (node, promoted) in after(cluster, plan, resource) {
            put(cluster, &mut found, &cluster[resource].base, node, promoted);
        }
    }
    for bundle in cluster.resource_ids() {
        let Some(parts) = &cluster[bundle].bundle else { continue };
        for replica in &parts.replicas {
            // A container without the primitive that belongs into it is of no use yet.
            let inside = replica.child.map(|child| after(cluster, plan, child));
            if inside.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let promoted = inside.is_some_and(|inside| inside.iter().any(|(_, up)| *up));
            for (node, _) in after(cluster, plan, replica.container) {
                put(cluster, &mut found, &cluster[bundle].base, node, promoted);
            }
        }
    }
    for roles in found.values_mut() {
        for nodes in roles.values_mut() {
            nodes.sort();
        }
    }
    found
}

fn put(cluster: &Cluster<'_>, found: &mut Outcome, name: &Arc<str>, node: NodeId, promoted: bool) {
    let role = if promoted { Role::Promoted } else { Role::Started };
    let roles = found.entry(Arc::clone(name)).or_default();
    roles.entry(role).or_default().push(Arc::clone(&cluster[node].name));
}
