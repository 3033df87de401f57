//! Random: the least loaded of some that are drawn by weight.
//!
//! # Source
//!
//! Two choices: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001); it is
//! HAProxy's `random(2)`, its default since 3.3. With one draw it is plain weighted random. Drawing
//! by weight in constant time: Walker's alias method (1977), in the form of Vose (1991).

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::algorithm::least_connections::Load;
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// The least loaded of `draws` endpoints that are drawn by weight.
#[derive(Debug)]
pub struct Random {
    draws: NonZeroU8,
    numbers: Numbers,
}

/// Random numbers without a lock: a Weyl sequence, mixed (Steele, Lea, Flood 2014, "`SplitMix`").
#[derive(Debug)]
#[repr(align(64))]
struct Numbers(AtomicU64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Numbers {
    fn take(&self, many: u8) -> impl Iterator<Item = u64> {
        let first = self.0.fetch_add(STEP.wrapping_mul(u64::from(many)), Ordering::Relaxed);
        (1..=u64::from(many)).map(move |nth| mixed(first.wrapping_add(STEP.wrapping_mul(nth))))
    }
}

const fn mixed(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Random {
    /// Draws `draws` endpoints a pick, with a seed from the operating system.
    #[must_use]
    pub fn new(draws: NonZeroU8) -> Self {
        Self::with_seed(draws, RandomState::new().hash_one(0))
    }

    /// As [`new`](Self::new), with a seed that makes the draws of one thread repeatable.
    #[must_use]
    pub const fn with_seed(draws: NonZeroU8, seed: u64) -> Self {
        Self { draws, numbers: Numbers(AtomicU64::new(seed)) }
    }
}

impl Balancer for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let table = endpoints.prepared(|_: &Alias| true, || Alias::new(endpoints));
        let mut start = 0;
        let mut best: Option<(EndpointIndex, Load)> = None;
        for number in self.numbers.take(self.draws.get()) {
            start = usize::try_from(number >> 33).unwrap_or_default();
            let index = table.draw(number)?;
            let load = Load::of(endpoints, index);
            if best.is_none_or(|(_, least)| load.is_below(least))
                && endpoints.admits(index, context)
            {
                best = Some((index, load));
            }
        }
        best.map(|(index, _)| index).or_else(|| endpoints.scan(start, context))
    }

    fn prepare(&self, endpoints: &Endpoints) {
        endpoints.prepared(|_: &Alias| true, || Alias::new(endpoints));
    }

    fn explain(&self, endpoints: &Endpoints, _: &PickContext<'_>, picked: EndpointIndex) -> String {
        let connections = endpoints.state(picked).map_or(0, |state| state.connections());
        format!("least loaded of {} drawn: {connections} connections", self.draws)
    }
}

/// Walker's table: a slot is kept with its probability and passed on to its alias otherwise.
#[derive(Debug)]
struct Alias(Box<[Slot]>);

#[derive(Debug, Clone, Copy)]
struct Slot {
    own: EndpointIndex,
    alias: EndpointIndex,
    /// The probability of `own`, in parts of 2^32 less one.
    keep: u32,
}

impl Alias {
    fn new(endpoints: &Endpoints) -> Self {
        let usable = endpoints.usable();
        let weight = |index: &EndpointIndex| u64::from(endpoints.weight(*index));
        let total: u64 = usable.iter().map(weight).sum();
        let len = u64::try_from(usable.len()).unwrap_or(u64::MAX);
        // A share is `weight × len`, to be cut into `len` slots of `total` each.
        let mut slots = vec![None; usable.len()];
        let (mut small, mut large): (Vec<_>, Vec<_>) = usable
            .iter()
            .enumerate()
            .map(|(slot, index)| (slot, *index, weight(index) * len))
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

    /// The endpoint for a random number: the upper half chooses the slot, the lower one keeps it.
    fn draw(&self, number: u64) -> Option<EndpointIndex> {
        let len = u64::try_from(self.0.len()).ok()?;
        let slot = usize::try_from(((number >> 32) * len) >> 32).ok()?;
        let Slot { own, alias, keep } = *self.0.get(slot)?;
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
