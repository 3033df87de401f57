//! Why a request has no answer.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ha_core::effect::Effect;
use ha_core::id::EndpointName;

use crate::pick::PickError;
use crate::resilience::failure::Failure;

/// A request has no answer; `C` is what the connector says, `S` what the endpoint's service says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<C: Error + 'static, S: Error + 'static> {
    /// The endpoint's service has failed with the request.
    #[error("no answer from {endpoint}: whether it carried the request out is not known")]
    Call {
        /// The endpoint.
        endpoint: EndpointName,
        /// What its service says.
        #[source]
        error: S,
    },
    /// No endpoint that was tried could be reached; this is the last one.
    #[error("cannot connect to {endpoint}: see whether it runs and can be reached")]
    Connect {
        /// The endpoint.
        endpoint: EndpointName,
        /// What the connector says.
        #[source]
        error: Arc<C>,
    },
    /// No endpoint that was tried could be reached in time; this is the last one.
    #[error("cannot connect to {endpoint}: no connection within {limit:?}; see whether it runs")]
    ConnectTimeout {
        /// The endpoint.
        endpoint: EndpointName,
        /// How long it was tried.
        limit: Duration,
    },
    /// No endpoint takes the request.
    #[error("cannot send the request")]
    Pick(#[from] PickError),
    /// The service of the endpoint failed before the request was sent, also right after it was
    /// made.
    #[error("cannot send the request to {endpoint}: its connection has failed")]
    Ready {
        /// The endpoint.
        endpoint: EndpointName,
        /// What its service says.
        #[source]
        error: S,
    },
    /// All endpoints have failed a moment ago, and are left alone until `retry_in` has passed.
    #[error(
        "cannot send the request: all endpoints could not be reached a moment ago, {endpoint} \
         because: {why}; it is tried again in {retry_in:?}"
    )]
    Resting {
        /// The one that is tried again first.
        endpoint: EndpointName,
        /// Why it could not be reached.
        why: Arc<str>,
        /// How long until it is tried again.
        retry_in: Duration,
    },
    /// The time for the request, or for one try of it, was over.
    #[error("no answer within {limit:?}: whether the request was carried out is not known")]
    Timeout {
        /// The time that there was.
        limit: Duration,
    },
}

impl<C: Error + 'static, S: Error + 'static> CallError<C, S> {
    /// Whether the request may have been carried out all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Call { .. } | Self::Timeout { .. } => Effect::Unknown,
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Pick(_)
            | Self::Ready { .. }
            | Self::Resting { .. } => Effect::None,
        }
    }

    /// The class of the failure, for [retries](super::Retrying).
    #[must_use]
    pub const fn failure(&self) -> Failure {
        match self {
            Self::Call { .. } => Failure::Reset,
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Pick(_)
            | Self::Ready { .. }
            | Self::Resting { .. } => Failure::Connect,
            Self::Timeout { .. } => Failure::Timeout,
        }
    }

    /// The endpoint that failed last, if one was tried.
    #[must_use]
    pub const fn endpoint(&self) -> Option<&EndpointName> {
        match self {
            Self::Call { endpoint, .. }
            | Self::Connect { endpoint, .. }
            | Self::ConnectTimeout { endpoint, .. }
            | Self::Ready { endpoint, .. }
            | Self::Resting { endpoint, .. } => Some(endpoint),
            Self::Pick(_) | Self::Timeout { .. } => None,
        }
    }
}
