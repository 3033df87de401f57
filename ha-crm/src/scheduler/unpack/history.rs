//! Histories, replayed: what each resource is on each node, and what its failures ask for.

use std::sync::Arc;

use ha_core::role::Role;

use super::membership::{fence, find};
use super::outcome::{Replay, replay_record};
use super::{remotes, resources};
use crate::cib::{NodeState, OperationRecord, ResourceHistory};
use crate::scheduler::bundle::Replica;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::node::Kind;
use crate::scheduler::resource::{FailureAnswer, MultipleActive, Resource, Variant};
use crate::scheduler::score::INFINITY;

/// Replays all histories: members first, then the nodes behind connections, as these come up.
pub(super) fn unpack(cluster: &mut Cluster<'_>) {
    let cib = cluster.cib;
    let states: Vec<(NodeId, &NodeState)> =
        cib.node_states.iter().filter_map(|state| Some((find(cluster, state)?, state))).collect();
    for (node, state) in &states {
        if !cluster[*node].is_remote() {
            let counts =
                cluster[*node].online || cluster.options.fencing || cluster.options.shutdown_lock;
            cluster[*node].unpacked = true;
            if counts {
                replay_node(cluster, *node, state);
            }
        }
    }
    // Connections that are no longer configured have brought their nodes.
    let states: Vec<(NodeId, &NodeState)> =
        cib.node_states.iter().filter_map(|state| Some((find(cluster, state)?, state))).collect();
    loop {
        let next = cluster.node_ids().find(|node| {
            cluster[*node].is_remote() && !cluster[*node].unpacked && remotes::is_up(cluster, *node)
        });
        let Some(node) = next else { break };
        visit_remote(cluster, node, &states);
    }
    for node in cluster.node_ids() {
        if cluster[node].is_remote() && !cluster[node].unpacked {
            visit_remote(cluster, node, &states);
        }
    }
    finish(cluster);
}

fn visit_remote(cluster: &mut Cluster<'_>, node: NodeId, states: &[(NodeId, &NodeState)]) {
    cluster[node].unpacked = true;
    remotes::judge(cluster, node);
    let counts = cluster[node].online || cluster.options.fencing;
    for (of, state) in states {
        if *of == node && counts {
            replay_node(cluster, node, state);
        }
    }
}

fn replay_node(cluster: &mut Cluster<'_>, node: NodeId, state: &NodeState) {
    // What lives in something comes after that.
    let (inside, outside): (Vec<_>, Vec<_>) =
        state.resources.iter().partition(|history| history.container.is_some());
    for history in outside.into_iter().chain(inside) {
        let mut records: Vec<&OperationRecord> = history.operations.iter().collect();
        if records.is_empty() && history.shutdown_lock.is_none() {
            continue;
        }
        records.sort_by_key(|record| order_of(record));
        let Some(resource) = find_resource(cluster, node, history, &records) else { continue };
        if history.id != cluster[resource].id {
            cluster[resource].alias = Some(Arc::clone(&history.id));
        }
        if let Some(lock) = history.shutdown_lock {
            take_lock(cluster, resource, node, lock.as_micros());
        }
        replay_resource(cluster, resource, node, &records);
    }
}

/// Records in the order in which they happened; what is still running comes last.
fn order_of(record: &OperationRecord) -> (bool, i32, i64) {
    let call = record.call_id.unwrap_or(-1);
    let at = record.last_rc_change.map_or(0, ha_core::time::WallTime::as_micros);
    (call < 0, call, at)
}

fn take_lock(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId, at: i64) {
    if !cluster.options.shutdown_lock || at == 0 {
        return;
    }
    let limit = i64::try_from(cluster.options.shutdown_lock_limit.as_micros()).unwrap_or(i64::MAX);
    if limit > 0 {
        let end = at.saturating_add(limit);
        if cluster.now.as_micros() > end {
            return;
        }
        cluster.recheck_at(ha_core::time::WallTime::from_micros(end));
    }
    cluster[resource].lock_node = Some(node);
}

