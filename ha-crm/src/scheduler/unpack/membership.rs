//! Which nodes are there, and which must be fenced.

use std::sync::Arc;

use super::nodes;
use crate::cib::{AttributeSet, CibValue, JoinState, NodeState, Presence};
use crate::model::rule::Facts;
use crate::scheduler::attributes::Table;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::NodeId;
use crate::scheduler::node::Kind;
use crate::scheduler::options::NoQuorum;

/// Takes in what is known of each node: attributes, membership.
pub(super) fn unpack(cluster: &mut Cluster<'_>) {
    for node in cluster.node_ids() {
        // Nobody knows what a node does that was never heard of.
        if cluster.options.fencing && cluster.options.startup_fencing && !cluster[node].is_remote()
        {
            cluster[node].unclean = true;
        }
        if cluster.options.maintenance {
            cluster[node].maintenance = false;
        }
    }
    let cib = cluster.cib;
    for state in &cib.node_states {
        let Some(node) = find(cluster, state) else { continue };
        cluster[node].seen = true;
        read_attributes(cluster, node, state);
        if !cluster[node].is_remote() {
            cluster[node].unclean = false;
            judge(cluster, node, state);
        }
    }
    for node in cluster.node_ids() {
        read_modes(cluster, node);
        if !cluster[node].seen && cluster[node].unclean {
            fence(cluster, node, "node is unclean: it has not been seen by the cluster");
        }
    }
    without_quorum(cluster);
}

/// The node that a state is of.
pub(crate) fn find(cluster: &Cluster<'_>, state: &NodeState) -> Option<NodeId> {
    let by_name = state.uname.as_deref().and_then(|name| cluster.node_names.get(name));
    let by_id = || state.id.as_deref().and_then(|id| cluster.node_ids.get(id));
    by_name.or_else(by_id).copied()
}

fn read_attributes(cluster: &mut Cluster<'_>, node: NodeId, state: &NodeState) {
    let read = |sets: &[Arc<AttributeSet>]| {
        let mut found = Table::default();
        found.add(sets, &Facts::at(cluster.now).node(&cluster[node].attributes));
        found
    };
    let (found, amounts) = (read(&state.attributes), read(&state.utilization));
    for (name, value) in found.iter() {
        cluster[node].attributes.set(name, Arc::clone(value));
    }
    for (name, amount) in nodes::amounts(&amounts) {
        cluster[node].capacity.insert(name, amount);
    }
    if state.node_in_maintenance == Some(true) {
        cluster[node].maintenance = true;
    }
    if state.node_fenced.is_some_and(Presence::is_present) {
        cluster[node].was_fenced = true;
    }
}

/// Standby and maintenance are attributes.
fn read_modes(cluster: &mut Cluster<'_>, node: NodeId) {
    let is_on = |name: &str| cluster[node].attributes.read::<bool>(name).unwrap_or(false);
    let (standby, maintenance) = (is_on("standby"), is_on("maintenance"));
    let shutdown =
        cluster[node].attributes.get("shutdown").is_some_and(|value| value.trim() != "0");
    if standby {
        cluster[node].standby = true;
    }
    if maintenance {
        cluster[node].maintenance = true;
    }
    if shutdown && !cluster[node].is_remote() {
        cluster[node].shutdown = true;
    }
}

/// Says that a node must be fenced, if it may be.
pub(crate) fn fence(cluster: &mut Cluster<'_>, node: NodeId, why: &str) {
    if cluster[node].kind == Kind::Remote {
        cluster[node].must_reset = true;
    }
    cluster[node].unclean = true;
    if cluster[node].fence.is_none() {
        cluster[node].fence = Some(why.into());
    }
}

/// Judges a member by what the cluster and its own daemons say of it.
fn judge(cluster: &mut Cluster<'_>, node: NodeId, state: &NodeState) {
    let in_ccm = state.in_ccm.map(Presence::is_present);
    let is_member = in_ccm.unwrap_or(false);
    let is_peer = state.crmd.is_some_and(Presence::is_present);
    let expected_down = match state.expected {
        Some(JoinState::Down) | None => true,
        Some(JoinState::Banned | JoinState::Member | JoinState::Pending) => false,
    };
    let shutdown =
        cluster[node].attributes.get("shutdown").is_some_and(|value| value.trim() != "0");
    cluster[node].shutdown = shutdown;
    cluster[node].expected_up = !expected_down && !shutdown;
    let joined = state.join == Some(JoinState::Member);
    if !cluster.options.fencing {
        if is_member && is_peer {
            cluster[node].online = joined;
        } else if is_member && !expected_down {
            fence(cluster, node, "its controller has gone, though it should be up");
        }
        return;
    }
    let terminate = wants_termination(cluster, node);
    cluster[node].online = if shutdown { is_peer } else { is_member };
    if shutdown {
        return;
    }
    let waiting = |cluster: &mut Cluster<'_>| {
        cluster[node].standby = true;
        cluster[node].pending = true;
    };
    if in_ccm.is_none() {
        fence(cluster, node, "it has not been seen by the cluster");
    } else if state.join == Some(JoinState::Banned) {
        fence(cluster, node, "it did not pass the cluster's membership criteria");
    } else if !terminate && expected_down {
        if is_member || is_peer {
            if has_waited_too_long(cluster, state) {
                fence(cluster, node, "it has not joined in time");
            } else {
                waiting(cluster);
            }
        }
    } else if terminate && state.join == Some(JoinState::Down) && !is_member && !is_peer {
        cluster[node].online = false;
    } else if !is_member {
        fence(cluster, node, "it is no longer part of the cluster");
    } else if !is_peer {
        fence(cluster, node, "its controller is no longer there");
    } else if terminate {
        fence(cluster, node, "its termination was asked for");
    } else if !joined {
        waiting(cluster);
    }
}

/// Whether an operator asked for the end of a node. Source: attribute `terminate`.
fn wants_termination(cluster: &Cluster<'_>, node: NodeId) -> bool {
    let Some(value) = cluster[node].attributes.get("terminate") else { return false };
    bool::read(value).unwrap_or_else(|| value.trim().parse::<i64>().is_ok_and(|at| at != 0))
}

/// Whether a member waits for its controller longer than `node-pending-timeout` allows.
fn has_waited_too_long(cluster: &mut Cluster<'_>, state: &NodeState) -> bool {
    let limit = cluster.options.node_pending_timeout;
    let (Some(Presence::Since(since)), false) = (state.in_ccm, limit.is_zero()) else {
        return false;
    };
    if state.crmd.is_some_and(Presence::is_present) {
        return false;
    }
    let limit = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
    let until = since.as_micros().saturating_add(limit);
    cluster.recheck_at(ha_core::time::WallTime::from_micros(until));
    cluster.now.as_micros() >= until
}

/// Without quorum and with the policy to fence, the cluster's own partition goes.
fn without_quorum(cluster: &mut Cluster<'_>) {
    if cluster.has_quorum || cluster.options.no_quorum != NoQuorum::Fence {
        return;
    }
    for node in cluster.node_ids() {
        if cluster[node].online && !cluster[node].unclean && !cluster[node].is_remote() {
            fence(cluster, node, "the cluster has no quorum");
        }
    }
}
