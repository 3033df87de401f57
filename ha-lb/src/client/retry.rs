//! Requests that are tried again at other endpoints, within a budget and a time.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ha_core::driver::pause;
use tower_service::Service;

use super::AnswerFuture;
use super::balance::{Balance, ErrorOf, Tried};
use super::connect::Connect;
use super::error::CallError;
use super::finish::Finish;
use crate::pick::PickError;
use crate::random;
use crate::resilience::budget::Budget;
use crate::resilience::failure::Failure;
use crate::resilience::retry::{Policy, Verdict};

type FailureOf<Response> = Arc<dyn Fn(&Response) -> Option<Failure> + Send + Sync>;
type IsIdempotent<Request> = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

/// Tries requests again that failed, each time at another endpoint; a cheap handle.
///
/// What is retried, how often and after what pauses is the [`Policy`]'s to say; all requests
/// together retry no more than the [`Budget`] pays for. A request that is not idempotent is only
/// tried again when the failed try had no effect for certain, as when no connection came about.
/// When all endpoints were tried, the next try may be at any of them.
///
/// ```no_run
/// use std::time::Duration;
/// use ha_lb::client::{Balance, Connect, Retrying};
/// use ha_lb::resilience::budget::Budget;
/// use ha_lb::resilience::retry::Policy;
///
/// # fn f<C: Connect<String>>(client: Balance<C, String>) -> impl Sized {
/// Retrying::new(client, Policy::default(), Budget::default())
///     .idempotent(|request: &String| request.starts_with("read"))
///     .timeout(Duration::from_secs(5))
/// # }
/// ```
pub struct Retrying<C: Connect<Request>, Request, F: Finish<C::Response>> {
    balance: Balance<C, Request, F>,
    policy: Policy,
    budget: Arc<Budget>,
    failure_of: FailureOf<F::Response>,
    is_idempotent: IsIdempotent<Request>,
    timeout: Option<Duration>,
}

impl<C, Request, F> Retrying<C, Request, F>
where
    C: Connect<Request>,
    F: Finish<C::Response>,
{
    /// Tries requests of `balance` again as `policy` says, as often as `budget` pays for.
    #[must_use]
    pub fn new(balance: Balance<C, Request, F>, policy: Policy, budget: Budget) -> Self {
        Self {
            balance,
            policy,
            budget: Arc::new(budget),
            failure_of: Arc::new(|_| None),
            is_idempotent: Arc::new(|_| false),
            timeout: None,
        }
    }

    /// Sets which requests may be carried out twice, as a read may. Default: none.
    #[must_use]
    pub fn idempotent(
        mut self,
        is_idempotent: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_idempotent = Arc::new(is_idempotent);
        self
    }

    /// Sets which answers are failures that another try may mend. Default: none; for HTTP:
    /// [`failure_by_status`].
    #[must_use]
    pub fn failure_of(
        mut self,
        failure_of: impl Fn(&F::Response) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        self.failure_of = Arc::new(failure_of);
        self
    }

    /// Sets how long a request may take with all its tries. Default: as long as it likes.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn send(self, request: Request) -> Result<F::Response, ErrorOf<C, Request>>
    where
        Request: Clone,
    {
        let started = self.balance.now();
        self.budget.deposit(started);
        let mut attempts =
            self.policy.start(random::draw()).idempotent((self.is_idempotent)(&request));
        if let Some(timeout) = self.timeout {
            attempts = attempts.until(started + timeout);
        }
        let mut tried = Tried::default();
        loop {
            let limit = attempts.try_timeout(self.balance.now());
            let mut result = within(limit, self.balance.attempt(request.clone(), &tried)).await;
            if matches!(result, Err(CallError::Pick(PickError::AllTried))) {
                tried = Tried::default();
                let limit = attempts.try_timeout(self.balance.now());
                result = within(limit, self.balance.attempt(request.clone(), &tried)).await;
            }
            let failure = match &result {
                Ok(response) => (self.failure_of)(response),
                Err(error) => Some(error.failure()),
            };
            let Some(failure) = failure else { return result };
            match attempts.failed(self.balance.now(), failure, Some(&self.budget)) {
                Verdict::GiveUp(why) => {
                    tracing::debug!(%failure, %why, "not retried");
                    return result;
                }
                Verdict::Retry { after } if after.is_zero() => {}
                // Without a timer the retry goes out at once: the budget bounds how many do.
                Verdict::Retry { after } => pause(after).await.unwrap_or_default(),
            }
        }
    }
}

/// Gives an attempt so much time.
async fn within<T, C, S>(
    limit: Option<Duration>,
    attempt: impl Future<Output = Result<T, CallError<C, S>>>,
) -> Result<T, CallError<C, S>>
where
    C: std::error::Error + 'static,
    S: std::error::Error + 'static,
{
    match limit {
        None => attempt.await,
        Some(limit) => {
            tokio::time::timeout(limit, attempt).await.unwrap_or(Err(CallError::Timeout { limit }))
        }
    }
}

/// The class of an HTTP answer's failure: for [`Retrying::failure_of`].
#[must_use]
pub fn failure_by_status<B>(response: &http::Response<B>) -> Option<Failure> {
    Failure::of_http_status(response.status().as_u16())
}

impl<C, Request, F> Service<Request> for Retrying<C, Request, F>
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
        Box::pin(self.clone().send(request))
    }
}

impl<C, Request, F> Clone for Retrying<C, Request, F>
where
    C: Connect<Request>,
    F: Finish<C::Response>,
{
    fn clone(&self) -> Self {
        Self {
            balance: self.balance.clone(),
            policy: self.policy,
            budget: Arc::clone(&self.budget),
            failure_of: Arc::clone(&self.failure_of),
            is_idempotent: Arc::clone(&self.is_idempotent),
            timeout: self.timeout,
        }
    }
}

impl<C, Request, F> fmt::Debug for Retrying<C, Request, F>
where
    C: Connect<Request>,
    F: Finish<C::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying")
            .field("balance", &self.balance)
            .field("policy", &self.policy)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
