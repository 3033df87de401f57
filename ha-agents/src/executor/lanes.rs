//! Which resource runs next: the one that has waited longest, of those whose budget has room.

use std::collections::BTreeSet;

use ha_core::id::ResourceName;

use super::config::Limits;
use super::order::Lane;

/// The budgets with who waits for each.
#[derive(Debug)]
pub(super) struct Lanes {
    room: [usize; 3],
    ready: [BTreeSet<(u64, ResourceName)>; 3],
}

impl Lanes {
    pub(super) fn new(limits: Limits) -> Self {
        let room = [limits.stops, limits.actions, limits.monitors];
        Self { room, ready: Default::default() }
    }

    /// `resource` is idle, and its next operation, number `turn`, is of `lane`.
    pub(super) fn wait(&mut self, lane: Lane, turn: u64, resource: &ResourceName) {
        if let Some(ready) = self.ready.get_mut(lane.index()) {
            ready.insert((turn, resource.clone()));
        }
    }

    /// What was told to [`wait`](Self::wait) no longer holds.
    pub(super) fn leave(&mut self, lane: Lane, turn: u64, resource: &ResourceName) {
        if let Some(ready) = self.ready.get_mut(lane.index()) {
            ready.remove(&(turn, resource.clone()));
        }
    }

    /// Takes the next resource that may run, and the room for it.
    pub(super) fn next(&mut self) -> Option<ResourceName> {
        Lane::ALL.into_iter().find_map(|lane| {
            let room = self.room.get_mut(lane.index())?;
            if *room == 0 {
                return None;
            }
            let (_, resource) = self.ready.get_mut(lane.index())?.pop_first()?;
            *room -= 1;
            Some(resource)
        })
    }

    /// An operation of `lane` has ended.
    pub(super) fn give_back(&mut self, lane: Lane) {
        if let Some(room) = self.room.get_mut(lane.index()) {
            *room += 1;
        }
    }
}
