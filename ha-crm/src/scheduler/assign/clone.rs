//! A clone: how its instances are spread, and which are promoted.

use super::colocation::{dependents_of, primaries_of};
use super::{assign as assign_any, instances, merge, promotion};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};

/// Assigns a clone.
pub(super) fn assign(cluster: &mut Cluster<'_>, clone: RscId) -> Option<NodeId> {
    if let Some(bundle) = cluster[clone].parent
        && !cluster[bundle].is_assigning
        && !cluster[bundle].is_assigned
    {
        assign_any(cluster, bundle, None);
    }
    if cluster[clone].is_assigned || cluster[clone].is_assigning {
        return None;
    }
    cluster[clone].is_assigning = true;
    if cluster[clone].clone.promotable {
        promotion::add_scores(cluster, clone);
    }
    if cluster[clone].parent.is_none() {
        for index in primaries_of(cluster, clone).iter() {
            if let Some(primary) = cluster.colocations.get(*index).map(|one| one.primary) {
                assign_any(cluster, primary, None);
            }
        }
        for index in dependents_of(cluster, clone).iter() {
            merge::hear(cluster, clone, *index);
        }
    }
    let settings = cluster[clone].clone.clone();
    let children = cluster[clone].children.clone();
    instances::assign(cluster, clone, &children, settings.max, settings.node_max);
    if settings.promotable {
        promotion::promote(cluster, clone);
    }
    let next_role = children.iter().map(|child| cluster[*child].next_role).max();
    cluster[clone].next_role = next_role.unwrap_or_default();
    cluster[clone].is_assigning = false;
    cluster[clone].is_assigned = true;
    None
}
