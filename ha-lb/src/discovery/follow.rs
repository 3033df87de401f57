//! The driver: keeps a pool's list as its source has it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::{Alarm, Task};
use ha_core::event::{Event, EventKind, Observer};
use ha_core::time::{BootClock, Clock, Instant};
use tokio::sync::watch;

use super::{Discovery, DiscoveryError, Found};
use crate::endpoint::Endpoint;
use crate::pool::Pool;
use crate::resilience::backoff::{Backoff, Jitter, Pauses};

/// Keeps the list of `pool` as `discovery` has it, until the handle is stopped or dropped.
///
/// As [`Follower`] without an observer; must be called inside tokio.
#[must_use = "dropping the handle stops it"]
pub fn follow(discovery: impl Discovery + 'static, pool: Pool) -> Task<io::Result<()>> {
    Follower::new(discovery, pool).spawn()
}

/// Keeps the list of a pool as a source has it.
///
/// Errors leave the list as it is; they are told to the observer, logged and shown in the status.
/// A source that fails without waiting is asked again after 100 ms, and later each time, up to
/// 1 s: sources with pauses of their own are hardly slowed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::discovery::channel::WatchList;
/// use ha_lb::discovery::follow::Follower;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::pool::Pool;
///
/// let pool = Pool::new(&Algorithm::RoundRobin, Vec::new())?;
/// let (_sender, receiver) = tokio::sync::watch::channel(parse_list("a=192.0.2.1:80")?);
/// let follower = Follower::new(WatchList::new(receiver), pool.clone());
/// let mut status = follower.status();
/// let task = follower.spawn();
/// status.wait_for(|status| status.updates > 0).await?;
/// assert_eq!(pool.snapshot().len(), 1);
/// task.stop().await??;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a follower does nothing until it is run"]
pub struct Follower {
    discovery: Box<dyn Discovery>,
    pool: Pool,
    observer: Arc<dyn Observer>,
    clock: BootClock,
    status: watch::Sender<Status>,
    /// The list that the pool was given last.
    current: Option<Vec<Endpoint>>,
    pauses: Pauses,
}

/// How following a source goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Status {
    /// How often the source gave a list that the pool took.
    pub updates: u64,
    /// When it last did.
    pub updated_at: Option<Instant>,
    /// How many endpoints that list has.
    pub endpoints: usize,
    /// How often the source failed.
    pub failures: u64,
    /// Why it failed last, if it has given no list since.
    pub error: Option<String>,
    /// Whether the source has ended; the last list stays.
    pub ended: bool,
}

fn pauses() -> Pauses {
    let (base, cap) = (Duration::from_millis(100), Duration::from_secs(1));
    Backoff::new(base, cap, Jitter::Equal).unwrap_or_default().pauses(0)
}

impl Follower {
    /// A follower that nobody watches.
    pub fn new(discovery: impl Discovery + 'static, pool: Pool) -> Self {
        Self {
            discovery: Box::new(discovery),
            pool,
            observer: Arc::new(()),
            clock: BootClock::new(),
            status: watch::Sender::default(),
            current: None,
            pauses: pauses(),
        }
    }

    /// Sets who is told of every change of the list, and of every error.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// Watches how it goes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Follows the source until `stop` is ready, or until the source ends.
    ///
    /// # Errors
    ///
    /// When no timer is to be had from the kernel (no more file descriptors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool keeps its last list.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let alarm = Alarm::new()?;
        tokio::pin!(stop);
        loop {
            let next = tokio::select! { biased;
                () = &mut stop => return Ok(()),
                next = self.discovery.next() => next,
            };
            let applied = match next {
                Ok(found) => self.apply(found),
                Err(error) => Err(error),
            };
            match applied {
                Ok(()) => self.pauses = pauses(),
                Err(DiscoveryError::Ended) => {
                    self.tell("the source has ended, its last list stays");
                    self.status.send_modify(|status| status.ended = true);
                    return Ok(());
                }
                Err(error) => {
                    self.fail(&error);
                    let pause = self.pauses.next().unwrap_or_default();
                    tokio::select! { biased;
                        () = &mut stop => return Ok(()),
                        rung = alarm.until(Some(self.clock.now() + pause)) => rung?,
                    }
                }
            }
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the follower"]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }

    fn apply(&mut self, found: Found) -> Result<(), DiscoveryError> {
        let Found { endpoints, notes } = found;
        if self.current.as_ref() != Some(&endpoints) {
            self.pool.update(endpoints.clone()).map_err(DiscoveryError::Content)?;
            let change = self.in_words(&endpoints);
            tracing::info!(source = self.discovery.source(), change, "endpoints changed");
            self.tell(&change);
            self.current = Some(endpoints);
        }
        for note in notes {
            tracing::warn!(source = self.discovery.source(), note, "endpoints left out");
            self.tell(&note);
        }
        let (now, endpoints) = (self.clock.now(), self.current.as_ref().map_or(0, Vec::len));
        self.status.send_modify(|status| {
            status.updates += 1;
            status.updated_at = Some(now);
            status.endpoints = endpoints;
            status.error = None;
        });
        Ok(())
    }

    fn fail(&self, error: &DiscoveryError) {
        let text = whole_text(error);
        // One line for what lasts; it is seen in the status.
        if self.status.borrow().error.as_ref() != Some(&text) {
            tracing::warn!(source = self.discovery.source(), error = text, "discovery failed");
            self.tell(&text);
        }
        self.status.send_modify(|status| {
            status.failures += 1;
            status.error = Some(text);
        });
    }

    fn tell(&self, text: &str) {
        let kind = EventKind::Note { text: text.to_owned() };
        self.observer.observe(&Event::new(self.clock.now(), self.discovery.source(), kind));
    }

    /// What a new list adds, removes and changes.
    fn in_words(&self, new: &[Endpoint]) -> String {
        let named = |list: &[Endpoint]| -> BTreeMap<_, _> {
            list.iter().map(|endpoint| (endpoint.name().clone(), endpoint.clone())).collect()
        };
        let (before, after) = (named(self.current.as_deref().unwrap_or_default()), named(new));
        let added = after.keys().filter(|name| !before.contains_key(*name)).count();
        let removed = before.keys().filter(|name| !after.contains_key(*name)).count();
        let changed = after
            .iter()
            .filter(|(name, endpoint)| before.get(*name).is_some_and(|old| old != *endpoint))
            .count();
        format!("{} endpoints: {added} added, {removed} removed, {changed} changed", new.len())
    }
}

/// An error with all its causes, on one line.
fn whole_text(error: &DiscoveryError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
