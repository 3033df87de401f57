//! What a monitor does: it acts for the schedules of all endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use ha_core::id::OpId;
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::sync::Notify;

use super::Monitor;
use super::slot::{Kind, Slot};
use crate::endpoint::Endpoint;
use crate::health::agent::AgentReport;
use crate::health::schedule::{Input, Output};
use crate::health::{Failed, Passed};
use crate::pool::SlowStarts;
use crate::snapshot::Snapshot;
use crate::state::faults::{Sentinel, Tripwire};
use crate::state::{Admin, EndpointState, Listener};

/// Where a probe is found: the address of its endpoint's state, which the slot keeps alive.
type Key = (usize, Kind);

/// What a probe has brought.
pub(super) enum Answer {
    Agent(Result<AgentReport, Failed>),
    Check(Result<Passed, Failed>),
}

/// A probe that ended by itself.
type Ended = Option<(Key, OpId, Answer)>;

pub(super) struct Driver {
    monitor: Monitor,
    clock: BootClock,
    slots: BTreeMap<usize, Slot>,
    /// When which schedule is to be ticked.
    due: BTreeSet<(Instant, Key)>,
    /// Those whose time has come and that wait until fewer are running.
    held: BTreeSet<(Instant, Key)>,
    slow_starts: SlowStarts,
    pub(super) running: FuturesUnordered<BoxFuture<'static, Ended>>,
    seen: Option<Arc<Snapshot>>,
    errors: Arc<Notify>,
    out: Vec<Output>,
}

impl Driver {
    pub(super) fn new(monitor: Monitor) -> Self {
        Self {
            monitor,
            clock: BootClock::new(),
            slots: BTreeMap::new(),
            due: BTreeSet::new(),
            held: BTreeSet::new(),
            slow_starts: SlowStarts::default(),
            running: FuturesUnordered::new(),
            seen: None,
            errors: Arc::default(),
            out: Vec::new(),
        }
    }

    /// Notified when an endpoint's errors have reached the limit.
    pub(super) fn errors(&self) -> Arc<Notify> {
        Arc::clone(&self.errors)
    }

