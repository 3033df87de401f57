//! How much runs at once.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

/// The executor's budgets.
///
/// ```
/// use ha_agents::executor::Limits;
///
/// let limits = Limits::builder().monitors(2).build()?;
/// assert!(Limits::builder().stops(0).actions(0).build().is_err());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub(super) stops: usize,
    pub(super) actions: usize,
    pub(super) monitors: usize,
    pub(super) failure_expiry: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stops: 32, actions: 8, monitors: 8, failure_expiry: None }
    }
}

/// Collects the settings of [`Limits`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until build() is called"]
pub struct LimitsBuilder(Limits);

impl Limits {
    /// The largest budget.
    pub const MAX: usize = 1024;

    /// The defaults: 32 stops, 8 actions, 8 monitors at once; failures do not expire.
    pub fn builder() -> LimitsBuilder {
        LimitsBuilder(Self::default())
    }
}

impl LimitsBuilder {
    /// Sets how many stops and demotes run at once, 1 to 1024. Default: 32.
    pub const fn stops(mut self, most: usize) -> Self {
        self.0.stops = most;
        self
    }

    /// Sets how many starts, promotes and the like run at once, 1 to 1024. Default: 8, about
    /// Pacemaker's `node-action-limit` of twice the processors.
    pub const fn actions(mut self, most: usize) -> Self {
        self.0.actions = most;
        self
    }

    /// Sets how many monitors and probes run at once, 1 to 1024. Default: 8; Pacemaker has no
    /// limit for recurring ones.
    pub const fn monitors(mut self, most: usize) -> Self {
        self.0.monitors = most;
        self
    }

    /// Sets when the failures of a resource are forgotten, counted from its last one (Pacemaker's
    /// `failure-timeout`). Default: never.
    pub const fn failure_expiry(mut self, expiry: Duration) -> Self {
        self.0.failure_expiry = Some(expiry);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All that are out of range.
    pub fn build(self) -> Result<Limits, ConfigError> {
        let mut problems = Problems::new();
        let Limits { stops, actions, monitors, .. } = self.0;
        for (name, value) in [("stops", stops), ("actions", actions), ("monitors", monitors)] {
            if !(1..=Limits::MAX).contains(&value) {
                problems.add(format!("executor.{name}"), value, "1 to 1024");
            }
        }
        problems.into_result(self.0)
    }
}
