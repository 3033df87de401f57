//! Nodes that must be fenced, and what waits for that.

use std::sync::Arc;

use super::{Plan, Task, flag};
use crate::cib::Requires;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{ActId, NodeId};
use crate::scheduler::node::Kind;
use crate::scheduler::options::NoQuorum;

/// Whether a node must be fenced and can be.
pub(crate) fn is_fenced(cluster: &Cluster<'_>, node: NodeId) -> bool {
    if cluster[node].fence.is_none() {
        return false;
    }
    match cluster[node].kind {
        Kind::Guest => cluster[node].must_reset && can_fence_guest(cluster, node),
        Kind::Member | Kind::Remote => can_fence(cluster, node),
    }
}

fn can_fence_guest(cluster: &Cluster<'_>, node: NodeId) -> bool {
    let connection = cluster[node].connection;
    let container = connection.and_then(|connection| cluster[connection].container);
    container.is_some_and(|container| {
        // What it lives in must be stopped, or go with its own host.
        cluster[container]
            .running
            .iter()
            .all(|host| !cluster[*host].unclean || is_fenced(cluster, *host))
    })
}

/// Whether the cluster may fence a node. Source: "Fencing", `no-quorum-policy`.
fn can_fence(cluster: &Cluster<'_>, node: NodeId) -> bool {
    if !cluster.options.fencing || !(cluster.has_fence_device || cluster.options.watchdog) {
        return false;
    }
    cluster.has_quorum || cluster.options.no_quorum == NoQuorum::Ignore || cluster[node].online
}

/// Adds an action for each node that is fenced, and for each that is let in again.
pub(super) fn add_fences(cluster: &mut Cluster<'_>, plan: &mut Plan) {
    for node in cluster.node_ids() {
        if is_fenced(cluster, node) {
            let fence = plan.need(None, Task::Fence, Some(node));
            let why = cluster[node].fence.clone().unwrap_or_default();
            plan.require(fence, &why);
            plan.fences.push(fence);
        } else if wants_unfencing(cluster, node) {
            let unfence = plan.need(None, Task::Unfence, Some(node));
            plan.require(unfence, "the node must be let in again");
            plan.fences.push(unfence);
        }
    }
}

/// Whether a node is to be let in. Source: "Unfencing".
fn wants_unfencing(cluster: &Cluster<'_>, node: NodeId) -> bool {
    if !cluster.has_unfencing || cluster[node].is_guest() {
        return false;
    }
    if !cluster[node].online || cluster[node].unclean || cluster[node].shutdown {
        return false;
    }
    let unfenced = cluster.attribute(node, "#node-unfenced").and_then(|at| at.parse::<i64>().ok());
    cluster[node].must_unfence || unfenced.is_none_or(|at| at == 0)
}

/// Whether an action lets a node in.
fn lets_in(plan: &Plan, fence: ActId, node: Option<NodeId>) -> bool {
    plan[fence].task == Task::Unfence && plan[fence].node == node
}

/// What is started waits for fencing, and stops on fenced nodes come with it.
pub(super) fn order(cluster: &Cluster<'_>, plan: &mut Plan) {
    let why: Arc<str> = "fencing comes first".into();
    let fences = plan.fences.clone();
    if fences.is_empty() {
        return;
    }
    for resource in cluster.resource_ids() {
        if !cluster[resource].is_primitive() {
            continue;
        }
        let needs =
            matches!(cluster[resource].requires, Some(Requires::Fencing | Requires::Unfencing));
        let unfences = cluster[resource].requires == Some(Requires::Unfencing);
        for action in plan.of(resource).to_vec() {
            let (task, node) = (plan[action].task, plan[action].node);
            for fence in &fences {
                let there = plan[*fence].node;
                match task {
                    Task::Start if lets_in(plan, *fence, node) && unfences => {
                        let flags = flag::FIRST_IMPLIES_THEN | flag::UNRUNNABLE_BLOCKS;
                        plan.edge(*fence, action, flags, &why);
                    }
                    Task::Start | Task::Promote if plan[*fence].task == Task::Unfence => {}
                    Task::Stop | Task::Demote if node == there => {
                        plan.edge(*fence, action, flag::ORDERED, &why);
                    }
                    Task::Start | Task::Promote if needs => {
                        plan.edge(*fence, action, flag::UNRUNNABLE_BLOCKS, &why);
                    }
                    Task::Demote
                    | Task::Demoted
                    | Task::Fence
                    | Task::OneOf
                    | Task::Promote
                    | Task::Promoted
                    | Task::Running
                    | Task::Start
                    | Task::Stop
                    | Task::Stopped
                    | Task::Unfence => {}
                }
            }
        }
    }
}
