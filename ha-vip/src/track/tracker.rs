//! The interface of all trackers.

use std::fmt::Debug;
use std::io;

use async_trait::async_trait;

use super::Verdict;

/// Watches one thing and tells how it is.
///
/// A tracker is level-triggered: its first answer is how the thing is, each later one differs from
/// the one before, and a change that was missed (a lost event, an overrun) is made good by looking
/// again. Between two calls nothing is lost but states that have passed.
#[async_trait]
pub trait Tracker: Debug + Send {
    /// The name by which a [`Tracked`](super::Tracked) refers to it.
    fn name(&self) -> &str;

    /// Waits for the next verdict: at the first call for the present one, as soon as it is known,
    /// then for each change.
    ///
    /// # Errors
    ///
    /// When the thing can no longer be watched. Then nothing is known of it: count it as
    /// [`Verdict::Unknown`] and make the tracker anew, or leave it out.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the next call goes on where this one was dropped.
    async fn changed(&mut self) -> Result<Verdict, TrackError>;
}

#[async_trait]
impl<T: Tracker + ?Sized> Tracker for Box<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        (**self).changed().await
    }
}

#[async_trait]
impl<T: Tracker + ?Sized> Tracker for &mut T {
    fn name(&self) -> &str {
        (**self).name()
    }
    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        (**self).changed().await
    }
}

/// A thing can no longer be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// Whoever told of the thing is gone: a channel's sender, the network monitor.
    #[error(
        "cannot track {name}: its source has ended; keep the source running for as long as \
         something tracks it"
    )]
    Ended {
        /// The tracker.
        name: String,
    },
    /// The system refused what the tracker needs.
    #[error("cannot track {name}: the system refused to {what}; {remedy}")]
    System {
        /// The tracker.
        name: String,
        /// What was asked of the system.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}
