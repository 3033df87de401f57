//! Rate limits: so many in a time, with bursts, in one atomic word.
//!
//! ```text
//!                     burst × interval
//!            ├──────────────────────────────┤
//!  ──────────┼───────────────┬──────────────┼──────▶ time
//!           now    theoretical arrival time         each admission moves it on by one interval;
//!                                                    it may not go beyond the burst
//! ```
//!
//! # Source
//!
//! The generic cell rate algorithm, ITU-T I.371 annex A, in its form as virtual scheduling; it
//! admits exactly what a token bucket of `burst` tokens does that is filled one token an interval
//! (nginx's `limit_req`, Envoy's `local_ratelimit`, the governor crate).

pub mod keyed;

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

use super::atomics::{AtomicU64, Ordering};

/// The longest time in which a burst may take to come back.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// How many are admitted in a time, and how many of them at once.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::rate::Quota;
///
/// let quota = Quota::new(100, Duration::from_secs(1))?.with_burst(20)?;
/// assert_eq!(quota.interval(), Duration::from_millis(10));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    interval: u64,
    burst: u32,
}

impl Quota {
    /// A quota of `permits` in every `period`, all of which may come at once.
    ///
    /// The interval between two permits is rounded up to a nanosecond, so the rate is never above
    /// what was asked for, and at most 1 % below.
    ///
    /// # Errors
    ///
    /// When `permits` is 0, the rate above 10,000,000 a second, or the period above 365 days.
    pub fn new(permits: u32, period: Duration) -> Result<Self, ConfigError> {
        let interval = period.as_nanos().div_ceil(u128::from(permits.max(1)));
        let mut problems = Problems::new();
        if permits == 0 {
            problems.add("permits", permits, "at least 1");
        }
        if u128::from(permits) * 100 > period.as_nanos() {
            let rate = format!("{permits} in {period:?}");
            problems.add("permits", rate, "at most 10000000 a second");
        }
        if period > LONGEST {
            problems.add("period", format!("{period:?}"), "at most 365 days");
        }
        let interval = u64::try_from(interval).unwrap_or(u64::MAX);
        problems.into_result(Self { interval, burst: permits })
    }

    /// Sets how many may come at once after a time without any.
    ///
    /// At least 1, and as many as come back within 365 days; default: those of one period.
    ///
    /// # Errors
    ///
    /// When it is out of range.
    pub fn with_burst(mut self, burst: u32) -> Result<Self, ConfigError> {
        let refill = u128::from(burst) * u128::from(self.interval);
        if burst == 0 || refill > LONGEST.as_nanos() {
            let most = LONGEST.as_nanos() / u128::from(self.interval.max(1));
            let most = most.min(u128::from(u32::MAX));
            return Err(ConfigError::new("burst", burst, format!("1 to {most}")));
        }
        self.burst = burst;
        Ok(self)
    }

    /// The time between two permits at the full rate.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// How many may come at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// How far ahead of now the arrival time may be.
    const fn tolerance(&self) -> u64 {
        self.interval.saturating_mul(self.burst as u64)
    }

    /// Takes `permits` at `now` from the bucket whose theoretical arrival time is `arrival`.
    fn take(&self, arrival: &AtomicU64, now: Instant, permits: u32) -> Result<(), Limited> {
        if permits > self.burst {
            return Err(Limited::Never { permits, burst: self.burst });
        }
        let cost = self.interval.saturating_mul(u64::from(permits));
        let now = now.as_nanos();
        let taken = arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |arrival| {
            let from = arrival.max(now);
            let fits = (from - now).saturating_add(cost) <= self.tolerance();
            // At the end of time nothing fits any more.
            if fits { from.checked_add(cost) } else { None }
        });
        taken.map(drop).map_err(|arrival| {
            let ahead = arrival.saturating_sub(now).saturating_add(cost);
            // Not zero at the end of time either, where it will never fit.
            let after = Duration::from_nanos(ahead.saturating_sub(self.tolerance()).max(1));
            Limited::Wait { after }
        })
    }

    /// How many permits the bucket has at `now`.
    fn left(&self, arrival: &AtomicU64, now: Instant) -> u32 {
        let ahead = arrival.load(Ordering::Relaxed).saturating_sub(now.as_nanos());
        let left = self.tolerance().saturating_sub(ahead) / self.interval.max(1);
        u32::try_from(left).unwrap_or(self.burst)
    }
}

