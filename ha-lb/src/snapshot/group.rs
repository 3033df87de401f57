//! A group of endpoints: what an algorithm picks from.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Members;
use super::bits::Bits;
use crate::balancer::LoadBook;
use crate::context::PickContext;
use crate::endpoint::Endpoint;
use crate::state::{Admin, EndpointState, Hook, Share};

/// The place of an endpoint in its group; another snapshot may order anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointIndex(u32);

impl EndpointIndex {
    /// The index `position`, counted from 0.
    #[must_use]
    pub const fn new(position: u32) -> Self {
        Self(position)
    }

    /// The position, counted from 0.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// What makes a group: its endpoints have all this in common. Groups that are less are used first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Rank {
    pub(super) backup: bool,
    pub(super) priority: u8,
    pub(super) elsewhere: bool,
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.backup {
            return f.write_str("backups");
        }
        let place = if self.elsewhere { ", other zones" } else { "" };
        write!(f, "priority {}{place}", self.priority)
    }
}

/// A group of endpoints that share picks among them, all of a weight above 0.
///
/// Indices run from 0 to [`len`](Self::len), in the order of the pool's list. An algorithm prepares what
/// it needs for *all* of them (a schedule, a table), stores it by [`prepared`](Self::prepared),
/// and passes over those that are not [usable](Self::is_usable) when it picks.
#[derive(Debug)]
pub struct Endpoints {
    rank: Rank,
    members: Arc<Members>,
    /// The positions in the list.
    listed: Box<[u32]>,
    states: Box<[Arc<EndpointState>]>,
    weights: Box<[u16]>,
    usable: Bits,
    /// By their health and the operator, panic or not.
    healthy: Bits,
    /// Of those that are usable.
    usable_weight: AtomicU64,
    /// In how many zones its endpoints are.
    zones: u64,
    trust_unchecked: bool,
    /// So few are healthy that health is not asked for.
    panic: AtomicBool,
    prepared: OnceLock<Box<dyn Any + Send + Sync>>,
    books: OnceLock<Arc<[Arc<dyn LoadBook>]>>,
}

impl Endpoints {
    pub(super) fn new(
        rank: Rank,
        members: &Arc<Members>,
        listed: Vec<u32>,
        trust_unchecked: bool,
    ) -> Self {
        let endpoint = |position: &u32| members.endpoints.get(*position as usize);
        let state = |position: &u32| members.states.get(*position as usize).cloned();
        let weight = |position: &u32| {
            let state = members.states.get(*position as usize)?;
            Some(state.weight_for(endpoint(position)?.weight()).get())
        };
        let zones: BTreeSet<Option<&str>> =
            listed.iter().filter_map(endpoint).map(Endpoint::zone).collect();
        let group = Self {
            zones: u64::try_from(zones.len()).unwrap_or(u64::MAX),
            rank,
            members: Arc::clone(members),
            states: listed.iter().filter_map(state).collect(),
            weights: listed.iter().filter_map(weight).collect(),
            usable: Bits::new(listed.len()),
            healthy: Bits::new(listed.len()),
            usable_weight: AtomicU64::new(0),
            listed: listed.into(),
            trust_unchecked,
            panic: AtomicBool::new(false),
            prepared: OnceLock::new(),
            books: OnceLock::new(),
        };
        for index in group.indices() {
            group.refresh(index);
        }
        group
    }

    pub(super) const fn zones(&self) -> u64 {
        self.zones
    }

    pub(super) const fn rank(&self) -> Rank {
        self.rank
    }

    /// Whether the other one has its place in a later snapshot.
    pub(crate) fn is_followed_by(&self, other: &Self) -> bool {
        self.rank == other.rank
    }

