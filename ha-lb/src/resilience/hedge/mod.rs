//! A second request where the first one takes unusually long; the first answer wins.
//!
//! ```text
//!  first request  ├───────────────────────────────────── ✗ cancelled
//!                 │◀─ hedge_after ─▶│
//!  second request                   ├──────────▶ answer
//!                                   └ only if the budget allows it
//! ```
//!
//! # Source
//!
//! Dean and Barroso, "The Tail at Scale" (2013): a second request after the 95th percentile costs
//! some 5 % more load and takes most of the tail off. Finagle's `BackupRequestFilter`, tower's
//! `hedge`, gRPC's hedging (gRFC A6). Only for requests that may be carried out twice.

#[cfg(feature = "tokio")]
mod driver;

use std::fmt;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

#[cfg(feature = "tokio")]
pub use self::driver::hedged;
use super::atomics::{AtomicU64, Ordering};
use super::budget::{Balance, Budget, BudgetBuilder};
use super::quantile::Latencies;

/// How long the delay that was worked out is used before it is worked out anew.
const REFRESH: Duration = Duration::from_millis(100);

/// When a further request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delay {
    /// After a fixed time, 1 ms to 24 h.
    Fixed(Duration),
    /// After the time in which so many of a thousand recent calls were answered, 1 to 999.
    Quantile(u16),
}

/// Makes a [`Hedge`]; see there.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct HedgeBuilder {
    delay: Delay,
    min_delay: Duration,
    max_delay: Duration,
    min_samples: u32,
    half_life: Duration,
    tries: u32,
    budget: BudgetBuilder,
}

impl HedgeBuilder {
    /// Sets the bounds of a delay that is a quantile.
    ///
    /// Default: 1 ms to 1 min. The lower one keeps requests that take no time at all from being
    /// doubled.
    pub const fn bounds(mut self, min: Duration, max: Duration) -> Self {
        self.min_delay = min;
        self.max_delay = max;
        self
    }

    /// Sets how many calls a quantile needs; there is no hedging before.
    ///
    /// At least 1; default 100.
    pub const fn min_samples(mut self, calls: u32) -> Self {
        self.min_samples = calls;
        self
    }

    /// Sets after which time a call counts half for the quantile.
    ///
    /// 100 ms to 24 h; default 30 s.
    pub const fn half_life(mut self, half_life: Duration) -> Self {
        self.half_life = half_life;
        self
    }

    /// Sets how many requests there are at most, the first one included.
    ///
    /// 2 to 5; default 2 (gRPC's `maxAttempts`, up to 5).
    pub const fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }

    /// Sets what further requests may add to the load.
    ///
    /// Default: 5 % of the calls within 10 s, and one a second in any case.
    pub const fn budget(mut self, budget: BudgetBuilder) -> Self {
        self.budget = budget;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        let mut problems = Problems::new();
        let range = Duration::from_millis(1)..=Duration::from_hours(24);
        let allowed = "1 ms to 24 h";
        match self.delay {
            Delay::Fixed(delay) if !range.contains(&delay) => {
                problems.add("delay", format!("{delay:?}"), allowed);
            }
            Delay::Quantile(per_mille) if !(1..=999).contains(&per_mille) => {
                problems.add("delay", format!("{per_mille} of 1000"), "1 to 999 of 1000");
            }
            Delay::Fixed(_) | Delay::Quantile(_) => {}
        }
        if self.max_delay < self.min_delay || self.max_delay > *range.end() {
            let bounds = format!("{:?} to {:?}", self.min_delay, self.max_delay);
            problems.add("bounds", bounds, "the first at most the second, up to 24 h");
        }
        if self.min_samples == 0 {
            problems.add("min_samples", 0, "at least 1");
        }
        if !(2..=5).contains(&self.tries) {
            problems.add("tries", self.tries, "2 to 5");
        }
        let latencies = Latencies::new(self.half_life);
        let budget = self.budget.clone().build().map_err(|error| error.below("budget"));
        for error in [latencies.as_ref().err(), budget.as_ref().err()].into_iter().flatten() {
            problems.absorb(error.clone());
        }
        problems.into_result(())?;
        let (latencies, budget) = (latencies?, budget?);
        Ok(Hedge {
            delay: AtomicU64::new(match self.delay {
                Delay::Fixed(delay) => nanos(delay),
                Delay::Quantile(_) => UNKNOWN,
            }),
            refresh_at: AtomicU64::new(0),
            settings: self,
            budget,
            latencies,
        })
    }
}

