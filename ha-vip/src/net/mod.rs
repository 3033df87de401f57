//! The network as this host has it: packets with their headers, interfaces, what changes.

#[cfg(feature = "netlink")]
pub(crate) mod interface;
pub mod ipv4;
#[cfg(feature = "netlink")]
pub mod macvlan;
#[cfg(feature = "netlink")]
pub mod monitor;
#[cfg(feature = "netlink")]
pub(crate) mod sysctl;
