//! A limit on calls under way that finds out by itself how many a server can take.
//!
//! ```text
//!  try_acquire ─▶ Permit ─ finish(now, outcome) ─▶ latency, failures of this window
//!       ▲                                                   │ once a window
//!       └────────────── limit ◀── LimitAlgorithm::next ◀────┘
//! ```
//!
//! # Source
//!
//! Netflix' concurrency-limits ("Performance Under Load", 2018): Little's law instead of a number
//! that somebody guessed. [`Aimd`], [`Gradient2`] and [`Vegas`] are its algorithms; windows are its
//! `WindowedLimit`.

mod aimd;
mod algorithm;
mod gradient;
mod vegas;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

pub use self::aimd::Aimd;
pub use self::algorithm::{LimitAlgorithm, Sample};
pub use self::gradient::Gradient2;
pub use self::vegas::Vegas;
use super::atomics::{AtomicU32, AtomicU64, Ordering};
pub use super::outcome::Outcome;

/// Makes an [`AdaptiveLimit`]; see there.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AdaptiveLimitBuilder {
    algorithm: Box<dyn LimitAlgorithm>,
    min: u32,
    max: u32,
    initial: u32,
    window: Duration,
    min_calls: u32,
}

impl AdaptiveLimitBuilder {
    /// Sets the smallest limit. At least 1; default 20 (`minLimit`).
    pub const fn min(mut self, calls: u32) -> Self {
        self.min = calls;
        self
    }

    /// Sets the largest limit. At least the smallest; default 200 (`maxConcurrency`).
    pub const fn max(mut self, calls: u32) -> Self {
        self.max = calls;
        self
    }

    /// Sets the first limit; cut to the smallest and the largest. Default 20 (`initialLimit`).
    pub const fn initial(mut self, calls: u32) -> Self {
        self.initial = calls;
        self
    }

    /// Sets how long calls are looked at before the limit changes.
    ///
    /// 1 ms to 60 s; default 1 s (`minWindowTime`). Some ten times the latency is right: shorter
    /// follows chance, longer reacts late.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how many calls a window must have; it goes on until then.
    ///
    /// 1 to 10,000; default 10 (`windowSize`).
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<AdaptiveLimit, ConfigError> {
        let mut problems = Problems::new();
        if self.min == 0 {
            problems.add("min", 0, "at least 1");
        }
        if self.max < self.min {
            problems.add("max", self.max, format!("at least `min`, {}", self.min));
        }
        if !(Duration::from_millis(1)..=Duration::from_mins(1)).contains(&self.window) {
            problems.add("window", format!("{:?}", self.window), "1 ms to 60 s");
        }
        if !(1..=10_000).contains(&self.min_calls) {
            problems.add("min_calls", self.min_calls, "1 to 10000");
        }
        problems.into_result(())?;
        let initial = self.initial.clamp(self.min, self.max);
        Ok(AdaptiveLimit {
            min: self.min,
            max: self.max,
            window: self.window,
            min_calls: self.min_calls,
            limit: AtomicU32::new(initial),
            in_flight: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            seen: Seen::new(),
            brain: Mutex::new(Brain { exact: f64::from(initial), algorithm: self.algorithm }),
        })
    }
}

/// A limit on calls under way that adapts; share it by reference or `Arc`.
///
/// Taking a permit is one atomic step, giving it back a few. Once a window whoever gives one back
/// runs the algorithm; nobody waits for that.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::concurrency::{AdaptiveLimit, Gradient2, Outcome};
///
/// let limit = AdaptiveLimit::builder(Gradient2::default()).min(1).initial(1).build()?;
/// let now = Instant::from_secs(5);
/// let call = limit.try_acquire(now)?;
/// let error = limit.try_acquire(now).unwrap_err();
/// assert_eq!(error.to_string(), "cannot call: 1 calls are under way, the limit is 1");
/// call.finish(now + Duration::from_millis(8), Outcome::Success);
/// assert!(limit.try_acquire(now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveLimit {
    min: u32,
    max: u32,
    window: Duration,
    min_calls: u32,
    limit: AtomicU32,
    in_flight: AtomicU32,
    refused: AtomicU64,
    seen: Seen,
    /// Only ever tried, never waited for, but by those who ask for an explanation.
    brain: Mutex<Brain>,
}

