//! HAProxy's map: a table of as many slots as the weights together.
//!
//! # Source
//!
//! HAProxy's `recalc_server_map` (`src/lb_map.c`), over the usable endpoints: in slot t, counted from 1,
//! the first endpoint is due that is furthest behind `floor(weight × t / total)` picks. HAProxy looks at
//! every endpoint for every slot; here one is looked at only when it comes to be due. Where all weigh
//! the same, slot t is the t-th usable endpoint, and no table is needed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use crate::algorithm::round_robin::reduce;
use crate::snapshot::{EndpointIndex, Endpoints};

/// Which endpoint each slot belongs to.
#[derive(Debug)]
pub(crate) enum Map {
    /// The usable endpoints are the slots, whichever they are.
    Equal,
    /// Laid down for the endpoints that were usable then.
    Slots(Box<[EndpointIndex]>),
}

impl Map {
    pub(crate) fn new(endpoints: &Endpoints) -> Self {
        let mut weights = endpoints.indices().map(|index| endpoints.weight(index));
        let first = weights.next();
        let equal = weights.all(|weight| Some(weight) == first);
        if equal { Self::Equal } else { Self::Slots(slots(endpoints)) }
    }

    /// Whether it has to be laid down anew when another endpoint is usable.
    pub(crate) const fn follows_health(&self) -> bool {
        match self {
            Self::Equal => false,
            Self::Slots(_) => true,
        }
    }

    pub(crate) fn len(&self, endpoints: &Endpoints) -> usize {
        match self {
            Self::Equal => endpoints.usable_count() as usize,
            Self::Slots(slots) => slots.len(),
        }
    }

    pub(crate) fn get(&self, slot: usize, endpoints: &Endpoints) -> Option<EndpointIndex> {
        match self {
            Self::Equal => endpoints.nth_usable(slot),
            Self::Slots(slots) => slots.get(slot).copied(),
        }
    }

    /// The accepted endpoint at the slot of the hash or after it.
    pub(super) fn find(
        &self,
        hash: u32,
        endpoints: &Endpoints,
        mut accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let start = (hash as usize).checked_rem(self.len(endpoints))?;
        match self {
            Self::Equal => {
                let first = endpoints.nth_usable(start)?;
                if accept(first) {
                    return Some(first);
                }
                endpoints.usable_from(first.get()).find(|index| accept(*index))
            }
            Self::Slots(slots) => {
                let (before, after) = slots.split_at_checked(start)?;
                after.iter().chain(before).copied().find(|index| accept(*index))
            }
        }
    }
}

fn slots(endpoints: &Endpoints) -> Box<[EndpointIndex]> {
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
