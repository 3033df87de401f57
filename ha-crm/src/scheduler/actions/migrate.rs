//! Live migration: where a stop here and a start there can be had without an interruption.

use ha_core::role::Role;

use super::{Plan, Task};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::RscId;

/// Whether a resource could go to its new node live.
fn can_migrate(cluster: &Cluster<'_>, resource: RscId) -> bool {
    let rsc = &cluster[resource];
    let source = match rsc.migration {
        Some(migration) if rsc.running.len() == 2 => migration.source,
        Some(_) | None => match rsc.running.as_slice() {
            [source] => *source,
            _ => return false,
        },
    };
    let Some(target) = rsc.assigned else { return false };
    rsc.can_migrate
        && rsc.managed
        && !rsc.failed
        && !rsc.start_pending
        && rsc.dangling.is_empty()
        && rsc.next_role > Role::Stopped
        && source != target
        && cluster[source].online
        && !cluster[source].unclean
        && cluster[target].online
}

/// Marks the stops and starts that a migration could stand for.
pub(super) fn mark(cluster: &Cluster<'_>, plan: &mut Plan) {
    for resource in cluster.resource_ids() {
        if cluster[resource].is_primitive() && can_migrate(cluster, resource) {
            for task in [Task::Stop, Task::Start] {
                for action in plan.all(resource, task) {
                    if !plan[action].optional {
                        plan[action].migratable = true;
                    }
                }
            }
        }
    }
}

/// Says who migrates, once all is spread.
pub(super) fn settle(cluster: &Cluster<'_>, plan: &mut Plan) {
    for resource in cluster.resource_ids() {
        if !cluster[resource].is_primitive() || !can_migrate(cluster, resource) {
            continue;
        }
        let all = |task: Task, plan: &Plan| {
            let actions = plan.all(resource, task);
            !actions.is_empty()
                && actions.iter().all(|action| {
                    let action = &plan[*action];
                    action.optional || (action.migratable && action.runnable)
                })
        };
        let starts = plan
            .all(resource, Task::Start)
            .iter()
            .any(|action| !plan[*action].optional && plan[*action].runnable);
        if starts && all(Task::Stop, plan) && all(Task::Start, plan) {
            plan.migrations.push(resource);
        }
    }
}
