//! The driver of the checks: one task for all endpoints of a pool.

mod driver;
mod marks;
mod slot;
mod track;

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::stream::StreamExt;
use ha_core::driver::{Alarm, Task};
use ha_core::event::Observer;

pub use self::marks::{FnHook, Hook, ShutBackupSessions, ShutSessions, Turn};
pub use self::track::Track;

use self::driver::Driver;
use self::marks::Marks;
use super::HealthCheck;
use super::agent::AgentCheck;
use super::outlier::ErrorLimit;
use super::schedule::Pace;
use crate::pool::Pool;

/// How many checks run at once, unless told otherwise: far below what a process may open.
const MAX_RUNNING: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Checks every endpoint of a pool and keeps their health up to date.
///
/// It follows the pool: endpoints that join are checked at once, those that leave no longer, those
/// in maintenance are left alone. Every change is told to the observer with its reason and logged.
///
/// ```no_run
/// use std::sync::Arc;
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::health::agent::AgentCheck;
/// use ha_lb::health::monitor::{Monitor, ShutSessions};
/// use ha_lb::health::schedule::Pace;
/// use ha_lb::health::tcp::TcpCheck;
/// use ha_lb::pool::Pool;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(&Algorithm::RoundRobin, parse_list("127.0.0.1:8081,127.0.0.1:8082")?)?;
/// let monitor = Monitor::new(pool.clone(), Arc::new(TcpCheck::new()), Pace::default())
///     .with_agent(AgentCheck::builder(9777).build()?)
///     .with_hook(Arc::new(ShutSessions::new()))
///     .spawn();
/// // … the pool's picks now avoid endpoints that are down …
/// monitor.stop().await??;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a monitor does nothing until it is run"]
pub struct Monitor {
    marks: Marks,
    check: Option<(Arc<dyn HealthCheck>, Pace)>,
    agent: Option<AgentCheck>,
    error_limit: Option<ErrorLimit>,
    max_running: NonZeroUsize,
    seed: u64,
}

impl Monitor {
    /// A monitor that nobody watches.
    pub fn new(pool: Pool, check: Arc<dyn HealthCheck>, pace: Pace) -> Self {
        Self { check: Some((check, pace)), ..Self::empty(pool) }
    }

    /// A monitor that only asks agents (HAProxy's `agent-check` without `check`).
    pub fn of_agents(pool: Pool, agent: AgentCheck) -> Self {
        Self::empty(pool).with_agent(agent)
    }

    fn empty(pool: Pool) -> Self {
        Self {
            marks: Marks::new(pool),
            check: None,
            agent: None,
            error_limit: None,
            max_running: MAX_RUNNING,
            seed: 0,
        }
    }

    /// Sets who is told of every change of health.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.marks.observer = observer;
        self
    }

    /// Adds somebody who acts when the health of an endpoint turns (HAProxy's `on-marked-down` and
    /// `on-marked-up`). Default: nobody.
    pub fn with_hook(mut self, hook: Arc<dyn Hook>) -> Self {
        self.marks.hooks.push(hook);
        self
    }

    /// Sets how the endpoints' agents are asked, beside the checks (HAProxy's `agent-check`). Default:
    /// they are not.
    ///
    /// What an agent reports is kept apart from what the operator wants: the stricter of the two
    /// holds. An agent's `maint` stops the checks, not the questions to the agent.
    pub fn with_agent(mut self, agent: AgentCheck) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Sets what errors of the work itself do to the health (HAProxy's `observe`). Default: nothing.
    ///
    /// It needs picks that report their [`Outcome`](crate::pick::Outcome), as those of the proxies
    /// do. One monitor of a pool can do this at a time.
    pub const fn with_error_limit(mut self, limit: ErrorLimit) -> Self {
        self.error_limit = Some(limit);
        self
    }

    /// Sets how many checks and questions to agents run at once; 0 counts as 1. Default: 256.
    ///
    /// More wait, those first that were due first. Each needs a file descriptor, and a check that
    /// hangs keeps its place until its time limit: with 10,000 endpoints every 2 s that answer
    /// within 20 ms, about 100 run at once.
    pub const fn with_max_running(mut self, most: usize) -> Self {
        self.max_running = match NonZeroUsize::new(most) {
            Some(most) => most,
            None => NonZeroUsize::MIN,
        };
        self
    }

    /// Sets the seed of the spread; give each process its own, or their checks run in step.
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks until `stop` is ready.
    ///
    /// # Errors
    ///
    /// When no timer is to be had from the kernel (no more file descriptors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: running checks are dropped, the endpoints keep their last health.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let alarm = Alarm::new()?;
        let mut changes = self.marks.pool.changes();
        let mut driver = Driver::new(self);
        let errors = driver.errors();
        driver.follow_pool();
        tokio::pin!(stop);
        loop {
            let deadline = driver.deadline();
            tokio::select! { biased;
                () = &mut stop => return Ok(()),
                Some(ended) = driver.running.next() => driver.ended(ended),
                news = changes.changed() => match news {
                    Ok(()) => driver.follow_pool(),
                    Err(_) => return Ok(()), // not reached: the driver holds the pool
                },
                () = errors.notified() => driver.observe_errors(),
                rung = alarm.until(deadline) => {
                    rung?;
                    driver.ring();
                }
            }
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the monitor"]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }
}
