//! Parameters that changed since a resource was started: restart, reload, or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use md5::{Digest, Md5};

use crate::cib::{OperationRecord, ResourceHistory};
use crate::scheduler::attributes::Table;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::resource::Variant;
use crate::scheduler::unpack::{configured_op, node_of};

/// What a comparison of parameters asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Reload,
    Restart,
}

/// Compares what active resources were started with to what is configured.
pub(super) fn compare(cluster: &mut Cluster<'_>) {
    let cib = cluster.cib;
    for state in &cib.node_states {
        let Some(node) = node_of(cluster, state) else { continue };
        if !cluster[node].online || cluster[node].unclean {
            continue;
        }
        let active = active(cluster, node);
        // What was never found there needs no comparing.
        let is_absent = |record: &OperationRecord| record.rc_code == Some(7);
        let histories = state.resources.iter();
        for history in histories.filter(|history| !history.operations.iter().all(is_absent)) {
            for resource in active.get(&history.id).into_iter().flatten().copied() {
                match change(cluster, resource, node, history) {
                    Change::None => {}
                    Change::Reload => cluster[resource].reload = true,
                    Change::Restart => {
                        cluster[resource].must_restart = true;
                        if cluster.has_unfencing && cluster[resource].is_fencing {
                            cluster[node].must_unfence = true;
                        }
                    }
                }
            }
        }
    }
}

/// The instances that are active on a node, by the names that their histories may have.
fn active(cluster: &Cluster<'_>, node: NodeId) -> BTreeMap<Arc<str>, Vec<RscId>> {
    let mut found: BTreeMap<Arc<str>, Vec<RscId>> = BTreeMap::new();
    for resource in cluster[node].running.iter().copied() {
        let rsc = &cluster[resource];
        let parent = rsc.parent.map(|parent| (parent, cluster[parent].variant));
        let (is_instance, in_group) = match parent {
            Some((_, Variant::Clone)) => (true, false),
            Some((group, Variant::Group)) => (false, cluster.clone_of(group).is_some()),
            Some((_, Variant::Bundle | Variant::Primitive)) | None => (false, false),
        };
        if in_group && !rsc.unique {
            continue; // Which instance of an anonymous group was started with what is not known.
        }
        let alias = rsc.alias.as_ref().filter(|_| is_instance);
        let mut names = vec![&rsc.id, &rsc.base];
        names.extend(alias);
        names.sort_unstable();
        names.dedup();
        for name in names {
            found.entry(Arc::clone(name)).or_default().push(resource);
        }
    }
    found
}

fn change(
    cluster: &Cluster<'_>,
    resource: RscId,
    node: NodeId,
    history: &ResourceHistory,
) -> Change {
    let rsc = &cluster[resource];
    if rsc.removed || rsc.bundle.is_some() {
        return Change::None;
    }
    if rsc.config.is_some() && is_other_agent(cluster, resource, history) {
        return Change::Restart;
    }
    if rsc.config.is_none() {
        return Change::None; // What is implied changes with what implies it.
    }
    let mut records: Vec<&OperationRecord> = history.operations.iter().collect();
    records.sort_by_key(|record| record.call_id.unwrap_or(-1));
    let last_stop = records.iter().rposition(|record| &*record.operation == "stop");
    let mut found = Change::None;
    // What was found before it was started here says nothing of what it was started with.
    let last_start =
        records.iter().rposition(|one| matches!(&*one.operation, "start" | "migrate_from"));
    let since = last_stop.map_or(0, |at| at + 1).max(last_start.unwrap_or(0));
    for record in records.get(since..).unwrap_or_default() {
        if record.digest.is_none() {
            continue;
        }
        let is_first = record.interval_ms == 0
            && matches!(&*record.operation, "start" | "monitor" | "migrate_from");
        if !is_first {
            continue;
        }
        match change_since(cluster, resource, node, record) {
            Change::Restart => return Change::Restart,
            Change::Reload => found = Change::Reload,
            Change::None => {}
        }
    }
    found
}

/// Whether a resource is configured otherwise than when an operation was run.
pub(crate) fn has_changed(
    cluster: &Cluster<'_>,
    resource: RscId,
    node: NodeId,
    record: &OperationRecord,
) -> bool {
    record.digest.is_some()
        && record.interval_ms == 0
        && cluster[resource].config.is_some()
        && change_since(cluster, resource, node, record) != Change::None
}

fn is_other_agent(cluster: &Cluster<'_>, resource: RscId, history: &ResourceHistory) -> bool {
    let rsc = &cluster[resource];
    let differs = |now: Option<&str>, then: Option<&str>| then.is_some() && now != then;
    differs(Some(&rsc.class), history.class.as_deref())
        || differs(Some(&rsc.agent), history.kind.as_deref())
        || differs(rsc.provider.as_deref(), history.provider.as_deref())
}

fn change_since(
    cluster: &Cluster<'_>,
    resource: RscId,
    node: NodeId,
    record: &OperationRecord,
) -> Change {
    let rsc = &cluster[resource];
    let mut table = cluster.parameters(resource, Some(node));
    let recorded = record.digest.as_deref().unwrap_or_default();
    let configured = table.clone();
    let op = configured_op(&rsc.operations, &record.operation, record.interval_ms, rsc.role);
    if let Some(op) = op {
        for (name, value) in op.parameters.iter() {
            table.set(name, Arc::clone(value));
        }
    }
    let plain = digest(&table, |_| true);
    let is_own = |name: &str| !name.starts_with("pcmk_");
    if plain == recorded || (rsc.is_fencing && digest(&table, is_own) == recorded) {
        return Change::None;
    }
    if digest(&configured, |_| true) == recorded {
        return Change::Restart; // What the operation has of its own cannot be reloaded.
    }
    let details = record.details.as_deref();
    // What is secret may be masked; what is not must be the same.
    if let Some(secure) = details.and_then(|details| details.secure_digest.as_deref()) {
        let secret = details.and_then(|details| details.secure_params.as_deref());
        let is_secret = |name: &str| match secret {
            Some(names) => names.iter().any(|secret| &**secret == name),
            None => matches!(name, "passwd" | "password"),
        };
        let is_open = |name: &str| !is_secret(name);
        let is_open_own = |name: &str| !is_secret(name) && is_own(name);
        if digest(&table, is_open) == secure || digest(&table, is_open_own) == secure {
            return Change::None;
        }
    }
    let restart = details.and_then(|details| details.restart_digest.as_deref());
    let forcing = details.and_then(|details| details.force_restart.as_deref());
    if let (Some(restart), Some(forcing)) = (restart, forcing) {
        let forces = |name: &str| forcing.iter().any(|forced| &**forced == name);
        if digest(&table, forces) == restart {
            return Change::Reload;
        }
    }
    Change::Restart
}

/// The digest of parameters in the form in which they are recorded: MD5 of an element that has
/// them as its attributes, sorted by name.
pub(crate) fn digest(table: &Table, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::from(" <parameters");
    for (name, value) in table.iter().filter(|(name, _)| wanted(name)) {
        text.push(' ');
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '&' => text.push_str("&amp;"),
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '"' => text.push_str("&quot;"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.push_str("/>\n");
    let mut hex = String::with_capacity(32);
    for byte in Md5::digest(text.as_bytes()) {
        for half in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(half), 16));
        }
    }
    hex
}
