//! The state of a breaker, packed into one word.
//!
//! ```text
//!  63 62 61      56 55                     16 15      8 7       0
//! ┌─────┬──────────┬─────────────────────────┬─────────┬─────────┐
//! │phase│ openings │ at, in ms since origin  │ admitted│succeeded│
//! └─────┴──────────┴─────────────────────────┴─────────┴─────────┘
//! ```
//!
//! `at` is when a closed breaker closed, when an open one may be tried, when a half-open one's
//! trials are overdue. Phase and `at` together name one period: a period of a phase always begins
//! at a later `at` than the last of that phase.

use std::fmt;
use std::time::Duration;

use ha_core::time::Instant;

const TIMES: u64 = (1 << 40) - 1;

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "these are the three states of the pattern")]
pub enum Phase {
    /// It admits all.
    Closed,
    /// It admits none.
    Open,
    /// It admits trials.
    HalfOpen,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// Milliseconds since the clock's origin; those of 34 years fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Millis(u64);

impl Millis {
    /// The last whole millisecond.
    pub(super) fn floor(now: Instant) -> Self {
        Self((now.as_nanos() / 1_000_000).min(TIMES))
    }

    /// The next whole millisecond `duration` after `now`.
    pub(super) fn after(now: Instant, duration: Duration) -> Self {
        Self((now + duration).as_nanos().div_ceil(1_000_000).min(TIMES))
    }

    pub(super) const fn instant(self) -> Instant {
        Instant::from_millis(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// How often it opened in a row, at most 63.
    pub(super) openings: u8,
    pub(super) at: Millis,
    pub(super) admitted: u8,
    pub(super) succeeded: u8,
}

/// One period of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(Phase, Millis);

impl Period {
    pub(super) const fn phase(self) -> Phase {
        self.0
    }
}

impl State {
    pub(super) const fn new(phase: Phase, openings: u8, at: Millis) -> Self {
        Self { phase, openings, at, admitted: 0, succeeded: 0 }
    }

    pub(super) const fn period(self) -> Period {
        Period(self.phase, self.at)
    }

    pub(super) fn pack(self) -> u64 {
        let phase: u64 = match self.phase {
            Phase::Closed => 0,
            Phase::Open => 1,
            Phase::HalfOpen => 2,
        };
        (phase << 62)
            | (u64::from(self.openings.min(63)) << 56)
            | (self.at.0 << 16)
            | (u64::from(self.admitted) << 8)
            | u64::from(self.succeeded)
    }

    pub(super) fn unpack(word: u64) -> Self {
        let byte = |shift: u32, mask: u64| u8::try_from((word >> shift) & mask).unwrap_or(u8::MAX);
        let phase = match word >> 62 {
            0 => Phase::Closed,
            1 => Phase::Open,
            _ => Phase::HalfOpen,
        };
        Self {
            phase,
            openings: byte(56, 63),
            at: Millis((word >> 16) & TIMES),
            admitted: byte(8, 255),
            succeeded: byte(0, 255),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn states_fit_into_a_word(
            phase in prop::sample::select(vec![Phase::Closed, Phase::Open, Phase::HalfOpen]),
            openings in 0u8..64, now: u64, admitted: u8, succeeded: u8,
        ) {
            let at = Millis::floor(Instant::from_nanos(now));
            let state = State { admitted, succeeded, ..State::new(phase, openings, at) };
            prop_assert_eq!(State::unpack(state.pack()), state);
        }
    }
}
