//! What is done to a resource: how long it may take, how often, and what if it fails.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::span;

/// The operations of a resource agent that a policy plans or hears of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OperationName {
    /// Make the promoted one a copy.
    Demote,
    /// Look whether it runs and works.
    Monitor,
    /// Tell a copy which one is promoted.
    Notify,
    /// Make a copy the promoted one.
    Promote,
    /// Start it.
    Start,
    /// Stop it.
    Stop,
}

impl fmt::Display for OperationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Demote => "demote",
            Self::Monitor => "monitor",
            Self::Notify => "notify",
            Self::Promote => "promote",
            Self::Start => "start",
            Self::Stop => "stop",
        })
    }
}

/// What to do when an operation failed (Pacemaker's `on-fail`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnFail {
    /// Do nothing more with the resource there, until it is cleaned up.
    Block,
    /// Fence the node.
    Fence,
    /// Do as if it had succeeded.
    Ignore,
    /// Stop it and start it again, there or elsewhere.
    Restart,
    /// Take everything off the node, until the failure expires or is cleaned up.
    Standby,
    /// Stop it and leave it stopped, until the failure expires or is cleaned up.
    Stop,
}

/// One operation's settings.
///
/// ```
/// use std::time::Duration;
/// use ha_crm::model::{OnFail, Operation, OperationName};
///
/// let monitor = Operation::new(OperationName::Monitor)
///     .interval(Duration::from_secs(10))
///     .timeout(Duration::from_secs(5))
///     .on_fail(OnFail::Restart);
/// assert_eq!(monitor.interval, Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Operation {
    /// Which operation.
    pub name: OperationName,
    /// How often it is repeated; only monitors are. Default: 0, once.
    #[serde(with = "span", default, skip_serializing_if = "Duration::is_zero")]
    pub interval: Duration,
    /// How long it may take. Above 0. Default: 20 s (Pacemaker's).
    #[serde(with = "span", default = "default_timeout")]
    pub timeout: Duration,
    /// What to do when it failed. Default: `fence` for a stop where a fence device reaches the
    /// node, else `block`; `restart` for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
}

/// Pacemaker's default time limit of an operation.
const fn default_timeout() -> Duration {
    Duration::from_secs(20)
}

impl Operation {
    /// An operation with the defaults.
    #[must_use]
    pub const fn new(name: OperationName) -> Self {
        Self { name, interval: Duration::ZERO, timeout: default_timeout(), on_fail: None }
    }

    /// Sets how often it is repeated. Default: 0, once.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long it may take. Default: 20 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets what to do when it failed.
    #[must_use]
    pub const fn on_fail(mut self, on_fail: OnFail) -> Self {
        self.on_fail = Some(on_fail);
        self
    }
}
