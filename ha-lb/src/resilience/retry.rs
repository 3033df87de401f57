//! Whether and when a request that failed is tried again.
//!
//! ```text
//!              ┌─────────────── Retry { after } ◀── yes ──┐
//!              ▼                                          │
//!  start ─▶ a try ── failed ─▶ kind retried? safe? tries left? time left? budget?
//!              │                                          │
//!              └─ done                     GiveUp(why) ◀─ no
//! ```
//!
//! # Source
//!
//! The questions are those of Envoy's `retry_policy` and HAProxy's `retries` and `retry-on`, and of
//! gRPC (gRFC A6). What they leave to the administrator is built in: a request that must not be
//! carried out twice is only repeated when its failed try had no effect for certain.

use std::fmt;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

use super::backoff::{Backoff, Pauses};
use super::budget::Budget;
use super::failure::{Failure, Failures};

/// Which failures are retried, how often, after what pauses.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::backoff::Backoff;
/// use ha_lb::resilience::budget::Budget;
/// use ha_lb::resilience::failure::Failure;
/// use ha_lb::resilience::retry::{GiveUp, Policy, Verdict};
///
/// let policy = Policy::builder().tries(3).backoff(Backoff::IMMEDIATE).build()?;
/// let budget = Budget::default();
/// let now = Instant::from_secs(100);
///
/// let mut get = policy.start(1).idempotent(true).until(now + Duration::from_secs(2));
/// budget.deposit(now);
/// let verdict = get.failed(now, Failure::Reset, Some(&budget));
/// assert_eq!(verdict, Verdict::Retry { after: Duration::ZERO });
///
/// let mut post = policy.start(2);
/// let verdict = post.failed(now, Failure::Reset, Some(&budget));
/// assert_eq!(verdict, Verdict::GiveUp(GiveUp::MayHaveHappened(Failure::Reset)));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    tries: u32,
    retry_on: Failures,
    backoff: Backoff,
    try_timeout: Option<Duration>,
}

/// Makes a [`Policy`]; see there.
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until it is built"]
pub struct PolicyBuilder {
    policy: Policy,
}

impl PolicyBuilder {
    /// Sets how many tries a request has, the first one included.
    ///
    /// 1 to 100; default 3. One more than HAProxy's `retries` and Envoy's `num_retries`; gRPC's
    /// `maxAttempts`.
    pub const fn tries(mut self, tries: u32) -> Self {
        self.policy.tries = tries;
        self
    }

    /// Sets which failures are retried. Default: [`Failures::TRANSIENT`].
    ///
    /// HAProxy's `retry-on`, Envoy's `retry_on`.
    pub const fn retry_on(mut self, failures: Failures) -> Self {
        self.policy.retry_on = failures;
        self
    }

    /// Sets the pauses before retries. Default: [`Backoff::default`].
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// Sets how long one try may take.
    ///
    /// 1 ms to 24 h; default: as long as the request (Envoy's `per_try_timeout`).
    pub const fn try_timeout(mut self, timeout: Duration) -> Self {
        self.policy.try_timeout = Some(timeout);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Policy, ConfigError> {
        let mut problems = Problems::new();
        if !(1..=100).contains(&self.policy.tries) {
            problems.add("tries", self.policy.tries, "1 to 100");
        }
        let range = Duration::from_millis(1)..=Duration::from_hours(24);
        if let Some(timeout) = self.policy.try_timeout.filter(|timeout| !range.contains(timeout)) {
            problems.add("try_timeout", format!("{timeout:?}"), "1 ms to 24 h");
        }
        problems.into_result(self.policy)
    }
}

impl Default for Policy {
    fn default() -> Self {
        let retry_on = Failures::TRANSIENT;
        Self { tries: 3, retry_on, backoff: Backoff::default(), try_timeout: None }
    }
}

impl Policy {
    /// Starts with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder { policy: Self::default() }
    }

    /// A request whose first try is being made; `seed`, another one for each request, feeds the
    /// jitter of its pauses.
    pub const fn start(&self, seed: u64) -> Attempts {
        Attempts {
            policy: *self,
            idempotent: false,
            deadline: None,
            tries: 1,
            pauses: self.backoff.pauses(seed),
        }
    }

    /// How many tries a request has.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// Which failures are retried.
    #[must_use]
    pub const fn retry_on(&self) -> Failures {
        self.retry_on
    }

    /// How long one try may take.
    #[must_use]
    pub const fn try_timeout(&self) -> Option<Duration> {
        self.try_timeout
    }
}

