//! Who is alive, and who may act.
//!
//! ```text
//!   heartbeats ──▶ FailureDetector ──▶ Membership: View { members, quorate }
//!                                          │            ▲
//!                                          ▼            │
//!                                    QuorumPolicy ──────┘
//!   requests ───▶ LeaseStore ──▶ Lease { token, until }      the right to act, for a while
//!   writes   ───▶ ClusterStore ──▶ Revision, changes         what the cluster agreed on
//! ```
//!
//! | trait | what it answers | implementations here |
//! |---|---|---|
//! | [`Membership`] | who is there? | `MeshService` (the driver of [`mesh::Mesh`]) on a network, `BusMembership` in one process, [`StaticMembership`] |
//! | [`FailureDetector`](detector::FailureDetector) | is it still there? | [`DeadlineDetector`](detector::DeadlineDetector) |
//! | [`QuorumPolicy`](quorum::QuorumPolicy) | may we act for all? | [`VoteQuorum`](quorum::VoteQuorum) |
//! | [`LeaseStore`](lease::LeaseStore) | may I act, until when? | [`StoreLeases`](lease::StoreLeases) on any store, [`MemoryLeases`](lease::MemoryLeases) in one process |
//! | [`ClusterStore`](store::ClusterStore) | what did we agree on? | `RaftStore` on several nodes and their disks, [`MemoryStore`](store::MemoryStore) in one process |
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::time::Duration;
//! use ha_core::id::{NodeName, ViewId};
//! use ha_membership::quorum::VoteQuorum;
//! use ha_membership::roster::RosterConfig;
//! use ha_membership::{Bus, Membership};
//!
//! let (a, b): (NodeName, NodeName) = ("a".parse()?, "b".parse()?);
//! let quorum = VoteQuorum::builder().voter(a.clone()).voter(b.clone()).build()?;
//! let config = |me: &NodeName| {
//!     RosterConfig::builder(me.clone(), quorum.clone()).interval(Duration::from_millis(5)).build()
//! };
//! let bus = Bus::new();
//! let (a, b) = (bus.join(config(&a)?)?, bus.join(config(&b)?)?);
//! let mut view = a.view();
//! while !view.is_quorate() {
//!     view = a.changed(view.id()).await?; // b joins
//! }
//! b.leave().await?;
//! while view.is_quorate() {
//!     view = a.changed(view.id()).await?; // b has left
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Guarantees and their limits
//!
//! - A view of the bus is one node's own; views of the mesh are agreed, see [`mesh`]. Yet two nodes may see different members at one moment. Whatever must be
//!   at most one hangs on a lease or on the store, not on a view.
//! - A member that was not heard is *unreachable*, not gone: it may still hold what it held. It is
//!   gone when it said goodbye or was confirmed to be off.
//! - Of two parts of a cluster at most one is quorate ([`quorum::QuorumPolicy`] has the exact law).
//! - A lease has at most one holder at a time, and its token grows with every grant.
//!
//! - What a store acknowledged is not lost as long as a majority of its nodes' files is well; a node
//!   whose file is gone votes again only when it has caught up.
//!
//! # Features
//!
//! - `tokio` (default): `Bus`, `store::MemoryStore` and `mesh::MeshService`.
//! - `raft`: `store::RaftStore`, and `transport::channel`, the sealed requests and answers that it
//!   runs on.

#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
mod bus;
pub mod detector;
mod key;
pub mod lease;
mod membership;
pub mod mesh;
pub mod quorum;
pub mod roster;
pub mod store;
pub mod transport;
mod view;

#[cfg(feature = "tokio")]
pub use crate::bus::{Bus, BusMembership};
pub use crate::key::{Key, KeyError, MAX_KEY_LEN, Revision};
pub use crate::membership::{Membership, MembershipError, StaticMembership};
pub use crate::view::{Change, Member, Standing, View};

/// The code of the README, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
