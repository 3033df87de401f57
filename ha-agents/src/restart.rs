//! How soon, and how often, something that failed is tried again.
//!
//! Plain arithmetic on given times; a supervisor asks [`RestartLimit::failed`] and waits.

use std::collections::VecDeque;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

/// Delays that grow, with jitter: the delay before try n is `first × 2ⁿ`, at most `most`, less a
/// random share of up to a half, so that many that failed together do not come back together.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::restart::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), 42)?;
/// let delays: Vec<Duration> = (0..20).map(|_| backoff.next_delay()).collect();
/// assert!(delays[0] >= Duration::from_millis(50) && delays[0] <= Duration::from_millis(100));
/// assert!(delays[19] >= Duration::from_secs(5) && delays[19] <= Duration::from_secs(10));
/// backoff.reset();
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
    random: u64,
}

/// How often something may be restarted, and how soon.
///
/// - Each failure asks for a restart after the next delay of a [`Backoff`].
/// - With more than `restarts` within `window` it is given up, until a person resets it.
/// - What has run for `settled` without a failure begins again with the first delay, and its past
///   failures are forgotten. systemd's `RestartSteps` is not reset by success.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::restart::{Backoff, Restart, RestartLimit};
/// use ha_core::time::Instant;
///
/// let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 7)?;
/// let mut limit = RestartLimit::new(backoff, 2, Duration::from_secs(600))?;
/// for second in [10, 20] {
///     let Restart::At(at) = limit.failed(Instant::from_secs(second)) else { panic!("given up") };
///     assert!(at > Instant::from_secs(second));
///     limit.started(at);
/// }
/// assert_eq!(limit.failed(Instant::from_secs(30)), Restart::GiveUp { restarts: 2 });
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct RestartLimit {
    backoff: Backoff,
    restarts: u32,
    window: Duration,
    settled: Duration,
    /// When it was restarted, within the window, oldest first.
    times: VecDeque<Instant>,
    /// Since when it runs.
    runs_since: Option<Instant>,
    given_up: bool,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a supervisor must do one or the other")]
pub enum Restart {
    /// Restart it then.
    At(Instant),
    /// Leave it, and tell a person.
    GiveUp {
        /// How often it was restarted within the window.
        restarts: u32,
    },
}

impl Backoff {
    /// The longest delay: a day.
    pub const MAX: Duration = Duration::from_hours(24);

    /// Delays from `first` on, 1 ms to a day, up to `most`, not less than `first` and at most a day;
    /// the jitter comes of `seed`.
    ///
    /// # Errors
    ///
    /// What is out of range.
    pub fn new(first: Duration, most: Duration, seed: u64) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if !(Duration::from_millis(1)..=Self::MAX).contains(&first) {
            problems.add("backoff.first", format!("{first:?}"), "1 ms to a day");
        }
        if most < first || most > Self::MAX {
            problems.add("backoff.most", format!("{most:?}"), "the first delay to a day");
        }
        problems.into_result(Self { first, most, tries: 0, random: seed })
    }

    /// The delay before the next try.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        self.tries = self.tries.saturating_add(1);
        let whole = self.first.saturating_mul(factor).min(self.most);
        let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
        whole.saturating_sub(Duration::from_nanos(self.draw() % (nanos / 2 + 1)))
    }

    /// How many delays were given since the last reset.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins with the first delay again.
    pub const fn reset(&mut self) {
        self.tries = 0;
    }

    /// splitmix64.
    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl RestartLimit {
    /// The largest number of restarts that is counted.
    pub const MAX: u32 = 1_000;

    /// At most `restarts` (1 to 1000) within `window` (above 0). It has settled after the longest
    /// delay of the backoff without a failure; see [`settled_after`](Self::settled_after).
    ///
    /// # Errors
    ///
    /// What is out of range.
    pub fn new(backoff: Backoff, restarts: u32, window: Duration) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if !(1..=Self::MAX).contains(&restarts) {
            problems.add("restart.restarts", restarts, "1 to 1000");
        }
        if window.is_zero() {
            problems.add("restart.window", "0s", "above 0");
        }
        let (settled, times) = (backoff.most, VecDeque::new());
        problems.into_result(Self {
            backoff,
            restarts,
            window,
            settled,
            times,
            runs_since: None,
            given_up: false,
        })
    }

    /// Sets how long it must run without a failure for its past to be forgotten. Default: the longest
    /// delay of the backoff.
    #[must_use]
    pub const fn settled_after(mut self, time: Duration) -> Self {
        self.settled = time;
        self
    }

    /// It runs since `now`.
    pub const fn started(&mut self, now: Instant) {
        self.runs_since = Some(now);
    }

    /// It has failed, or could not be started.
    pub fn failed(&mut self, now: Instant) -> Restart {
        let ran = self.runs_since.take();
        if ran.is_some_and(|since| now.since(since) >= self.settled) {
            self.backoff.reset();
            self.times.clear();
        }
        self.times.retain(|at| now < *at + self.window);
        let restarts = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        if self.given_up || restarts >= self.restarts {
            self.given_up = true;
            return Restart::GiveUp { restarts };
        }
        let at = now + self.backoff.next_delay();
        self.times.push_back(at);
        Restart::At(at)
    }

    /// Whether it was given up.
    #[must_use]
    pub const fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// Forgets the past: a person has looked.
    pub fn reset(&mut self) {
        (self.given_up, self.runs_since) = (false, None);
        self.times.clear();
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backoff(seed: u64) -> Backoff {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(30));
        Backoff::new(first, most, seed).expect("valid")
    }

    #[test]
    fn a_crash_loop_is_given_up_and_what_settles_starts_afresh() {
        let window = Duration::from_mins(10);
        let limit = RestartLimit::new(backoff(1), 5, window).expect("valid");
        let mut limit = limit.settled_after(Duration::from_mins(1));
        let mut now = Instant::from_secs(1);
        // It crashes now and then, but settles in between: for ever.
        for _ in 0..100 {
            let Restart::At(at) = limit.failed(now) else { panic!("given up") };
            assert!(at.since(now) <= Duration::from_millis(100), "the first delay again");
            limit.started(at);
            now = at + Duration::from_secs(61);
        }
        // It dies at once, each time.
        let mut delays = Vec::new();
        loop {
            match limit.failed(now) {
                Restart::At(at) => {
                    delays.push(at.since(now));
                    limit.started(at);
                    now = at;
                }
                Restart::GiveUp { restarts } => {
                    assert_eq!(restarts, 5);
                    break;
                }
            }
        }
        assert_eq!(delays.len(), 5);
        assert!(delays[4] > delays[0] * 4, "{delays:?}");
        assert!(limit.has_given_up());
        now += window * 2;
        assert!(matches!(limit.failed(now), Restart::GiveUp { .. }), "until a person has looked");
        limit.reset();
        assert!(matches!(limit.failed(now), Restart::At(_)));
    }

    #[test]
    fn what_is_out_of_range_is_told_at_once() {
        let error = Backoff::new(Duration::ZERO, Duration::from_hours(48), 0).expect_err("bad");
        let text = error.to_string();
        assert!(text.contains("backoff.first") && text.contains("backoff.most"), "{text}");
        let error = RestartLimit::new(backoff(0), 0, Duration::ZERO).expect_err("bad");
        let text = error.to_string();
        assert!(text.contains("restart.restarts") && text.contains("restart.window"), "{text}");
    }

    proptest! {
        #[test]
        fn a_delay_is_within_its_half_and_never_beyond_the_longest(
            seed in any::<u64>(), first in 1..10_000_u64, more in 0..100_000_u64, tries in 1..80_usize,
        ) {
            let (first, most) = (Duration::from_millis(first), Duration::from_millis(first + more));
            let mut backoff = Backoff::new(first, most, seed).expect("valid");
            for number in 0..tries {
                let delay = backoff.next_delay();
                let factor = 1_u32.checked_shl(u32::try_from(number).expect("few"));
                let whole = first.saturating_mul(factor.unwrap_or(u32::MAX)).min(most);
                prop_assert!(delay <= whole && delay >= whole / 2, "{delay:?} of {whole:?}");
            }
        }

        #[test]
        fn no_more_than_the_limit_within_any_window(
            seed in any::<u64>(), lives in prop::collection::vec(0..20_000_u64, 1..200),
        ) {
            let window = Duration::from_secs(10);
            let limit = RestartLimit::new(backoff(seed), 3, window).expect("valid");
            let mut limit = limit.settled_after(Duration::from_hours(1));
            let (mut now, mut starts) = (Instant::from_secs(1), Vec::new());
            for life in lives {
                now += Duration::from_millis(life);
                let Restart::At(at) = limit.failed(now) else { break };
                starts.push(at);
                limit.started(at);
                now = at;
            }
            for four in starts.windows(4) {
                prop_assert!(four[3].since(four[0]) >= window, "{four:?}");
            }
        }
    }
}
