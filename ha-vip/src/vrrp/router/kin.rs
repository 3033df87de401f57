//! What a virtual router knows of its kin: who would be the heir, and who gets beats.

use std::net::IpAddr;
use std::time::Duration;

use ha_core::time::Instant;

use crate::vrrp::config::{Kin, RouterConfig};
use crate::vrrp::wire::extension::Offer;

/// How long an offer holds at least, and how often it is repeated.
const HOLD: Duration = Duration::from_secs(3);
const REPEAT: Duration = Duration::from_secs(1);

/// A backup router of our own kind that has said it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Offered {
    kin: Kin,
    priority: u8,
    min_rx: Duration,
    until: Instant,
}

/// The offers of kin, and this router's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KinTable {
    offers: Vec<Offered>,
    /// When the next offer may go to the active router, and to which one the last went.
    offered: Option<(IpAddr, Instant)>,
    sequence: u32,
}

impl KinTable {
    /// Takes in an offer of `from`, if it is kin.
    pub(super) fn take(
        &mut self,
        from: IpAddr,
        offer: &Offer,
        config: &RouterConfig,
        now: Instant,
    ) {
        let Some(kin) = config.kin().iter().find(|kin| kin.address == from) else {
            return;
        };
        self.offers.retain(|offered| offered.kin.address != from && offered.until > now);
        if offer.priority > 0 && self.offers.len() < RouterConfig::MAX_KIN {
            self.offers.push(Offered {
                kin: *kin,
                priority: offer.priority,
                min_rx: offer.min_rx,
                until: now + offer.hold.min(10 * HOLD),
            });
        }
    }

    /// The backup that takes over when this router says goodbye: the highest priority, then the
    /// highest address, as among all routers.
    pub(super) fn heir(&self, now: Instant) -> Option<Kin> {
        let live = self.offers.iter().filter(|offered| offered.until > now);
        live.max_by_key(|offered| (offered.priority, offered.kin.address)).map(|heir| heir.kin)
    }

    /// Who is to be sent beats, and how far apart: as the slowest of them can take them.
    pub(super) fn beats(&self, own: Duration, now: Instant) -> Option<(Vec<IpAddr>, Duration)> {
        let mut interval = own;
        let mut to = Vec::new();
        for offered in &self.offers {
            if offered.until > now && offered.min_rx > Duration::ZERO {
                interval = interval.max(offered.min_rx);
                to.push(offered.kin.address);
            }
        }
        (!to.is_empty()).then_some((to, interval))
    }

    /// The number of the next beat.
    pub(super) const fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// The offer that is due to the active router `to`, if it is kin.
    pub(super) fn offer_due(
        &mut self,
        to: IpAddr,
        config: &RouterConfig,
        active_interval: Duration,
        now: Instant,
    ) -> Option<(Duration, Duration)> {
        let due = self.offered.is_none_or(|(last, next)| last != to || next <= now);
        if !due || !config.kin().iter().any(|kin| kin.address == to) {
            return None;
        }
        self.offered = Some((to, now + REPEAT));
        let hold = HOLD.max(active_interval * 7 / 2);
        Some((config.beat_interval().unwrap_or_default(), hold))
    }

    /// Forgets to whom it has offered itself: the state changed.
    pub(super) fn forget_offered(&mut self) {
        self.offered = None;
    }

    /// The kin with this address, by either way.
    pub(super) fn find(config: &RouterConfig, from: IpAddr) -> Option<Kin> {
        let is = |kin: &&Kin| kin.address == from || kin.second == Some(from);
        config.kin().iter().find(is).copied()
    }
}