#[derive(Debug)]
struct Brain {
    /// The limit before rounding.
    exact: f64,
    algorithm: Box<dyn LimitAlgorithm>,
}

/// What was seen in the window that runs.
#[derive(Debug)]
struct Seen {
    /// When the window may end, in nanoseconds; 0 before the first call.
    ends: AtomicU64,
    successes: AtomicU32,
    failures: AtomicU32,
    latency_sum: AtomicU64,
    latency_min: AtomicU64,
    in_flight: AtomicU32,
}

impl Seen {
    fn new() -> Self {
        Self {
            ends: AtomicU64::new(0),
            successes: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            latency_sum: AtomicU64::new(0),
            latency_min: AtomicU64::new(u64::MAX),
            in_flight: AtomicU32::new(0),
        }
    }

    fn add(&self, latency: u64, in_flight: u32, succeeded: bool) {
        self.in_flight.fetch_max(in_flight, Ordering::Relaxed);
        if succeeded {
            self.latency_sum.fetch_add(latency, Ordering::Relaxed);
            self.latency_min.fetch_min(latency, Ordering::Relaxed);
            // Last, so that a success that is counted has its latency in the sum.
            self.successes.fetch_add(1, Ordering::Release);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn calls(&self) -> u64 {
        let (successes, failures) = (&self.successes, &self.failures);
        u64::from(successes.load(Ordering::Relaxed)) + u64::from(failures.load(Ordering::Relaxed))
    }

    /// Ends the window if it is time; true for the one thread that did.
    fn end(&self, now: Instant, window: Duration, min_calls: u32) -> bool {
        let ends = self.ends.load(Ordering::Relaxed);
        let is_over = ends <= now.as_nanos() && self.calls() >= u64::from(min_calls);
        if ends != 0 && !is_over {
            return false;
        }
        let next = (now + window).as_nanos().max(1);
        let mine = self.ends.compare_exchange(ends, next, Ordering::AcqRel, Ordering::Relaxed);
        ends != 0 && mine.is_ok()
    }

    /// Takes what was seen and starts anew. Calls that end meanwhile count here or there.
    fn take(&self) -> Sample {
        let successes = self.successes.swap(0, Ordering::Acquire);
        let sum = self.latency_sum.swap(0, Ordering::Relaxed);
        let min = self.latency_min.swap(u64::MAX, Ordering::Relaxed);
        let mean = sum.checked_div(u64::from(successes));
        Sample {
            latency: mean.map(Duration::from_nanos),
            min_latency: mean.map(|mean| Duration::from_nanos(min.min(mean))),
            in_flight: self.in_flight.swap(0, Ordering::Relaxed),
            successes,
            failures: self.failures.swap(0, Ordering::Relaxed),
        }
    }
}

/// The longest latency that is told apart, in nanoseconds.
const DAY: u64 = 86_400_000_000_000;

impl AdaptiveLimit {
    /// Starts with the defaults of Netflix' library: 20 to 200 calls, windows of a second.
    pub fn builder(algorithm: impl LimitAlgorithm + 'static) -> AdaptiveLimitBuilder {
        AdaptiveLimitBuilder {
            algorithm: Box::new(algorithm),
            min: 20,
            max: 200,
            initial: 20,
            window: Duration::from_secs(1),
            min_calls: 10,
        }
    }

    /// Takes a permit for a call that begins `now`; one that is dropped counts as
    /// [`Outcome::Ignored`].
    ///
    /// # Errors
    ///
    /// [`LimitReached`] when as many calls as may be are under way: answer at once that the server
    /// is busy, do not wait.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit<&Self>, LimitReached> {
        let in_flight = self.take()?;
        Ok(Permit { limit: self, since: now, in_flight })
    }

    /// As [`try_acquire`](Self::try_acquire), with a permit that has no lifetime.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(
        self: &Arc<Self>,
        now: Instant,
    ) -> Result<Permit<Arc<Self>>, LimitReached> {
        let in_flight = self.take()?;
        Ok(Permit { limit: Arc::clone(self), since: now, in_flight })
    }

