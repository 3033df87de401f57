//! Floating IP addresses: an address is served by *at least one* node.
//!
//! ```text
//!  packets ⇄ vrrp::Service ⇄ vrrp::Router ── Acquire, Release ──▶ AddressBackend  (netlink, memory)
//!             (driver)       (machine)     ── Announce ─────────▶ Announcer       (ARP, ND)
//!                                          ── events ───────────▶ Observer
//!  your program ── hand_over, resume, changed ──▶ RouterHandle: VipManager
//! ```
//!
//! The protocol is a machine without I/O, so a failover can be watched without a network:
//!
//! ```
//! use ha_core::{machine::Machine, time::Instant};
//! use ha_vip::{VirtualAddress, vrrp::{Input, Output, Router, RouterConfig}};
//!
//! let address: VirtualAddress = "192.0.2.10/24".parse()?;
//! let config = RouterConfig::builder(51).address(address).build()?;
//! let mut router = Router::new(config, "192.0.2.1".parse()?);
//!
//! let mut out = Vec::new();
//! router.handle(Instant::ZERO, Input::Start, &mut out);
//! let silent_until = router.deadline().expect("a backup waits for the active router");
//! router.tick(silent_until, &mut out); // nobody was heard
//! assert!(out.contains(&Output::Acquire) && out.contains(&Output::Announce));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Against keepalived and ucarp
//!
//! Speaks VRRPv3 with keepalived and FRR, with either reading of the IPv4 checksum; mirrors the
//! one it hears. A stop or hand-over serves on until the successor is heard, so a planned move has
//! no gap. Whoever learns that it was not alone announces the addresses again, so that no client
//! stays with the loser's link-layer address. Addresses are marked as ours in the kernel: those
//! of a crashed life are cleared, those of other programs never touched.
//!
//! Speaks CARP with ucarp, too ([`carp`]): with a goodbye on stop, several addresses, and copies
//! of adverts that cannot depose a master.
//!
//! # Where to find it
//!
//! | you need | it is |
//! |---|---|
//! | virtual routers on this host | [`vrrp::Service`], with `vrrp::ServiceBuilder` for many |
//! | an existing `keepalived.conf` | [`keepalived`] |
//! | a router that depends on something | [`track`] |
//! | crashes noticed in milliseconds | [`bfd`], or kin: [`vrrp::RouterBuilder::kin`] |
//! | a state, a switchover, a reload, metrics | `vrrp::ServiceHandle`, `vrrp::control`, `vrrp::metrics` |
//! | scripts and closures at each change | `vrrp::notify` |
//! | addresses that go with a killed process | `guardian`, `vrrp::ServiceBuilder::lease` |
//! | an address of your own cloud | [`backend::AddressBackend`] |
//!
//! # Limits
//!
//! *At least one* is the whole promise: in a split both sides serve the address. Things that must
//! not run twice belong to a cluster with quorum and fencing; the type of
//! [`RouterBuilder::address`](vrrp::RouterBuilder::address) refuses them.
//!
//! # Features
//!
//! - `tokio` (default): the driver, raw sockets and timers; Linux only.
//! - `netlink` (default): addresses in the Linux kernel, `Service::open`.
//! - `control`: `vrrp::control`, a socket through which running routers are asked and told.
//! - `metrics`: `vrrp::metrics`, numbers for the `metrics` facade.

#![forbid(unsafe_code)]

mod address;
pub mod announce;
pub mod backend;
pub mod bfd;
pub mod carp;
#[cfg(feature = "tokio")]
mod child;
#[cfg(feature = "netlink")]
pub mod guardian;
#[cfg(feature = "tokio")]
mod holder;
#[cfg(feature = "tokio")]
pub mod keepalived;
mod manager;
pub mod net;
pub mod track;
pub mod vrrp;

pub use address::{AddressError, VirtualAddress};
#[cfg(feature = "tokio")]
pub use manager::MemoryVip;
pub use manager::{Holding, VipError, VipManager};

/// The code of the README, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// The code of the guide, so that it is compiled.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../../docs/guide/floating-address.md")]
mod guide {}
