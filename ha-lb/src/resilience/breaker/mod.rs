//! The circuit breaker: no calls to what fails, so that it can recover and callers do not wait.
//!
//! ```text
//!            failures in a row, or too large a share
//!   Closed ────────────────────────────────────────▶ Open ◀─────────────┐
//!      ▲                                              │ open time       │
//!      │ all trials succeeded                         ▼                 │ a trial failed
//!      └─────────────────────────────────────────── HalfOpen ───────────┘
//!                                                 admits `trials` calls
//! ```
//!
//! # Source
//!
//! Nygard, "Release It!" (2007), "Circuit Breaker". Settings as in Hystrix, and open times that
//! grow as in Envoy's outlier detection. The state is one word, so that every change is one atomic
//! step; a call that began before the breaker opened has no say in what happens after.

mod config;
mod reason;
mod state;
mod status;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use ha_core::time::Instant;

pub use self::config::{Config, ConfigBuilder};
pub use self::reason::Reason;
pub use self::state::Phase;
use self::state::{Millis, Period, State};
pub use self::status::Status;
use super::atomics::{AtomicU32, AtomicU64, Ordering};
pub use super::outcome::Outcome;
use super::random::{between, mixed};
use super::slots::{Counter, Slots};

/// Into how many slots the window is cut.
const SLOTS: u32 = 10;

/// A circuit breaker; share it by reference or `Arc`.
///
/// A call that is admitted costs two or three atomic reads and one write; nothing waits.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::breaker::{Breaker, Config, Outcome, Phase};
///
/// let config = Config::builder().failures_in_a_row(2).jitter_percent(0).build()?;
/// let breaker = Breaker::new(config, 1);
/// let now = Instant::from_secs(100);
/// for _ in 0..2 {
///     let call = breaker.try_acquire(now)?;
///     call.finish(now, Outcome::Failure);
/// }
/// let refused = breaker.try_acquire(now).unwrap_err();
/// assert_eq!(refused.retry_at, Some(now + Duration::from_secs(5)));
/// assert_eq!(
///     breaker.status(now).to_string(),
///     "open for 5s more (opening 1 in a row): 2 failures in a row",
/// );
///
/// let later = now + Duration::from_secs(5);
/// let trial = breaker.try_acquire(later)?;
/// let change = trial.finish(later, Outcome::Success).expect("it closes");
/// assert_eq!(change.to, Phase::Closed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Breaker {
    config: Config,
    seed: u64,
    state: AtomicU64,
    in_a_row: AtomicU32,
    reason: AtomicU64,
    slots: Slots,
    successes: Counter,
    failures: Counter,
}

/// A call that was admitted, for those who cannot keep a [`Permit`]; give it to
/// [`Breaker::report`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a call must be reported"]
pub struct Ticket(Period);

impl Ticket {
    /// Whether the call is one of the few that decide whether the breaker closes.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.0.phase() == Phase::HalfOpen
    }
}

/// The state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// Before.
    pub from: Phase,
    /// After.
    pub to: Phase,
    /// Why it opened, or had opened.
    pub reason: Reason,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Phase::Open => write!(f, "{} → {}: {}", self.from, self.to, self.reason),
            Phase::Closed | Phase::HalfOpen => {
                write!(f, "{} → {} (it was open: {})", self.from, self.to, self.reason)
            }
        }
    }
}

/// The breaker admits no call now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// Why it opened.
    pub reason: Reason,
    /// When it admits trials; `None` while all trials are under way.
    pub retry_at: Option<Instant>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.retry_at {
            Some(at) => write!(f, "cannot call: the breaker is open until {at}: {}", self.reason),
            None => write!(f, "cannot call: the breaker waits for its trials: {}", self.reason),
        }
    }
}

impl std::error::Error for Rejected {}

