//! Actions of groups, clones and bundles as a whole, and the order inside them.

use std::sync::Arc;

use ha_core::role::Role;

use super::{Plan, Task, flag};
use crate::scheduler::bundle::Replica;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{ActId, RscId};
use crate::scheduler::resource::Variant;

/// The way in and the way out of a collective's action, and what its members do.
pub(super) const PHASES: [(Task, Task); 4] = [
    (Task::Start, Task::Running),
    (Task::Promote, Task::Promoted),
    (Task::Demote, Task::Demoted),
    (Task::Stop, Task::Stopped),
];

/// Adds what collectives have.
pub(super) fn add(cluster: &Cluster<'_>, plan: &mut Plan) {
    for resource in cluster.resource_ids() {
        match cluster[resource].variant {
            Variant::Primitive => {}
            Variant::Group => {
                frame(cluster, plan, resource);
                chain(cluster, plan, resource);
            }
            Variant::Clone => frame(cluster, plan, resource),
            Variant::Bundle => {
                frame(cluster, plan, resource);
                replicas(cluster, plan, resource);
            }
        }
    }
    guests(cluster, plan);
    contents(cluster, plan);
}

/// Ties the members' actions to the collective's.
fn frame(cluster: &Cluster<'_>, plan: &mut Plan, collective: RscId) {
    let why: Arc<str> = format!("members of {}", cluster[collective].id).into();
    let is_clone = cluster[collective].is_cloned();
    for (way_in, way_out) in PHASES {
        let begin = plan.need(Some(collective), way_in, None);
        let end = plan.need(Some(collective), way_out, None);
        plan[begin].pseudo = true;
        plan[end].pseudo = true;
        let mut any = false;
        for child in members(cluster, collective) {
            let child_in = actions(plan, cluster, child, way_in);
            let child_out = if cluster[child].is_collective() {
                actions(plan, cluster, child, way_out)
            } else {
                child_in.clone()
            };
            any |= !child_in.is_empty();
            let starts_not = child_in.is_empty()
                && way_in == Task::Start
                && cluster[child].managed
                && cluster[child].next_role == Role::Stopped;
            if starts_not && cluster[collective].variant == Variant::Group {
                plan[end].runnable = false;
                plan[end].why = Some(format!("{} is not to run", cluster[child].id).into());
            }
            let (inward, mut outward) = flags(way_in, is_clone);
            if cluster[collective].bundle.is_some() && way_in == Task::Stop {
                // That all of a bundle is to be stopped comes from its replicas alone.
                outward &= !flag::THEN_IMPLIES_FIRST;
            }
            for action in child_in {
                plan.edge(begin, action, inward, &why);
            }
            for action in child_out {
                plan.edge(action, end, outward, &why);
            }
        }
        let is_start = matches!(way_in, Task::Start | Task::Promote);
        if is_start && is_clone {
            plan[end].enough = cluster[collective].clone.min.max(1);
        }
        if is_start && !any {
            plan[end].runnable = false;
            plan[end].why = Some("nothing of it is to run".into());
        }
        plan.edge(begin, end, flag::ORDERED, &why);
    }
}

fn members(cluster: &Cluster<'_>, collective: RscId) -> Vec<RscId> {
    match &cluster[collective].bundle {
        // The primitive inside is what a bundle promotes; its containers are what it starts.
        Some(parts) => parts.replicas.iter().flat_map(Replica::members).collect(),
        None => cluster[collective].children.clone(),
    }
}

fn flags(way_in: Task, is_clone: bool) -> (u16, u16) {
    if !way_in.begins() {
        let inward = flag::THEN_IMPLIES_FIRST;
        return (inward, inward | flag::NEEDED_FIRST_BLOCKS);
    }
    let inward = flag::FIRST_IMPLIES_THEN | flag::UNRUNNABLE_BLOCKS;
    let outward = if is_clone { flag::MIN_RUNNABLE } else { flag::UNRUNNABLE_BLOCKS };
    (inward, flag::FIRST_IMPLIES_THEN | outward)
}

fn actions(plan: &mut Plan, cluster: &Cluster<'_>, child: RscId, task: Task) -> Vec<ActId> {
    if cluster[child].is_collective() {
        vec![plan.need(Some(child), task, None)]
    } else {
        plan.all(child, task)
    }
}

/// Members of a group start one after the other, and stop the other way round.
fn chain(cluster: &Cluster<'_>, plan: &mut Plan, group: RscId) {
    if cluster[group].meta.read("ordered") == Some(false) {
        return;
    }
    let why: Arc<str> = format!("order of {}", cluster[group].id).into();
    let children = cluster[group].children.clone();
    for pair in children.windows(2) {
        let [before, member] = pair else { continue };
        follow(cluster, plan, *before, *member, &why);
    }
}

