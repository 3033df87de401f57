//! Tracks what a watch channel holds.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{TrackError, Tracker, Verdict};

/// Tracks the value in a `tokio::sync::watch` channel: whatever a program knows, as a verdict.
///
/// While the value means [`Verdict::Unknown`] from the start, the tracker waits; a value that
/// becomes unknown later is told. When the sender is gone, its last value is told, then
/// [`TrackError::Ended`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_vip::track::{Tracker, Verdict, WatchTracker};
/// use tokio::sync::watch;
///
/// let (sessions, receiver) = watch::channel(3_u32);
/// let up_with_two = |sessions: &u32| if *sessions < 2 { Verdict::Down } else { Verdict::Up };
/// let mut tracker = WatchTracker::new("sessions", receiver, up_with_two);
/// assert_eq!(tracker.changed().await?, Verdict::Up);
/// sessions.send_replace(1);
/// assert_eq!(tracker.changed().await?, Verdict::Down);
/// # Ok::<(), ha_vip::track::TrackError>(()) }).unwrap();
/// ```
pub struct WatchTracker<T> {
    name: String,
    receiver: watch::Receiver<T>,
    verdict: Box<dyn FnMut(&T) -> Verdict + Send>,
    told: Verdict,
    seen: bool,
}

impl<T> WatchTracker<T> {
    /// Tracks the value of `receiver`; `verdict` says what it means.
    pub fn new(
        name: impl Into<String>,
        receiver: watch::Receiver<T>,
        verdict: impl FnMut(&T) -> Verdict + Send + 'static,
    ) -> Self {
        let (name, verdict) = (name.into(), Box::new(verdict));
        Self { name, receiver, verdict, told: Verdict::Unknown, seen: false }
    }
}

impl<T> fmt::Debug for WatchTracker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("WatchTracker");
        debug.field("name", &self.name).field("told", &self.told).finish_non_exhaustive()
    }
}

#[async_trait]
impl<T: Send + Sync> Tracker for WatchTracker<T> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            // The value that is there at the start counts as a change, and so does the last one
            // of a sender that is gone.
            if self.seen {
                let changed = self.receiver.changed().await;
                changed.map_err(|_| TrackError::Ended { name: self.name.clone() })?;
            }
            self.seen = true;
            let verdict = (self.verdict)(&self.receiver.borrow_and_update());
            if verdict != self.told {
                self.told = verdict;
                return Ok(verdict);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_changes_of_the_verdict_are_told_and_the_last_one_survives_its_sender() {
        let (sender, receiver) = watch::channel(0);
        let mut tracker = WatchTracker::new("x", receiver, |number| match number {
            0 => Verdict::Unknown,
            1..10 => Verdict::Up,
            _ => Verdict::Down,
        });
        let mut first = Box::pin(tracker.changed());
        tokio::select! { biased;
            verdict = &mut first => panic!("nothing is known, but it said {verdict:?}"),
            () = std::future::ready(()) => {}
        }
        sender.send_replace(1);
        assert_eq!(first.await.expect("the sender lives"), Verdict::Up);
        sender.send_replace(2);
        sender.send_replace(10);
        drop(sender);
        assert_eq!(tracker.changed().await.expect("its last word"), Verdict::Down);
        let error = tracker.changed().await.expect_err("nobody is left").to_string();
        assert!(error.starts_with("cannot track x: its source has ended"), "{error}");
    }
}
