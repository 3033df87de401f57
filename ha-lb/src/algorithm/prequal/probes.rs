//! The pool of probe answers: a few slots of two words each, read and written without a lock.
//!
//! A slot's first word says which endpoint was probed and when, its second one what it answered.
//! Both carry the tag of the probe that wrote them, so a reader that sees words of two probes knows
//! and passes the slot over. Whoever writes a slot claims its first word; if another one was faster
//! the probe is dropped. A tag has 8 bits: only a reader that stands still between the two words
//! for 256 probes into the same slot can take one answer for another, which costs one worse choice.

use std::time::Duration;

use ha_core::time::Instant;

use crate::resilience::atomics::{AtomicU32, AtomicU64, Ordering};

/// The most slots: the paper's size of the pool.
pub(super) const SLOTS: usize = 16;

/// How many of the last answers the distribution of requests in flight is taken from. Loom's models
/// would not end with as many.
const RECENT: usize = if cfg!(all(test, loom)) { 2 } else { 128 };
/// After how many answers the limit between hot and cold is worked out anew.
const REFRESH: u32 = 16;

/// The first word of a slot that is being written.
const BUSY: u64 = 1;

/// The largest number of requests in flight that is told apart.
const MOST_IN_FLIGHT: u32 = (1 << 24) - 1;

/// Time in steps of 8 ms; comes round after 37 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick(u32);

const TICK_BITS: u32 = 24;
const TICK_MASK: u32 = (1 << TICK_BITS) - 1;

impl Tick {
    pub(super) fn of(now: Instant) -> Self {
        let ticks = (now.as_nanos() / 8_000_000) & u64::from(TICK_MASK);
        Self(u32::try_from(ticks).unwrap_or_default())
    }

    /// So long a time in steps, rounded up.
    pub(super) fn span(duration: Duration) -> u32 {
        u32::try_from(duration.as_millis().div_ceil(8)).unwrap_or(u32::MAX)
    }

    /// The steps since `earlier`; 0 if a clock that is behind says that it is later.
    const fn since(self, earlier: Self) -> u32 {
        let steps = self.0.wrapping_sub(earlier.0) & TICK_MASK;
        if steps > TICK_MASK / 2 { 0 } else { steps }
    }
}

/// An answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Answer {
    /// The probed endpoint, by its index in the group.
    pub(super) index: u32,
    /// Its requests in flight, for its weight.
    pub(super) in_flight: u32,
    /// Seconds, 0 if unknown.
    pub(super) latency: f32,
    /// How many picks may use the answer.
    pub(super) uses: u8,
}

/// An answer as it was read, with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    slot: usize,
    who: u64,
    load: u64,
    pub(super) answer: Answer,
    at: Tick,
}

#[derive(Debug)]
struct Slot {
    /// Index + 1, tick, tag: 32, 24 and 8 bits. 0 is empty.
    who: AtomicU64,
    /// In flight, uses, tag, upper bits of the latency: 24, 8, 8 and 24 bits.
    load: AtomicU64,
}

const fn who(answer: &Answer, at: Tick, tag: u8) -> u64 {
    (answer.index as u64 + 1) << 32 | (at.0 as u64) << 8 | tag as u64
}

const fn load(answer: &Answer, tag: u8) -> u64 {
    let in_flight =
        if answer.in_flight > MOST_IN_FLIGHT { MOST_IN_FLIGHT } else { answer.in_flight };
    let latency = (answer.latency.max(0.0).to_bits() >> 8) as u64;
    (in_flight as u64) << 40 | (answer.uses as u64) << 32 | (tag as u64) << 24 | latency
}

#[expect(clippy::cast_possible_truncation, reason = "the parts of the words")]
const fn read(slot: usize, who: u64, load: u64) -> Option<Probe> {
    if who <= BUSY || who & 0xff != load >> 24 & 0xff {
        return None;
    }
    let answer = Answer {
        index: (who >> 32) as u32 - 1,
        in_flight: (load >> 40) as u32,
        latency: f32::from_bits((load as u32 & 0x00ff_ffff) << 8),
        uses: (load >> 32) as u8,
    };
    Some(Probe { slot, who, load, answer, at: Tick((who >> 8) as u32 & TICK_MASK) })
}

