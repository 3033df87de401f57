//! Operations as they are configured: which there are, and what their failures ask for.

use std::sync::Arc;
use std::time::Duration;

use ha_core::role::Role;

use crate::cib::{OnFail, Operation, Operations, Primitive};
use crate::model::rule::Facts;
use crate::scheduler::attributes::Table;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::RscId;
use crate::scheduler::resource::{FailureAnswer, Op};

/// The operations of a primitive, its own before its template's.
pub(super) fn resolve(
    cluster: &Cluster<'_>,
    own: &Primitive,
    template: Option<&Primitive>,
    agent: (&str, Option<&str>, &str),
) -> Arc<Vec<Op>> {
    let mut resolved: Vec<Op> = Vec::new();
    let lists = [Some(own), template];
    for list in lists.into_iter().flatten() {
        let inherited = !std::ptr::eq(list, own);
        let known = resolved.len();
        for operation in all(&list.operations) {
            let interval = millis(operation.interval.unwrap_or_default());
            let same = |op: &Op| op.name == operation.name && op.interval_ms == interval;
            let is_overridden = resolved.get(..known).is_some_and(|own| own.iter().any(same));
            if !(inherited && is_overridden) {
                resolved.push(resolve_one(cluster, operation, interval, agent));
            }
        }
    }
    Arc::new(resolved)
}

fn all(lists: &[Arc<Operations>]) -> impl Iterator<Item = &Operation> {
    lists.iter().flat_map(|list| &list.operations)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn resolve_one(
    cluster: &Cluster<'_>,
    operation: &Operation,
    interval_ms: u64,
    agent: (&str, Option<&str>, &str),
) -> Op {
    let facts = Facts::at(cluster.now)
        .agent(agent.0, agent.1, agent.2)
        .operation(&operation.name, Duration::from_millis(interval_ms));
    let mut meta = Table::default();
    meta.add(&operation.meta, &facts);
    meta.add(&cluster.cib.operation_defaults, &facts);
    let mut parameters = Table::default();
    parameters.add(&operation.instance, &facts);
    Op {
        name: Arc::clone(&operation.name),
        interval_ms,
        role: operation.role.or_else(|| meta.read("role")),
        on_fail: operation.on_fail.or_else(|| meta.read("on-fail")),
        parameters,
    }
}

/// What a failure of an operation asks for.
///
/// Source: Pacemaker Explained, "Operation Properties", `on-fail`.
pub(crate) fn answer_of(
    cluster: &Cluster<'_>,
    resource: RscId,
    name: &str,
    interval_ms: u64,
    role: Role,
) -> FailureAnswer {
    let rsc = &cluster[resource];
    let configured = configured_op(&rsc.operations, name, interval_ms, role);
    let on_fail = match configured {
        Some(op) => op.on_fail,
        None => default_on_fail(cluster, resource, name, interval_ms),
    };
    // A failed connection can only be mended with the node behind it.
    let is_first = name == "start" || (name == "monitor" && interval_ms == 0);
    if on_fail.is_none() && rsc.remote.is_some() && !is_first {
        return if rsc.managed { FailureAnswer::ResetRemote } else { FailureAnswer::Stop };
    }
    let Some(on_fail) = on_fail else {
        return match (name, cluster.options.fencing) {
            _ if rsc.container.is_some() && rsc.remote.is_none() => FailureAnswer::RestartContainer,
            ("stop", true) => FailureAnswer::Fence,
            ("stop", _) => FailureAnswer::Block,
            _ => FailureAnswer::Recover,
        };
    };
    match on_fail {
        OnFail::Ignore => FailureAnswer::Ignore,
        OnFail::Block => FailureAnswer::Block,
        OnFail::Stop => FailureAnswer::Stop,
        // Nothing can be fenced: the nearest is to stop it, and a failed stop stays.
        OnFail::Fence if !cluster.options.fencing && name == "stop" => FailureAnswer::Block,
        OnFail::Fence if !cluster.options.fencing => FailureAnswer::Stop,
        OnFail::Fence => FailureAnswer::Fence,
        OnFail::Standby => FailureAnswer::Standby,
        OnFail::Demote if name == "promote" || (name == "monitor" && interval_ms > 0) => {
            FailureAnswer::Demote
        }
        OnFail::RestartContainer if rsc.container.is_some() => FailureAnswer::RestartContainer,
        OnFail::Demote | OnFail::Restart | OnFail::RestartContainer => FailureAnswer::Recover,
    }
}

/// The configured operation that a record is of.
pub(crate) fn configured_op<'o>(
    operations: &'o [Op],
    name: &str,
    interval_ms: u64,
    role: Role,
) -> Option<&'o Op> {
    let alike =
        || operations.iter().filter(|op| &*op.name == name && op.interval_ms == interval_ms);
    alike().find(|op| op.role == Some(role)).or_else(|| alike().next())
}

/// The default of `on-fail` where no operation is configured, by the rules of operation defaults.
fn default_on_fail(
    cluster: &Cluster<'_>,
    resource: RscId,
    name: &str,
    interval_ms: u64,
) -> Option<OnFail> {
    if cluster.cib.operation_defaults.is_empty() {
        return None;
    }
    let rsc = &cluster[resource];
    let facts = Facts::at(cluster.now)
        .agent(&rsc.class, rsc.provider.as_deref(), &rsc.agent)
        .operation(name, Duration::from_millis(interval_ms));
    let mut meta = Table::default();
    meta.add(&cluster.cib.operation_defaults, &facts);
    meta.read("on-fail")
}
