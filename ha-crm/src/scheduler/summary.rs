//! What changes, one entry for each instance.

use std::sync::Arc;

use ha_core::role::Role;
use serde::Serialize;

use crate::scheduler::actions::{Plan, Task};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{ActId, NodeId, RscId};
use crate::scheduler::node::Kind;
use crate::scheduler::resource::MultipleActive;

/// What happens to an instance, or to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ChangeKind {
    /// Promoted becomes unpromoted.
    Demote,
    /// A node is fenced, or let in again.
    Fence,
    /// Goes to another node without an interruption.
    Migrate,
    /// Stops on one node and starts on another.
    Move,
    /// Unpromoted, or stopped, becomes promoted.
    Promote,
    /// Is demoted and promoted on the spot.
    RePromote,
    /// Failed: stops and starts.
    Recover,
    /// Takes new parameters while it runs.
    Reload,
    /// Stops and starts on the same node.
    Restart,
    /// Is stopped and will run.
    Start,
    /// Runs and will not.
    Stop,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// What happens.
    #[serde(rename = "op")]
    pub kind: ChangeKind,
    /// The primitive, without the number of its instance; none for nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Arc<str>>,
    /// The node where it ends up, or where it ends.
    pub node: Arc<str>,
    /// Where it comes from, if that is another node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Arc<str>>,
    /// The role it has afterwards; of a stop the one it had.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "role_name")]
    pub role: Option<Role>,
    /// The role it had, if that was another.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "role_name")]
    pub from_role: Option<Role>,
    /// How a node is fenced: `reboot`, `off`, or `on` to let it in.
    #[serde(rename = "kind", skip_serializing_if = "Option::is_none")]
    pub fencing: Option<&'static str>,
    /// It stands, but cannot be done now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
}

/// Roles are written as Pacemaker writes them.
#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn role_name<S: serde::Serializer>(role: &Option<Role>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match role {
        Some(Role::Promoted) => "Promoted",
        Some(Role::Unpromoted) => "Unpromoted",
        Some(Role::Started) => "Started",
        Some(Role::Stopped) | None => "Stopped",
    })
}

/// All changes of a plan.
pub(crate) fn changes(cluster: &Cluster<'_>, plan: &Plan) -> Vec<Change> {
    let mut found = Vec::new();
    for fence in &plan.fences {
        found.extend(fencing(cluster, plan, *fence));
    }
    for resource in cluster.resource_ids() {
        if cluster[resource].is_primitive() {
            of_primitive(cluster, plan, resource, &mut found);
        }
    }
    found
}

fn fencing(cluster: &Cluster<'_>, plan: &Plan, fence: ActId) -> Option<Change> {
    let action = &plan[fence];
    let node = action.node?;
    let kind = if action.task == Task::Unfence {
        "on"
    } else if cluster[node].is_guest() {
        guest_fencing(cluster, node)
    } else {
        cluster.options.fencing_action
    };
    Some(Change {
        kind: ChangeKind::Fence,
        resource: None,
        node: Arc::clone(&cluster[node].name),
        from: None,
        role: None,
        from_role: None,
        fencing: Some(kind),
        blocked: !action.runnable,
        reason: action.why.clone(),
    })
}

/// A guest is fenced by the end of what it lives in, which may start again or not.
fn guest_fencing(cluster: &Cluster<'_>, node: NodeId) -> &'static str {
    let container = cluster[node].connection.and_then(|connection| cluster[connection].container);
    let comes_back = container.is_some_and(|container| {
        cluster[container].assigned.is_some() && cluster[container].next_role > Role::Stopped
    });
    if comes_back { "reboot" } else { "off" }
}

/// A change of a primitive, to be completed.
fn change(cluster: &Cluster<'_>, resource: RscId, kind: ChangeKind, node: NodeId) -> Change {
    Change {
        kind,
        resource: Some(Arc::clone(&cluster[resource].base)),
        node: Arc::clone(&cluster[node].name),
        from: None,
        role: None,
        from_role: None,
        fencing: None,
        blocked: false,
        reason: None,
    }
}

/// The actions of one primitive, as far as they say what changes.
struct Steps<'p> {
    plan: &'p Plan,
    stops: Vec<ActId>,
    start: Option<ActId>,
    promote: Option<ActId>,
    demotes: Vec<ActId>,
}