/// A rate limit that all who share it are under; wait-free but for others who take a permit at the
/// same moment.
///
/// A `now` that goes back gives nothing: the limit only counts from where it is.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::rate::{Limited, Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::new(2, Duration::from_secs(1))?);
/// let now = Instant::from_secs(10);
/// assert!(limiter.try_acquire(now).is_ok());
/// assert!(limiter.try_acquire(now).is_ok());
/// let after = Duration::from_millis(500);
/// assert_eq!(limiter.try_acquire(now), Err(Limited::Wait { after }));
/// assert!(limiter.try_acquire(now + after).is_ok());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct RateLimiter {
    quota: Quota,
    arrival: AtomicU64,
}

impl RateLimiter {
    /// A limiter with a full burst.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        Self { quota, arrival: AtomicU64::new(0) }
    }

    /// Takes one permit, if there is one.
    ///
    /// # Errors
    ///
    /// [`Limited::Wait`] says when to come back; nothing was taken.
    pub fn try_acquire(&self, now: Instant) -> Result<(), Limited> {
        self.quota.take(&self.arrival, now, 1)
    }

    /// Takes `permits` together, or none; 0 are always there.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire); [`Limited::Never`] when they are more than a burst.
    pub fn try_acquire_many(&self, now: Instant, permits: u32) -> Result<(), Limited> {
        self.quota.take(&self.arrival, now, permits)
    }

    /// How many permits there are.
    #[must_use]
    pub fn left(&self, now: Instant) -> u32 {
        self.quota.left(&self.arrival, now)
    }

    /// The quota.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }
}

