//! Spreads along edges what must be done and what cannot be, until nothing changes.

use std::sync::Arc;

use ha_core::role::Role;

use super::{Plan, Task, flag};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::ActId;

/// Spreads until nothing changes. Every change goes one way, so it ends.
pub(super) fn spread(cluster: &Cluster<'_>, plan: &mut Plan) {
    let mut touching: Vec<Vec<u32>> = vec![Vec::new(); plan.actions.len()];
    for (index, edge) in plan.edges.iter().enumerate() {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        touching[edge.first.index()].push(index);
        touching[edge.then.index()].push(index);
    }
    let mut queued = vec![true; plan.edges.len()];
    let mut queue: std::collections::VecDeque<u32> =
        (0..plan.edges.len()).filter_map(|index| u32::try_from(index).ok()).collect();
    let counts = Counts::new(plan);
    while let Some(index) = queue.pop_front() {
        let at = index as usize;
        queued[at] = false;
        let Some(edge) = plan.edges.get(at) else { continue };
        let (first, then, flags) = (edge.first, edge.then, edge.flags);
        let mut changed = Vec::new();
        apply(cluster, plan, &counts, (first, then, flags), &mut changed);
        for action in changed {
            for next in &touching[action.index()] {
                let next_at = *next as usize;
                if !queued[next_at] {
                    queued[next_at] = true;
                    queue.push_back(*next);
                }
            }
        }
    }
}

/// For actions that need some of their firsts: which these are.
struct Counts(Vec<Vec<ActId>>);

impl Counts {
    fn new(plan: &Plan) -> Self {
        let mut firsts = vec![Vec::new(); plan.actions.len()];
        for edge in &plan.edges {
            if edge.flags & flag::MIN_RUNNABLE != 0 {
                firsts[edge.then.index()].push(edge.first);
            }
        }
        Self(firsts)
    }

    fn runnable(&self, plan: &Plan, action: ActId) -> usize {
        self.0[action.index()].iter().filter(|first| plan[**first].runnable).count()
    }
}

fn reason(cluster: &Cluster<'_>, plan: &Plan, action: ActId, what: &str) -> Arc<str> {
    let action = &plan[action];
    let name = action.resource.map_or_else(
        || action.node.map_or_else(String::new, |node| cluster[node].name.to_string()),
        |resource| cluster[resource].id.to_string(),
    );
    format!("{what} {name} {}", super::word(action.task)).into()
}

struct Spreading<'p, 'c> {
    cluster: &'p Cluster<'c>,
    plan: &'p mut Plan,
    changed: &'p mut Vec<ActId>,
}

impl Spreading<'_, '_> {
    fn require(&mut self, action: ActId, because: ActId, what: &str) {
        if self.plan[action].optional {
            let why = reason(self.cluster, self.plan, because, what);
            self.plan[action].optional = false;
            self.plan[action].why.get_or_insert(why);
            self.changed.push(action);
        }
    }

    fn block(&mut self, action: ActId, because: ActId, what: &str) {
        if self.plan[action].runnable {
            let why = reason(self.cluster, self.plan, because, what);
            self.plan[action].runnable = false;
            self.plan[action].why = Some(why);
            self.changed.push(action);
        }
    }

    fn pin(&mut self, action: ActId) {
        if self.plan[action].migratable {
            self.plan[action].migratable = false;
            self.changed.push(action);
        }
    }
}

fn apply(
    cluster: &Cluster<'_>,
    plan: &mut Plan,
    counts: &Counts,
    (first, then, flags): (ActId, ActId, u16),
    changed: &mut Vec<ActId>,
) {
    let has = |one: u16| flags & one != 0;
    let mut on = Spreading { cluster, plan, changed };
    if has(flag::THEN_IMPLIES_FIRST) && !on.plan[then].optional {
        // What only migrates need not be waited for.
        let moves = has(flag::SHARES_MIGRATION) && on.plan[then].migratable;
        if !moves {
            on.require(first, then, "required");
        }
    }
    if has(flag::FIRST_IMPLIES_THEN) && !on.plan[first].optional {
        let moves = has(flag::SHARES_MIGRATION) && on.plan[first].migratable;
        if !moves {
            on.require(then, first, "required");
        }
    }
    if has(flag::UNRUNNABLE_BLOCKS) && !on.plan[first].runnable {
        on.block(then, first, "unrunnable");
    }
    if has(flag::NEEDED_FIRST_BLOCKS) && !on.plan[first].runnable && !on.plan[first].optional {
        on.block(then, first, "unrunnable");
    }
    if has(flag::MIN_RUNNABLE) && on.plan[then].runnable {
        let enough = counts.runnable(on.plan, then);
        if enough < on.plan[then].enough {
            on.block(then, first, "unrunnable");
        }
    }
    if has(flag::RESTART) {
        restart(&mut on, first, then);
    }
    if has(flag::ASYMMETRIC) {
        asymmetric(&mut on, first, then);
    }
    if has(flag::SHARES_MIGRATION) {
        share_migration(&mut on, first, then);
    }
}

/// A stop and a start of one resource go together.
fn restart(on: &mut Spreading<'_, '_>, stop: ActId, start: ActId) {
    let same = on.plan[stop].resource == on.plan[start].resource;
    let managed = on.plan[start].resource.is_some_and(|rsc| on.cluster[rsc].managed);
    if !on.plan[start].optional {
        on.require(stop, start, "required");
    }
    if !on.plan[start].runnable && managed && same && on.plan[stop].runnable {
        on.require(stop, start, "unrunnable");
    }
    if !on.plan[stop].optional && !on.plan[stop].runnable {
        on.block(start, stop, "unrunnable");
    }
    if !on.plan[start].migratable && on.plan[stop].migratable {
        on.pin(stop);
    }
    if !on.plan[stop].optional && !on.plan[stop].migratable && on.plan[start].migratable {
        on.pin(start);
    }
}

/// An order without a way back: what is to begin waits, what is there is left alone.
fn asymmetric(on: &mut Spreading<'_, '_>, first: ActId, then: ActId) {
    let Some(rsc) = on.plan[then].resource else { return };
    let role = on.cluster.role_of(rsc);
    let then_task = on.plan[then].task;
    if then_task == Task::Stop && role == Role::Stopped {
        return;
    }
    if then_task == Task::Start && role > Role::Stopped && on.plan[then].optional {
        return;
    }
    if on.plan[first].optional && on.plan[first].runnable {
        return;
    }
    if !on.plan[first].runnable {
        on.require(then, first, "unrunnable");
        on.block(then, first, "unrunnable");
    }
}

/// What is between two that belong together is migrated only if both are.
fn share_migration(on: &mut Spreading<'_, '_>, first: ActId, then: ActId) {
    let starts = matches!(on.plan[first].task, Task::Start | Task::Running)
        && on.plan[then].task == Task::Start;
    if starts && !on.plan[first].optional && !on.plan[first].migratable {
        on.pin(then);
    }
}