    /// What an algorithm has prepared for this group, if it was this.
    pub(crate) fn stored<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.prepared.get()?.downcast_ref()
    }

    /// How many endpoints there are, usable or not.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// All indices.
    pub fn indices(&self) -> impl ExactSizeIterator<Item = EndpointIndex> + use<> {
        (0..u32::try_from(self.states.len()).unwrap_or(u32::MAX)).map(EndpointIndex)
    }

    /// The endpoint at `index`; `None` if the index is of another group and out of range.
    #[must_use]
    pub fn endpoint(&self, index: EndpointIndex) -> Option<&Endpoint> {
        self.members.endpoints.get(self.list_position(index)?)
    }

    /// Its position in the pool's list, counted from 0; `None` as for [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn list_position(&self, index: EndpointIndex) -> Option<usize> {
        self.listed.get(index.get()).map(|position| *position as usize)
    }

    /// The live state at `index`; `None` as for [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn state(&self, index: EndpointIndex) -> Option<&Arc<EndpointState>> {
        self.states.get(index.get())
    }

    /// All live states, in the order of their indices.
    pub(crate) fn states(&self) -> impl Iterator<Item = (EndpointIndex, &Arc<EndpointState>)> {
        self.indices().zip(&self.states)
    }

    /// The weight at `index`, 1 to 256; 0 if it is out of range.
    #[must_use]
    pub fn weight(&self, index: EndpointIndex) -> u16 {
        self.weights.get(index.get()).copied().unwrap_or_default()
    }

    /// Whether the endpoint takes work: healthy, ready and not ejected; in a panic, ready.
    #[must_use]
    pub fn is_usable(&self, index: EndpointIndex) -> bool {
        self.usable.get(index.get())
    }

    /// How many take work.
    #[must_use]
    pub fn usable_count(&self) -> u32 {
        self.usable.count()
    }

    /// Those that take work, in the order of the list.
    pub fn usable(&self) -> impl Iterator<Item = EndpointIndex> {
        self.usable_from(0)
    }

    /// Those that take work, from position `start` on and then those before it.
    pub fn usable_from(&self, start: usize) -> impl Iterator<Item = EndpointIndex> {
        self.usable.iter_from(start).filter_map(|bit| u32::try_from(bit).ok().map(EndpointIndex))
    }

    /// The `nth` of those that take work, counted from 0.
    pub(crate) fn nth_usable(&self, nth: usize) -> Option<EndpointIndex> {
        let bit = self.usable.nth(u32::try_from(nth).ok()?)?;
        u32::try_from(bit).ok().map(EndpointIndex)
    }

    /// Whether so few endpoints are healthy that their health is ignored
    /// ([`PoolBuilder::panic_threshold`](crate::pool::PoolBuilder::panic_threshold)).
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.panic.load(Ordering::Relaxed)
    }

    /// Whether the endpoint can take *this* pick: usable, not full, not excluded by `context`.
    #[must_use]
    #[inline]
    pub fn admits(&self, index: EndpointIndex, context: &PickContext<'_>) -> bool {
        self.usable.get(index.get())
            && self
                .states
                .get(index.get())
                .is_some_and(|state| !state.is_full() && !context.excludes(state))
    }

    /// As [`admits`](Self::admits), and the random `number` falls into the part of its share that the
    /// endpoint takes now ([`Share`](crate::state::Share)): for algorithms that give by weight.
    #[must_use]
    #[inline]
    pub fn accepts(&self, index: EndpointIndex, context: &PickContext<'_>, number: u64) -> bool {
        self.accepts_by(index, context, || number)
    }

    /// As [`accepts`](Self::accepts), with a number that is made only for an endpoint that takes a
    /// part of its share.
    #[inline]
    pub(crate) fn accepts_by(
        &self,
        index: EndpointIndex,
        context: &PickContext<'_>,
        number: impl FnOnce() -> u64,
    ) -> bool {
        self.usable.get(index.get())
            && self.states.get(index.get()).is_some_and(|state| {
                let share = state.share();
                (share == Share::WHOLE || share.takes(number()))
                    && !state.is_full()
                    && !context.excludes(state)
            })
    }

    /// Why the endpoint cannot take a pick now; `None` if it can.
    pub(crate) fn obstacle(
        &self,
        index: EndpointIndex,
        context: &PickContext<'_>,
    ) -> Option<Obstacle> {
        let Some(state) = self.state(index) else {
            return Some(Obstacle::Unknown);
        };
        if state.admin() != Admin::Ready {
            return Some(Obstacle::Admin(state.admin()));
        }
        if state.agent_admin() != Admin::Ready {
            return Some(Obstacle::Agent(state.agent_admin()));
        }
        if !self.is_usable(index) {
            return Some(match (state.is_ejected(), state.is_agent_down()) {
                (true, _) => Obstacle::Ejected,
                (false, true) => Obstacle::AgentDown,
                (false, false) => Obstacle::Unhealthy,
            });
        }
        if state.is_full() {
            return Some(Obstacle::Full);
        }
        context.excludes(state).then_some(Obstacle::Excluded)
    }

    /// A usable endpoint that admits the pick, each as likely as any other; the fallback of
    /// algorithms whose choice is not free, in a time of 1/64 of the number of endpoints. `number`
    /// is random, or a hash.
    #[must_use]
    pub fn scan(&self, number: u64, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let count = u64::from(self.usable.count());
        let nth = u32::try_from(number.checked_rem(count)?).ok()?;
        let start = self.usable.nth(nth).unwrap_or_default();
        self.usable_from(start).find(|index| self.admits(*index, context))
    }

    /// Takes over what the live state at `index` says; returns whether that changed whether it
    /// is usable.
    pub(super) fn refresh(&self, index: EndpointIndex) -> bool {
        let Some(state) = self.state(index) else {
            return false;
        };
        let healthy = state.is_open(self.trust_unchecked);
        self.healthy.set(index.get(), healthy);
        let usable =
            if self.is_panicking() { state.effective_admin() == Admin::Ready } else { healthy };
        let changed = self.usable.set(index.get(), usable);
        let weight = u64::from(self.weight(index));
        match (changed, usable) {
            (true, true) => self.usable_weight.fetch_add(weight, Ordering::Relaxed),
            (true, false) => self.usable_weight.fetch_sub(weight, Ordering::Relaxed),
            (false, _) => 0,
        };
        changed
    }

    /// How many are usable by their health, panic or not.
    pub(super) fn healthy_count(&self) -> usize {
        self.healthy.count() as usize
    }

    /// Begins or ends to ignore health.
    pub(super) fn set_panic(&self, panic: bool) {
        if self.panic.swap(panic, Ordering::Relaxed) != panic {
            for index in self.indices() {
                self.refresh(index);
                self.tell(index);
            }
        }
    }

    /// The weights of those that are usable, together.
    pub(super) fn usable_weight(&self) -> u64 {
        self.usable_weight.load(Ordering::Relaxed)
    }

    /// What an algorithm has prepared for this group; builds it if that was not done.
    ///
    /// A pool has its balancer prepare a group before it is published, so picks only read. If
    /// another algorithm's work is stored here (`fits` says no, or the type differs), the value
    /// is built for this call alone.
    #[inline]
    pub fn prepared<T: Any + Send + Sync>(
        &self,
        fits: impl Fn(&T) -> bool,
        build: impl Fn() -> T,
    ) -> Prepared<'_, T> {
        let stored = self.prepared.get_or_init(|| Box::new(build()));
        match stored.downcast_ref::<T>().filter(|value| fits(value)) {
            Some(value) => Prepared(Source::Stored(value)),
            None => Prepared(Source::Built(Box::new(build()))),
        }
    }

    /// Has these books be told of every change of an endpoint's load or usability, from now on;
    /// called once, before the group is published.
    pub(crate) fn keep(&self, books: Vec<Arc<dyn LoadBook>>) {
        let books: Arc<[_]> = books.into();
        let hook = |index| Hook { books: Arc::clone(&books), index };
        for (index, state) in self.indices().zip(&self.states) {
            state.set_hook((!books.is_empty()).then(|| hook(index)));
        }
        if self.books.set(Arc::clone(&books)).is_ok() && !books.is_empty() {
            // Whatever has changed before that was told to others.
            self.indices().for_each(|index| self.tell(index));
        }
    }

    /// Tells the books, if there are any, of the endpoint as it is now.
    pub(super) fn tell(&self, index: EndpointIndex) {
        let books = self.books.get().map(|books| &**books).unwrap_or_default();
        if let Some(state) = self.state(index) {
            for book in books {
                book.set_usable(index, self.is_usable(index), state);
            }
        }
    }
}

impl fmt::Display for Endpoints {
    /// Writes what its endpoints have in common, such as `priority 1` or `backups`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rank.fmt(f)
    }
}

/// What an algorithm has prepared for a group; made by [`Endpoints::prepared`].
#[derive(Debug)]
pub struct Prepared<'a, T>(Source<'a, T>);

#[derive(Debug)]
enum Source<'a, T> {
    Stored(&'a T),
    Built(Box<T>),
}

impl<T> Deref for Prepared<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &self.0 {
            Source::Stored(value) => value,
            Source::Built(value) => value,
        }
    }
}

/// Why an endpoint cannot take a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Admin(Admin),
    Agent(Admin),
    AgentDown,
    Ejected,
    Excluded,
    Full,
    Unhealthy,
    Unknown,
}