/// The tries of one request.
#[derive(Debug, Clone)]
#[must_use = "it decides nothing until it is told of a failure"]
pub struct Attempts {
    policy: Policy,
    idempotent: bool,
    deadline: Option<Instant>,
    tries: u32,
    pauses: Pauses,
}

/// What to do about a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way, and callers must match both")]
pub enum Verdict {
    /// Try again after a pause.
    Retry {
        /// The pause.
        after: Duration,
    },
    /// Hand the failure on.
    GiveUp(GiveUp),
}

/// Why a request is not tried again; displayed as what follows "not retried: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUp {
    /// As many retries were made as requests pay for.
    Budget,
    /// The deadline comes before the retry would start.
    Deadline {
        /// How long until it.
        remaining: Duration,
        /// The pause that would have to be kept before the retry.
        pause: Duration,
    },
    /// The try may have had its effect, and the request must not have it twice.
    MayHaveHappened(Failure),
    /// The policy does not retry such failures.
    NotRetried(Failure),
    /// All tries were made.
    Tries(u32),
}

impl fmt::Display for GiveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget => f.write_str("the budget of retries is used up"),
            Self::Deadline { remaining, pause } => {
                write!(f, "{remaining:?} are left until the deadline, after a pause of {pause:?}")
            }
            Self::MayHaveHappened(failure) => {
                write!(f, "the request is not idempotent, and {failure} may have had its effect")
            }
            Self::NotRetried(failure) => write!(f, "the policy does not retry {failure}"),
            Self::Tries(tries) => write!(f, "{tries} tries were made"),
        }
    }
}

