//! The settings of a [`Roster`](super::Roster).

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::{Incarnation, NodeName};

use crate::detector::DeadlineDetector;
use crate::quorum::VoteQuorum;

/// The shortest heartbeat interval: below it, a loaded host's scheduling is longer.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// The settings of a node's roster; made by [`RosterConfig::builder`].
#[derive(Debug, Clone)]
pub struct RosterConfig {
    me: NodeName,
    incarnation: Incarnation,
    quorum: VoteQuorum,
    interval: Duration,
    detector: DeadlineDetector,
}

impl RosterConfig {
    /// Settings for the node `me` among the nodes that `quorum` names.
    pub fn builder(me: NodeName, quorum: VoteQuorum) -> RosterConfigBuilder {
        RosterConfigBuilder {
            me,
            quorum,
            incarnation: Incarnation::FIRST,
            interval: Duration::from_millis(100),
            suspect_after: None,
            dead_after: None,
        }
    }

    /// The name of the node.
    #[must_use]
    pub const fn me(&self) -> &NodeName {
        &self.me
    }

    /// Which life of the node this is.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Who votes.
    #[must_use]
    pub const fn quorum(&self) -> &VoteQuorum {
        &self.quorum
    }

    /// The time between two heartbeats.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn detector(&self) -> DeadlineDetector {
        self.detector.clone()
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn in_life(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = incarnation;
        self
    }
}

/// Collects the settings of a [`RosterConfig`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct RosterConfigBuilder {
    me: NodeName,
    quorum: VoteQuorum,
    incarnation: Incarnation,
    interval: Duration,
    suspect_after: Option<Duration>,
    dead_after: Option<Duration>,
}

impl RosterConfigBuilder {
    /// Sets which life of the node this is; each must be higher than the last. Default: 1.
    pub const fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// Sets the time between two heartbeats; at least 1 ms. Default: 100 ms.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets after how much silence a member is suspect; longer than the interval. Default: three
    /// intervals.
    pub const fn suspect_after(mut self, silence: Duration) -> Self {
        self.suspect_after = Some(silence);
        self
    }

    /// Sets after how much silence a member is unreachable; longer than `suspect_after`. Default:
    /// ten intervals. Shorter finds failures sooner and mistakes more pauses for failures.
    pub const fn dead_after(mut self, silence: Duration) -> Self {
        self.dead_after = Some(silence);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn build(self) -> Result<RosterConfig, ConfigError> {
        let mut problems = Problems::new();
        if self.interval < MIN_INTERVAL {
            problems.add("interval", format!("{:?}", self.interval), "at least 1 ms");
        }
        if !self.quorum.votes().contains_key(&self.me) {
            problems.add("me", &self.me, "one of the nodes that quorum names");
        }
        let suspect_after = self.suspect_after.unwrap_or(self.interval.saturating_mul(3));
        let dead_after = self.dead_after.unwrap_or(self.interval.saturating_mul(10));
        if suspect_after <= self.interval && self.interval >= MIN_INTERVAL {
            let allowed = format!("longer than interval, {:?}", self.interval);
            problems.add("suspect_after", format!("{suspect_after:?}"), allowed);
        }
        let detector = match DeadlineDetector::new(suspect_after, dead_after) {
            Ok(detector) => detector,
            Err(error) => {
                problems.absorb(error.clone());
                return Err(problems.into_result(()).err().unwrap_or(error));
            }
        };
        problems.into_result(RosterConfig {
            me: self.me,
            incarnation: self.incarnation,
            quorum: self.quorum,
            interval: self.interval,
            detector,
        })
    }
}
