//! What must be with something that cannot start cannot start either.

use std::sync::Arc;

use ha_core::role::Role;

use super::{Plan, Task, flag};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::RscId;
use crate::scheduler::resource::Variant;
use crate::scheduler::score::INFINITY;

/// Adds an edge for each mandatory colocation.
pub(super) fn add(cluster: &Cluster<'_>, plan: &mut Plan) {
    for one in &cluster.colocations {
        let is_bundle = cluster[one.primary].variant == Variant::Bundle;
        let is_clone = cluster[one.primary].variant == Variant::Clone;
        if one.score < INFINITY || is_bundle {
            continue;
        }
        let why: Arc<str> = format!("colocation {}", one.id).into();
        let first_task =
            if one.primary_role == Some(Role::Promoted) { Task::Promote } else { Task::Start };
        let then_task =
            if one.dependent_role == Some(Role::Promoted) { Task::Promote } else { Task::Start };
        let members = |of: RscId, task: Task, plan: &Plan| -> Vec<_> {
            cluster.primitives_of(of).into_iter().flat_map(|one| plan.all(one, task)).collect()
        };
        let firsts = members(one.primary, first_task, plan);
        let thens = members(one.dependent, then_task, plan);
        for first in &firsts {
            for then in &thens {
                // Of a clone the instance beside it counts.
                if is_clone && plan[*first].node != plan[*then].node {
                    continue;
                }
                plan.edge(*first, *then, flag::NEEDED_FIRST_BLOCKS, &why);
            }
        }
    }
}