    /// Watches endpoints that joined, forgets those that left, pauses those in maintenance.
    pub(super) fn follow_pool(&mut self) {
        let now = self.clock.now();
        self.slow_starts.follow(&self.monitor.marks.pool, now);
        let snapshot = self.monitor.marks.pool.snapshot();
        if !self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &snapshot)) {
            self.follow_list(&snapshot, now);
            self.seen = Some(snapshot);
        }
        let wishes = |slot: &Slot| (slot.state.admin(), slot.state.agent_admin());
        let wishes = self.slots.iter().map(|(key, slot)| (*key, wishes(slot)));
        for (key, (operator, agent)) in wishes.collect::<Vec<_>>() {
            let stopped = operator == Admin::Maintenance;
            self.pause((key, Kind::Agent), now, stopped);
            self.pause((key, Kind::Check), now, stopped || agent == Admin::Maintenance);
        }
    }

    fn follow_list(&mut self, snapshot: &Snapshot, now: Instant) {
        let key = |state: &Arc<EndpointState>| Arc::as_ptr(state).addr();
        let present: BTreeSet<usize> = snapshot.iter().map(|(_, state)| key(state)).collect();
        let gone = self.slots.keys().filter(|key| !present.contains(key));
        for key in gone.copied().collect::<Vec<_>>() {
            self.forget(key);
        }
        let of = present.len() - self.slots.len();
        let mut nth = 0;
        for (endpoint, state) in snapshot.iter() {
            if let Some(slot) = self.slots.get_mut(&key(state)) {
                if slot.endpoint != *endpoint {
                    slot.target = endpoint.clone().into();
                    slot.endpoint = endpoint.clone();
                }
            } else {
                self.join(endpoint, state, now, (nth, of));
                nth += 1;
            }
        }
    }

    fn join(
        &mut self,
        endpoint: &Endpoint,
        state: &Arc<EndpointState>,
        now: Instant,
        place: (usize, usize),
    ) {
        let mut slot = Slot::new(&self.monitor, (endpoint, state), now, place);
        let key = Arc::as_ptr(state).addr();
        for kind in [Kind::Agent, Kind::Check] {
            let due = slot.probe(kind).and_then(|probe| probe.schedule.deadline());
            self.due.extend(due.map(|due| (due, (key, kind))));
        }
        if let Some(limit) = self.monitor.error_limit {
            let errors = Arc::clone(&self.errors);
            let wake = Arc::new(move || errors.notify_one());
            let tripwire = Arc::new(Tripwire::new(limit.thresholds(), wake));
            let sentinel: Box<dyn Sentinel> = Box::new(Arc::clone(&tripwire));
            state.listen(Listener::Monitor, Some(Arc::new(sentinel)));
            slot.tripwire = Some(tripwire);
        }
        let begins = slot.check.as_ref().map(|check| check.schedule.health());
        if let (Some(health), Some((_, pace))) = (begins, &self.monitor.check)
            && health != state.health()
        {
            let reason = pace.init_state().reason();
            self.monitor.marks.set_health(now, (endpoint, state), health, &reason);
        }
        self.slots.insert(key, slot);
    }

    fn forget(&mut self, key: usize) {
        if let Some(mut slot) = self.slots.remove(&key) {
            for kind in [Kind::Agent, Kind::Check] {
                let due = slot.probe(kind).and_then(|probe| probe.schedule.deadline());
                if let Some(due) = due {
                    self.due.remove(&(due, (key, kind)));
                    self.held.remove(&(due, (key, kind)));
                }
            }
            retire(&slot);
        }
    }

    fn pause(&mut self, key: Key, now: Instant, pause: bool) {
        let probe = self.slots.get_mut(&key.0).and_then(|slot| slot.probe(key.1));
        if let Some(probe) = probe.filter(|probe| probe.paused != pause) {
            probe.paused = pause;
            self.step(key, now, Some(if pause { Input::Pause } else { Input::Resume }));
        }
    }

    /// When something is to be done next, unless news come before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        self.slow_starts.deadline().into_iter().chain(due).min()
    }

    fn is_busy(&self) -> bool {
        self.running.len() >= self.monitor.max_running.get()
    }

    /// Ticks every schedule that is due; those that would start something wait while enough runs.
    pub(super) fn ring(&mut self) {
        let now = self.clock.now();
        self.slow_starts.ring(&self.monitor.marks.pool, now);
        while let Some((due, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let probe = self.slots.get_mut(&key.0).and_then(|slot| slot.probe(key.1));
            let starts = probe.is_some_and(|probe| probe.schedule.is_waiting());
            if starts && self.is_busy() {
                self.due.remove(&(due, key));
                self.held.insert((due, key));
            } else {
                self.step(key, now, None);
            }
        }
    }

    /// Takes over what a probe has brought; there is room for others then.
    pub(super) fn ended(&mut self, ended: Ended) {
        let now = self.clock.now();
        if let Some((key, op, answer)) = ended {
            let result = match answer {
                Answer::Check(result) => result,
                Answer::Agent(report) => {
                    self.heard(key.0, op, now, report);
                    Ok(Passed::because("asked"))
                }
            };
            self.step(key, now, Some(Input::Done(op, result)));
        }
        while !self.is_busy()
            && let Some((_, key)) = self.held.pop_first()
        {
            self.step(key, now, None);
        }
    }

    /// Takes in what an agent has said.
    fn heard(&mut self, key: usize, op: OpId, now: Instant, report: Result<AgentReport, Failed>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let backend = slot.state.name();
        match report {
            Ok(report) => {
                if let Some(word) = report.passed_over() {
                    tracing::debug!(%backend, word, "an agent's word is unknown");
                }
                if slot.said.apply(&report) {
                    let endpoint = (&slot.endpoint, &slot.state);
                    self.monitor.marks.set_agent(now, endpoint, &slot.said);
                }
            }
            Err(reason) => tracing::debug!(%backend, %op, %reason, "an agent says nothing"),
        }
    }

    /// Tells the schedules of endpoints whose errors have reached the limit.
    pub(super) fn observe_errors(&mut self) {
        let Some(limit) = self.monitor.error_limit else { return };
        let now = self.clock.now();
        let mut reached = Vec::new();
        for (key, slot) in &self.slots {
            let tripped = slot.tripwire.as_ref().map(|wire| wire.take()).unwrap_or_default();
            if tripped.is_any() {
                reached.push(*key);
            }
        }
        for key in reached {
            let reason = format!("{} errors in a row", limit.errors());
            let input = Input::Observed(limit.on_error(), Failed::because(reason));
            self.step((key, Kind::Check), now, Some(input));
        }
    }

    fn step(&mut self, key: Key, now: Instant, input: Option<Input>) {
        let Some(slot) = self.slots.get_mut(&key.0) else { return };
        let Some(probe) = slot.probe(key.1) else { return };
        let mut out = std::mem::take(&mut self.out);
        let before = probe.schedule.deadline();
        match input {
            Some(input) => probe.schedule.handle(now, input, &mut out),
            None => probe.schedule.tick(now, &mut out),
        }
        let after = probe.schedule.deadline();
        if let Some(due) = before {
            self.due.remove(&(due, key));
            self.held.remove(&(due, key));
        }
        self.due.extend(after.map(|due| (due, key)));
        for output in out.drain(..) {
            self.act(key, now, output);
        }
        self.out = out;
    }

    fn act(&mut self, key: Key, now: Instant, output: Output) {
        let Some(slot) = self.slots.get_mut(&key.0) else { return };
        match output {
            Output::Cancel(op) => {
                let probe = slot.probe(key.1);
                let running = probe.and_then(|probe| probe.running.take());
                tracing::trace!(?key, %op, "given up");
                running.iter().for_each(AbortHandle::abort);
            }
            Output::Check(op) => {
                let (abort, registration) = AbortHandle::new_pair();
                let Some(asking) = asking(&self.monitor, slot, key, op) else { return };
                if let Some(probe) = slot.probe(key.1) {
                    probe.running = Some(abort);
                }
                self.running.push(Abortable::new(asking, registration).map(Result::ok).boxed());
            }
            // An agent that does not answer says nothing of the endpoint.
            Output::Changed { .. } if key.1 == Kind::Agent => {}
            Output::Changed { to, reason, .. } => {
                let endpoint = (&slot.endpoint, &slot.state);
                self.monitor.marks.set_health(now, endpoint, to, &reason);
            }
        }
    }
}

/// The question, as a future.
fn asking(
    monitor: &Monitor,
    slot: &Slot,
    key: Key,
    op: OpId,
) -> Option<BoxFuture<'static, (Key, OpId, Answer)>> {
    let target = slot.target.clone();
    match key.1 {
        Kind::Agent => {
            let agent = monitor.agent.clone()?;
            Some(async move { (key, op, Answer::Agent(agent.ask(&target).await)) }.boxed())
        }
        Kind::Check => {
            let (check, _) = monitor.check.as_ref()?;
            let check = Arc::clone(check);
            Some(async move { (key, op, Answer::Check(check.check(&target).await)) }.boxed())
        }
    }
}

/// Lets an endpoint go.
fn retire(slot: &Slot) {
    slot.abort();
    if slot.tripwire.is_some() {
        slot.state.listen(Listener::Monitor, None);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.slots.values().for_each(retire);
    }
}
