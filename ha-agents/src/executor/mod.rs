//! Runs the operations of all resources of one node: the executor (Pacemaker's LRM).
//!
//! ```text
//!   Order ──▶ Executor (a Machine: decides what runs when) ──Output::Run──▶ driver ──▶ agents
//!               ▲                                                              │
//!               └────────────────────── Input::Done ◀──────────────────────────┘
//!   Output::Ended { op, answer }   each accepted order, exactly once
//!   Output::Monitored              a recurring monitor's answer that is new (also its promotion
//!                                  score) or a failure
//!   Output::Event                  for whoever watches: ExecutorHandle::events
//!   Output::Refused                an order of an older term, or too many
//! ```
//!
//! - One operation at a time for each resource; orders of one resource run in their order.
//! - Stops (with demotes), other actions, probes and recurring monitors have separate budgets:
//!   nothing keeps a stop waiting but the operation that its resource is at, and other stops. The
//!   others shrink with the node's load, if asked. Fencing does not come through here at all.
//! - A stop cancels what waits before it, except a demote, and the resource's recurring monitors. A
//!   promote or demote ends those that expect the role that it leaves.
//! - Recurring monitors keep a fixed schedule, spread over the interval by the resource's name; a
//!   tick that comes while its resource is busy with an earlier one is skipped, not made up for.
//!   Another [`Schedule`] can be chosen, and how many failures in a row count.
//! - What a failure asks for is a [`Recovery`], with its reason: [`Failure::recovery`].
//! - The same order twice, both waiting, runs once and answers both.

mod config;
#[cfg(feature = "tokio")]
mod driver;
mod effects;
mod event;
mod failures;
mod lanes;
mod machine;
mod memory;
#[cfg(feature = "metrics")]
pub mod metrics;
mod order;
mod recovery;
mod schedule;
mod throttle;
#[cfg(feature = "tokio")]
mod watch;

pub use self::config::{Limits, LimitsBuilder};
#[cfg(feature = "tokio")]
pub use self::driver::{ExecutorGone, ExecutorHandle, Service};
pub use self::effects::{History, InFlight, Input, Output, Stats};
pub use self::event::Event;
pub use self::failures::{Counting, Failures};
pub use self::machine::{Executor, MAX_WAITING};
pub use self::order::{Action, Answer, Order, Refused};
pub use self::recovery::{Failure, OnFail, Past, Recovery, UnknownPolicy};
pub use self::schedule::{Missed, Schedule};
pub use self::throttle::{Load, Pressure};
#[cfg(feature = "tokio")]
pub use self::watch::{Events, News};
