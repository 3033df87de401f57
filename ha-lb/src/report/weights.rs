//! The weights that follow from load reports; without I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::time::Instant;

use super::LoadReport;
use crate::endpoint::Weight;
use crate::state::Share;

/// How weights follow from reports; the defaults are those of gRFC A58.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::report::WeightConfig;
///
/// let config = WeightConfig::builder().blackout(Duration::ZERO).build()?;
/// assert_eq!(config.update_period(), Duration::from_secs(1));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WeightConfig {
    inner: WeightConfigBuilder,
}

/// Makes a [`WeightConfig`]; see there.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a builder does nothing until it is built"]
pub struct WeightConfigBuilder {
    blackout: Duration,
    expiration: Duration,
    update_period: Duration,
    error_penalty: f64,
}

impl WeightConfigBuilder {
    /// Sets how long an endpoint must have reported before its weight is used: the first reports of a
    /// fresh one, with cold caches, say little.
    ///
    /// 0 to 24 h; default 10 s (`blackout_period`).
    pub const fn blackout(mut self, period: Duration) -> Self {
        self.blackout = period;
        self
    }

    /// Sets after which time without a report a weight is no longer used.
    ///
    /// 1 ms to 24 h; default 3 min (`weight_expiration_period`).
    pub const fn expiration(mut self, period: Duration) -> Self {
        self.expiration = period;
        self
    }

    /// Sets how often shares are worked out anew.
    ///
    /// 100 ms to 24 h; default 1 s (`weight_update_period`).
    pub const fn update_period(mut self, period: Duration) -> Self {
        self.update_period = period;
        self
    }

    /// Sets how much errors count: the part of requests that fail, times this, is added to the
    /// utilisation.
    ///
    /// 0 to 1000; default 1 (`error_utilization_penalty`).
    pub const fn error_penalty(mut self, penalty: f64) -> Self {
        self.error_penalty = penalty;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<WeightConfig, ConfigError> {
        const DAY: Duration = Duration::from_hours(24);
        let ms = Duration::from_millis;
        let mut problems = Problems::new();
        for (path, period, least, allowed) in [
            ("blackout", self.blackout, Duration::ZERO, "0 to 24 h"),
            ("expiration", self.expiration, ms(1), "1 ms to 24 h"),
            ("update_period", self.update_period, ms(100), "100 ms to 24 h"),
        ] {
            if !(least..=DAY).contains(&period) {
                problems.add(path, format!("{period:?}"), allowed);
            }
        }
        // What is not a number is in no range.
        if !(0.0..=1000.0).contains(&self.error_penalty) {
            problems.add("error_penalty", self.error_penalty, "0 to 1000");
        }
        problems.into_result(WeightConfig { inner: self })
    }
}

impl Default for WeightConfig {
    fn default() -> Self {
        Self { inner: Self::builder() }
    }
}

impl WeightConfig {
    /// Starts with the defaults.
    pub const fn builder() -> WeightConfigBuilder {
        WeightConfigBuilder {
            blackout: Duration::from_secs(10),
            expiration: Duration::from_mins(3),
            update_period: Duration::from_secs(1),
            error_penalty: 1.0,
        }
    }

    /// How often shares are worked out anew.
    #[must_use]
    pub const fn update_period(&self) -> Duration {
        self.inner.update_period
    }

    /// The weight of a report; `None` if it says too little.
    fn weight(&self, report: &LoadReport) -> Option<f64> {
        let (rps, load) = (report.rps(), report.load());
        if rps <= 0.0 || load <= 0.0 {
            return None;
        }
        let weight = rps / (load + report.eps() / rps * self.inner.error_penalty);
        (weight.is_finite() && weight > 0.0).then_some(weight)
    }
}

#[derive(Debug, Clone, Copy)]
struct Reported {
    weight: f64,
    /// Since when it reports without a gap.
    since: Instant,
    last: Instant,
}

/// Collects load reports and works out shares from them; `K` names endpoints.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::endpoint::Weight;
/// use ha_lb::report::{LoadReport, WeightConfig, WeightReports};
///
/// let mut reports = WeightReports::new(WeightConfig::builder().blackout(Duration::ZERO).build()?);
/// let now = Instant::from_secs(100);
/// // The same work costs one of them twice as much.
/// reports.report(now, "fast", &LoadReport::new(0.3, 100.0));
/// reports.report(now, "slow", &LoadReport::new(0.6, 100.0));
/// let shares = reports.shares(now, [("fast", Weight::ONE), ("slow", Weight::ONE)]);
/// assert_eq!(shares[&"slow"].parts(), 128);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct WeightReports<K> {
    config: WeightConfig,
    reported: BTreeMap<K, Reported>,
}

