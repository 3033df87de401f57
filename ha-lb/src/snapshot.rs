//! Immutable snapshots: which endpoints there are, and which take work.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::context::PickContext;
use crate::endpoint::Endpoint;
use crate::state::{Admin, EndpointState};

/// The place of an endpoint in one snapshot of [`Endpoints`]; another snapshot may order anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointIndex(u32);

impl EndpointIndex {
    /// The index `position`, counted from 0.
    #[must_use]
    pub const fn new(position: u32) -> Self {
        Self(position)
    }

    /// The position, counted from 0.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// The list, shared by all snapshots between two updates of the list.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) endpoints: Box<[Endpoint]>,
    pub(crate) states: Box<[Arc<EndpointState>]>,
    /// Weights once more, close together: the scan of least connections reads them all.
    pub(crate) weights: Box<[u16]>,
}

/// A snapshot of a pool: the endpoints, and which of them take work.
///
/// A change of the list makes new members; a change of health or administrative state makes a new
/// snapshot over the same members, with another list of usable ones. What an algorithm prepares
/// for a snapshot (a schedule, a table) is stored in it by [`prepared`](Self::prepared), so that a
/// pick finds list and table always in step.
#[derive(Debug)]
pub struct Endpoints {
    members: Arc<Members>,
    /// Indices that take work, ascending: regular endpoints, or, if there are none, backups.
    usable: Box<[EndpointIndex]>,
    trust_unchecked: bool,
    prepared: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Endpoints {
    pub(crate) fn new(members: Arc<Members>, trust_unchecked: bool) -> Self {
        let tier = |backup: bool| -> Box<[EndpointIndex]> {
            let all = members.endpoints.iter().zip(&members.states).zip(0..);
            all.filter(|((endpoint, state), _)| {
                endpoint.is_backup() == backup
                    && !endpoint.weight().is_zero()
                    && state.is_open(trust_unchecked)
            })
            .map(|(_, index)| EndpointIndex(index))
            .collect()
        };
        let mut usable = tier(false);
        if usable.is_empty() {
            usable = tier(true);
        }
        Self { members, usable, trust_unchecked, prepared: OnceLock::new() }
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

    /// The endpoints that take work, in the order of the list: regular ones that are healthy,
    /// ready and of a weight above 0; if there are none, such backups.
    #[must_use]
    pub fn usable(&self) -> &[EndpointIndex] {
        &self.usable
    }

    /// The endpoint at `index`; `None` if the index is of another snapshot and out of range.
    #[must_use]
    pub fn endpoint(&self, index: EndpointIndex) -> Option<&Endpoint> {
        self.members.endpoints.get(index.get())
    }

    /// The live state at `index`; `None` as for [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn state(&self, index: EndpointIndex) -> Option<&Arc<EndpointState>> {
        self.members.states.get(index.get())
    }

    /// The weight at `index`, 0 if it is out of range.
    #[must_use]
    pub fn weight(&self, index: EndpointIndex) -> u16 {
        self.members.weights.get(index.get()).copied().unwrap_or_default()
    }

    /// All endpoints with their state, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = (EndpointIndex, &Endpoint, &Arc<EndpointState>)> {
        let members = self.members.endpoints.iter().zip(&self.members.states);
        (0..).zip(members).map(|(index, (endpoint, state))| (EndpointIndex(index), endpoint, state))
    }

    /// Whether a member of [`usable`](Self::usable) can take *this* pick: still healthy and ready
    /// by its live state, not full, not excluded by `context`.
    #[must_use]
    pub fn admits(&self, index: EndpointIndex, context: &PickContext<'_>) -> bool {
        self.obstacle(index, context).is_none()
    }

    /// Why the endpoint cannot take a pick now; `None` if it can.
    pub(crate) fn obstacle(
        &self,
        index: EndpointIndex,
        context: &PickContext<'_>,
    ) -> Option<Obstacle> {
        let (Some(state), Some(endpoint)) = (self.state(index), self.endpoint(index)) else {
            return Some(Obstacle::Unknown);
        };
        if state.admin() != Admin::Ready {
            return Some(Obstacle::Admin(state.admin()));
        }
        if !state.is_open(self.trust_unchecked) {
            return Some(Obstacle::Unhealthy);
        }
        if endpoint.weight().is_zero() {
            return Some(Obstacle::Weight);
        }
        let full = |limit: std::num::NonZeroU32| state.connections() >= limit.get();
        if endpoint.max_connections().is_some_and(full) {
            return Some(Obstacle::Full);
        }
        context.excludes(state).then_some(Obstacle::Excluded)
    }

    /// The first usable endpoint that admits the pick, searching from position `start` (modulo the
    /// number of usable ones) onwards; the fallback of every algorithm whose choice is not free.
    #[must_use]
    pub fn scan(&self, start: usize, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let len = self.usable.len();
        let start = start.checked_rem(len)?;
        let (before, after) = self.usable.split_at(start);
        after.iter().chain(before).copied().find(|index| self.admits(*index, context))
    }

    /// What an algorithm has prepared for this snapshot; builds it if that was not done.
    ///
    /// A pool has its balancer prepare a snapshot before it is published, so picks only read. If
    /// another algorithm's work is stored here (`fits` says no, or the type differs), the value
    /// is built for this call alone.
    pub fn prepared<T: Any + Send + Sync>(
        &self,
        fits: impl Fn(&T) -> bool,
        build: impl Fn() -> T,
    ) -> Prepared<'_, T> {
        let stored = self.prepared.get_or_init(|| Box::new(build()));
        match stored.downcast_ref::<T>().filter(|value| fits(value)) {
            Some(value) => Prepared(Source::Stored(value)),
            None => Prepared(Source::Built(Box::new(build()))),
        }
    }
}

/// What an algorithm has prepared for a snapshot; made by [`Endpoints::prepared`].
#[derive(Debug)]
pub struct Prepared<'a, T>(Source<'a, T>);

#[derive(Debug)]
enum Source<'a, T> {
    Stored(&'a T),
    Built(Box<T>),
}

impl<T> Deref for Prepared<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        match &self.0 {
            Source::Stored(value) => value,
            Source::Built(value) => value,
        }
    }
}

/// Why an endpoint cannot take a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Admin(Admin),
    Excluded,
    Full,
    Unhealthy,
    Unknown,
    Weight,
}