/// The resource, or instance, that a history is of.
fn find_resource(
    cluster: &mut Cluster<'_>,
    node: NodeId,
    history: &ResourceHistory,
    records: &[&OperationRecord],
) -> Option<RscId> {
    let id = &*history.id;
    let exact = find_exact(cluster, id);
    let first = || cluster.names.get(&*format!("{}:0", without_number(id))).copied();
    if let Some(found) = exact.or_else(first) {
        let Some(clone) = cluster.clone_of(found) else { return Some(found) };
        if cluster[clone].unique {
            return match exact {
                Some(found) => Some(found),
                None => one_too_many(cluster, clone, found, node, id),
            };
        }
        return anonymous(cluster, clone, found, node);
    }
    if records.is_empty() {
        return None;
    }
    Some(enter_removed(cluster, id, history))
}

/// The resource of just this name. Nodes list their histories in much the same order: what came
/// after the last one found on another node is looked at first.
fn find_exact(cluster: &mut Cluster<'_>, id: &str) -> Option<RscId> {
    let last = cluster.last_found;
    let next = last.and_then(|last| cluster.found_after.get(last.index()).copied().flatten());
    let found = next.filter(|next| *cluster[*next].id == *id);
    let found = found.or_else(|| cluster.names.get(id).copied());
    if let (Some(last), Some(found)) = (last, found) {
        if cluster.found_after.len() <= last.index() {
            cluster.found_after.resize(cluster.resources.len(), None);
        }
        cluster.found_after[last.index()] = Some(found);
    }
    cluster.last_found = found;
    found
}

pub(super) fn without_number(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((base, number))
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            base
        }
        Some(_) | None => id,
    }
}

/// The instance of an anonymous clone that a node's history shall stand for.
fn anonymous(cluster: &mut Cluster<'_>, clone: RscId, like: RscId, node: NodeId) -> Option<RscId> {
    let base = Arc::clone(&cluster[like].base);
    let member_of = |cluster: &Cluster<'_>, instance: RscId| {
        cluster
            .all_of(instance)
            .into_iter()
            .find(|member| cluster[*member].is_primitive() && cluster[*member].base == base)
    };
    let instances = cluster[clone].children.clone();
    // The primitive inside a bundle belongs to the replica that the node is.
    if let Some(bundle) = cluster[clone].parent {
        return match replica_of(cluster, bundle, node) {
            Some(replica) => replica.child,
            None => more_instances(cluster, clone, like, instances.len()),
        };
    }
    let is_here = |cluster: &Cluster<'_>, instance: RscId| {
        cluster[instance].running.contains(&node) || cluster[instance].pending_node == Some(node)
    };
    let mut here = instances.iter().copied().filter(|one| is_here(cluster, *one));
    let mine = here.find(|one| {
        member_of(cluster, *one).is_some_and(|member| {
            !cluster[member].running.contains(&node) && cluster[member].pending_node != Some(node)
        })
    });
    let free = || {
        instances.iter().copied().find(|one| {
            let idle = cluster.all_of(*one).into_iter().all(|member| {
                cluster[member].running.is_empty() && cluster[member].pending_node.is_none()
            });
            idle && !cluster[*one].removed
                && member_of(cluster, *one)
                    .is_some_and(|member| cluster[member].lock_node.is_none())
        })
    };
    // With the same member active here already, this history is of one too many.
    let is_extra = mine.is_none()
        && instances.iter().any(|one| {
            member_of(cluster, *one).is_some_and(|member| cluster[member].running.contains(&node))
        });
    // What needs no fencing does not wait for a lost node: what ran there is counted apart.
    let is_lost = (!cluster[node].online || cluster[node].unclean)
        && !cluster[node].is_guest()
        && cluster[clone].clone.max < cluster.nodes.len()
        && !matches!(
            cluster[like].requires,
            Some(crate::cib::Requires::Fencing | crate::cib::Requires::Unfencing)
        );
    let free = if is_extra || is_lost { None } else { mine.or_else(free) };
    match free {
        Some(instance) => member_of(cluster, instance),
        None => more_instances(cluster, clone, like, instances.len()),
    }
}

