//! A bundle: its containers like instances, and with each what belongs to it.

use super::colocation::{dependents_of, primaries_of};
use super::{assign as assign_any, clone, instances, merge};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::resource::ABSENT;
use crate::scheduler::score::INFINITY;

/// Assigns a bundle.
pub(super) fn assign(cluster: &mut Cluster<'_>, bundle: RscId) -> Option<NodeId> {
    if cluster[bundle].is_assigned || cluster[bundle].is_assigning {
        return None;
    }
    cluster[bundle].is_assigning = true;
    for index in primaries_of(cluster, bundle).iter() {
        if let Some(primary) = cluster.colocations.get(*index).map(|one| one.primary) {
            assign_any(cluster, primary, None);
        }
    }
    for index in dependents_of(cluster, bundle).iter() {
        merge::hear(cluster, bundle, *index);
    }
    let parts = cluster[bundle].bundle.clone()?;
    let containers: Vec<RscId> = parts.replicas.iter().map(|replica| replica.container).collect();
    instances::assign(cluster, bundle, &containers, containers.len(), parts.replicas_per_host);
    for replica in &parts.replicas {
        let host = cluster[replica.container].assigned;
        if let Some(ip) = replica.ip {
            assign_any(cluster, ip, host);
        }
        if let Some(remote) = replica.remote {
            keep_off_remotes(cluster, remote);
            assign_any(cluster, remote, host);
        }
        bind_child(cluster, parts.child, replica);
    }
    if let Some(child) = parts.child {
        clone::assign(cluster, child);
    }
    cluster[bundle].is_assigning = false;
    cluster[bundle].is_assigned = true;
    None
}

/// A connection cannot be made from behind another.
fn keep_off_remotes(cluster: &mut Cluster<'_>, connection: RscId) {
    let why = Why::Other("no connection is made from behind another");
    for node in cluster.node_ids() {
        if cluster[node].is_remote() && cluster[connection].score(node) != ABSENT {
            cluster.ban(connection, node, &why);
        }
    }
}

/// An instance of the primitive inside runs in its own container only.
fn bind_child(
    cluster: &mut Cluster<'_>,
    clone: Option<RscId>,
    replica: &crate::scheduler::bundle::Replica,
) {
    let (Some(child), Some(own), Some(clone)) = (replica.child, replica.node, clone) else {
        return;
    };
    let why = Why::Other("it lives in its container");
    for node in cluster.node_ids() {
        if node == own {
            if cluster[child].score(node) == ABSENT {
                cluster.add_score(child, node, 0, &why);
            }
            cluster.add_score(child, node, INFINITY, &why);
            if cluster[clone].score(node) == ABSENT {
                cluster.add_score(clone, node, 0, &why);
            }
        } else if cluster[child].score(node) != ABSENT {
            cluster.ban(child, node, &why);
        }
    }
}
