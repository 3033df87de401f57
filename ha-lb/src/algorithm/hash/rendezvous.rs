//! Rendezvous hashing: the endpoint with the highest score for the key.
//!
//! # Source
//!
//! Thaler, Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (1998); weights by
//! Schindler, Schomaker's logarithmic method (2005): the score is `weight / -ln(u)`, with u between 0 and
//! 1 from the hash of endpoint and key. Nothing moves needlessly, shares are exact; a pick looks at all
//! endpoints, so that it suits some dozens.

use super::function::hash64;
use crate::endpoint::Endpoint;
use crate::random::mix;
use crate::snapshot::{EndpointIndex, Endpoints};

/// A seed for each endpoint, from its name.
#[derive(Debug)]
pub(super) struct Rendezvous {
    seeds: Box<[(u64, f32)]>,
    equal: bool,
}

impl Rendezvous {
    pub(super) fn new(endpoints: &Endpoints) -> Self {
        let seeds = endpoints.indices().map(|index| {
            let name = endpoints.endpoint(index).map(Endpoint::name);
            let seed = name.map_or(0, |name| hash64(name.as_str().as_bytes()));
            (seed, f32::from(endpoints.weight(index)))
        });
        let seeds: Box<[(u64, f32)]> = seeds.collect();
        let first = seeds.first().map(|(_, weight)| *weight);
        let equal = seeds.iter().all(|(_, weight)| Some(*weight) == first);
        Self { seeds, equal }
    }

    pub(super) fn find(
        &self,
        hash: u64,
        mut accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let mut best: Option<(f32, u64, EndpointIndex)> = None;
        for (position, (seed, weight)) in (0..).zip(&self.seeds) {
            let number = mix(seed ^ hash);
            // Of equal weights the largest number has the largest score.
            let score = if self.equal { 0.0 } else { score(number, *weight) };
            let better = best.is_none_or(|(most, tie, _)| (score, number) > (most, tie));
            let index = EndpointIndex::new(position);
            if better && accept(index) {
                best = Some((score, number, index));
            }
        }
        best.map(|(_, _, index)| index)
    }
}

fn score(number: u64, weight: f32) -> f32 {
    // 24 bits are what an `f32` holds; never 0 and never 1.
    let bits = u32::try_from(number >> 40).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
    let u = (bits as f32 + 0.5) / 16_777_216.0;
    weight / -u.ln()
}
