//! One record of a history: what it says of the resource, and what its failure asks for.

use std::sync::Arc;

use ha_core::role::Role;

use super::failures::expiry;
use super::{locations, migration, operations};
use crate::cib::{OnFail, OperationRecord, OperationStatus};
use crate::scheduler::actions::has_changed;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::resource::FailureAnswer;
use crate::scheduler::score::INFINITY;

/// Exit codes of agents. Source: OCF Resource Agent API 1.1.
mod code {
    pub(super) const OK: i32 = 0;
    pub(super) const INVALID: i32 = 2;
    pub(super) const UNIMPLEMENTED: i32 = 3;
    pub(super) const NO_PRIVILEGE: i32 = 4;
    pub(super) const NOT_INSTALLED: i32 = 5;
    pub(super) const NOT_CONFIGURED: i32 = 6;
    pub(super) const NOT_RUNNING: i32 = 7;
    pub(super) const PROMOTED: i32 = 8;
    pub(super) const FAILED_PROMOTED: i32 = 9;
    pub(super) const DEGRADED: i32 = 190;
    pub(super) const DEGRADED_PROMOTED: i32 = 191;
}

/// What a replay has found so far.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) role: Option<Role>,
    pub(super) answer: FailureAnswer,
    /// The name and interval of what failed last.
    pub(super) last_failure: Option<(Arc<str>, u64)>,
    /// Why it shall stop.
    pub(super) next_stop: Option<String>,
}

impl Default for Replay {
    fn default() -> Self {
        Self { role: None, answer: FailureAnswer::Ignore, last_failure: None, next_stop: None }
    }
}

impl Replay {
    pub(super) fn activate(&mut self, cluster: &Cluster<'_>, resource: RscId) {
        let active = active_role(cluster, resource);
        self.role = Some(self.role.map_or(active, |role| role.max(active)));
    }

    fn is_inactive(&self) -> bool {
        self.role.is_none_or(|role| role == Role::Stopped)
    }

    fn fail(&mut self, answer: FailureAnswer) {
        self.answer = self.answer.max(answer);
    }

    /// A success puts an end to failures whose answer is not yet to be given.
    fn clear(&mut self, cluster: &Cluster<'_>, resource: RscId) {
        match self.answer {
            FailureAnswer::Fence | FailureAnswer::Standby | FailureAnswer::Stop => {}
            FailureAnswer::ResetRemote => {
                let waits = cluster
                    .parameters(resource, None)
                    .read::<std::time::Duration>("reconnect_interval")
                    .is_some_and(|interval| !interval.is_zero());
                if !waits {
                    self.answer = FailureAnswer::Ignore;
                }
            }
            FailureAnswer::Block
            | FailureAnswer::Demote
            | FailureAnswer::Ignore
            | FailureAnswer::Recover
            | FailureAnswer::RestartContainer => self.answer = FailureAnswer::Ignore,
        }
    }
}

/// What an active resource is when nobody promoted it.
pub(crate) fn active_role(cluster: &Cluster<'_>, resource: RscId) -> Role {
    if cluster[resource].may_be_promoted() { Role::Unpromoted } else { Role::Started }
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    /// It will fail on this node always.
    FailedHard,
    /// It will fail everywhere.
    FailedFatally,
    Pending,
    /// It says nothing.
    Void,
}

/// One record with what its result means.
struct Seen<'r> {
    record: &'r OperationRecord,
    rc: i32,
    target: Option<i32>,
    is_probe: bool,
}

impl Seen<'_> {
    fn task(&self) -> &str {
        &self.record.operation
    }

    fn is_expected(&self) -> bool {
        self.target.is_none_or(|target| target == self.rc)
    }
}

/// Replays one record.
pub(super) fn replay_record(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    record: &OperationRecord,
    replay: &mut Replay,
) {
    if &*record.operation == "notify" || &*record.operation == "meta-data" {
        return;
    }
    let rc = match record.rc_code.unwrap_or(0) {
        code::DEGRADED => code::OK,
        code::DEGRADED_PROMOTED => code::PROMOTED,
        rc => rc,
    };
    let target = record.transition.as_ref().and_then(|key| key.target_rc);
    let is_probe = &*record.operation == "monitor" && record.interval_ms == 0;
    let seen = Seen { record, rc, target, is_probe };
    let end = ended(cluster, resource, &seen, replay);
    let failed = matches!(end, End::Failed | End::FailedHard | End::FailedFatally);
    if failed && is_outdated(cluster, resource, node, &seen) {
        let name = format!("{}_{}", record.operation, record.interval_ms);
        cluster[resource].void_failures.push((node, name));
        return;
    }
    if failed && is_expired(cluster, resource, &seen) {
        if seen.is_probe {
            replay.role = Some(replay.role.unwrap_or(Role::Stopped));
        }
        return;
    }
    match end {
        End::Void => {}
        End::Pending => {
            take_pending(cluster, resource, node, &seen, replay);
        }
        End::Done => take_success(cluster, resource, node, &seen, replay),
        End::Failed | End::FailedHard | End::FailedFatally => {
            take_failure(cluster, resource, node, &seen, end, replay);
        }
    }
}

