//! What command to run, and when.

use std::ffi::OsString;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::health::RiseFall;

use super::CommandTracker;
use crate::child::Spec;

const MIN: Duration = Duration::from_millis(1);
/// A day: longer is a mistake of the unit.
const MAX: Duration = Duration::from_hours(24);

/// Builds a [`CommandTracker`].
#[derive(Debug, Clone)]
#[must_use]
pub struct CommandBuilder {
    name: String,
    pub(super) spec: Spec,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    timeout_is_set: bool,
    pub(super) thresholds: RiseFall,
    pub(super) init_fail: bool,
}

impl CommandBuilder {
    pub(super) fn new(name: String, program: OsString) -> Self {
        let interval = Duration::from_secs(1);
        Self {
            name,
            spec: Spec::new(program),
            interval,
            timeout: interval,
            timeout_is_set: false,
            thresholds: RiseFall::IMMEDIATE,
            init_fail: false,
        }
    }

    /// Adds arguments, each as it is: no shell looks at them.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.spec.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. There are no others but `PATH`, which is
    /// `/usr/sbin:/usr/bin:/sbin:/bin` by default.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.spec.environment.insert(key.into(), value.into());
        self
    }

    /// Runs it as this user and group, without any other groups (keepalived's `user`); default:
    /// as this program. Needs to be root.
    pub const fn run_as(mut self, user: u32, group: u32) -> Self {
        self.spec.user = Some((user, group));
        self
    }

    /// From one start to the next, 1 ms to a day; default 1 s (keepalived's). A run that takes
    /// longer puts the next one off.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// After what time a run has failed and is killed, 1 ms to a day; default: the interval.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.timeout_is_set = true;
        self
    }

    /// How many runs in a row turn the verdict; default 1 each (keepalived's). The first run
    /// decides at once.
    pub const fn rise_fall(mut self, thresholds: RiseFall) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// Counts it as down until it has passed `rise` times (keepalived's `init_fail`); default: it
    /// is unknown until the first run has ended.
    pub const fn init_fail(mut self, init_fail: bool) -> Self {
        self.init_fail = init_fail;
        self
    }

    /// Makes the tracker, which runs nothing until it is asked.
    ///
    /// # Errors
    ///
    /// All settings that are out of range, and strings that hold a NUL byte.
    pub fn build(mut self) -> Result<CommandTracker, ConfigError> {
        if !self.timeout_is_set {
            self.timeout = self.interval;
        }
        let mut problems = Problems::new();
        if self.spec.program.is_empty() {
            problems.add("command", "\"\"", "a program");
        }
        for string in self.spec.strings() {
            if string.as_encoded_bytes().contains(&0) {
                problems.add("command", string.display(), "no NUL byte in it");
            }
        }
        for (path, value) in [("interval", self.interval), ("timeout", self.timeout)] {
            if !(MIN..=MAX).contains(&value) {
                problems.add(path, format!("{value:?}"), "1 ms to 24 h");
            }
        }
        let name = std::mem::take(&mut self.name);
        problems.into_result(()).map(|()| CommandTracker::new(name, self))
    }
}
