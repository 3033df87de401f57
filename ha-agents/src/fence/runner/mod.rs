//! Carries out fencing requests: levels, delays, retries, verification, history.
//!
//! ```text
//!   Request ─▶ Runner ─Call─▶ driver ─▶ FenceAgent        one level after the other;
//!     ▲          │  ▲                       │             all devices of a level
//!     └─ Report ─┘  └───── Answer ──────────┘
//! ```
//!
//! For each device of a level: can it fence the node (host check)? Then the delay, the action, up
//! to its attempts, and after an off the question whether the power is off. The report says which
//! level succeeded, with which [`Evidence`](super::Evidence), and what was tried before.
//!
//! # How it differs from Pacemaker's fencer
//!
//! A success carries its evidence. An off is verified by the status where the device has one,
//! also one whose answer was lost: if the node is off it is fenced. A request for a node that is
//! being fenced otherwise waits for the end of that. The reboot of a level of several devices is
//! off by all, verified, then on by all; that one does not come on again is in the report, and no
//! failure.

#[cfg(feature = "tokio")]
mod driver;
mod job;
mod machine;
mod request;

#[cfg(feature = "tokio")]
pub use self::driver::{FencerGone, FencerHandle, FencerService, MissingAgents};
pub use self::machine::{Input, Output, Runner};
pub use self::request::{
    Answer, Ask, Call, CallError, CallId, Outcome, Report, Request, Step, priority_delay,
};