/// How it ended, from its status, its exit code and the one that was expected.
fn ended(cluster: &Cluster<'_>, resource: RscId, seen: &Seen<'_>, replay: &mut Replay) -> End {
    let status = seen.record.status.unwrap_or(OperationStatus::Unknown);
    match status {
        OperationStatus::Pending => return End::Pending,
        OperationStatus::Cancelled | OperationStatus::Unknown => return End::Void,
        OperationStatus::Done
        | OperationStatus::Error
        | OperationStatus::ErrorFatal
        | OperationStatus::ErrorHard
        | OperationStatus::Invalid
        | OperationStatus::NoFenceDevice
        | OperationStatus::NoSecrets
        | OperationStatus::NotConnected
        | OperationStatus::NotInstalled
        | OperationStatus::NotSupported
        | OperationStatus::TimedOut => {}
    }
    let is_stop = seen.task() == "stop";
    let can_fence = cluster.options.fencing && cluster.has_fence_device;
    match seen.rc {
        _ if matches!(status, OperationStatus::TimedOut) => End::Failed,
        code::OK | code::PROMOTED if seen.is_probe => End::Done,
        code::NOT_RUNNING if seen.is_probe || seen.is_expected() || !cluster[resource].managed => {
            End::Done
        }
        code::FAILED_PROMOTED => {
            replay.role = Some(Role::Promoted);
            End::Failed
        }
        code::NOT_CONFIGURED => End::FailedFatally,
        code::UNIMPLEMENTED if seen.record.interval_ms > 0 => End::Failed,
        code::UNIMPLEMENTED | code::INVALID | code::NO_PRIVILEGE | code::NOT_INSTALLED => {
            if seen.is_expected() && seen.target.is_some() {
                End::Done
            } else if is_stop && !can_fence {
                End::Failed
            } else {
                End::FailedHard
            }
        }
        _ if seen.target.is_none() => {
            let is_fine = matches!(seen.rc, code::OK)
                || (seen.rc == code::PROMOTED && seen.task() == "monitor");
            if is_fine && status == OperationStatus::Done { End::Done } else { End::Failed }
        }
        _ if seen.is_expected() => match status {
            OperationStatus::ErrorHard | OperationStatus::NotInstalled => End::FailedHard,
            OperationStatus::ErrorFatal => End::FailedFatally,
            OperationStatus::Invalid
            | OperationStatus::NoFenceDevice
            | OperationStatus::NoSecrets
            | OperationStatus::NotConnected
            | OperationStatus::NotSupported => End::Failed,
            OperationStatus::Cancelled
            | OperationStatus::Done
            | OperationStatus::Error
            | OperationStatus::Pending
            | OperationStatus::TimedOut
            | OperationStatus::Unknown => End::Done,
        },
        _ => End::Failed,
    }
}

/// Whether what failed was configured otherwise than it is now.
fn is_outdated(cluster: &Cluster<'_>, resource: RscId, node: NodeId, seen: &Seen<'_>) -> bool {
    let rsc = &cluster[resource];
    let is_checked = seen.task() == "start" && !rsc.removed && rsc.remote.is_none();
    is_checked && has_changed(cluster, resource, node, seen.record)
}

/// Whether a failure lies further back than `failure-timeout`.
fn is_expired(cluster: &mut Cluster<'_>, resource: RscId, seen: &Seen<'_>) -> bool {
    let timeout = cluster[resource].failure_timeout;
    let Some(end) = seen.record.last_rc_change.and_then(|at| expiry(timeout, at)) else {
        return false;
    };
    // What was configured to block stays until it is cleaned up.
    let rsc = &cluster[resource];
    let interval = seen.record.interval_ms;
    let op = operations::configured_op(&rsc.operations, seen.task(), interval, rsc.role);
    if op.is_some_and(|op| op.on_fail == Some(OnFail::Block)) {
        return false;
    }
    if cluster.now < end {
        cluster.recheck_at(end);
        return false;
    }
    true
}

fn take_pending(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    seen: &Seen<'_>,
    replay: &mut Replay,
) {
    match seen.task() {
        "start" => {
            cluster[resource].start_pending = true;
            replay.activate(cluster, resource);
        }
        "promote" => replay.role = Some(Role::Promoted),
        "demote" | "stop" => {}
        "migrate_to" => migration::take_pending(cluster, resource, node, seen.record),
        "migrate_from" => replay.activate(cluster, resource),
        "monitor" if seen.is_probe => {
            // Its result will come: until then the instance is taken for one of this node.
            cluster[resource].pending_node = Some(node);
            return;
        }
        _ => return,
    }
    if cluster[resource].pending_node.is_none() {
        cluster[resource].pending_node = Some(node);
    }
}

