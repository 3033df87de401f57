//! The availability ledger: uptime, outages, MTBF, MTTR, nines, and the error budget.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// One time without service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outage {
    /// When service ended.
    pub from: Instant,
    /// When it came back; `None` while it lasts.
    pub to: Option<Instant>,
    /// Why, in words.
    pub cause: String,
    /// Announced maintenance, which the agreement leaves out of the count.
    pub planned: bool,
}

impl Outage {
    /// How long it lasted, or has lasted at `now`.
    #[must_use]
    pub fn duration(&self, now: Instant) -> Duration {
        self.to.unwrap_or(now).since(self.from)
    }
}

/// Keeps account of when a service was up, and why it was not.
///
/// Times that go back count as the last one. At most 10,000 outages are kept one by one; of older
/// ones the sums remain, so the report stays exact.
///
/// ```
/// use std::time::Duration;
/// use ha_core::availability::{AgreedLevel, Ledger};
/// use ha_core::time::Instant;
///
/// let mut ledger = Ledger::new("address 192.0.2.10", Instant::ZERO);
/// ledger.down(Instant::from_secs(600), "lb1 lost power");
/// ledger.up(Instant::from_millis(600_038));
///
/// let report = ledger.report(Instant::from_secs(86_400));
/// assert_eq!(report.mttr, Some(Duration::from_millis(38)));
/// assert!(report.nines() > 6.0);
/// assert!(AgreedLevel::nines(5).budget(&report).is_met());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    service: String,
    start: Instant,
    last: Instant,
    outages: Vec<Outage>,
    /// Outages that fell out of `outages`, and how long they were together.
    older: Tally,
    older_planned: Tally,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    time: Duration,
}

impl Tally {
    fn add(&mut self, duration: Duration) {
        self.count += 1;
        self.time += duration;
    }
}

const MAX_OUTAGES: usize = 10_000;

impl Ledger {
    /// Opens the account of `service`, which is up at `start`.
    pub fn new(service: impl Into<String>, start: Instant) -> Self {
        Self {
            service: service.into(),
            start,
            last: start,
            outages: Vec::new(),
            older: Tally::default(),
            older_planned: Tally::default(),
        }
    }

    /// Service ended at `at`. While it is down already, nothing changes.
    pub fn down(&mut self, at: Instant, cause: impl Into<String>) {
        self.open(at, cause.into(), false);
    }

    /// Service ended at `at` for maintenance that was announced.
    pub fn planned_down(&mut self, at: Instant, cause: impl Into<String>) {
        self.open(at, cause.into(), true);
    }

    /// Service came back at `at`. While it is up already, nothing changes.
    pub fn up(&mut self, at: Instant) {
        self.last = self.last.max(at);
        if let Some(outage) = self.outages.last_mut().filter(|outage| outage.to.is_none()) {
            outage.to = Some(self.last);
        }
    }

    /// Whether the service is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.outages.last().is_none_or(|outage| outage.to.is_some())
    }

    /// The outages that are kept, oldest first.
    #[must_use]
    pub fn outages(&self) -> &[Outage] {
        &self.outages
    }

    /// The name of the service.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Sums the account up at `now`; an outage that lasts still counts up to `now`.
    #[must_use]
    pub fn report(&self, now: Instant) -> Report {
        let now = now.max(self.last);
        let (mut unplanned, mut planned) = (self.older, self.older_planned);
        for outage in &self.outages {
            let tally = if outage.planned { &mut planned } else { &mut unplanned };
            tally.add(outage.duration(now));
        }
        let period = now.since(self.start);
        let agreed = period.saturating_sub(planned.time);
        let uptime = agreed.saturating_sub(unplanned.time);
        let mean = |time: Duration| {
            (unplanned.count > 0).then(|| time.div_f64(u64_to_f64(unplanned.count)))
        };
        Report {
            period,
            planned_downtime: planned.time,
            downtime: unplanned.time,
            uptime,
            outages: unplanned.count,
            mtbf: mean(uptime),
            mttr: mean(unplanned.time),
        }
    }

    fn open(&mut self, at: Instant, cause: String, planned: bool) {
        self.last = self.last.max(at);
        if !self.is_up() {
            return;
        }
        if self.outages.len() == MAX_OUTAGES {
            let oldest = self.outages.remove(0);
            let tally = if oldest.planned { &mut self.older_planned } else { &mut self.older };
            tally.add(oldest.duration(self.last));
        }
        self.outages.push(Outage { from: self.last, to: None, cause, planned });
    }
}

