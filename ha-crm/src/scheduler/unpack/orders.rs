//! Orders, with their inverses, and orders between sets.

use std::sync::Arc;

use super::sets;
use crate::cib::{Order as Configured, OrderAction, OrderKind, ResourceSet};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::constraint::{First, Order, Symmetry};
use crate::scheduler::id::RscId;
use crate::scheduler::limits::Measure;

/// What all parts of one configured order share.
struct Terms {
    id: Arc<str>,
    kind: OrderKind,
    symmetrical: bool,
    require_all: bool,
}

fn inverse(action: OrderAction) -> OrderAction {
    match action {
        OrderAction::Start => OrderAction::Stop,
        OrderAction::Stop => OrderAction::Start,
        OrderAction::Promote => OrderAction::Demote,
        OrderAction::Demote => OrderAction::Promote,
    }
}

/// Enters an order.
pub(super) fn enter(cluster: &mut Cluster<'_>, configured: &Configured) {
    let kind = configured.kind.unwrap_or(match configured.score.map(crate::model::Score::get) {
        Some(0) => OrderKind::Optional,
        Some(_) | None => OrderKind::Mandatory,
    });
    let terms = Terms {
        id: Arc::clone(&configured.id),
        kind,
        symmetrical: configured.symmetrical.unwrap_or(true) && kind != OrderKind::Serialize,
        require_all: configured.require_all.unwrap_or(true),
    };
    if !configured.sets.is_empty() {
        enter_sets(cluster, &configured.sets, &terms);
        return;
    }
    let (Some(first), Some(then)) = (&configured.first, &configured.then) else { return };
    let first_action = configured.first_action.unwrap_or(OrderAction::Start);
    let then_action = configured.then_action.unwrap_or(first_action);
    for first in sets::resolve(cluster, first) {
        for then in sets::resolve(cluster, then) {
            pair(cluster, &terms, (first, first_action), (then, then_action));
        }
    }
}

/// One order with its inverse.
fn pair(
    cluster: &mut Cluster<'_>,
    terms: &Terms,
    (first, first_action): (RscId, OrderAction),
    (then, then_action): (RscId, OrderAction),
) {
    if first == then {
        return;
    }
    let symmetry = if terms.symmetrical { Symmetry::Symmetric } else { Symmetry::Asymmetric };
    let parts = if terms.symmetrical { 2 } else { 1 };
    if !cluster.limits.take(Measure::Orders, parts, &terms.id) {
        return;
    }
    let order = Order {
        id: Arc::clone(&terms.id),
        first: First::One(first),
        first_action,
        then,
        then_action,
        kind: terms.kind,
        symmetry,
        require_all: terms.require_all,
    };
    cluster.orders.push(order.clone());
    if terms.symmetrical {
        cluster.orders.push(Order {
            first: First::One(then),
            first_action: inverse(then_action),
            then: first,
            then_action: inverse(first_action),
            symmetry: Symmetry::Inverse,
            ..order
        });
    }
}

fn enter_sets(cluster: &mut Cluster<'_>, sets: &[Arc<ResourceSet>], terms: &Terms) {
    let mut last: Option<(&Arc<ResourceSet>, Vec<RscId>)> = None;
    for set in sets {
        let members = sets::members(cluster, set);
        let action = set.action.unwrap_or(OrderAction::Start);
        if set.sequential.unwrap_or(true) {
            for two in members.windows(2) {
                if let [first, then] = two {
                    pair(cluster, terms, (*first, action), (*then, action));
                }
            }
        }
        if let Some((before, firsts)) = &last {
            between(cluster, terms, (before, firsts), (set, &members));
        }
        last = Some((set, members));
    }
}

/// The order between two sets that follow each other.
fn between(
    cluster: &mut Cluster<'_>,
    terms: &Terms,
    (first_set, firsts): (&ResourceSet, &[RscId]),
    (then_set, thens): (&ResourceSet, &[RscId]),
) {
    let first_action = first_set.action.unwrap_or(OrderAction::Start);
    let then_action = then_set.action.unwrap_or(OrderAction::Start);
    let is_sequential = |set: &ResourceSet| set.sequential.unwrap_or(true);
    let require_all = first_set.require_all.unwrap_or(true);
    if !require_all {
        // One of the first set is enough for all of the second.
        let parts = firsts.len().saturating_mul(thens.len()).saturating_mul(2);
        if !cluster.limits.take(Measure::Orders, parts, &terms.id) {
            return;
        }
        let any: Arc<[RscId]> = firsts.into();
        for then in thens {
            cluster.orders.push(Order {
                id: Arc::clone(&terms.id),
                first: First::Any(Arc::clone(&any)),
                first_action,
                then: *then,
                then_action,
                kind: terms.kind,
                symmetry: Symmetry::Asymmetric,
                require_all: false,
            });
        }
        if terms.symmetrical {
            for first in firsts {
                for then in thens {
                    let order = Order {
                        id: Arc::clone(&terms.id),
                        first: First::One(*then),
                        first_action: inverse(then_action),
                        then: *first,
                        then_action: inverse(first_action),
                        kind: OrderKind::Optional,
                        symmetry: Symmetry::Inverse,
                        require_all: false,
                    };
                    cluster.orders.push(order);
                }
            }
        }
        return;
    }
    let outer: Vec<RscId> = if is_sequential(first_set) {
        firsts.last().copied().into_iter().collect()
    } else {
        firsts.to_vec()
    };
    let inner: Vec<RscId> = if is_sequential(then_set) {
        thens.first().copied().into_iter().collect()
    } else {
        thens.to_vec()
    };
    for first in &outer {
        for then in &inner {
            pair(cluster, terms, (*first, first_action), (*then, then_action));
        }
    }
}