/// The rate limit does not admit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limited {
    /// More were asked for than a burst may have.
    #[error("cannot admit {permits} at once: the burst is {burst}; ask for fewer, or raise it")]
    Never {
        /// How many were asked for.
        permits: u32,
        /// The largest burst.
        burst: u32,
    },
    /// Not yet.
    #[error("cannot admit: the rate limit is reached; come back in {after:?}")]
    Wait {
        /// After how long they fit, if nobody takes them before.
        after: Duration,
    },
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The continuous-state leaky bucket of I.371 annex A, figure A.1, right side.
    struct Leaky {
        level: i128,
        last: i128,
        increment: i128,
        limit: i128,
    }

    impl Leaky {
        fn new(quota: Quota) -> Self {
            let increment = i128::from(quota.interval);
            let limit = increment * (i128::from(quota.burst) - 1);
            Self { level: 0, last: 0, increment, limit }
        }

        fn conforms(&mut self, now: u64) -> bool {
            let now = i128::from(now);
            let level = (self.level - (now - self.last)).max(0);
            if level > self.limit {
                return false;
            }
            (self.level, self.last) = (level + self.increment, now);
            true
        }
    }

    proptest! {
        #[test]
        fn it_conforms_to_the_leaky_bucket_of_the_standard(
            permits in 1u32..50, burst in 1u32..20, start in 0u64..u64::MAX / 2,
            waits in prop::collection::vec(0u64..100_000_000, 0..300),
        ) {
            let quota = Quota::new(permits, Duration::from_secs(1)).expect("in range");
            let quota = quota.with_burst(burst).expect("in range");
            let (limiter, mut model) = (RateLimiter::new(quota), Leaky::new(quota));
            let mut now = start;
            for wait in waits {
                now += wait;
                let admitted = limiter.try_acquire(Instant::from_nanos(now));
                prop_assert_eq!(admitted.is_ok(), model.conforms(now));
            }
        }

        #[test]
        fn many_are_as_one_after_another_and_the_wait_is_exact(
            burst in 1u32..20, steps in prop::collection::vec((0u64..2_000_000, 0u32..25), 0..200),
        ) {
            let quota = Quota::new(1000, Duration::from_secs(1)).expect("in range");
            let quota = quota.with_burst(burst).expect("in range");
            let (together, single) = (RateLimiter::new(quota), RateLimiter::new(quota));
            let mut now = Instant::from_secs(3);
            for (wait, permits) in steps {
                now += Duration::from_nanos(wait);
                let left = single.left(now);
                prop_assert_eq!(together.left(now), left);
                match together.try_acquire_many(now, permits) {
                    Ok(()) => {
                        for _ in 0..permits {
                            prop_assert_eq!(single.try_acquire(now), Ok(()));
                        }
                    }
                    Err(Limited::Never { .. }) => prop_assert!(permits > burst),
                    Err(Limited::Wait { after }) => {
                        prop_assert!(left < permits);
                        prop_assert!(single.left(now + after) >= permits);
                        prop_assert!(single.left(now + after - Duration::from_nanos(1)) < permits);
                    }
                }
            }
        }

        #[test]
        fn no_time_panics_and_a_clock_that_jumps_gives_no_more_than_time_and_burst(
            times in prop::collection::vec(any::<u64>(), 1..100),
        ) {
            let quota = Quota::new(1, Duration::from_secs(1)).expect("in range");
            let quota = quota.with_burst(5).expect("in range");
            let limiter = RateLimiter::new(quota);
            let mut admitted = 0;
            for time in &times {
                admitted += u64::from(limiter.try_acquire(Instant::from_nanos(*time)).is_ok());
            }
            let last = times.iter().max().expect("not empty");
            prop_assert!(admitted <= last / quota.interval + 5);
        }
    }

    #[test]
    fn the_end_of_time_admits_nothing() {
        let limiter = RateLimiter::new(Quota::new(9, Duration::from_secs(1)).expect("in range"));
        for _ in 0..20 {
            assert!(limiter.try_acquire(Instant::MAX).is_err());
        }
    }

    #[test]
    fn a_standing_clock_gives_one_burst() {
        let quota = Quota::new(u32::MAX, Duration::from_hours(24)).expect("in range");
        let limiter = RateLimiter::new(quota.with_burst(1000).expect("in range"));
        let admitted = (0..5000).filter(|_| limiter.try_acquire(Instant::ZERO).is_ok()).count();
        assert_eq!(admitted, 1000);
    }

    #[test]
    fn wrong_quotas_are_named() {
        assert!(Quota::new(0, Duration::from_secs(1)).is_err());
        assert!(Quota::new(10_000_001, Duration::from_secs(1)).is_err());
        assert!(Quota::new(1, Duration::MAX).is_err());
        let slow = Quota::new(1, LONGEST).expect("in range");
        assert!(slow.with_burst(1).is_ok() && slow.with_burst(0).is_err());
        let error = slow.with_burst(2).expect_err("two years").to_string();
        assert_eq!(error, "burst: 2 is not allowed: 1 to 1");
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_a_permit_is_given_once() {
        loom::model(|| {
            let quota = Quota::new(2, Duration::from_secs(1)).unwrap();
            let limiter = loom::sync::Arc::new(RateLimiter::new(quota));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let limiter = loom::sync::Arc::clone(&limiter);
                    loom::thread::spawn(move || limiter.try_acquire(Instant::ZERO).is_ok())
                })
                .collect();
            let mine = limiter.try_acquire(Instant::ZERO).is_ok();
            let theirs = threads.into_iter().map(|thread| usize::from(thread.join().unwrap()));
            assert_eq!(theirs.sum::<usize>() + usize::from(mine), 2);
        });
    }
}
