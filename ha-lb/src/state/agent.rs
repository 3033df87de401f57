//! What an agent reports of its endpoint, kept apart from what the operator wants.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Admin;
use crate::endpoint::Weight;
use crate::health::agent::{AgentState, AgentWeight};

/// The operator's will.
const OPERATOR: u8 = 0b11;
/// The agent's, in the next two bits.
const AGENT: u8 = 0b1100;
/// Whether the agent says that the endpoint is down.
const DOWN: u8 = 0b1_0000;
/// Whether the agent has reported a limit.
const LIMIT: u8 = 0b10_0000;
/// Whether the agent has reported a weight.
const WEIGHT: u8 = 0b100_0000;

const fn code(admin: Admin) -> u8 {
    match admin {
        Admin::Ready => 0,
        Admin::Drain => 1,
        Admin::Maintenance => 2,
    }
}

const fn admin(code: u8) -> Admin {
    match code {
        1 => Admin::Drain,
        2 => Admin::Maintenance,
        _ => Admin::Ready,
    }
}

pub(super) const fn operator(word: u8) -> Admin {
    admin(word & OPERATOR)
}

pub(super) const fn agent(word: u8) -> Admin {
    admin((word & AGENT) >> 2)
}

pub(super) const fn is_down(word: u8) -> bool {
    word & DOWN != 0
}

pub(super) const fn has_limit(word: u8) -> bool {
    word & LIMIT != 0
}

pub(super) const fn has_weight(word: u8) -> bool {
    word & WEIGHT != 0
}

pub(super) const fn with_operator(word: u8, admin: Admin) -> u8 {
    word & !OPERATOR | code(admin)
}

pub(super) fn with_agent(word: u8, state: &AgentState) -> u8 {
    let down = if state.is_down() { DOWN } else { 0 };
    let limit = if state.max_connections().is_some() { LIMIT } else { 0 };
    let weight = if state.weight().is_some() { WEIGHT } else { 0 };
    word & OPERATOR | code(state.effective_admin()) << 2 | down | limit | weight
}

/// The weight and the limit that an agent reports, in one word; 0 is neither.
#[derive(Debug, Default)]
pub(super) struct AgentWord(AtomicU64);

const HAS_LIMIT: u64 = 1 << 63;
const HAS_WEIGHT: u64 = 1 << 62;
const ABSOLUTE: u64 = 1 << 61;

impl AgentWord {
    pub(super) fn set(&self, state: &AgentState) {
        let weight = match state.weight() {
            None => 0,
            Some(AgentWeight::Percent(percent)) => HAS_WEIGHT | u64::from(percent),
            Some(AgentWeight::Absolute(weight)) => HAS_WEIGHT | ABSOLUTE | u64::from(weight.get()),
        };
        let limit = state.max_connections().map_or(0, |limit| HAS_LIMIT | u64::from(limit) << 16);
        self.0.store(weight | limit, Ordering::Relaxed);
    }

    pub(super) fn weight(&self) -> Option<AgentWeight> {
        let word = self.0.load(Ordering::Relaxed);
        let number = u16::try_from(word & 0xffff).unwrap_or_default();
        if word & HAS_WEIGHT == 0 {
            None
        } else if word & ABSOLUTE == 0 {
            Some(AgentWeight::Percent(number))
        } else {
            Weight::new(number).ok().map(AgentWeight::Absolute)
        }
    }

    /// 0 is no limit.
    pub(super) fn max_connections(&self) -> Option<u32> {
        let word = self.0.load(Ordering::Relaxed);
        (word & HAS_LIMIT != 0).then(|| u32::try_from(word >> 16 & 0xffff_ffff).unwrap_or_default())
    }
}
