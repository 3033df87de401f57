//! Errors in a row, counted without a lock.
//!
//! Good work costs a look at one word; only errors count, and only a run of errors that reaches a
//! threshold wakes anybody.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::Outcome;

/// How many errors in a row an endpoint has made, by kind; each stops at 65,535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Runs {
    /// Of any kind, since work was last done without an error.
    pub any: u16,
    /// Answers that were errors (HTTP 5xx), since the last good answer.
    pub answers: u16,
    /// Answers that were errors of a gateway (HTTP 502, 503, 504), since the last other answer.
    pub gateway: u16,
    /// Connections that could not be made or broke, since the last answer of whatever kind.
    pub local: u16,
}

impl Runs {
    const fn pack(self) -> u64 {
        (self.any as u64) << 48
            | (self.answers as u64) << 32
            | (self.gateway as u64) << 16
            | self.local as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "the four quarters of the word")]
    const fn unpack(word: u64) -> Self {
        Self {
            any: (word >> 48) as u16,
            answers: (word >> 32) as u16,
            gateway: (word >> 16) as u16,
            local: word as u16,
        }
    }

    /// With one more outcome.
    const fn after(self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self { any: 0, answers: 0, gateway: 0, local: 0 },
            Outcome::Abandoned => self,
            Outcome::ConnectFailed | Outcome::Failed => Self {
                any: self.any.saturating_add(1),
                local: self.local.saturating_add(1),
                ..self
            },
            Outcome::ErrorAnswer => Self {
                any: self.any.saturating_add(1),
                answers: self.answers.saturating_add(1),
                gateway: 0,
                local: 0,
            },
            Outcome::GatewayError => Self {
                any: self.any.saturating_add(1),
                answers: self.answers.saturating_add(1),
                gateway: self.gateway.saturating_add(1),
                local: 0,
            },
        }
    }
}

/// The runs of one endpoint, in one word.
#[derive(Debug, Default)]
pub(super) struct RunCounter(AtomicU64);

impl RunCounter {
    /// Counts an outcome; returns the runs if it was an error.
    pub(super) fn note(&self, outcome: Outcome) -> Option<Runs> {
        match outcome {
            Outcome::Abandoned => None,
            Outcome::Completed => {
                if self.0.load(Ordering::Relaxed) != 0 {
                    self.0.store(0, Ordering::Relaxed);
                }
                None
            }
            Outcome::ConnectFailed
            | Outcome::ErrorAnswer
            | Outcome::Failed
            | Outcome::GatewayError => {
                let next = |word| Some(Runs::unpack(word).after(outcome).pack());
                // It never gives up: `next` always has an answer.
                let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
                before.ok().map(|word| Runs::unpack(word).after(outcome))
            }
        }
    }

    pub(super) fn runs(&self) -> Runs {
        Runs::unpack(self.0.load(Ordering::Relaxed))
    }
}

/// Who is told of every error of an endpoint, by the thread that saw it: takes no lock.
pub(crate) trait Sentinel: fmt::Debug + Send + Sync {
    /// An error has happened, and these are the runs with it.
    fn failed(&self, runs: Runs);
}

/// Wakes a driver whenever a run of errors has grown by its threshold.
pub(crate) struct Tripwire {
    thresholds: Runs,
    /// Which thresholds were reached since the driver looked, as bits.
    tripped: AtomicU8,
    wake: Arc<Wake>,
}

/// What wakes a driver; takes no lock.
pub(crate) type Wake = dyn Fn() + Send + Sync;

impl fmt::Debug for Tripwire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (thresholds, tripped) = (&self.thresholds, &self.tripped);
        f.debug_struct("Tripwire")
            .field("thresholds", thresholds)
            .field("tripped", tripped)
            .finish_non_exhaustive()
    }
}

/// A kind of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunKind {
    Any = 1,
    Answers = 2,
    Gateway = 4,
    Local = 8,
}

/// Which thresholds were reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tripped(u8);

impl Tripped {
    /// Whether that of this kind was.
    pub(crate) const fn has(self, kind: RunKind) -> bool {
        self.0 & kind as u8 != 0
    }

    /// Whether any was.
    #[cfg(feature = "tokio")]
    pub(crate) const fn is_any(self) -> bool {
        self.0 != 0
    }
}

impl Tripwire {
    /// Thresholds of 0 wake nobody.
    pub(crate) const fn new(thresholds: Runs, wake: Arc<Wake>) -> Self {
        Self { thresholds, tripped: AtomicU8::new(0), wake }
    }

    /// What was reached since the last call.
    pub(crate) fn take(&self) -> Tripped {
        match self.tripped.load(Ordering::Relaxed) {
            0 => Tripped::default(),
            _ => Tripped(self.tripped.swap(0, Ordering::Relaxed)),
        }
    }
}

impl Sentinel for Arc<Tripwire> {
    fn failed(&self, runs: Runs) {
        let reached = |run: u16, threshold: u16, kind: RunKind| {
            let whole = run.checked_rem(threshold).is_some_and(|rest| rest == 0);
            if run != 0 && whole { kind as u8 } else { 0 }
        };
        let limits = &self.thresholds;
        let bits = reached(runs.any, limits.any, RunKind::Any)
            | reached(runs.answers, limits.answers, RunKind::Answers)
            | reached(runs.gateway, limits.gateway, RunKind::Gateway)
            | reached(runs.local, limits.local, RunKind::Local);
        if bits != 0 {
            self.tripped.fetch_or(bits, Ordering::Relaxed);
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Outcome::{Abandoned, Completed, ConnectFailed, ErrorAnswer, Failed, GatewayError};

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop::sample::select(vec![
            Completed,
            ConnectFailed,
            ErrorAnswer,
            Failed,
            GatewayError,
            Abandoned,
        ])
    }

    proptest! {
        #[test]
        fn runs_are_what_a_look_back_at_the_outcomes_gives(
            outcomes in prop::collection::vec(outcome(), 0..60),
        ) {
            let counter = RunCounter::default();
            for outcome in &outcomes {
                counter.note(*outcome);
            }
            let run = |ends: &[Outcome], counts: &[Outcome]| {
                let run = outcomes.iter().rev().take_while(|outcome| !ends.contains(outcome));
                run.filter(|outcome| counts.contains(outcome)).count()
            };
            let answers = [ErrorAnswer, GatewayError];
            let local = [ConnectFailed, Failed];
            let errors = [ErrorAnswer, GatewayError, ConnectFailed, Failed];
            let runs = counter.runs();
            prop_assert_eq!(usize::from(runs.any), run(&[Completed], &errors));
            prop_assert_eq!(usize::from(runs.answers), run(&[Completed], &answers));
            let gateway = run(&[Completed, ErrorAnswer], &[GatewayError]);
            prop_assert_eq!(usize::from(runs.gateway), gateway);
            let ends = [Completed, ErrorAnswer, GatewayError];
            prop_assert_eq!(usize::from(runs.local), run(&ends, &local));
        }
    }

    #[test]
    fn a_run_stops_at_its_end_instead_of_spilling_over() {
        let counter = RunCounter::default();
        for _ in 0..70_000 {
            counter.note(Failed);
        }
        let runs = counter.runs();
        assert_eq!((runs.any, runs.local, runs.answers), (u16::MAX, u16::MAX, 0));
    }
}
