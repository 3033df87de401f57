//! The executor as a machine: decides what runs when.

use std::collections::{BTreeMap, VecDeque};

use ha_core::id::{OpId, ResourceName, Term};
use ha_core::machine::Machine;
use ha_core::role::Role;
use ha_core::time::Instant;

use super::config::Limits;
use super::effects::{History, InFlight, Input, Output, Stats};
use super::event::Event;
use super::failures::Failures;
use super::lanes::Lanes;
use super::memory::{Resource, Waiting, surplus};
use super::order::{Action, Answer, Order, Refused};
use super::recovery::{Failure, Past, Recovery};
use super::schedule::Recurrences;
use super::throttle::Load;
use crate::agent::Check;
use crate::outcome::Severity;

/// The largest number of orders that wait or recur at once; more are refused.
pub const MAX_WAITING: usize = 4_096;

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
/// assert!(out.contains(&Output::Run(order)));
/// ```
#[derive(Debug)]
pub struct Executor {
    limits: Limits,
    now: Instant,
    term: Term,
    lanes: Lanes,
    resources: BTreeMap<ResourceName, Resource>,
    recurring: Recurrences,
    /// The resource of each operation at work.
    at_work: BTreeMap<OpId, ResourceName>,
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
            limits,
            now: Instant::ZERO,
            term: Term::new(0),
            lanes: Lanes::new(limits),
            resources: BTreeMap::new(),
            recurring: Recurrences::new(limits.schedule),
            at_work: BTreeMap::new(),
            known: BTreeMap::new(),
            waiting: 0,
            turns: 0,
            failures: Failures::counting(limits.counting),
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

    /// What is known of a resource's past.
    #[must_use]
    pub fn past(&self, resource: &ResourceName) -> Past {
        self.resources.get(resource).map(|resource| resource.past).unwrap_or_default()
    }

