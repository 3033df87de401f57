//! Load balancing: pick an endpoint; proxy bytes.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod balancer;
pub mod endpoint;
pub mod pick;
pub mod pool;
pub mod snapshot;
pub mod state;
