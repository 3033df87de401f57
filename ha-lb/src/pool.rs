//! The pool: endpoints, their health and an algorithm, behind one cheap handle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use ha_core::config::{ConfigError, Problems};
use ha_core::health::Health;
use ha_core::id::EndpointName;

use crate::algorithm::Algorithm;
use crate::balancer::{Balancer, PickContext};
use crate::endpoint::Endpoint;
use crate::pick::{Explanation, Pick, PickError, in_words};
use crate::snapshot::{EndpointIndex, Endpoints, Members};
use crate::state::{Admin, EndpointState};

/// The most endpoints a pool takes: a list beyond it is a mistake of whoever made it.
pub const MAX_ENDPOINTS: usize = 1 << 20;

/// A set of endpoints to pick from; a cheap handle, all clones share the set.
///
/// Picks are wait-free: they read an immutable [snapshot](Endpoints) that changes replace as a
/// whole. Changes take a lock among themselves.
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
    trust_unchecked: bool,
    current: ArcSwap<Endpoints>,
    /// Taken by changes, so that they follow each other; never by picks.
    changes: Mutex<()>,
    #[cfg(feature = "tokio")]
    changed: tokio::sync::watch::Sender<u64>,
}

/// Makes a [`Pool`]; see [`Pool::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct PoolBuilder {
    balancer: Arc<dyn Balancer>,
    endpoints: Vec<Endpoint>,
    trust_unchecked: bool,
}

impl PoolBuilder {
    /// Sets the endpoints. Default: none; [`Pool::update`] can bring them later.
    pub fn endpoints(mut self, endpoints: Vec<Endpoint>) -> Self {
        self.endpoints = endpoints;
        self
    }

    /// Sets whether an endpoint that was not checked yet takes work.
    ///
    /// Default: true (HAProxy's `init-state up`), which is also right without any health check.
    /// Choose false if a new endpoint must prove itself first (`init-state down`).
    pub fn trust_unchecked(mut self, trust: bool) -> Self {
        self.trust_unchecked = trust;
        self
    }

