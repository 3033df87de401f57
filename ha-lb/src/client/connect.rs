//! How the service of an endpoint is made.

use std::error::Error;

use tower_service::Service;

use crate::endpoint::Endpoint;

/// Makes the service of an endpoint: connects, shakes hands, wraps the connection.
///
/// It is called when an endpoint is used for the first time, and again after a failure. One service
/// is made for each endpoint and cloned for every request: an HTTP/2 connection is such a service
/// as it is; for protocols of one request at a time it is a pool of connections. Closures that take
/// an [`Endpoint`] and give a future are connectors.
pub trait Connect<Request>: Send + Sync + 'static {
    /// What the services answer.
    type Response: Send + 'static;
    /// Why a service has no answer.
    type ServiceError: Error + Send + Sync + 'static;
    /// The service of one endpoint.
    type Service: Service<Request, Response = Self::Response, Error = Self::ServiceError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static;
    /// Why there is none.
    type Error: Error + Send + Sync + 'static;

    /// Makes the service of `endpoint`. [`Balance`](super::Balance) sets the time limit.
    ///
    /// # Errors
    ///
    /// The endpoint cannot be reached. Nothing of a request was sent.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: what takes too long is dropped.
    fn connect(
        &self,
        endpoint: Endpoint,
    ) -> impl Future<Output = Result<Self::Service, Self::Error>> + Send;
}

impl<Request, F, A, S, E> Connect<Request> for F
where
    F: Fn(Endpoint) -> A + Send + Sync + 'static,
    A: Future<Output = Result<S, E>> + Send,
    S: Service<
            Request,
            Response: Send + 'static,
            Error: Error + Send + Sync + 'static,
            Future: Send,
        > + Clone
        + Send
        + Sync
        + 'static,
    E: Error + Send + Sync + 'static,
{
    type Response = S::Response;
    type ServiceError = S::Error;
    type Service = S;
    type Error = E;

    fn connect(&self, endpoint: Endpoint) -> impl Future<Output = Result<S, E>> + Send {
        self(endpoint)
    }
}
