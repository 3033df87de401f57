//! When recurring monitors fall due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::id::{OpId, ResourceName};
use ha_core::time::Instant;

use super::order::{Answer, Order};

/// From where the next run of a recurring monitor is counted.
///
/// The first run of each lies somewhere in the first interval, by the resource's name, so that the
/// monitors of many resources are spread over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schedule {
    /// From the end of the run before, as in Pacemaker: the period is the interval and what a run
    /// takes and waits, so monitors drift, but there is always that long a rest between two.
    AfterEnd,
    /// From when the run before was due: the period is the interval, whatever a run takes.
    Fixed(Missed),
}

/// What becomes of a tick that comes while the one before is not through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missed {
    /// One run is made up for at once, however many ticks were missed; the schedule stays.
    CatchUp,
    /// It is left out.
    Skip,
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Fixed(Missed::Skip)
    }
}

/// A monitor that is repeated.
#[derive(Debug)]
pub(super) struct Recurring {
    pub(super) order: Order,
    /// When it falls due; `None`: when the run that waits or is at work has ended.
    next: Option<Instant>,
    /// Whether its last tick is waiting or at work.
    busy: bool,
    /// Whether a tick was missed that is made up for.
    owed: bool,
    pub(super) last: Option<Answer>,
    /// How many runs in a row have failed.
    pub(super) failed: u32,
}

/// A tick of a monitor.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) op: OpId,
    /// What to run, unless it is at it still.
    pub(super) order: Option<Order>,
    /// How many runs are left out.
    pub(super) skipped: u64,
}

/// All monitors that are repeated.
#[derive(Debug)]
pub(super) struct Recurrences {
    schedule: Schedule,
    monitors: BTreeMap<OpId, Recurring>,
    due: BTreeSet<(Instant, OpId)>,
}

impl Recurrences {
    pub(super) const fn new(schedule: Schedule) -> Self {
        Self { schedule, monitors: BTreeMap::new(), due: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.monitors.len()
    }

    pub(super) fn contains(&self, op: OpId) -> bool {
        self.monitors.contains_key(&op)
    }

    pub(super) fn get_mut(&mut self, op: OpId) -> Option<&mut Recurring> {
        self.monitors.get_mut(&op)
    }

    /// Those of one resource.
    pub(super) fn of(&self, resource: &ResourceName) -> Vec<OpId> {
        let monitors = self.monitors.values().map(|recurring| &recurring.order);
        monitors.filter(|order| order.resource() == resource).map(Order::op).collect()
    }

    /// Whom they are of.
    pub(super) fn resources(&self) -> BTreeSet<ResourceName> {
        self.monitors.values().map(|recurring| recurring.order.resource().clone()).collect()
    }

    pub(super) fn all(&self) -> Vec<OpId> {
        self.monitors.keys().copied().collect()
    }

    pub(super) fn add(&mut self, now: Instant, order: Order) {
        let next = now + phase(order.resource(), interval(&order));
        let op = order.op();
        self.due.insert((next, op));
        let (next, last) = (Some(next), None);
        let recurring = Recurring { order, next, busy: false, owed: false, last, failed: 0 };
        self.monitors.insert(op, recurring);
    }

    pub(super) fn remove(&mut self, op: OpId) -> Option<Recurring> {
        let recurring = self.monitors.remove(&op)?;
        if let Some(next) = recurring.next {
            self.due.remove(&(next, op));
        }
        Some(recurring)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the next tick that is due, and sets the monitor's next time.
    pub(super) fn fire(&mut self, now: Instant) -> Option<Tick> {
        let (at, op) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, op));
        let recurring = self.monitors.get_mut(&op)?;
        let (next, missed) = following(at, interval(&recurring.order), now);
        let policy = match self.schedule {
            Schedule::AfterEnd => {
                (recurring.next, recurring.busy) = (None, true);
                return Some(Tick { op, order: Some(recurring.order.clone()), skipped: 0 });
            }
            Schedule::Fixed(policy) => policy,
        };
        recurring.next = Some(next);
        self.due.insert((next, op));
        if !std::mem::replace(&mut recurring.busy, true) {
            return Some(Tick { op, order: Some(recurring.order.clone()), skipped: missed });
        }
        let made_up = policy == Missed::CatchUp && !std::mem::replace(&mut recurring.owed, true);
        let skipped = missed + u64::from(!made_up);
        Some(Tick { op, order: None, skipped })
    }

    /// The run of a monitor has ended; returns what to run at once.
    pub(super) fn done(&mut self, now: Instant, op: OpId) -> Option<Order> {
        // One that was cancelled while it was at work has had its end.
        let recurring = self.monitors.get_mut(&op)?;
        recurring.busy = std::mem::take(&mut recurring.owed);
        if recurring.next.is_none() {
            let next = now + interval(&recurring.order);
            recurring.next = Some(next);
            self.due.insert((next, op));
        }
        recurring.busy.then(|| recurring.order.clone())
    }
}

fn interval(order: &Order) -> Duration {
    order.context.interval.unwrap_or_default().max(Duration::from_nanos(1))
}

/// Where in the interval a resource's monitors lie: by its name, so that all are spread and a
/// restart changes nothing. Never zero.
fn phase(resource: &ResourceName, interval: Duration) -> Duration {
    // FNV-1a.
    let hash = resource.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(hash % nanos + 1)
}

/// The first time after `now` on the schedule, and how many were missed before it.
fn following(at: Instant, interval: Duration, now: Instant) -> (Instant, u64) {
    let step = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
    let late = u64::try_from(now.since(at).as_nanos()).unwrap_or(u64::MAX);
    let missed = late / step;
    let ahead = missed.saturating_add(1).saturating_mul(step);
    (at + Duration::from_nanos(ahead), missed)
}
