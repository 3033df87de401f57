//! The words that all `ha` crates share: no policy, no protocol, no sockets.
//!
//! ```text
//!   time · id · guarantee · health · role · effect          nouns
//!   machine · laws                                           how a protocol is written and checked
//!   event · timeline · availability                          what happened, and what it cost
//!   config                                                   how configuration errors are told
//!   driver (feature `tokio`) · sys (feature `sys`)           what touches the machine we run on
//!   control (feature `control`)                              how a running program is asked
//! ```
//!
//! # The two guarantees
//!
//! High availability means two different promises, and mixing them up is the classic disaster:
//! *at most one* place runs a thing (a file system, a primary), or *at least one* place serves it
//! (an address, a proxy). [`guarantee`] makes the difference a type.
//!
//! ```
//! use std::time::Duration;
//! use ha_core::availability::{AgreedLevel, Ledger};
//! use ha_core::health::{Health, Hysteresis, RiseFall};
//! use ha_core::time::Instant;
//!
//! // Three failed checks take a backend out, two good ones bring it back (HAProxy's defaults).
//! let mut health = Hysteresis::new(Health::Healthy, RiseFall::default());
//! let mut ledger = Ledger::new("web", Instant::ZERO);
//! for (second, passed) in [(1, false), (2, false), (3, false), (4, true), (5, true)] {
//!     let now = Instant::from_secs(second);
//!     match health.observe(passed) {
//!         Some(Health::Unhealthy) => ledger.down(now, "three checks failed"),
//!         Some(Health::Healthy) => ledger.up(now),
//!         Some(Health::Unknown) | None => {}
//!     }
//! }
//! let report = ledger.report(Instant::from_secs(100));
//! assert_eq!(report.outages, 1);
//! assert_eq!(report.downtime, Duration::from_secs(2));
//! assert!(!AgreedLevel::nines(3).budget(&report).is_met());
//! ```
//!
//! # The words
//!
//! | word | meaning |
//! |---|---|
//! | node | a member computer; *online*, *standby*, *maintenance*, *unclean* (state unknown), *offline* |
//! | resource | something that is kept running: an address, a mount, a service |
//! | resource agent | the standard interface to one kind of resource: start, stop, monitor, … |
//! | failover, switchover | a move because of an incident; a move that a person asked for |
//! | fencing | making sure that a node whose state is unknown can do no harm |
//! | quorum | enough votes to act for the whole cluster |
//! | split brain | two parts of a cluster that each believe they are the whole |
//! | floating IP (VIP) | an address that moves to whichever node serves it |
//! | endpoint | one place that a balancer can send work to |
//! | drain | finish what is under way and take nothing new |
//!
//! # Features
//!
//! - `tokio` (default): [`driver`], timers and loops that run a [`machine::Machine`].
//! - `control`: `control`, a socket through which a program is asked and told in lines of JSON.
//! - `sys`: `sys`, the few Linux calls that need `unsafe`; the only such module of the workspace.

#![deny(unsafe_code)]

pub mod availability;
pub mod config;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "tokio")]
pub mod driver;
pub mod effect;
pub mod event;
pub mod guarantee;
pub mod health;
pub mod id;
pub mod laws;
pub mod machine;
pub mod role;
#[cfg(any(feature = "sys", feature = "tokio"))]
pub mod sys;
pub mod time;
pub mod timeline;
