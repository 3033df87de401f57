//! VRRP version 3 (RFC 9568): who serves the addresses of a network.
//!
//! [`Router`] is the protocol as a machine, [`Host`] all routers of a host, [`Service`] (feature `netlink`) runs it on a real
//! interface, [`wire`] reads and writes its messages, [`auth`] proves who sent them.

pub mod auth;
mod checksum;
mod config;
#[cfg(feature = "control")]
pub mod control;
mod effects;
mod host;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "tokio")]
pub mod notify;
mod router;
#[cfg(feature = "netlink")]
mod service;
mod snapshot;
#[cfg(feature = "netlink")]
mod socket;
pub mod wire;

pub use checksum::VRRP_PROTOCOL;
pub(crate) use checksum::{add, pseudo_header, sum};
pub use config::{
    HostBuilder, HostConfig, Instance, Kin, MAX_ADDRESSES, MAX_ROUTERS, Priority, RouterBuilder,
    RouterConfig, SyncGroup, Vrid,
};
pub use effects::{
    Destination, Heard, HeldBack, Input, Output, Packet, Reason, RouterEvent, StateName,
};
pub use host::{Host, HostInput, HostOutput, LinkId, RouterId};
pub use router::{Router, Stats};
#[cfg(feature = "netlink")]
pub use service::{
    Changes, ReloadError, RouterHandle, Service, ServiceBuilder, ServiceError, ServiceHandle,
};
pub use snapshot::{Counters, RouterSnapshot, Snapshot, TrackerSnapshot};
