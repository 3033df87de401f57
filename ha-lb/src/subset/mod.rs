//! Subsets: each of many clients uses some of the servers, so that not all have connections to all.
//!
//! ```text
//!  Discovery ─▶ all servers ─▶ Subset::apply ─▶ some of them ─▶ Pool
//!                                 ▲ which client this is, of how many
//! ```
//!
//! A thousand clients of a thousand servers hold a million connections, most of them idle. With a
//! subset each holds a few, and servers should get equally many of them, whoever comes or goes.
//!
//! | subset | a client needs | connections of a server | a new server | a new client |
//! |---|---|---|---|---|
//! | [`Aperture`] | index, number of all | differ by 1; equal load | shifts all | shifts all |
//! | [`Rocksteadier`] | index | differ by some 10 % | gets its part | shifts nobody |
//! | [`Rendezvous`] | a name | as by chance | gets its part | shifts nobody |
//!
//! Choose [`Rocksteadier`] where clients have numbers (a `StatefulSet`), [`Rendezvous`] where they
//! have none, and [`Aperture`] where load must be equal and sizes seldom change. A subset is taken
//! of regular servers, of backups and of each priority by itself, so no client is left without one.
//!
//! ```
//! use ha_lb::endpoint::parse_list;
//! use ha_lb::subset::{Rocksteadier, Subset};
//!
//! let servers = parse_list("a=192.0.2.1:80,b=192.0.2.2:80,c=192.0.2.3:80,d=192.0.2.4:80")?;
//! let ours = Rocksteadier::new(0, 2)?.apply(servers.clone());
//! let theirs = Rocksteadier::new(1, 2)?.apply(servers);
//! assert_eq!((ours.len(), theirs.len()), (2, 2));
//! assert!(ours.iter().all(|server| !theirs.contains(server)));
//! # Ok::<(), ha_core::config::ConfigError>(())
//! ```

mod aperture;
#[cfg(feature = "tokio")]
mod list;
mod rendezvous;
mod rocksteadier;

use std::collections::BTreeMap;
use std::fmt;

pub use self::aperture::Aperture;
#[cfg(feature = "tokio")]
pub use self::list::SubsetList;
pub use self::rendezvous::Rendezvous;
pub use self::rocksteadier::Rocksteadier;

use crate::endpoint::Endpoint;
use crate::random::mix;

/// Chooses the servers that this client uses.
///
/// It is a pure function of the list: the same list, in whatever order, gives the same subset.
pub trait Subset: fmt::Debug + Send + Sync {
    /// The servers of the list that this client uses, in the order of the list; all of them if
    /// there are no more than it should have.
    fn apply(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: Subset + ?Sized> Subset for $pointer {
            fn apply(&self, endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
                (**self).apply(endpoints)
            }
        }
    )*};
}

forward!(&S, Box<S>, std::sync::Arc<S>);

/// Has `choose` say, for the endpoints of each priority and for backups, which of them stay; it is
/// given their positions in the list.
fn of_each_rank(
    endpoints: Vec<Endpoint>,
    choose: impl Fn(&[Endpoint], &[usize]) -> Vec<Kept>,
) -> Vec<Endpoint> {
    let mut ranks: BTreeMap<(bool, u8), Vec<usize>> = BTreeMap::new();
    for (position, endpoint) in endpoints.iter().enumerate() {
        ranks.entry((endpoint.is_backup(), endpoint.priority())).or_default().push(position);
    }
    let chosen = ranks.values().flat_map(|positions| choose(&endpoints, positions));
    let mut kept: BTreeMap<usize, Kept> = chosen.map(|kept| (kept.position, kept)).collect();
    let all = endpoints.into_iter().enumerate();
    all.filter_map(|(position, endpoint)| {
        let Kept { weight, .. } = kept.remove(&position)?;
        Some(match weight {
            Some(weight) => endpoint.with_weight(weight),
            None => endpoint,
        })
    })
    .collect()
}

/// An endpoint that stays.
#[derive(Debug, Clone, Copy)]
struct Kept {
    position: usize,
    /// `None` is the weight that it has.
    weight: Option<crate::endpoint::Weight>,
}

impl Kept {
    const fn whole(position: usize) -> Self {
        Self { position, weight: None }
    }
}

/// FNV-1a, mixed.
fn hash(parts: &[&[u8]]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let whole = parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, part| {
        // The lengths keep parts apart.
        let hash = part.iter().fold(hash, step);
        step(hash, &u8::try_from(part.len() & 0xff).unwrap_or_default())
    });
    mix(whole)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
