//! What is asked of the runner, and what it answers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::{NodeName, OpId};
use ha_core::time::Instant;

use crate::fence::{Evidence, FenceAction, Power};

/// A wish to fence a node, or to give it power.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::fence::FenceAction;
/// use ha_agents::fence::runner::{Request, priority_delay};
/// use ha_core::id::OpId;
///
/// // Ours runs the more important resources: fence the other at once; it would have to wait.
/// let delay = Duration::from_secs(10);
/// assert_eq!(priority_delay(delay, 100, 5), Duration::ZERO);
/// assert_eq!(priority_delay(delay, 5, 100), delay);
/// let request = Request::new(OpId::FIRST, "n2".parse().unwrap(), FenceAction::Reboot)
///     .delay(priority_delay(delay, 100, 5));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a request does nothing until it is submitted"]
pub struct Request {
    pub(super) id: OpId,
    pub(super) node: NodeName,
    pub(super) action: FenceAction,
    pub(super) unfence: bool,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) delay: Duration,
    pub(super) timeout: Option<Duration>,
}

impl Request {
    /// Asks for `action` on `node`; the answer bears `id`.
    pub const fn new(id: OpId, node: NodeName, action: FenceAction) -> Self {
        Self {
            id,
            node,
            action,
            unfence: false,
            attributes: BTreeMap::new(),
            delay: Duration::ZERO,
            timeout: None,
        }
    }

    /// Asks for `on` by the devices that unfence, which a node needs when it joins. Without such
    /// a device it is done at once.
    pub const fn unfence(id: OpId, node: NodeName) -> Self {
        let mut request = Self::new(id, node, FenceAction::On);
        request.unfence = true;
        request
    }

    /// Sets an attribute of the node, by which it may have levels.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Adds to the delay of the first device (Pacemaker's `priority-fencing-delay`, see
    /// [`priority_delay`]). Default: 0.
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets how long the request may take in all. Default: the topology's.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// How long to wait with a fencing so that the node with the more important resources wins a race:
/// `delay` if the target's sum of priorities is larger than our own, else nothing.
///
/// # Source
///
/// Pacemaker's `priority-fencing-delay`; its advice: twice the largest random delay.
#[must_use]
pub const fn priority_delay(delay: Duration, own: i64, target: i64) -> Duration {
    if target > own { delay } else { Duration::ZERO }
}

/// The number of a [`Call`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(super) u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.0)
    }
}

/// What a device is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that leaves one out leaves nodes unfenced")]
pub enum Ask {
    /// To act.
    Act(FenceAction),
    /// Whether the node has power.
    Status,
    /// Which nodes it has.
    List,
}

impl Ask {
    /// Its name in the fence agent API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Act(action) => action.as_str(),
            Self::Status => "status",
            Self::List => "list",
        }
    }
}

/// A question to a device, which the driver asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Its number, which the answer bears.
    pub id: CallId,
    /// The device.
    pub device: String,
    /// What the device calls the node.
    pub plug: NodeName,
    /// The question.
    pub ask: Ask,
    /// How long it may take; after that the runner [aborts](super::Output::Abort) it.
    pub limit: Duration,
}

/// What a device answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "one for each question")]
pub enum Answer {
    /// To [`Ask::Act`]: done.
    Done(Evidence),
    /// To [`Ask::Status`].
    Power(Power),
    /// To [`Ask::List`].
    Nodes(Vec<NodeName>),
}

/// Why a device did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by drivers")]
pub struct CallError {
    /// In words.
    pub why: String,
    /// Whether it may have happened all the same.
    pub effect: Effect,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "who starts resources elsewhere must match each")]
pub enum Outcome {
    /// Nobody wants it any more.
    Cancelled {
        /// Whether the node may have been fenced all the same.
        effect: Effect,
    },
    /// It was done.
    Done {
        /// What that is worth: the weakest of the level's devices. Of an `on` it says nothing.
        evidence: Evidence,
        /// The devices that did it.
        devices: Vec<String>,
    },
    /// No level succeeded in the time.
    Failed {
        /// Whether the node may have been fenced all the same.
        effect: Effect,
    },
}

impl Outcome {
    /// Whether the request was carried out.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

/// One thing that happened on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// When.
    pub at: Instant,
    /// The level, from 1 in the order in which they are tried.
    pub level: usize,
    /// The device.
    pub device: String,
    /// What it was asked.
    pub ask: &'static str,
    /// What came of it.
    pub result: Result<String, String>,
}

/// A request that has ended, with all that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The requests that it answers: merged ones have one report.
    pub requests: Vec<OpId>,
    /// The node.
    pub node: NodeName,
    /// What was asked for.
    pub action: FenceAction,
    /// When the first of the requests came.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How it ended.
    pub outcome: Outcome,
    /// What was tried, oldest first; the first 64.
    pub steps: Vec<Step>,
}

impl fmt::Display for Report {
    /// One line: what came of it, and the reasons of a failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, node, .. } = self;
        match &self.outcome {
            Outcome::Done { evidence, devices } if action.fences() => {
                let by = devices.join(" and ");
                write!(f, "{action} of {node} by {by}: {evidence}")
            }
            Outcome::Done { devices, .. } if devices.is_empty() => {
                write!(f, "{action} of {node}: nothing to do")
            }
            Outcome::Done { devices, .. } => {
                write!(f, "{action} of {node} by {}", devices.join(" and "))
            }
            Outcome::Cancelled { effect } => {
                write!(f, "{action} of {node} was cancelled; effect: {effect:?}")
            }
            Outcome::Failed { effect } => {
                let failed = self.steps.iter().filter_map(|step| step.result.as_ref().err());
                let mut reasons: Vec<&str> = failed.map(String::as_str).collect();
                if reasons.is_empty() {
                    reasons.push("no device can fence it; give it a level or a host of a device");
                }
                let why = reasons.join("; ");
                write!(f, "cannot {action} {node}: {why}; effect: {effect:?}")
            }
        }
    }
}
