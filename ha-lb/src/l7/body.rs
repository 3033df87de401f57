//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::idle::IdlePool;
use super::upstream::Upstream;
use crate::pick::{Closing, Outcome, Pick};

/// A streamed answer, or a short text of our own.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Streamed { body: Incoming, lease: Option<Box<Lease>> },
    Text(Full<Bytes>),
}

/// What an answer under way holds: the connection it comes on, and the pick that is counted.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) upstream: Upstream,
    pub(super) pick: Pick,
    /// What the status says of the endpoint.
    pub(super) outcome: Outcome,
    pub(super) closing: Closing,
    pub(super) idle: Arc<IdlePool>,
}

impl Lease {
    /// The answer is complete.
    fn complete(self: Box<Self>) {
        let Self { upstream, pick, outcome, closing, idle } = *self;
        idle.put(pick.state(), closing.epoch(), upstream);
        pick.finish(outcome);
    }
}

/// Why an answer ends before it is complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The endpoint's connection broke.
    #[error("the backend broke the connection")]
    Broken(#[source] hyper::Error),
    /// Somebody shut the endpoint's sessions.
    #[error("the backend's sessions are shut")]
    Shut,
}

impl AnswerBody {
    /// A short text.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Full::new(text.into()))
    }

    /// The body of an answer; gives the connection back when it is complete.
    pub(super) fn streamed(body: Incoming, lease: Lease) -> Self {
        let mut lease = Some(Box::new(lease));
        if body.is_end_stream() {
            lease.take().into_iter().for_each(Lease::complete);
        }
        Self::Streamed { body, lease }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (body, lease) = match self.get_mut() {
            Self::Text(text) => {
                let polled = Pin::new(text).poll_frame(cx);
                return polled.map_err(|never| match never {});
            }
            Self::Streamed { body, lease } => (body, lease),
        };
        let shut =
            lease.as_mut().is_some_and(|lease| Pin::new(&mut lease.closing).poll(cx).is_ready());
        if shut {
            *lease = None;
            return Poll::Ready(Some(Err(BodyError::Shut)));
        }
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        if let (Poll::Pending, Some(lease)) = (&polled, lease.as_mut()) {
            // The connection brings the next frame, and this task is the one that drives it.
            lease.upstream.drive(cx);
            polled = Pin::new(body).poll_frame(cx);
        }
        match &polled {
            Poll::Ready(None) => lease.take().into_iter().for_each(Lease::complete),
            Poll::Ready(Some(Err(_))) => {
                lease.take().into_iter().for_each(|lease| lease.pick.finish(Outcome::Failed));
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_end_stream(),
            Self::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Streamed { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // hyper does not poll for an end that it knows of.
        if let Self::Streamed { body, lease } = self
            && body.is_end_stream()
        {
            lease.take().into_iter().for_each(Lease::complete);
        }
    }
}
