//! How many retries may run at the same time, as a share of the requests that run.
//!
//! # Source
//!
//! Envoy's `retry_budget`: `budget_percent` (20) of the active requests, `min_retry_concurrency`
//! (3). It needs no window of time, and its bound is on load rather than on rate: slow retries use
//! it up, fast ones do not.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use ha_core::config::{ConfigError, Problems};

use super::atomics::{AtomicU64, Ordering};

/// A budget of concurrent retries.
///
/// Guards count requests and retries while they are kept. A retry replaces the request's try that
/// failed: keep the request's guard until the last try has ended.
///
/// ```
/// use ha_lb::resilience::active_budget::ActiveBudget;
///
/// let budget = ActiveBudget::new(20, 1)?; // 20 % of the requests, but one in any case
/// let requests: Vec<_> = (0..10).map(|_| budget.start_request()).collect();
/// let first = budget.try_retry().expect("two are allowed");
/// let second = budget.try_retry().expect("two are allowed");
/// let error = budget.try_retry().unwrap_err();
/// assert_eq!(error.to_string(), "cannot retry: 2 retries are active, 10 requests allow 2");
/// drop(first);
/// assert!(budget.try_retry().is_ok());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct ActiveBudget {
    percent: u16,
    min: u32,
    /// Active requests above, active retries below, 32 bits each.
    active: AtomicU64,
}

const REQUEST: u64 = 1 << 32;
const RETRIES: u64 = REQUEST - 1;

impl ActiveBudget {
    /// A budget of `percent` of the active requests, and `min` retries in any case.
    ///
    /// `percent`: 0 to 1000, Envoy's default 20; `min`: 0 to 1,000,000, Envoy's default 3.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn new(percent: u16, min: u32) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if percent > 1000 {
            problems.add("percent", percent, "0 to 1000");
        }
        if min > 1_000_000 {
            problems.add("min", min, "0 to 1000000");
        }
        problems.into_result(())?;
        Ok(Self { percent, min, active: AtomicU64::new(0) })
    }

    /// Counts a request while the guard is kept.
    pub fn start_request(&self) -> ActiveRequest<&Self> {
        self.active.fetch_add(REQUEST, Ordering::Relaxed);
        ActiveRequest(self)
    }

    /// As [`start_request`](Self::start_request), with a guard that has no lifetime.
    pub fn start_request_owned(self: &Arc<Self>) -> ActiveRequest<Arc<Self>> {
        self.active.fetch_add(REQUEST, Ordering::Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// Counts a retry while the guard is kept, if there may be one more.
    ///
    /// # Errors
    ///
    /// [`OverBudget`] when as many are active as the requests allow.
    pub fn try_retry(&self) -> Result<ActiveRetry<&Self>, OverBudget> {
        self.take().map(|()| ActiveRetry(self))
    }

    /// As [`try_retry`](Self::try_retry), with a guard that has no lifetime.
    ///
    /// # Errors
    ///
    /// As [`try_retry`](Self::try_retry).
    pub fn try_retry_owned(self: &Arc<Self>) -> Result<ActiveRetry<Arc<Self>>, OverBudget> {
        self.take().map(|()| ActiveRetry(Arc::clone(self)))
    }

    /// What is active now: requests and retries.
    #[must_use]
    pub fn active(&self) -> (u64, u64) {
        let active = self.active.load(Ordering::Relaxed);
        (active >> 32, active & RETRIES)
    }

    fn allowed(&self, requests: u64) -> u64 {
        (requests * u64::from(self.percent) / 100).max(u64::from(self.min))
    }

    fn take(&self) -> Result<(), OverBudget> {
        let taken = self.active.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |active| {
            (active & RETRIES < self.allowed(active >> 32)).then(|| active + 1)
        });
        taken.map(drop).map_err(|active| {
            let requests = active >> 32;
            OverBudget { retries: active & RETRIES, requests, allowed: self.allowed(requests) }
        })
    }
}

impl Default for ActiveBudget {
    fn default() -> Self {
        Self { percent: 20, min: 3, active: AtomicU64::new(0) }
    }
}

/// A request that counts as active while this is kept.
#[derive(Debug)]
#[must_use = "a request counts as active only while this is kept"]
pub struct ActiveRequest<B: Deref<Target = ActiveBudget>>(B);

impl<B: Deref<Target = ActiveBudget>> Drop for ActiveRequest<B> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(REQUEST, Ordering::Release);
    }
}

/// A retry that counts as active while this is kept.
#[derive(Debug)]
#[must_use = "a retry counts as active only while this is kept"]
pub struct ActiveRetry<B: Deref<Target = ActiveBudget>>(B);

impl<B: Deref<Target = ActiveBudget>> Drop for ActiveRetry<B> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Release);
    }
}

/// As many retries are active as the requests allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverBudget {
    /// Retries that are active.
    pub retries: u64,
    /// Requests that are active.
    pub requests: u64,
    /// How many retries those allow.
    pub allowed: u64,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { retries, requests, allowed } = self;
        write!(f, "cannot retry: {retries} retries are active, {requests} requests allow {allowed}")
    }
}

impl std::error::Error for OverBudget {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn retries_stay_within_the_share_when_they_start(
            percent in 0u16..=1000, min in 0u32..5, steps in prop::collection::vec(0u8..4, 0..300),
        ) {
            let budget = ActiveBudget::new(percent, min).expect("in range");
            let (mut requests, mut retries) = (Vec::new(), Vec::new());
            for step in steps {
                let allowed = requests.len() * usize::from(percent) / 100;
                let allowed = allowed.max(usize::try_from(min).expect("small"));
                match step {
                    0 => requests.push(budget.start_request()),
                    1 => drop(requests.pop()),
                    2 => drop(retries.pop()),
                    _ => {
                        let retry = budget.try_retry();
                        prop_assert_eq!(retry.is_ok(), retries.len() < allowed);
                        retries.extend(retry.ok());
                    }
                }
                let count = |len| u64::try_from(len).expect("few");
                prop_assert_eq!(budget.active(), (count(requests.len()), count(retries.len())));
            }
        }
    }

    #[test]
    fn guards_without_a_lifetime_count_as_well() {
        let budget = Arc::new(ActiveBudget::default());
        let request = budget.start_request_owned();
        let retry = budget.try_retry_owned().expect("three are allowed");
        assert_eq!(budget.active(), (1, 1));
        drop((request, retry));
        assert_eq!(budget.active(), (0, 0));
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_threads_never_have_more_retries_than_are_allowed() {
        loom::model(|| {
            let budget = loom::sync::Arc::new(ActiveBudget::new(0, 1).unwrap());
            let other = loom::sync::Arc::clone(&budget);
            let thread = loom::thread::spawn(move || {
                let retry = other.try_retry();
                assert!(other.active().1 <= 1);
                drop(retry);
            });
            let retry = budget.try_retry();
            assert!(budget.active().1 <= 1);
            drop(retry);
            thread.join().unwrap();
            assert_eq!(budget.active(), (0, 0));
        });
    }
}