fn take_success(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    seen: &Seen<'_>,
    replay: &mut Replay,
) {
    let clears = match seen.task() {
        _ if seen.rc == code::NOT_INSTALLED && seen.is_probe => {
            replay.role = Some(Role::Stopped);
            false
        }
        _ if seen.rc == code::NOT_RUNNING && seen.task() != "stop" => {
            replay.role = Some(Role::Stopped);
            true
        }
        "monitor" => {
            if seen.rc == code::PROMOTED {
                replay.role = Some(Role::Promoted);
            } else if replay.is_inactive() {
                replay.role = Some(active_role(cluster, resource));
            }
            let this = (Arc::clone(&seen.record.operation), seen.record.interval_ms);
            replay.last_failure.as_ref() == Some(&this)
        }
        "migrate_from" | "start" => {
            replay.role = Some(active_role(cluster, resource));
            true
        }
        "stop" => {
            replay.role = Some(Role::Stopped);
            true
        }
        "promote" => {
            replay.role = Some(Role::Promoted);
            true
        }
        "demote" => {
            replay.role = Some(Role::Unpromoted);
            replay.answer == FailureAnswer::Demote
                || (replay.answer == FailureAnswer::Recover
                    && replay.last_failure.as_ref().is_some_and(|(task, _)| &**task == "demote"))
        }
        "migrate_to" => {
            migration::take_success(cluster, resource, node, seen.record, replay);
            false
        }
        _ => {
            if replay.is_inactive() && seen.task() != "delete" {
                replay.role = Some(active_role(cluster, resource));
            }
            false
        }
    };
    if clears {
        replay.clear(cluster, resource);
    }
}

fn take_failure(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    seen: &Seen<'_>,
    end: End,
    replay: &mut Replay,
) {
    let task = seen.task();
    let role = replay.role.unwrap_or(Role::Stopped);
    let answer = operations::answer_of(cluster, resource, task, seen.record.interval_ms, role);
    let is_missing = seen.record.status == Some(OperationStatus::NotInstalled);
    let hidden = answer == FailureAnswer::Ignore && is_missing && !seen.is_probe;
    let answer = if hidden { FailureAnswer::Recover } else { answer };
    let is_ignored = answer == FailureAnswer::Ignore
        || (answer == FailureAnswer::RestartContainer && task == "stop");
    if is_ignored {
        // What was asked for counts as done.
        let rc = seen.target.unwrap_or(code::OK);
        let done = Seen { rc, ..*seen };
        take_success(cluster, resource, node, &done, replay);
        cluster[resource].failure_ignored = true;
        replay.last_failure = Some((Arc::clone(&seen.record.operation), seen.record.interval_ms));
        if answer == FailureAnswer::RestartContainer {
            replay.fail(FailureAnswer::RestartContainer);
        }
        return;
    }
    let is_absent_agent = seen.is_probe && (seen.rc == code::NOT_INSTALLED || is_missing);
    replay.last_failure = Some((Arc::clone(&seen.record.operation), seen.record.interval_ms));
    match task {
        "stop" => cluster.ban(resource, node, &Why::Other("a stop failed there")),
        "migrate_to" => migration::take_failed_to(cluster, resource, seen.record),
        "migrate_from" => migration::take_failed_from(cluster, resource, seen.record),
        "promote" => replay.role = Some(Role::Promoted),
        "demote" => {
            if answer == FailureAnswer::Block {
                replay.role = Some(Role::Promoted);
                replay.next_stop = Some("a demote failed, which blocks".into());
            } else if seen.rc == code::NOT_RUNNING {
                replay.role = Some(Role::Stopped);
            } else {
                replay.role = Some(Role::Unpromoted);
            }
        }
        _ => {}
    }
    if is_absent_agent {
        replay.role = Some(Role::Stopped);
    } else if replay.is_inactive() {
        replay.activate(cluster, resource);
    }
    if !is_absent_agent {
        replay.fail(answer);
    }
    let scope = ban_scope(cluster, resource);
    match end {
        End::FailedHard if task != "stop" || cluster.options.fencing => {
            if cluster[resource].managed || is_absent_agent {
                let why = Why::Other("it can never work there");
                locations::apply(cluster, scope, node, -INFINITY, &why);
            }
        }
        End::FailedFatally => {
            for other in cluster.node_ids() {
                let why = Why::Other("it can never work anywhere");
                locations::apply(cluster, scope, other, -INFINITY, &why);
            }
        }
        End::Done | End::Failed | End::FailedHard | End::Pending | End::Void => {}
    }
    if answer == FailureAnswer::Stop {
        for other in cluster.node_ids() {
            cluster.ban(resource, other, &Why::Other("on-fail=stop"));
        }
    }
}

/// What holds for an instance of an anonymous clone on a node holds for all.
pub(crate) fn ban_scope(cluster: &Cluster<'_>, resource: RscId) -> RscId {
    if cluster[resource].unique {
        return resource;
    }
    match cluster.clone_of(resource) {
        Some(clone) => clone,
        None => resource,
    }
}
