//! Management boards that speak Redfish: HTTPS and JSON.
//!
//! Source: DMTF DSP0266 (Redfish specification) 1.15 and the schema `ComputerSystem`.

mod agent;
mod builder;
mod client;
mod endpoint;
mod model;

pub use self::agent::Redfish;
pub use self::builder::{Login, RebootMethod, RedfishBuilder};
