//! A laboratory of real kernels, for tests of clusters: hosts, networks, processes and faults
//! inside one Linux machine, and instruments that say to the millisecond what clients noticed.
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
mod worker;

pub use address::InterfaceAddress;
pub use enter::enter;
pub use error::LabError;
pub use host::Host;
pub use lab::Lab;
pub use network::Network;
pub use process::{Line, MAX_LINE_LEN, MAX_LINES, Process, ProcessSignal, Stream};
pub use skip::{find_program, require_program, run_test, skip};