/// The replica of a bundle that a node is.
fn replica_of(cluster: &Cluster<'_>, bundle: RscId, node: NodeId) -> Option<Replica> {
    let parts = cluster[bundle].bundle.as_ref()?;
    parts.replicas.iter().find(|replica| replica.node == Some(node)).cloned()
}

/// A unique instance that is beyond those wanted, or from when they were not unique.
fn one_too_many(
    cluster: &mut Cluster<'_>,
    clone: RscId,
    like: RscId,
    node: NodeId,
    id: &str,
) -> Option<RscId> {
    if without_number(id) != id {
        let number: usize = id.rsplit_once(':')?.1.parse().ok()?;
        return if number > 100_000 { None } else { more_instances(cluster, clone, like, number) };
    }
    // A container that was started for something else is started anew.
    let bundle = cluster[clone].parent;
    if let Some(replica) = bundle.and_then(|bundle| replica_of(cluster, bundle, node)) {
        cluster[replica.container].must_restart = true;
    }
    more_instances(cluster, clone, like, cluster[clone].children.len())
}

/// One more instance of a clone, which is to go.
fn more_instances(
    cluster: &mut Cluster<'_>,
    clone: RscId,
    like: RscId,
    number: usize,
) -> Option<RscId> {
    let instance = resources::enter_another(cluster, clone, number)?;
    let base = Arc::clone(&cluster[like].base);
    let members = cluster.all_of(instance);
    for member in &members {
        cluster[*member].removed = true;
    }
    let is_it = |member: &RscId| cluster[*member].is_primitive() && cluster[*member].base == base;
    members.into_iter().find(is_it)
}

/// Enters a resource that has a history but no configuration.
fn enter_removed(cluster: &mut Cluster<'_>, id: &str, history: &ResourceHistory) -> RscId {
    let mut rsc = Resource {
        id: id.into(),
        base: id.into(),
        class: history.class.clone().unwrap_or_default(),
        provider: history.provider.clone(),
        agent: history.kind.clone().unwrap_or_default(),
        removed: true,
        ..Resource::default()
    };
    let facts = crate::model::rule::Facts::at(cluster.now).agent(
        &rsc.class,
        rsc.provider.as_deref(),
        &rsc.agent,
    );
    rsc.meta.add(&cluster.cib.resource_defaults, &facts);
    resources::read_meta(cluster, &mut rsc);
    rsc.is_fencing = &*rsc.class == "stonith";
    rsc.requires = Some(crate::cib::Requires::Nothing);
    rsc.target_role = None;
    if !cluster.options.stop_removed {
        rsc.managed = false;
    }
    let is_connection = &*rsc.agent == "remote" && rsc.provider.as_deref() == Some("pacemaker");
    if is_connection {
        rsc.can_migrate = true;
    }
    let rsc = resources::add(cluster, rsc);
    if is_connection {
        let kind = if history.container.is_some() { Kind::Guest } else { Kind::Remote };
        let node = super::nodes::enter(cluster, id, id, kind);
        cluster[rsc].remote = Some(node);
        if cluster[node].connection.is_none() {
            cluster[node].connection = Some(rsc);
        }
    }
    if let Some(container) = history.container.as_deref().and_then(|id| cluster.names.get(id)) {
        let container = *container;
        cluster[rsc].container = Some(container);
        cluster[container].contents.push(rsc);
    }
    cluster.top.push(rsc);
    rsc
}

