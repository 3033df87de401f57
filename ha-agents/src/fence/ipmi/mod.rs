//! Management boards that speak IPMI 2.0 over the network, without any program.
//!
//! Source: Intelligent Platform Management Interface Specification 2.0, revision 1.1 with its
//! errata; the numbers in comments are its sections.

mod agent;
#[cfg(test)]
mod board;
mod builder;
mod crypto;
mod link;
mod rakp;
mod session;
#[cfg(test)]
mod tests;
mod window;
mod wire;

pub use self::agent::Ipmi;
pub use self::builder::{IpmiBuilder, Privilege, RebootMethod};
pub use self::crypto::CipherSuite;
