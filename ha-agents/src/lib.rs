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
//! A time that is up is an error with an *unknown* effect, never a failure; what the processes were
//! at then is looked at before they are ended ([`Diagnosis`]). A stop first asks the whole process
//! group to end, then kills it; Pacemaker kills at once. Native agents need no shell. Recurring
//! monitors keep their schedule and are spread over it; Pacemaker's drift by what they take, and
//! start together.
//!
//! # Features
//!
//! - `attributes`: the module `attributes`, stand-ins for the programs with which agents set node
//!   attributes and promotion scores.
//! - `http`: `native::HttpCheck`, by HTTP and HTTPS.
//! - `ipmi`: `fence::ipmi`, management boards that speak IPMI 2.0.
//! - `metrics`: what the executor does, told to the `metrics` facade (`executor::metrics`).
//! - `mysql`: `native::MySql`, for `MariaDB` and `MySQL`, also with Galera.
//! - `nftables`: `native::BlockPort`.
//! - `ocf` (default): the module `ocf`, metadata of OCF and fence agents, and with `tokio` the
//!   scripts as resource agents.
//! - `postgres`: `native::Postgres` and `native::PostgresServer`.
//! - `redfish`: `fence::redfish`, management boards that speak Redfish.
//! - `redis`: `native::Redis`.
//! - `route`: `native::Route`.
//! - `systemd`: the module `systemd`, units as resource agents, through D-Bus.
//! - `tokio` (default): the native agents `Process`, `Mount`, `Address`, `Lxc`, `Symlink`, `Delay`
//!   and `Closures`, the checks `TcpCheck`, `Watch` and `Checked`, and `Promotable`; `lsb`,
//!   `nagios`, `command` and `trial`; `fence::FenceCommand`, `fence::Ssh`, `fence::NativeAgent` and
//!   `fence::Device`, `leftovers`, the `registry`, and the drivers of the [`executor`], of
//!   `fence::runner` and of `fence::sbd`.
//! - `watchdog`: `watchdog::WatchdogDevice`, the kernel's watchdogs.

#![forbid(unsafe_code)]

mod agent;
#[cfg(feature = "attributes")]
pub mod attributes;
#[cfg(feature = "tokio")]
pub mod command;
mod diagnose;
pub mod executor;
#[cfg(feature = "tokio")]
mod family;
pub mod fence;
#[cfg(feature = "tokio")]
mod group;
#[cfg(feature = "tokio")]
pub mod leftovers;
#[cfg(feature = "tokio")]
pub mod lsb;
#[cfg(feature = "tokio")]
pub mod nagios;
pub mod native;
#[cfg(feature = "ocf")]
pub mod ocf;
mod outcome;
#[cfg(feature = "tokio")]
mod program;
#[cfg(feature = "tokio")]
pub mod registry;
pub mod restart;
#[cfg(feature = "tokio")]
mod run;
#[cfg(feature = "tokio")]
mod secret;
#[cfg(any(feature = "ocf", feature = "tokio"))]
mod span;
#[cfg(feature = "systemd")]
pub mod systemd;
#[cfg(feature = "tokio")]
pub mod trial;
pub mod watchdog;

pub use crate::agent::{
    AgentError, Check, Metadata, OpContext, OpResult, Parameter, Report, ResourceAgent, RunDetails,
};
pub use crate::diagnose::{Diagnosis, ProcessState};
pub use crate::outcome::{Meaning, Operation, Outcome, Severity};

/// The code of the README, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
