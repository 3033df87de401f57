//! What outlives this process, and how that is bounded: a guardian, and leases.

use std::fmt;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use ha_core::time::Instant;

use super::Service;
use super::station::Station;
use crate::address::VirtualAddress;
use crate::guardian::{Guardian, Will, WillPacket};
use crate::vrrp::effects::Destination;
use crate::vrrp::host::LinkId;
use crate::vrrp::router::Router;
use crate::vrrp::wire::{GROUP_V4, GROUP_V6};

/// The longest time that the addresses of a killed process are served on.
const MAX_LINGER: Duration = Duration::from_millis(1_800);

/// Makes the command that starts a guardian.
pub(super) struct Guarded(pub(super) Box<dyn Fn() -> Command + Send + Sync>);

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

/// The guardian, if one is wanted, and when leases are renewed.
#[derive(Debug)]
pub(super) struct Care {
    guarded: Option<Guarded>,
    guardian: Option<Guardian>,
    /// The will is to be written anew.
    changed: bool,
    /// The shortest lease of a backend, and when all begin anew.
    every: Option<Duration>,
    pub(super) renew_at: Option<Instant>,
}

impl Care {
    pub(super) const fn new(guarded: Option<Guarded>) -> Self {
        Self { guarded, guardian: None, changed: true, every: None, renew_at: None }
    }

    /// A backend says how long its addresses stay by themselves.
    pub(super) fn note_lease(&mut self, lease: Option<Duration>) {
        self.every = self.every.into_iter().chain(lease).min();
    }

    pub(super) const fn note_change(&mut self) {
        self.changed = true;
    }

    /// Waits for the end of the guardian, which nobody wants; for ever without one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub(super) async fn guardian_ended(&self) {
        let Some(guardian) = &self.guardian else {
            return std::future::pending().await;
        };
        if let Err(error) = guardian.ended().await {
            tracing::warn!(%error, "cannot watch the guardian");
        }
    }

    /// Another guardian is started with the next will.
    pub(super) fn lose_guardian(&mut self) {
        tracing::warn!("the guardian has ended; another one is started");
        self.guardian = None;
        self.changed = true;
    }

    /// The house is in order: the guardian has nothing to do.
    pub(super) fn dismiss(&mut self) {
        if let Some(guardian) = self.guardian.take()
            && let Err(error) = guardian.goodbye()
        {
            tracing::warn!(%error, "cannot dismiss the guardian");
        }
        self.guarded = None;
    }
}

impl Service {
    /// Begins the leases anew, if it is time to.
    pub(super) fn renew_leases(&mut self, now: Instant) {
        let Some(every) = self.care.every else {
            return;
        };
        if self.care.renew_at.is_none_or(|at| at <= now) {
            self.care.renew_at = Some(now + every / 3);
            let leased = |station: &&mut Station| station.ground.backend.lease().is_some();
            for station in self.stations.values_mut().filter(leased) {
                station.holder.renew();
            }
        }
    }

    /// Writes the will anew if anything has changed; called before the first address is added.
    pub(super) fn write_will(&mut self) {
        let Some(guarded) = self.care.guarded.as_ref().filter(|_| self.care.changed) else {
            return;
        };
        if self.care.guardian.is_none() {
            match Guardian::spawn(guarded.0()) {
                Ok(guardian) => self.care.guardian = Some(guardian),
                Err(error) => tracing::error!(%error, "cannot start a guardian"),
            }
        }
        self.care.changed = false;
        let will = self.will();
        if let Some(guardian) = &self.care.guardian
            && let Err(error) = guardian.set_will(&will)
        {
            tracing::error!(%error, "the guardian does not take the will");
        }
    }

    /// The goodbyes of all routers that serve, and their addresses.
    fn will(&mut self) -> Will {
        let mut will = Will::default();
        for (id, router) in self.host.routers().filter(|(_, router)| router.state().holds()) {
            let link = self.stations.get(id).and_then(Station::link);
            let Some(LinkId { interface, .. }) = link else {
                continue;
            };
            for (destination, mut message) in router.will() {
                // A signature holds for the time window of the keys: a goodbye later than that is
                // refused, and the address is removed all the same.
                if let Some(authenticator) = self.stations.authenticator(id) {
                    authenticator.sign(&mut message, router.source(), super::wall());
                }
                let destination = match (destination, router.source()) {
                    (Destination::Group, IpAddr::V4(_)) => GROUP_V4.into(),
                    (Destination::Group, IpAddr::V6(_)) => GROUP_V6.into(),
                    (Destination::Peer(to) | Destination::Routed(to), _) => to,
                };
                let source = router.source();
                will.packets.push(WillPacket { interface, source, destination, message });
            }
            let Some(Station { ground, addresses, .. }) = self.stations.get(id) else {
                continue;
            };
            let placed = |address: &VirtualAddress| (ground.index_of(*address), *address);
            will.addresses.extend(addresses.iter().map(placed));
            will.linger = will.linger.max(linger(router));
        }
        will
    }
}

/// As long as a router that leaves in order waits for a successor.
fn linger(router: &Router) -> Duration {
    let interval = router.config().advert_interval();
    (interval + interval / 2).min(MAX_LINGER)
}