impl Steps<'_> {
    fn needed(&self, action: Option<ActId>) -> bool {
        action.is_some_and(|action| !self.plan[action].optional)
    }

    fn runnable(&self, action: Option<ActId>) -> bool {
        action.is_some_and(|action| self.plan[action].runnable)
    }

    fn why(&self, action: Option<ActId>) -> Option<Arc<str>> {
        action.and_then(|action| self.plan[action].why.clone())
    }
}

fn of_primitive(cluster: &Cluster<'_>, plan: &Plan, resource: RscId, found: &mut Vec<Change>) {
    let rsc = &cluster[resource];
    let next = rsc.assigned.filter(|_| rsc.next_role > Role::Stopped);
    let steps = Steps {
        plan,
        stops: plan.all(resource, Task::Stop),
        start: next.and_then(|node| plan.find(resource, Task::Start, Some(node))),
        promote: next.and_then(|node| plan.find(resource, Task::Promote, Some(node))),
        demotes: plan.all(resource, Task::Demote),
    };
    if !rsc.managed {
        return;
    }
    let current = current_of(cluster, resource);
    match (current, next) {
        (None, None) => {}
        (None, Some(node)) => starts(cluster, &steps, resource, node, found),
        (Some(_), None) => stops(cluster, &steps, resource, found),
        (Some(current), Some(node)) => {
            goes_on(cluster, &steps, resource, (current, node), found);
        }
    }
}

/// Where it is; of a migration its source.
fn current_of(cluster: &Cluster<'_>, resource: RscId) -> Option<NodeId> {
    let rsc = &cluster[resource];
    if let Some(migration) = rsc.migration
        && rsc.running.contains(&migration.source)
    {
        return Some(migration.source);
    }
    rsc.running.first().copied()
}

fn starts(
    cluster: &Cluster<'_>,
    steps: &Steps<'_>,
    resource: RscId,
    node: NodeId,
    found: &mut Vec<Change>,
) {
    let promotes = cluster[resource].next_role == Role::Promoted;
    let kind = if promotes { ChangeKind::Promote } else { ChangeKind::Start };
    let mut entry = change(cluster, resource, kind, node);
    entry.blocked = !steps.runnable(steps.start);
    if promotes {
        entry.role = Some(Role::Promoted);
        entry.from_role = Some(Role::Stopped);
        entry.blocked |= !steps.runnable(steps.promote);
    }
    if steps.start.is_some_and(|start| steps.plan[start].inhibited) {
        return;
    }
    entry.reason = steps.why(steps.start);
    found.push(entry);
}

fn stops(cluster: &Cluster<'_>, steps: &Steps<'_>, resource: RscId, found: &mut Vec<Change>) {
    for stop in &steps.stops {
        let Some(node) = steps.plan[*stop].node else { continue };
        if cluster[resource].dangling.contains(&node) || is_lost(cluster, resource, node) {
            continue;
        }
        found.push(stop_entry(cluster, steps, resource, *stop, node));
    }
}

/// What is left of a removed resource behind a connection that was removed, too: nobody stops it.
fn is_lost(cluster: &Cluster<'_>, resource: RscId, node: NodeId) -> bool {
    cluster[resource].removed
        && cluster[node].kind == Kind::Remote
        && cluster[node].connection.is_none()
}

fn stop_entry(
    cluster: &Cluster<'_>,
    steps: &Steps<'_>,
    resource: RscId,
    stop: ActId,
    node: NodeId,
) -> Change {
    let mut entry = change(cluster, resource, ChangeKind::Stop, node);
    if cluster[resource].role == Role::Promoted {
        entry.role = Some(Role::Promoted);
    }
    entry.blocked = !steps.plan[stop].runnable;
    entry.reason.clone_from(&steps.plan[stop].why);
    entry
}

