//! How many retries are allowed, as a share of the requests, so that they cannot multiply a load.
//!
//! ```text
//!  request ─▶ deposit ─────▶ ┌────── ttl ───────┐
//!                            │ requests, retries│ ──▶ retries ≤ percent × requests
//!  retry ───▶ try_withdraw ▶ └─ in eleven slots ┘               + min_per_second × ttl
//! ```
//!
//! # Source
//!
//! Finagle's `RetryBudget` and tower's `retry::budget`: time to live, minimum per second, percent.
//! Theirs can be short of what was deposited when several threads move time on at once; here each
//! withdrawal is counted before it is judged, so that threads can only err on the side of "no".

use std::fmt;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

use super::atomics::{Ordering, fence};
use super::slots::{Counter, Slots};

/// Into how many slots the time to live is cut.
const SLOTS: u32 = 10;

/// A budget of retries that requests pay into; share it by reference or `Arc`.
///
/// Over any stretch of time as long as the time to live, there are at most `min_per_second × ttl`
/// retries and `percent` of the requests made in it and within the time to live before it. No
/// request pays twice. Nothing here waits or takes a lock.
///
/// ```
/// use ha_core::time::Instant;
/// use ha_lb::resilience::budget::Budget;
///
/// let budget = Budget::builder().percent(20).min_per_second(0).build()?;
/// let now = Instant::from_secs(100);
/// for _ in 0..10 {
///     budget.deposit(now); // a request
/// }
/// assert!(budget.try_withdraw(now)); // a retry
/// assert!(budget.try_withdraw(now));
/// assert!(!budget.try_withdraw(now));
/// assert_eq!(
///     budget.balance(now).to_string(),
///     "2 of 2 retries taken: 20 % of 10 requests in the last 10s",
/// );
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct Budget {
    ttl: Duration,
    percent: u16,
    reserve: u64,
    slots: Slots,
    requests: Counter,
    retries: Counter,
}

/// Makes a [`Budget`]; see there.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BudgetBuilder {
    ttl: Duration,
    percent: u16,
    min_per_second: u32,
}

impl BudgetBuilder {
    /// Sets for how long a request pays for retries.
    ///
    /// 1 s to 60 s; default 10 s (`ttl` in Finagle and tower, with the same range). Longer lets
    /// the retries of a quiet time pile up.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets how many retries a hundred requests pay for.
    ///
    /// Percent, 0 to 1000; default 20 (Finagle's `percentCanRetry` and Envoy's `budget_percent`).
    pub const fn percent(mut self, percent: u16) -> Self {
        self.percent = percent;
        self
    }

