//! Bidirectional Forwarding Detection (RFC 5880, 5881): whether a neighbour is there, within
//! milliseconds.
//!
//! Each end sends small packets at an agreed rate; whoever misses a few of them in a row knows
//! that the path, or the other end, has failed. The states, by what the other end reports:
//!
//! ```text
//!   Down ── hears Down ──▶ Init ── hears Init, Up ──▶ Up
//!   Down ── hears Init ─────────────────────────────▶ Up
//!   Down ◀── hears Down or AdminDown, or silence for the detection time ── Init, Up
//! ```
//!
//! The whole diagram is at [`Session`], the machine without I/O. Two of them, in memory:
//!
//! ```
//! use ha_core::{machine::Machine, time::Instant};
//! use ha_vip::bfd::{Input, Output, Packet, Session, SessionConfig, wire::{Discriminator, State}};
//!
//! let config = SessionConfig::builder().multiplier(3).build()?; // 10 ms both ways
//! let mut ends = [1, 2].map(|number| {
//!     let discriminator = Discriminator::new(number).expect("not 0");
//!     Session::new(config.clone(), discriminator, number.into())
//! });
//! let mut now = Instant::ZERO;
//! let mut out = [Vec::new(), Vec::new()];
//! for (end, out) in ends.iter_mut().zip(&mut out) {
//!     end.handle(now, Input::Start, out);
//! }
//! while ends.iter().any(|end| end.state() != State::Up) {
//!     // What one sends, the other one gets, until both wait.
//!     while let Some(from) = out.iter().position(|out| !out.is_empty()) {
//!         let to = 1 - from;
//!         for output in std::mem::take(&mut out[from]) {
//!             if let Output::Send(message) = output {
//!                 let packet = Packet { hop_limit: 255, message };
//!                 ends[to].handle(now, Input::Packet(packet), &mut out[to]);
//!             }
//!         }
//!     }
//!     now = ends.iter().filter_map(Machine::deadline).min().expect("both send");
//!     for (end, out) in ends.iter_mut().zip(&mut out) {
//!         end.tick(now, out);
//!     }
//! }
//!
//! // Silence: the first end hears nothing any more.
//! let silent_since = now;
//! while ends[0].state() == State::Up {
//!     now = ends[0].deadline().expect("it waits for packets");
//!     ends[0].tick(now, &mut out[0]);
//! }
//! assert!(now.since(silent_since).as_millis() <= 3_000); // the second had not sped up yet
//! # Ok::<(), ha_core::config::ConfigError>(())
//! ```
//!
//! With the feature `tokio`, [`Service`] runs many sessions on the network and
//! [`SessionHandle`] says in which state each of them is.

pub mod auth;
mod config;
mod effects;
#[cfg(feature = "tokio")]
mod handle;
mod jitter;
#[cfg(feature = "tokio")]
mod service;
mod session;
#[cfg(feature = "tokio")]
mod socket;
pub mod wire;

pub use config::{Intervals, Role, SessionBuilder, SessionConfig};
pub use effects::{Input, Output, Packet, SessionEvent, Stats};
#[cfg(feature = "tokio")]
pub use handle::{ServiceError, ServiceHandle, SessionHandle};
#[cfg(feature = "tokio")]
pub use service::{Service, ServiceStats};
pub use session::Session;
#[cfg(feature = "tokio")]
pub use socket::Endpoints;

/// The UDP port of single-hop control packets (RFC 5881, section 4).
pub const PORT: u16 = 3784;
