//! Promotable resources: to the rest of the policy their promoted role is a resource of its own.

use std::collections::{BTreeMap, BTreeSet};

use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;

use super::Decision;
use crate::graph::{ActionId, ActionKind, TransitionGraph};
use crate::model::{
    ClusterState, Failures, OnFail, OperationName, RawResource, ResourceStatus, Score,
    promoted_role,
};

/// The state in which promoted roles are resources; `None` if nothing is promotable.
pub(super) fn expand(state: &ClusterState) -> Option<ClusterState> {
    let scores = |name: &ResourceName| {
        let known = state.resources.get(name).into_iter().flatten();
        let scores = known.filter_map(|(node, status)| {
            let score = status.promotion.filter(|score| *score >= 0 && status.role.is_active())?;
            Some((node.clone(), Score::new(score)))
        });
        scores.collect::<BTreeMap<NodeName, Score>>()
    };
    let config = state.config.with_promotions(scores)?;
    let mut expanded = ClusterState { config, ..state.clone() };
    for (name, resource) in state.config.resources().iter().filter(|(_, r)| r.promotable) {
        let Some(role) = promoted_role(name) else { continue };
        for (node, status) in state.resources.get(name).into_iter().flatten() {
            let known = expanded.resources.entry(role.clone()).or_default();
            known.insert(node.clone(), of_role(resource, status));
            if status.role == Role::Promoted {
                let copy = ResourceStatus { role: Role::Started, ..*status };
                let copies = expanded.resources.entry(name.clone()).or_default();
                copies.insert(node.clone(), copy);
            }
        }
    }
    Some(expanded)
}

/// What is known of the promoted role on a node where that is known of the resource.
fn of_role(resource: &RawResource, status: &ResourceStatus) -> ResourceStatus {
    let mut of = ResourceStatus::stopped();
    if status.role == Role::Promoted {
        of.role = Role::Started;
        of.fault = match status.fault {
            // It may go on: only fencing the node ends that.
            Some(OperationName::Stop) => Some(OperationName::Stop),
            Some(OperationName::Demote)
                if resource.on_fail(OperationName::Demote) == Some(OnFail::Block) =>
            {
                Some(OperationName::Demote)
            }
            // What else has failed is mended by a restart of the copy.
            fault => fault.map(|_| OperationName::Monitor),
        };
    }
    let promotions = |failures: &Failures| failures.operation == OperationName::Promote;
    of.failures = status.failures.filter(promotions).map(|failures| Failures {
        // A promotion that failed is to the role what a start is to a resource.
        operation: OperationName::Start,
        ..failures
    });
    of
}

/// The decision on the expanded state, in the words of the state itself.
pub(super) fn contract(decision: Decision, state: &ClusterState) -> Decision {
    let old = decision.graph.actions();
    let kinds: Vec<ActionKind> =
        old.iter().map(|action| in_own_words(&action.kind, state)).collect();
    let (mut graph, mut ids) = (TransitionGraph::default(), BTreeMap::new());
    let mut stands_for: Vec<Option<ActionId>> = vec![None; old.len()];
    let planned: BTreeSet<&ActionKind> = kinds.iter().collect();
    // What stands for itself first: its reason is the better one.
    for own in [true, false] {
        for (at, (action, kind)) in old.iter().zip(&kinds).enumerate() {
            let merged = merged_into(kind, state).filter(|into| planned.contains(into));
            let is_own = merged.is_none() && (action.kind == *kind || !is_probe(kind));
            if is_own == own {
                let kind = merged.unwrap_or_else(|| kind.clone());
                let known = ids.get(&kind).copied();
                let id = known.unwrap_or_else(|| graph.add(kind.clone(), action.reason.clone()));
                ids.insert(kind, id);
                stands_for[at] = Some(id);
            }
        }
    }
    let mut ordered = BTreeSet::new();
    for edge in decision.graph.edges() {
        let of = |id: ActionId| stands_for.get(id.get()).copied().flatten();
        let ends = old.get(edge.before.get()).zip(old.get(edge.after.get()));
        if ends.is_some_and(|(before, after)| are_strangers(&before.kind, &after.kind, state)) {
            continue;
        }
        if let (Some(before), Some(after)) = (of(edge.before), of(edge.after))
            && before != after
            && ordered.insert((before, after))
        {
            graph.order(before, after, edge.reason.clone());
        }
    }
    Decision { graph, ..decision }
}

/// A copy need not wait for what is done to the promoted role on another node.
fn are_strangers(one: &ActionKind, other: &ActionKind, state: &ClusterState) -> bool {
    let role_of = |role: &ActionKind, copy: &ActionKind| {
        let of = role.resource().and_then(|role| state.config.promoted_of(role));
        of.is_some() && of == copy.resource()
    };
    one.node() != other.node() && (role_of(one, other) || role_of(other, one))
}

const fn is_probe(kind: &ActionKind) -> bool {
    matches!(kind, ActionKind::Probe { .. })
}

/// What is done to a promoted role is a promotion or demotion of the resource, or found by a probe
/// of it.
fn in_own_words(kind: &ActionKind, state: &ClusterState) -> ActionKind {
    let role = kind.resource().and_then(|role| state.config.promoted_of(role)).cloned();
    let (Some(resource), node) = (role, kind.node().clone()) else { return kind.clone() };
    match kind {
        ActionKind::Start { .. } => ActionKind::Promote { resource, node },
        ActionKind::Stop { .. } => ActionKind::Demote { resource, node },
        ActionKind::Probe { .. } => ActionKind::Probe { resource, node },
        ActionKind::Fence { .. } | ActionKind::Promote { .. } | ActionKind::Demote { .. } => {
            kind.clone()
        }
    }
}

/// A demote that failed is not tried again: the stop that is planned then does it.
fn merged_into(kind: &ActionKind, state: &ClusterState) -> Option<ActionKind> {
    let ActionKind::Demote { resource, node } = kind else { return None };
    let status = state.resources.get(resource)?.get(node)?;
    let failed = status.fault == Some(OperationName::Demote);
    failed.then(|| ActionKind::Stop { resource: resource.clone(), node: node.clone() })
}
