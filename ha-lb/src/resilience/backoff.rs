//! How long to wait before a retry: longer each time, and at random.
//!
//! # Source
//!
//! Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): without jitter, clients
//! that failed together come back together; full jitter costs the fewest calls.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::random::{SplitMix, between};

const LONGEST: Duration = Duration::from_hours(24);

/// How chance enters a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// No chance: `base × 2^n`. For tests and single clients.
    None,
    /// Anything from nothing to `base × 2^n`.
    #[default]
    Full,
    /// Half of `base × 2^n` for sure, the other half at random.
    Equal,
    /// Anything from `base` to three times the pause before.
    Decorrelated,
}

/// Pauses that grow from `base` to `cap`.
///
/// Default: base 25 ms, cap 250 ms, full jitter (Envoy's `retry_back_off`).
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::backoff::{Backoff, Jitter};
///
/// let (base, cap) = (Duration::from_millis(100), Duration::from_secs(1));
/// let pauses: Vec<_> = Backoff::new(base, cap, Jitter::None)?.pauses(0).take(5).collect();
/// assert_eq!(pauses, [100, 200, 400, 800, 1000].map(Duration::from_millis));
///
/// let seed = 4711; // of the request: another one for each
/// let mut random = Backoff::new(base, cap, Jitter::Full)?.pauses(seed);
/// assert!(random.next() <= Some(base));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: u64,
    cap: u64,
    jitter: Jitter,
}

impl Backoff {
    /// Retries without a pause: right where each goes to another endpoint.
    pub const IMMEDIATE: Self = Self { base: 0, cap: 0, jitter: Jitter::None };

    /// Pauses from `base` to `cap`.
    ///
    /// # Errors
    ///
    /// When `cap` is above 24 h or below `base`.
    pub fn new(base: Duration, cap: Duration, jitter: Jitter) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if cap > LONGEST {
            problems.add("cap", format!("{cap:?}"), "at most 24 h");
        }
        if base > cap {
            problems.add("base", format!("{base:?}"), format!("at most the cap, {cap:?}"));
        }
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        problems.into_result(Self { base: nanos(base), cap: nanos(cap), jitter })
    }

    /// The pauses of one request, without end; `seed` feeds the jitter.
    #[must_use]
    pub const fn pauses(self, seed: u64) -> Pauses {
        Pauses {
            backoff: self,
            exponential: self.base,
            last: self.base,
            random: SplitMix::new(seed),
        }
    }

    /// The longest pause.
    #[must_use]
    pub const fn cap(&self) -> Duration {
        Duration::from_nanos(self.cap)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: 25_000_000, cap: 250_000_000, jitter: Jitter::Full }
    }
}

/// The pauses before the retries of one request; never ends. See [`Backoff::pauses`].
#[derive(Debug, Clone)]
pub struct Pauses {
    backoff: Backoff,
    /// `base × 2^n`, at most the cap.
    exponential: u64,
    last: u64,
    random: SplitMix,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let Backoff { base, cap, jitter } = self.backoff;
        let exponential = self.exponential;
        self.exponential = exponential.saturating_mul(2).min(cap);
        self.last = match jitter {
            Jitter::None => exponential,
            Jitter::Full => between(0, exponential, self.random.take()),
            Jitter::Equal => between(exponential / 2, exponential, self.random.take()),
            Jitter::Decorrelated => {
                between(base, self.last.saturating_mul(3).min(cap), self.random.take())
            }
        };
        Some(Duration::from_nanos(self.last))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jitter() -> impl Strategy<Value = Jitter> {
        prop::sample::select(vec![Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated])
    }

    proptest! {
        #[test]
        fn pauses_keep_their_bounds(
            jitter in jitter(),
            seed: u64,
            base in 0u64..10_000_000_000,
            extra in 0u64..80_000_000_000,
        ) {
            let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(base + extra));
            let backoff = Backoff::new(base, cap, jitter).expect("in range");
            let mut exponential = base;
            let mut last = base;
            for pause in backoff.pauses(seed).take(80) {
                let (least, most) = match jitter {
                    Jitter::None => (exponential, exponential),
                    Jitter::Full => (Duration::ZERO, exponential),
                    Jitter::Equal => (exponential / 2, exponential),
                    Jitter::Decorrelated => (base, (last * 3).min(cap)),
                };
                prop_assert!(pause >= least && pause <= most, "{pause:?} of {least:?} to {most:?}");
                exponential = (exponential * 2).min(cap);
                last = pause;
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_pauses_and_another_one_others() {
        let pauses = |seed| Backoff::default().pauses(seed).take(5).collect::<Vec<_>>();
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }

    #[test]
    fn full_jitter_uses_the_whole_range() {
        let base = Duration::from_millis(100);
        let backoff = Backoff::new(base, base, Jitter::Full).expect("in range");
        let mean = backoff.pauses(3).take(1000).sum::<Duration>() / 1000;
        assert!((45..55).contains(&mean.as_millis()), "{mean:?}");
    }

    #[test]
    fn wrong_bounds_are_named() {
        let error = Backoff::new(Duration::MAX, Duration::from_hours(25), Jitter::Full)
            .expect_err("both are wrong");
        assert_eq!(error.problems().len(), 2);
    }
}