/// No delay is known yet.
const UNKNOWN: u64 = u64::MAX;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(UNKNOWN - 1)
}

/// Decides when a further request is sent, and whether; share it by reference or `Arc`.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::hedge::{Delay, Hedge};
///
/// let hedge = Hedge::builder(Delay::Quantile(950)).min_samples(20).build()?;
/// let now = Instant::from_secs(100);
/// assert_eq!(hedge.hedge_after(), None); // nothing is known yet
/// for millis in 1..=100 {
///     hedge.start(now);
///     hedge.record(now + Duration::from_millis(millis), Duration::from_millis(millis));
/// }
/// # hedge.record(now + Duration::from_secs(1), Duration::from_millis(50));
/// let delay = hedge.hedge_after().expect("enough is known");
/// assert!((90..100).contains(&delay.as_millis()));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Hedge {
    settings: HedgeBuilder,
    budget: Budget,
    latencies: Latencies,
    /// In nanoseconds.
    delay: AtomicU64,
    /// When the delay is worked out anew, in nanoseconds.
    refresh_at: AtomicU64,
}

impl Hedge {
    /// Starts with two requests, and a budget of 5 %.
    pub const fn builder(delay: Delay) -> HedgeBuilder {
        HedgeBuilder {
            delay,
            min_delay: Duration::from_millis(1),
            max_delay: Duration::from_mins(1),
            min_samples: 100,
            half_life: Duration::from_secs(30),
            tries: 2,
            budget: Budget::builder().percent(5).min_per_second(1),
        }
    }

    /// Counts a call, which pays for further requests; call it once a call, at its start.
    pub fn start(&self, now: Instant) {
        self.budget.deposit(now);
    }

    /// After how long without an answer a further request helps; `None` while too little is known.
    ///
    /// One atomic read.
    #[must_use]
    pub fn hedge_after(&self) -> Option<Duration> {
        let delay = self.delay.load(Ordering::Relaxed);
        (delay != UNKNOWN).then(|| Duration::from_nanos(delay))
    }

    /// Asks for a further request, whose delay is over; it counts as sent if the answer is yes.
    #[must_use = "the request counts as sent if this is true"]
    pub fn try_hedge(&self, now: Instant) -> bool {
        self.budget.try_withdraw(now)
    }

    /// Takes note of the time that a request took, or had taken when it was cancelled.
    ///
    /// Leave out further requests that were cancelled: they would have taken longer.
    pub fn record(&self, now: Instant, latency: Duration) {
        let Delay::Quantile(per_mille) = self.settings.delay else { return };
        self.latencies.record(now, latency);
        let refresh_at = self.refresh_at.load(Ordering::Relaxed);
        let next = nanos((now + REFRESH).since(Instant::ZERO));
        let is_due = refresh_at <= now.as_nanos();
        let order = Ordering::Relaxed;
        if is_due && self.refresh_at.compare_exchange(refresh_at, next, order, order).is_ok() {
            self.refresh(per_mille);
        }
    }

    /// How many requests there are at most, the first one included.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.settings.tries
    }

    /// What was decided of late, and why; for people.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        Status {
            settings: self.settings.delay,
            delay: self.hedge_after(),
            samples: self.latencies.count(),
            min_samples: self.settings.min_samples,
            balance: self.budget.balance(now),
        }
    }

    fn refresh(&self, per_mille: u16) {
        let known = self.latencies.count() >= u64::from(self.settings.min_samples);
        let quantile = self.latencies.quantile(per_mille).filter(|_| known);
        let (min, max) = (self.settings.min_delay, self.settings.max_delay);
        let delay = quantile.map_or(UNKNOWN, |quantile| nanos(quantile.clamp(min, max)));
        self.delay.store(delay, Ordering::Relaxed);
    }
}

