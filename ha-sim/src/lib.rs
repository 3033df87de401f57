//! A seeded world in which protocol machines meet a bad network, wrong clocks, crashes and pauses.
//!
//! Everything here that speaks a protocol is a [`Machine`](ha_core::machine::Machine): no socket,
//! no clock, no randomness of its own. So a whole cluster of them runs in one thread, a virtual
//! hour in a moment, and a run that failed is repeated exactly by its seed. The world is a
//! product, too: test *your* machines and *your* invariants with it.
//!
//! ```text
//!                         seed
//!                          │ decides everything random
//!   ┌────────┐  faults  ┌──▼──────────────────────────────┐ after every event ┌───────────┐
//!   │ test / │─────────▶│ World: one queue, ordered by     │──────────────────▶│ Invariants│
//!   │ Chaos  │          │ (time, number)                   │                   └─────┬─────┘
//!   └────────┘          └──┬─────────────▲───────────────┬─┘                    Violation: seed,
//!                  message,│       sends,│               │ crash, pause,        moment, trace,
//!                 deadline ▼        later│               ▼ clock                command to replay
//!                       Node::receive ▶ Machine ▶ Node::perform
//! ```
//!
//! # Example
//!
//! Two machines ping each other; the invariant watches, and the network loses a tenth.
//!
//! ```
//! use std::time::Duration;
//! use ha_core::{machine::Machine, time::Instant};
//! use ha_sim::{Context, Node, NodeIndex, Quality, Violation, World, always, for_seeds};
//!
//! /// Sends a ping a second and counts the answers.
//! struct Ping { next: Instant, answers: u32 }
//! enum Input { Ping(NodeIndex), Pong }
//! enum Output { Ask, Answer(NodeIndex) }
//!
//! impl Machine for Ping {
//!     type Input = Input;
//!     type Output = Output;
//!     const MAX_OUTPUTS: usize = 2;
//!     fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
//!         self.tick(now, out);
//!         match input {
//!             Input::Ping(from) => out.push(Output::Answer(from)),
//!             Input::Pong => self.answers += 1,
//!         }
//!     }
//!     fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
//!         if self.next <= now {
//!             self.next = now + Duration::from_secs(1);
//!             out.push(Output::Ask);
//!         }
//!     }
//!     fn deadline(&self) -> Option<Instant> { Some(self.next) }
//! }
//!
//! #[derive(Default)]
//! struct Host { asked: u32 }
//! #[derive(Debug, Clone)]
//! enum Packet { Ping, Pong }
//!
//! impl Node for Host {
//!     type Machine = Ping;
//!     type Message = Packet;
//!     fn start(&mut self, context: &mut Context<'_, Self>) -> Ping {
//!         Ping { next: context.now() + Duration::from_secs(1), answers: 0 }
//!     }
//!     fn receive(&mut self, from: NodeIndex, packet: Packet) -> Option<Input> {
//!         Some(match packet { Packet::Ping => Input::Ping(from), Packet::Pong => Input::Pong })
//!     }
//!     fn perform(&mut self, output: Output, context: &mut Context<'_, Self>) {
//!         match output {
//!             Output::Ask => { self.asked += 1; context.multicast(Packet::Ping) }
//!             Output::Answer(to) => context.send(to, Packet::Pong),
//!         }
//!     }
//! }
//!
//! for_seeds(10, |seed| {
//!     let mut world = World::builder(seed)
//!         .nodes([Host::default(), Host::default()])
//!         .network(Quality::lan().loss(0.1))
//!         .invariant(always("no_more_answers_than_questions", |world: &World<Host>, _now| {
//!             let fine = world.nodes().all(|(index, host)| {
//!                 world.machine(index).is_none_or(|ping| ping.answers <= host.asked)
//!             });
//!             if fine { Ok(()) } else { Err("an answer out of nothing".to_owned()) }
//!         }))
//!         .build();
//!     world.run_for(Duration::from_hours(1))
//! })?;
//! # Ok::<(), Violation>(())
//! ```
//!
//! # What is simulated
//!
//! - **Network**: [`Quality`] (latency, loss, duplicates, reordering), partitions, one-way cuts.
//! - **Nodes**: crash (all but the adapter's fields is lost), restart, pause with a bounded
//!   receive buffer and a burst at the end.
//! - **Clocks**: an offset and a rate error for each node, jumps; deadlines noticed late.
//! - **Time** between two events of one node is zero: machines compute infinitely fast. What
//!   takes time is said by [`Context::later`].
//!
//! # How it differs
//!
//! turmoil and madsim run whole async programs and their drivers; this runs only machines, some
//! thousand times faster, and can therefore try hundreds of seeds in a unit test. Corosync's vqsim
//! and Pacemaker's CTS simulate one program each; this one takes any.

#![forbid(unsafe_code)]

mod chaos;
mod clock;
mod invariant;
mod network;
mod node;
mod rng;
mod seeds;
mod trace;
mod world;

pub use crate::chaos::{Chaos, Kind};
pub use crate::invariant::{Always, Invariant, Violation, always};
pub use crate::network::Quality;
pub use crate::node::{Context, Node, NodeIndex};
pub use crate::rng::Rng;
pub use crate::seeds::{Seeds, for_seeds};
pub use crate::world::{Builder, Stats, World};

/// The code of the README, so that it is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
