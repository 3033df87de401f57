//! Which resource runs next: the one that has waited longest, of those whose budget has room.

use std::collections::BTreeSet;

use ha_core::id::ResourceName;

use super::config::Limits;
use super::order::Lane;
use super::throttle::Pressure;

/// The budgets with who waits for each.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: [Budget; Lane::ALL.len()],
    pressure: Pressure,
}

#[derive(Debug)]
struct Budget {
    most: usize,
    used: usize,
    ready: BTreeSet<(u64, ResourceName)>,
}

impl Lanes {
    pub(super) fn new(limits: Limits) -> Self {
        let budgets = [limits.stops, limits.actions, limits.probes, limits.monitors];
        let lanes = budgets.map(|most| Budget { most, used: 0, ready: BTreeSet::new() });
        Self { lanes, pressure: Pressure::None }
    }

    /// Sets how busy the node is; whether that is news.
    pub(super) fn press(&mut self, pressure: Pressure) -> bool {
        std::mem::replace(&mut self.pressure, pressure) != pressure
    }

    /// `resource` is idle, and its next operation, number `turn`, is of `lane`.
    pub(super) fn wait(&mut self, lane: Lane, turn: u64, resource: &ResourceName) {
        self.of(lane).ready.insert((turn, resource.clone()));
    }

    /// What was told to [`wait`](Self::wait) no longer holds.
    pub(super) fn leave(&mut self, lane: Lane, turn: u64, resource: &ResourceName) {
        self.of(lane).ready.remove(&(turn, resource.clone()));
    }

    /// Takes the next resource that may run, and the room for it.
    pub(super) fn next(&mut self) -> Option<ResourceName> {
        let pressure = self.pressure;
        Lane::ALL.into_iter().find_map(|lane| {
            let budget = self.of(lane);
            let most = match lane {
                // What gives up resources is never held up: others wait for it.
                Lane::Stop => budget.most,
                Lane::Action | Lane::Probe | Lane::Monitor => pressure.of(budget.most),
            };
            if budget.used >= most {
                return None;
            }
            let (_, resource) = budget.ready.pop_first()?;
            budget.used += 1;
            Some(resource)
        })
    }

    /// An operation of `lane` has ended.
    pub(super) fn give_back(&mut self, lane: Lane) {
        let budget = self.of(lane);
        budget.used = budget.used.saturating_sub(1);
    }

    const fn of(&mut self, lane: Lane) -> &mut Budget {
        let [stop, action, probe, monitor] = &mut self.lanes;
        match lane {
            Lane::Stop => stop,
            Lane::Action => action,
            Lane::Probe => probe,
            Lane::Monitor => monitor,
        }
    }
}
