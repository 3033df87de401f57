//! The balancing algorithms, and how they are named in flags and files.
//!
//! | name | HAProxy's | picks |
//! |---|---|---|
//! | `round-robin` | `roundrobin` | in turn, by weight, evenly spread |
//! | `static-rr` | `static-rr` | in turn, in the order of HAProxy's table |
//! | `least-connections` | `leastconn` | the fewest connections for the weight |
//! | `least-time` | | the shortest expected wait (nginx's `least_time`) |
//! | `random` | `random` | the less loaded of two drawn by weight |
//! | `peak-ewma` | | the shorter expected wait of two drawn by weight (Linkerd) |
//! | `prequal` | | the fastest of some probed ones that are not crowded (Google) |
//! | `first` | `first` | the first of the list that has room |
//! | `single-writer` | one server and backups | always the same, chosen alike by all balancers |
//! | `source` | `source` | by the client's address: the same client, the same endpoint |
//! | `uri`, `query`, `header`, `cookie` | `uri`, `url_param`, `hdr` | by a part of the request |
//! | `hash` | `hash` | by any key |
//!
//! The last three lines are [`hash`]: seven ways to get from a hash to an endpoint.

pub mod first;
pub mod hash;
pub mod least_connections;
pub mod least_time;
mod load_tree;
mod parse;
pub mod peak_ewma;
pub mod prequal;
pub mod random;
pub mod round_robin;
pub mod single_writer;
pub mod static_rr;
mod turn;

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::sync::Arc;

use ha_core::config::ConfigError;
use serde::{Deserialize, Serialize};

use self::hash::HashConfig;
use self::single_writer::Failback;
use crate::balancer::Balancer;

/// Which algorithm, with its options; reads and writes `NAME[,option=value…]`.
///
/// ```
/// use ha_lb::algorithm::Algorithm;
///
/// let algorithm: Algorithm = "source,hash-type=consistent".parse()?;
/// assert_eq!(algorithm.to_string(), "source,hash-type=consistent");
/// assert_eq!("leastconn".parse::<Algorithm>()?, Algorithm::LeastConnections);
/// let error = "fastest".parse::<Algorithm>().unwrap_err();
/// assert!(error.to_string().starts_with("algorithm: fastest is not allowed: round-robin"));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Algorithm {
    /// The first that has room: see [`first`].
    First,
    /// By the hash of a key: see [`hash`].
    Hash(HashConfig),
    /// The fewest connections for the weight: see [`least_connections`].
    LeastConnections,
    /// The shortest expected wait: see [`least_time`].
    LeastTime,
    /// The shorter expected wait of two: see [`peak_ewma`].
    PeakEwma,
    /// The fastest probed one that is not crowded, by the pool's own counters: see [`prequal`].
    Prequal,
    /// The least loaded of some drawn at random: see [`random`].
    Random {
        /// How many are drawn, 1 to 16; default 2 (HAProxy's `random(2)`).
        draws: NonZeroU8,
    },
    /// In turn, by weight: see [`round_robin`]. The default.
    #[default]
    RoundRobin,
    /// Always the same: see [`single_writer`].
    SingleWriter {
        /// What happens when one of a lower rank comes back; default: it gets the work.
        failback: Failback,
    },
    /// In turn, in the order of HAProxy's table: see [`static_rr`].
    StaticRoundRobin,
}

impl Algorithm {
    /// Makes the balancer.
    #[must_use]
    pub fn balancer(&self) -> Arc<dyn Balancer> {
        self.make(None)
    }

    /// As [`balancer`](Self::balancer), with a seed that makes what is drawn at random repeatable.
    #[must_use]
    pub fn balancer_with_seed(&self, seed: u64) -> Arc<dyn Balancer> {
        self.make(Some(seed))
    }

    fn make(&self, seed: Option<u64>) -> Arc<dyn Balancer> {
        match self {
            Self::First => Arc::new(first::First::new()),
            Self::Hash(config) => Arc::new(hash::Hash::new(config.clone())),
            Self::LeastConnections => Arc::new(least_connections::LeastConnections::new()),
            Self::LeastTime => Arc::new(least_time::LeastTime::new()),
            Self::PeakEwma => {
                Arc::new(seed.map_or_else(peak_ewma::PeakEwma::new, peak_ewma::PeakEwma::with_seed))
            }
            Self::Prequal => {
                Arc::new(seed.map_or_else(prequal::Prequal::new, prequal::Prequal::with_seed))
            }
            Self::Random { draws } => Arc::new(seed.map_or_else(
                || random::Random::new(*draws),
                |seed| random::Random::with_seed(*draws, seed),
            )),
            Self::RoundRobin => Arc::new(round_robin::RoundRobin::new()),
            Self::SingleWriter { failback } => {
                Arc::new(single_writer::SingleWriter::new(*failback))
            }
            Self::StaticRoundRobin => Arc::new(static_rr::StaticRoundRobin::new()),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        parse::algorithm(text)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("first"),
            Self::Hash(config) => config.fmt(f),
            Self::LeastConnections => f.write_str("least-connections"),
            Self::LeastTime => f.write_str("least-time"),
            Self::PeakEwma => f.write_str("peak-ewma"),
            Self::Prequal => f.write_str("prequal"),
            Self::Random { draws } if *draws == parse::TWO => f.write_str("random"),
            Self::Random { draws } => write!(f, "random,draws={draws}"),
            Self::RoundRobin => f.write_str("round-robin"),
            Self::SingleWriter { failback: Failback::Always } => f.write_str("single-writer"),
            Self::SingleWriter { failback: Failback::Never } => {
                f.write_str("single-writer,failback=never")
            }
            Self::StaticRoundRobin => f.write_str("static-rr"),
        }
    }
}

impl TryFrom<String> for Algorithm {
    type Error = ConfigError;
    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl From<Algorithm> for String {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.to_string()
    }
}

#[cfg(test)]
mod tests;
