//! Immutable snapshots: which endpoints there are, in which groups, and which take work.

mod bits;
mod group;
mod members;
mod policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ha_core::id::EndpointName;

pub(crate) use self::group::Obstacle;
pub use self::group::{EndpointIndex, Endpoints, Prepared};
pub(crate) use self::members::Members;
pub(crate) use self::policy::Policy;

use crate::endpoint::Endpoint;
use crate::state::EndpointState;

/// A snapshot of a pool: the endpoints in the order of the list, and the groups that they make.
///
/// A change of the list makes a new snapshot. A change of health or administrative state only turns
/// a bit and shifts the shares of the groups, which a pick sees at once: no table is built anew
/// for it, except for balancers that ask for that
/// ([`Balancer::follows_health`](crate::balancer::Balancer::follows_health)).
///
/// Endpoints of one priority level and of the same side of the zone border are a group, and so are
/// backups; those of weight 0 are in none. Each pick goes to one group first, by the groups'
/// shares.
#[derive(Debug)]
pub struct Snapshot {
    members: Arc<Members>,
    groups: Box<[Endpoints]>,
    /// Where the share of each group ends, in parts of [`WHOLE`].
    bounds: Box<[AtomicU32]>,
    /// Group and index there, by position in the list; `None` of weight 0.
    places: Box<[Option<(u16, EndpointIndex)>]>,
}

/// All shares together.
pub(crate) const WHOLE: u32 = 1 << 16;

impl Snapshot {
    pub(crate) fn new(members: Arc<Members>, policy: &Policy) -> Self {
        let (groups, places) = policy.divide(&members);
        let bounds = groups.iter().map(|_| AtomicU32::new(0)).collect();
        let snapshot = Self { members, groups, bounds, places };
        snapshot.share_out(policy);
        snapshot
    }

    pub(crate) const fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// How many endpoints there are, usable or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.endpoints.len()
    }

    /// Whether there is no endpoint at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.endpoints.is_empty()
    }

    /// All endpoints with their state, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (&Endpoint, &Arc<EndpointState>)> {
        self.members.endpoints.iter().zip(&self.members.states)
    }

    /// The endpoint of this name, with its state.
    #[must_use]
    pub fn find(&self, name: &EndpointName) -> Option<(&Endpoint, &Arc<EndpointState>)> {
        let position = self.members.find(name)?;
        Some((self.members.endpoints.get(position)?, self.members.states.get(position)?))
    }

    /// The groups, those that are used first in front.
    #[must_use]
    pub const fn groups(&self) -> &[Endpoints] {
        &self.groups
    }

    /// The share of all picks that each group gets now, 0 to 1; all are 0 if none is usable.
    pub fn shares(&self) -> impl Iterator<Item = f64> {
        let mut before = 0;
        self.bounds.iter().map(move |bound| {
            let bound = bound.load(Ordering::Relaxed);
            let share = bound.saturating_sub(before);
            before = bound;
            f64::from(share) / f64::from(WHOLE)
        })
    }

    /// The group for a pick with this random number.
    pub(crate) fn group_for(&self, number: impl FnOnce() -> u64) -> Option<&Endpoints> {
        match &*self.groups {
            [] => None,
            [only] => Some(only),
            groups => {
                let number = u32::try_from(number() & u64::from(WHOLE - 1)).unwrap_or_default();
                let beyond = |bound: &AtomicU32| number < bound.load(Ordering::Relaxed);
                groups.get(self.bounds.iter().position(beyond)?)
            }
        }
    }

    /// The group of an endpoint and its index there, by its position in the list.
    pub(crate) fn place(&self, position: usize) -> Option<(&Endpoints, EndpointIndex)> {
        let (group, index) = (*self.places.get(position)?)?;
        Some((self.groups.get(usize::from(group))?, index))
    }

    /// Lets go of the books of earlier snapshots, for endpoints that are in no group now.
    pub(crate) fn unhook_others(&self) {
        for (state, place) in self.members.states.iter().zip(&self.places) {
            if place.is_none() {
                state.set_hook(None);
            }
        }
    }

    /// Takes notice of a live state that has changed; returns whether another endpoint than
    /// before is usable.
    pub(crate) fn note(&self, position: usize, policy: &Policy) -> bool {
        let Some((group, index)) = self.place(position) else {
            return false;
        };
        let changed = group.refresh(index);
        // In a panic all are usable, and health decides on its end.
        if changed || group.is_panicking() {
            self.share_out(policy);
        }
        group.tell(index);
        changed
    }

    /// Shares the picks out among the groups, as their endpoints are now.
    fn share_out(&self, policy: &Policy) {
        let shares = policy.shares(&self.groups);
        let mut end: u32 = 0;
        for (bound, share) in self.bounds.iter().zip(shares) {
            end = end.saturating_add(share).min(WHOLE);
            bound.store(end, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
