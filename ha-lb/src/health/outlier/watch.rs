//! The driver of outlier detection: one task for all endpoints of a pool.

use std::io;
use std::sync::Arc;

use ha_core::driver::{Alarm, Task};
use ha_core::event::{Event, EventKind, Observer};
use ha_core::time::{BootClock, Clock, Instant};
use tokio::sync::{Notify, watch};

use super::patrol::Key;
use super::{Config, Patrol, Status, Verdict};
use crate::pool::{Pool, SlowStarts};
use crate::state::EndpointState;

/// Ejects the outliers of a pool, and brings them back.
///
/// It follows the pool's list. Every ejection and return is told to the observer with its reason and
/// logged. When it ends, those that it has out come back. One watch of a pool can run at a time.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::balancer::PickContext;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::health::outlier::{Config, Standing, Watch};
/// use ha_lb::pick::Outcome;
/// use ha_lb::pool::Pool;
///
/// let pool = Pool::new(&Algorithm::RoundRobin, parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)?;
/// let watch = Watch::new(pool.clone(), Config::default());
/// let mut status = watch.status();
/// let task = watch.spawn();
/// status.changed().await?;
/// for _ in 0..10 {
///     let pick = pool.pick(&PickContext::new())?;
///     let is_a = pick.name().as_str() == "a";
///     pick.finish(if is_a { Outcome::ConnectFailed } else { Outcome::Completed });
/// }
/// status.wait_for(|all| matches!(all[0].standing, Standing::Out { .. })).await?;
/// assert_eq!(pool.pick(&PickContext::new())?.name().as_str(), "b");
/// task.stop().await??;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a watch does nothing until it is run"]
pub struct Watch {
    pool: Pool,
    config: Config,
    observer: Arc<dyn Observer>,
    status: watch::Sender<Vec<Status>>,
}

impl Watch {
    /// A watch that tells nobody.
    pub fn new(pool: Pool, config: Config) -> Self {
        Self { pool, config, observer: Arc::new(()), status: watch::Sender::new(Vec::new()) }
    }

    /// Sets who is told of ejections and returns.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }

    /// What all endpoints are, in the order of the list; it changes with each interval and verdict.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Vec<Status>> {
        self.status.subscribe()
    }

    /// Watches until `stop` is ready.
    ///
    /// # Errors
    ///
    /// When no timer is to be had from the kernel (no more file descriptors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the endpoints that are out come back.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (alarm, clock) = (Alarm::new()?, BootClock::new());
        let Self { pool, config, observer, status } = self;
        let mut changes = pool.changes();
        let errors = Arc::new(Notify::new());
        let waker = Arc::clone(&errors);
        let wake = Arc::new(move || waker.notify_one());
        let mut patrol = Patrol::new(pool.clone(), config, clock.now(), wake);
        let mut slow_starts = SlowStarts::default();
        status.send_replace(patrol.status());
        tokio::pin!(stop);
        loop {
            let deadline = slow_starts.deadline().into_iter().chain([patrol.deadline()]).min();
            let verdicts = tokio::select! { biased;
                () = &mut stop => return Ok(()),
                () = errors.notified() => patrol.strike(clock.now()),
                news = changes.changed() => match news {
                    Ok(()) => {
                        slow_starts.follow(&pool, clock.now());
                        if patrol.follow() {
                            status.send_replace(patrol.status());
                        }
                        continue;
                    }
                    Err(_) => return Ok(()), // not reached: the patrol holds the pool
                },
                rung = alarm.until(deadline) => {
                    rung?;
                    let now = clock.now();
                    slow_starts.ring(&pool, now);
                    if patrol.deadline() > now {
                        continue;
                    }
                    patrol.sweep(now)
                }
            };
            for (state, verdict) in verdicts {
                tell(&*observer, clock.now(), &state, &verdict);
            }
            status.send_replace(patrol.status());
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the watch"]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }
}

fn tell(observer: &dyn Observer, now: Instant, state: &EndpointState, verdict: &Verdict<Key>) {
    let backend = state.name();
    let (from, to, reason) = match verdict {
        Verdict::Eject { cause, until, .. } => {
            ("in", "ejected", format!("{cause}; for {:?}", until.since(now)))
        }
        Verdict::Spare { cause, because, .. } => {
            tracing::info!(%backend, %cause, %because, "an outlier is left in");
            return;
        }
        Verdict::Restore { on_probation: true, .. } => {
            ("ejected", "on probation", "its time is over".to_owned())
        }
        Verdict::Restore { on_probation: false, .. } => {
            ("ejected", "in", "its time is over, and its checks pass".to_owned())
        }
        Verdict::Prove { .. } => ("on probation", "in", "its work goes well".to_owned()),
    };
    tracing::info!(%backend, from, to, reason, "outlier detection");
    let kind = EventKind::StateChanged { from: from.to_owned(), to: to.to_owned() };
    observer.observe(&Event::new(now, backend.as_str(), kind).because(reason));
}
