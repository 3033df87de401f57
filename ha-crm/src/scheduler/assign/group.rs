//! A group: its members one after the other.

use super::primitive;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};

/// Assigns a group; the first member decides for all.
pub(super) fn assign(
    cluster: &mut Cluster<'_>,
    group: RscId,
    prefer: Option<NodeId>,
) -> Option<NodeId> {
    if let Some(parent) = cluster[group].parent
        && !cluster[parent].is_assigning
        && !cluster[parent].is_assigned
    {
        super::assign(cluster, parent, prefer);
    }
    if cluster[group].is_assigned {
        return cluster[group].assigned;
    }
    if cluster[group].is_assigning {
        return None;
    }
    cluster[group].is_assigning = true;
    let mut first = None;
    for member in cluster[group].children.clone() {
        let node = primitive::assign(cluster, member, prefer);
        first = first.or(node);
    }
    let next_role = cluster[group].children.iter().map(|child| cluster[*child].next_role).max();
    cluster[group].next_role = next_role.unwrap_or_default();
    cluster[group].is_assigning = false;
    cluster[group].is_assigned = true;
    cluster[group].assigned = first;
    first
}
