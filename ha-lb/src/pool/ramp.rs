//! Slow start: an endpoint that comes back takes up work little by little.
//!
//! # Source
//!
//! HAProxy's `slowstart` (linear, over a time) and Envoy's slow start mode (`slow_start_window`,
//! `aggression`, `min_weight_percent`): the part of its share is
//! `max(least, (elapsed / window) ^ (1 / aggression))`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_core::id::EndpointName;
use ha_core::time::Instant;

use crate::endpoint::Weight;
use crate::snapshot::Members;
use crate::state::{EndpointState, Share, ShareSource};

/// How often the part is raised during a slow start, at most.
const STEPS: u32 = 50;

/// How an endpoint that comes back takes up work.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::pool::SlowStart;
/// use ha_lb::state::Share;
///
/// let slow_start = SlowStart::new(Duration::from_secs(30)).with_least(Share::of_percent(10));
/// assert_eq!(slow_start.share_after(Duration::ZERO), Share::of_percent(10));
/// assert_eq!(slow_start.share_after(Duration::from_secs(15)), Share::of_percent(50));
/// assert_eq!(slow_start.share_after(Duration::from_secs(30)), Share::WHOLE);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    window: Duration,
    aggression: f32,
    least: Share,
}

impl SlowStart {
    /// A linear slow start over `window` (HAProxy's `slowstart`), from a tenth of the share on. 0 is
    /// none.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self { window, aggression: 1.0, least: Share::of_percent(10) }
    }

    /// Sets how the part grows: above 1 faster at first, below 1 slower. Default: 1, linear; what is
    /// not above 0 counts as 1.
    #[must_use]
    pub fn with_aggression(mut self, aggression: f32) -> Self {
        self.aggression = if aggression > 0.0 { aggression } else { 1.0 };
        self
    }

    /// Sets the part that it begins with. Default: a tenth.
    #[must_use]
    pub const fn with_least(mut self, least: Share) -> Self {
        self.least = least;
        self
    }

    /// The part of its share that an endpoint takes at this time after it came back.
    #[must_use]
    pub fn share_after(&self, elapsed: Duration) -> Share {
        if elapsed >= self.window {
            return Share::WHOLE;
        }
        let part = elapsed.as_secs_f32() / self.window.as_secs_f32();
        let part = part.powf(1.0 / self.aggression).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 256"
        )]
        let parts = (part * 256.0) as u16;
        Share::of_parts(parts).max(self.least)
    }

    fn step(&self) -> Duration {
        (self.window / STEPS).max(Duration::from_millis(20))
    }
}

/// When a driver is to move a pool's slow starts on: everyone who brings endpoints back must.
#[cfg(feature = "tokio")]
#[derive(Debug, Default)]
pub(crate) struct SlowStarts(Option<Instant>);

#[cfg(feature = "tokio")]
impl SlowStarts {
    /// When [`ring`](Self::ring) is due.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.0
    }

    /// The pool has changed: a slow start may have begun.
    pub(crate) fn follow(&mut self, pool: &super::Pool, now: Instant) {
        if self.0.is_none() {
            self.0 = pool.advance(now);
        }
    }

    /// Moves them on, if it is time.
    pub(crate) fn ring(&mut self, pool: &super::Pool, now: Instant) {
        if self.0.is_some_and(|at| at <= now) {
            self.0 = pool.advance(now);
        }
    }
}

/// Which endpoints take a part of their share only, and why.
#[derive(Debug, Default)]
pub(super) struct Ramps {
    /// What was set from outside and by whom, where it is not the whole.
    targets: BTreeMap<EndpointName, BTreeMap<ShareSource, Share>>,
    under_way: BTreeMap<EndpointName, (Arc<EndpointState>, Instant)>,
    /// Whether any agent has ever reported: their parts depend on the weights of the list.
    has_agents: bool,
}

impl Ramps {
    /// An endpoint has come back.
    pub(super) fn begin(&mut self, state: &Arc<EndpointState>, now: Instant, how: &SlowStart) {
        self.under_way.insert(state.name().clone(), (Arc::clone(state), now));
        state.set_share(self.cap(state.name(), how.share_after(Duration::ZERO)));
    }

    /// Sets the part that an endpoint takes apart from slow starts; returns the one before.
    pub(super) fn set_target(
        &mut self,
        state: &Arc<EndpointState>,
        source: ShareSource,
        share: Share,
    ) -> Share {
        let name = state.name();
        let parts = self.targets.entry(name.clone()).or_default();
        let before =
            if share == Share::WHOLE { parts.remove(&source) } else { parts.insert(source, share) };
        if parts.is_empty() {
            self.targets.remove(name);
        }
        let share = self.cap(name, Share::WHOLE);
        // A slow start that is under way reaches it by its next steps.
        let share =
            if self.under_way.contains_key(name) { share.min(state.share()) } else { share };
        state.set_share(share);
        before.unwrap_or_default()
    }

    /// Takes over the part that an endpoint's agent wants, of this weight in the list.
    pub(super) fn set_agents_part(&mut self, state: &Arc<EndpointState>, listed: Weight) {
        self.has_agents = true;
        self.set_target(state, ShareSource::Agent, state.agent_share(listed));
    }

    /// Takes over another list: forgets endpoints that have left, and gives those that are there
    /// their parts.
    pub(super) fn follow(&mut self, members: &Members) {
        let stays = |name: &EndpointName| members.find(name).is_some();
        self.targets.retain(|name, _| stays(name));
        self.under_way.retain(|name, _| stays(name));
        if self.has_agents || !self.targets.is_empty() {
            for (endpoint, state) in members.endpoints.iter().zip(&members.states) {
                let share = state.agent_share(endpoint.weight());
                self.set_target(state, ShareSource::Agent, share);
            }
        }
    }

    /// Moves all slow starts on; tells which have moved, and returns when the next step is due.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        how: &SlowStart,
        mut moved: impl FnMut(&EndpointState),
    ) -> Option<Instant> {
        let mut under_way = std::mem::take(&mut self.under_way);
        under_way.retain(|name, (state, since)| {
            let share = how.share_after(now.since(*since));
            state.set_share(self.cap(name, share));
            moved(state);
            share < Share::WHOLE
        });
        self.under_way = under_way;
        (!self.under_way.is_empty()).then(|| now + how.step())
    }

    /// This part, of what all sources together leave of the share.
    fn cap(&self, name: &EndpointName, share: Share) -> Share {
        let parts = self.targets.get(name).into_iter().flat_map(BTreeMap::values);
        parts.fold(share, |product, part| {
            let parts = u32::from(product.parts()) * u32::from(part.parts()) / 256;
            Share::of_parts(u16::try_from(parts).unwrap_or(256))
        })
    }
}