impl Breaker {
    /// A closed breaker; `seed`, another one for each, feeds the jitter.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let slots = usize::try_from(SLOTS).unwrap_or_default();
        let state = State::new(Phase::Closed, 0, Millis::floor(Instant::ZERO));
        Self {
            seed,
            state: AtomicU64::new(state.pack()),
            in_a_row: AtomicU32::new(0),
            reason: AtomicU64::new(Reason::Tripped.pack()),
            slots: Slots::new(config.window() / SLOTS),
            successes: Counter::new(slots),
            failures: Counter::new(slots),
            config,
        }
    }

    /// Admits a call, if the state allows it; a permit that is dropped counts as
    /// [`Outcome::Ignored`].
    ///
    /// # Errors
    ///
    /// [`Rejected`] says why not, and when to come back.
    pub fn try_acquire(&self, now: Instant) -> Result<Permit<&Self>, Rejected> {
        self.admit(now).map(|ticket| Permit { breaker: self, ticket: Some(ticket) })
    }

    /// As [`try_acquire`](Self::try_acquire), with a permit that has no lifetime.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(
        self: &Arc<Self>,
        now: Instant,
    ) -> Result<Permit<Arc<Self>>, Rejected> {
        self.admit(now).map(|ticket| Permit { breaker: Arc::clone(self), ticket: Some(ticket) })
    }

    /// Admits a call that the caller reports.
    ///
    /// A trial that is never reported is replaced after [`Config::trial_time`].
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn admit(&self, now: Instant) -> Result<Ticket, Rejected> {
        let mut word = self.state.load(Ordering::Acquire);
        loop {
            let state = State::unpack(word);
            let next = match state.phase {
                Phase::Closed => return Ok(Ticket(state.period())),
                Phase::Open if Millis::floor(now) < state.at => {
                    return Err(self.rejected(Some(state.at.instant())));
                }
                Phase::HalfOpen if state.admitted < self.config.trials() => {
                    State { admitted: state.admitted.saturating_add(1), ..state }
                }
                Phase::HalfOpen if Millis::floor(now) < state.at => return Err(self.rejected(None)),
                // The open time is over, or the trials never came back.
                Phase::Open | Phase::HalfOpen => {
                    let overdue = Millis::after(now, self.config.trial_time());
                    let fresh = State::new(Phase::HalfOpen, state.openings, overdue);
                    State { admitted: 1, ..fresh }
                }
            };
            match self.replace(word, next) {
                Ok(_) => return Ok(Ticket(next.period())),
                Err(newer) => word = newer,
            }
        }
    }

    /// Reports how a call went; says whether the state changed by it.
    pub fn report(&self, now: Instant, Ticket(period): Ticket, outcome: Outcome) -> Option<Change> {
        let state = State::unpack(self.state.load(Ordering::Acquire));
        if state.period() != period {
            return None; // of a time that is over
        }
        match (period.phase(), outcome) {
            (Phase::Closed, Outcome::Success) => {
                self.succeeded(now);
                None
            }
            (Phase::Closed, Outcome::Failure) => {
                let reason = self.failed(now)?;
                self.open(now, period, reason)
            }
            (Phase::HalfOpen, Outcome::Success) => self.trial_succeeded(now, period),
            (Phase::HalfOpen, Outcome::Failure) => self.open(now, period, Reason::Trial),
            (Phase::HalfOpen, Outcome::Ignored) => {
                self.give_back(period);
                None
            }
            (Phase::Closed, Outcome::Ignored) | (Phase::Open, _) => None,
        }
    }

    /// Opens it, whatever its calls do; `None` if it is open.
    pub fn trip(&self, now: Instant) -> Option<Change> {
        let period = State::unpack(self.state.load(Ordering::Acquire)).period();
        self.open(now, period, Reason::Tripped)
    }

    /// Closes it and forgets all failures; `None` if it is closed.
    pub fn reset(&self, now: Instant) -> Option<Change> {
        let word = self.state.load(Ordering::Acquire);
        let state = State::unpack(word);
        if state.phase == Phase::Closed {
            self.forget();
            return None;
        }
        self.close(word, State::new(Phase::Closed, 0, Millis::floor(now)), state.phase).ok()
    }

    /// What it does now, and why.
    #[must_use]
    pub fn status(&self, now: Instant) -> Status {
        let state = State::unpack(self.state.load(Ordering::Acquire));
        let newest = self.slots.advance(now);
        let (successes, failures) = (self.successes.sum(newest), self.failures.sum(newest));
        Status {
            phase: state.phase,
            openings: state.openings,
            reason: (state.openings > 0).then(|| self.reason()),
            retry_after: (state.phase == Phase::Open).then(|| state.at.instant().since(now)),
            in_a_row: self.in_a_row.load(Ordering::Relaxed),
            failures,
            calls: successes.saturating_add(failures),
            window: self.config.window(),
            admitted: state.admitted,
            succeeded: state.succeeded,
            trials: self.config.trials(),
        }
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    fn reason(&self) -> Reason {
        Reason::unpack(self.reason.load(Ordering::Relaxed))
    }

    fn rejected(&self, retry_at: Option<Instant>) -> Rejected {
        Rejected { reason: self.reason(), retry_at }
    }

    fn replace(&self, word: u64, next: State) -> Result<u64, u64> {
        self.state.compare_exchange(word, next.pack(), Ordering::AcqRel, Ordering::Acquire)
    }

    fn succeeded(&self, now: Instant) {
        // Read first: a row of successes writes nothing here.
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        if self.config.failure_percent() > 0 {
            self.successes.add(&self.slots, now);
        }
    }

    /// Counts a failure; says whether it is one too many.
    fn failed(&self, now: Instant) -> Option<Reason> {
        let in_a_row = self.in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let percent = u64::from(self.config.failure_percent());
        if percent > 0 {
            self.failures.add(&self.slots, now);
        }
        if (1..=in_a_row).contains(&self.config.failures_in_a_row()) {
            return Some(Reason::InARow { failures: in_a_row });
        }
        let newest = self.slots.newest();
        let failures = self.failures.sum(newest);
        let calls = failures.saturating_add(self.successes.sum(newest));
        let too_many = percent > 0
            && calls >= u64::from(self.config.min_calls())
            && failures.saturating_mul(100) >= calls.saturating_mul(percent);
        let number = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        too_many.then(|| Reason::Share { failures: number(failures), calls: number(calls) })
    }

    /// Opens it, if it still is in `period`.
    fn open(&self, now: Instant, period: Period, reason: Reason) -> Option<Change> {
        let mut word = self.state.load(Ordering::Acquire);
        loop {
            let state = State::unpack(word);
            if state.period() != period {
                return None;
            }
            let openings = match state.phase {
                Phase::Open => return None,
                Phase::HalfOpen => state.openings.saturating_add(1),
                Phase::Closed if self.is_relapse(now, state) => state.openings.saturating_add(1),
                Phase::Closed => 1,
            };
            // As many as a state can hold: open times stop growing long before.
            let openings = openings.min(63);
            let time = self.config.open_time(openings);
            let most = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let most = most / 100 * u64::from(self.config.jitter_percent());
            let jitter = between(0, most, mixed(self.seed ^ now.as_nanos()));
            let until = Millis::after(now + time, std::time::Duration::from_nanos(jitter));
            match self.replace(word, State::new(Phase::Open, openings, until)) {
                Ok(_) => {
                    self.reason.store(reason.pack(), Ordering::Relaxed);
                    return Some(Change { from: state.phase, to: Phase::Open, reason });
                }
                Err(newer) => word = newer,
            }
        }
    }

    /// Whether a closed breaker was closed for a shorter time than it was open before.
    fn is_relapse(&self, now: Instant, closed: State) -> bool {
        closed.openings > 0
            && now.since(closed.at.instant()) < self.config.open_time(closed.openings)
    }

    fn trial_succeeded(&self, now: Instant, period: Period) -> Option<Change> {
        let mut word = self.state.load(Ordering::Acquire);
        loop {
            let state = State::unpack(word);
            if state.period() != period {
                return None;
            }
            let succeeded = state.succeeded.saturating_add(1);
            let result = if succeeded < self.config.trials() {
                self.replace(word, State { succeeded, ..state }).map(|_| None)
            } else {
                let closed = State::new(Phase::Closed, state.openings, Millis::floor(now));
                self.close(word, closed, state.phase).map(Some)
            };
            match result {
                Ok(change) => return change,
                Err(newer) => word = newer,
            }
        }
    }

    fn close(&self, word: u64, closed: State, from: Phase) -> Result<Change, u64> {
        // Before the change: while it is not closed, nobody counts.
        self.forget();
        self.replace(word, closed)?;
        Ok(Change { from, to: Phase::Closed, reason: self.reason() })
    }

    fn forget(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
        self.successes.clear();
        self.failures.clear();
    }

    /// Lets another trial take the place of one that says nothing.
    fn give_back(&self, period: Period) {
        let _of_another_time =
            self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let state = State::unpack(word);
                let admitted = state.admitted.checked_sub(1)?;
                (state.period() == period).then(|| State { admitted, ..state }.pack())
            });
    }
}

/// A call that was admitted; dropping it counts as [`Outcome::Ignored`].
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing about the call"]
pub struct Permit<B: Deref<Target = Breaker>> {
    breaker: B,
    ticket: Option<Ticket>,
}

impl<B: Deref<Target = Breaker>> Permit<B> {
    /// Reports how the call went; says whether the state changed by it.
    pub fn finish(mut self, now: Instant, outcome: Outcome) -> Option<Change> {
        self.breaker.report(now, self.ticket.take()?, outcome)
    }

    /// Whether the call is one of the few that decide whether the breaker closes.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.ticket.as_ref().is_some_and(Ticket::is_trial)
    }
}

impl<B: Deref<Target = Breaker>> Drop for Permit<B> {
    fn drop(&mut self) {
        if let Some(Ticket(period)) = self.ticket.take().filter(Ticket::is_trial) {
            self.breaker.give_back(period);
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