/// Replays what was done with one resource on one node.
fn replay_resource(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    records: &[&OperationRecord],
) {
    let mut replay = Replay::default();
    for record in records {
        replay_record(cluster, resource, node, record, &mut replay);
    }
    if let Some(reason) = replay.next_stop.take() {
        set_next_role(cluster, resource, Role::Stopped, &reason);
    }
    settle(cluster, resource, node, &replay);
    if let Some(role) = replay.role {
        let rsc = &mut cluster[resource];
        rsc.role = rsc.role.max(role);
    }
}

/// Sets a role that shall not be exceeded.
fn set_next_role(cluster: &mut Cluster<'_>, resource: RscId, role: Role, why: &str) {
    let rsc = &mut cluster[resource];
    rsc.target_role = Some(rsc.target_role.map_or(role, |known| known.min(role)));
    rsc.next_role_why = Some(why.into());
}

/// Draws the consequences of a replay.
fn settle(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId, replay: &Replay) {
    if let Some(role) = replay.role {
        mark_known(cluster, resource, node);
        let is_active = role > Role::Stopped;
        if is_active
            && !cluster[node].online
            && !cluster[node].maintenance
            && cluster[resource].managed
        {
            lose_node(cluster, resource, node);
        }
    }
    let role = replay.role.unwrap_or(Role::Stopped);
    let mut answer = replay.answer;
    // On an unclean node the resource stays what it is until the node is fenced.
    if cluster[node].unclean {
        answer = FailureAnswer::Ignore;
    }
    answer_failure(cluster, resource, node, role, answer);
    if role > Role::Stopped {
        if cluster[resource].removed && !cluster.options.stop_removed {
            cluster[resource].managed = false;
        }
        if !cluster[resource].dangling.contains(&node) {
            add_running(cluster, resource, node);
        }
    }
}

/// The status of a resource on a node is known; so is that of the anonymous clone it is in.
fn mark_known(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) {
    let mut at = Some(resource);
    while let Some(rsc) = at {
        cluster[rsc].known.insert(node);
        if cluster[rsc].unique {
            break;
        }
        at = cluster[rsc].parent;
    }
}

/// A managed resource is active on a node that is not there.
fn lose_node(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) {
    let why = format!("{} is thought to be active there", cluster[resource].id);
    match cluster[node].kind {
        Kind::Guest => {
            cluster[node].must_reset = true;
            // It ends with the guest, and is to be recovered where the guest comes back.
            cluster[resource].failed = true;
            cluster[resource].must_stop = true;
            fence_guest(cluster, node, &why);
        }
        Kind::Remote => {
            let connection = cluster[node].connection;
            let failed = connection.is_some_and(|rsc| cluster[rsc].failed);
            if cluster.options.fencing && !cluster[node].was_fenced {
                let is_first = cluster[node].fence.is_none();
                fence(cluster, node, &why);
                // Unless the node can be reached again over another host.
                cluster[node].may_return = is_first && !failed;
            }
        }
        Kind::Member if cluster.options.fencing => fence(cluster, node, &why),
        Kind::Member => {}
    }
}

/// A guest is fenced by what it lives in.
pub(crate) fn fence_guest(cluster: &mut Cluster<'_>, node: NodeId, why: &str) {
    let Some(connection) = cluster[node].connection else { return };
    let container = cluster[connection].container;
    let Some(container) = container else { return };
    if !cluster[container].managed {
        return;
    }
    if cluster[node].fence.is_none() {
        cluster[node].fence = Some(why.into());
    }
    cluster[node].must_reset = true;
    cluster[container].failed = true;
    cluster[container].must_stop = true;
}