    /// Makes the pool.
    ///
    /// # Errors
    ///
    /// As [`Pool::update`].
    pub fn build(self) -> Result<Pool, ConfigError> {
        let empty =
            Members { endpoints: Box::default(), states: Box::default(), weights: Box::default() };
        let current = Endpoints::new(Arc::new(empty), self.trust_unchecked);
        let inner = Inner {
            balancer: self.balancer,
            trust_unchecked: self.trust_unchecked,
            current: ArcSwap::from_pointee(current),
            changes: Mutex::new(()),
            #[cfg(feature = "tokio")]
            changed: tokio::sync::watch::Sender::new(0),
        };
        let pool = Pool { inner: Arc::new(inner) };
        pool.update(self.endpoints)?;
        Ok(pool)
    }
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
        PoolBuilder { balancer, endpoints: Vec::new(), trust_unchecked: true }
    }

    /// Picks an endpoint; the guard counts as a connection on it until finished or dropped.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is none.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Pick, PickError> {
        let endpoints = self.inner.current.load();
        // A limit may be reached between the algorithm's look and our count: choose again then.
        // Every round but the last saw an endpoint fill up, so a few are enough; then a scan.
        for _ in 0..4 {
            let Some(index) = self.inner.balancer.pick(&endpoints, context) else {
                return Err(why_none(&endpoints, context));
            };
            if let Some(pick) = acquire(&endpoints, index) {
                return Ok(pick);
            }
        }
        let admitted = endpoints.usable().iter().filter(|index| endpoints.admits(**index, context));
        let mut acquired = admitted.filter_map(|index| acquire(&endpoints, *index));
        acquired.next().ok_or_else(|| why_none(&endpoints, context))
    }

    /// Says what a pick would give now and why, and why not the others; counts nothing.
    ///
    /// An algorithm that takes turns moves on by one turn, as a pick would make it.
    #[must_use]
    pub fn explain(&self, context: &PickContext<'_>) -> Explanation {
        let endpoints = self.snapshot();
        let balancer = &self.inner.balancer;
        let chosen = match balancer.pick(&endpoints, context) {
            Some(index) => endpoints
                .endpoint(index)
                .map(|endpoint| {
                    (endpoint.name().clone(), balancer.explain(&endpoints, context, index))
                })
                .ok_or(PickError::NoneUsable),
            None => Err(why_none(&endpoints, context)),
        };
        let passed_over = endpoints
            .iter()
            .filter_map(|(index, endpoint, state)| {
                let why = match endpoints.obstacle(index, context) {
                    Some(obstacle) => in_words(obstacle, state),
                    None if endpoints.usable().binary_search(&index).is_ok() => return None,
                    None => "a backup, and regular endpoints are usable".to_owned(),
                };
                Some((endpoint.name().clone(), why))
            })
            .collect();
        Explanation { algorithm: balancer.name(), chosen, passed_over }
    }

    /// Replaces the list. Endpoints that keep name and address keep their connection count,
    /// health, administrative state and totals; picks that are in use stay counted.
    ///
    /// # Errors
    ///
    /// When a name occurs twice or there are more than [`MAX_ENDPOINTS`]; the list is then
    /// unchanged.
    pub fn update(&self, endpoints: Vec<Endpoint>) -> Result<(), ConfigError> {
        check(&endpoints)?;
        let _one_at_a_time = self.lock();
        let old = self.inner.current.load_full();
        let known: BTreeMap<_, _> =
            old.iter().map(|(_, endpoint, state)| (endpoint.name(), state)).collect();
        let states = endpoints.iter().map(|endpoint| match known.get(endpoint.name()) {
            Some(state) if state.address() == endpoint.address() => Arc::clone(state),
            _ => Arc::new(EndpointState::new(endpoint.name().clone(), endpoint.address())),
        });
        let members = Members {
            states: states.collect(),
            weights: endpoints.iter().map(|endpoint| endpoint.weight().get()).collect(),
            endpoints: endpoints.into(),
        };
        self.publish(Arc::new(members));
        Ok(())
    }

    /// Sets the health of an endpoint; `reason` says why, for people.
    ///
    /// Returns the health before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_health(&self, name: &EndpointName, health: Health, reason: &str) -> Option<Health> {
        self.change(name, |state| state.set_health(health, reason))
    }

    /// Sets the health of an endpoint known by its state, as a monitor does; nothing happens if
    /// the endpoint has left the pool. Returns whether it is in the pool.
    pub fn set_health_of(&self, state: &Arc<EndpointState>, health: Health, reason: &str) -> bool {
        let same = |found: &Arc<EndpointState>| Arc::ptr_eq(found, state);
        self.change_if(state.name(), same, |state| state.set_health(health, reason)).is_some()
    }

    /// Sets what the operator wants of an endpoint: take work, drain, or maintenance.
    ///
    /// Returns the state before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_admin(&self, name: &EndpointName, admin: Admin) -> Option<Admin> {
        self.change(name, |state| state.set_admin(admin))
    }

    /// The endpoints as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Endpoints> {
        self.inner.current.load_full()
    }

    /// Watches for changes of list, health and administrative state; the number grows with each.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// The name of the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        self.inner.balancer.name()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.inner.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, name: &EndpointName, set: impl FnOnce(&EndpointState) -> T) -> Option<T> {
        self.change_if(name, |_| true, set)
    }

    /// Changes a live state, and the snapshot if another endpoint than before is usable now.
    fn change_if<T>(
        &self,
        name: &EndpointName,
        wanted: impl Fn(&Arc<EndpointState>) -> bool,
        set: impl FnOnce(&EndpointState) -> T,
    ) -> Option<T> {
        let _one_at_a_time = self.lock();
        let endpoints = self.inner.current.load_full();
        let (_, _, state) = endpoints.iter().find(|(_, endpoint, _)| endpoint.name() == name)?;
        if !wanted(state) {
            return None;
        }
        let open_before = state.is_open(self.inner.trust_unchecked);
        let before = set(state);
        if state.is_open(self.inner.trust_unchecked) == open_before {
            self.announce();
        } else {
            self.publish(Arc::clone(endpoints.members()));
        }
        Some(before)
    }

    fn publish(&self, members: Arc<Members>) {
        let endpoints = Endpoints::new(members, self.inner.trust_unchecked);
        self.inner.balancer.prepare(&endpoints);
        self.inner.current.store(Arc::new(endpoints));
        self.announce();
    }

    #[cfg(feature = "tokio")]
    fn announce(&self) {
        self.inner.changed.send_modify(|changes| *changes += 1);
    }

    #[cfg(not(feature = "tokio"))]
    #[expect(clippy::unused_self, reason = "without tokio nobody can wait for a change")]
    const fn announce(&self) {}
}

fn acquire(endpoints: &Endpoints, index: EndpointIndex) -> Option<Pick> {
    let (endpoint, state) = (endpoints.endpoint(index)?, endpoints.state(index)?);
    state.acquire(endpoint.max_connections()).then(|| Pick::acquired(Arc::clone(state)))
}

fn why_none(endpoints: &Endpoints, context: &PickContext<'_>) -> PickError {
    use crate::snapshot::Obstacle;
    if endpoints.is_empty() {
        return PickError::Empty;
    }
    let mut error = PickError::NoneUsable;
    for index in endpoints.usable() {
        match endpoints.obstacle(*index, context) {
            Some(Obstacle::Full) | None => return PickError::AllFull,
            Some(Obstacle::Excluded) => error = PickError::AllTried,
            Some(
                Obstacle::Admin(_) | Obstacle::Unhealthy | Obstacle::Unknown | Obstacle::Weight,
            ) => {}
        }
    }
    error
}

fn check(endpoints: &[Endpoint]) -> Result<(), ConfigError> {
    let mut problems = Problems::new();
    if endpoints.len() > MAX_ENDPOINTS {
        problems.add("backends", endpoints.len(), format!("at most {MAX_ENDPOINTS}"));
    }
    let mut names = BTreeMap::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        if let Some(first) = names.insert(endpoint.name(), index) {
            let allowed = format!("every name once; backends[{first}] has it already");
            problems.add(format!("backends[{index}].name"), endpoint.name(), allowed);
        }
    }
    problems.into_result(())
}
