//! CARP version 2, as ucarp speaks it: who serves the addresses of a network.
//!
//! [`Host`] is the protocol as a machine, [`Service`] (feature `tokio`) runs it on a real
//! interface, [`wire`] reads and writes its messages.
//!
//! # Interoperates with ucarp 1.5.2
//!
//! Measured in both directions: take-over, preemption, equal hosts (the lower source address
//! wins), wrong passwords, Ethernet broadcast. A backup waits `deadratio` × (`advbase` +
//! `advskew`/256) seconds, as ucarp does.
//!
//! # Better than ucarp
//!
//! - **A goodbye on stop.** An advert with `advbase` and `advskew` 255 says that the sender is
//!   about to fall silent. A ucarp backup takes over when it reads it (it reads once a second);
//!   the leaving host serves on until it hears its successor.
//! - **A replayed advert is refused**: see [`replay`].
//! - The clock never steps, several addresses float together, and an interval below one second
//!   is possible between hosts of this crate.
//!
//! # What the password does not protect
//!
//! CARP's HMAC covers `vhid`, the addresses and the counter; not `advbase`, `advskew` and the
//! source address. Who can *replace* a genuine advert on its way may change those; this host's
//! timers use its own configuration only, so that the harm ends one dead interval later. Who can
//! only listen and send cannot: each genuine advert counts once.

mod config;
mod effects;
mod host;
pub mod replay;
#[cfg(feature = "tokio")]
mod service;
#[cfg(feature = "tokio")]
mod socket;
pub mod wire;

pub use config::{HostBuilder, HostConfig, MAX_ADDRESSES, Vhid};
pub use effects::{HostEvent, Input, Output, Packet, Reason, StateName, Stats};
pub use host::Host;
#[cfg(feature = "tokio")]
pub use service::{HostHandle, Parts, Service, ServiceError};