/// The sums of a [`Ledger`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The whole time looked at.
    pub period: Duration,
    /// Announced maintenance, left out of everything below.
    pub planned_downtime: Duration,
    /// Time without service.
    pub downtime: Duration,
    /// Time with service.
    pub uptime: Duration,
    /// How many outages there were.
    pub outages: u64,
    /// Mean time between failures: uptime over outages; `None` without an outage.
    pub mtbf: Option<Duration>,
    /// Mean time to repair: downtime over outages; `None` without an outage.
    pub mttr: Option<Duration>,
}

impl Report {
    /// The share of the agreed time with service, 0.0 to 1.0; 1.0 for an empty period.
    #[must_use]
    pub fn availability(&self) -> f64 {
        let agreed = self.uptime + self.downtime;
        if agreed.is_zero() { 1.0 } else { self.uptime.div_duration_f64(agreed) }
    }

    /// The availability as a number of nines: 0.999 is 3.0; infinite without downtime.
    #[must_use]
    pub fn nines(&self) -> f64 {
        let agreed = self.uptime + self.downtime;
        if self.downtime.is_zero() {
            return f64::INFINITY;
        }
        -self.downtime.div_duration_f64(agreed).log10()
    }
}

/// The availability that was agreed on (SLA), from 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgreedLevel(f64);

impl AgreedLevel {
    /// A level from a share, such as `0.9995`; values outside 0.0 to 1.0 count as the nearer end.
    #[must_use]
    pub const fn new(share: f64) -> Self {
        Self(if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) })
    }

    /// A level from a number of nines: 3 is 0.999.
    #[must_use]
    pub fn nines(nines: u8) -> Self {
        Self(1.0 - 10f64.powi(-i32::from(nines)))
    }

    /// The share.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0
    }

    /// How much downtime the level allows in the report's period, and how much is spent.
    #[must_use]
    pub fn budget(self, report: &Report) -> Budget {
        let agreed = report.uptime + report.downtime;
        Budget { allowed: agreed.mul_f64(1.0 - self.0), spent: report.downtime }
    }
}

/// The error budget: the downtime that an agreed level leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Budget {
    /// What the level allows in the period.
    pub allowed: Duration,
    /// What was used up.
    pub spent: Duration,
}

impl Budget {
    /// Whether no more than the allowed was spent.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.spent <= self.allowed
    }

    /// What is left; zero when overspent.
    #[must_use]
    pub const fn remaining(&self) -> Duration {
        self.allowed.saturating_sub(self.spent)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean of 2^53 outages may be off by one part")]
const fn u64_to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn planned_maintenance_is_left_out_of_the_agreed_time() {
        let mut ledger = Ledger::new("db", Instant::ZERO);
        ledger.planned_down(Instant::from_secs(10), "new kernel");
        ledger.up(Instant::from_secs(20));
        ledger.down(Instant::from_secs(30), "disk");
        let report = ledger.report(Instant::from_secs(40));
        assert_eq!(report.planned_downtime, Duration::from_secs(10));
        assert_eq!(
            (report.downtime, report.uptime),
            (Duration::from_secs(10), Duration::from_secs(20))
        );
        assert_eq!(report.mtbf, Some(Duration::from_secs(20)));
        assert!(!ledger.is_up());
        let budget = AgreedLevel::new(0.5).budget(&report);
        assert_eq!(budget.remaining(), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn uptime_and_downtime_fill_the_period_whatever_happens(
            changes in prop::collection::vec((0u64..1_000, 0u8..3), 0..60),
        ) {
            let mut ledger = Ledger::new("x", Instant::from_millis(100));
            for (at, change) in changes {
                let at = Instant::from_millis(at);
                match change {
                    0 => ledger.up(at),
                    1 => ledger.down(at, "fault"),
                    _ => ledger.planned_down(at, "work"),
                }
            }
            let report = ledger.report(Instant::from_millis(1_000));
            prop_assert_eq!(report.period, Duration::from_millis(900));
            prop_assert_eq!(report.uptime + report.downtime + report.planned_downtime, report.period);
            prop_assert!((0.0..=1.0).contains(&report.availability()));
        }

        #[test]
        fn sums_stay_exact_when_old_outages_are_folded(extra in 1u64..50) {
            let mut ledger = Ledger::new("x", Instant::ZERO);
            let outages = MAX_OUTAGES as u64 + extra;
            for n in 0..outages {
                ledger.down(Instant::from_millis(2 * n), "blip");
                ledger.up(Instant::from_millis(2 * n + 1));
            }
            let report = ledger.report(Instant::from_millis(2 * outages));
            prop_assert_eq!(report.outages, outages);
            prop_assert_eq!(report.downtime, Duration::from_millis(outages));
            prop_assert_eq!(ledger.outages().len(), MAX_OUTAGES);
        }
    }
}
