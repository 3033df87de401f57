//! The executor as a machine: decides what runs when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ha_core::id::{OpId, ResourceName, Term};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::config::Limits;
use super::failures::Failures;
use super::lanes::Lanes;
use super::order::{Action, Answer, Order, Refused};
use crate::outcome::Severity;

/// The largest number of orders that wait or recur at once; more are refused.
pub const MAX_WAITING: usize = 4_096;
/// How many ended operations of each resource are remembered.
const MAX_HISTORY: usize = 16;

/// What can happen to the executor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Take back an order: what waits is cancelled, a recurring monitor not repeated; what is at
    /// work goes on to its end.
    Cancel(OpId),
    /// Forget the failures of a resource.
    Cleanup(ResourceName),
    /// An operation that was run has ended.
    Done(OpId, Answer),
    /// The agent knows that the resource has ended by itself.
    Died(ResourceName, String),
    /// Take nothing new but stops, and end.
    Shutdown,
    /// Do this.
    Submit(Order),
}

/// What the executor wants done and says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "outputs: drivers must take all of them")]
pub enum Output {
    /// A resource that should run has ended by itself.
    Died {
        /// The resource.
        resource: ResourceName,
        /// How.
        reason: String,
        /// How often it has failed.
        failures: u32,
    },
    /// An accepted order is at its end.
    Ended {
        /// The order's id.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// What was asked for.
        action: Action,
        /// How it ended.
        answer: Answer,
        /// How often the resource has failed.
        failures: u32,
    },
    /// A recurring monitor's answer, where it is the first, another than before, or a failure.
    Monitored {
        /// The order's id.
        op: OpId,
        /// The resource.
        resource: ResourceName,
        /// The answer.
        answer: Answer,
        /// How often the resource has failed.
        failures: u32,
    },
    /// An order was not accepted; nothing of it happens.
    Refused {
        /// The order's id.
        op: OpId,
        /// Why.
        why: Refused,
    },
    /// Run this, and tell its end with [`Input::Done`].
    Run(Order),
}

/// Plain counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Orders that joined one that was waiting.
    pub merged: u64,
    /// Orders that were refused.
    pub refused: u64,
    /// Operations that were run.
    pub runs: u64,
    /// Ticks of recurring monitors that were skipped as the one before was not through.
    pub skipped: u64,
}

/// An operation at work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlight {
    /// Its order.
    pub order: Order,
    /// Since when.
    pub since: Instant,
}

/// An operation of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Its id.
    pub op: OpId,
    /// What was asked for.
    pub action: Action,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// How.
    pub answer: Answer,
}

/// An order that waits, with those that joined it.
#[derive(Debug)]
struct Waiting {
    turn: u64,
    order: Order,
    joined: Vec<OpId>,
    recurring: bool,
}

#[derive(Debug, Default)]
struct Resource {
    queue: VecDeque<Waiting>,
    running: Option<(Waiting, Instant)>,
    history: VecDeque<History>,
}

#[derive(Debug)]
struct Recurring {
    order: Order,
    next: Instant,
    /// Whether its last tick is waiting or at work.
    busy: bool,
    last: Option<Answer>,
}

/// Decides which operations of which resources run when; see the [module](super).
///
/// ```
/// use ha_agents::executor::{Action, Executor, Input, Limits, Order, Output};
/// use ha_agents::OpContext;
/// use ha_core::id::OpId;
/// use ha_core::machine::Machine;
/// use ha_core::time::Instant;
///
/// let mut executor = Executor::new(Limits::default());
/// let context = OpContext::new("web".parse().unwrap(), OpId::FIRST);
/// let order = Order { term: None, action: Action::Start, context };
/// let mut out = Vec::new();
/// executor.handle(Instant::ZERO, Input::Submit(order.clone()), &mut out);
/// assert_eq!(out, [Output::Run(order)]);
/// ```
#[derive(Debug)]
pub struct Executor {
    now: Instant,
    term: Term,
    lanes: Lanes,
    resources: BTreeMap<ResourceName, Resource>,
    recurring: BTreeMap<OpId, Recurring>,
    due: BTreeSet<(Instant, OpId)>,
    /// The resource of each operation that waits or is at work, without recurring ones.
    known: BTreeMap<OpId, ResourceName>,
    waiting: usize,
    turns: u64,
    failures: Failures,
    shutting_down: bool,
    stats: Stats,
}

