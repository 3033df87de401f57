//! What can be done to a world.

use std::time::Duration;

use super::{Arrival, World};
use crate::network::Quality;
use crate::node::{Node, NodeIndex};
use crate::trace::{Entry, Lost};

/// Faults and their ends. They act now, between two events; a node that does not exist, or is in
/// that state already, is left as it is.
impl<N: Node> World<N> {
    /// Cuts the power of a node: its machine and all that was on the way to it are gone.
    pub fn crash(&mut self, node: NodeIndex) {
        let Some(slot) = self.slots.get_mut(node.get()).filter(|slot| slot.machine.is_some())
        else {
            return;
        };
        slot.machine = None;
        slot.paused = false;
        slot.life += 1;
        slot.buffered = 0;
        slot.node.crashed();
        let backlog = std::mem::take(&mut slot.backlog);
        if let Some((_, key)) = slot.tick.take() {
            self.queue.remove(&key);
        }
        self.fault(format!("crash {node}"));
        for arrival in backlog {
            if let Arrival::Message(from, message) = arrival {
                self.stats.node_down += 1;
                self.note(Entry::Dropped { from, to: node, why: Lost::NodeDown, message });
            }
        }
        self.check();
    }

    /// Starts a node that is down, with a new machine.
    pub fn restart(&mut self, node: NodeIndex) {
        if self.slots.get(node.get()).is_some_and(|slot| slot.machine.is_none()) {
            self.fault(format!("restart {node}"));
            self.start(node);
            self.check();
        }
    }

    /// Freezes a node, as SIGSTOP or a hypervisor does: it holds what it holds, does nothing, and
    /// messages queue up in its receive buffer.
    pub fn pause(&mut self, node: NodeIndex) {
        if self.is_running(node)
            && let Some(slot) = self.slots.get_mut(node.get())
        {
            slot.paused = true;
            if let Some((_, key)) = slot.tick.take() {
                self.queue.remove(&key);
            }
            self.fault(format!("pause {node}"));
            self.check();
        }
    }

    /// Lets a paused node go on: what queued up is given to it in a burst, and all at once its
    /// clock has jumped.
    pub fn resume(&mut self, node: NodeIndex) {
        if !self.is_paused(node) {
            return;
        }
        self.fault(format!("resume {node}"));
        let Some(slot) = self.slots.get_mut(node.get()) else {
            return;
        };
        slot.paused = false;
        slot.buffered = 0;
        for arrival in std::mem::take(&mut slot.backlog) {
            self.arrive(node, arrival);
        }
        self.arrive(node, Arrival::Tick);
    }

    /// Splits the nodes: those of one group reach only each other. Nodes that are in no group
    /// form one more. Messages on the way across are lost. Replaces an earlier partition.
    pub fn partition(&mut self, groups: &[&[NodeIndex]]) {
        self.network.partition(groups);
        self.fault(format!("partition {groups:?}"));
    }

    /// Cuts one direction only: `to` no longer hears `from`.
    pub fn cut(&mut self, from: NodeIndex, to: NodeIndex) {
        self.network.cut(from, to);
        self.fault(format!("cut {from} -> {to}"));
    }

    /// Takes a node off the network, both ways.
    pub fn isolate(&mut self, node: NodeIndex) {
        self.partition(&[&[node]]);
    }

    /// Ends one [`cut`](Self::cut).
    pub fn mend(&mut self, from: NodeIndex, to: NodeIndex) {
        self.network.mend(from, to);
        self.fault(format!("mend {from} -> {to}"));
    }

    /// Ends a [`partition`](Self::partition); single cuts stay.
    pub fn unpartition(&mut self) {
        self.network.unpartition();
        self.fault("partition ends".to_owned());
    }

    /// Ends all partitions and cuts.
    pub fn heal(&mut self) {
        self.network.heal();
        self.fault("network heals".to_owned());
    }

    /// Makes the network better or worse from now on.
    pub fn set_network(&mut self, quality: Quality) {
        self.fault(format!("{quality:?}"));
        self.network.quality = quality;
    }

    /// Sets the network back to the builder's quality.
    pub fn restore_network(&mut self) {
        self.set_network(self.quality.clone());
    }

    /// Lets a node's clock run fast (positive) or slow by `ppm` parts per million from now on.
    pub fn set_clock_rate(&mut self, node: NodeIndex, ppm: i32) {
        let now = self.now;
        if let Some(slot) = self.slots.get_mut(node.get()) {
            slot.clock.set_rate(now, ppm);
            self.fault(format!("clock of {node} at {ppm} ppm"));
            self.reschedule(node);
        }
    }

    /// Lets a node's clock jump forward, as it does over a suspend to memory.
    pub fn jump_clock(&mut self, node: NodeIndex, by: Duration) {
        let now = self.now;
        if let Some(slot) = self.slots.get_mut(node.get()) {
            slot.clock.jump(now, by);
            self.fault(format!("clock of {node} jumps by {by:?}"));
            self.reschedule(node);
        }
    }

    /// Ends every fault: heals the network, sets it to the builder's quality, lets paused nodes
    /// go on and restarts those that are down. Clocks keep their errors: they are never right.
    pub fn recover(&mut self) {
        self.heal();
        self.restore_network();
        for node in self.indices() {
            self.resume(node);
            self.restart(node);
        }
    }

    fn fault(&mut self, text: String) {
        self.note(Entry::Fault { text });
    }

    /// Forgets the event of the deadline and sets it anew, after a change of the clock.
    fn reschedule(&mut self, node: NodeIndex) {
        if let Some(slot) = self.slots.get_mut(node.get())
            && let Some((_, key)) = slot.tick.take()
        {
            self.queue.remove(&key);
        }
        self.schedule(node);
    }
}
