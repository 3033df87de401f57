//! HAProxy's map: a table of as many slots as the weights together.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::algorithm::round_robin::reduce;
use crate::snapshot::{EndpointIndex, Endpoints};

/// HAProxy's table (`recalc_server_map`), over the usable endpoints: in slot t, counted from 1, the first
/// endpoint is due that is furthest behind `floor(weight × t / total)` picks. HAProxy looks at every
/// endpoint for every slot; here an endpoint is looked at only when it comes to be due.
pub(crate) fn map(endpoints: &Endpoints) -> Box<[EndpointIndex]> {
    let weights = reduce(endpoints, endpoints.usable(), u64::MAX);
    let total: u64 = weights.iter().map(|(_, weight)| weight).sum();
    // When an endpoint is due once more: `ceil(times × total / weight)`.
    let due_at = |times: u64, weight: u64| (times * total).div_ceil(weight);
    let mut coming: BinaryHeap<Reverse<(u64, usize)>> = weights
        .iter()
        .enumerate()
        .map(|(place, (_, weight))| Reverse((due_at(1, *weight), place)))
        .collect();
    // How many picks each endpoint is behind; negative when it was picked early.
    let mut behind = vec![0_i64; weights.len()];
    let mut became_due = vec![1_u64; weights.len()];
    let mut order: BTreeSet<(Reverse<i64>, usize)> =
        (0..weights.len()).map(|place| (Reverse(0), place)).collect();
    let mut shift = |order: &mut BTreeSet<_>, place: usize, by: i64| {
        if let Some(score) = behind.get_mut(place) {
            order.remove(&(Reverse(*score), place));
            *score += by;
            order.insert((Reverse(*score), place));
        }
    };
    let mut slots = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    for slot in 1..=total {
        while let Some(Reverse((_, place))) = coming.peek().filter(|next| next.0.0 <= slot) {
            let place = *place;
            coming.pop();
            shift(&mut order, place, 1);
            if let (Some(times), Some((_, weight))) =
                (became_due.get_mut(place), weights.get(place))
            {
                *times += 1;
                coming.push(Reverse((due_at(*times, *weight), place)));
            }
        }
        let Some((_, place)) = order.first().copied() else { break };
        slots.extend(weights.get(place).map(|(index, _)| *index));
        shift(&mut order, place, -1);
    }
    slots.into()
}
