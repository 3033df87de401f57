//! The settings of Prequal.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::probes::SLOTS;

/// The most uses of an answer, where the paper's formula has no bound.
const MOST_USES: f64 = 16.0;

/// How many probes there are, how long answers count, what is hot.
///
/// ```
/// use ha_lb::algorithm::prequal::PrequalConfig;
///
/// let config = PrequalConfig::builder().probes_per_pick(1.5).build()?;
/// assert_eq!(config.probes_per_pick(), 1.5);
/// let error = PrequalConfig::builder().pool_size(99).probes_per_pick(-1.0).build().unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrequalConfig {
    probes_per_pick: f64,
    removals_per_pick: f64,
    pool_size: usize,
    max_age: Duration,
    quantile: f64,
}

/// Makes a [`PrequalConfig`]; see there.
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until it is built"]
pub struct PrequalBuilder {
    config: PrequalConfig,
}

impl PrequalBuilder {
    /// Sets how many probes each pick causes: above 0, up to 16; default 3. A fraction is fine:
    /// with 0.5 every other pick causes one. The paper's `r_probe`.
    pub const fn probes_per_pick(mut self, probes: f64) -> Self {
        self.config.probes_per_pick = probes;
        self
    }

    /// Sets how many answers each pick removes, the worst and the oldest in turn: 0 to 16; default
    /// 1. The paper's `r_remove`; keep it below the probes.
    pub const fn removals_per_pick(mut self, removals: f64) -> Self {
        self.config.removals_per_pick = removals;
        self
    }

    /// Sets how many answers are kept: 2 to 16; default 16. The paper's `m`.
    pub const fn pool_size(mut self, answers: usize) -> Self {
        self.config.pool_size = answers;
        self
    }

    /// Sets how long an answer counts: 10 ms to 1 h; default 1 s.
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.config.max_age = age;
        self
    }

    /// Sets above which part of all answers' requests in flight an endpoint is hot: 0 to 1; default
    /// 2^-0.25 = 0.84. With 0 picks go by requests in flight alone, with 1 by latency alone. The
    /// paper's `Q_RIF`.
    pub const fn hot_quantile(mut self, quantile: f64) -> Self {
        self.config.quantile = quantile;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<PrequalConfig, ConfigError> {
        let PrequalConfig { probes_per_pick, removals_per_pick, pool_size, max_age, quantile } =
            self.config;
        let mut problems = Problems::new();
        if !(probes_per_pick > 0.0 && probes_per_pick <= 16.0) {
            problems.add("probes_per_pick", probes_per_pick, "above 0, up to 16");
        }
        if !(0.0..=16.0).contains(&removals_per_pick) {
            problems.add("removals_per_pick", removals_per_pick, "0 to 16");
        }
        if !(2..=SLOTS).contains(&pool_size) {
            problems.add("pool_size", pool_size, format!("2 to {SLOTS}"));
        }
        if !(Duration::from_millis(10)..=Duration::from_hours(1)).contains(&max_age) {
            problems.add("max_age", format!("{max_age:?}"), "10 ms to 1 h");
        }
        if !(0.0..=1.0).contains(&quantile) {
            problems.add("hot_quantile", quantile, "0 to 1");
        }
        problems.into_result(self.config)
    }
}

impl Default for PrequalConfig {
    fn default() -> Self {
        Self {
            probes_per_pick: 3.0,
            removals_per_pick: 1.0,
            pool_size: SLOTS,
            max_age: Duration::from_secs(1),
            quantile: 0.840_896,
        }
    }
}

impl PrequalConfig {
    /// Starts with the defaults.
    pub fn builder() -> PrequalBuilder {
        PrequalBuilder { config: Self::default() }
    }

    /// How many probes each pick causes.
    #[must_use]
    pub const fn probes_per_pick(&self) -> f64 {
        self.probes_per_pick
    }

    /// How many answers each pick removes.
    #[must_use]
    pub const fn removals_per_pick(&self) -> f64 {
        self.removals_per_pick
    }

    /// How long an answer counts.
    #[must_use]
    pub const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// How many answers are kept of so many endpoints: of half of them, and of a few in any case.
    pub(super) fn room_for(&self, endpoints: usize) -> usize {
        self.pool_size.min((endpoints / 2).max(endpoints.min(4))).max(2)
    }

    /// The paper's budget: `max(1, (1 + δ) / ((1 - m/n) r_probe - r_remove))`, with δ = 1.
    ///
    /// It keeps the pool full: an answer goes by its last use as fast as a new one comes.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    pub(super) fn reuse(&self, room: usize, endpoints: usize) -> f64 {
        let new = 1.0 - room as f64 / endpoints.max(1) as f64;
        let gained = new * self.probes_per_pick - self.removals_per_pick;
        if gained <= 0.0 { MOST_USES } else { (2.0 / gained).clamp(1.0, MOST_USES) }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    pub(super) fn per_mille(&self) -> u16 {
        (self.quantile.clamp(0.0, 1.0) * 1000.0).round() as u16
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_that_of_the_paper() {
        let config = PrequalConfig::default();
        let reuse = |endpoints| config.reuse(config.room_for(endpoints), endpoints);
        // (1 - 16/100) * 3 - 1 = 1.52; 2 / 1.52 = 1.3158
        assert!((reuse(100) - 1.3158).abs() < 1e-3, "{}", reuse(100));
        // (1 - 5/10) * 3 - 1 = 0.5
        assert!((reuse(10) - 4.0).abs() < 1e-9);
        // More goes than comes: bounded all the same.
        assert!((reuse(2) - MOST_USES).abs() < 1e-9);
        let many = PrequalConfig::builder().probes_per_pick(16.0).build().expect("in range");
        assert!((many.reuse(16, 1_000) - 1.0).abs() < 1e-9, "never less than one");
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let wrong = PrequalConfig::builder()
            .probes_per_pick(f64::NAN)
            .removals_per_pick(f64::INFINITY)
            .hot_quantile(f64::NAN)
            .max_age(Duration::ZERO);
        assert_eq!(wrong.build().expect_err("four are wrong").problems().len(), 4);
    }
}