/// What a [`Hedge`] decides, and why; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How the delay is found.
    pub settings: Delay,
    /// The delay.
    pub delay: Option<Duration>,
    /// How many calls it is found from.
    pub samples: u64,
    /// How many are needed.
    pub min_samples: u32,
    /// What further requests may add to the load.
    pub balance: Balance,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.delay, self.settings) {
            (Some(delay), Delay::Fixed(_)) => write!(f, "after {delay:?}")?,
            (Some(delay), Delay::Quantile(per_mille)) => write!(
                f,
                "after {delay:?}, in which {per_mille} of 1000 calls are answered ({} calls)",
                self.samples
            )?,
            (None, _) => {
                write!(f, "not yet: {} of {} calls are known", self.samples, self.min_samples)?;
            }
        }
        write!(f, "; {}", self.balance)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Instant = Instant::from_secs(100);

    fn quantile(per_mille: u16) -> HedgeBuilder {
        Hedge::builder(Delay::Quantile(per_mille)).min_samples(10)
    }

    #[test]
    fn the_delay_follows_the_latencies_within_its_bounds() {
        let (min, max) = (Duration::from_millis(5), Duration::from_millis(50));
        let hedge = quantile(900)
            .bounds(min, max)
            .half_life(Duration::from_secs(1))
            .build()
            .expect("in range");
        let mut now = NOW;
        let mut delay_of = |millis| {
            for _ in 0..200 {
                now += Duration::from_millis(20);
                hedge.record(now, Duration::from_millis(millis));
            }
            hedge.hedge_after().expect("enough is known")
        };
        assert_eq!(delay_of(1), min);
        let middle = delay_of(20);
        assert!((20..22).contains(&middle.as_millis()), "{middle:?}");
        assert_eq!(delay_of(1_000), max);
        assert_eq!(delay_of(1), min);
    }

    #[test]
    fn nothing_is_hedged_before_enough_is_known() {
        let hedge = quantile(500).build().expect("in range");
        for call in 0..9 {
            hedge.record(NOW + Duration::from_secs(call), Duration::from_millis(3));
        }
        assert_eq!(hedge.hedge_after(), None);
        let line = hedge.status(NOW).to_string();
        assert!(line.starts_with("not yet: 9 of 10 calls are known; 0 of 10 retries"), "{line}");
        hedge.record(NOW + Duration::from_secs(9), Duration::from_millis(3));
        assert!(hedge.hedge_after().is_some());
        let fixed = Hedge::builder(Delay::Fixed(Duration::from_millis(7))).build().expect("ok");
        assert_eq!(fixed.hedge_after(), Some(Duration::from_millis(7)));
        assert!(fixed.status(NOW).to_string().starts_with("after 7ms; 0 of 10 retries taken"));
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let error = Hedge::builder(Delay::Quantile(1000))
            .bounds(Duration::from_secs(2), Duration::from_secs(1))
            .min_samples(0)
            .half_life(Duration::ZERO)
            .tries(6)
            .budget(Budget::builder().percent(9999))
            .build()
            .expect_err("all are wrong");
        let paths: Vec<_> = error.problems().iter().map(|p| p.path.as_str()).collect();
        let expected = ["delay", "bounds", "min_samples", "tries", "half_life", "budget.percent"];
        assert_eq!(paths, expected);
        assert!(Hedge::builder(Delay::Fixed(Duration::ZERO)).build().is_err());
    }

    proptest! {
        #[test]
        fn further_requests_stay_within_their_share(
            calls in prop::collection::vec((0u64..100, any::<bool>()), 0..500),
        ) {
            let share = Budget::builder().percent(10).min_per_second(0);
            let hedge = quantile(500).budget(share).build().expect("in range");
            let (mut now, mut started, mut hedged) = (NOW, 0, 0);
            for (wait, slow) in calls {
                now += Duration::from_millis(wait);
                hedge.start(now);
                started += 1;
                if slow && hedge.try_hedge(now) {
                    hedged += 1;
                }
                prop_assert!(hedged * 10 <= started);
            }
        }

        #[test]
        fn no_time_panics(
            records in prop::collection::vec((any::<u64>(), any::<Duration>()), 0..50),
        ) {
            let hedge = quantile(999).min_samples(1).build().expect("in range");
            for (now, latency) in records {
                let now = Instant::from_nanos(now);
                hedge.start(now);
                hedge.record(now, latency);
                let _granted = hedge.try_hedge(now);
                prop_assert!(hedge.hedge_after().is_none_or(|delay| delay.as_secs() <= 60));
                let _line = hedge.status(now).to_string();
            }
        }
    }
}
