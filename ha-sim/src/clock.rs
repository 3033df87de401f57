//! A node's own clock: an offset and a rate error against the world's time.

use std::time::Duration;

use ha_core::time::Instant;

/// What a node's clock shows at each moment of the world.
///
/// A quartz clock is wrong by up to some 100 ppm, a virtual machine's by more: two nodes never
/// agree how long a second is, and no protocol may need them to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeClock {
    /// Since when, in the world's time, the rate is what it is.
    since: Instant,
    /// What the clock showed then.
    shown: Instant,
    /// Nanoseconds gained in a second of the world times 1,000: parts per million.
    rate_ppm: i32,
}

/// The largest rate error: a clock at half or one and a half speed.
const MAX_PPM: i32 = 500_000;
const MILLION: i128 = 1_000_000;

impl NodeClock {
    pub(crate) fn new(offset: Duration, rate_ppm: i32) -> Self {
        let rate_ppm = rate_ppm.clamp(-MAX_PPM, MAX_PPM);
        Self { since: Instant::ZERO, shown: Instant::ZERO + offset, rate_ppm }
    }

    /// What the clock shows at the world's `now`.
    pub(crate) fn local(&self, now: Instant) -> Instant {
        let elapsed = nanos(now.since(self.since));
        let shown = elapsed * (MILLION + i128::from(self.rate_ppm)) / MILLION;
        self.shown + Duration::from_nanos(u64::try_from(shown).unwrap_or(u64::MAX))
    }

    /// The first moment of the world at which the clock shows `local` or more.
    pub(crate) fn world(&self, local: Instant) -> Instant {
        let shown = nanos(local.since(self.shown));
        let rate = MILLION + i128::from(self.rate_ppm);
        let elapsed = (shown * MILLION + rate - 1) / rate;
        self.since + Duration::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Goes on from `now` at another rate.
    pub(crate) fn set_rate(&mut self, now: Instant, rate_ppm: i32) {
        let shown = self.local(now);
        *self = Self { since: now, shown, rate_ppm: rate_ppm.clamp(-MAX_PPM, MAX_PPM) };
    }

    /// Shows `by` more from `now` on.
    pub(crate) fn jump(&mut self, now: Instant, by: Duration) {
        let shown = self.local(now) + by;
        *self = Self { since: now, shown, ..*self };
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::from(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_deadline_is_met_at_the_first_nanosecond_that_shows_it(
            offset in 0u64..1 << 40, ppm in -MAX_PPM..=MAX_PPM, local in 0u64..1 << 50,
            change in prop::option::of((0u64..1 << 45, -200i32..200)),
        ) {
            let mut clock = NodeClock::new(Duration::from_nanos(offset), ppm);
            if let Some((at, ppm)) = change {
                clock.set_rate(Instant::from_nanos(at), ppm);
            }
            let local = Instant::from_nanos(local).max(clock.shown + Duration::from_nanos(1));
            let at = clock.world(local);
            prop_assert!(clock.local(at) >= local);
            prop_assert!(clock.local(at - Duration::from_nanos(1)) < local);
        }

        #[test]
        fn a_change_of_rate_moves_no_hand(at in 0u64..1 << 50, ppm in -MAX_PPM..MAX_PPM) {
            let mut clock = NodeClock::new(Duration::ZERO, 50);
            let now = Instant::from_nanos(at);
            let before = clock.local(now);
            clock.set_rate(now, ppm);
            prop_assert_eq!(clock.local(now), before);
            clock.jump(now, Duration::from_secs(3));
            prop_assert_eq!(clock.local(now), before + Duration::from_secs(3));
        }
    }
}
