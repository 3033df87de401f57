//! The hands of a cluster: start, stop and monitor anything, and fence what cannot be trusted.
//!
//! ```text
//!   manager ──operation, OpContext──▶ ResourceAgent ──▶ a process, a closure, …
//!      ▲                                   │
//!      └── OpResult: Report { Outcome } ◀──┘     Outcome::meaning(operation): role, severity
//!      │
//!      └──node──▶ FenceAgent ──▶ a power switch, a program
//!            ▲         │
//!            └─ Ok: the node was off ─┘   Err: FenceError::effect() — None, or Unknown
//! ```
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use ha_agents::native::Process;
//! use ha_agents::{Check, Operation, OpContext, ResourceAgent, Severity};
//! use ha_core::id::OpId;
//! use ha_core::role::Role;
//!
//! let web = Process::new("sleep").arg("1000");
//! let context = OpContext::new("web".parse().unwrap(), OpId::FIRST);
//! web.start(&context).await?;
//! let report = web.monitor(&context, Check::STARTED).await?;
//! let meaning = report.outcome.meaning(Operation::Monitor(Role::Started));
//! assert_eq!(meaning.severity, Severity::None);
//! web.stop(&context).await?; // nothing of the process group is left
//! # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
//! ```
//!
//! # How it differs from Pacemaker's executor
//!
//! A time that is up is an error with an *unknown* effect, never a failure. A stop first asks the
//! whole process group to end, then kills it; Pacemaker kills at once. Native agents need no shell.
//!
//! # Features
//!
//! - `http`: `native::HttpCheck`, by HTTP and HTTPS.
//! - `mysql`: `native::MySql`, for `MariaDB` and `MySQL`, also with Galera.
//! - `nftables`: `native::BlockPort`.
//! - `ocf` (default): the module `ocf`, metadata of OCF and fence agents, and with `tokio` the
//!   scripts as resource agents.
//! - `postgres`: `native::Postgres` and `native::PostgresServer`.
//! - `redis`: `native::Redis`.
//! - `route`: `native::Route`.
//! - `tokio` (default): the native agents `Process`, `Mount`, `Address`, `Lxc`, `Symlink`, `Delay`
//!   and `Closures`, the checks `TcpCheck`, `Watch` and `Checked`, and `Promotable`;
//!   `fence::FenceCommand` and `fence::Device`, `leftovers`, the `registry`, and the driver of the
//!   [`executor`].

#![forbid(unsafe_code)]

mod agent;
mod diagnose;
pub mod executor;
#[cfg(feature = "tokio")]
mod family;
pub mod fence;
#[cfg(feature = "tokio")]
mod group;
#[cfg(feature = "tokio")]
pub mod leftovers;
pub mod native;
#[cfg(feature = "ocf")]
pub mod ocf;
mod outcome;
#[cfg(feature = "tokio")]
pub mod registry;
#[cfg(feature = "tokio")]
mod run;
#[cfg(any(feature = "ocf", feature = "tokio"))]
mod span;

pub use crate::agent::{
    AgentError, Check, Metadata, OpContext, OpResult, Parameter, Report, ResourceAgent, RunDetails,
};
pub use crate::diagnose::{Diagnosis, ProcessState};
pub use crate::outcome::{Meaning, Operation, Outcome, Severity};

/// The code of the README, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