    /// Sets how many retries a second are allowed in any case, for clients with few requests.
    ///
    /// 0 to 1,000,000; default 10 (Finagle's `minRetriesPerSec`). They may come in one burst:
    /// `min_per_second × ttl` at once.
    pub const fn min_per_second(mut self, retries: u32) -> Self {
        self.min_per_second = retries;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Budget, ConfigError> {
        let mut problems = Problems::new();
        if !(Duration::from_secs(1)..=Duration::from_mins(1)).contains(&self.ttl) {
            problems.add("ttl", format!("{:?}", self.ttl), "1 s to 60 s");
        }
        if self.percent > 1000 {
            problems.add("percent", self.percent, "0 to 1000");
        }
        if self.min_per_second > 1_000_000 {
            problems.add("min_per_second", self.min_per_second, "0 to 1000000");
        }
        problems.into_result(())?;
        Ok(self.checked())
    }

    fn checked(self) -> Budget {
        let slots = usize::try_from(SLOTS).unwrap_or_default();
        let millis = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        Budget {
            ttl: self.ttl,
            percent: self.percent,
            reserve: u64::from(self.min_per_second).saturating_mul(millis) / 1000,
            slots: Slots::new(self.ttl / SLOTS),
            requests: Counter::new(slots),
            retries: Counter::new(slots),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::builder().checked()
    }
}

impl Budget {
    /// Starts with Finagle's defaults: 10 s, 20 %, 10 a second.
    pub const fn builder() -> BudgetBuilder {
        BudgetBuilder { ttl: Duration::from_secs(10), percent: 20, min_per_second: 10 }
    }

    /// Counts a request; its retries do not count as requests.
    pub fn deposit(&self, now: Instant) {
        self.requests.add(&self.slots, now);
    }

    /// Asks for one retry; it counts as made if the answer is yes.
    ///
    /// Two threads that ask for the last one at the same moment may both be refused.
    #[must_use = "the retry counts as made if this is true"]
    pub fn try_withdraw(&self, now: Instant) -> bool {
        let slot = self.retries.add(&self.slots, now);
        // Of two threads that both counted, the one whose fence comes later sees the other's count,
        // and the slot it was made in, even if that is a newer one.
        fence(Ordering::SeqCst);
        let balance = self.balance_at(self.slots.newest());
        let allowed = balance.retries <= balance.allowed();
        if !allowed {
            self.retries.take_back(slot);
        }
        allowed
    }

    /// What was paid in and taken out.
    #[must_use]
    pub fn balance(&self, now: Instant) -> Balance {
        self.balance_at(self.slots.advance(now))
    }

    fn balance_at(&self, newest: u64) -> Balance {
        Balance {
            ttl: self.ttl,
            percent: self.percent,
            reserve: self.reserve,
            requests: self.requests.sum(newest),
            retries: self.retries.sum(newest),
        }
    }
}

/// What is in a [`Budget`]; displayed as one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Balance {
    /// For how long a request pays.
    pub ttl: Duration,
    /// How many retries a hundred requests pay for.
    pub percent: u16,
    /// How many retries are allowed without any request.
    pub reserve: u64,
    /// Requests within the time to live.
    pub requests: u64,
    /// Retries within the time to live.
    pub retries: u64,
}

impl Balance {
    /// How many retries those requests allow.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        let earned = self.requests.saturating_mul(u64::from(self.percent)) / 100;
        self.reserve.saturating_add(earned)
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ttl, percent, reserve, requests, retries } = self;
        let allowed = self.allowed();
        write!(f, "{retries} of {allowed} retries taken: ")?;
        if *reserve > 0 {
            write!(f, "{reserve} and ")?;
        }
        write!(f, "{percent} % of {requests} requests in the last {ttl:?}")
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Asked {
        Request,
        Retry,
    }

    fn asked() -> impl Strategy<Value = (u64, Asked)> {
        let wait = prop_oneof![4 => 0u64..50, 2 => 0u64..500, 1 => 0u64..5_000];
        (wait, prop_oneof![2 => Just(Asked::Request), 3 => Just(Asked::Retry)])
    }