/// The pool.
#[derive(Debug)]
pub(super) struct Probes {
    slots: Box<[Slot]>,
    max_age: u32,
    tags: AtomicU32,
    recent: Recent,
}

impl Probes {
    /// With room for `room` answers, at most [`SLOTS`], that count for `max_age` steps; more than
    /// `quantile` per mille of the requests in flight make an endpoint hot.
    pub(super) fn new(room: usize, max_age: u32, quantile: u16) -> Self {
        let slot = |_| Slot { who: AtomicU64::new(0), load: AtomicU64::new(0) };
        Self {
            slots: (0..room.clamp(1, SLOTS)).map(slot).collect(),
            max_age,
            tags: AtomicU32::new(0),
            recent: Recent::new(quantile),
        }
    }

    /// The answers that count.
    pub(super) fn iter(&self, now: Tick) -> impl Iterator<Item = Probe> {
        self.all().filter(move |probe| now.since(probe.at) <= self.max_age)
    }

    fn all(&self) -> impl Iterator<Item = Probe> {
        self.slots.iter().enumerate().filter_map(|(place, slot)| {
            let who = slot.who.load(Ordering::Acquire);
            read(place, who, slot.load.load(Ordering::Acquire))
        })
    }

    /// Above how many requests in flight an endpoint is hot.
    pub(super) fn hot_above(&self) -> u32 {
        self.recent.limit.load(Ordering::Relaxed)
    }

