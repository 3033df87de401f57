//! The services of all endpoints: a table that is replaced when the pool's list has changed.

use std::sync::Arc;

use ha_core::time::Instant;

use super::slot::Slot;
use crate::snapshot::{Members, Snapshot};
use crate::state::EndpointState;

/// The most endpoints that are left alone at a time; picks pass over each of them.
const MOST_RESTING: usize = 32;

/// The services of the endpoints of one list.
#[derive(Debug)]
pub(super) struct Table<S> {
    members: Arc<Members>,
    /// Ordered by the address of their states.
    slots: Box<[Arc<Slot<S>>]>,
}

impl<S> Table<S> {
    /// A table for the list of `snapshot`; endpoints that were in `before` keep their services.
    pub(super) fn new(snapshot: &Snapshot, before: Option<&Self>) -> Self {
        let mut slots: Vec<Arc<Slot<S>>> = snapshot
            .iter()
            .map(|(endpoint, state)| {
                let known = before.and_then(|table| table.find(state));
                known.filter(|slot| slot.serves(endpoint)).map_or_else(
                    || Arc::new(Slot::new(endpoint.clone(), Arc::clone(state))),
                    Arc::clone,
                )
            })
            .collect();
        slots.sort_unstable_by_key(|slot| Arc::as_ptr(&slot.state));
        Self { members: Arc::clone(snapshot.members()), slots: slots.into() }
    }

    /// Whether it is that of this list.
    pub(super) fn is_of(&self, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(&self.members, snapshot.members())
    }

    pub(super) fn find(&self, state: &Arc<EndpointState>) -> Option<&Arc<Slot<S>>> {
        let wanted = Arc::as_ptr(state);
        let at = self.slots.binary_search_by_key(&wanted, |slot| Arc::as_ptr(&slot.state));
        self.slots.get(at.ok()?)
    }
}

/// The endpoints that are left alone, of which picks keep away.
#[derive(Debug)]
pub(super) struct Resting<S>(Vec<Arc<Slot<S>>>);

impl<S> Default for Resting<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S> Resting<S> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are left alone now.
    pub(super) fn now(&self, now: Instant) -> impl Iterator<Item = &Arc<Slot<S>>> {
        self.0.iter().filter(move |slot| slot.rests(now).is_some())
    }

    /// With this one among them, and without those that may be tried again.
    pub(super) fn with(&self, slot: &Arc<Slot<S>>, now: Instant) -> Self {
        let others = self.now(now).filter(|other| !Arc::ptr_eq(other, slot));
        let others: Vec<_> = others.cloned().collect();
        let surplus = (others.len() + 1).saturating_sub(MOST_RESTING);
        Self(others.into_iter().skip(surplus).chain([Arc::clone(slot)]).collect())
    }
}
