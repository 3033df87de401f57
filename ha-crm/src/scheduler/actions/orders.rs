//! Orders that were configured, as edges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ha_core::role::Role;

use super::{Plan, Task, flag};
use crate::cib::{OrderAction, OrderKind};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::constraint::{First, Order, Symmetry};
use crate::scheduler::id::{ActId, NodeId, RscId};
use crate::scheduler::resource::Variant;

/// Adds the edges of all configured orders.
pub(super) fn add(cluster: &Cluster<'_>, plan: &mut Plan) {
    let mut seen = BTreeSet::new();
    for order in &cluster.orders {
        if order.kind == OrderKind::Serialize {
            continue; // Never at the same time: nothing that decides what is done.
        }
        match &order.first {
            First::One(first) => {
                // Of several orders between the same two the first one holds.
                let ends = (*first, task(order.first_action), order.then, task(order.then_action));
                if seen.insert(ends) {
                    between(cluster, plan, order, *first);
                }
            }
            First::Any(firsts) => any(cluster, plan, order, firsts),
        }
    }
}

fn task(action: OrderAction) -> Task {
    match action {
        OrderAction::Start => Task::Start,
        OrderAction::Stop => Task::Stop,
        OrderAction::Promote => Task::Promote,
        OrderAction::Demote => Task::Demote,
    }
}

/// The way out of a task for what comes first.
fn done(task: Task) -> Task {
    match task {
        Task::Start => Task::Running,
        Task::Stop => Task::Stopped,
        Task::Promote => Task::Promoted,
        Task::Demote => Task::Demoted,
        other @ (Task::Demoted
        | Task::Fence
        | Task::OneOf
        | Task::Promoted
        | Task::Running
        | Task::Stopped
        | Task::Unfence) => other,
    }
}

/// What an order does to its two actions.
fn flags(order: &Order) -> u16 {
    if order.kind == OrderKind::Optional {
        return flag::ORDERED;
    }
    match order.symmetry {
        Symmetry::Asymmetric => flag::ASYMMETRIC,
        Symmetry::Inverse => {
            flag::THEN_IMPLIES_FIRST | flag::NEEDED_FIRST_BLOCKS | flag::SHARES_MIGRATION
        }
        Symmetry::Symmetric => {
            flag::FIRST_IMPLIES_THEN | flag::SHARES_MIGRATION | flag::UNRUNNABLE_BLOCKS
        }
    }
}

/// The actions by which something ends, as the first of an order; made if nothing stands for it.
fn firsts(cluster: &Cluster<'_>, plan: &mut Plan, resource: RscId, task: Task) -> Vec<ActId> {
    if cluster[resource].is_collective() {
        let end = plan.need(Some(resource), done(task), None);
        let members = cluster.primitives_of(resource);
        if task == Task::Start && members.iter().all(|one| plan.all(*one, task).is_empty()) {
            plan[end].runnable &= members.iter().any(|one| is_left_running(cluster, *one));
        }
        return vec![end];
    }
    let found = plan.all(resource, task);
    if !found.is_empty() {
        return found;
    }
    let is_over = match task {
        Task::Stop => cluster[resource].role == Role::Stopped,
        Task::Demote => cluster[resource].role < Role::Promoted,
        Task::Start => is_left_running(cluster, resource),
        Task::Promote => !cluster[resource].managed && cluster[resource].role == Role::Promoted,
        Task::Demoted
        | Task::Fence
        | Task::OneOf
        | Task::Promoted
        | Task::Running
        | Task::Stopped
        | Task::Unfence => true,
    };
    if is_over {
        return Vec::new();
    }
    // It will not be done: what needs it cannot be.
    let never = plan.need(Some(resource), task, None);
    plan[never].runnable = false;
    plan[never].why = Some(format!("{} does not run", cluster[resource].id).into());
    vec![never]
}

/// Whether it runs and is configured to be left alone; what a failure blocks is none.
fn is_left_running(cluster: &Cluster<'_>, resource: RscId) -> bool {
    let rsc = &cluster[resource];
    let is_blocked = rsc.failed && rsc.is_managed_by_itself;
    !(rsc.managed || rsc.running.is_empty() || is_blocked)
}

fn thens(cluster: &Cluster<'_>, plan: &mut Plan, resource: RscId, task: Task) -> Vec<ActId> {
    if cluster[resource].is_collective() {
        vec![plan.need(Some(resource), task, None)]
    } else {
        plan.all(resource, task)
    }
}

/// Instances on the same node, of which one waits for the other.
fn pairs(
    cluster: &Cluster<'_>,
    plan: &Plan,
    first: (RscId, Task),
    then: (RscId, Task),
) -> Vec<(Vec<ActId>, ActId)> {
    let mut firsts: BTreeMap<NodeId, Vec<ActId>> = BTreeMap::new();
    for (host, action) in on_hosts(cluster, plan, first) {
        firsts.entry(host).or_default().push(action);
    }
    let on = |host: NodeId| firsts.get(&host).cloned().unwrap_or_default();
    on_hosts(cluster, plan, then).into_iter().map(|(host, action)| (on(host), action)).collect()
}

/// The actions of a collective's members with the nodes that they are for: of all that belongs to
/// a bundle's container the host of that.
fn on_hosts(
    cluster: &Cluster<'_>,
    plan: &Plan,
    (collective, task): (RscId, Task),
) -> Vec<(NodeId, ActId)> {
    let mut found = Vec::new();
    let Some(parts) = &cluster[collective].bundle else {
        for primitive in cluster.primitives_of(collective) {
            for action in plan.all(primitive, task) {
                found.extend(plan[action].node.map(|node| (node, action)));
            }
        }
        return found;
    };
    for replica in &parts.replicas {
        let container = &cluster[replica.container];
        let host =
            if task.ends() { container.running.first().copied() } else { container.assigned };
        let Some(host) = host else { continue };
        let actions = replica.members().flat_map(|member| plan.all(member, task));
        found.extend(actions.map(|action| (host, action)));
    }
    found
}

