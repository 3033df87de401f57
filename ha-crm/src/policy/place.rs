//! Where each resource shall be.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use ha_membership::quorum::Quorum;

use crate::explain::{Placement, Sheet};
use crate::model::{ClusterState, NodeStatus, RawResource, Score};

/// How many resources each node has been given so far.
type Load = BTreeMap<NodeName, usize>;

pub(super) fn place(state: &ClusterState) -> BTreeMap<ResourceName, Placement> {
    let mut load = Load::new();
    let mut placements = BTreeMap::new();
    let runs = |name: &ResourceName| {
        state.holders(name).into_iter().any(|node| state.status(node) == NodeStatus::Online)
    };
    // What runs is placed first, so that what has to move sees where there is room.
    let (running, others): (Vec<_>, Vec<_>) =
        state.config.resources().iter().partition(|(name, _)| runs(name));
    for (name, resource) in running.into_iter().chain(others) {
        let sheets = sheets(state, name, resource);
        let (nodes, reason) = if !resource.enabled {
            (kept_in_maintenance(state, name), "it is not enabled".to_owned())
        } else if resource.guarantee == Guarantee::AtLeastOne {
            everywhere(state, name, &sheets)
        } else {
            somewhere(state, name, &sheets, &load)
        };
        for node in &nodes {
            *load.entry(node.clone()).or_default() += 1;
        }
        placements.insert(name.clone(), Placement { nodes, reason, sheets });
    }
    placements
}

/// The score of a resource on every node.
fn sheets(
    state: &ClusterState,
    name: &ResourceName,
    resource: &RawResource,
) -> BTreeMap<NodeName, Sheet> {
    let holders = state.holders(name);
    let sheet = |node: &NodeName| {
        let mut sheet = Sheet::default();
        if let Some(score) = resource.locations.get(node) {
            sheet.add("location", *score);
        }
        if resource.guarantee == Guarantee::AtMostOne && holders.contains(&node) {
            sheet.add("it is there: stickiness", resource.stickiness);
        }
        let barrier = match state.status(node) {
            NodeStatus::Online => return sheet,
            NodeStatus::Maintenance => "the node is in maintenance",
            NodeStatus::Offline => "the node is offline",
            NodeStatus::Standby => "the node is in standby",
            NodeStatus::Unclean => "the node is unclean",
        };
        sheet.add(barrier, Score::NEVER);
        sheet
    };
    state.config.nodes().iter().map(|node| (node.clone(), sheet(node))).collect()
}

/// Nodes in maintenance that run it: it stays there whatever the scores are.
fn kept_in_maintenance(state: &ClusterState, name: &ResourceName) -> Vec<NodeName> {
    let holders = state.holders(name).into_iter();
    holders.filter(|node| state.status(node) == NodeStatus::Maintenance).cloned().collect()
}

fn everywhere(
    state: &ClusterState,
    name: &ResourceName,
    sheets: &BTreeMap<NodeName, Sheet>,
) -> (Vec<NodeName>, String) {
    let allowed = sheets.iter().filter(|(_, sheet)| sheet.total().allows());
    let mut nodes: Vec<NodeName> = allowed.map(|(node, _)| node.clone()).collect();
    nodes.extend(kept_in_maintenance(state, name));
    nodes.sort_unstable();
    let reason = if nodes.is_empty() {
        "no online node allows it"
    } else {
        "it is at-least-one: every online node that allows it"
    };
    (nodes, reason.to_owned())
}

fn somewhere(
    state: &ClusterState,
    name: &ResourceName,
    sheets: &BTreeMap<NodeName, Sheet>,
    load: &Load,
) -> (Vec<NodeName>, String) {
    let kept = kept_in_maintenance(state, name);
    if !kept.is_empty() {
        return (kept, "it runs on a node in maintenance, which is left alone".to_owned());
    }
    let holders = state.holders(name);
    match state.quorum {
        Quorum::Quorate => {}
        Quorum::Lost => return (Vec::new(), "there is no quorum".to_owned()),
        Quorum::AfterFencing => {
            // What runs goes on, unless it is told to leave; nothing is started.
            let stays = |node: &&NodeName| sheets.get(*node).is_some_and(|s| s.total().allows());
            let staying: Vec<NodeName> = holders.into_iter().filter(stays).cloned().collect();
            let reason = "quorum hangs on fencing: what runs goes on, nothing is started";
            return (if staying.len() == 1 { staying } else { Vec::new() }, reason.to_owned());
        }
    }
    let rank = |node: &NodeName, score: Score| {
        (score, holders.contains(&node), Reverse(load.get(node).copied().unwrap_or(0)))
    };
    let best = sheets
        .iter()
        .map(|(node, sheet)| (node, sheet.total()))
        .filter(|(_, score)| score.allows())
        // The last of equal ones wins in `max_by_key`: so from the last name to the first.
        .rev()
        .max_by_key(|(node, score)| rank(node, *score));
    match best {
        Some((node, score)) => {
            (vec![node.clone()], format!("{node} has the highest score, {score}"))
        }
        None => (Vec::new(), "no online node allows it".to_owned()),
    }
}
