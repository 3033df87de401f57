//! The balancing algorithms, and how they are named in flags and files.
//!
//! | name | HAProxy's | picks |
//! |---|---|---|
//! | `round-robin` | `roundrobin` | in turn, by weight, evenly spread |
//! | `least-connections` | `leastconn` | the fewest connections for the weight |
//! | `random` | `random` | the less loaded of two drawn by weight |
//! | `source` | `source` | by the client's address: the same client, the same endpoint |

pub mod least_connections;
pub mod random;
pub mod round_robin;
pub mod source;

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;
use std::sync::Arc;

use ha_core::config::ConfigError;
use serde::{Deserialize, Serialize};

use crate::balancer::Balancer;
use source::{Function, HashType, SourceHash};

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
    /// The fewest connections for the weight: see [`least_connections`].
    LeastConnections,
    /// The least loaded of some drawn at random: see [`random`].
    Random {
        /// How many are drawn, 1 to 16; default 2 (HAProxy's `random(2)`).
        draws: NonZeroU8,
    },
    /// In turn, by weight: see [`round_robin`]. The default.
    #[default]
    RoundRobin,
    /// By the client's address: see [`source`].
    Source(SourceHash),
}

/// The most draws of `random`.
const MAX_DRAWS: u8 = 16;
const TWO: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);

const NAMES: &str = "round-robin (roundrobin), least-connections (leastconn), random[,draws=1…16], \
                     source[,hash-type=map-based|consistent][,function=sdbm|djb2|wt6|crc32|none]\
                     [,avalanche=true|false]";

impl Algorithm {
    /// Makes the balancer.
    #[must_use]
    pub fn balancer(&self) -> Arc<dyn Balancer> {
        match self {
            Self::LeastConnections => Arc::new(least_connections::LeastConnections::new()),
            Self::Random { draws } => Arc::new(random::Random::new(*draws)),
            Self::RoundRobin => Arc::new(round_robin::RoundRobin::new()),
            Self::Source(hash) => Arc::new(source::Source::new(*hash)),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let mut options = Options::read(parts, text)?;
        let algorithm = match name {
            "round-robin" | "roundrobin" => Self::RoundRobin,
            "least-connections" | "leastconn" => Self::LeastConnections,
            "random" => Self::Random { draws: draws(options.take("draws"))? },
            "source" => Self::Source(source_hash(&mut options)?),
            _ => return Err(ConfigError::new("algorithm", text, NAMES)),
        };
        options.none_left(name, &algorithm)?;
        Ok(algorithm)
    }
}

/// The options of an algorithm that were not looked at yet.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn read(parts: impl Iterator<Item = &'a str>, text: &str) -> Result<Self, ConfigError> {
        let mut options: Vec<(&str, &str)> = Vec::new();
        for part in parts {
            let Some((key, value)) = part.split_once('=') else {
                return Err(ConfigError::new("algorithm", text, "NAME[,option=value…]"));
            };
            if options.iter().any(|(known, _)| *known == key) {
                let path = format!("algorithm.{key}");
                return Err(ConfigError::new(path, value, "every option once"));
            }
            options.push((key, value));
        }
        Ok(Self(options))
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let position = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.swap_remove(position).1)
    }

    fn none_left(&self, name: &str, algorithm: &Algorithm) -> Result<(), ConfigError> {
        let Some((key, value)) = self.0.first() else {
            return Ok(());
        };
        let allowed = match algorithm {
            Algorithm::RoundRobin | Algorithm::LeastConnections => format!("{name} has no options"),
            Algorithm::Random { .. } => "random has the option draws".to_owned(),
            Algorithm::Source(_) => {
                "source has the options hash-type, function and avalanche".to_owned()
            }
        };
        Err(ConfigError::new(format!("algorithm.{key}"), value, allowed))
    }
}

fn draws(value: Option<&str>) -> Result<NonZeroU8, ConfigError> {
    let Some(text) = value else {
        return Ok(TWO);
    };
    let draws = text.parse::<NonZeroU8>().ok().filter(|draws| draws.get() <= MAX_DRAWS);
    draws.ok_or_else(|| ConfigError::new("algorithm.draws", text, "1 to 16"))
}

fn source_hash(options: &mut Options<'_>) -> Result<SourceHash, ConfigError> {
    let hash_type = match options.take("hash-type") {
        None | Some("map-based") => HashType::MapBased,
        Some("consistent") => HashType::Consistent,
        Some(other) => {
            let allowed = "map-based or consistent";
            return Err(ConfigError::new("algorithm.hash-type", other, allowed));
        }
    };
    let function = options.take("function").map(str::parse::<Function>).transpose()?;
    let avalanche = match options.take("avalanche") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => {
            return Err(ConfigError::new("algorithm.avalanche", other, "true or false"));
        }
    };
    Ok(SourceHash::new(hash_type, function, avalanche))
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeastConnections => f.write_str("least-connections"),
            Self::Random { draws } if *draws == TWO => f.write_str("random"),
            Self::Random { draws } => write!(f, "random,draws={draws}"),
            Self::RoundRobin => f.write_str("round-robin"),
            Self::Source(hash) => write!(f, "source{hash}"),
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