    /// Counts the times in `from..to`.
    fn within(times: &[u64], from: u64, to: u64) -> u64 {
        let within = times.iter().filter(|time| (from..to).contains(time)).count();
        u64::try_from(within).expect("few")
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_retries_than_its_requests_pay_for(
            percent in prop::sample::select(vec![0u16, 5, 20, 100, 250]),
            min_per_second in 0u32..4,
            steps in prop::collection::vec(asked(), 0..400),
        ) {
            let ttl = 2_000;
            let budget = Budget::builder()
                .ttl(Duration::from_millis(ttl))
                .percent(percent)
                .min_per_second(min_per_second)
                .build()
                .expect("in range");
            let (mut now, mut requests, mut retries) = (50_000, Vec::new(), Vec::new());
            for (wait, asked) in steps {
                now += wait;
                match asked {
                    Asked::Request => {
                        budget.deposit(Instant::from_millis(now));
                        requests.push(now);
                    }
                    Asked::Retry if budget.try_withdraw(Instant::from_millis(now)) => {
                        retries.push(now);
                    }
                    Asked::Retry => {}
                }
            }
            let reserve = u64::from(min_per_second) * ttl / 1000;
            for start in &retries {
                // A window that starts with a retry has the most of them.
                let made = within(&retries, *start, start + ttl);
                // The slots reach back by a tenth more than the time to live.
                let paid = within(&requests, start.saturating_sub(ttl + ttl / 10), start + ttl);
                prop_assert!(made <= reserve + paid * u64::from(percent) / 100);
            }
            let made = u64::try_from(retries.len()).expect("few");
            let paid = u64::try_from(requests.len()).expect("few") * u64::from(percent) / 100;
            let windows = (now - 50_000) / ttl + 1;
            prop_assert!(made <= paid + reserve * windows, "no request pays twice");
        }

        #[test]
        fn what_is_paid_for_is_granted(requests in 0u64..500, percent in 0u16..=1000) {
            let budget = Budget::builder().percent(percent).min_per_second(0).build().expect("ok");
            let now = Instant::from_secs(7);
            (0..requests).for_each(|_| budget.deposit(now));
            let mut granted = 0;
            while budget.try_withdraw(now) {
                granted += 1;
            }
            prop_assert_eq!(granted, requests * u64::from(percent) / 100);
        }

        #[test]
        fn no_time_is_too_late_or_too_far_back(
            times in prop::collection::vec(any::<u64>(), 0..50),
        ) {
            let budget = Budget::builder().min_per_second(1).build().expect("in range");
            for time in times {
                budget.deposit(Instant::from_nanos(time));
                let _granted = budget.try_withdraw(Instant::from_nanos(time));
                let balance = budget.balance(Instant::from_nanos(time));
                prop_assert!(balance.retries <= balance.reserve + 50);
            }
        }
    }

    #[test]
    fn requests_no_longer_pay_after_the_time_to_live() {
        let budget = Budget::builder().percent(100).min_per_second(0).build().expect("in range");
        budget.deposit(Instant::from_secs(20));
        budget.deposit(Instant::from_secs(20));
        assert!(budget.try_withdraw(Instant::from_secs(29)));
        assert!(!budget.try_withdraw(Instant::from_secs(31)));
    }

    #[test]
    fn a_standing_clock_gives_the_reserve_once() {
        let budget = Budget::builder().min_per_second(2).build().expect("in range");
        let granted = (0..100).filter(|_| budget.try_withdraw(Instant::ZERO)).count();
        assert_eq!(granted, 20);
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let budget = Budget::builder().percent(10).min_per_second(0).build().expect("in range");
        let now = Instant::from_secs(3);
        (0..1000).for_each(|_| budget.deposit(now));
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..500).filter(|_| budget.try_withdraw(now)).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        // Refusals that hit two at once leave the last ones to those who ask again.
        let rest = (0..200).filter(|_| budget.try_withdraw(now)).count();
        assert_eq!((granted <= 100, granted + rest), (true, 100));
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let error = Budget::builder()
            .ttl(Duration::from_millis(999))
            .percent(1001)
            .min_per_second(1_000_001)
            .build()
            .expect_err("three are wrong");
        let paths: Vec<_> = error.problems().iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["ttl", "percent", "min_per_second"]);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::sync::Arc;

    use super::*;

    /// A budget of one retry, and two threads that ask; one of them sees a newer slot.
    fn granted(first: Instant, second: Instant) {
        loom::model(move || {
            let mut budget = Budget::builder().min_per_second(0).percent(100).checked();
            budget.reserve = 1;
            // Three cells are enough to run into another slot, and keep the model small.
            budget.requests = Counter::new(2);
            budget.retries = Counter::new(2);
            let budget = Arc::new(budget);
            let other = Arc::clone(&budget);
            let thread = loom::thread::spawn(move || other.try_withdraw(second));
            let mine = budget.try_withdraw(first);
            let theirs = thread.join().unwrap();
            assert!(!(mine && theirs), "two retries where one is paid for");
        });
    }

    #[test]
    fn loom_two_threads_do_not_get_the_last_retry_twice() {
        granted(Instant::from_secs(5), Instant::from_secs(5));
    }

    #[test]
    fn loom_a_thread_in_a_newer_slot_sees_what_the_older_one_took() {
        granted(Instant::from_secs(5), Instant::from_secs(6));
    }
}
