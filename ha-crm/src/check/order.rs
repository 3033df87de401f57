//! Orders in which each waits for the next.
//!
//! Each resource has two vertices for each action: where it begins and where it has ended. Members
//! of groups lie between those of the group, one after the other, copies between those of their
//! clone.

use super::finding::{FindingKind, Findings, list};
use super::graph::Graph;
use super::scene::{Item, ItemKind, Scene};
use crate::cib::{CibConstraint, CibValue, Order, OrderAction, OrderKind, ResourceSet};

const ACTIONS: [OrderAction; 4] =
    [OrderAction::Start, OrderAction::Promote, OrderAction::Demote, OrderAction::Stop];

/// The order an edge comes from; none if it is a group's or a clone's own.
type Label = Option<usize>;

const fn slot(action: OrderAction) -> usize {
    match action {
        OrderAction::Start => 0,
        OrderAction::Promote => 1,
        OrderAction::Demote => 2,
        OrderAction::Stop => 3,
    }
}

const fn begin(item: usize, action: OrderAction) -> usize {
    item * 8 + slot(action) * 2
}

const fn end(item: usize, action: OrderAction) -> usize {
    begin(item, action) + 1
}

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let mut graph: Graph<Label> = Graph::new(scene.items.len() * 8);
    for (index, item) in scene.items.iter().enumerate() {
        inner(index, item, &mut graph);
    }
    let orders = || {
        scene.cib.constraints.iter().enumerate().filter_map(|(number, one)| match one {
            CibConstraint::Order(order) => Some((number, &**order)),
            CibConstraint::Colocation(_)
            | CibConstraint::Location(_)
            | CibConstraint::Ticket(_) => None,
        })
    };
    for (number, order) in orders().filter(|(_, order)| is_mandatory(order)) {
        if order.sets.is_empty() {
            pair(scene, order, number, &mut graph);
        } else {
            sets(scene, order, number, &mut graph);
        }
    }
    circles(scene, &graph, findings);
}

fn is_mandatory(order: &Order) -> bool {
    let strict = match order.kind {
        Some(kind) => kind == OrderKind::Mandatory,
        None => order.score.is_none_or(|score| score.get() > 0),
    };
    strict && order.lifetime.is_empty()
}

/// What the structure of a resource says by itself.
fn inner(index: usize, item: &Item<'_>, graph: &mut Graph<Label>) {
    let is_ordered = item.kind == ItemKind::Group
        && item.own_meta("ordered").and_then(bool::read) != Some(false);
    for action in ACTIONS {
        graph.add(begin(index, action), end(index, action), None);
        let mut before = begin(index, action);
        let chained = is_ordered && matches!(action, OrderAction::Start | OrderAction::Stop);
        let mut children = item.children.clone();
        if action == OrderAction::Stop {
            children.reverse();
        }
        for child in children {
            graph.add(before, begin(child, action), None);
            graph.add(begin(index, action), begin(child, action), None);
            graph.add(end(child, action), end(index, action), None);
            if chained {
                before = end(child, action);
            }
        }
    }
    if item.is_promotable {
        let (start, promote) = (OrderAction::Start, OrderAction::Promote);
        graph.add(end(index, start), begin(index, promote), None);
        graph.add(end(index, OrderAction::Demote), begin(index, OrderAction::Stop), None);
    }
}

/// The vertices where all of `name` begin and have ended.
fn ends(
    scene: &Scene<'_>,
    name: &str,
    action: OrderAction,
    graph: &mut Graph<Label>,
) -> Option<(usize, usize)> {
    match scene.resolve(name).as_slice() {
        [] => None,
        [one] => Some((begin(*one, action), end(*one, action))),
        several => {
            let (from, to) = (graph.add_vertex(), graph.add_vertex());
            for item in several {
                graph.add(from, begin(*item, action), None);
                graph.add(end(*item, action), to, None);
            }
            Some((from, to))
        }
    }
}

fn pair(scene: &Scene<'_>, order: &Order, number: usize, graph: &mut Graph<Label>) {
    let (Some(first), Some(then)) = (&order.first, &order.then) else { return };
    let first_action = order.first_action.unwrap_or(OrderAction::Start);
    let then_action = order.then_action.unwrap_or(first_action);
    let Some((_, first)) = ends(scene, first, first_action, graph) else { return };
    let Some((then, _)) = ends(scene, then, then_action, graph) else { return };
    graph.add(first, then, Some(number));
}

fn sets(scene: &Scene<'_>, order: &Order, number: usize, graph: &mut Graph<Label>) {
    let mut before: Option<usize> = None;
    for set in &order.sets {
        let Some((from, to)) = set_ends(scene, set, number, graph) else { continue };
        if let Some(before) = before {
            graph.add(before, from, Some(number));
        }
        before = Some(to);
    }
}

/// Where a set begins and has ended; a set of which one is enough holds nobody up for certain.
fn set_ends(
    scene: &Scene<'_>,
    set: &ResourceSet,
    number: usize,
    graph: &mut Graph<Label>,
) -> Option<(usize, usize)> {
    if set.require_all == Some(false) || !scene.spend(set.members.len()) {
        return None;
    }
    let action = set.action.unwrap_or(OrderAction::Start);
    let (from, to) = (graph.add_vertex(), graph.add_vertex());
    let is_chain = set.sequential != Some(false);
    let mut before = from;
    for member in &set.members {
        let Some((first, last)) = ends(scene, member, action, graph) else { continue };
        graph.add(before, first, Some(number));
        graph.add(from, first, Some(number));
        graph.add(last, to, Some(number));
        if is_chain {
            before = last;
        }
    }
    Some((from, to))
}

/// Tells of each circle once, at the last of its orders.
fn circles(scene: &Scene<'_>, graph: &Graph<Label>, findings: &mut Findings) {
    let parts = graph.parts();
    let part = |vertex: usize| parts.get(vertex).copied();
    // The last order inside each part, with its edge.
    let mut last: std::collections::BTreeMap<usize, (usize, usize, usize)> =
        std::collections::BTreeMap::new();
    for from in 0..graph.len() {
        for (to, label) in graph.from(from) {
            let (Some(number), Some(here)) = (label, part(from)) else { continue };
            if part(*to) == Some(here) {
                let known = last.entry(here).or_insert((*number, from, *to));
                if known.0 < *number {
                    *known = (*number, from, *to);
                }
            }
        }
    }
    for (here, (number, from, to)) in last {
        let Some(constraint) = scene.cib.constraints.get(number) else { continue };
        let back = graph.way(to, from, |vertex| part(vertex) == Some(here)).unwrap_or_default();
        let mut names: Vec<&str> = Vec::new();
        let vertices = std::iter::once(to).chain(back.iter().map(|(vertex, _)| *vertex));
        for item in vertices.filter_map(|vertex| scene.item(vertex / 8)) {
            if names.last() != Some(&item.id) {
                names.push(item.id);
            }
        }
        if names.len() > 1 && names.first() == names.last() {
            names.pop();
        }
        let ids = std::iter::once(Some(number)).chain(back.iter().map(|(_, label)| *label));
        let ids: std::collections::BTreeSet<usize> = ids.flatten().collect();
        let ids = ids.iter().filter_map(|number| scene.cib.constraints.get(*number));
        let ids = list(ids.map(|constraint| &**constraint.id()));
        let what = format!(
            "each waits for the one before, in a circle, so none is ever started: \
             {}",
            list(names.into_iter())
        );
        let remedy = format!("take one of these orders out, or make it Optional: {ids}");
        findings.error(FindingKind::OrderLoop, constraint.place().clone(), what, remedy);
    }
}
