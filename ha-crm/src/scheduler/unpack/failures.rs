//! How often a resource failed on a node, and since when.

use std::time::Duration;

use ha_core::time::WallTime;

use crate::cib::CibValue;
use crate::model::Score;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::resource::FailureAnswer;
use crate::scheduler::score::{INFINITY, sum};

/// A fail count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FailCount {
    pub(crate) count: i32,
    pub(crate) last: Option<WallTime>,
}

/// What follows `fail-count-` or `last-failure-` in names of attributes of this resource.
fn is_of(rest: &str, base: &str, id: &str, unique: bool) -> bool {
    let (name, has_op) = match rest.rfind('#') {
        Some(at) => (&rest[..at], true),
        None => (rest, false),
    };
    if !has_op {
        return false;
    }
    if unique {
        return name == id;
    }
    name == base
        || name.strip_prefix(base).and_then(|rest| rest.strip_prefix(':')).is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
}

/// Whether a count is of a failure that no longer means anything.
fn is_void(rsc: &crate::scheduler::resource::Resource<'_>, node: NodeId, rest: &str) -> bool {
    let op = rest.rsplit_once('#').map_or("", |(_, op)| op);
    rsc.void_failures.iter().any(|(at, name)| *at == node && name == op)
}

/// The count of a primitive alone, whether it is expired or not.
fn raw(cluster: &Cluster<'_>, resource: RscId, node: NodeId) -> FailCount {
    let rsc = &cluster[resource];
    let mut found = FailCount::default();
    for (name, value) in cluster[node].attributes.iter() {
        if let Some(rest) = name.strip_prefix("fail-count-") {
            if is_of(rest, &rsc.base, &rsc.id, rsc.unique) && !is_void(rsc, node, rest) {
                found.count = sum(found.count, Score::read(value).map_or(0, Score::get));
            }
        } else if let Some(rest) = name.strip_prefix("last-failure-")
            && is_of(rest, &rsc.base, &rsc.id, rsc.unique)
        {
            let last = WallTime::read(value);
            found.last = found.last.max(last);
        }
    }
    found
}

/// When a failure of the resource at a time no longer counts.
pub(crate) fn expiry(timeout: Duration, at: WallTime) -> Option<WallTime> {
    if timeout.is_zero() {
        return None;
    }
    let micros = i64::try_from(timeout.as_micros()).ok()?;
    Some(WallTime::from_micros(at.as_micros().checked_add(micros)?))
}

/// How often a resource failed on a node, as far as it still counts.
///
/// The count of a container includes what is in it. A failure that blocks does not expire.
pub(crate) fn fail_count(cluster: &mut Cluster<'_>, resource: RscId, node: NodeId) -> FailCount {
    let mut found = raw(cluster, resource, node);
    let blocks = cluster[resource].blocked && cluster[resource].failed
        || cluster[resource].answer == Some(FailureAnswer::Block);
    if found.count > 0 && !blocks {
        let timeout = cluster[resource].failure_timeout;
        let end = found.last.and_then(|last| expiry(timeout, last));
        if let Some(end) = end {
            if cluster.now >= end {
                found.count = 0;
            } else {
                cluster.recheck_at(end);
            }
        }
    }
    let contents = cluster[resource].contents.clone();
    for inner in contents {
        let more = fail_count(cluster, inner, node);
        found.count = sum(found.count, more.count);
        found.last = found.last.max(more.last);
    }
    found.count = found.count.min(INFINITY);
    found
}