/// One primitive after another, both ways.
pub(super) fn follow(
    cluster: &Cluster<'_>,
    plan: &mut Plan,
    before: RscId,
    member: RscId,
    why: &Arc<str>,
) {
    let up = flag::FIRST_IMPLIES_THEN | flag::UNRUNNABLE_BLOCKS | flag::SHARES_MIGRATION;
    for then in plan.all(member, Task::Start) {
        let firsts = plan.all(before, Task::Start);
        let will_not = firsts.is_empty() && !is_active_unmanaged(cluster, before);
        if will_not && cluster[before].next_role == Role::Stopped {
            plan[then].runnable = false;
            plan[then].why = Some(format!("{} does not run", cluster[before].id).into());
        }
        for first in firsts {
            plan.edge(first, then, up, why);
        }
    }
    for then in plan.all(member, Task::Promote) {
        for first in plan.all(before, Task::Promote) {
            plan.edge(first, then, flag::FIRST_IMPLIES_THEN | flag::UNRUNNABLE_BLOCKS, why);
        }
    }
    // What stands on it must be gone before it starts.
    for first in plan.all(member, Task::Stop) {
        for then in plan.all(before, Task::Start) {
            plan.edge(first, then, flag::NEEDED_FIRST_BLOCKS, why);
        }
    }
    let down = flag::THEN_IMPLIES_FIRST | flag::NEEDED_FIRST_BLOCKS | flag::SHARES_MIGRATION;
    for task in [Task::Stop, Task::Demote] {
        for first in plan.all(member, task) {
            for then in plan.all(before, task) {
                plan.edge(first, then, down, why);
            }
        }
    }
}

fn is_active_unmanaged(cluster: &Cluster<'_>, resource: RscId) -> bool {
    !cluster[resource].managed && !cluster[resource].running.is_empty()
}

/// In a replica the address comes first, then the container, the connection, the primitive.
fn replicas(cluster: &Cluster<'_>, plan: &mut Plan, bundle: RscId) {
    let why: Arc<str> = format!("replicas of {}", cluster[bundle].id).into();
    let Some(parts) = cluster[bundle].bundle.clone() else { return };
    for replica in parts.replicas {
        if let Some(ip) = replica.ip {
            follow(cluster, plan, ip, replica.container, &why);
        }
        if let Some(remote) = replica.remote {
            follow(cluster, plan, replica.container, remote, &why);
            if let Some(child) = replica.child {
                follow(cluster, plan, remote, child, &why);
            }
        }
    }
}

/// What lives in a container starts after it and stops before it.
fn contents(cluster: &Cluster<'_>, plan: &mut Plan) {
    let why: Arc<str> = "it lives in a container".into();
    for container in cluster.resource_ids() {
        for inner in cluster[container].contents.clone() {
            if cluster[inner].remote.is_none() && cluster.bundle_of(inner).is_none() {
                follow(cluster, plan, container, inner, &why);
            }
        }
    }
}

/// What lives in a guest goes with it.
fn guests(cluster: &Cluster<'_>, plan: &mut Plan) {
    let why: Arc<str> = "it lives behind a connection".into();
    for node in cluster.node_ids() {
        let Some(connection) = cluster[node].connection else { continue };
        let in_bundle = cluster.bundle_of(connection).is_some();
        if let (Some(container), false) = (cluster[connection].container, in_bundle) {
            follow(cluster, plan, container, connection, &why);
        }
        for resource in cluster.resource_ids() {
            if !cluster[resource].is_primitive() || resource == connection {
                continue;
            }
            for action in plan.of(resource).to_vec() {
                if plan[action].node == Some(node) {
                    behind(cluster, plan, connection, action, &why);
                }
            }
        }
    }
}

/// An action on a node behind a connection: begun after the connection, ended before its end.
fn behind(
    cluster: &Cluster<'_>,
    plan: &mut Plan,
    connection: RscId,
    action: ActId,
    why: &Arc<str>,
) {
    // A guest that starts anew has nothing of what it had.
    let is_guest = cluster[connection].container.is_some();
    let moves =
        if is_guest { flag::FIRST_IMPLIES_THEN | flag::SHARES_MIGRATION } else { flag::ORDERED };
    if plan[action].task.begins() {
        for first in plan.all(connection, Task::Start) {
            plan.edge(first, action, flag::UNRUNNABLE_BLOCKS | moves, why);
        }
    } else if plan[action].task.ends() {
        for then in plan.all(connection, Task::Stop) {
            plan.edge(action, then, flag::ORDERED, why);
        }
    }
}
