//! Trackers: what besides the adverts decides how much this node wants an address.
//!
//! ```text
//!  link, route, process, file, command, health, BFD …   (drivers: one `Tracker` each)
//!        │ Verdict: unknown, up, down, number
//!        ▼
//!     Tally ── weight, reverse ──▶ Standing: waiting, fault, priority   + reasons, to explain it
//! ```
//!
//! A tracker watches one thing and tells each change; [`Tally`] adds up what they said. What a
//! weight means is keepalived's (`track_interface`, `track_script`, `track_file`,
//! `track_process`): 0 makes a thing that is down a fault; a positive weight is added while it is
//! up; a negative one is subtracted while it is down; `reverse` turns the effect around.
//!
//! ```
//! use ha_vip::track::{Standing, Tally, Tracked, Verdict, Weight};
//! use ha_vip::vrrp::Priority;
//!
//! let uplink = Tracked::new("eth1"); // no weight: down is a fault
//! let proxy = Tracked::new("haproxy").weight(Weight::new(-30).expect("in range"));
//! let mut tally = Tally::new(Priority::DEFAULT, vec![uplink, proxy]);
//! assert_eq!(tally.standing(), Standing::Waiting); // nobody has spoken yet
//!
//! tally.report("eth1", Verdict::Up);
//! tally.report("haproxy", Verdict::Down);
//! assert_eq!(tally.standing(), Standing::Priority(Priority::new(70).expect("not 0")));
//! let reasons: Vec<String> = tally.reasons().iter().map(ToString::to_string).collect();
//! assert_eq!(reasons, ["eth1: up, +0", "haproxy: down, -30"]);
//!
//! tally.report("eth1", Verdict::Down);
//! assert_eq!(tally.standing(), Standing::Fault);
//! ```
//!
//! # In a program
//!
//! Each tracker is level-triggered: its first answer is how things are, every later one a change,
//! and what was missed is made good by reading again. A program of its own needs none of them:
//! [`MemoryTracker`] takes verdicts from a handle, [`HealthTracker`] from any health source, and
//! [`WatchTracker`] from whatever a `tokio::sync::watch` channel holds.

mod tally;
mod tracker;
mod weight;

#[cfg(feature = "tokio")]
mod bfd;
#[cfg(feature = "tokio")]
mod command;
#[cfg(feature = "tokio")]
mod debounce;
#[cfg(feature = "tokio")]
mod file;
#[cfg(feature = "tokio")]
mod health;
#[cfg(feature = "netlink")]
mod link;
#[cfg(feature = "tokio")]
mod memory;
#[cfg(feature = "tokio")]
mod process;
#[cfg(feature = "netlink")]
mod route;
#[cfg(feature = "netlink")]
mod route_match;
#[cfg(feature = "tokio")]
mod watch;

#[cfg(feature = "tokio")]
pub use bfd::BfdTracker;
#[cfg(feature = "tokio")]
pub use command::{CommandBuilder, CommandTracker};
#[cfg(feature = "tokio")]
pub use file::{FileProblem, FileTracker};
#[cfg(feature = "tokio")]
pub use health::HealthTracker;
#[cfg(feature = "netlink")]
pub use link::LinkTracker;
#[cfg(feature = "tokio")]
pub use memory::{MemoryHandle, MemoryTracker};
#[cfg(feature = "tokio")]
pub use process::{ParamMatch, ProcessBuilder, ProcessTracker};
#[cfg(feature = "netlink")]
pub use route::RouteTracker;
#[cfg(feature = "netlink")]
pub use route_match::RouteMatch;
pub use tally::{Contribution, Part, Standing, Tally};
pub use tracker::{TrackError, Tracker};
#[cfg(feature = "tokio")]
pub use watch::WatchTracker;
pub use weight::{Tracked, Verdict, Weight};
