//! A laboratory of real kernels, for tests of clusters: hosts, networks, processes and faults
//! inside one Linux machine, and instruments that say to the millisecond what clients noticed.
//!
//! ```text
//!                      the switch (a network namespace that nobody enters)
//!          ┌───────────────────────────────────────────────────────────────┐
//!          │  n0 "lan" (bridge)                        n1 "back" (bridge)   │
//!          │   n0.0.0    n0.1.0    n0.2.0               n1.1.1    n1.2.1    │
//!          └─────┼─────────┼─────────┼────────────────────┼─────────┼──────┘
//!     faults here: port off its bridge (cut, power off), port down (link down), nft (the rest)
//!          ┌─────┴────┐ ┌──┴───────────────┐ ┌────────────┴─┐       │
//!          │   eth0   │ │ eth0        eth1 │ │ …            │       …
//!          │  client  │ │ balancer         │ │              │    a host: a network namespace
//!          │  Prober  │ │ processes, with  │ │ closures and │    and a process namespace,
//!          │          │ │ an init of their │ │ threads of   │    and mounts of its own,
//!          │          │ │ own              │ │ this process │    made at the first process
//!          └──────────┘ └──────────────────┘ └──────────────┘
//! ```
//!
//! # Example
//!
//! A real service in a process of its own, and what becomes of it without power:
//!
//! ```
//! use std::io::Read;
//! use std::net::{TcpListener, TcpStream};
//! use std::process::Command;
//! use std::time::Duration;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if let Err(error) = ha_lab::enter() { ha_lab::skip(error); return Ok(()); }
//!
//! let lab = ha_lab::Lab::new()?;
//! let lan = lab.network("lan")?;
//! let a = lab.host("a")?.join(&lan, "10.77.0.1/24")?;
//! let b = lab.host("b")?.join(&lan, "10.77.0.2/24")?;
//!
//! let process = b.spawn(Command::new("sh").args(["-c", "echo ready; exec sleep 1000"]))?;
//! process.wait_for_line(Duration::from_secs(10), |line| line == "ready")?;
//!
//! let listener = b.run(|| TcpListener::bind("10.77.0.2:80"))??;
//! a.run(|| TcpStream::connect("10.77.0.2:80"))??;
//!
//! b.power_off()?;
//! assert!(process.status().is_some(), "killed");
//! # drop(listener);
//! # Ok(()) }
//! ```
//!
//! # Root or not
//!
//! Call [`enter`] first in `main`, and wrap each test in [`run_test`]. Root needs neither. An
//! ordinary user's process gets a user namespace, in which it is root and only user and group 0
//! exist: programs that want to become another user fail there. Where a setting of the machine
//! forbids user namespaces, [`LabError::Forbidden`] names it and the remedy, and tests
//! [`skip`] by name; with `HA_REQUIRE_ALL=1` a skip is a failure.
//!
//! # What is left afterwards
//!
//! Nothing. A namespace here is an open descriptor, all processes of a host are in one process
//! namespace whose first process dies with the lab, and so the kernel itself takes everything away
//! when the [`Lab`] is dropped, and when the process ends by a panic, a signal or `SIGKILL`.
//!
//! # Faults
//!
//! | fault | call | the host sees | its peers see |
//! |---|---|---|---|
//! | power failure | [`Host::power_off`] | everything dies | silence |
//! | cable pulled | [`Host::link_down`] | no carrier | silence |
//! | switch port hangs | [`Host::cut`] | silence | silence |
//! | machine hangs | [`Host::freeze`] | nothing | pings and TCP handshakes go on, no service |
//! | daemon hangs, dies | [`Process::freeze`], [`Process::kill`] | it is gone | refused, or no answer |
//! | partition | [`Lab::partition`] | silence of some | silence of some |
//! | one-way path | [`Lab::cut_path`] | is not heard by one | silence of one |
//! | bad line | [`Host::loss`], [`Network::loss`] | some frames are lost | likewise |
//!
//! [`switch`]: a power switch that the programs on the hosts can ask to fence one another.
//!
//! Each is told to the [observers](Lab::observe) just before it acts. Partitions, one-way cuts and
//! loss need the program `nft` (Debian: `nftables`); nothing else needs any program.
//!
//! # Instruments
//!
//! [`prober`]: a client that asks every millisecond; reports gaps and who answered when.
//! [`holders`]: watches the kernels for an address; reports overlaps and vacancies.
//!
//! # Limits
//!
//! The hosts share one kernel, one clock, one file system and the machine's processors: no clock
//! drift, no separate disks, and on a busy machine everything is late at once
//! ([`ProbeReport::blind`](prober::ProbeReport::blind) tells). Simulate with `ha-sim` what needs
//! those, and by the thousand. A host's disk is this machine's: what a killed program has left
//! there is there after [`Host::power_on`], while what it had mounted is not. That includes its pid file, which in a new process
//! namespace may name a process that is there again, so remove it before starting the program.
//! After a `SIGKILL` of the lab's own process all others are dead at once, but their last traces
//! in the process table go when the machine's first process has waited for them.
//! There is no delay or reordering of frames; a partition works on each network by itself, not on
//! ways around through a third host that routes.
#![forbid(unsafe_code)]

mod address;
mod enter;
mod error;
mod fault;
pub mod holders;
mod host;
mod kernel;
mod lab;
mod netlink;
mod network;
mod nft;
pub mod prober;
mod process;
mod skip;
pub mod switch;
mod worker;

pub use address::InterfaceAddress;
pub use enter::enter;
pub use error::LabError;
pub use host::Host;
pub use lab::Lab;
pub use network::Network;
pub use process::{Line, MAX_LINE_LEN, MAX_LINES, Process, ProcessSignal, Stream};
pub use skip::{find_program, require_program, run_test, skip};

/// The README, whose code is tested here.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
