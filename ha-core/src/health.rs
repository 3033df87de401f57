//! Health, and the hysteresis that keeps one bad check from taking a service out.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// Whether a thing can do its work, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "a check has passed, failed, or has not been made")]
pub enum Health {
    /// Not checked yet.
    Unknown,
    /// Enough checks in a row passed.
    Healthy,
    /// Enough checks in a row failed.
    Unhealthy,
}

impl Health {
    /// Whether work may be given to it: `Unknown` is not enough.
    #[must_use]
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// How many checks in a row turn the state (HAProxy's and keepalived's `rise` and `fall`).
///
/// Default: rise 2, fall 3 (HAProxy's). A larger `fall` bears more lost checks and takes longer to
/// see a failure: `fall` × interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "the two thresholds are all there is to it")]
pub struct RiseFall {
    /// Passed checks in a row that make an unhealthy thing healthy; at least 1.
    pub rise: NonZeroU32,
    /// Failed checks in a row that make a healthy thing unhealthy; at least 1.
    pub fall: NonZeroU32,
}

impl RiseFall {
    /// Every check counts at once.
    pub const IMMEDIATE: Self = Self { rise: NonZeroU32::MIN, fall: NonZeroU32::MIN };

    /// Thresholds from plain numbers; zero counts as 1.
    #[must_use]
    pub const fn new(rise: u32, fall: u32) -> Self {
        Self { rise: at_least_one(rise), fall: at_least_one(fall) }
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for RiseFall {
    fn default() -> Self {
        Self::new(2, 3)
    }
}

/// Turns single checks into a [`Health`] that does not flap.
///
/// From [`Health::Unknown`] the first check decides at once, so that a start is not slowed down by
/// `rise` (HAProxy's `init-state`, "fully up" and "down" are the other two starts).
///
/// ```
/// use ha_core::health::{Health, Hysteresis, RiseFall};
///
/// let mut health = Hysteresis::new(Health::Unknown, RiseFall::new(2, 3));
/// assert_eq!(health.observe(true), Some(Health::Healthy)); // the first check decides
/// assert_eq!(health.observe(false), None);
/// assert_eq!(health.observe(false), None);
/// assert_eq!(health.observe(false), Some(Health::Unhealthy)); // the third in a row
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hysteresis {
    health: Health,
    thresholds: RiseFall,
    /// Checks in a row that speak against `health`.
    against: u32,
}

impl Hysteresis {
    /// Starts at `health`.
    #[must_use]
    pub const fn new(health: Health, thresholds: RiseFall) -> Self {
        Self { health, thresholds, against: 0 }
    }

    /// Takes the result of one check; `Some` is a change, to the state it names.
    pub fn observe(&mut self, passed: bool) -> Option<Health> {
        let (threshold, opposite) = match (self.health, passed) {
            (Health::Healthy, true) | (Health::Unhealthy, false) => {
                self.against = 0;
                return None;
            }
            (Health::Unknown, true) => (NonZeroU32::MIN, Health::Healthy),
            (Health::Unknown, false) => (NonZeroU32::MIN, Health::Unhealthy),
            (Health::Healthy, false) => (self.thresholds.fall, Health::Unhealthy),
            (Health::Unhealthy, true) => (self.thresholds.rise, Health::Healthy),
        };
        self.against += 1;
        if self.against < threshold.get() {
            return None;
        }
        self.force(opposite);
        Some(opposite)
    }

    /// Sets the state without a check, as an operator or a passive check does.
    pub const fn force(&mut self, health: Health) {
        self.health = health;
        self.against = 0;
    }

    /// The state.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Whether the last check spoke against the state: check sooner then (HAProxy's `fastinter`).
    #[must_use]
    pub const fn is_wavering(&self) -> bool {
        self.against > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_a_full_run_of_opposite_checks_turns_the_state(
            rise in 1u32..6, fall in 1u32..6, checks in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut health = Hysteresis::new(Health::Healthy, RiseFall::new(rise, fall));
            let (mut expected, mut run) = (true, 0);
            for passed in checks {
                run = if passed == expected { 0 } else { run + 1 };
                let turns = run == if expected { fall } else { rise };
                if turns {
                    (expected, run) = (passed, 0);
                }
                prop_assert_eq!(health.observe(passed).is_some(), turns);
                prop_assert_eq!(health.health().is_healthy(), expected);
            }
        }
    }
}
