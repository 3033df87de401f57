//! Tickets: who has which, and who needs one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sets;
use crate::cib::{Cib, LossPolicy, Ticket};
use crate::scheduler::cluster::{Cluster, TicketNow};
use crate::scheduler::constraint::TicketUse;

/// What is known of tickets.
pub(super) fn states(cib: &Cib) -> BTreeMap<Arc<str>, TicketNow> {
    let state = |state: &crate::cib::TicketState| {
        let now = TicketNow {
            granted: state.granted.unwrap_or(false),
            standby: state.standby.unwrap_or(false),
        };
        (Arc::clone(&state.id), now)
    };
    cib.ticket_states.iter().map(state).collect()
}

/// Enters who needs a ticket.
pub(super) fn enter(cluster: &mut Cluster<'_>, configured: &Ticket) {
    let Some(ticket) = &configured.ticket else { return };
    cluster.tickets.entry(Arc::clone(ticket)).or_default();
    let loss_policy = match configured.loss_policy {
        // Without fencing nobody can be fenced.
        Some(LossPolicy::Fence) if !cluster.options.fencing => LossPolicy::Stop,
        Some(policy) => policy,
        None if configured.rsc_role == Some(ha_core::role::Role::Promoted) => LossPolicy::Demote,
        None => LossPolicy::Stop,
    };
    let mut uses = Vec::new();
    if let Some(rsc) = &configured.rsc {
        for resource in sets::resolve(cluster, rsc) {
            uses.push((resource, configured.rsc_role));
        }
    }
    for set in &configured.sets {
        for resource in sets::members(cluster, set) {
            uses.push((resource, set.role));
        }
    }
    for (resource, role) in uses {
        let loss_policy = match configured.loss_policy {
            None if role == Some(ha_core::role::Role::Promoted) => LossPolicy::Demote,
            Some(_) | None => loss_policy,
        };
        cluster.ticket_uses.push(TicketUse {
            resource,
            role,
            ticket: Arc::clone(ticket),
            loss_policy,
        });
    }
}
