//! The balanced client.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use ha_core::time::{BootClock, Clock, Instant};
use tower_service::Service;

use super::AnswerFuture;
use super::builder::{BalanceBuilder, KeyOf, Settings};
use super::connect::Connect;
use super::error::CallError;
use super::finish::{AtAnswer, Finish};
use super::slot::Slot;
use super::table::{Resting, Table};
use crate::balancer::PickContext;
use crate::pick::{Outcome, Pick, PickError};
use crate::pool::Pool;
use crate::state::EndpointState;

/// How often a request comes upon an endpoint that is left alone before it gives up.
const MOST_SKIPS: u32 = 64;

/// Sends each request to an endpoint of a pool; a cheap handle, all clones share everything.
///
/// # What happens with a request
///
/// An endpoint is [picked](Pool::pick); if every one is full and the pool has a queue, the request
/// waits [there](Pool::acquire). The endpoint's service is cloned and called; it is made first if
/// there is none. If that fails, nothing was sent, and the request goes to another endpoint, up to
/// [`connect_tries`](BalanceBuilder::connect_tries) of them; the one that failed is left alone for
/// a pause, and then one request tries it again. While all are left alone requests fail at once,
/// with [`CallError::Resting`]. The endpoint counts one connection until the answer is there (or
/// its body: [`BalanceBuilder::finish`]); dropping the answer's future gives it back.
///
/// `poll_ready` is always ready: waiting is a matter of the call, as only then it is known for
/// which request an endpoint is picked. What bounds the number of waiting requests is the pool's
/// queue.
///
/// A service that is not ready (all streams of a connection are in use, say) is waited for in the
/// call, too: give requests a time, by [`Retrying::timeout`](super::Retrying::timeout) or your own.
///
/// Connections of endpoints that left the pool are dropped with the next request. Requests that
/// wait for an endpoint's first connection wait for the same one.
///
/// An example is at [the module](super).
pub struct Balance<C: Connect<Request>, Request, F = AtAnswer> {
    inner: Arc<Inner<C, Request, F>>,
}

struct Inner<C: Connect<Request>, Request, F> {
    pool: Pool,
    connect: C,
    finish: F,
    key_of: KeyOf<Request>,
    settings: Settings,
    table: ArcSwap<Table<C::Service>>,
    resting: ArcSwap<Resting<C::Service>>,
    clock: BootClock,
}

/// The errors of a connector's clients.
pub(super) type ErrorOf<C, Request> =
    CallError<<C as Connect<Request>>::Error, <C as Connect<Request>>::ServiceError>;

/// The endpoints that a request was at already.
#[derive(Debug, Default)]
pub(super) struct Tried(Mutex<Vec<Arc<EndpointState>>>);

impl Tried {
    fn all(&self) -> Vec<Arc<EndpointState>> {
        self.lock().clone()
    }

