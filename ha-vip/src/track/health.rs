//! Tracks any source of health.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use ha_core::health::Health;
use tokio::sync::watch;

use super::{TrackError, Tracker, Verdict, WatchTracker};

type NextHealth = Pin<Box<dyn Future<Output = Option<Health>> + Send>>;

/// Tracks a [`Health`]: of a load balancer's endpoint, an agent's check, a program's own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_core::health::Health;
/// use ha_vip::track::{HealthTracker, Tracker, Verdict};
/// use tokio::sync::watch;
///
/// let (check, receiver) = watch::channel(Health::Healthy);
/// let mut tracker = HealthTracker::watching("web", receiver);
/// assert_eq!(tracker.changed().await?, Verdict::Up);
/// check.send_replace(Health::Unhealthy);
/// assert_eq!(tracker.changed().await?, Verdict::Down);
/// # Ok::<(), ha_vip::track::TrackError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct HealthTracker(Source);

#[derive(Debug)]
enum Source {
    Watch(WatchTracker<Health>),
    Stream(Stream),
}

struct Stream {
    name: String,
    next: Box<dyn FnMut() -> NextHealth + Send>,
    /// The answer that is waited for: it outlives a caller that looked away.
    pending: Option<NextHealth>,
    told: Verdict,
}

impl HealthTracker {
    /// Tracks the health in a watch channel.
    pub fn watching(name: impl Into<String>, receiver: watch::Receiver<Health>) -> Self {
        Self(Source::Watch(WatchTracker::new(name, receiver, |health| verdict(*health))))
    }

    /// Tracks a stream of healths: `next` is called for each and returns a future of it, `None`
    /// when there are no more, which is [`TrackError::Ended`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use std::sync::Arc;
    /// use ha_core::health::Health;
    /// use ha_vip::track::{HealthTracker, Tracker, Verdict};
    /// use tokio::sync::{Mutex, mpsc};
    ///
    /// let (sender, receiver) = mpsc::channel(8);
    /// let receiver = Arc::new(Mutex::new(receiver));
    /// let mut tracker = HealthTracker::streaming("web", move || {
    ///     let receiver = Arc::clone(&receiver);
    ///     async move { receiver.lock().await.recv().await }
    /// });
    /// sender.send(Health::Unhealthy).await?;
    /// assert_eq!(tracker.changed().await?, Verdict::Down);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn streaming<F>(
        name: impl Into<String>,
        mut next: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Option<Health>> + Send + 'static,
    {
        let next: Box<dyn FnMut() -> NextHealth + Send> = Box::new(move || Box::pin(next()));
        let told = Verdict::Unknown;
        Self(Source::Stream(Stream { name: name.into(), next, pending: None, told }))
    }
}

#[async_trait]
impl Tracker for HealthTracker {
    fn name(&self) -> &str {
        match &self.0 {
            Source::Watch(watch) => watch.name(),
            Source::Stream(stream) => &stream.name,
        }
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        match &mut self.0 {
            Source::Watch(watch) => watch.changed().await,
            Source::Stream(stream) => stream.changed().await,
        }
    }
}

impl Stream {
    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            let pending = self.pending.get_or_insert_with(&mut self.next);
            let health = pending.await;
            self.pending = None;
            let health = health.ok_or_else(|| TrackError::Ended { name: self.name.clone() })?;
            if verdict(health) != self.told {
                self.told = verdict(health);
                return Ok(self.told);
            }
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Stream");
        debug.field("name", &self.name).field("told", &self.told).finish_non_exhaustive()
    }
}

pub(super) const fn verdict(health: Health) -> Verdict {
    match health {
        Health::Unknown => Verdict::Unknown,
        Health::Healthy => Verdict::Up,
        Health::Unhealthy => Verdict::Down,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Mutex, mpsc};

    use super::*;

    #[tokio::test]
    async fn a_caller_that_looks_away_loses_no_answer() {
        let (sender, receiver) = mpsc::channel(8);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut tracker = HealthTracker::streaming("web", move || {
            let receiver = Arc::clone(&receiver);
            // Two waits an answer: a future dropped in between would lose the first.
            async move {
                let first: Option<Health> = receiver.lock().await.recv().await;
                let second = receiver.lock().await.recv().await;
                first.and(second)
            }
        });
        for health in [Health::Unhealthy, Health::Healthy, Health::Healthy, Health::Unhealthy] {
            sender.send(health).await.expect("it listens");
            tokio::select! { biased;
                verdict = tracker.changed() => {
                    // The second of each pair is the answer.
                    assert_eq!(verdict.expect("it runs"), super::verdict(health));
                }
                () = std::future::ready(()) => {}
            }
        }
        drop(sender);
        assert!(matches!(tracker.changed().await, Err(TrackError::Ended { .. })));
    }
}
