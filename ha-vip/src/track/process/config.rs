//! Which processes are tracked, and how many must run.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::ProcessTracker;
use super::scan::Pattern;

const MIN_INTERVAL: Duration = Duration::from_millis(10);
const MAX_TIME: Duration = Duration::from_hours(1);

/// How the parameters of a command line are compared (keepalived's `param_match`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ParamMatch {
    /// They are the same, and there are no others.
    #[default]
    Exact,
    /// The first ones are the same; others may follow.
    Partial,
    /// As partial, and the last one need only begin so.
    Initial,
}

/// Builds a [`ProcessTracker`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ProcessBuilder {
    name: String,
    pattern: Pattern,
    pub(super) quorum: usize,
    pub(super) quorum_max: Option<usize>,
    pub(super) fork_delay: Duration,
    pub(super) terminate_delay: Duration,
    pub(super) interval: Duration,
}

impl ProcessBuilder {
    pub(super) const fn new(name: String, pattern: Pattern) -> Self {
        Self {
            name,
            pattern,
            quorum: 1,
            quorum_max: None,
            fork_delay: Duration::ZERO,
            terminate_delay: Duration::ZERO,
            interval: Duration::from_secs(1),
        }
    }

    /// How the parameters are compared; default [`ParamMatch::Exact`]. Of processes that are
    /// tracked by name or id it changes nothing.
    pub fn param_match(mut self, how: ParamMatch) -> Self {
        if let Pattern::CommandLine(_, present) = &mut self.pattern {
            *present = how;
        }
        self
    }

    /// How many must run at least (keepalived's `quorum`); default 1.
    pub const fn quorum(mut self, quorum: usize) -> Self {
        self.quorum = quorum;
        self
    }

    /// How many may run at most (keepalived's `quorum_max`); default: any number. With 0, and a
    /// quorum of 0, the processes must not run.
    pub const fn quorum_max(mut self, max: usize) -> Self {
        self.quorum_max = Some(max);
        self
    }

    /// How long enough of them must have run before that is told (keepalived's `fork_delay`), up
    /// to an hour; default 0.
    pub const fn fork_delay(mut self, delay: Duration) -> Self {
        self.fork_delay = delay;
        self
    }

    /// How long too few must have run before that is told (keepalived's `terminate_delay`), up to
    /// an hour; default 0. It lets a service restart unnoticed: choose it longer than the interval
    /// and the restart together.
    pub const fn terminate_delay(mut self, delay: Duration) -> Self {
        self.terminate_delay = delay;
        self
    }

    /// How often `/proc` is read for new processes, 10 ms to an hour; default 1 s. A reading costs
    /// some ten microseconds a process of the machine.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Makes the tracker.
    ///
    /// # Errors
    ///
    /// All settings that are out of range.
    pub fn build(mut self) -> Result<ProcessTracker, ConfigError> {
        let mut problems = Problems::new();
        if let Some(max) = self.quorum_max.filter(|max| *max < self.quorum) {
            problems.add("quorum_max", max, format!("at least the quorum, {}", self.quorum));
        }
        if !(MIN_INTERVAL..=MAX_TIME).contains(&self.interval) {
            problems.add("interval", format!("{:?}", self.interval), "10 ms to 1 h");
        }
        let delays = [("fork_delay", self.fork_delay), ("terminate_delay", self.terminate_delay)];
        for (path, delay) in delays {
            if delay > MAX_TIME {
                problems.add(path, format!("{delay:?}"), "up to 1 h");
            }
        }
        let (path, allowed) = match &self.pattern {
            Pattern::Name(name) if name.is_empty() => ("process", "a name"),
            Pattern::CommandLine(line, _) if line.is_empty() => ("process", "a command"),
            Pattern::Pid(..=0) => ("pid", "1 to 4194304"),
            Pattern::Name(_) | Pattern::CommandLine(..) | Pattern::Pid(_) | Pattern::Nothing => {
                ("", "")
            }
        };
        if !path.is_empty() {
            problems.add(path, "none", allowed);
        }
        let name = std::mem::take(&mut self.name);
        let pattern = std::mem::replace(&mut self.pattern, Pattern::Nothing);
        problems.into_result(()).map(|()| ProcessTracker::new(name, self, pattern))
    }
}
