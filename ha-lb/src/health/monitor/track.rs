//! Endpoints that take their health from those of another pool.

use std::fmt;
use std::io;
use std::sync::Arc;

use ha_core::driver::{Alarm, Task};
use ha_core::event::Observer;
use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_core::time::{BootClock, Clock, Instant};

use super::Hook;
use super::marks::Marks;
use crate::endpoint::Endpoint;
use crate::pool::{Pool, SlowStarts};
use crate::state::Admin;

/// Keeps the health of a pool's endpoints as that of another pool's, without checks of their own
/// (HAProxy's `track`).
///
/// For one machine behind several pools: it is checked once. An endpoint follows the one of the same
/// name, or of the name that a mapping gives. One whose model is down by checks or agent, or in
/// maintenance, is unhealthy; one without a model is not checked.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_core::health::Health;
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::health::monitor::Track;
/// use ha_lb::pool::Pool;
///
/// let web = Pool::new(&Algorithm::RoundRobin, parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)?;
/// let admin = Pool::new(&Algorithm::RoundRobin, parse_list("a=192.0.2.1:81,b=192.0.2.2:81")?)?;
/// web.set_health(&"b".parse()?, Health::Unhealthy, "connection refused");
///
/// let mut changes = admin.changes();
/// let track = Track::new(admin.clone(), web).spawn();
/// changes.changed().await?;
/// let snapshot = admin.snapshot();
/// let (_, b) = snapshot.find(&"b".parse()?).ok_or("in the pool")?;
/// assert_eq!(b.health(), Health::Unhealthy);
/// assert_eq!(&*b.reason(), "tracks b: connection refused");
/// track.stop().await??;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[must_use = "a track does nothing until it is run"]
pub struct Track {
    marks: Marks,
    model: Pool,
    mapping: Box<Mapping>,
}

type Mapping = dyn Fn(&Endpoint) -> Option<EndpointName> + Send + Sync;

impl fmt::Debug for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pool, model) = (&self.marks.pool, &self.model);
        f.debug_struct("Track").field("pool", pool).field("model", model).finish_non_exhaustive()
    }
}

impl Track {
    /// The endpoints of `pool` follow those of the same name in `model`.
    pub fn new(pool: Pool, model: Pool) -> Self {
        let mapping = |endpoint: &Endpoint| Some(endpoint.name().clone());
        Self { marks: Marks::new(pool), model, mapping: Box::new(mapping) }
    }

    /// Sets which endpoint of the other pool is the model of an endpoint; `None` for one that follows
    /// nobody, and whose health is left alone. Default: the one of the same name.
    pub fn with_mapping(
        mut self,
        mapping: impl Fn(&Endpoint) -> Option<EndpointName> + Send + Sync + 'static,
    ) -> Self {
        self.mapping = Box::new(mapping);
        self
    }

    /// Sets who is told of every change of health.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.marks.observer = observer;
        self
    }

    /// Adds somebody who acts when the health of an endpoint turns. Default: nobody.
    pub fn with_hook(mut self, hook: Arc<dyn Hook>) -> Self {
        self.marks.hooks.push(hook);
        self
    }

    /// Follows until `stop` is ready.
    ///
    /// # Errors
    ///
    /// When no timer is to be had from the kernel (no more file descriptors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the endpoints keep their last health.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (alarm, clock) = (Alarm::new()?, BootClock::new());
        let (mut own, mut models) = (self.marks.pool.changes(), self.model.changes());
        let mut slow_starts = SlowStarts::default();
        tokio::pin!(stop);
        loop {
            own.borrow_and_update();
            models.borrow_and_update();
            let now = clock.now();
            self.follow(now);
            slow_starts.follow(&self.marks.pool, now);
            slow_starts.ring(&self.marks.pool, now);
            tokio::select! { biased;
                () = &mut stop => return Ok(()),
                rung = alarm.until(slow_starts.deadline()) => rung?,
                // Both pools are held, so both senders live.
                Ok(()) = models.changed() => {}
                Ok(()) = own.changed() => {}
                else => return Ok(()),
            }
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops it"]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }

    /// Takes over what is known now.
    fn follow(&self, now: Instant) {
        let (snapshot, models) = (self.marks.pool.snapshot(), self.model.snapshot());
        for (endpoint, state) in snapshot.iter() {
            let Some(name) = (self.mapping)(endpoint) else { continue };
            let (health, why) = match models.find(&name) {
                None => (Health::Unknown, "not there".to_owned()),
                Some((_, model)) if model.effective_admin() == Admin::Maintenance => {
                    (Health::Unhealthy, "in maintenance".to_owned())
                }
                Some((_, model)) if model.is_agent_down() => {
                    (Health::Unhealthy, "down, says its agent".to_owned())
                }
                Some((_, model)) => (model.health(), model.reason().to_string()),
            };
            if state.health() != health {
                let reason = format!("tracks {name}: {why}");
                self.marks.set_health(now, (endpoint, state), health, &reason);
            }
        }
    }
}
