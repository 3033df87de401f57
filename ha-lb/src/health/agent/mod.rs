//! Agent checks: what a program beside an endpoint says of it, in HAProxy's words.
//!
//! ```text
//!  endpoint's machine                            our process
//!  agent ◀──connect, agent-send── AgentCheck ◀── Monitor::with_agent
//!    └──"ready 75% maxconn:30\n"──▶ AgentReport ──▶ AgentState ──▶ Pool::set_agent_of
//! ```
//!
//! One line of words: `up`, `down`, `fail`, `stopped` say whether the endpoint works; `ready`, `drain`,
//! `maint` what is wanted of it; `75%` or `weight:N` its weight; `maxconn:N` its limit. The last word of
//! a kind counts. What was said stays until something else is said: `drain` outlives a later `up`,
//! and needs a `ready`.
//!
//! # Source
//!
//! HAProxy's `agent-check`, as its version 2.6 answers 54 recorded lines, and `weight:` of its later
//! documentation. Like HAProxy, an unknown word is passed over (`failed` and `down#text` are such:
//! a reason needs a space before its `#`), and an answer without the end of a line is ignored.

#[cfg(feature = "tokio")]
mod check;
mod report;
#[cfg(feature = "tokio")]
mod server;
mod weight;

#[cfg(feature = "tokio")]
pub use self::check::{AgentCheck, AgentCheckBuilder};
pub use self::report::{AgentHealth, AgentReport, Unread};
#[cfg(feature = "tokio")]
pub use self::server::{AgentHandle, AgentServer};
pub use self::weight::AgentWeight;

use crate::state::Admin;

/// What an agent has said so far of its endpoint.
///
/// ```
/// use ha_lb::health::agent::{AgentReport, AgentState};
/// use ha_lb::state::Admin;
///
/// let mut state = AgentState::default();
/// state.apply(&AgentReport::read(b"drain 50%\n")?);
/// state.apply(&AgentReport::read(b"up\n")?); // neither ready nor another weight
/// assert_eq!(state.admin(), Admin::Drain);
/// assert_eq!(state.weight().map(|weight| weight.to_string()).as_deref(), Some("50%"));
/// # Ok::<(), ha_lb::health::agent::Unread>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentState {
    health: Option<AgentHealth>,
    admin: Admin,
    weight: Option<AgentWeight>,
    max_connections: Option<u32>,
    reason: String,
}

impl AgentState {
    /// Takes a report in; what it does not speak of stays. Returns whether anything is different now,
    /// apart from the reason.
    pub fn apply(&mut self, report: &AgentReport) -> bool {
        let before = (self.health, self.admin, self.weight, self.max_connections);
        self.health = report.health().or(self.health);
        self.admin = report.admin().unwrap_or(self.admin);
        self.weight = report.weight().or(self.weight);
        self.max_connections = report.max_connections().or(self.max_connections);
        if report.health().is_some() || report.admin().is_some() {
            report.reason().clone_into(&mut self.reason);
        }
        before != (self.health, self.admin, self.weight, self.max_connections)
    }

    /// Whether the endpoint works; `None` if the agent did not say.
    #[must_use]
    pub const fn health(&self) -> Option<AgentHealth> {
        self.health
    }

    /// Whether the agent says that the endpoint does not work.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        match self.health {
            None | Some(AgentHealth::Up) => false,
            Some(AgentHealth::Down | AgentHealth::Fail | AgentHealth::Stopped) => true,
        }
    }

    /// What the agent wants of the endpoint.
    #[must_use]
    pub const fn admin(&self) -> Admin {
        self.admin
    }

    /// As [`admin`](Self::admin); a weight of 0 is a drain.
    #[must_use]
    pub fn effective_admin(&self) -> Admin {
        let no_work = self.weight.is_some_and(AgentWeight::is_zero);
        if no_work { self.admin.max(Admin::Drain) } else { self.admin }
    }

    /// The weight that the agent wants; `None` if it did not say.
    #[must_use]
    pub const fn weight(&self) -> Option<AgentWeight> {
        self.weight
    }

    /// How many connections the agent allows, 0 for any number; `None` if it did not say.
    #[must_use]
    pub const fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }

    /// Why, as the agent says; may be empty.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}
