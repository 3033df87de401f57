//! The driver of load reports: shares once per update period.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ha_core::driver::{Alarm, Task};
use ha_core::time::{BootClock, Clock, Instant};

use super::{LoadReport, WeightConfig, WeightReports};
use crate::pool::Pool;
use crate::state::{EndpointState, Share, ShareSource};

/// Collects the load reports of a pool's endpoints and sets their shares by them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::balancer::PickContext;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::pool::Pool;
/// use ha_lb::report::{LoadReport, Steering, WeightConfig};
///
/// let pool = Pool::new(&Algorithm::RoundRobin, parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)?;
/// let config = WeightConfig::builder()
///     .blackout(Duration::ZERO)
///     .update_period(Duration::from_millis(100))
///     .build()?;
/// let steering = Steering::new(pool.clone(), config);
/// let reporter = steering.reporter();
/// let mut changes = pool.changes();
/// let task = steering.spawn();
/// for _ in 0..2 {
///     let pick = pool.pick(&PickContext::new())?;
///     // From the header of its answer.
///     let load = if pick.name().as_str() == "a" { 0.25 } else { 0.5 };
///     reporter.report(pick.state(), &LoadReport::new(load, 80.0));
/// }
/// changes.changed().await?;
/// let snapshot = pool.snapshot();
/// let (_, b) = snapshot.find(&"b".parse()?).ok_or("in the pool")?;
/// assert_eq!(b.share().parts(), 128);
/// task.stop().await??;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct Steering {
    pool: Pool,
    reporter: Reporter,
    /// Those that do not have the whole share.
    set: BTreeMap<Key, Share>,
}

/// An endpoint, told from others by the address of its state, which the key keeps alive.
#[derive(Debug, Clone)]
struct Key(Arc<EndpointState>);

impl Key {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.address().cmp(&other.address())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }
}

impl Eq for Key {}

/// Takes load reports, from any thread; a cheap clone.
#[derive(Debug, Clone)]
pub struct Reporter(Arc<Mutex<WeightReports<Key>>>);

impl PartialEq for Reporter {
    /// Whether they report to the same steering.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Reporter {}

impl Reporter {
    fn lock(&self) -> MutexGuard<'_, WeightReports<Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report of the endpoint in.
    pub fn report(&self, state: &Arc<EndpointState>, report: &LoadReport) {
        let now = BootClock::new().now();
        self.lock().report(now, Key(Arc::clone(state)), report);
    }

    /// As [`report`](Self::report), with the value of the header; one that cannot be read is logged and
    /// passed over.
    pub fn report_header(&self, state: &Arc<EndpointState>, value: &str) {
        match LoadReport::read(value) {
            Ok(report) => self.report(state, &report),
            Err(error) => tracing::debug!(backend = %state.name(), %error, "load report"),
        }
    }
}

impl Steering {
    /// Steers the pool by reports that are yet to come.
    pub fn new(pool: Pool, config: WeightConfig) -> Self {
        let reporter = Reporter(Arc::new(Mutex::new(WeightReports::new(config))));
        Self { pool, reporter, set: BTreeMap::new() }
    }

    /// Where reports are to go.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// Sets shares until `stop` is ready; then all have the whole again.
    ///
    /// # Errors
    ///
    /// When no timer is to be had from the kernel (no more file descriptors).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: all have the whole share again.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (alarm, clock) = (Alarm::new()?, BootClock::new());
        let period = self.reporter.lock().config().update_period();
        let mut next = clock.now() + period;
        tokio::pin!(stop);
        loop {
            tokio::select! { biased;
                () = &mut stop => return Ok(()),
                rung = alarm.until(Some(next)) => rung?,
            }
            let now = clock.now();
            self.update(now);
            next = now + period;
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops it"]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }

    /// Works shares out and sets those that have changed.
    #[expect(clippy::mutable_key_type, reason = "keys are compared by address alone")]
    fn update(&mut self, now: Instant) {
        let snapshot = self.pool.snapshot();
        let listed =
            snapshot.iter().map(|(endpoint, state)| (Key(Arc::clone(state)), endpoint.weight()));
        let shares = self.reporter.lock().shares(now, listed);
        let mut before = std::mem::take(&mut self.set);
        // Those that have left first: another endpoint may have their name now.
        for key in before.keys().filter(|key| !shares.contains_key(key)) {
            self.pool.set_share_by(ShareSource::Reports, key.0.name(), Share::WHOLE);
        }
        for (key, share) in shares {
            let known = before.remove(&key).unwrap_or_default();
            let name = key.0.name();
            if known != share {
                tracing::debug!(backend = %name, parts = share.parts(), "share by load");
                self.pool.set_share_by(ShareSource::Reports, name, share);
            }
            if share != Share::WHOLE {
                self.set.insert(key, share);
            }
        }
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        for key in self.set.keys() {
            self.pool.set_share_by(ShareSource::Reports, key.0.name(), Share::WHOLE);
        }
    }
}
