//! The driver of the checks: one task for all endpoints of a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_core::driver::{Alarm, Task};
use ha_core::event::{Event, EventKind, Observer};
use ha_core::id::OpId;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};

use super::schedule::{Input, Output, Pace, Schedule};
use super::{Failed, HealthCheck, Passed, Target};
use crate::pool::Pool;
use crate::state::{Admin, EndpointState};

/// Checks every endpoint of a pool and keeps their health up to date.
///
/// It follows the pool: endpoints that join are checked at once, those that leave no longer, those
/// in maintenance are left alone. Every change is told to the observer with its reason and logged.
///
/// ```no_run
/// use std::sync::Arc;
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::health::monitor::Monitor;
/// use ha_lb::health::schedule::Pace;
/// use ha_lb::health::tcp::TcpCheck;
/// use ha_lb::pool::Pool;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(&Algorithm::RoundRobin, parse_list("127.0.0.1:8081,127.0.0.1:8082")?)?;
/// let monitor = Monitor::new(pool.clone(), Arc::new(TcpCheck::new()), Pace::default()).spawn();
/// // … the pool's picks now avoid endpoints that are down …
/// monitor.stop().await??;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a monitor does nothing until it is run"]
pub struct Monitor {
    pool: Pool,
    check: Arc<dyn HealthCheck>,
    pace: Pace,
    observer: Arc<dyn Observer>,
    seed: u64,
}

impl Monitor {
    /// A monitor that nobody watches.
    pub fn new(pool: Pool, check: Arc<dyn HealthCheck>, pace: Pace) -> Self {
        Self { pool, check, pace, observer: Arc::new(()), seed: 0 }
    }

    /// Sets who is told of every change of health.
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
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
        let mut changes = self.pool.changes();
        let mut driver = Driver::new(self);
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

/// One endpoint under watch.
#[derive(Debug)]
struct Slot {
    state: Arc<EndpointState>,
    target: Target,
    schedule: Schedule,
    check: Option<AbortHandle>,
}

/// Where a slot is found: the address of its endpoint's state, which it keeps alive.
type Key = usize;

/// A check that ended by itself.
type Ended = Option<(Key, OpId, Result<Passed, Failed>)>;

#[derive(Debug)]
struct Driver {
    monitor: Monitor,
    clock: BootClock,
    slots: BTreeMap<Key, Slot>,
    due: BTreeSet<(Instant, Key)>,
    /// When slow starts are to be moved on.
    ramp_at: Option<Instant>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    out: Vec<Output>,
}

impl Driver {
    fn new(monitor: Monitor) -> Self {
        Self {
            monitor,
            clock: BootClock::new(),
            slots: BTreeMap::new(),
            due: BTreeSet::new(),
            ramp_at: None,
            running: FuturesUnordered::new(),
            out: Vec::new(),
        }
    }

    /// Watches endpoints that joined, forgets those that left, pauses those in maintenance.
    fn follow_pool(&mut self) {
        let now = self.clock.now();
        if self.ramp_at.is_none() {
            self.ramp();
        }
        let snapshot = self.monitor.pool.snapshot();
        let mut present = BTreeSet::new();
        for (endpoint, state) in snapshot.iter() {
            let key = Arc::as_ptr(state).addr();
            present.insert(key);
            let slot = self.slots.entry(key).or_insert_with(|| {
                let seed = self.monitor.seed.wrapping_add(state.address().port().into());
                let pace = self.monitor.pace.clone();
                let schedule = Schedule::new(pace, state.health(), now, seed);
                self.due.extend(schedule.deadline().map(|due| (due, key)));
                let target = Target::from(endpoint.clone());
                Slot { state: Arc::clone(state), target, schedule, check: None }
            });
            if slot.target.endpoint() != Some(endpoint) {
                slot.target = Target::from(endpoint.clone());
            }
            let maintenance = state.admin() == Admin::Maintenance;
            self.step(key, now, Some(if maintenance { Input::Pause } else { Input::Resume }));
        }
        let due = &mut self.due;
        self.slots.retain(|key, slot| {
            let stays = present.contains(key);
            if !stays {
                due.retain(|(_, other)| other != key);
                slot.check.iter().for_each(AbortHandle::abort);
            }
            stays
        });
    }

    /// When something is to be done next, unless news come before.
    fn deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        self.ramp_at.into_iter().chain(due).min()
    }

    /// Moves slow starts on, and notes when to do so again.
    fn ramp(&mut self) {
        self.ramp_at = self.monitor.pool.advance(self.clock.now());
    }

    /// Ticks every schedule that is due.
    fn ring(&mut self) {
        let now = self.clock.now();
        if self.ramp_at.is_some_and(|at| at <= now) {
            self.ramp();
        }
        while let Some((_, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.step(key, now, None);
        }
    }

    /// Passes the end of a check on.
    fn ended(&mut self, ended: Ended) {
        if let Some((key, op, result)) = ended {
            self.step(key, self.clock.now(), Some(Input::Done(op, result)));
        }
    }

    fn step(&mut self, key: Key, now: Instant, input: Option<Input>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let before = slot.schedule.deadline();
        match input {
            Some(input) => slot.schedule.handle(now, input, &mut self.out),
            None => slot.schedule.tick(now, &mut self.out),
        }
        let after = slot.schedule.deadline();
        if before != after {
            before.map(|due| self.due.remove(&(due, key)));
            self.due.extend(after.map(|due| (due, key)));
        }
        for output in self.out.drain(..) {
            match output {
                Output::Cancel(_) => slot.check.iter().for_each(AbortHandle::abort),
                Output::Check(op) => {
                    let (abort, registration) = AbortHandle::new_pair();
                    slot.check = Some(abort);
                    let (check, target) = (Arc::clone(&self.monitor.check), slot.target.clone());
                    let checked = async move { (key, op, check.check(&target).await) };
                    let checked = Abortable::new(checked, registration).map(Result::ok);
                    self.running.push(checked.boxed());
                }
                Output::Changed { from, to, reason } => {
                    let backend = slot.state.name();
                    tracing::info!(%backend, %from, %to, reason, "health changed");
                    self.monitor.pool.set_health_of(&slot.state, to, &reason);
                    let kind = EventKind::HealthChanged { from, to };
                    let event = Event::new(now, backend.as_str(), kind).because(reason);
                    self.monitor.observer.observe(&event);
                }
            }
        }
    }
}