    /// How many resources are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.resources.len()
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
        self.known.is_empty() && self.recurring.len() == 0 && self.at_work.is_empty()
    }

    fn submit(&mut self, order: Order, out: &mut Vec<Output>) {
        let op = order.op();
        if let Err(why) = self.accept(&order) {
            self.stats.refused += 1;
            out.push(Output::Refused { op, why });
            return;
        }
        self.remember(order.resource(), out);
        if order.recurs() {
            return self.recurring.add(self.now, order);
        }
        let name = order.resource().clone();
        self.known.insert(op, name.clone());
        self.waiting += 1;
        match order.action {
            Action::Stop => self.make_way(&name, out),
            Action::Promote => self.end_monitors(&name, |role| role != Role::Promoted, out),
            Action::Demote => self.end_monitors(&name, |role| role == Role::Promoted, out),
            Action::MigrateFrom
            | Action::MigrateTo
            | Action::Monitor(_)
            | Action::Notify
            | Action::Reload
            | Action::Start
            | Action::Validate => {}
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
        let known = self.known.contains_key(&op) || self.at_work.contains_key(&op);
        if known || self.recurring.contains(op) {
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
        for op in self.recurring.of(name) {
            self.end_recurring(op, out);
        }
        let stays = |order: &Order| matches!(order.action, Action::Stop | Action::Demote);
        self.cancel_waiting(name, stays, out);
    }

    /// Ends the recurring monitors that expect such a role.
    fn end_monitors(
        &mut self,
        name: &ResourceName,
        expects: impl Fn(Role) -> bool,
        out: &mut Vec<Output>,
    ) {
        for op in self.recurring.of(name) {
            let order = self.recurring.get_mut(op).map(|recurring| recurring.order.action);
            if let Some(Action::Monitor(Check { role: Some(role), .. })) = order
                && expects(role)
            {
                self.end_recurring(op, out);
            }
        }
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
        let (turn, since, joined) = (self.turns, self.now, Vec::new());
        let waiting = Waiting { turn, since, order, joined, recurring };
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
            self.lanes.leave(first.order.lane(), first.turn, name);
        }
    }

    /// Puts an idle resource on the lane of its next operation.
    fn ready(&mut self, name: &ResourceName) {
        let resource = self.resources.get(name).filter(|resource| resource.running.is_none());
        if let Some(first) = resource.and_then(|resource| resource.queue.front()) {
            self.lanes.wait(first.order.lane(), first.turn, name);
        }
    }

    /// Makes room for a resource, should it be a new one.
    fn remember(&mut self, name: &ResourceName, out: &mut Vec<Output>) {
        if let Some(known) = self.resources.get_mut(name) {
            known.moot = false;
            return;
        }
        if let Some(surplus) = surplus(&self.resources, || self.recurring.resources()) {
            self.forget_now(surplus, out);
        }
        self.resources.insert(name.clone(), Resource::default());
    }

    fn forget(&mut self, name: &ResourceName, out: &mut Vec<Output>) {
        for op in self.recurring.of(name) {
            self.end_recurring(op, out);
        }
        self.failures.clear(name);
        let Some(resource) = self.resources.get_mut(name) else { return };
        resource.moot = true;
        if resource.is_idle() {
            self.forget_now(name.clone(), out);
        }
    }

    fn forget_now(&mut self, resource: ResourceName, out: &mut Vec<Output>) {
        self.resources.remove(&resource);
        self.failures.clear(&resource);
        self.stats.forgotten += 1;
        out.push(Output::Event(Event::Forgotten { resource }));
    }

    /// Lets the monitors run whose time has come, and sets their next time.
    fn fire(&mut self, out: &mut Vec<Output>) {
        while let Some(tick) = self.recurring.fire(self.now) {
            if tick.skipped > 0 {
                self.stats.skipped += tick.skipped;
                let resource = self.recurring.get_mut(tick.op).map(|it| it.order.resource());
                if let Some(resource) = resource.cloned() {
                    let (op, ticks) = (tick.op, tick.skipped);
                    out.push(Output::Event(Event::Skipped { op, resource, ticks }));
                }
            }
            if let Some(order) = tick.order {
                self.enqueue(order, true);
            }
        }
    }

    fn end_recurring(&mut self, op: OpId, out: &mut Vec<Output>) {
        let Some(recurring) = self.recurring.remove(op) else { return };
        let (resource, action) = (recurring.order.resource().clone(), recurring.order.action);
        let failures = self.failures.count(self.now, &resource);
        self.leave(&resource);
        if let Some(known) = self.resources.get_mut(&resource) {
            known.queue.retain(|waiting| !(waiting.recurring && waiting.order.op() == op));
        }
        self.ready(&resource);
        out.push(Output::Ended { op, resource, action, answer: Answer::Cancelled, failures });
    }

    fn press(&mut self, load: Load, out: &mut Vec<Output>) {
        let Some(threshold) = self.limits.load_threshold else { return };
        let pressure = load.pressure(threshold);
        if self.lanes.press(pressure) {
            out.push(Output::Event(Event::Pressure { pressure }));
        }
    }

    /// Runs what may run.
    fn pump(&mut self, out: &mut Vec<Output>) {
        while let Some(name) = self.lanes.next() {
            let Some(resource) = self.resources.get_mut(&name) else { continue };
            let Some(waiting) = resource.queue.pop_front() else { continue };
            let (op, action) = (waiting.order.op(), waiting.order.action);
            let waited = self.now.since(waiting.since);
            out.push(Output::Run(waiting.order.clone()));
            out.push(Output::Event(Event::Began { op, resource: name.clone(), action, waited }));
            self.stats.runs += 1;
            resource.begins(action);
            resource.running = Some((waiting, self.now));
            self.at_work.insert(op, name);
        }
    }

    fn done(&mut self, op: OpId, answer: &Answer, out: &mut Vec<Output>) {
        let Some(name) = self.at_work.remove(&op) else { return };
        let Some(resource) = self.resources.get_mut(&name) else { return };
        let Some((waiting, began)) = resource.running.take() else { return };
        let (action, ended) = (waiting.order.action, self.now);
        let (took, outcome) = (ended.since(began), answer.outcome());
        let finished = Event::Finished { op, resource: name.clone(), action, outcome, took };
        out.push(Output::Event(finished));
        let tolerated = waiting.recurring && self.tolerates(op, answer, out);
        let recovery = self.judge(&waiting.order, answer).filter(|_| !tolerated);
        if let Some(resource) = self.resources.get_mut(&name) {
            resource.ended(action, answer);
            let (answer, recovery) = (answer.clone(), recovery.clone());
            resource.note(History { op, action, began, ended, answer, recovery });
        }
        if let Some(recovery) = recovery {
            self.stats.failed += 1;
            let (resource, failures) = (name.clone(), self.failures.record(self.now, &name));
            out.push(Output::Event(Event::Failed { op, resource, action, recovery, failures }));
        }
        self.lanes.give_back(waiting.order.lane());
        if waiting.recurring {
            self.monitored(op, answer, tolerated, out);
        } else {
            self.end(&waiting, answer, out);
        }
        self.ready(&name);
        if self.resources.get(&name).is_some_and(|it| it.moot && it.is_idle()) {
            self.forget_now(name, out);
        }
    }

    /// What a failure asks for.
    fn judge(&self, order: &Order, answer: &Answer) -> Option<Recovery> {
        let policy = order.context.meta.get("on-fail").map(|text| text.parse());
        let on_fail = policy.and_then(Result::ok);
        let (action, past) = (order.action, self.past(order.resource()));
        Failure { action, answer, past, on_fail }.recovery()
    }

    /// Whether the failure of a recurring monitor is one too few to count.
    fn tolerates(&mut self, op: OpId, answer: &Answer, out: &mut Vec<Output>) -> bool {
        let Some(recurring) = self.recurring.get_mut(op) else { return false };
        let action = recurring.order.action;
        if answer.severity(action.operation()) == Severity::None {
            recurring.failed = 0;
            return false;
        }
        let of = match answer {
            Answer::NoAnswer { .. } => self.limits.silent_monitors,
            Answer::Cancelled | Answer::Report(_) => self.limits.failed_monitors,
        };
        recurring.failed = recurring.failed.saturating_add(1);
        let in_row = recurring.failed;
        if in_row >= of {
            return false;
        }
        self.stats.tolerated += 1;
        let resource = recurring.order.resource().clone();
        out.push(Output::Event(Event::Tolerated { op, resource, in_row, of }));
        true
    }

    fn monitored(&mut self, op: OpId, answer: &Answer, tolerated: bool, out: &mut Vec<Output>) {
        if let Some(order) = self.recurring.done(self.now, op) {
            self.enqueue(order, true);
        }
        // One that was cancelled while it was at work has had its end.
        let Some(recurring) = self.recurring.get_mut(op).filter(|_| !tolerated) else { return };
        let failed = answer.severity(recurring.order.action.operation()) != Severity::None;
        let last = recurring.last.replace(answer.clone());
        let told = |answer: &Answer| (answer.outcome(), answer.promotion());
        if failed || last.is_none_or(|last| told(&last) != told(answer)) {
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
            let order = waiting.order.clone();
            let order = Order { context: crate::OpContext { op, ..order.context }, ..order };
            self.end(&alone(order), &Answer::Cancelled, out);
            return;
        }
        // One that others have joined goes on for them, under the name of the first of them.
        let own = resource.queue.iter().position(|waiting| waiting.order.op() == op);
        let heir = own.and_then(|own| resource.queue.get_mut(own));
        if let Some(waiting) = heir.filter(|waiting| !waiting.joined.is_empty()) {
            let (order, first) = (waiting.order.clone(), waiting.joined.remove(0));
            waiting.order.context.op = first;
            self.end(&alone(order), &Answer::Cancelled, out);
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
            self.stats.failed += 1;
            let failures = self.failures.record(self.now, &resource);
            out.push(Output::Died { resource, reason, failures });
        }
    }

    fn shut_down(&mut self, out: &mut Vec<Output>) {
        self.shutting_down = true;
        for op in self.recurring.all() {
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
    /// All monitors may miss their time, all that wait or recur be cancelled, and all budgets be
    /// used, at once.
    const MAX_OUTPUTS: usize = 4 * MAX_WAITING + 8 * Limits::MAX;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match input {
            Input::Cancel(op) => self.cancel(op, out),
            Input::Cleanup(resource) => self.failures.clear(&resource),
            Input::Done(op, answer) => self.done(op, &answer, out),
            Input::Died(resource, reason) => self.died(resource, reason, out),
            Input::Forget(resource) => self.forget(&resource, out),
            Input::Load(load) => self.press(load, out),
            Input::Shutdown => self.shut_down(out),
            Input::Submit(order) => self.submit(order, out),
        }
        self.pump(out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        self.fire(out);
        self.pump(out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.recurring.deadline()
    }
}

/// An order whose end is told for itself.
const fn alone(order: Order) -> Waiting {
    Waiting { turn: 0, since: Instant::ZERO, order, joined: Vec::new(), recurring: false }
}
