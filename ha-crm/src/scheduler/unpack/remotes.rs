//! Nodes behind a connection: they are what their connection and their container are.

use ha_core::role::Role;

use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::NodeId;
use crate::scheduler::node::Kind;

/// Whether all that a node lives by is active.
pub(super) fn is_up(cluster: &Cluster<'_>, node: NodeId) -> bool {
    let Some(connection) = cluster[node].connection else { return false };
    let is_active = |rsc: crate::scheduler::id::RscId| {
        cluster[rsc].role > Role::Stopped && !cluster[rsc].running.is_empty()
    };
    match cluster[connection].container {
        Some(container) => is_active(container) && is_active(connection),
        None => is_active(connection),
    }
}

/// Judges a node by its connection.
pub(super) fn judge(cluster: &mut Cluster<'_>, node: NodeId) {
    let Some(connection) = cluster[node].connection else { return };
    let container = cluster[connection].container;
    let host = container.and_then(|container| match cluster[container].running.as_slice() {
        [host] => Some(*host),
        _ => None,
    });
    let role = cluster[connection].role;
    let mut online = role > Role::Stopped;
    if online && cluster[connection].target_role == Some(Role::Stopped) {
        cluster[node].shutdown = true;
    }
    if container.is_some_and(|container| cluster[container].failed) {
        online = false;
        cluster[node].must_reset = true;
        if cluster[node].fence.is_none() && cluster[node].kind == Kind::Guest {
            cluster[node].fence = Some("the guest's resource failed".into());
        }
    } else if cluster[connection].failed {
        online = false;
    } else if role == Role::Stopped
        || container.is_some_and(|container| cluster[container].role == Role::Stopped)
    {
        online = false;
        cluster[node].must_reset = false;
    } else if host.is_some_and(|host| !cluster[host].online && cluster[host].unclean) {
        online = false;
        cluster[node].must_reset = true;
        if cluster[node].kind == Kind::Guest && cluster[node].fence.is_none() {
            cluster[node].fence = Some("its host is lost".into());
        }
    }
    cluster[node].online = online;
    let is_on = |name: &str| cluster[node].attributes.read::<bool>(name).unwrap_or(false);
    let (standby, maintenance) = (is_on("standby"), is_on("maintenance"));
    cluster[node].standby |= standby;
    cluster[node].maintenance |= maintenance;
    let leaves = cluster[node].attributes.get("shutdown").is_some_and(|value| value.trim() != "0");
    if leaves && cluster[node].kind == Kind::Remote {
        cluster[node].shutdown = true;
    }
}
