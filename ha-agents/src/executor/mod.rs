//! Runs the operations of all resources of one node: the executor (Pacemaker's LRM).
//!
//! ```text
//!   Order ──▶ Executor (a Machine: decides what runs when) ──Output::Run──▶ driver ──▶ agents
//!               ▲                                                              │
//!               └────────────────────── Input::Done ◀──────────────────────────┘
//!   Output::Ended { op, answer }   each accepted order, exactly once
//!   Output::Monitored              a recurring monitor's answer that is new or a failure
//!   Output::Refused                an order of an older term, or too many
//! ```
//!
//! - One operation at a time for each resource; orders of one resource run in their order.
//! - Stops (with demotes), other actions, and monitors have separate budgets: nothing keeps a stop
//!   waiting but the operation that its resource is at, and other stops. Fencing does not come
//!   through here at all.
//! - A stop cancels what waits before it, except a demote, and the resource's recurring monitors.
//! - Recurring monitors keep a fixed schedule, spread over the interval by the resource's name; a
//!   tick that comes while its resource is busy with an earlier one is skipped, not made up for.
//! - The same order twice, both waiting, runs once and answers both.

mod config;
#[cfg(feature = "tokio")]
mod driver;
mod failures;
mod lanes;
mod machine;
mod order;

pub use self::config::{Limits, LimitsBuilder};
#[cfg(feature = "tokio")]
pub use self::driver::{ExecutorGone, ExecutorHandle, Service};
pub use self::failures::Failures;
pub use self::machine::{Executor, History, InFlight, Input, MAX_WAITING, Output, Stats};
pub use self::order::{Action, Answer, Order, Refused};
