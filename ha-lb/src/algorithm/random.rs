//! Random: the least loaded of some that are drawn by weight.
//!
//! # Source
//!
//! Two choices: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001); it is
//! HAProxy's `random(2)`, its default since 3.3. With one draw it is plain weighted random. Drawing
//! by weight in constant time: Walker's alias method (1977), in the form of Vose (1991).

use std::num::NonZeroU8;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::algorithm::least_connections::Load;
use crate::balancer::{Balancer, PickContext};
use crate::random::{STEP, below, draw, mix};
use crate::snapshot::{EndpointIndex, Endpoints, Prepared};

/// How often a pick draws before any usable endpoint will do.
const MAX_TRIES: u8 = 32;

/// The least loaded of `draws` endpoints that are drawn by weight.
#[derive(Debug)]
pub struct Random {
    draws: NonZeroU8,
    numbers: Numbers,
}

/// Where random numbers come from.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// Of each thread's own.
    Thread,
    /// The same ones each time.
    Seeded(AtomicU64),
}

impl Numbers {
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self::Seeded(AtomicU64::new(seed))
    }

    #[inline]
    pub(crate) fn take(&self) -> u64 {
        match self {
            Self::Thread => draw(),
            Self::Seeded(state) => mix(state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP)),
        }
    }
}

impl Random {
    /// Draws `draws` endpoints a pick, with seeds from the operating system.
    #[must_use]
    pub const fn new(draws: NonZeroU8) -> Self {
        Self { draws, numbers: Numbers::Thread }
    }

    /// As [`new`](Self::new), with a seed that makes the draws repeatable.
    #[must_use]
    pub const fn with_seed(draws: NonZeroU8, seed: u64) -> Self {
        Self { draws, numbers: Numbers::seeded(seed) }
    }
}

impl Balancer for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let drawn = Drawn::by_weight(endpoints, context, &self.numbers);
        let mut best: Option<(EndpointIndex, Load)> = None;
        for index in drawn.take(usize::from(self.draws.get())) {
            if self.draws.get() == 1 {
                return Some(index);
            }
            let load = Load::of(endpoints, index);
            if best.is_none_or(|(_, least)| load.is_below(least)) {
                best = Some((index, load));
            }
        }
        best.map(|(index, _)| index).or_else(|| endpoints.scan(self.numbers.take(), context))
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Alias| true, || Alias::new(endpoints));
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, picked: EndpointIndex) -> String {
        let connections = endpoints.state(picked).map_or(0, |state| state.connections());
        format!("least loaded of {} drawn: {connections} connections", self.draws)
    }
}

/// Endpoints that can take the pick, drawn by weight and by the part of it that they take now;
/// the same one can be drawn again.
pub(crate) struct Drawn<'a, T = Prepared<'a, Alias>> {
    endpoints: &'a Endpoints,
    context: &'a PickContext<'a>,
    numbers: &'a Numbers,
    table: T,
    tries: u8,
}

impl<'a> Drawn<'a> {
    #[inline]
    pub(crate) fn by_weight(
        endpoints: &'a Endpoints,
        context: &'a PickContext<'a>,
        numbers: &'a Numbers,
    ) -> Self {
        let table = endpoints.prepared(|_: &Alias| true, || Alias::new(endpoints));
        Self::with_table(endpoints, context, numbers, table)
    }
}

impl<'a, T: Deref<Target = Alias>> Drawn<'a, T> {
    /// Draws by a table that was made for these endpoints.
    #[inline]
    pub(crate) const fn with_table(
        endpoints: &'a Endpoints,
        context: &'a PickContext<'a>,
        numbers: &'a Numbers,
        table: T,
    ) -> Self {
        Self { endpoints, context, numbers, table, tries: MAX_TRIES }
    }
}

impl<T: Deref<Target = Alias>> Iterator for Drawn<'_, T> {
    type Item = EndpointIndex;

    #[inline]
    fn next(&mut self) -> Option<EndpointIndex> {
        while self.tries > 0 {
            self.tries -= 1;
            let number = self.numbers.take();
            let index = self.table.draw(number)?;
            // The lowest 32 bits chose between own and alias, the highest the slot.
            if self.endpoints.accepts(index, self.context, number >> 32) {
                return Some(index);
            }
        }
        None
    }
}

/// Walker's table: a slot is kept with its probability and passed on to its alias otherwise.
#[derive(Debug)]
pub(crate) struct Alias(Box<[Slot]>);

#[derive(Debug, Clone, Copy)]
struct Slot {
    own: EndpointIndex,
    alias: EndpointIndex,
    /// The probability of `own`, in parts of 2^32 less one.
    keep: u32,
}

impl Alias {
    pub(crate) fn new(endpoints: &Endpoints) -> Self {
        let weight = |index: EndpointIndex| u64::from(endpoints.weight(index));
        let total: u64 = endpoints.indices().map(weight).sum();
        let len = u64::try_from(endpoints.len()).unwrap_or(u64::MAX);
        // A share is `weight × len`, to be cut into `len` slots of `total` each.
        let mut slots = vec![None; endpoints.len()];
        let (mut small, mut large): (Vec<_>, Vec<_>) = endpoints
            .indices()
            .enumerate()
            .map(|(slot, index)| (slot, index, weight(index) * len))
            .partition(|(_, _, share)| *share < total);
        while let Some((rich_slot, alias, rich_share)) = large.pop() {
            let Some((slot, own, share)) = small.pop() else {
                large.push((rich_slot, alias, rich_share));
                break;
            };
            set(&mut slots, slot, Slot { own, alias, keep: parts(share, total) });
            let left = rich_share - (total - share);
            let pile = if left < total { &mut small } else { &mut large };
            pile.push((rich_slot, alias, left));
        }
        for (slot, own, _) in small.into_iter().chain(large) {
            set(&mut slots, slot, Slot { own, alias: own, keep: u32::MAX });
        }
        Self(slots.into_iter().flatten().collect())
    }

    /// The endpoint for a random number: the upper bits choose the slot, the lower ones keep it.
    #[inline]
    fn draw(&self, number: u64) -> Option<EndpointIndex> {
        let Slot { own, alias, keep } = *self.0.get(below(number, self.0.len()))?;
        Some(if number & 0xffff_ffff < u64::from(keep) { own } else { alias })
    }
}

fn set(slots: &mut [Option<Slot>], slot: usize, value: Slot) {
    if let Some(place) = slots.get_mut(slot) {
        *place = Some(value);
    }
}

/// `share / total` in parts of 2^32 less one.
fn parts(share: u64, total: u64) -> u32 {
    let scaled = u128::from(share) * u128::from(u32::MAX) / u128::from(total.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX)
}
