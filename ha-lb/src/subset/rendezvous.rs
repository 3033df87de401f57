//! A random subset that stays: each client ranks the servers by a hash of both names.

use ha_core::config::ConfigError;

use super::{Kept, Subset, hash, of_each_rank};
use crate::endpoint::Endpoint;

/// The servers whose hash with the client's name is highest.
///
/// # Source
///
/// Rendezvous hashing (Thaler, Ravishankar 1996); as a subset, gRPC's `random_subsetting` (gRFC
/// A68). Clients need no numbers and know nothing of each other. A server that comes takes the
/// place of one other in the subsets that it gets into; one that goes is replaced by one.
/// Connections are spread as by chance: with 20 for each server on average, the fullest of a
/// hundred has some 32.
///
/// ```
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::subset::{Rendezvous, Subset};
///
/// let servers = parse_list("a=192.0.2.1:80,b=192.0.2.2:80,c=192.0.2.3:80")?;
/// let subset = Rendezvous::new("worker-7.eu", 2)?;
/// assert_eq!(subset.apply(servers).len(), 2);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    client: String,
    size: usize,
}

impl Rendezvous {
    /// `size` servers, 1 or more, for the client of this name; no two clients should have the same.
    ///
    /// # Errors
    ///
    /// When the size is 0.
    pub fn new(client: impl Into<String>, size: usize) -> Result<Self, ConfigError> {
        if size == 0 {
            return Err(ConfigError::new("size", size, "1 or more"));
        }
        Ok(Self { client: client.into(), size })
    }

    fn choose(&self, endpoints: &[Endpoint], positions: &[usize]) -> Vec<Kept> {
        let mut ranked: Vec<usize> = positions.to_vec();
        if self.size < ranked.len() {
            ranked.sort_by_cached_key(|position| {
                endpoints.get(*position).map(|endpoint| {
                    let name = endpoint.name();
                    (hash(&[self.client.as_bytes(), name.as_str().as_bytes()]), name.clone())
                })
            });
            ranked.truncate(self.size);
        }
        ranked.into_iter().map(Kept::whole).collect()
    }
}

impl Subset for Rendezvous {
    fn apply(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
        of_each_rank(endpoints, |all, positions| self.choose(all, positions))
    }
}
