//! Load balancing: pick an endpoint; proxy bytes.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod balancer;
pub mod endpoint;
pub mod health;
#[cfg(feature = "tokio")]
pub mod l4;
#[cfg(feature = "http")]
pub mod l7;
pub mod pick;
pub mod pool;
#[cfg(feature = "tokio")]
pub mod proxy;
pub mod snapshot;
pub mod state;
