//! The actions of one primitive, from the role it has to the role it shall have.

use std::sync::Arc;

use ha_core::role::Role;

use super::{Plan, Task, flag};
use crate::cib::Requires;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{ActId, NodeId, RscId};
use crate::scheduler::node::Kind;
use crate::scheduler::options::NoQuorum;
use crate::scheduler::resource::MultipleActive;

/// Where a primitive is and what must happen to it.
struct Course {
    running: Vec<NodeId>,
    chosen: Option<NodeId>,
    must_stop: bool,
    may_start: bool,
}

/// Makes the actions of a primitive, and the edges between them.
pub(super) fn schedule(cluster: &Cluster<'_>, plan: &mut Plan, resource: RscId) {
    let rsc = &cluster[resource];
    let course = course(cluster, resource);
    let why: Arc<str> = format!("steps of {}", rsc.id).into();
    let mut stops = Vec::new();
    for node in &course.running {
        let stop = plan.need(Some(resource), Task::Stop, Some(*node));
        settle_stop(cluster, plan, stop, *node);
        stops.push(stop);
    }
    if rsc.may_be_promoted() {
        demote(cluster, plan, resource, &course, &stops, &why);
    }
    let start = course.chosen.map(|node| {
        let start = plan.need(Some(resource), Task::Start, Some(node));
        settle_start(cluster, plan, start, resource, node);
        start
    });
    if !rsc.managed {
        // Nobody touches it. What a failure has blocked holds up all that must come after its end.
        for action in plan.of(resource).to_vec() {
            plan[action].optional = true;
            if rsc.blocked && matches!(plan[action].task, Task::Stop | Task::Demote) {
                plan[action].runnable = false;
                plan[action].why = Some(format!("{} is not managed", rsc.id).into());
            }
        }
        return;
    }
    stop_and_start(cluster, plan, resource, &course, &stops, start);
    if let Some(start) = start {
        for stop in &stops {
            let is_left = plan[*stop].node.is_some_and(|node| {
                // Where a migration goes nothing is stopped first.
                let is_target = rsc.migration.is_some_and(|migration| migration.target == node);
                rsc.dangling.contains(&node) || (is_target && Some(node) == course.chosen)
            });
            if is_left && !course.must_stop {
                continue;
            }
            let staying = plan[*stop].node == course.chosen;
            let flags = if staying || course.running.len() == 1 {
                flag::FIRST_IMPLIES_THEN | flag::RESTART
            } else {
                flag::RESTART
            };
            plan.edge(*stop, start, flags, &why);
        }
        if rsc.may_be_promoted() {
            promote(cluster, plan, resource, start, &why);
        }
    }
}

fn course(cluster: &Cluster<'_>, resource: RscId) -> Course {
    let rsc = &cluster[resource];
    let chosen = rsc.assigned.filter(|_| rsc.next_role > Role::Stopped);
    let mut running = rsc.running.clone();
    for node in &rsc.dangling {
        if !running.contains(node) {
            running.push(*node);
        }
    }
    // What needs no fencing is not held up by a node that is lost, if it runs elsewhere, too.
    if !needs_fencing(cluster, resource) && running.len() > 1 {
        let clean = |node: &NodeId| cluster[*node].online && !cluster[*node].unclean;
        if running.iter().any(clean) {
            running.retain(clean);
        }
    }
    let mut must_stop = rsc.must_stop || rsc.must_restart;
    let mut may_start = true;
    let goes_on_migrating = rsc
        .migration
        .is_some_and(|migration| running.len() == 2 && chosen == Some(migration.target));
    let active = running.iter().filter(|node| !rsc.dangling.contains(node)).count();
    if active > 1 && !goes_on_migrating {
        match rsc.multiple_active {
            MultipleActive::StopOnly => {
                must_stop = true;
                may_start = false;
            }
            MultipleActive::StopStart => must_stop = true,
            MultipleActive::Block | MultipleActive::StopUnexpected => {}
        }
    }
    Course { running, chosen, must_stop, may_start }
}

fn needs_fencing(cluster: &Cluster<'_>, resource: RscId) -> bool {
    matches!(cluster[resource].requires, Some(Requires::Fencing | Requires::Unfencing))
}

