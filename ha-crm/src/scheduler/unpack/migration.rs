//! Live migrations that did not come to an end.

use ha_core::role::Role;

use super::history::add_running;
use super::membership::find;
use super::outcome::{Replay, active_role};
use crate::cib::{OperationRecord, OperationStatus, ResourceHistory};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::resource::Migration;

/// The history of a resource on a node.
fn history<'c>(
    cluster: &Cluster<'c>,
    resource: RscId,
    node: NodeId,
) -> Option<&'c ResourceHistory> {
    let rsc = &cluster[resource];
    let state = cluster.cib.node_states.iter().find(|state| find(cluster, state) == Some(node))?;
    state.resources.iter().find(|history| history.id == rsc.id || history.id == rsc.base)
}

fn ends(record: &OperationRecord) -> (Option<&str>, Option<&str>) {
    let details = record.details.as_ref();
    (
        details.and_then(|details| details.migrate_source.as_deref()),
        details.and_then(|details| details.migrate_target.as_deref()),
    )
}

fn target_of(cluster: &Cluster<'_>, record: &OperationRecord) -> Option<NodeId> {
    cluster.find_node(ends(record).1?)
}

fn source_of(cluster: &Cluster<'_>, record: &OperationRecord) -> Option<NodeId> {
    cluster.find_node(ends(record).0?)
}

fn is_success(record: &OperationRecord) -> bool {
    record.status == Some(OperationStatus::Done) && record.rc_code == Some(0)
}

fn call(record: &OperationRecord) -> i32 {
    record.call_id.unwrap_or(-1)
}

/// Whether one record is later than another; on other nodes clocks and transitions must do.
fn is_later(record: &OperationRecord, than: &OperationRecord, same_node: bool) -> bool {
    if same_node {
        return call(record) > call(than);
    }
    let (Some(at), Some(than_at)) = (record.last_rc_change, than.last_rc_change) else {
        return false;
    };
    match at.cmp(&than_at) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => match (&record.transition, &than.transition) {
            (Some(one), Some(other)) if one.uuid == other.uuid => one.transition > other.transition,
            (Some(_) | None, Some(_) | None) => false,
        },
    }
}

/// Whether a node knows something newer of the resource than a record: that it was started or
/// stopped there, or was not there.
fn is_overtaken(
    history: Option<&ResourceHistory>,
    by_later_than: &OperationRecord,
    same_node: bool,
) -> bool {
    history.is_some_and(|history| {
        history.operations.iter().any(|record| {
            let tells = match &*record.operation {
                "start" | "stop" | "promote" | "demote" => true,
                "migrate_from" | "migrate_to" => {
                    ends(record) != ends(by_later_than)
                        || record.operation == by_later_than.operation
                }
                "monitor" => record.rc_code == Some(7),
                _ => false,
            };
            tells && record.id != by_later_than.id && is_later(record, by_later_than, same_node)
        })
    })
}

/// The arrival that belongs to a departure.
fn arrival<'h>(history: Option<&'h ResourceHistory>, source: &str) -> Option<&'h OperationRecord> {
    let all = history?.operations.iter();
    all.filter(|record| &*record.operation == "migrate_from" && ends(record).0 == Some(source))
        .max_by_key(|record| call(record))
}

/// The newest record of an operation.
fn newest<'h>(history: Option<&'h ResourceHistory>, task: &str) -> Option<&'h OperationRecord> {
    let all = history?.operations.iter();
    all.filter(|record| &*record.operation == task).max_by_key(|record| call(record))
}

/// What went wrong on the way is started anew, not migrated again.
fn mark_failed(cluster: &mut Cluster<'_>, resource: RscId) {
    let rsc = &mut cluster[resource];
    rsc.failed = true;
    rsc.must_stop = true;
    rsc.can_migrate = false;
}

fn be_active(cluster: &mut Cluster<'_>, resource: RscId) {
    let role = active_role(cluster, resource);
    cluster[resource].role = cluster[resource].role.max(role);
}

/// A migration has left its source: is it at its target, halfway, or lost?
pub(super) fn take_success(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    record: &OperationRecord,
    replay: &mut Replay,
) {
    let role = active_role(cluster, resource);
    let Some(target) = target_of(cluster, record) else {
        replay.role = Some(role);
        return;
    };
    let left = is_overtaken(history(cluster, resource, node), record, true);
    let there = history(cluster, resource, target);
    let source = cluster[node].name.to_string();
    let arrival = arrival(there, &source);
    let target_overtaken = is_overtaken(there, record, false)
        || arrival.is_some_and(|arrival| is_overtaken(there, arrival, true));
    match arrival {
        // It is there; here the rest must be stopped.
        Some(arrival) if is_success(arrival) => {
            if left {
                return;
            }
            replay.role = Some(role);
            if !target_overtaken || cluster[resource].running.contains(&target) {
                cluster[resource].dangling.push(node);
            }
        }
        // It failed there: it may be on either.
        Some(arrival) if arrival.status != Some(OperationStatus::Pending) => {
            if left {
                return;
            }
            replay.role = Some(role);
            if cluster[target].online && !target_overtaken {
                be_active(cluster, resource);
                add_running(cluster, resource, target);
            }
            mark_failed(cluster, resource);
        }
        Some(_) | None => {
            if !left {
                replay.role = Some(role);
            }
            let is_there = cluster[target].online && !cluster[target].unclean;
            if target_overtaken || (left && !is_there) {
                return;
            }
            if left {
                be_active(cluster, resource);
                add_running(cluster, resource, target);
                cluster[resource].can_migrate = false;
            } else if is_there {
                cluster[resource].migration = Some(Migration { source: node, target });
                be_active(cluster, resource);
                add_running(cluster, resource, node);
                add_running(cluster, resource, target);
            } else {
                mark_failed(cluster, resource);
            }
        }
    }
}

/// A migration could not leave: the resource is here, and perhaps at the target too.
pub(super) fn take_failed_to(cluster: &mut Cluster<'_>, resource: RscId, record: &OperationRecord) {
    let Some(target) = target_of(cluster, record) else { return };
    be_active(cluster, resource);
    let there = history(cluster, resource, target);
    // Where nothing is known it will be looked for.
    if there.is_some() && cluster[target].online && !is_overtaken(there, record, false) {
        let is_seen = newest(there, "start").or(newest(there, "migrate_from")).is_some();
        if !is_seen {
            cluster[resource].must_stop = true; // Nobody knows in which state it is there.
        }
        add_running(cluster, resource, target);
    }
}

/// A migration could not arrive: the resource may still be at its source.
pub(super) fn take_failed_from(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    record: &OperationRecord,
) {
    let Some(source) = source_of(cluster, record) else { return };
    be_active(cluster, resource);
    let there = history(cluster, resource, source);
    if cluster[source].online && !is_overtaken(there, record, false) {
        add_running(cluster, resource, source);
    }
}

/// A migration is on its way.
pub(super) fn take_pending(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    record: &OperationRecord,
) {
    let role = active_role(cluster, resource);
    let Some(target) = target_of(cluster, record) else { return };
    // What left an unclean node may have arrived.
    if cluster[node].unclean && cluster[target].online {
        cluster[resource].role = cluster[resource].role.max(role).max(Role::Started);
        cluster[resource].migration = Some(Migration { source: node, target });
        add_running(cluster, resource, target);
    }
}
