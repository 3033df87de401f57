//! What is seen of an endpoint at an interval.

use std::time::Duration;

use ha_core::health::Health;

use super::Origin;
use crate::state::{Admin, EndpointState, Totals};

/// An endpoint as it is at the end of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// Its counters since it joined.
    pub totals: Totals,
    /// What its checks say.
    pub health: Health,
    /// Whether it would take work, were it not ejected.
    pub usable: bool,
}

impl Sample {
    /// What the live state says.
    #[must_use]
    pub fn of(state: &EndpointState) -> Self {
        let health = state.health();
        let usable = health != Health::Unhealthy
            && state.effective_admin() == Admin::Ready
            && !state.is_agent_down();
        Self { totals: state.totals(), health, usable }
    }
}

/// What has happened in an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Delta {
    pub(super) completed: u64,
    pub(super) error_answers: u64,
    pub(super) local_errors: u64,
    pub(super) timed: u64,
    pub(super) busy: Duration,
}

impl Delta {
    pub(super) fn between(before: &Totals, after: &Totals) -> Self {
        let grown = |count: fn(&Totals) -> u64| count(after).saturating_sub(count(before));
        Self {
            completed: grown(|totals| totals.completed),
            error_answers: grown(|totals| totals.error_answers)
                + grown(|totals| totals.gateway_errors),
            local_errors: grown(|totals| totals.connect_failures) + grown(|totals| totals.failures),
            timed: grown(|totals| totals.timed),
            busy: after.busy.saturating_sub(before.busy),
        }
    }

    /// How much of the work, and how much of it failed.
    pub(super) const fn volume(&self, origin: Origin) -> (u64, u64) {
        let answers = self.completed + self.error_answers;
        match origin {
            Origin::Answers => (answers, self.error_answers),
            Origin::Local => (answers + self.local_errors, self.local_errors),
        }
    }

    pub(super) const fn errors(&self) -> u64 {
        self.error_answers + self.local_errors
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        let nanos = self.busy.as_nanos().checked_div(self.timed.into())?;
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }
}
