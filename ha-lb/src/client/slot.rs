//! The service of one endpoint: made when it is needed, and again after a failure.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ha_core::time::Instant;

use crate::endpoint::Endpoint;
use crate::random;
use crate::resilience::backoff::{Backoff, Pauses};
use crate::state::EndpointState;

/// An endpoint with the service that requests are sent by.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) endpoint: Endpoint,
    pub(super) state: Arc<EndpointState>,
    service: ArcSwapOption<S>,
    /// Held by whoever connects; the others wait for what comes of it.
    pub(super) connecting: tokio::sync::Mutex<()>,
    /// Whether there is a `rest`: most have none, and no lock is taken for them.
    rests: AtomicBool,
    rest: Mutex<Option<Rest>>,
}

/// Failures in a row, and until when the endpoint is left alone.
#[derive(Debug)]
struct Rest {
    pauses: Pauses,
    until: Instant,
    why: Arc<str>,
}

impl<S> Slot<S> {
    pub(super) fn new(endpoint: Endpoint, state: Arc<EndpointState>) -> Self {
        let (connecting, rest) = (tokio::sync::Mutex::default(), Mutex::default());
        let (service, rests) = (ArcSwapOption::empty(), AtomicBool::new(false));
        Self { endpoint, state, service, connecting, rests, rest }
    }

    /// Whether its service will do for the endpoint as it is now: only what does not matter to a
    /// connection has changed.
    pub(super) fn serves(&self, endpoint: &Endpoint) -> bool {
        let known = self.endpoint.clone().with_weight(endpoint.weight());
        let known = known.with_priority(endpoint.priority()).with_backup(endpoint.is_backup());
        let known = known.with_id(endpoint.id().map_or(0, NonZeroU32::get));
        let limit = endpoint.max_connections().map_or(0, NonZeroU32::get);
        known.with_max_connections(limit) == *endpoint
    }

    /// The service, if there is one.
    pub(super) fn service(&self) -> Option<Arc<S>> {
        self.service.load_full()
    }

    /// Takes a new service in; failures before are forgotten.
    pub(super) fn keep(&self, service: &Arc<S>) {
        self.service.store(Some(Arc::clone(service)));
        *self.lock() = None;
        self.rests.store(false, Ordering::Release);
    }

    /// Gives a service up that has failed, unless there is a newer one already.
    pub(super) fn give_up(&self, failed: &Arc<S>) {
        let current = self.service.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, failed)) {
            self.service.compare_and_swap(&current, None);
        }
    }

    /// Begins a try to connect: after a failure nobody else is to try meanwhile.
    pub(super) fn try_until(&self, until: Instant) {
        if let Some(rest) = &mut *self.lock() {
            rest.until = until;
        }
    }

    /// It could not be reached: it is left alone for a pause, a longer one each time. Returns until
    /// when.
    pub(super) fn failed(&self, now: Instant, backoff: Backoff, why: Arc<str>) -> Instant {
        let mut rest = self.lock();
        let pauses = rest.take().map(|rest| rest.pauses);
        let mut pauses = pauses.unwrap_or_else(|| backoff.pauses(random::draw()));
        let until = now + pauses.next().unwrap_or_default();
        *rest = Some(Rest { pauses, until, why });
        self.rests.store(true, Ordering::Release);
        until
    }

    /// How long it is left alone yet, and why; `None` if it may be tried.
    pub(super) fn rests(&self, now: Instant) -> Option<(Duration, Arc<str>)> {
        if !self.rests.load(Ordering::Acquire) {
            return None;
        }
        let rest = self.lock();
        let Rest { until, why, .. } = rest.as_ref()?;
        let left = until.since(now);
        (!left.is_zero()).then(|| (left, Arc::clone(why)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Rest>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