impl Attempts {
    /// Sets whether the request may be carried out twice, as a read or a `PUT` may.
    ///
    /// Default: no; then only failures without effect are retried.
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = idempotent;
        self
    }

    /// Sets when the request as a whole must be done. Default: never.
    pub const fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many tries were started.
    #[must_use]
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// How long the try that starts `now` may take; `None`: as long as it likes.
    #[must_use]
    pub fn try_timeout(&self, now: Instant) -> Option<Duration> {
        let remaining = self.deadline.map(|deadline| deadline.since(now));
        [self.policy.try_timeout, remaining].into_iter().flatten().min()
    }

    /// Decides what follows the failure of the running try; a retry counts as started and, if
    /// there is a budget, as paid for.
    pub fn failed(&mut self, now: Instant, failure: Failure, budget: Option<&Budget>) -> Verdict {
        self.failed_with_pause(now, failure, Duration::ZERO, budget)
    }

    /// As [`failed`](Self::failed), where the peer asked for a pause of at least `asked`: HTTP's
    /// `Retry-After`, gRPC's `grpc-retry-pushback-ms`.
    pub fn failed_with_pause(
        &mut self,
        now: Instant,
        failure: Failure,
        asked: Duration,
        budget: Option<&Budget>,
    ) -> Verdict {
        match self.pause(now, failure, asked) {
            Err(why) => Verdict::GiveUp(why),
            // Last, so that only a retry that is made is paid for.
            Ok(_) if budget.is_some_and(|budget| !budget.try_withdraw(now)) => {
                Verdict::GiveUp(GiveUp::Budget)
            }
            Ok(after) => {
                self.tries = self.tries.saturating_add(1);
                Verdict::Retry { after }
            }
        }
    }

    fn pause(
        &mut self,
        now: Instant,
        failure: Failure,
        asked: Duration,
    ) -> Result<Duration, GiveUp> {
        if !self.policy.retry_on.contains(failure) {
            return Err(GiveUp::NotRetried(failure));
        }
        if !self.idempotent && !failure.effect().may_retry() {
            return Err(GiveUp::MayHaveHappened(failure));
        }
        if self.tries >= self.policy.tries {
            return Err(GiveUp::Tries(self.tries));
        }
        let pause = self.pauses.next().unwrap_or_default().max(asked);
        match self.deadline.map(|deadline| deadline.since(now)) {
            Some(remaining) if remaining <= pause => Err(GiveUp::Deadline { remaining, pause }),
            Some(_) | None => Ok(pause),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resilience::backoff::Jitter;

    const NOW: Instant = Instant::from_secs(50);

    fn policy(tries: u32) -> Policy {
        Policy::builder().tries(tries).backoff(Backoff::IMMEDIATE).build().expect("in range")
    }

    proptest! {
        #[test]
        fn a_request_has_no_more_tries_than_it_may_and_none_after_its_deadline(
            tries in 1u32..=100, seed: u64, budget_ms in 0u64..2_000,
            idempotent: bool,
            failures in prop::collection::vec(prop::sample::select(Failure::ALL.to_vec()), 0..150),
            took in 0u64..50,
        ) {
            let policy = Policy::builder().tries(tries).build().expect("in range");
            let deadline = NOW + Duration::from_millis(budget_ms);
            let mut attempts = policy.start(seed).idempotent(idempotent).until(deadline);
            let (mut now, mut made) = (NOW, 1);
            for failure in failures {
                prop_assert!(attempts.try_timeout(now) <= Some(deadline.since(now)));
                now += Duration::from_millis(took);
                match attempts.failed(now, failure, None) {
                    Verdict::Retry { after } => {
                        prop_assert!(after <= policy.backoff.cap());
                        prop_assert!(policy.retry_on.contains(failure));
                        prop_assert!(idempotent || failure.effect().may_retry());
                        now += after;
                        made += 1;
                    }
                    Verdict::GiveUp(_) => break,
                }
                prop_assert!(now < deadline);
            }
            prop_assert!(made <= tries);
            prop_assert_eq!(attempts.tries(), made);
        }
    }

    #[test]
    fn each_reason_to_give_up_is_told() {
        let budget = Budget::builder().min_per_second(0).build().expect("in range");
        let mut last = policy(1).start(0);
        let mut refused = policy(2).start(0);
        let mut unsafe_ = policy(2).start(0);
        let mut unpaid = policy(2).start(0);
        let mut late = policy(2).start(0).until(NOW);
        let texts = [
            last.failed(NOW, Failure::Connect, None),
            refused.failed(NOW, Failure::Final, None),
            unsafe_.failed(NOW, Failure::Unavailable, None),
            unpaid.failed(NOW, Failure::Connect, Some(&budget)),
            late.failed(NOW, Failure::Connect, None),
        ]
        .map(|verdict| match verdict {
            Verdict::GiveUp(why) => why.to_string(),
            Verdict::Retry { .. } => panic!("retried"),
        });
        assert_eq!(
            texts,
            [
                "1 tries were made",
                "the policy does not retry final",
                "the request is not idempotent, and unavailable may have had its effect",
                "the budget of retries is used up",
                "0ns are left until the deadline, after a pause of 0ns",
            ]
        );
        assert_eq!(unpaid.tries(), 1);
    }

    #[test]
    fn a_retry_that_is_not_made_is_not_paid_for() {
        let budget = Budget::builder().min_per_second(1).build().expect("in range");
        let _given_up = policy(1).start(0).failed(NOW, Failure::Connect, Some(&budget));
        assert_eq!(budget.balance(NOW).retries, 0);
        let _retried = policy(2).start(0).failed(NOW, Failure::Connect, Some(&budget));
        assert_eq!(budget.balance(NOW).retries, 1);
    }

    #[test]
    fn the_peer_can_ask_for_a_longer_pause() {
        let second = Duration::from_secs(1);
        let mut attempts = policy(9).start(0).until(NOW + second * 2);
        let verdict = attempts.failed_with_pause(NOW, Failure::Connect, second, None);
        assert_eq!(verdict, Verdict::Retry { after: second });
        let verdict = attempts.failed_with_pause(NOW + second, Failure::Connect, second, None);
        let why = GiveUp::Deadline { remaining: second, pause: second };
        assert_eq!(verdict, Verdict::GiveUp(why));
    }

    #[test]
    fn a_try_takes_no_longer_than_the_request_may() {
        let try_timeout = Duration::from_millis(300);
        let policy = Policy::builder().try_timeout(try_timeout).build().expect("in range");
        let attempts = policy.start(0).until(NOW + Duration::from_millis(500));
        assert_eq!(attempts.try_timeout(NOW), Some(try_timeout));
        let late = NOW + Duration::from_millis(400);
        assert_eq!(attempts.try_timeout(late), Some(Duration::from_millis(100)));
        assert_eq!(attempts.try_timeout(Instant::MAX), Some(Duration::ZERO));
        assert_eq!(Policy::default().start(0).try_timeout(NOW), None);
    }

    #[test]
    fn wrong_settings_are_named() {
        let long = Duration::from_hours(25);
        let error = Policy::builder().tries(0).try_timeout(long).build().expect_err("two");
        assert_eq!(error.problems().len(), 2);
        let cap = Duration::from_secs(1);
        assert!(Backoff::new(cap, cap, Jitter::Full).is_ok());
    }
}
