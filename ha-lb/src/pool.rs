//! The pool: endpoints, their health and an algorithm, behind one cheap handle.

mod builder;
mod live;
mod ramp;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ha_core::config::ConfigError;
use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_core::time::{BootClock, Clock, Instant};

pub use self::builder::PoolBuilder;
pub use self::ramp::SlowStart;
#[cfg(feature = "tokio")]
pub(crate) use self::ramp::SlowStarts;

use self::ramp::Ramps;
use crate::algorithm::Algorithm;
use crate::algorithm::hash::Key;
#[cfg(feature = "tokio")]
use crate::balancer::LoadBook;
use crate::balancer::{Balancer, PickContext};
use crate::endpoint::Endpoint;
use crate::pick::{Explanation, Pick, PickError, in_words};
#[cfg(feature = "tokio")]
use crate::queue::{Queue, QueueConfig};
use crate::random;
use crate::snapshot::{EndpointIndex, Endpoints, Members, Obstacle, Policy, Snapshot};
use crate::state::EndpointState;
use crate::stick::StickTable;

/// The most endpoints a pool takes: a list beyond it is a mistake of whoever made it.
pub const MAX_ENDPOINTS: usize = 1 << 20;

/// A set of endpoints to pick from; a cheap handle, all clones share the set.
///
/// Picks take no lock: they read a [snapshot](Snapshot) of the list that updates replace as a whole, and
/// what changes with health by itself. Changes take a lock among themselves; one of health takes about
/// a microsecond, however many endpoints there are.
///
/// ```
/// use ha_core::health::Health;
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::balancer::PickContext;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::pick::Outcome;
/// use ha_lb::pool::Pool;
///
/// let pool = Pool::new(&Algorithm::RoundRobin, parse_list("a=127.0.0.1:81,b=127.0.0.1:82")?)?;
/// let first = pool.pick(&PickContext::new())?;
/// assert_eq!(first.name().as_str(), "a");
/// first.finish(Outcome::Completed);
///
/// pool.set_health(&"b".parse()?, Health::Unhealthy, "connection refused");
/// for _ in 0..3 {
///     assert_eq!(pool.pick(&PickContext::new())?.name().as_str(), "a");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    balancer: Arc<dyn Balancer>,
    /// As the balancer or the settings say once and for all.
    latency_decay: Option<Duration>,
    policy: Policy,
    slow_start: Option<SlowStart>,
    stick_table: Option<StickTable>,
    current: ArcSwap<Snapshot>,
    /// Taken by changes, so that they follow each other; never by picks.
    changes: Mutex<Ramps>,
    #[cfg(feature = "tokio")]
    changed: tokio::sync::watch::Sender<u64>,
    #[cfg(feature = "tokio")]
    queue: Option<Arc<Queue>>,
}

