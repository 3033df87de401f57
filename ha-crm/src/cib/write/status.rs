//! The status.

use super::{Out, Tag};
use crate::cib::document::Cib;
use crate::cib::history::{OperationDetails, OperationRecord, ResourceHistory};
use crate::cib::status::{NodeState, Presence, TicketState};
use crate::cib::value::CibValue;

impl<'c> Out<'c> {
    pub(super) fn status(&mut self, cib: &'c Cib) {
        if cib.node_states.is_empty() && cib.ticket_states.is_empty() {
            return self.empty(Tag::new("status"));
        }
        self.open(Tag::new("status"));
        for state in &cib.node_states {
            self.node_state(state);
        }
        if !cib.ticket_states.is_empty() {
            self.list("tickets", &cib.ticket_states, Self::ticket_state);
        }
        self.close("status");
    }

    fn node_state(&mut self, state: &'c NodeState) {
        // Older Pacemakers know no other words for it.
        let crmd = state.crmd.map(|crmd| match crmd {
            Presence::Absent => "offline".to_owned(),
            Presence::Present => "online".to_owned(),
            Presence::Since(time) => time.write(),
        });
        let tag = Tag::new("node_state")
            .text("id", state.id.as_deref())
            .text("uname", state.uname.as_deref())
            .value("in_ccm", state.in_ccm.as_ref())
            .text("crmd", crmd.as_deref())
            .value("join", state.join.as_ref())
            .value("expected", state.expected.as_ref())
            .value("remote_node", state.remote_node.as_ref())
            .value("node_fenced", state.node_fenced.as_ref())
            .value("node_in_maintenance", state.node_in_maintenance.as_ref())
            .value("shutdown", state.shutdown.as_ref());
        self.open(tag);
        let name = state.id.as_deref().or(state.uname.as_deref()).unwrap_or_default();
        if !state.attributes.is_empty() || !state.utilization.is_empty() {
            self.open(Tag::new("transient_attributes").text("id", Some(name)));
            let of = format!("status-{name}");
            self.sets("instance_attributes", &state.attributes, &of);
            self.sets("utilization", &state.utilization, &of);
            self.close("transient_attributes");
        }
        if !state.resources.is_empty() {
            self.open(Tag::new("lrm").text("id", Some(name)));
            self.list("lrm_resources", &state.resources, Self::history);
            self.close("lrm");
        }
        self.close("node_state");
    }

    fn history(&mut self, history: &'c ResourceHistory) {
        let tag = Tag::new("lrm_resource")
            .text("id", Some(&history.id))
            .text("class", history.class.as_deref())
            .text("provider", history.provider.as_deref())
            .text("type", history.kind.as_deref())
            .text("container", history.container.as_deref())
            .value("shutdown-lock", history.shutdown_lock.as_ref());
        if history.operations.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        for record in &history.operations {
            self.record(record);
        }
        self.close("lrm_resource");
    }

    fn record(&mut self, record: &OperationRecord) {
        // The same once more: Pacemaker needs it.
        let magic = match (&record.transition, record.status, record.rc_code) {
            (Some(key), Some(status), Some(rc)) => {
                Some(format!("{}:{rc};{}", status.write(), key.write()))
            }
            _ => None,
        };
        let tag = Tag::new("lrm_rsc_op")
            .text("id", Some(&record.id))
            .text("operation_key", record.key.as_deref())
            .text("operation", Some(&record.operation))
            .value("interval", Some(&record.interval_ms))
            .value("call-id", record.call_id.as_ref())
            .value("rc-code", record.rc_code.as_ref())
            .value("op-status", record.status.as_ref())
            .value("transition-key", record.transition.as_ref())
            .text("transition-magic", magic.as_deref())
            .value("last-rc-change", record.last_rc_change.as_ref())
            .value("last-run", record.last_run.as_ref())
            .value("exec-time", record.exec_time_ms.as_ref())
            .value("queue-time", record.queue_time_ms.as_ref())
            .text("op-digest", record.digest.as_deref())
            .text("on_node", record.on_node.as_deref());
        let tag = match &record.details {
            Some(details) => with_details(tag, details),
            None => tag,
        };
        self.empty(tag);
    }

    fn ticket_state(&mut self, state: &'c TicketState) {
        let mut tag = Tag::new("ticket_state")
            .text("id", Some(&state.id))
            .value("granted", state.granted.as_ref())
            .value("standby", state.standby.as_ref())
            .value("last-granted", state.last_granted.as_ref());
        for (name, value) in &state.others {
            tag = tag.text(name, Some(value));
        }
        self.empty(tag);
    }
}

fn with_details(tag: Tag, details: &OperationDetails) -> Tag {
    // A list stands between spaces, so that each word in it can be searched for with both.
    let list =
        |words: &Option<Vec<_>>| words.as_ref().map(|words| format!(" {} ", words.join(" ")));
    tag.text("op-restart-digest", details.restart_digest.as_deref())
        .text("op-secure-digest", details.secure_digest.as_deref())
        .text("op-force-restart", list(&details.force_restart).as_deref())
        .text("op-secure-params", list(&details.secure_params).as_deref())
        .text("migrate_source", details.migrate_source.as_deref())
        .text("migrate_target", details.migrate_target.as_deref())
        .text("exit-reason", details.exit_reason.as_deref())
}