    fn add(&self, state: &Arc<EndpointState>) {
        self.lock().push(Arc::clone(state));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<EndpointState>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Connect<Request>, Request> Balance<C, Request> {
    /// Balances over `pool`, with the default settings.
    pub fn new(pool: Pool, connect: C) -> Self {
        Self::builder(pool, connect).make()
    }

    /// Starts a client of `pool` whose connections `connect` makes.
    pub fn builder(pool: Pool, connect: C) -> BalanceBuilder<C, Request> {
        BalanceBuilder::new(pool, connect)
    }
}

impl<C: Connect<Request>, Request, F> Balance<C, Request, F> {
    pub(super) fn start(
        pool: Pool,
        connect: C,
        finish: F,
        key_of: KeyOf<Request>,
        settings: Settings,
    ) -> Self {
        let table = ArcSwap::from_pointee(Table::new(&pool.snapshot(), None));
        let (resting, clock) = (ArcSwap::default(), BootClock::new());
        let inner = Inner { pool, connect, finish, key_of, settings, table, resting, clock };
        Self { inner: Arc::new(inner) }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.inner.pool
    }
}

impl<C, Request, F> Balance<C, Request, F>
where
    C: Connect<Request>,
    F: Finish<C::Response>,
{
    /// Sends a request to an endpoint that it was not at before.
    pub(super) async fn attempt(
        &self,
        request: Request,
        tried: &Tried,
    ) -> Result<F::Response, ErrorOf<C, Request>> {
        let key = (self.inner.key_of)(&request);
        let (mut failures, mut skips, mut last) = (0, 0, None);
        let (pick, slot, kept, mut service) = loop {
            let (pick, slot) = match self.inner.pick(key.as_deref(), tried).await {
                Err(CallError::Pick(PickError::AllTried)) if last.is_some() => {
                    return Err(last.unwrap_or(CallError::Pick(PickError::AllTried)));
                }
                picked => picked?,
            };
            tried.add(pick.state());
            // Chosen all the same, as more endpoints are left alone than picks keep away from.
            if let Some((retry_in, why)) = slot.rests(self.inner.clock.now())
                && skips < MOST_SKIPS
            {
                skips += 1;
                let endpoint = slot.endpoint.name().clone();
                last = Some(CallError::Resting { endpoint, why, retry_in });
                continue;
            }
            match self.inner.ready(&slot).await {
                Ok((kept, service)) => break (pick, slot, kept, service),
                Err(error) => {
                    pick.finish(Outcome::ConnectFailed);
                    failures += 1;
                    if failures >= self.inner.settings.connect_tries {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        };
        match service.call(request).await {
            Ok(response) => Ok(self.inner.finish.finish(response, pick)),
            Err(error) => {
                pick.finish(Outcome::Failed);
                if self.inner.settings.reconnect_on_error {
                    slot.give_up(&kept);
                }
                Err(CallError::Call { endpoint: slot.endpoint.name().clone(), error })
            }
        }
    }
}

type Ready<S> = (Arc<S>, S);

impl<C: Connect<Request>, Request, F> Inner<C, Request, F> {
    /// Picks an endpoint that was not tried yet and is not left alone.
    async fn pick(
        &self,
        key: Option<&[u8]>,
        tried: &Tried,
    ) -> Result<(Pick, Arc<Slot<C::Service>>), ErrorOf<C, Request>> {
        let mut excluded = tried.all();
        let was_tried = excluded.len();
        let resting = self.resting.load_full();
        if !resting.is_empty() {
            let resting = resting.now(self.clock.now());
            excluded.extend(resting.map(|slot| Arc::clone(&slot.state)));
        }
        let context = PickContext::new().with_excluded(&excluded);
        let context = key.map_or(context, |key| context.with_hash_key(key));
        match self.pool.acquire(&context, self.settings.priority).await {
            Ok(pick) => {
                let slot = self.slot(pick.state());
                Ok((pick, slot))
            }
            Err(PickError::AllTried) if was_tried == 0 => Err(self.all_rest(&resting)),
            Err(error) => Err(error.into()),
        }
    }

    fn all_rest(&self, resting: &Resting<C::Service>) -> ErrorOf<C, Request> {
        let now = self.clock.now();
        let rests = resting.now(now).filter_map(|slot| Some((slot.rests(now)?, slot)));
        match rests.min_by_key(|((left, _), _)| *left) {
            Some(((retry_in, why), slot)) => {
                CallError::Resting { endpoint: slot.endpoint.name().clone(), why, retry_in }
            }
            // Its pause has ended this moment.
            None => CallError::Pick(PickError::AllTried),
        }
    }

    /// The slot of an endpoint; the table is made anew if the pool's list has changed.
    fn slot(&self, state: &Arc<EndpointState>) -> Arc<Slot<C::Service>> {
        let snapshot = self.pool.snapshot();
        let mut table = self.table.load();
        if !table.is_of(&snapshot) {
            self.table.rcu(|table| {
                if table.is_of(&snapshot) {
                    Arc::clone(table)
                } else {
                    Arc::new(Table::new(&snapshot, Some(table)))
                }
            });
            table = self.table.load();
        }
        table.find(state).map_or_else(
            // It has left the pool since it was picked: its connection is for this request alone.
            || {
                let endpoint =
                    crate::endpoint::Endpoint::new(state.name().clone(), state.address());
                Arc::new(Slot::new(endpoint, Arc::clone(state)))
            },
            Arc::clone,
        )
    }

    /// A clone of the endpoint's service that is ready for a request, and that which is kept.
    async fn ready(
        &self,
        slot: &Arc<Slot<C::Service>>,
    ) -> Result<Ready<C::Service>, ErrorOf<C, Request>> {
        if let Some(kept) = slot.service() {
            let mut service = C::Service::clone(&kept);
            if poll_fn(|context| service.poll_ready(context)).await.is_ok() {
                return Ok((kept, service));
            }
            // The connection has ended since: a new one is no second try.
            slot.give_up(&kept);
        }
        let kept = self.connected(slot).await?;
        let mut service = C::Service::clone(&kept);
        match poll_fn(|context| service.poll_ready(context)).await {
            Ok(()) => Ok((kept, service)),
            Err(error) => {
                slot.give_up(&kept);
                self.rest(slot, whole_text(&error));
                Err(CallError::Ready { endpoint: slot.endpoint.name().clone(), error })
            }
        }
    }

    /// The endpoint's service, made if there is none; whoever comes meanwhile waits for it.
    async fn connected(
        &self,
        slot: &Arc<Slot<C::Service>>,
    ) -> Result<Arc<C::Service>, ErrorOf<C, Request>> {
        let _one_at_a_time = slot.connecting.lock().await;
        if let Some(service) = slot.service() {
            return Ok(service);
        }
        let endpoint = || slot.endpoint.name().clone();
        let limit = self.settings.connect_timeout;
        let now = self.clock.now();
        // Those who waited for one that has failed do not each try again.
        if let Some((retry_in, why)) = slot.rests(now) {
            return Err(CallError::Resting { endpoint: endpoint(), why, retry_in });
        }
        slot.try_until(now + limit);
        let connect = self.connect.connect(slot.endpoint.clone());
        match tokio::time::timeout(limit, connect).await {
            Ok(Ok(service)) => {
                let service = Arc::new(service);
                slot.keep(&service);
                Ok(service)
            }
            Ok(Err(error)) => {
                self.rest(slot, whole_text(&error));
                Err(CallError::Connect { endpoint: endpoint(), error: Arc::new(error) })
            }
            Err(_) => {
                self.rest(slot, format!("no connection within {limit:?}"));
                Err(CallError::ConnectTimeout { endpoint: endpoint(), limit })
            }
        }
    }

    /// Leaves an endpoint alone for a while.
    fn rest(&self, slot: &Arc<Slot<C::Service>>, why: String) {
        let now = self.clock.now();
        let until = slot.failed(now, self.settings.backoff, why.into());
        tracing::debug!(endpoint = %slot.endpoint, retry_in = ?until.since(now), "not reached");
        self.resting.rcu(|resting| resting.with(slot, now));
    }
}

/// An error with all its causes, on one line.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl<C, Request, F> Service<Request> for Balance<C, Request, F>
where
    C: Connect<Request>,
    Request: Send + 'static,
    F: Finish<C::Response>,
{
    type Response = F::Response;
    type Error = ErrorOf<C, Request>;
    type Future = AnswerFuture<F::Response, Self::Error>;

    /// Always ready: see [`Balance`].
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let balance = self.clone();
        Box::pin(async move { balance.attempt(request, &Tried::default()).await })
    }
}

impl<C: Connect<Request>, Request, F> Clone for Balance<C, Request, F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Connect<Request>, Request, F> fmt::Debug for Balance<C, Request, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}

/// For [`Retrying`](super::Retrying) and [`Hedged`](super::Hedged), which measure time by it.
impl<C: Connect<Request>, Request, F> Balance<C, Request, F> {
    pub(super) fn now(&self) -> Instant {
        self.inner.clock.now()
    }

    pub(super) fn clock(&self) -> &BootClock {
        &self.inner.clock
    }
}
