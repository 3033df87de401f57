//! What goes into the executor and what comes out of it.

use ha_core::id::{OpId, ResourceName};
use ha_core::time::Instant;

use super::event::Event;
use super::order::{Action, Answer, Order, Refused};
use super::recovery::Recovery;
use super::throttle::Load;

/// What can happen to the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Take back an order: what waits is cancelled, a recurring monitor not repeated; what is at
    /// work goes on to its end.
    Cancel(OpId),
    /// Forget the failures of a resource.
    Cleanup(ResourceName),
    /// An operation that was run has ended.
    Done(OpId, Answer),
    /// The agent knows that the resource has ended by itself.
    Died(ResourceName, String),
    /// Forget all of a resource that is no longer configured: its history and failures, and that
    /// something of it was started. Its recurring monitors end; what waits or is at work goes on,
    /// and it is forgotten after that, unless a new order comes before.
    Forget(ResourceName),
    /// How busy the node is.
    Load(Load),
    /// Take nothing new but stops, and end.
    Shutdown,
    /// Do this.
    Submit(Order),
}

/// What the executor wants done and says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "outputs: drivers must take all of them")]
pub enum Output {
    /// A resource that should run has ended by itself.
    Died {
        /// The resource.
        resource: ResourceName,
        /// How.
        reason: String,
        /// How often it has failed.
        failures: u32,
    },
    /// An accepted order is at its end.
    Ended {
        /// The order's id.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// What was asked for.
        action: Action,
        /// How it ended.
        answer: Answer,
        /// How often the resource has failed.
        failures: u32,
    },
    /// Something that whoever watches may want to know.
    Event(Event),
    /// A recurring monitor's answer, where it is the first, another than before, or a failure that
    /// counts.
    Monitored {
        /// The order's id.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// The answer.
        answer: Answer,
        /// How often the resource has failed.
        failures: u32,
    },
    /// An order was not accepted; nothing of it happens.
    Refused {
        /// The order's id.
        op: OpId,
        /// Why.
        why: Refused,
    },
    /// Run this, and tell its end with [`Input::Done`].
    Run(Order),
}

/// Plain counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that failed, without those that were tolerated; deaths are among them.
    pub failed: u64,
    /// Resources whose memory was given up.
    pub forgotten: u64,
    /// Orders that joined one that was waiting.
    pub merged: u64,
    /// Orders that were refused.
    pub refused: u64,
    /// Operations that were run.
    pub runs: u64,
    /// Runs of recurring monitors that were left out as the one before was not through.
    pub skipped: u64,
    /// Failures of recurring monitors that did not count.
    pub tolerated: u64,
}

/// An operation at work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlight {
    /// Its order.
    pub order: Order,
    /// Since when.
    pub since: Instant,
}

/// An operation of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Its id.
    pub op: OpId,
    /// What was asked for.
    pub action: Action,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How.
    pub answer: Answer,
    /// What it asked for, and why, if it was a failure that counted.
    pub recovery: Option<Recovery>,
}
