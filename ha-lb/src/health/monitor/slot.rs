//! One endpoint under watch.

use std::sync::Arc;

use futures_util::future::AbortHandle;
use ha_core::health::Health;
use ha_core::time::Instant;

use super::Monitor;
use crate::endpoint::Endpoint;
use crate::health::Target;
use crate::health::agent::AgentState;
use crate::health::schedule::{Pace, Schedule};
use crate::state::EndpointState;
use crate::state::faults::Tripwire;

/// What is asked: the endpoint, or its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Agent,
    Check,
}

/// An endpoint, and when it is asked what.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: Arc<EndpointState>,
    pub(super) target: Target,
    pub(super) endpoint: Endpoint,
    pub(super) check: Option<Probe>,
    pub(super) agent: Option<Probe>,
    /// What the agent has said so far.
    pub(super) said: AgentState,
    pub(super) tripwire: Option<Arc<Tripwire>>,
}

/// One kind of questions.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) schedule: Schedule,
    pub(super) running: Option<AbortHandle>,
    pub(super) paused: bool,
}

impl Slot {
    /// An endpoint that joins at `now`, the `nth` of so many that join together.
    pub(super) fn new(
        monitor: &Monitor,
        (endpoint, state): (&Endpoint, &Arc<EndpointState>),
        now: Instant,
        (nth, of): (usize, usize),
    ) -> Self {
        let seed = monitor.seed.wrapping_add(state.address().port().into());
        let probe = |pace: &Pace, known| {
            let schedule = Schedule::new(pace.clone(), known, now, seed);
            let part = |number| u32::try_from(number).unwrap_or(u32::MAX);
            let delay = pace.start_spread(of).saturating_mul(part(nth)) / part(of).max(1);
            Probe { schedule: schedule.starting_after(delay), running: None, paused: false }
        };
        Self {
            state: Arc::clone(state),
            target: Target::from(endpoint.clone()),
            endpoint: endpoint.clone(),
            check: monitor.check.as_ref().map(|(_, pace)| probe(pace, state.health())),
            agent: monitor.agent.as_ref().map(|agent| probe(agent.pace(), Health::Unknown)),
            said: AgentState::default(),
            tripwire: None,
        }
    }

    pub(super) fn probe(&mut self, kind: Kind) -> Option<&mut Probe> {
        match kind {
            Kind::Agent => self.agent.as_mut(),
            Kind::Check => self.check.as_mut(),
        }
    }

    /// Gives up what is running.
    pub(super) fn abort(&self) {
        for probe in [&self.check, &self.agent].into_iter().flatten() {
            probe.running.iter().for_each(AbortHandle::abort);
        }
    }
}
