//! The cluster resource manager's head: what shall run where, in which order, and why.
//!
//! ```text
//!   ClusterConfig (what is wanted)  ─┐
//!   node status, quorum, activity   ─┴─▶ ClusterState ──▶ PolicyEngine::decide
//!                                                             │  pure, deterministic
//!                                     ┌───────────────────────┴──────────┐
//!                                     ▼                                  ▼
//!                   TransitionGraph: actions, order, reasons   Placement: nodes, scores, why
//! ```
//!
//! Deciding is apart from acting: a policy starts, stops and fences nothing; the [`manager`] does.
//!
//! # Example
//!
//! ```
//! use ha_core::time::WallTime;
//! use ha_crm::model::{ClusterState, NodeStatus, Resource, Score};
//! use ha_crm::{Cluster, PolicyEngine, ScorePolicy};
//!
//! // A proxy may run twice: neither quorum nor fencing is needed.
//! let config = Cluster::builder()
//!     .nodes(["lb1".parse()?, "lb2".parse()?, "lb3".parse()?])
//!     .at_least_one(
//!         Resource::new("proxy".parse()?, "native:process").location("lb3".parse()?, Score::NEVER),
//!     )
//!     .build()?;
//! let state = ClusterState::new(config).with_node("lb2".parse()?, NodeStatus::Standby);
//! let decision = ScorePolicy::new().decide(&state, WallTime::from_micros(0));
//! assert_eq!(decision.graph.actions().len(), 1); // start proxy on lb1
//! println!("{}", decision.explain(&"proxy".parse()?).unwrap_or_default());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The two guarantees
//!
//! An at-most-one resource does not compile into a [`Cluster`] without quorum and fencing, and
//! does not load from data ([`model::ClusterConfig`]) without them. Of a decision holds:
//!
//! - no start of an at-most-one resource before the stop everywhere else has succeeded, and before
//!   every unclean node is fenced;
//! - without quorum nothing is done to at-most-one resources but stopping them, and nobody is
//!   fenced;
//! - nothing is done to an unclean node but fencing it.
//!
//! # From deciding to doing
//!
//! A [`Manager`](manager::Manager) is one node's part of a cluster: it follows the leader while that
//! is safe and stops by itself when it is not, and while its node leads the store it is the
//! cluster's head. It is a machine; its driver `manager::Service` joins it to the mesh, the Raft
//! store, the executor and the fence devices, and `node::Node` makes all of that from one file.
//!
//! # Features
//!
//! - `tokio` (default): drivers, the control socket.
//! - `attributes`: what agents tell their cluster (`crm_attribute`, `crm_master`), in its store.
//! - `cib`: Pacemaker's CIB, read into types, checked, and decided on (`scheduler`).
//! - `file`: the configuration file of a node.
//! - `service`: the manager's driver on the mesh and the Raft store.
//! - `node`: a whole node from its file; `service` and `file`.
//! - `vip`: a floating address as a resource.
//!
//! # How it differs from Pacemaker
//!
//! Placement by the same scores, but stickiness is 100 by default, and a configuration that cannot
//! keep its guarantees is refused rather than run. Groups, colocations, orders, failure counts, probes,
//! copies with a promoted one ([`model::RawResource::promotable`]) and fencing levels are there.
//! Pacemaker's configurations can be read (`cib`), and its rules asked ([`model::rule`]), and decided on
//! as Pacemaker would (`scheduler`), but the manager does not act by these decisions yet: for it rules,
//! tickets, utilization, live migration, remote nodes and bundles are not.

#![forbid(unsafe_code)]

#[cfg(feature = "vip")]
pub mod address;
#[cfg(feature = "attributes")]
pub mod attributes;
#[cfg(feature = "cib")]
pub mod check;
#[cfg(feature = "cib")]
pub mod cib;
mod cluster;
#[cfg(feature = "tokio")]
pub mod control;
mod explain;
#[cfg(feature = "file")]
pub mod file;
mod graph;
pub mod manager;
pub mod model;
#[cfg(feature = "node")]
pub mod node;
mod policy;
#[cfg(feature = "cib")]
pub mod scheduler;

pub use crate::cluster::{Cluster, ClusterBuilder, Given, HasFencing, HasQuorum, Missing};
pub use crate::explain::{Part, Placement, Sheet};
pub use crate::graph::{Action, ActionId, ActionKind, Edge, TransitionGraph};
pub use crate::policy::{Decision, PolicyEngine, ScorePolicy};

/// The code of the README, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// The code of the guide, so that it is compiled.
#[cfg(all(doctest, feature = "node", feature = "vip"))]
#[doc = include_str!("../../docs/guide/cluster.md")]
mod guide {}
