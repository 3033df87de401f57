//! Passive health: what the work itself tells of the endpoints.
//!
//! ```text
//!  Pick::finish ──counts, runs of errors──▶ EndpointState
//!                                              │ at the interval, or at once: a run
//!  Pool::eject, restore ◀── Watch ◀──Verdict── Detector, sans I/O
//! ```
//!
//! An endpoint that works worse than the others is ejected for a time, which grows with each time;
//! then it comes back: at once if its health checks pass, else with a small share until it has
//! proven itself. Only a part of the endpoints can be out, and never the last one.
//! [`ErrorLimit`] is HAProxy's way: errors count as failed checks.
//!
//! Picks must report their [`Outcome`](crate::pick::Outcome): a connection that fails or breaks, an
//! answer that is an error. The proxies do.
//!
//! # Source
//!
//! Envoy's outlier detection (`envoy.config.cluster.v3.OutlierDetection`), with its external and local
//! origin errors always apart; gRFC A50 for the algorithm in words.

mod cause;
mod config;
mod detector;
mod error_limit;
mod patrol;
mod sample;
#[cfg(feature = "tokio")]
mod watch;

pub use self::cause::{Cause, Detection, Origin};
pub use self::config::{Config, ConfigBuilder, Enforce};
pub use self::detector::{Detector, Spared, Standing, Verdict};
pub use self::error_limit::{ErrorLimit, Observe};
pub(crate) use self::patrol::Patrol;
pub use self::patrol::Status;
pub use self::sample::Sample;
#[cfg(feature = "tokio")]
pub use self::watch::Watch;
