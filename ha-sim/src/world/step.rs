//! One event after another.

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::{Arrival, Pending, World};
use crate::invariant::Violation;
use crate::node::{Context, Node, NodeIndex, Request};
use crate::trace::{Entry, Lost};

impl<N: Node> World<N> {
    /// Runs the next event if it is not after `end`; says whether there was one.
    pub(super) fn step(&mut self, end: Instant) -> Result<bool, Violation> {
        if let Some(violation) = &self.violation {
            return Err(violation.clone());
        }
        let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
            return Ok(false);
        };
        let ((at, _), pending) = entry.remove_entry();
        self.now = self.now.max(at);
        self.stats.events += 1;
        match pending {
            Pending::Input { to, life, input } if self.lives(to, life) => {
                self.note(Entry::Input { to });
                self.arrive(to, Arrival::Input(input));
            }
            Pending::Input { .. } => {}
            Pending::Message { from, to, life, message } => {
                self.deliver((from, to), life, message);
            }
            Pending::Tick { node } => {
                if let Some(slot) = self.slots.get_mut(node.get()) {
                    slot.tick = None;
                }
                self.note(Entry::Tick { node });
                self.arrive(node, Arrival::Tick);
            }
        }
        self.check();
        self.violation.clone().map_or(Ok(true), Err)
    }

    /// Makes the machine of a node that is down.
    pub(super) fn start(&mut self, node: NodeIndex) {
        let Some(slot) = self.slots.get_mut(node.get()) else {
            return;
        };
        let mut context = Context {
            node,
            now: slot.clock.local(self.now),
            rng: &mut slot.rng,
            requests: &mut self.requests,
        };
        slot.machine = Some(slot.node.start(&mut context));
        self.carry_out(node);
        self.schedule(node);
    }

    /// Gives a machine what arrived, or keeps it while the node is paused.
    pub(super) fn arrive(&mut self, node: NodeIndex, arrival: Arrival<N>) {
        let Some(slot) = self.slots.get_mut(node.get()) else {
            return;
        };
        let Some(machine) = &mut slot.machine else {
            return;
        };
        if slot.paused {
            slot.buffered += usize::from(matches!(arrival, Arrival::Message(..)));
            slot.backlog.push_back(arrival);
            return;
        }
        let now = slot.clock.local(self.now);
        match arrival {
            Arrival::Input(input) => machine.handle(now, input, &mut self.outputs),
            Arrival::Message(from, message) => {
                self.stats.delivered += 1;
                self.trace
                    .add(self.now, Entry::Delivered { from, to: node, message: message.clone() });
                match slot.node.receive(from, message) {
                    Some(input) => machine.handle(now, input, &mut self.outputs),
                    // Time has passed for the machine all the same.
                    None => machine.tick(now, &mut self.outputs),
                }
            }
            Arrival::Tick => machine.tick(now, &mut self.outputs),
        }
        let count = self.outputs.len();
        for output in self.outputs.drain(..) {
            let rng = &mut slot.rng;
            let mut context = Context { node, now, rng, requests: &mut self.requests };
            slot.node.perform(output, &mut context);
        }
        let deadline = machine.deadline();
        self.keep_laws(node, now, count, deadline);
        self.carry_out(node);
        self.schedule(node);
    }

    /// Queues the event of a machine's deadline, in place of the one that is queued.
    pub(super) fn schedule(&mut self, node: NodeIndex) {
        let Some(slot) = self.slots.get_mut(node.get()) else {
            return;
        };
        let machine = slot.machine.as_ref().filter(|_| !slot.paused);
        let deadline = machine.and_then(Machine::deadline);
        if slot.tick.map(|(deadline, _)| deadline) == deadline {
            return;
        }
        if let Some((_, key)) = slot.tick.take() {
            self.queue.remove(&key);
        }
        if let Some(deadline) = deadline {
            let late = self.jitter_rng.between(Duration::ZERO, self.jitter);
            let at = slot.clock.world(deadline).max(self.now) + late;
            self.sequence += 1;
            let key = (at, self.sequence);
            slot.tick = Some((deadline, key));
            self.queue.insert(key, Pending::Tick { node });
        }
    }

    fn lives(&self, node: NodeIndex, life: u64) -> bool {
        self.slots.get(node.get()).is_some_and(|slot| slot.machine.is_some() && slot.life == life)
    }

    fn deliver(&mut self, (from, to): (NodeIndex, NodeIndex), life: u64, message: N::Message) {
        let full = |world: &Self| {
            world
                .slots
                .get(to.get())
                .is_some_and(|slot| slot.paused && slot.buffered >= world.receive_buffer)
        };
        let (why, counter) = if !self.network.connects(from, to) {
            (Lost::CutOff, &mut self.stats.cut_off)
        } else if !self.lives(to, life) {
            (Lost::NodeDown, &mut self.stats.node_down)
        } else if full(self) {
            (Lost::BufferFull, &mut self.stats.buffer_full)
        } else {
            self.arrive(to, Arrival::Message(from, message));
            return;
        };
        *counter += 1;
        self.note(Entry::Dropped { from, to, why, message });
    }

    /// Carries out what an adapter asked for.
    fn carry_out(&mut self, node: NodeIndex) {
        let mut requests = std::mem::take(&mut self.requests);
        for request in requests.drain(..) {
            match request {
                Request::Later(delay, input) => {
                    let life = self.slots.get(node.get()).map_or(0, |slot| slot.life);
                    let key = self.next_key(self.now + delay);
                    self.queue.insert(key, Pending::Input { to: node, life, input });
                }
                Request::Multicast(message) => {
                    for to in 0..self.slots.len() {
                        if to != node.get() {
                            self.send(node, NodeIndex::new(to), message.clone());
                        }
                    }
                }
                Request::Note(text) => self.note(Entry::Note { node, text }),
                Request::Send(to, message) => self.send(node, to, message),
            }
        }
        self.requests = requests;
    }

    fn send(&mut self, from: NodeIndex, to: NodeIndex, message: N::Message) {
        let Some(life) = self.slots.get(to.get()).map(|slot| slot.life) else {
            return;
        };
        self.stats.sent += 1;
        if !self.network.connects(from, to) {
            self.stats.cut_off += 1;
            self.note(Entry::Dropped { from, to, why: Lost::CutOff, message });
            return;
        }
        let mut copies = 0;
        for at in self.network.arrivals(self.now, from, to) {
            copies += 1;
            let key = self.next_key(at);
            let message = message.clone();
            self.queue.insert(key, Pending::Message { from, to, life, message });
        }
        match copies {
            0 => {
                self.stats.lost += 1;
                self.note(Entry::Dropped { from, to, why: Lost::Chance, message });
            }
            1 => {}
            _ => self.stats.duplicated += 1,
        }
    }

    /// The laws of [`Machine`] that can be seen from outside.
    fn keep_laws(
        &mut self,
        node: NodeIndex,
        now: Instant,
        outputs: usize,
        deadline: Option<Instant>,
    ) {
        let broken = if let Some(deadline) = deadline.filter(|deadline| *deadline <= now) {
            format!("{node}: the deadline {deadline} is not after its now, {now}: law 1")
        } else if outputs > N::Machine::MAX_OUTPUTS {
            let bound = N::Machine::MAX_OUTPUTS;
            format!("{node}: {outputs} outputs in one call, more than {bound}: law 5")
        } else {
            return;
        };
        if self.violation.is_none() {
            self.violation = Some(self.violation("laws_of_machines", broken));
        }
    }

    /// Looks at all invariants, after whatever has changed.
    pub(super) fn check(&mut self) {
        if self.violation.is_some() {
            return;
        }
        if self.stats.events >= self.max_events {
            let what = format!("{} events were run; see Builder::max_events", self.max_events);
            self.violation = Some(self.violation("ends", what));
            return;
        }
        let mut invariants = std::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            if let Err(what) = invariant.check(self, self.now) {
                self.violation = Some(self.violation(invariant.name(), what));
                break;
            }
        }
        self.invariants = invariants;
    }
}
