//! Load reports: what endpoints say of their load, and the shares that follow from it.
//!
//! ```text
//!  answer of an endpoint                                   once per update period
//!  endpoint-load-metrics: TEXT cpu_utilization=0.7,… ──▶ LoadReport ──▶ WeightReports ──▶ shares
//!                                                          Reporter      Steering ──▶ Pool::set_share_by
//! ```
//!
//! An endpoint that does more work for its utilisation gets more of it: the weight is the requests per
//! second by the utilisation, with a penalty for errors. Slow machines, noisy neighbours and uneven
//! requests are so balanced by what they cost, not by how many there are.
//!
//! # Source
//!
//! ORCA (`xds.data.orca.v3.OrcaLoadReport`) in the text and JSON forms of the header that Envoy reads;
//! the weights are those of gRFC A58 (`weighted_round_robin`) and of Envoy's client-side weighted round
//! robin. Reports in protobuf, and those on a stream of their own, are not read.

mod load;
#[cfg(feature = "tokio")]
mod steering;
mod weights;

pub use self::load::{LoadReport, ReportError};
#[cfg(feature = "tokio")]
pub use self::steering::{Reporter, Steering};
pub use self::weights::{WeightConfig, WeightConfigBuilder, WeightReports};

/// The header, or trailer, that a report comes in.
pub const HEADER: &str = "endpoint-load-metrics";
