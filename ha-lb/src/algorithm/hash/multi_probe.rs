//! Multi-probe consistent hashing: one point for each unit of weight, several looks for each key.
//!
//! # Source
//!
//! Appleton, O'Reilly, "Multi-Probe Consistent Hashing" (2015): with 21 probes the fullest endpoint has
//! at most 1.05 times the mean, with a point for each endpoint instead of hundreds.

use crate::algorithm::round_robin::reduced_weights;
use crate::endpoint::Endpoint;
use crate::random::mix;
use crate::snapshot::{EndpointIndex, Endpoints};

use super::function::hash64;

/// The paper's choice for a peak of 1.05.
const PROBES: u64 = 21;

/// The most points; weights are halved until they fit.
const MAX_POINTS: u64 = 1 << 22;

/// Points in ascending order.
#[derive(Debug)]
pub(super) struct MultiProbe {
    points: Box<[(u64, EndpointIndex)]>,
    starts: Box<[u32]>,
    shift: u32,
}

impl MultiProbe {
    pub(super) fn new(endpoints: &Endpoints) -> Self {
        let mut points = Vec::new();
        for (index, weight) in reduced_weights(endpoints, MAX_POINTS) {
            let name = endpoints.endpoint(index).map(Endpoint::name);
            let seed = name.map_or(0, |name| hash64(name.as_str().as_bytes()));
            points.extend((0..weight).map(|nth| (mix(seed.wrapping_add(nth)), index)));
        }
        points.sort_unstable();
        let bits = points.len().checked_ilog2().unwrap_or(0).clamp(1, 22);
        let shift = 64 - bits;
        let start = |upper: u64| {
            let at = points.partition_point(|(at, _)| at >> shift < upper);
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let starts = (0..=1_u64 << bits).map(start).collect();
        Self { points: points.into(), starts, shift }
    }

    /// The accepted endpoint whose point is the nearest after one of the probes.
    pub(super) fn find(
        &self,
        hash: u64,
        mut accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let mut nearest: Option<(u64, EndpointIndex)> = None;
        for nth in 0..PROBES {
            let probe = mix(hash.wrapping_add(nth.wrapping_mul(crate::random::STEP)));
            let (before, after) = self.points.split_at_checked(self.after(probe))?;
            let next = after.iter().chain(before).find(|(_, index)| accept(*index));
            let (at, index) = *next?;
            let distance = at.wrapping_sub(probe);
            if nearest.is_none_or(|(least, _)| distance < least) {
                nearest = Some((distance, index));
            }
        }
        nearest.map(|(_, index)| index)
    }

    fn after(&self, hash: u64) -> usize {
        let upper = usize::try_from(hash >> self.shift).unwrap_or_default();
        let bound = |at: usize| self.starts.get(at).map_or(self.points.len(), |at| *at as usize);
        let (start, end) = (bound(upper), bound(upper + 1));
        let among = self.points.get(start..end).unwrap_or_default();
        start + among.partition_point(|(at, _)| *at < hash)
    }
}
