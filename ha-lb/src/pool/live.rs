//! What changes in a pool while it runs: health, administrative state, shares.

use std::num::NonZeroU32;
use std::sync::Arc;

use ha_core::health::Health;
use ha_core::id::EndpointName;

use super::Pool;
use crate::endpoint::Weight;
use crate::health::agent::AgentState;
use crate::state::{Admin, EndpointState, Share, ShareSource};

impl Pool {
    /// Sets the health of an endpoint; `reason` says why, for people.
    ///
    /// Returns the health before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_health(&self, name: &EndpointName, health: Health, reason: &str) -> Option<Health> {
        self.change(name, |state| state.set_health(health, reason))
    }

    /// Sets the health of an endpoint known by its state, as a monitor does; nothing happens if
    /// the endpoint has left the pool. Returns whether it is in the pool.
    pub fn set_health_of(&self, state: &Arc<EndpointState>, health: Health, reason: &str) -> bool {
        let same = |found: &Arc<EndpointState>| Arc::ptr_eq(found, state);
        self.change_if(state.name(), same, |state| state.set_health(health, reason)).is_some()
    }

    /// Sets what the operator wants of an endpoint: take work, drain, or maintenance.
    ///
    /// Returns the state before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_admin(&self, name: &EndpointName, admin: Admin) -> Option<Admin> {
        self.change(name, |state| state.set_admin(admin))
    }

    /// Takes an endpoint out because of how its work went, whatever its checks say; `reason` says
    /// why, for people.
    ///
    /// Returns whether it was out before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn eject(&self, name: &EndpointName, reason: &str) -> Option<bool> {
        self.change(name, |state| {
            state.set_reason(reason);
            state.set_ejected(true)
        })
    }

    /// Puts an endpoint back that was ejected.
    ///
    /// Returns whether it was out before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn restore(&self, name: &EndpointName, reason: &str) -> Option<bool> {
        self.change(name, |state| {
            state.set_reason(reason);
            state.set_ejected(false)
        })
    }

    /// As [`eject`](Self::eject) and [`restore`](Self::restore), of an endpoint known by its state.
    pub(crate) fn set_ejected_of(&self, state: &Arc<EndpointState>, ejected: bool, reason: &str) {
        let same = |found: &Arc<EndpointState>| Arc::ptr_eq(found, state);
        self.change_if(state.name(), same, |state| {
            state.set_reason(reason);
            state.set_ejected(ejected)
        });
    }

    /// Sets which part of its share an endpoint takes, until it is set again: as the program
    /// decides. A slow start begins below it and ends at it.
    ///
    /// Returns the part before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_share(&self, name: &EndpointName, share: Share) -> Option<Share> {
        self.set_share_by(ShareSource::Program, name, share)
    }

    /// As [`set_share`](Self::set_share), on behalf of somebody else: the parts that all ask for are
    /// multiplied.
    ///
    /// Returns the part that this source had asked for before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_share_by(
        &self,
        source: ShareSource,
        name: &EndpointName,
        share: Share,
    ) -> Option<Share> {
        let mut ramps = self.lock();
        let snapshot = self.inner.current.load_full();
        let position = snapshot.members().find(name)?;
        let state = snapshot.members().states.get(position)?;
        let before = ramps.set_target(state, source, share);
        snapshot.note(position, &self.inner.policy);
        self.announce();
        Some(before)
    }

    /// Sets the weight of an endpoint, as an operator wants it.
    ///
    /// Tables are built anew, as by an update of the list; to reduce an endpoint's part
    /// for a time, [`set_share`](Self::set_share) is cheaper.
    ///
    /// Returns the weight before; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn set_weight(&self, name: &EndpointName, weight: Weight) -> Option<Weight> {
        let mut ramps = self.lock();
        let members = Arc::clone(self.inner.current.load().members());
        let position = members.find(name)?;
        let endpoint = members.endpoints.get(position)?;
        let changed = Arc::new(members.with(position, endpoint.clone().with_weight(weight)));
        ramps.follow(&changed);
        self.publish(changed);
        Some(endpoint.weight())
    }

    /// Takes over what an endpoint's agent reports: its administrative state beside the operator's,
    /// whether it is down, its limit instead of the list's, and its weight in parts of the list's.
    /// An agent's wish for more than the weight of the list builds tables anew.
    ///
    /// Returns whether the endpoint is in the pool.
    pub fn set_agent_of(&self, state: &Arc<EndpointState>, agent: &AgentState) -> bool {
        let same = |found: &Arc<EndpointState>| Arc::ptr_eq(found, state);
        let found = self.change_if(state.name(), same, |state| state.set_agent(agent));
        if found.is_some() {
            self.weigh(state);
        }
        found.is_some()
    }

    /// Makes the limit and the weight count that an agent has reported.
    fn weigh(&self, state: &Arc<EndpointState>) {
        let mut ramps = self.lock();
        let snapshot = self.inner.current.load_full();
        let Some(position) = snapshot.members().find(state.name()) else { return };
        let Some(endpoint) = snapshot.members().endpoints.get(position) else { return };
        let listed = endpoint.weight();
        state.set_limit(endpoint.max_connections().map_or(0, NonZeroU32::get));
        ramps.set_agents_part(state, listed);
        let is = snapshot.place(position).map_or(0, |(group, index)| group.weight(index));
        if is == state.weight_for(listed).get() {
            snapshot.note(position, &self.inner.policy);
            self.announce();
        } else {
            self.publish(Arc::clone(snapshot.members()));
        }
    }

    /// Tells all who work with an endpoint to stop at once, as far as they wait for
    /// [`Pick::closing`](crate::pick::Pick::closing); the proxies do. Later picks are not affected.
    ///
    /// Returns how many picks were in use; `None` if there is no such endpoint.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn shut_sessions(&self, name: &EndpointName) -> Option<u32> {
        let snapshot = self.snapshot();
        let (_, state) = snapshot.find(name)?;
        let connections = state.connections();
        state.shut_sessions();
        Some(connections)
    }
}
