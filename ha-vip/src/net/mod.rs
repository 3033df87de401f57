//! The network as this host has it: packets with their headers, interfaces.

#[cfg(feature = "netlink")]
pub(crate) mod interface;
pub mod ipv4;
