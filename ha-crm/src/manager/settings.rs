//! The settings of a node's manager.

use std::sync::Arc;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;
use ha_core::time::{Instant, WallTime};

use crate::model::ClusterConfig;

/// The settings of a [`Manager`](super::Manager).
///
/// ```
/// use std::time::Duration;
/// use ha_crm::Cluster;
/// use ha_crm::manager::ManagerConfig;
///
/// let cluster = Cluster::builder().node("n1".parse()?).build()?;
/// let config = ManagerConfig::builder("n1".parse()?, cluster)
///     .stop_within(Duration::from_millis(200))
///     .build()?;
/// assert_eq!(config.stop_within(), Duration::from_millis(200));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManagerConfig {
    pub(super) me: NodeName,
    pub(super) cluster: Arc<ClusterConfig>,
    pub(super) stop_within: Duration,
    pub(super) fence_delay: Duration,
    pub(super) startup_wait: Duration,
    pub(super) answer_within: Duration,
    pub(super) leave_within: Duration,
    pub(super) repeat: Duration,
    pub(super) epoch: (Instant, WallTime),
    pub(super) safeguards: Safeguards,
}

/// The rules that keep an at-most-one resource from running twice; all in force.
///
/// They can be switched off one by one for one purpose only: to show that the tests notice.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests switch them off by name")]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub struct Safeguards {
    /// A lost node is fenced before its resources start elsewhere.
    pub fencing: bool,
    /// Nothing is started, and nobody leads, without quorum.
    pub quorum: bool,
    /// A node without quorum stops its at-most-one resources.
    pub stop_deadline: bool,
    /// Commands of an older term are refused.
    pub term: bool,
}

impl Safeguards {
    const ALL: Self = Self { fencing: true, quorum: true, stop_deadline: true, term: true };
}

impl ManagerConfig {
    /// Settings for the node `me`, which begins with `cluster` until the store has another one.
    pub fn builder(me: NodeName, cluster: ClusterConfig) -> ManagerConfigBuilder {
        ManagerConfigBuilder(Self {
            me,
            cluster: Arc::new(cluster),
            stop_within: Duration::from_millis(100),
            fence_delay: Duration::from_millis(100),
            startup_wait: Duration::from_secs(10),
            answer_within: Duration::from_secs(2),
            leave_within: Duration::from_secs(30),
            repeat: Duration::from_millis(500),
            epoch: (Instant::ZERO, WallTime::from_micros(0)),
            safeguards: Safeguards::ALL,
        })
    }

    /// The name of the node.
    #[must_use]
    pub const fn me(&self) -> &NodeName {
        &self.me
    }

    /// Within which time a node that has lost quorum has stopped its at-most-one resources.
    #[must_use]
    pub const fn stop_within(&self) -> Duration {
        self.stop_within
    }

    /// How long after a node was lost it is fenced.
    #[must_use]
    pub const fn fence_delay(&self) -> Duration {
        self.fence_delay
    }

    /// The calendar time at `now`, from what was said of the start.
    pub(super) fn wall(&self, now: Instant) -> WallTime {
        let (start, wall) = self.epoch;
        let since = i64::try_from(now.since(start).as_micros()).unwrap_or(i64::MAX);
        WallTime::from_micros(wall.as_micros().saturating_add(since))
    }

    /// When the calendar will show `at`; zero if it has.
    pub(super) fn instant(&self, at: WallTime) -> Instant {
        let (start, wall) = self.epoch;
        let micros = at.as_micros().saturating_sub(wall.as_micros());
        start + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }
}

/// Collects the settings of a [`ManagerConfig`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct ManagerConfigBuilder(ManagerConfig);

impl ManagerConfigBuilder {
    /// Sets within which time a node that has lost quorum stops its at-most-one resources: their
    /// stops get no more time, and what has not stopped by then makes the node fence itself.
    /// 10 ms to 1 h. Default: 100 ms. Also sets [`fence_delay`](Self::fence_delay).
    ///
    /// A longer time lets a database end in order, and makes every failover longer by as much.
    pub const fn stop_within(mut self, span: Duration) -> Self {
        self.0.stop_within = span;
        self.0.fence_delay = span;
        self
    }

    /// Sets how long after the loss of a node it is fenced; not shorter than
    /// [`stop_within`](Self::stop_within), so that a node that is only cut off has stopped by
    /// itself before. Default: `stop_within`.
    pub const fn fence_delay(mut self, span: Duration) -> Self {
        self.0.fence_delay = span;
        self
    }

    /// Sets for how long nodes that were not seen yet are awaited when the cluster starts, before
    /// they are fenced. Default: 10 s (Pacemaker's `dc-deadtime`: 20 s, waited out even if all
    /// are there; here nothing is waited for once all are).
    pub const fn startup_wait(mut self, span: Duration) -> Self {
        self.0.startup_wait = span;
        self
    }

    /// Sets within which time a member must answer a new leader before it counts as unclean.
    /// 100 ms to 1 h. Default: 2 s.
    pub const fn answer_within(mut self, span: Duration) -> Self {
        self.0.answer_within = span;
        self
    }

    /// Sets how long a node that leaves waits for its resources to be moved, before it stops them
    /// itself. Default: 30 s.
    pub const fn leave_within(mut self, span: Duration) -> Self {
        self.0.leave_within = span;
        self
    }

    /// Sets what the calendar showed at a moment, for failures and moves that end by themselves.
    /// Default: 1970 at the clock's origin.
    pub const fn epoch(mut self, now: Instant, wall: WallTime) -> Self {
        self.0.epoch = (now, wall);
        self
    }

    /// Switches safety rules off: for tests that show that others notice, and for nothing else.
    #[doc(hidden)]
    pub const fn without_safeguards(mut self, left: Safeguards) -> Self {
        self.0.safeguards = left;
        self
    }

    /// All rules in force; to be changed and given to
    /// [`without_safeguards`](Self::without_safeguards).
    #[doc(hidden)]
    #[must_use]
    pub const fn all_safeguards() -> Safeguards {
        Safeguards::ALL
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn build(self) -> Result<ManagerConfig, ConfigError> {
        let mut problems = Problems::new();
        let config = self.0;
        let hour = Duration::from_hours(1);
        if !(Duration::from_millis(10)..=hour).contains(&config.stop_within) {
            problems.add("stop_within", format!("{:?}", config.stop_within), "10 ms to 1 h");
        }
        if config.fence_delay < config.stop_within {
            let allowed = format!(
                "not shorter than stop_within, {:?}: a node that is cut off stops by itself first",
                config.stop_within
            );
            problems.add("fence_delay", format!("{:?}", config.fence_delay), allowed);
        }
        if !(Duration::from_millis(100)..=hour).contains(&config.answer_within) {
            problems.add("answer_within", format!("{:?}", config.answer_within), "100 ms to 1 h");
        }
        if !config.cluster.nodes().contains(&config.me) {
            problems.add("name", &config.me, "a name that stands in `nodes`");
        }
        problems.into_result(config)
    }
}