impl<K: Ord + Clone> WeightReports<K> {
    /// No report yet.
    #[must_use]
    pub const fn new(config: WeightConfig) -> Self {
        Self { config, reported: BTreeMap::new() }
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &WeightConfig {
        &self.config
    }

    /// Takes a report in. One that says too little (no requests, no utilisation) changes nothing.
    pub fn report(&mut self, now: Instant, key: K, report: &LoadReport) {
        let Some(weight) = self.config.weight(report) else { return };
        let expiration = self.config.inner.expiration;
        let reported = Reported { weight, since: now, last: now };
        let entry = self.reported.entry(key).or_insert(reported);
        if now.since(entry.last) >= expiration {
            entry.since = now;
        }
        (entry.weight, entry.last) = (weight, now);
    }

    /// The weight of an endpoint by its reports; `None` if they are too few or too old.
    #[must_use]
    pub fn weight(&self, now: Instant, key: &K) -> Option<f64> {
        let reported = self.reported.get(key)?;
        let fresh = now.since(reported.last) < self.config.inner.expiration;
        let settled = now.since(reported.since) >= self.config.inner.blackout;
        (fresh && settled).then_some(reported.weight)
    }

    /// The share of each of these endpoints, so that work is in proportion to the reported weights; the
    /// list's weights, which are given, are made up for.
    ///
    /// Who has no weight counts as the mean of the others. With fewer than two weights all have
    /// their whole share. Reports of endpoints that are not among these are forgotten.
    pub fn shares(
        &mut self,
        now: Instant,
        endpoints: impl IntoIterator<Item = (K, Weight)>,
    ) -> BTreeMap<K, Share> {
        let listed: BTreeMap<K, Weight> = endpoints.into_iter().collect();
        self.reported.retain(|key, _| listed.contains_key(key));
        let weights: BTreeMap<&K, f64> =
            listed.keys().filter_map(|key| Some((key, self.weight(now, key)?))).collect();
        if weights.len() < 2 {
            return listed.into_keys().map(|key| (key, Share::WHOLE)).collect();
        }
        let count = f64::from(u32::try_from(weights.len()).unwrap_or(u32::MAX));
        // Divided first: the sum of all may be too large for a number.
        let mean: f64 = weights.values().map(|weight| weight / count).sum();
        let parts = listed.iter().map(|(key, weight)| {
            let reported = weights.get(key).copied().unwrap_or(mean);
            (key.clone(), reported / f64::from(weight.get().max(1)))
        });
        let parts: Vec<(K, f64)> = parts.collect();
        let most = parts.iter().map(|(_, part)| *part).fold(0.0, f64::max);
        parts.into_iter().map(|(key, part)| (key, share(part / most))).collect()
    }
}

fn share(part: f64) -> Share {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 256; what is not a number is 0"
    )]
    let parts = (part * 256.0).round().clamp(0.0, 256.0) as u16;
    Share::of_parts(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Instant = Instant::from_secs(1_000);

    fn at(seconds: u64) -> Instant {
        START + Duration::from_secs(seconds)
    }

    fn parts(reports: &mut WeightReports<u8>, now: Instant, listed: &[(u8, u16)]) -> Vec<u16> {
        let weight = |number| Weight::new(number).expect("in range");
        let listed = listed.iter().map(|(key, number)| (*key, weight(*number)));
        reports.shares(now, listed).values().map(|share| share.parts()).collect()
    }

    #[test]
    fn a_weight_is_work_by_utilisation_less_for_errors() {
        let config = WeightConfig::default();
        let close = |report: &LoadReport, expected: Option<f64>| {
            let weight = config.weight(report);
            let same = match (weight, expected) {
                (Some(own), Some(other)) => (own - other).abs() < 1e-9,
                (own, other) => own == other,
            };
            assert!(same, "{weight:?}, not {expected:?} of {report:?}");
        };
        close(&LoadReport::new(0.5, 100.0), Some(200.0));
        close(&LoadReport::new(0.5, 100.0).with_eps(50.0), Some(100.0));
        close(&LoadReport::new(0.5, 100.0).with_application_utilization(2.0), Some(50.0));
        close(&LoadReport::new(0.0, 100.0), None);
        close(&LoadReport::new(0.5, 0.0), None);
        close(&LoadReport::new(f64::MIN_POSITIVE, f64::MAX), None);
    }

    #[test]
    fn reports_count_after_the_blackout_and_until_they_expire() {
        let mut reports = WeightReports::new(WeightConfig::default());
        let listed = [(1, 1), (2, 1), (3, 1)];
        for second in 0..=10 {
            for (key, cpu) in [(1, 0.2), (2, 0.8)] {
                reports.report(at(second), key, &LoadReport::new(cpu, 100.0));
            }
            let expected = if second < 10 { [256; 3] } else { [256, 64, 160] };
            assert_eq!(parts(&mut reports, at(second), &listed), expected, "after {second} s");
        }
        // The third has said nothing: it counts as the mean of 500 and 125.
        assert_eq!(reports.weight(at(10 + 179), &1), Some(500.0));
        assert_eq!(reports.weight(at(10 + 180), &1), None);
        assert_eq!(parts(&mut reports, at(190), &listed), [256; 3]);
        // After a gap the blackout begins anew.
        reports.report(at(200), 1, &LoadReport::new(0.2, 100.0));
        assert_eq!(reports.weight(at(209), &1), None);
        assert_eq!(reports.weight(at(210), &1), Some(500.0));
        // Who leaves is forgotten.
        parts(&mut reports, at(210), &[(2, 1), (3, 1)]);
        assert_eq!(reports.weight(at(210), &1), None);
    }

    #[test]
    fn the_list_s_weights_are_made_up_for() {
        let config = WeightConfig::builder().blackout(Duration::ZERO).build().expect("in range");
        let mut reports = WeightReports::new(config);
        for key in [1, 2] {
            reports.report(START, key, &LoadReport::new(0.5, 100.0));
        }
        // Equal machines at weights 1 and 4: a quarter of the share of the second.
        assert_eq!(parts(&mut reports, START, &[(1, 1), (2, 4)]), [256, 64]);
        assert_eq!(parts(&mut reports, START, &[(1, 0), (2, 1)]), [256, 256]);
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let error = WeightConfig::builder()
            .blackout(Duration::from_hours(25))
            .expiration(Duration::ZERO)
            .update_period(Duration::from_millis(99))
            .error_penalty(f64::NAN)
            .build()
            .expect_err("all wrong");
        assert_eq!(error.problems().len(), 4, "{error}");
    }

    proptest! {
        #[test]
        fn shares_are_in_proportion_and_one_is_whole(
            loads in prop::collection::vec((0.01_f64..1.0, 1.0_f64..1e4, 1_u16..=256), 2..20),
        ) {
            let config = WeightConfig::builder().blackout(Duration::ZERO).build().expect("fine");
            let mut reports = WeightReports::new(config);
            let mut listed = Vec::new();
            for (key, (cpu, rps, weight)) in (0_u8..).zip(&loads) {
                reports.report(START, key, &LoadReport::new(*cpu, *rps));
                listed.push((key, *weight));
            }
            let parts = parts(&mut reports, START, &listed);
            prop_assert_eq!(parts.iter().max(), Some(&256));
            let wanted = loads.iter().map(|(cpu, rps, weight)| rps / cpu / f64::from(*weight));
            let wanted: Vec<f64> = wanted.collect();
            let most = wanted.iter().copied().fold(0.0, f64::max);
            for (part, wanted) in parts.iter().zip(&wanted) {
                prop_assert!((f64::from(*part) - wanted / most * 256.0).abs() <= 1.0);
            }
        }

        #[test]
        fn no_report_breaks_it(numbers in prop::collection::vec(any::<[f64; 4]>(), 1..8)) {
            let config = WeightConfig::builder().blackout(Duration::ZERO).build().expect("fine");
            let mut reports = WeightReports::new(config);
            let mut listed = Vec::new();
            for (key, [cpu, rps, eps, application]) in (0_u8..).zip(numbers) {
                let report = LoadReport::new(cpu, rps).with_eps(eps);
                let report = report.with_application_utilization(application);
                reports.report(START, key, &report);
                listed.push((key, 1));
            }
            let parts = parts(&mut reports, START, &listed);
            prop_assert!(parts.iter().all(|part| (1..=256).contains(part)));
        }
    }
}