    /// How many calls may be under way.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many calls are under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What the limit is, and why; for people.
    #[must_use]
    pub fn status(&self) -> Status {
        let brain = self.brain.lock().unwrap_or_else(PoisonError::into_inner);
        Status {
            algorithm: brain.algorithm.name(),
            limit: self.limit(),
            in_flight: self.in_flight(),
            refused: self.refused.load(Ordering::Relaxed),
            why: brain.algorithm.explain(),
        }
    }

    /// Counts a call; returns how many are under way with it.
    fn take(&self) -> Result<u32, LimitReached> {
        let limit = self.limit();
        let taken =
            self.in_flight.fetch_update(Ordering::Acquire, Ordering::Relaxed, |in_flight| {
                (in_flight < limit).then(|| in_flight + 1)
            });
        taken.map(|before| before + 1).map_err(|in_flight| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            LimitReached { in_flight, limit }
        })
    }

    fn observe(&self, since: Instant, now: Instant, in_flight: u32, succeeded: bool) {
        let latency = u64::try_from(now.since(since).as_nanos()).unwrap_or(DAY).min(DAY);
        self.seen.add(latency, in_flight, succeeded);
        if self.seen.end(now, self.window, self.min_calls) {
            self.adapt();
        }
    }

    fn adapt(&self) {
        let mut brain = match self.brain.try_lock() {
            Ok(brain) => brain,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody reads, or the last window is still at work: this one is joined to the next.
            Err(TryLockError::WouldBlock) => return,
        };
        let sample = self.seen.take();
        let exact = brain.exact;
        let next = brain.algorithm.next(exact, &sample);
        if !next.is_nan() {
            brain.exact = next.clamp(f64::from(self.min), f64::from(self.max));
            self.limit.store(rounded(brain.exact), Ordering::Relaxed);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between two numbers of 32 bits"
)]
const fn rounded(limit: f64) -> u32 {
    limit as u32
}

/// A call under way; dropping it counts as [`Outcome::Ignored`].
#[derive(Debug)]
#[must_use = "a call counts as under way only while this is kept"]
pub struct Permit<L: Deref<Target = AdaptiveLimit>> {
    limit: L,
    since: Instant,
    in_flight: u32,
}

impl<L: Deref<Target = AdaptiveLimit>> Permit<L> {
    /// Ends the call; its latency, since the permit was taken, counts if it succeeded.
    pub fn finish(self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.limit.observe(self.since, now, self.in_flight, true),
            Outcome::Failure => self.limit.observe(self.since, now, self.in_flight, false),
            Outcome::Ignored => {}
        }
    }
}

impl<L: Deref<Target = AdaptiveLimit>> Drop for Permit<L> {
    fn drop(&mut self) {
        self.limit.in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// As many calls as may be are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot call: {in_flight} calls are under way, the limit is {limit}")]
#[non_exhaustive]
pub struct LimitReached {
    /// How many are under way.
    pub in_flight: u32,
    /// How many may be.
    pub limit: u32,
}

/// What a limit is, and why; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The algorithm's name.
    pub algorithm: &'static str,
    /// How many calls may be under way.
    pub limit: u32,
    /// How many are.
    pub in_flight: u32,
    /// How many were refused.
    pub refused: u64,
    /// Why the limit is what it is.
    pub why: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, limit, in_flight, refused, why } = self;
        write!(f, "{algorithm}: {in_flight} of {limit} calls, {refused} refused: {why}")
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