fn answer_failure(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    role: Role,
    answer: FailureAnswer,
) {
    if answer != FailureAnswer::Ignore {
        cluster[resource].answer = cluster[resource].answer.max(Some(answer));
    }
    let id = Arc::clone(&cluster[resource].id);
    match answer {
        FailureAnswer::Ignore => {}
        FailureAnswer::Demote => cluster[resource].failed = true,
        FailureAnswer::Block => {
            cluster[resource].managed = false;
            cluster[resource].blocked = true;
            cluster[resource].failed = true;
        }
        FailureAnswer::Fence => {
            cluster[resource].failed = true;
            let why = format!("{id} failed there");
            if cluster[node].is_guest() {
                fence_guest(cluster, node, &why);
            } else {
                fence(cluster, node, &why);
            }
        }
        FailureAnswer::Standby => {
            cluster[resource].failed = true;
            cluster[node].standby = true;
            cluster[node].standby_on_fail = true;
        }
        FailureAnswer::Stop => {
            cluster[resource].failed = true;
            set_next_role(cluster, resource, Role::Stopped, "on-fail=stop");
        }
        FailureAnswer::Recover => {
            if role > Role::Stopped {
                cluster[resource].failed = true;
                cluster[resource].must_stop = true;
            }
        }
        FailureAnswer::RestartContainer => {
            cluster[resource].failed = true;
            cluster[resource].must_stop = true;
            if let Some(container) = cluster[resource].container {
                cluster[container].must_stop = true;
            }
        }
        FailureAnswer::ResetRemote => reset_remote(cluster, resource),
    }
}

/// A connection that failed takes its node with it.
fn reset_remote(cluster: &mut Cluster<'_>, resource: RscId) {
    cluster[resource].failed = true;
    cluster[resource].must_stop = true;
    let Some(node) = cluster[resource].remote else { return };
    if cluster.options.fencing && cluster[node].kind == Kind::Remote && !cluster[node].was_fenced {
        fence(cluster, node, "remote connection is unrecoverable");
    }
    let facts = cluster.parameters(resource, None);
    let waits = facts
        .read::<std::time::Duration>("reconnect_interval")
        .is_some_and(|interval| !interval.is_zero());
    if waits {
        set_next_role(cluster, resource, Role::Stopped, "it reconnects after an interval");
    }
}

/// Enters that a resource is active on a node.
pub(crate) fn add_running(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) {
    if cluster[resource].running.contains(&node) {
        return;
    }
    cluster[resource].running.push(node);
    cluster[node].running.push(resource);
    let mut at = cluster[resource].parent;
    while let Some(parent) = at {
        if !cluster[parent].running.contains(&node) {
            cluster[parent].running.push(node);
        }
        at = cluster[parent].parent;
    }
    if cluster[node].maintenance {
        cluster[resource].managed = false;
        cluster[resource].maintenance = true;
    }
}

/// What can be said only when all histories are known: several places at once, unmanaged ones.
fn finish(cluster: &mut Cluster<'_>) {
    for resource in cluster.resource_ids() {
        if !cluster[resource].is_primitive() {
            continue;
        }
        if cluster[resource].running.len() > 1
            && cluster[resource].multiple_active == MultipleActive::Block
            && cluster[resource].migration.is_none()
        {
            block_all(cluster, resource);
        }
    }
    for resource in cluster.resource_ids() {
        if cluster[resource].is_primitive() && !cluster[resource].managed {
            for node in cluster[resource].running.clone() {
                cluster.add_score(resource, node, INFINITY, &Why::Other("it is not managed"));
            }
        }
    }
    // A remote node whose connection is unclean on a lost node is taken over with it.
    for node in cluster.node_ids() {
        if cluster[node].kind == Kind::Remote && cluster[node].fence.is_none() {
            cluster[node].unclean = false;
        }
    }
}

/// A resource active where it should not be, and nothing may be done about it.
fn block_all(cluster: &mut Cluster<'_>, resource: RscId) {
    let mut members = vec![resource];
    if let Some(parent) = cluster[resource].parent
        && cluster[parent].variant == Variant::Group
    {
        members.clone_from(&cluster[parent].children);
    }
    for member in members {
        cluster[member].managed = false;
        cluster[member].blocked = true;
    }
}
