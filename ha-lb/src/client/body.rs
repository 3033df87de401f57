//! A body that keeps the pick of its endpoint until it has come.

use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::pick::{Outcome, Pick};

pin_project! {
    /// A body that counts as a connection of its endpoint until its end, or until it is dropped.
    ///
    /// Dropped before its end it counts as [`Outcome::Abandoned`], or as a failure if it is one already.
    #[derive(Debug)]
    pub struct PickBody<B> {
        #[pin]
        body: B,
        pick: Option<Pick>,
        outcome: Outcome,
    }
}

impl<B: Body> PickBody<B> {
    /// Keeps `pick` until the end of `body`, and finishes it as `outcome` then.
    #[must_use]
    pub fn new(body: B, mut pick: Pick, outcome: Outcome) -> Self {
        if outcome != Outcome::Completed {
            // Whoever retries such an answer reads no body.
            pick.presume(outcome);
        }
        let mut body = Self { body, pick: Some(pick), outcome };
        if body.body.is_end_stream() {
            end(&mut body.pick, outcome);
        }
        body
    }
}

fn end(pick: &mut Option<Pick>, outcome: Outcome) {
    if let Some(pick) = pick.take() {
        pick.finish(outcome);
    }
}

impl<B: Body> Body for PickBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = std::task::ready!(this.body.as_mut().poll_frame(context));
        match &frame {
            None => end(this.pick, *this.outcome),
            Some(Err(_)) => end(this.pick, Outcome::Failed),
            // Whoever reads may stop here, as nothing more will come.
            Some(Ok(_)) if this.body.is_end_stream() => end(this.pick, *this.outcome),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