impl Pool {
    /// A pool of `endpoints` with one of our algorithms.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn new(algorithm: &Algorithm, endpoints: Vec<Endpoint>) -> Result<Self, ConfigError> {
        Self::builder(algorithm.balancer()).endpoints(endpoints).build()
    }

    /// Starts a pool with any [`Balancer`].
    pub fn builder(balancer: Arc<dyn Balancer>) -> PoolBuilder {
        PoolBuilder::new(balancer)
    }

    fn start(
        balancer: Arc<dyn Balancer>,
        policy: Policy,
        slow_start: Option<SlowStart>,
        latency_decay: Option<Duration>,
        stick_table: Option<StickTable>,
        #[cfg(feature = "tokio")] queue: Option<QueueConfig>,
    ) -> Self {
        let empty = Snapshot::new(Arc::new(Members::empty()), &policy);
        let inner = Inner {
            latency_decay: balancer.measures_latency().or(latency_decay),
            balancer,
            policy,
            slow_start,
            stick_table,
            current: ArcSwap::from_pointee(empty),
            changes: Mutex::new(Ramps::default()),
            #[cfg(feature = "tokio")]
            changed: tokio::sync::watch::Sender::new(0),
            #[cfg(feature = "tokio")]
            queue: queue.map(|config| Arc::new(Queue::new(config))),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Picks an endpoint; the guard counts as a connection on it until finished or dropped.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is none.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Pick, PickError> {
        match (&self.inner.stick_table, context.stick_key()) {
            (Some(table), Some(key)) => self.pick_sticky(table, key, context),
            _ => self.pick_any(context),
        }
    }

    fn pick_sticky(
        &self,
        table: &StickTable,
        key: &[u8],
        context: &PickContext<'_>,
    ) -> Result<Pick, PickError> {
        let now = context.now();
        let known = table.get(key, now);
        let with_known = match (context.preferred(), &known) {
            (None, Some(name)) => context.with_preferred(name),
            _ => *context,
        };
        let pick = self.pick_any(&with_known)?;
        if known.as_ref() != Some(pick.name()) {
            table.set(key, pick.name(), now);
        }
        Ok(pick)
    }

    fn pick_any(&self, context: &PickContext<'_>) -> Result<Pick, PickError> {
        let snapshot = self.inner.current.load();
        if let Some(pick) =
            context.preferred().and_then(|name| self.again(&snapshot, name, context))
        {
            return Ok(pick);
        }
        let first = self.group_for(&snapshot, context);
        if let Some(pick) = first.and_then(|group| self.pick_from(group, context)) {
            return Ok(pick);
        }
        // All of its endpoints are full or tried: another group that serves may have one.
        let serving = snapshot.groups().iter().zip(snapshot.shares());
        let serving = serving.filter(|(_, share)| *share > 0.0).map(|(group, _)| group);
        let mut others = serving.filter(|group| !first.is_some_and(|f| std::ptr::eq(f, *group)));
        others
            .find_map(|group| self.pick_from(group, context))
            .ok_or_else(|| why_none(&snapshot, context))
    }

    /// The endpoint that a client had before, if it still works.
    fn again(
        &self,
        snapshot: &Snapshot,
        name: &EndpointName,
        context: &PickContext<'_>,
    ) -> Option<Pick> {
        let (_, state) = snapshot.find(name)?;
        let open = state.is_open_to_known(self.inner.policy.trust_unchecked);
        let open = open && !context.excludes(state) && state.acquire();
        let decay = self.inner.latency_decay;
        open.then(|| Pick::acquired(Arc::clone(state), decay, context))
    }

    fn group_for<'a>(
        &self,
        snapshot: &'a Snapshot,
        context: &PickContext<'_>,
    ) -> Option<&'a Endpoints> {
        let affinity = || self.inner.balancer.affinity(context);
        snapshot.group_for(|| affinity().map_or_else(random::draw, random::mix))
    }

    fn pick_from(&self, group: &Endpoints, context: &PickContext<'_>) -> Option<Pick> {
        // A limit may be reached between the algorithm's look and our count: choose again then.
        // Every round but the last saw an endpoint fill up, so a few are enough; then a scan.
        for _ in 0..4 {
            let index = self.inner.balancer.pick(group, context)?;
            if let Some(pick) = self.take(group, index, context) {
                return Some(pick);
            }
        }
        let mut admitted = group.usable().filter(|index| group.admits(*index, context));
        admitted.find_map(|index| self.take(group, index, context))
    }

    fn take(
        &self,
        group: &Endpoints,
        index: EndpointIndex,
        context: &PickContext<'_>,
    ) -> Option<Pick> {
        let state = group.state(index)?;
        let decay = self.inner.latency_decay;
        state.acquire().then(|| Pick::acquired(Arc::clone(state), decay, context))
    }

    /// Picks an endpoint; waits while every one that is usable is full, if the pool has a queue
    /// ([`PoolBuilder::queue`]): those of a lower `priority` first, then those that came first.
    ///
    /// # Errors
    ///
    /// As [`pick`](Self::pick), and [`PickError::QueueFull`] or [`PickError::QueueTimeout`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: who goes away leaves its place to the next.
    #[cfg(feature = "tokio")]
    pub async fn acquire(
        &self,
        context: &PickContext<'_>,
        priority: u8,
    ) -> Result<Pick, PickError> {
        let Some(queue) = &self.inner.queue else {
            return self.pick(context);
        };
        if queue.len() == 0 {
            match self.pick(context) {
                Err(PickError::AllFull) => {}
                answer => return answer,
            }
        }
        let mut waiter = queue.join(priority).ok_or(PickError::QueueFull)?;
        let in_turn = async {
            // Whoever came after others does not overtake them.
            if !waiter.is_first() {
                waiter.called().await;
            }
            loop {
                match self.pick(context) {
                    Err(PickError::AllFull) => waiter.called().await,
                    answer => return answer,
                }
            }
        };
        let timed = tokio::time::timeout(queue.config().timeout(), in_turn).await;
        timed.unwrap_or(Err(PickError::QueueTimeout))
    }

    /// The table of who had which endpoint, if there is one.
    #[must_use]
    pub fn stick_table(&self) -> Option<&StickTable> {
        self.inner.stick_table.as_ref()
    }

    /// How many wait for an endpoint that has room.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.inner.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Says what a pick would give now and why, and why not the others; counts nothing.
    ///
    /// An algorithm that takes turns moves on by one turn, as a pick would make it.
    #[must_use]
    pub fn explain(&self, context: &PickContext<'_>) -> Explanation {
        let snapshot = self.snapshot();
        let balancer = &self.inner.balancer;
        let choice = self.group_for(&snapshot, context).and_then(|group| {
            let index = balancer.pick(group, context)?;
            let name = group.endpoint(index)?.name().clone();
            Some((name, balancer.explain(group, context, index)))
        });
        let serves = |group: &Endpoints| {
            let mut shares = snapshot.groups().iter().zip(snapshot.shares());
            shares.any(|(other, share)| std::ptr::eq(other, group) && share > 0.0)
        };
        let passed_over =
            snapshot.iter().enumerate().filter_map(|(position, (endpoint, state))| {
                let why = match snapshot.place(position) {
                    None => "weight 0".to_owned(),
                    Some((group, index)) => match group.obstacle(index, context) {
                        Some(obstacle) => in_words(obstacle, state),
                        None if serves(group) => return None,
                        None if endpoint.is_backup() => {
                            "a backup, and regular endpoints are usable".to_owned()
                        }
                        None => format!("of {group}, and those before it suffice"),
                    },
                };
                Some((endpoint.name().clone(), why))
            });
        let passed_over = passed_over.collect();
        let chosen = choice.ok_or_else(|| why_none(&snapshot, context));
        Explanation { algorithm: balancer.name(), chosen, passed_over }
    }

    /// Replaces the list. Endpoints that keep name and address keep their connection count,
    /// latency, health, administrative state and totals; picks that are in use stay counted.
    ///
    /// # Errors
    ///
    /// When a name occurs twice or there are more than [`MAX_ENDPOINTS`]; the list is then
    /// unchanged.
    pub fn update(&self, endpoints: Vec<Endpoint>) -> Result<(), ConfigError> {
        let mut ramps = self.lock();
        let old = self.inner.current.load_full();
        let members = Arc::new(old.members().replaced(endpoints)?);
        ramps.follow(&members);
        self.publish(members);
        Ok(())
    }

    /// Moves slow starts on to `now`; returns when that is to be done next, if any is under way.
    ///
    /// Whoever drives a pool with [`PoolBuilder::slow_start`] calls it then; a
    /// [`Monitor`](crate::health::monitor::Monitor) does.
    #[must_use]
    pub fn advance(&self, now: Instant) -> Option<Instant> {
        let slow_start = self.inner.slow_start.as_ref()?;
        let mut ramps = self.lock();
        let snapshot = self.inner.current.load();
        ramps.advance(now, slow_start, |state| {
            if let Some(position) = snapshot.members().find(state.name()) {
                snapshot.note(position, &self.inner.policy);
            }
        })
    }

    /// The endpoints as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.current.load_full()
    }

    /// Watches for changes of list, health and administrative state; the number grows with each.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// What work is placed by, if it is placed by anything: a proxy gives it to each pick.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        self.inner.balancer.key()
    }

    /// The name of the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        self.inner.balancer.name()
    }

    fn lock(&self) -> MutexGuard<'_, Ramps> {
        self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, name: &EndpointName, set: impl FnOnce(&EndpointState) -> T) -> Option<T> {
        self.change_if(name, |_| true, set)
    }

    /// Changes a live state, and what depends on whether it is usable.
    fn change_if<T>(
        &self,
        name: &EndpointName,
        wanted: impl Fn(&Arc<EndpointState>) -> bool,
        set: impl FnOnce(&EndpointState) -> T,
    ) -> Option<T> {
        let mut ramps = self.lock();
        let snapshot = self.inner.current.load_full();
        let position = snapshot.members().find(name)?;
        let state = snapshot.members().states.get(position).filter(|state| wanted(state))?;
        let open = || state.is_open(self.inner.policy.trust_unchecked);
        let (open_before, known_before) = (open(), state.health() != Health::Unknown);
        let before = set(state);
        // An endpoint that was up from the start, unchecked, has nothing to warm up.
        let came_up = !open_before && open() && known_before;
        if let (true, Some(slow_start)) = (came_up, &self.inner.slow_start) {
            ramps.begin(state, BootClock::new().now(), slow_start);
        }
        let changed = snapshot.note(position, &self.inner.policy);
        let group = snapshot.place(position).map(|(group, _)| group);
        let follows = |group| self.inner.balancer.follows_health(group);
        if changed && group.is_some_and(follows) {
            self.publish(Arc::clone(snapshot.members()));
        } else {
            self.announce();
        }
        Some(before)
    }

    fn publish(&self, members: Arc<Members>) {
        let snapshot = Snapshot::new(members, &self.inner.policy);
        let balancer = &self.inner.balancer;
        let old = self.inner.current.load_full();
        for group in snapshot.groups() {
            match old.groups().iter().find(|before| before.is_followed_by(group)) {
                Some(before) => balancer.prepare_after(group, before),
                None => balancer.prepare(group),
            }
            let books = balancer.book(group).into_iter();
            #[cfg(feature = "tokio")]
            let books =
                books.chain(self.inner.queue.clone().map(|queue| queue as Arc<dyn LoadBook>));
            group.keep(books.collect());
        }
        snapshot.unhook_others();
        self.inner.current.store(Arc::new(snapshot));
        self.announce();
    }

    #[cfg(feature = "tokio")]
    fn announce(&self) {
        self.inner.changed.send_modify(|changes| *changes += 1);
        if let Some(queue) = &self.inner.queue {
            queue.wake_all();
        }
    }

    #[cfg(not(feature = "tokio"))]
    #[expect(clippy::unused_self, reason = "without tokio nobody can wait for a change")]
    const fn announce(&self) {}
}

fn why_none(snapshot: &Snapshot, context: &PickContext<'_>) -> PickError {
    if snapshot.is_empty() {
        return PickError::Empty;
    }
    let mut error = PickError::NoneUsable;
    let serving = snapshot.groups().iter().zip(snapshot.shares()).filter(|(_, share)| *share > 0.0);
    for (group, _) in serving {
        for index in group.usable() {
            match group.obstacle(index, context) {
                Some(Obstacle::Full) | None => return PickError::AllFull,
                Some(Obstacle::Excluded) => error = PickError::AllTried,
                Some(
                    Obstacle::Admin(_)
                    | Obstacle::Agent(_)
                    | Obstacle::AgentDown
                    | Obstacle::Ejected
                    | Obstacle::Unhealthy
                    | Obstacle::Unknown,
                ) => {}
            }
        }
    }
    error
}
