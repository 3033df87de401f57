//! How much runs at once, how monitors recur, and what counts as a failure.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::failures::Counting;
use super::schedule::Schedule;

/// The executor's budgets and rules.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::executor::{Limits, Missed, Schedule};
///
/// let limits = Limits::builder()
///     .monitors(2)
///     .schedule(Schedule::Fixed(Missed::CatchUp))
///     .silent_monitors(3) // slow is not dead
///     .failure_window(Duration::from_secs(600))
///     .build()?;
/// assert!(Limits::builder().stops(0).actions(0).build().is_err());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub(super) stops: usize,
    pub(super) actions: usize,
    pub(super) probes: usize,
    pub(super) monitors: usize,
    pub(super) schedule: Schedule,
    pub(super) load_threshold: Option<u32>,
    pub(super) counting: Counting,
    pub(super) failed_monitors: u32,
    pub(super) silent_monitors: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stops: 32,
            actions: 8,
            probes: 8,
            monitors: 8,
            schedule: Schedule::default(),
            load_threshold: None,
            counting: Counting::Forever,
            failed_monitors: 1,
            silent_monitors: 1,
        }
    }
}

/// Collects the settings of [`Limits`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder does nothing until build() is called"]
pub struct LimitsBuilder(Limits);

impl Limits {
    /// The largest budget.
    pub const MAX: usize = 1024;
    /// The largest number of monitors in a row that can be asked for.
    pub const MAX_IN_ROW: u32 = 100;

    /// The defaults: 32 stops, 8 actions, 8 probes, 8 recurring monitors at once, whatever the
    /// load; a fixed schedule; each failure counts and does not expire.
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

    /// Sets how many monitors that are done once (probes above all) run at once, 1 to 1024: those
    /// of a node that joins do not keep the recurring ones waiting. Default: 8.
    pub const fn probes(mut self, most: usize) -> Self {
        self.0.probes = most;
        self
    }

    /// Sets how many recurring monitors run at once, 1 to 1024. Default: 8; Pacemaker has no
    /// limit for them.
    pub const fn monitors(mut self, most: usize) -> Self {
        self.0.monitors = most;
        self
    }

    /// Sets from where the next run of a recurring monitor is counted. Default: a fixed schedule
    /// that skips what it misses.
    pub const fn schedule(mut self, schedule: Schedule) -> Self {
        self.0.schedule = schedule;
        self
    }

    /// Sets the load average of a processor, in percent, 1 to 10000, above which less runs at
    /// once: see [`Load`](super::Load). Stops and demotes are not held up by it. Default: none;
    /// Pacemaker's `load-threshold` is 80 by default and holds up its controller's orders only.
    pub const fn load_threshold(mut self, percent: u32) -> Self {
        self.0.load_threshold = Some(percent);
        self
    }

    /// Sets when the failures of a resource are forgotten, counted from its last one (Pacemaker's
    /// `failure-timeout`). Default: never. Of this and [`failure_window`](Self::failure_window)
    /// the last one given holds.
    pub const fn failure_expiry(mut self, expiry: Duration) -> Self {
        self.0.counting = Counting::UntilQuiet(expiry);
        self
    }

    /// Sets that only the failures of the last `window` count, each for itself. Default: all do.
    pub const fn failure_window(mut self, window: Duration) -> Self {
        self.0.counting = Counting::Within(window);
        self
    }

    /// Sets how many runs of a recurring monitor in a row must fail before the failure counts, by
    /// an answer, 1 to 100. Default: 1, as in Pacemaker.
    pub const fn failed_monitors(mut self, in_row: u32) -> Self {
        self.0.failed_monitors = in_row;
        self
    }

    /// Sets how many runs of a recurring monitor in a row must fail before one that gives no
    /// answer in time counts, 1 to 100: slow is not dead. Default: 1, as in Pacemaker.
    pub const fn silent_monitors(mut self, in_row: u32) -> Self {
        self.0.silent_monitors = in_row;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All that are out of range.
    pub fn build(self) -> Result<Limits, ConfigError> {
        let mut problems = Problems::new();
        let Limits { stops, actions, probes, monitors, .. } = self.0;
        for (name, value) in
            [("stops", stops), ("actions", actions), ("probes", probes), ("monitors", monitors)]
        {
            if !(1..=Limits::MAX).contains(&value) {
                problems.add(format!("executor.{name}"), value, "1 to 1024");
            }
        }
        let in_row = [
            ("failed_monitors", self.0.failed_monitors),
            ("silent_monitors", self.0.silent_monitors),
        ];
        for (name, value) in in_row {
            if !(1..=Limits::MAX_IN_ROW).contains(&value) {
                problems.add(format!("executor.{name}"), value, "1 to 100");
            }
        }
        if let Some(percent) = self.0.load_threshold.filter(|p| !(1..=10_000).contains(p)) {
            problems.add("executor.load_threshold", percent, "1 to 10000 percent");
        }
        problems.into_result(self.0)
    }
}