impl Executor {
    /// An idle executor.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            now: Instant::ZERO,
            term: Term::new(0),
            lanes: Lanes::new(limits),
            resources: BTreeMap::new(),
            recurring: BTreeMap::new(),
            due: BTreeSet::new(),
            known: BTreeMap::new(),
            waiting: 0,
            turns: 0,
            failures: Failures::new(limits.failure_expiry),
            shutting_down: false,
            stats: Stats::default(),
        }
    }

    /// What is at work now.
    pub fn in_flight(&self) -> impl Iterator<Item = InFlight> {
        self.resources.values().filter_map(|resource| {
            let (waiting, since) = resource.running.as_ref()?;
            Some(InFlight { order: waiting.order.clone(), since: *since })
        })
    }

    /// The last 16 ended operations of a resource, oldest first.
    pub fn history(&self, resource: &ResourceName) -> impl Iterator<Item = &History> {
        self.resources.get(resource).into_iter().flat_map(|resource| &resource.history)
    }

    /// How often `resource` has failed, as of `now`.
    #[must_use]
    pub fn failures(&self, now: Instant, resource: &ResourceName) -> u32 {
        self.failures.count(now, resource)
    }

    /// The newest term seen.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether nothing waits, recurs or is at work.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.known.is_empty() && self.recurring.is_empty() && self.in_flight().next().is_none()
    }

    fn submit(&mut self, order: Order, out: &mut Vec<Output>) {
        let op = order.op();
        if let Err(why) = self.accept(&order) {
            self.stats.refused += 1;
            out.push(Output::Refused { op, why });
            return;
        }
        if order.recurs() {
            return self.repeat(order);
        }
        let name = order.resource().clone();
        self.known.insert(op, name.clone());
        self.waiting += 1;
        if order.action == Action::Stop {
            self.make_way(&name, out);
        }
        let queue = self.resources.get_mut(&name).map(|resource| &mut resource.queue);
        let last = queue.and_then(|queue| queue.iter_mut().rfind(|waiting| !waiting.recurring));
        if let Some(waiting) = last.filter(|waiting| waiting.order.same(&order)) {
            self.stats.merged += 1;
            waiting.joined.push(op);
            return;
        }
        self.enqueue(order, false);
    }

    fn accept(&mut self, order: &Order) -> Result<(), Refused> {
        if let Some(term) = order.term {
            if term < self.term {
                return Err(Refused::Term { term: self.term });
            }
            self.term = term;
        }
        let op = order.op();
        if self.known.contains_key(&op) || self.recurring.contains_key(&op) {
            return Err(Refused::Known);
        }
        let stops = matches!(order.action, Action::Stop | Action::Demote);
        if self.shutting_down && !stops {
            return Err(Refused::ShuttingDown);
        }
        // A quarter is kept for stops.
        let most = if stops { MAX_WAITING } else { MAX_WAITING / 4 * 3 };
        if self.waiting + self.recurring.len() >= most {
            return Err(Refused::Full);
        }
        Ok(())
    }

    /// A stop of the resource comes: what waits is moot, except a demote, as some agents only
    /// stop what is demoted.
    fn make_way(&mut self, name: &ResourceName, out: &mut Vec<Output>) {
        let of_it = self.recurring.values().map(|recurring| &recurring.order);
        let of_it = of_it.filter(|order| order.resource() == name).map(Order::op);
        for op in of_it.collect::<Vec<_>>() {
            self.end_recurring(op, out);
        }
        let stays = |order: &Order| matches!(order.action, Action::Stop | Action::Demote);
        self.cancel_waiting(name, stays, out);
    }

    /// Cancels what waits for `name`, except what `stays`.
    fn cancel_waiting(
        &mut self,
        name: &ResourceName,
        stays: impl Fn(&Order) -> bool,
        out: &mut Vec<Output>,
    ) {
        self.leave(name);
        let Some(resource) = self.resources.get_mut(name) else { return };
        let all = std::mem::take(&mut resource.queue);
        let (kept, cancelled): (VecDeque<_>, VecDeque<_>) =
            all.into_iter().partition(|waiting| stays(&waiting.order));
        resource.queue = kept;
        for waiting in cancelled {
            self.end(&waiting, &Answer::Cancelled, out);
        }
        self.ready(name);
    }

    fn enqueue(&mut self, order: Order, recurring: bool) {
        let name = order.resource().clone();
        self.leave(&name);
        self.turns += 1;
        let waiting = Waiting { turn: self.turns, order, joined: Vec::new(), recurring };
        let resource = self.resources.entry(name.clone()).or_default();
        // Recurring monitors let every other order go first.
        let at = resource.queue.iter().position(|waiting| waiting.recurring);
        match at.filter(|_| !recurring) {
            Some(at) => resource.queue.insert(at, waiting),
            None => resource.queue.push_back(waiting),
        }
        self.ready(&name);
    }

    /// Takes an idle resource off the lanes, before its queue changes.
    fn leave(&mut self, name: &ResourceName) {
        let resource = self.resources.get(name);
        if let Some(first) = resource.and_then(|resource| resource.queue.front()) {
            self.lanes.leave(first.order.action.lane(), first.turn, name);
        }
    }

    /// Puts an idle resource on the lane of its next operation.
    fn ready(&mut self, name: &ResourceName) {
        let resource = self.resources.get(name).filter(|resource| resource.running.is_none());
        if let Some(first) = resource.and_then(|resource| resource.queue.front()) {
            self.lanes.wait(first.order.action.lane(), first.turn, name);
        }
    }

    fn repeat(&mut self, order: Order) {
        let interval = order.context.interval.unwrap_or_default();
        let next = self.now + phase(order.resource(), interval);
        let op = order.op();
        self.due.insert((next, op));
        self.recurring.insert(op, Recurring { order, next, busy: false, last: None });
    }

    /// Lets the monitors run whose time has come, and sets their next time on the same schedule.
    fn fire(&mut self) {
        while let Some(&(at, op)) = self.due.first().filter(|(at, _)| *at <= self.now) {
            self.due.remove(&(at, op));
            let Some(recurring) = self.recurring.get_mut(&op) else { continue };
            let interval = recurring.order.context.interval.unwrap_or_default();
            let (next, missed) = following(at, interval, self.now);
            recurring.next = next;
            self.due.insert((next, op));
            self.stats.skipped += missed;
            if std::mem::replace(&mut recurring.busy, true) {
                self.stats.skipped += 1;
                continue;
            }
            let order = recurring.order.clone();
            self.enqueue(order, true);
        }
    }

    fn end_recurring(&mut self, op: OpId, out: &mut Vec<Output>) {
        let Some(recurring) = self.recurring.remove(&op) else { return };
        self.due.remove(&(recurring.next, op));
        let (resource, action) = (recurring.order.resource().clone(), recurring.order.action);
        let failures = self.failures.count(self.now, &resource);
        self.leave(&resource);
        if let Some(known) = self.resources.get_mut(&resource) {
            known.queue.retain(|waiting| !(waiting.recurring && waiting.order.op() == op));
        }
        self.ready(&resource);
        out.push(Output::Ended { op, resource, action, answer: Answer::Cancelled, failures });
    }

    /// Runs what may run.
    fn pump(&mut self, out: &mut Vec<Output>) {
        while let Some(name) = self.lanes.next() {
            let Some(resource) = self.resources.get_mut(&name) else { continue };
            let Some(waiting) = resource.queue.pop_front() else { continue };
            out.push(Output::Run(waiting.order.clone()));
            self.stats.runs += 1;
            resource.running = Some((waiting, self.now));
        }
    }

    fn done(&mut self, op: OpId, answer: &Answer, out: &mut Vec<Output>) {
        let is_it = |resource: &&mut Resource| {
            resource.running.as_ref().is_some_and(|(waiting, _)| waiting.order.op() == op)
        };
        let Some(resource) = self.resources.values_mut().find(is_it) else { return };
        let Some((waiting, began)) = resource.running.take() else { return };
        let (action, ended) = (waiting.order.action, self.now);
        if resource.history.len() >= MAX_HISTORY {
            resource.history.pop_front();
        }
        resource.history.push_back(History { op, action, began, ended, answer: answer.clone() });
        let name = waiting.order.resource().clone();
        if answer.severity(action.operation()) != Severity::None {
            self.failures.record(self.now, &name);
        }
        self.lanes.give_back(action.lane());
        if waiting.recurring {
            self.monitored(op, answer, out);
        } else {
            self.end(&waiting, answer, out);
        }
        self.ready(&name);
    }

    fn monitored(&mut self, op: OpId, answer: &Answer, out: &mut Vec<Output>) {
        // One that was cancelled while it was at work has had its end.
        let Some(recurring) = self.recurring.get_mut(&op) else { return };
        recurring.busy = false;
        let failed = answer.severity(recurring.order.action.operation()) != Severity::None;
        let last = recurring.last.replace(answer.clone());
        if failed || last.is_none_or(|last| last.outcome() != answer.outcome()) {
            let resource = recurring.order.resource().clone();
            let failures = self.failures.count(self.now, &resource);
            out.push(Output::Monitored { op, resource, answer: answer.clone(), failures });
        }
    }

    /// Tells the end of an order and of those that joined it.
    fn end(&mut self, waiting: &Waiting, answer: &Answer, out: &mut Vec<Output>) {
        let action = waiting.order.action;
        let failures = self.failures.count(self.now, waiting.order.resource());
        for op in [waiting.order.op()].into_iter().chain(waiting.joined.iter().copied()) {
            self.known.remove(&op);
            self.waiting -= 1;
            let resource = waiting.order.resource().clone();
            out.push(Output::Ended { op, resource, action, answer: answer.clone(), failures });
        }
    }

    fn cancel(&mut self, op: OpId, out: &mut Vec<Output>) {
        self.end_recurring(op, out);
        let Some(name) = self.known.get(&op).cloned() else { return };
        let Some(resource) = self.resources.get_mut(&name) else { return };
        let joined = resource.queue.iter_mut().find(|waiting| waiting.joined.contains(&op));
        if let Some(waiting) = joined {
            waiting.joined.retain(|joined| *joined != op);
            let (order, joined) = (waiting.order.clone(), Vec::new());
            let order = Order { context: crate::OpContext { op, ..order.context }, ..order };
            self.end(
                &Waiting { turn: 0, order, joined, recurring: false },
                &Answer::Cancelled,
                out,
            );
            return;
        }
        // One that others have joined goes on for them, under the name of the first of them.
        let own = resource.queue.iter().position(|waiting| waiting.order.op() == op);
        let heir = own.and_then(|own| resource.queue.get_mut(own));
        if let Some(waiting) = heir.filter(|waiting| !waiting.joined.is_empty()) {
            let (order, first) = (waiting.order.clone(), waiting.joined.remove(0));
            waiting.order.context.op = first;
            let joined = Vec::new();
            self.end(
                &Waiting { turn: 0, order, joined, recurring: false },
                &Answer::Cancelled,
                out,
            );
        } else if own.is_some() {
            self.cancel_waiting(&name, |order| order.op() != op, out);
        }
    }

    fn died(&mut self, resource: ResourceName, reason: String, out: &mut Vec<Output>) {
        let at_stop = self.resources.get(&resource).is_some_and(|known| {
            let running = known.running.as_ref().map(|(waiting, _)| &waiting.order);
            let waiting = known.queue.iter().map(|waiting| &waiting.order);
            running.into_iter().chain(waiting).any(|order| order.action == Action::Stop)
        });
        if !at_stop {
            let failures = self.failures.record(self.now, &resource);
            out.push(Output::Died { resource, reason, failures });
        }
    }

    fn shut_down(&mut self, out: &mut Vec<Output>) {
        self.shutting_down = true;
        for op in self.recurring.keys().copied().collect::<Vec<_>>() {
            self.end_recurring(op, out);
        }
        let stays = |order: &Order| matches!(order.action, Action::Stop | Action::Demote);
        for name in self.resources.keys().cloned().collect::<Vec<_>>() {
            self.cancel_waiting(&name, stays, out);
        }
    }
}

impl Machine for Executor {
    type Input = Input;
    type Output = Output;
    /// All that wait or recur may be cancelled, and all budgets be used, at once.
    const MAX_OUTPUTS: usize = 2 * MAX_WAITING + 3 * Limits::MAX;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match input {
            Input::Cancel(op) => self.cancel(op, out),
            Input::Cleanup(resource) => self.failures.clear(&resource),
            Input::Done(op, answer) => self.done(op, &answer, out),
            Input::Died(resource, reason) => self.died(resource, reason, out),
            Input::Shutdown => self.shut_down(out),
            Input::Submit(order) => self.submit(order, out),
        }
        self.pump(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.fire();
        self.pump(out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
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
