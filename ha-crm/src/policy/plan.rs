//! From where things are to where they shall be.

use std::collections::BTreeMap;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use ha_membership::quorum::Quorum;

use crate::explain::Placement;
use crate::graph::{ActionId, ActionKind, TransitionGraph};
use crate::model::{ClusterState, NodeStatus};

type Fences<'a> = BTreeMap<&'a NodeName, ActionId>;

pub(super) fn plan(
    state: &ClusterState,
    placements: &BTreeMap<ResourceName, Placement>,
) -> TransitionGraph {
    let mut graph = TransitionGraph::default();
    let fences = fence(state, &mut graph);
    for (name, placement) in placements {
        let Some(resource) = state.config.resources().get(name) else {
            continue;
        };
        match resource.guarantee {
            Guarantee::AtMostOne => at_most_one(state, (name, placement), &fences, &mut graph),
            Guarantee::AtLeastOne => at_least_one(state, (name, placement), &mut graph),
        }
    }
    graph
}

/// Fences every unclean node, if this part of the cluster may.
fn fence<'a>(state: &'a ClusterState, graph: &mut TransitionGraph) -> Fences<'a> {
    if state.quorum == Quorum::Lost || state.config.fencing().is_none() {
        return Fences::new();
    }
    let reached = |node: &NodeName| {
        let devices = state.config.fencing().into_iter().flat_map(|f| f.devices.values());
        devices.into_iter().any(|device| device.nodes.contains(node))
    };
    let unclean = state.nodes_that_are(NodeStatus::Unclean).into_iter();
    unclean
        .filter(|node| reached(node))
        .map(|node| {
            let kind = ActionKind::Fence { node: node.clone() };
            (node, graph.add(kind, "its state is not known"))
        })
        .collect()
}

/// Whether actions may be run on a node.
fn is_managed(state: &ClusterState, node: &NodeName) -> bool {
    matches!(state.status(node), NodeStatus::Online | NodeStatus::Standby)
}

fn stop(
    graph: &mut TransitionGraph,
    (name, placement): (&ResourceName, &Placement),
    node: &NodeName,
    reason: Option<&str>,
) -> ActionId {
    let reason = match (reason, placement.nodes.first()) {
        (Some(reason), _) => reason.to_owned(),
        (None, None) => placement.reason.clone(),
        (None, Some(target)) => format!("it moves to {target}: {}", placement.reason),
    };
    graph.add(ActionKind::Stop { resource: name.clone(), node: node.clone() }, reason)
}

fn at_most_one(
    state: &ClusterState,
    (name, placement): (&ResourceName, &Placement),
    fences: &Fences<'_>,
    graph: &mut TransitionGraph,
) {
    let holders = state.holders(name);
    let managed: Vec<&NodeName> =
        holders.iter().copied().filter(|node| is_managed(state, node)).collect();
    // Active twice: nobody can say which one is right, so all stop before one starts
    // (Pacemaker's `multiple-active=stop_start`).
    let twice = managed.len() > 1;
    let target = placement.nodes.first();
    let mut stops = Vec::new();
    for node in &managed {
        if twice || target != Some(*node) {
            let reason = twice.then_some("it is active more than once");
            stops.push((*node, stop(graph, (name, placement), node, reason)));
        }
    }
    let Some(target) = target.filter(|node| state.status(node) == NodeStatus::Online) else {
        return;
    };
    let stays = managed == [target];
    let unfenced = || {
        let unclean = state.nodes_that_are(NodeStatus::Unclean).into_iter();
        unclean.filter(|node| !fences.contains_key(node)).count() > 0
    };
    if stays || state.quorum != Quorum::Quorate || unfenced() {
        return;
    }
    let kind = ActionKind::Start { resource: name.clone(), node: target.clone() };
    let start = graph.add(kind, placement.reason.clone());
    for (node, stop) in stops {
        graph.order(stop, start, format!("{name} must be stopped on {node} first"));
    }
    for (node, fence) in fences {
        graph.order(*fence, start, format!("{node} may run {name} until it is fenced"));
    }
}

fn at_least_one(
    state: &ClusterState,
    (name, placement): (&ResourceName, &Placement),
    graph: &mut TransitionGraph,
) {
    let holders = state.holders(name);
    for node in holders.iter().copied().filter(|node| is_managed(state, node)) {
        if !placement.nodes.contains(node) {
            let sheet = placement.sheets.get(node);
            let reason = sheet.map(|sheet| format!("it shall not be there: score {sheet}"));
            let reason = if placement.nodes.is_empty() { None } else { reason };
            stop(graph, (name, placement), node, reason.as_deref());
        }
    }
    for node in placement.nodes.iter().filter(|node| state.status(node) == NodeStatus::Online) {
        if !holders.contains(&node) {
            let kind = ActionKind::Start { resource: name.clone(), node: node.clone() };
            graph.add(kind, placement.reason.clone());
        }
    }
}
