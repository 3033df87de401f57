//! The list of a pool: endpoints in their order, found by name, with their live states.

use std::num::NonZeroU32;
use std::sync::Arc;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::EndpointName;

use crate::algorithm::hash::hash64;
use crate::endpoint::Endpoint;
use crate::pool::MAX_ENDPOINTS;
use crate::state::EndpointState;

/// The list, shared by all snapshots between two updates of the list.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) states: Box<[Arc<EndpointState>]>,
    by_name: Box<[Entry]>,
}

/// Where a name is in the list. Entries are ordered by hash, as numbers compare faster than names do; by
/// name where hashes are equal, so that nobody can make a look-up slow by the choice of names.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    position: u32,
}

fn hash(name: &EndpointName) -> u64 {
    hash64(name.as_str().as_bytes())
}

impl Members {
    /// No endpoint.
    pub(crate) fn empty() -> Self {
        Self { endpoints: Box::new([]), states: Box::new([]), by_name: Box::new([]) }
    }

    /// Another list: endpoints that keep name and address keep their state.
    pub(crate) fn replaced(&self, endpoints: Vec<Endpoint>) -> Result<Self, ConfigError> {
        let by_name = by_name(&endpoints)?;
        let mut states = vec![None; endpoints.len()];
        for entry in &by_name {
            let position = entry.position as usize;
            let (Some(endpoint), Some(place)) = (endpoints.get(position), states.get_mut(position))
            else {
                continue;
            };
            let known = self.find_hashed(entry.hash, endpoint.name());
            let known = known.and_then(|position| self.states.get(position));
            let known = known.filter(|state| state.address() == endpoint.address());
            let state = known.map_or_else(
                || Arc::new(EndpointState::new(endpoint.name().clone(), endpoint.address())),
                Arc::clone,
            );
            state.set_limit(endpoint.max_connections().map_or(0, NonZeroU32::get));
            *place = Some(state);
        }
        let states = states.into_iter().flatten().collect();
        Ok(Self { endpoints: endpoints.into(), states, by_name })
    }

    /// The same list with one endpoint changed, but for its name and address.
    pub(crate) fn with(&self, position: usize, endpoint: Endpoint) -> Self {
        let mut endpoints = self.endpoints.clone();
        if let Some(place) = endpoints.get_mut(position) {
            *place = endpoint;
        }
        Self { endpoints, states: self.states.clone(), by_name: self.by_name.clone() }
    }

    /// The position of a name in the list.
    pub(crate) fn find(&self, name: &EndpointName) -> Option<usize> {
        self.find_hashed(hash(name), name)
    }

    fn find_hashed(&self, hash: u64, name: &EndpointName) -> Option<usize> {
        let name_of =
            |entry: &Entry| self.endpoints.get(entry.position as usize).map(Endpoint::name);
        let found = self.by_name.binary_search_by(|entry| {
            entry.hash.cmp(&hash).then_with(|| name_of(entry).cmp(&Some(name)))
        });
        self.by_name.get(found.ok()?).map(|entry| entry.position as usize)
    }
}

/// The order by name, if every name occurs once.
fn by_name(endpoints: &[Endpoint]) -> Result<Box<[Entry]>, ConfigError> {
    let mut problems = Problems::new();
    if endpoints.len() > MAX_ENDPOINTS {
        problems.add("backends", endpoints.len(), format!("at most {MAX_ENDPOINTS}"));
    }
    let name = |entry: &Entry| endpoints.get(entry.position as usize).map(Endpoint::name);
    let mut order: Box<[Entry]> = (0..)
        .zip(endpoints)
        .map(|(position, endpoint)| Entry { hash: hash(endpoint.name()), position })
        .collect();
    order.sort_unstable_by(|a, b| {
        let by_name = a.hash.cmp(&b.hash).then_with(|| name(a).cmp(&name(b)));
        by_name.then(a.position.cmp(&b.position))
    });
    let mut twice: Vec<(u32, u32)> = Vec::new();
    for same in order.chunk_by(|a, b| a.hash == b.hash && name(a) == name(b)) {
        if let [first, others @ ..] = same {
            twice.extend(others.iter().map(|other| (other.position, first.position)));
        }
    }
    twice.sort_unstable();
    for (position, first) in twice {
        let allowed = format!("every name once; backends[{first}] has it already");
        if let Some(endpoint) = endpoints.get(position as usize) {
            problems.add(format!("backends[{position}].name"), endpoint.name(), allowed);
        }
    }
    problems.into_result(order)
}
