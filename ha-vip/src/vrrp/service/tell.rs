//! What the driver says of what happened.

use ha_core::event::{Event, EventKind};
use ha_core::time::Instant;

use super::Service;
use super::station::Station;
use crate::announce::ConflictEvent;
use crate::holder::Settled;
use crate::vrrp::VRRP_PROTOCOL;
use crate::vrrp::effects::{Input, RouterEvent};
use crate::vrrp::host::RouterId;
use crate::vrrp::snapshot::{RouterSnapshot, Snapshot};

impl Service {
    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let routers = self.host.routers().filter_map(|(id, router)| {
            let Station { instance, holder, .. } = self.stations.get(id)?;
            let settled = holder.is_settled();
            Some(RouterSnapshot::new(now, instance, router, self.host.tally(id), settled))
        });
        Snapshot { routers: routers.collect(), unsent: self.unsent }
    }

    /// Tells of addresses that were put on or taken off; a failure is the router's to act upon.
    pub(super) fn tell_settled(
        &self,
        now: Instant,
        id: RouterId,
        settled: Settled,
    ) -> Option<Input> {
        let station = self.stations.get(id)?;
        let observe = |kind| self.observer.observe(&Event::new(now, &station.subject, kind));
        let addresses = station.addresses.iter().map(ToString::to_string);
        match settled {
            Ok(true) => addresses.for_each(|address| observe(EventKind::AddressAdded { address })),
            Ok(false) => {
                addresses.for_each(|address| observe(EventKind::AddressRemoved { address }));
            }
            Err(error) => {
                tracing::error!(%error, "addresses not changed");
                observe(EventKind::Note { text: error.to_string() });
                return Some(Input::AcquireFailed);
            }
        }
        None
    }

    /// Tells who else claims an address, with both link-layer addresses.
    pub(super) fn tell_conflict(&self, now: Instant, id: RouterId, event: &ConflictEvent) {
        let Some(station) = self.stations.get(id) else {
            return;
        };
        let subject = &station.subject;
        let (text, reason) = match event {
            ConflictEvent::Conflict { address, ours, theirs, .. } => {
                tracing::warn!(subject, %address, %ours, %theirs, "address conflict");
                let text = format!("{theirs} claims {address}, which is held here by {ours}");
                (text, "split brain, or the same address given twice")
            }
            ConflictEvent::Resolved { address, ours, theirs, lasted } => {
                tracing::info!(subject, %address, %ours, %theirs, ?lasted, "address conflict over");
                let text =
                    format!("{theirs} claimed {address}, held here by {ours}, for {lasted:?}");
                (text, "the conflict is over")
            }
        };
        let event = Event::new(now, subject, EventKind::Note { text }).because(reason);
        self.observer.observe(&event);
    }

    pub(super) fn tell(&self, now: Instant, id: RouterId, event: &RouterEvent) {
        let Some(station) = self.stations.get(id) else {
            return;
        };
        let subject = &station.subject;
        let (kind, reason) = match event {
            RouterEvent::StateChanged { from, to, reason } => {
                tracing::info!(subject, %from, %to, %reason, "state changed");
                let (from, to) = (from.to_string(), to.to_string());
                (EventKind::StateChanged { from, to }, reason.to_string())
            }
            RouterEvent::Rival { from, priority } => {
                let text = format!("{from} is active too, with priority {priority}");
                (EventKind::Note { text }, "split brain, or a take-over".to_owned())
            }
            RouterEvent::RivalGone { from, lasted } => {
                let text = format!("{from} was active too, for {lasted:?}");
                (EventKind::Note { text }, "the split is over".to_owned())
            }
            RouterEvent::PriorityChanged { from, to } => {
                let text = format!("priority {to}, was {from}");
                (EventKind::Note { text }, self.reasons(id))
            }
            RouterEvent::Follows { active, priority } => {
                let text = format!("{active} is the active router, with priority {priority}");
                (EventKind::Note { text }, "its advert was heard".to_owned())
            }
            RouterEvent::Heir(heir) => {
                let text = match heir {
                    Some(heir) => format!("{heir} would be the heir"),
                    None => "there is no heir".to_owned(),
                };
                (EventKind::Note { text }, "what kin offers".to_owned())
            }
            RouterEvent::HeldBack { by } => {
                let text = "the active router is silent, and this one waits".to_owned();
                (EventKind::Note { text }, by.to_string())
            }
            RouterEvent::AddressesDiffer { from, theirs } => {
                tracing::warn!(subject, %from, ?theirs, "addresses differ");
                let text = format!("{from} serves other addresses: {theirs:?}");
                (EventKind::Note { text }, "make both configurations the same".to_owned())
            }
            // Counted in the statistics; an event each would let anybody on the link fill logs.
            RouterEvent::Rejected { from, why } => {
                tracing::debug!(%from, %why, protocol = VRRP_PROTOCOL, "packet dropped");
                return;
            }
        };
        self.observer.observe(&Event::new(now, subject, kind).because(reason));
    }

    /// What the trackers of a router say, in a line.
    fn reasons(&self, id: RouterId) -> String {
        let reasons = self.host.tally(id).map(crate::track::Tally::reasons).unwrap_or_default();
        reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}