    /// Takes an answer in, in place of the one that is there of the same endpoint, of one that
    /// no longer counts, or of the oldest one.
    pub(super) fn insert(&self, answer: Answer, now: Tick) {
        self.recent.note(answer.in_flight);
        let mut place = None;
        let mut worst = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            let seen = slot.who.load(Ordering::Acquire);
            if seen == BUSY {
                continue;
            }
            let probe = read(at, seen, slot.load.load(Ordering::Acquire));
            let worth = match probe {
                Some(probe) if probe.answer.index == answer.index => u32::MAX,
                // Empty, or torn: nobody can use it.
                None => u32::MAX - 1,
                Some(probe) => now.since(probe.at),
            };
            if place.is_none() || worth > worst {
                (place, worst) = (Some((at, seen)), worth);
            }
        }
        let Some((slot, seen)) = place.and_then(|(at, seen)| Some((self.slots.get(at)?, seen)))
        else {
            return;
        };
        // Whoever is second drops its probe: the other one's is as new.
        if slot.who.compare_exchange(seen, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            let tag = u8::try_from(self.tags.fetch_add(1, Ordering::Relaxed) & 0xff);
            let tag = tag.unwrap_or_default();
            slot.load.store(load(&answer, tag), Ordering::Release);
            slot.who.store(who(&answer, now, tag), Ordering::Release);
        }
    }

    /// Takes over the answers of another pool whose endpoints have other indices; `index` tells an
    /// endpoint's one here. Called before this pool is used.
    pub(super) fn take_over(&self, before: &Self, index: impl Fn(u32) -> Option<u32>) {
        for probe in before.all() {
            if let Some(index) = index(probe.answer.index) {
                self.insert(Answer { index, ..probe.answer }, probe.at);
            }
        }
    }

    /// Counts a pick by this answer: `weight` requests more in flight, one use less; the last use
    /// removes it. A pick of another thread at the same moment may go uncounted.
    pub(super) fn used(&self, probe: &Probe, weight: u32) {
        let Some(slot) = self.slots.get(probe.slot) else { return };
        if probe.answer.uses <= 1 {
            self.remove(probe);
            return;
        }
        let answer = Answer {
            in_flight: probe.answer.in_flight.saturating_add(weight),
            uses: probe.answer.uses - 1,
            ..probe.answer
        };
        let tag = u8::try_from(probe.who & 0xff).unwrap_or_default();
        let _another_was_faster = slot.load.compare_exchange(
            probe.load,
            load(&answer, tag),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    fn remove(&self, probe: &Probe) {
        if let Some(slot) = self.slots.get(probe.slot) {
            let _another_was_faster =
                slot.who.compare_exchange(probe.who, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Removes the oldest answer.
    pub(super) fn remove_oldest(&self, now: Tick) {
        if let Some(probe) = self.all().max_by_key(|probe| now.since(probe.at)) {
            self.remove(&probe);
        }
    }

    /// Removes the hot answer with the most requests in flight; if none is hot, the slowest.
    pub(super) fn remove_worst(&self) {
        let hot_above = self.hot_above();
        let worst = self.all().max_by(|one, other| {
            let rank = |probe: &Probe| {
                let hot = probe.answer.in_flight > hot_above;
                (hot, if hot { probe.answer.in_flight } else { 0 })
            };
            let latencies = one.answer.latency.total_cmp(&other.answer.latency);
            rank(one).cmp(&rank(other)).then(latencies)
        });
        if let Some(probe) = worst {
            self.remove(&probe);
        }
    }
}

/// The requests in flight of the last answers, and the quantile of them.
#[derive(Debug)]
struct Recent {
    quantile: u16,
    last: Box<[AtomicU32]>,
    noted: AtomicU32,
    limit: AtomicU32,
}

impl Recent {
    fn new(quantile: u16) -> Self {
        Self {
            quantile,
            last: (0..RECENT).map(|_| AtomicU32::new(0)).collect(),
            noted: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
        }
    }

    fn note(&self, in_flight: u32) {
        let noted = self.noted.fetch_add(1, Ordering::Relaxed);
        let nth = usize::try_from(noted).unwrap_or_default() % RECENT;
        if let Some(place) = self.last.get(nth) {
            place.store(in_flight, Ordering::Relaxed);
        }
        // At first with every answer; the number comes round after 2^32, which does no harm.
        if noted < REFRESH || noted.is_multiple_of(REFRESH) {
            let known = usize::try_from(noted).unwrap_or(RECENT).saturating_add(1).min(RECENT);
            self.limit.store(self.at_quantile(known), Ordering::Relaxed);
        }
    }

    fn at_quantile(&self, known: usize) -> u32 {
        let mut values = [0; RECENT];
        for (value, last) in values.iter_mut().zip(&self.last) {
            *value = last.load(Ordering::Relaxed);
        }
        let Some(values) = values.get_mut(..known) else { return u32::MAX };
        // The nearest rank.
        let rank = (known * usize::from(self.quantile)).div_ceil(1000).clamp(1, known);
        *values.select_nth_unstable(rank - 1).1
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::of(Instant::from_millis(ms))
    }

    fn answer(index: u32, in_flight: u32, latency: f32) -> Answer {
        Answer { index, in_flight, latency, uses: 3 }
    }

    fn indices(probes: &Probes, now: Tick) -> Vec<u32> {
        let mut indices: Vec<u32> = probes.iter(now).map(|probe| probe.answer.index).collect();
        indices.sort_unstable();
        indices
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            index in 0..u32::MAX, in_flight: u32, latency in 0_f32..1e6, uses: u8, ms: u64,
        ) {
            let probes = Probes::new(2, 125, 841);
            probes.insert(Answer { index, in_flight, latency, uses }, at(ms));
            let read: Vec<_> = probes.iter(at(ms)).collect();
            prop_assert_eq!(read.len(), 1);
            let read = read[0].answer;
            prop_assert_eq!((read.index, read.uses), (index, uses));
            prop_assert_eq!(read.in_flight, in_flight.min(MOST_IN_FLIGHT));
            prop_assert!((read.latency - latency).abs() <= latency * 1e-4);
        }
    }

    #[test]
    fn an_answer_counts_until_it_is_too_old_also_when_time_comes_round() {
        let probes = Probes::new(4, Tick::span(Duration::from_secs(1)), 841);
        let round = u64::from(TICK_MASK + 1) * 8;
        probes.insert(answer(7, 0, 0.0), at(round - 8));
        assert_eq!(indices(&probes, at(round + 900)), [7]);
        assert_eq!(indices(&probes, at(round + 1_100)), [0; 0]);
        // A thread whose clock was read earlier than the prober's sees it, too.
        assert_eq!(indices(&probes, at(round - 100)), [7]);
    }

    #[test]
    fn a_new_answer_replaces_that_of_the_same_endpoint_then_the_oldest() {
        let probes = Probes::new(2, 125, 841);
        probes.insert(answer(1, 4, 0.0), at(0));
        probes.insert(answer(2, 5, 0.0), at(100));
        probes.insert(answer(1, 9, 0.0), at(200));
        assert_eq!(indices(&probes, at(200)), [1, 2]);
        probes.insert(answer(3, 1, 0.0), at(300));
        assert_eq!(indices(&probes, at(300)), [1, 3]);
        probes.remove_oldest(at(300));
        assert_eq!(indices(&probes, at(300)), [3]);
    }

    #[test]
    fn an_answer_is_used_up_and_counts_what_it_led_to() {
        let probes = Probes::new(2, 125, 841);
        probes.insert(answer(1, 4, 0.0), at(0));
        for in_flight in [4, 6, 8] {
            let probe = probes.iter(at(0)).next().expect("three uses");
            assert_eq!(probe.answer.in_flight, in_flight);
            probes.used(&probe, 2);
        }
        assert_eq!(indices(&probes, at(0)), [0; 0]);
    }

    #[test]
    fn the_worst_is_the_fullest_hot_one_or_else_the_slowest() {
        let probes = Probes::new(4, 125, 500);
        for (index, in_flight, latency) in [(1, 9, 0.1), (2, 8, 0.2), (3, 1, 0.3), (4, 1, 0.9)] {
            probes.insert(answer(index, in_flight, latency), at(0));
        }
        assert_eq!(probes.hot_above(), 1, "half of them have no more");
        for left in [vec![2, 3, 4], vec![3, 4], vec![3], vec![]] {
            probes.remove_worst();
            assert_eq!(indices(&probes, at(0)), left);
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// An answer whose parts tell which one it is.
    fn answer(number: u32) -> Answer {
        Answer { index: number, in_flight: number, latency: number as f32, uses: 2 }
    }

    fn is_whole(probe: &Probe) -> bool {
        let Answer { index, in_flight, latency, .. } = probe.answer;
        latency == index as f32 && in_flight == index
    }

    #[test]
    fn loom_an_answer_is_read_whole_or_not_at_all() {
        loom::model(|| {
            let probes = Arc::new(Probes::new(1, 125, 841));
            let now = Tick(0);
            probes.insert(answer(1), now);
            let writers: Vec<_> = [2, 3]
                .into_iter()
                .map(|number| {
                    let probes = Arc::clone(&probes);
                    thread::spawn(move || probes.insert(answer(number), now))
                })
                .collect();
            for probe in probes.iter(now) {
                assert!(is_whole(&probe), "{probe:?}");
            }
            for writer in writers {
                writer.join().unwrap();
            }
            // Nobody stays in the way: one answer is there, and a further one can come.
            assert_eq!(probes.iter(now).filter(is_whole).count(), 1);
            probes.insert(answer(4), now);
            assert!(probes.iter(now).any(|probe| probe.answer.index == 4));
        });
    }

    #[test]
    fn loom_an_answer_is_not_used_more_often_than_it_may() {
        loom::model(|| {
            let probes = Arc::new(Probes::new(1, 125, 841));
            let now = Tick(0);
            probes.insert(answer(1), now);
            let other = Arc::clone(&probes);
            let use_one = move |probes: &Probes| {
                let seen = probes.iter(now).next();
                if let Some(probe) = seen {
                    probes.used(&probe, 100);
                }
            };
            let thread = thread::spawn(move || use_one(&other));
            use_one(&probes);
            thread.join().unwrap();
            // Both were counted, and it is used up; or one of them got in the other's way.
            if let Some(left) = probes.iter(now).next() {
                assert_eq!((left.answer.uses, left.answer.in_flight), (1, 101));
            }
            use_one(&probes);
            assert_eq!(probes.iter(now).count(), 0);
        });
    }
}
