//! A second request at another endpoint, where the first one takes unusually long.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::AnswerFuture;
use super::balance::{Balance, ErrorOf, Tried};
use super::connect::Connect;
use super::finish::Finish;
use crate::resilience::hedge::{Hedge, hedged};

/// Sends a request once more, to another endpoint, when its answer takes unusually long; the first
/// answer wins, and the other request is dropped. A cheap handle.
///
/// When it is sent and how many are is the [`Hedge`]'s to say.
///
/// ```no_run
/// use ha_lb::client::{Balance, Connect, Hedged};
/// use ha_lb::resilience::hedge::{Delay, Hedge};
///
/// # fn f<C: Connect<String>>(client: Balance<C, String>)
/// # -> Result<impl Sized, ha_core::config::ConfigError> {
/// // After the time in which 95 % of requests have their answer.
/// let hedge = Hedge::builder(Delay::Quantile(950)).build()?;
/// let client = Hedged::new(client, hedge, |request: &String| request.starts_with("read"));
/// # Ok(client) }
/// ```
pub struct Hedged<C: Connect<Request>, Request, F> {
    balance: Balance<C, Request, F>,
    hedge: Arc<Hedge>,
    may_hedge: Arc<dyn Fn(&Request) -> bool + Send + Sync>,
}

impl<C: Connect<Request>, Request, F> Hedged<C, Request, F> {
    /// Hedges requests of `balance` for which `may_hedge` says that they may be carried out twice.
    #[must_use]
    pub fn new(
        balance: Balance<C, Request, F>,
        hedge: Hedge,
        may_hedge: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { balance, hedge: Arc::new(hedge), may_hedge: Arc::new(may_hedge) }
    }
}

impl<C, Request, F> Service<Request> for Hedged<C, Request, F>
where
    C: Connect<Request>,
    Request: Clone + Send + Sync + 'static,
    F: Finish<C::Response>,
{
    type Response = F::Response;
    type Error = ErrorOf<C, Request>;
    type Future = AnswerFuture<F::Response, Self::Error>;

    /// Always ready, as [`Balance`].
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Self { balance, hedge, may_hedge } = self.clone();
        Box::pin(async move {
            let tried = Tried::default();
            if !may_hedge(&request) {
                return balance.attempt(request, &tried).await;
            }
            let attempt = |_| balance.attempt(request.clone(), &tried);
            hedged(&hedge, balance.clock(), attempt).await
        })
    }
}

impl<C: Connect<Request>, Request, F> Clone for Hedged<C, Request, F> {
    fn clone(&self) -> Self {
        Self {
            balance: self.balance.clone(),
            hedge: Arc::clone(&self.hedge),
            may_hedge: Arc::clone(&self.may_hedge),
        }
    }
}

impl<C: Connect<Request>, Request, F> fmt::Debug for Hedged<C, Request, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedged")
            .field("balance", &self.balance)
            .field("hedge", &self.hedge)
            .finish_non_exhaustive()
    }
}