fn between(cluster: &Cluster<'_>, plan: &mut Plan, order: &Order, first: RscId) {
    let then = order.then;
    let why: Arc<str> = format!("order {}", order.id).into();
    let (first_task, then_task) = (task(order.first_action), task(order.then_action));
    let flags = flags(order);
    // An inverse has the clone that is waited for on its other side.
    let (waiter, held) =
        if order.symmetry == Symmetry::Inverse { (first, then) } else { (then, first) };
    if cluster[held].variant == Variant::Clone
        && order.kind == OrderKind::Mandatory
        && (cluster[held].clone.min > 0 || !order.require_all)
    {
        some_of_clone(cluster, plan, order, first);
        return;
    }
    let pairwise = cluster[held].is_cloned()
        && cluster[waiter].is_cloned()
        && cluster[waiter].clone.interleave;
    let is_clone = cluster[held].variant == Variant::Clone;
    let on_same_node = is_clone && !cluster[waiter].is_cloned();
    if pairwise || (on_same_node && order.symmetry != Symmetry::Asymmetric && flags != 0) {
        if order.symmetry == Symmetry::Inverse {
            for (nexts, action) in pairs(cluster, plan, (then, then_task), (first, first_task)) {
                for next in nexts {
                    plan.edge(action, next, flags, &why);
                }
            }
            return;
        }
        interleave(cluster, plan, order, first, pairwise);
        return;
    }
    // That any of it ends counts, not that all of it has.
    let is_end = matches!(first_task, Task::Stop | Task::Demote);
    let befores = if is_end && order.symmetry == Symmetry::Symmetric {
        let members = cluster.primitives_of(first);
        members.into_iter().flat_map(|member| plan.all(member, first_task)).collect()
    } else {
        firsts(cluster, plan, first, first_task)
    };
    for before in befores {
        for after in thens(cluster, plan, then, then_task) {
            plan.edge(before, after, flags, &why);
        }
    }
}

fn interleave(cluster: &Cluster<'_>, plan: &mut Plan, order: &Order, first: RscId, pairwise: bool) {
    let why: Arc<str> = format!("order {}", order.id).into();
    let (first_task, then_task) = (task(order.first_action), task(order.then_action));
    let flags = flags(order);
    let all = pairs(cluster, plan, (first, first_task), (order.then, then_task));
    let out = plan.need(Some(first), done(first_task), None);
    for (befores, after) in all {
        let blocks = flags & flag::UNRUNNABLE_BLOCKS != 0;
        if befores.is_empty() && pairwise {
            if blocks && order.kind == OrderKind::Mandatory {
                plan[after].runnable = false;
                plan[after].inhibited = true;
                plan[after].optional = true;
                plan[after].why =
                    Some(format!("no instance of {} there", cluster[first].id).into());
            }
            continue;
        }
        for before in &befores {
            let flags = if pairwise { flags } else { flags & !flag::UNRUNNABLE_BLOCKS };
            plan.edge(*before, after, flags, &why);
        }
        if !pairwise {
            plan.edge(out, after, flags & !flag::FIRST_IMPLIES_THEN, &why);
        }
    }
}

/// So many instances of a clone are enough.
fn some_of_clone(cluster: &Cluster<'_>, plan: &mut Plan, order: &Order, first: RscId) {
    let (first_task, then_task) = (task(order.first_action), task(order.then_action));
    let why: Arc<str> = format!("order {}", order.id).into();
    if order.symmetry == Symmetry::Inverse {
        for before in firsts(cluster, plan, first, first_task) {
            for after in thens(cluster, plan, order.then, then_task) {
                plan.edge(before, after, flag::ORDERED, &why);
            }
        }
        return;
    }
    let gate = plan.need(None, Task::OneOf, None);
    plan[gate].pseudo = true;
    plan[gate].enough = cluster[first].clone.min.max(1);
    for child in cluster[first].children.clone() {
        let Some(last) = cluster.primitives_of(child).last().copied() else { continue };
        for before in plan.all(last, first_task) {
            plan.edge(before, gate, flag::MIN_RUNNABLE, &why);
        }
    }
    if plan.edges.last().is_none_or(|edge| edge.then != gate) {
        plan[gate].runnable = false;
    }
    for after in thens(cluster, plan, order.then, then_task) {
        plan.edge(gate, after, flag::UNRUNNABLE_BLOCKS, &why);
    }
}

/// One of several is enough.
fn any(cluster: &Cluster<'_>, plan: &mut Plan, order: &Order, first: &[RscId]) {
    let why: Arc<str> = format!("order {}", order.id).into();
    let (first_task, then_task) = (task(order.first_action), task(order.then_action));
    let gate = plan.need(None, Task::OneOf, None);
    plan[gate].pseudo = true;
    plan[gate].enough = 1;
    for resource in first {
        for before in firsts(cluster, plan, *resource, first_task) {
            plan.edge(before, gate, flag::MIN_RUNNABLE, &why);
        }
    }
    for after in thens(cluster, plan, order.then, then_task) {
        let flags =
            if order.kind == OrderKind::Optional { flag::ORDERED } else { flag::UNRUNNABLE_BLOCKS };
        plan.edge(gate, after, flags, &why);
    }
}