/// What must be done of stopping and starting.
fn stop_and_start(
    cluster: &Cluster<'_>,
    plan: &mut Plan,
    resource: RscId,
    course: &Course,
    stops: &[ActId],
    start: Option<ActId>,
) {
    let rsc = &cluster[resource];
    for (stop, node) in stops.iter().zip(&course.running) {
        let stays = course.chosen == Some(*node);
        let why = match (course.chosen, stays) {
            (None, _) => "it shall not run",
            (Some(_), false) => "it goes elsewhere",
            (Some(_), true) if course.must_stop => "it must be stopped first",
            (Some(_), true) => continue,
        };
        plan.require(*stop, why);
    }
    let Some(start) = start else { return };
    if !course.may_start {
        plan[start].runnable = false;
        plan[start].why = Some("it was active in several places".into());
    }
    let is_here = plan[start].node.is_some_and(|node| rsc.running.contains(&node));
    let goes_on = rsc.migration.is_some_and(|migration| {
        plan[start].node == Some(migration.target) && rsc.running.contains(&migration.source)
    });
    if !is_here || course.must_stop || goes_on {
        plan.require(start, "it is to run");
    } else if rsc.start_pending
        && rsc.role <= Role::Unpromoted
        && plan[start].node == rsc.pending_node
    {
        plan.require(start, "its start is under way");
    }
}

fn demote(
    cluster: &Cluster<'_>,
    plan: &mut Plan,
    resource: RscId,
    course: &Course,
    stops: &[ActId],
    why: &Arc<str>,
) {
    let rsc = &cluster[resource];
    if rsc.role != Role::Promoted {
        return;
    }
    for (node, stop) in course.running.iter().zip(stops) {
        let demote = plan.need(Some(resource), Task::Demote, Some(*node));
        settle_stop(cluster, plan, demote, *node);
        if !rsc.managed {
            continue;
        }
        let stays = course.chosen == Some(*node);
        if rsc.next_role < Role::Promoted || !stays {
            plan.require(demote, "it shall not be promoted there");
        } else if rsc.failed && !rsc.must_stop {
            plan.require(demote, "its promoted role failed");
        }
        plan.edge(demote, *stop, flag::THEN_IMPLIES_FIRST | flag::NEEDED_FIRST_BLOCKS, why);
    }
}

fn promote(cluster: &Cluster<'_>, plan: &mut Plan, resource: RscId, start: ActId, why: &Arc<str>) {
    let rsc = &cluster[resource];
    if rsc.next_role != Role::Promoted {
        return;
    }
    let node = plan[start].node;
    let promote = plan.need(Some(resource), Task::Promote, node);
    plan[promote].runnable = plan[start].runnable;
    let is_here = node.is_some_and(|node| rsc.running.contains(&node));
    if rsc.role < Role::Promoted || !is_here {
        plan.require(promote, "it is to be promoted");
    }
    plan.edge(start, promote, flag::FIRST_IMPLIES_THEN | flag::UNRUNNABLE_BLOCKS, why);
    for demote in plan.all(resource, Task::Demote) {
        plan.edge(demote, promote, flag::FIRST_IMPLIES_THEN, why);
    }
}

/// Whether something that ends can be done on a node.
fn settle_stop(cluster: &Cluster<'_>, plan: &mut Plan, action: ActId, node: NodeId) {
    let what = &cluster[node];
    let is_gone = super::fencing::is_fenced(cluster, node);
    if is_gone {
        plan[action].pseudo = true;
        return;
    }
    let is_served = what.kind == Kind::Remote && what.connection.is_some();
    if is_served && what.must_reset && what.fence.is_some() {
        return;
    }
    if what.unclean || !what.online && what.kind == Kind::Member {
        plan[action].runnable = false;
        plan[action].why = Some(format!("{} cannot be reached", what.name).into());
    }
    if what.pending {
        plan[action].runnable = false;
    }
}

/// Whether there is a node that cannot be asked whether the resource is active there.
fn waits_for_probe(cluster: &Cluster<'_>, resource: RscId) -> bool {
    if !cluster.options.probes {
        return false;
    }
    // Of an anonymous clone there may be one on each node.
    if !cluster[resource].unique && cluster.clone_of(resource).is_some() {
        return false;
    }
    cluster.node_ids().any(|node| {
        cluster[node].pending && cluster[node].online && !cluster[resource].known.contains(node)
    })
}

/// Whether something that begins can be done on a node.
fn settle_start(
    cluster: &Cluster<'_>,
    plan: &mut Plan,
    action: ActId,
    resource: RscId,
    node: NodeId,
) {
    let rsc = &cluster[resource];
    let mut block = |why: &str| {
        plan[action].runnable = false;
        plan[action].why = Some(why.into());
    };
    if !cluster[node].online || cluster[node].unclean || cluster[node].pending {
        block("its node cannot be reached");
        return;
    }
    if rsc.running.is_empty() && waits_for_probe(cluster, resource) {
        block("it may run on a node that has not joined yet");
        return;
    }
    if matches!(rsc.requires, Some(Requires::Nothing)) || cluster.has_quorum {
        return;
    }
    match cluster.options.no_quorum {
        NoQuorum::Stop => block("there is no quorum"),
        NoQuorum::Freeze => {
            if rsc.running.is_empty() {
                block("without quorum nothing more is started");
            }
        }
        NoQuorum::Demote | NoQuorum::Fence | NoQuorum::Ignore => {}
    }
}