fn goes_on(
    cluster: &Cluster<'_>,
    steps: &Steps<'_>,
    resource: RscId,
    (current, node): (NodeId, NodeId),
    found: &mut Vec<Change>,
) {
    let rsc = &cluster[resource];
    let moves = current != node;
    if steps.plan.migrations.contains(&resource) {
        let mut entry = change(cluster, resource, ChangeKind::Migrate, node);
        entry.from = Some(Arc::clone(&cluster[current].name));
        entry.reason = steps.why(steps.start);
        found.push(entry);
        return;
    }
    let was_promoted = rsc.role == Role::Promoted;
    let will_promote = rsc.next_role == Role::Promoted;
    let starts = steps.needed(steps.start);
    if !starts {
        stays(cluster, steps, resource, node, found);
        return;
    }
    if rsc.start_pending && !moves && !rsc.failed {
        let stop_needed = steps.stops.iter().any(|stop| !steps.plan[*stop].optional);
        if !stop_needed {
            let mut entry = change(cluster, resource, ChangeKind::Start, node);
            entry.blocked = !steps.runnable(steps.start);
            found.push(entry);
            return;
        }
    }
    if !steps.runnable(steps.start) {
        // It cannot come back: what is left is to stop.
        for stop in &steps.stops {
            let Some(at) = steps.plan[*stop].node else { continue };
            let mut entry = stop_entry(cluster, steps, resource, *stop, at);
            entry.reason = steps.why(steps.start);
            found.push(entry);
        }
        return;
    }
    if !moves && !rsc.failed && was_promoted != will_promote {
        // The change of role says more than the restart on the way.
        let kind = if was_promoted { ChangeKind::Demote } else { ChangeKind::Promote };
        let mut entry = change(cluster, resource, kind, node);
        let role = |promoted: bool| if promoted { Role::Promoted } else { Role::Unpromoted };
        entry.role = Some(role(will_promote));
        entry.from_role = Some(role(was_promoted));
        entry.reason = steps.why(steps.start);
        found.push(entry);
        return;
    }
    let kind = if rsc.failed {
        ChangeKind::Recover
    } else if moves {
        ChangeKind::Move
    } else {
        ChangeKind::Restart
    };
    let mut entry = change(cluster, resource, kind, node);
    if moves {
        entry.from = Some(Arc::clone(&cluster[current].name));
    }
    if will_promote {
        entry.role = Some(Role::Promoted);
    }
    if was_promoted != will_promote {
        entry.from_role = Some(if was_promoted { Role::Promoted } else { Role::Unpromoted });
        if !will_promote {
            entry.role = Some(Role::Unpromoted);
        }
    }
    entry.reason = steps.why(steps.start);
    found.push(entry);
}

/// It stays where it is and runs on; its role may change.
fn stays(
    cluster: &Cluster<'_>,
    steps: &Steps<'_>,
    resource: RscId,
    node: NodeId,
    found: &mut Vec<Change>,
) {
    let rsc = &cluster[resource];
    let unexpected = steps.stops.iter().any(|stop| !steps.plan[*stop].optional);
    if rsc.multiple_active == MultipleActive::StopUnexpected && unexpected {
        // Elsewhere it stops, here it goes on: people are told of the whole.
        found.push(change(cluster, resource, ChangeKind::Restart, node));
        return;
    }
    for stop in &steps.stops {
        let at = steps.plan[*stop].node;
        if at != Some(node) && !steps.plan[*stop].optional {
            // What a migration left behind goes without saying.
            if let Some(at) = at.filter(|at| !rsc.dangling.contains(at)) {
                found.push(stop_entry(cluster, steps, resource, *stop, at));
            }
        }
    }
    let was_promoted = rsc.role == Role::Promoted;
    let will_promote = rsc.next_role == Role::Promoted;
    let promotes = steps.needed(steps.promote);
    let demotes = steps.demotes.iter().any(|demote| !steps.plan[*demote].optional);
    let mut entry = match (was_promoted, will_promote) {
        (true, false) => {
            let mut entry = change(cluster, resource, ChangeKind::Demote, node);
            entry.role = Some(Role::Unpromoted);
            entry.from_role = Some(Role::Promoted);
            entry.blocked = steps.demotes.iter().any(|demote| !steps.plan[*demote].runnable);
            entry
        }
        (false, true) => {
            let mut entry = change(cluster, resource, ChangeKind::Promote, node);
            entry.role = Some(Role::Promoted);
            entry.from_role = Some(Role::Unpromoted);
            entry.blocked = !steps.runnable(steps.promote);
            entry
        }
        (true, true) if demotes && promotes => {
            let mut entry = change(cluster, resource, ChangeKind::RePromote, node);
            entry.role = Some(Role::Promoted);
            entry
        }
        (true, true) | (false, false) if rsc.reload => {
            change(cluster, resource, ChangeKind::Reload, node)
        }
        (true, true) | (false, false) => return,
    };
    entry.reason = steps.why(steps.promote);
    found.push(entry);
}
