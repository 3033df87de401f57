//! Who goes where: scores in, one node for each resource out.
//!
//! Resources are taken one after the other, by priority and then in the order of the
//! configuration, and nothing is taken back. What is colocated pulls: before a resource is
//! assigned, those it is to be with are, and what wants to be with it has a say.

mod bundle;
mod choice;
mod clone;
mod colocation;
mod criteria;
mod group;
mod instances;
mod merge;
mod primitive;
mod promotion;
mod utilization;

use std::cell::OnceCell;
use std::cmp::Reverse;

use crate::scheduler::cluster::{Cluster, MAX_DEPTH};
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::limits::TooLarge;
use crate::scheduler::options::Strategy;
use crate::scheduler::resource::Variant;
use crate::scheduler::score::INFINITY;

/// Assigns all resources.
///
/// # Errors
///
/// If groups and containers ask for too many colocations.
pub(crate) fn assign_all(cluster: &mut Cluster<'_>) -> Result<(), TooLarge> {
    criteria::apply(cluster);
    cluster.limits.check()?;
    cluster.primaries = vec![OnceCell::new(); cluster.resources.len()];
    cluster.dependents = vec![OnceCell::new(); cluster.resources.len()];
    let mut order = cluster.top.clone();
    if cluster.options.strategy != Strategy::Default {
        sort(cluster, &mut order);
    }
    // Connections first, so that the nodes behind them can be used.
    for resource in &order {
        if cluster[*resource].remote.is_some() {
            let prefer = cluster[*resource].migration.map(|migration| migration.target);
            assign(cluster, *resource, prefer);
        }
    }
    for resource in &order {
        assign(cluster, *resource, None);
    }
    cluster.top = order;
    Ok(())
}

/// Assigns a resource, if that is not yet done, and says where to.
pub(crate) fn assign(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    prefer: Option<NodeId>,
) -> Option<NodeId> {
    if cluster.depth > MAX_DEPTH {
        return None; // It is assigned on its own later.
    }
    cluster.depth += 1;
    let node = match cluster[resource].variant {
        Variant::Bundle => bundle::assign(cluster, resource),
        Variant::Clone => clone::assign(cluster, resource),
        Variant::Group => group::assign(cluster, resource, prefer),
        Variant::Primitive => primitive::assign(cluster, resource, prefer),
    };
    cluster.depth -= 1;
    node
}

/// With a strategy that looks at room, what is hardest to move comes first.
fn sort(cluster: &mut Cluster<'_>, order: &mut [RscId]) {
    let mut nodes: Vec<NodeId> = cluster.node_ids().collect();
    nodes.sort_by(|a, b| choice::compare_empty(cluster, *a, *b));
    let mut keyed = Vec::with_capacity(order.len());
    for rsc in order.iter() {
        let merged = merge::with_all(cluster, *rsc);
        let score = |node: NodeId| {
            let score = merged.get(node.index()).copied().unwrap_or(i32::MIN);
            Reverse(score.max(-INFINITY))
        };
        let here = cluster.current(*rsc).map_or(Reverse(-INFINITY), score);
        let all: Vec<Reverse<i32>> = nodes.iter().map(|node| score(*node)).collect();
        keyed.push(((Reverse(cluster[*rsc].priority), here, all), *rsc));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    for (slot, (_, rsc)) in order.iter_mut().zip(keyed) {
        *slot = rsc;
    }
}
