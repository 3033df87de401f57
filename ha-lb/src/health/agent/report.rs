//! One line of an agent.

use std::fmt;

use crate::endpoint::Weight;
use crate::health::Failed;
use crate::health::agent::AgentWeight;
use crate::state::Admin;

/// Whether an endpoint works, in the agent's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the words that HAProxy knows")]
pub enum AgentHealth {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// It does not, because of a failure.
    Fail,
    /// It does not, because somebody stopped it.
    Stopped,
}

impl fmt::Display for AgentHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Fail => "fail",
            Self::Stopped => "stopped",
        })
    }
}

/// Why an answer of an agent says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Unread {
    /// The agent closed the connection without a word.
    #[error("the agent said nothing")]
    Empty,
    /// The line has no end: perhaps a part of it is missing.
    #[error("the agent's line has no end; it must end in a line feed")]
    Incomplete,
}

/// What one line of an agent says; displayed as such a line, without its end.
///
/// ```
/// use ha_lb::health::agent::{AgentHealth, AgentReport, AgentWeight};
///
/// let report = AgentReport::read(b"up 75%, maxconn:30 # warm\r\n")?;
/// assert_eq!(report.health(), Some(AgentHealth::Up));
/// assert_eq!(report.weight(), Some(AgentWeight::Percent(75)));
/// assert_eq!((report.max_connections(), report.reason()), (Some(30), "warm"));
/// assert_eq!(report.to_string(), "up 75% maxconn:30 # warm");
/// # Ok::<(), ha_lb::health::agent::Unread>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentReport {
    health: Option<AgentHealth>,
    admin: Option<Admin>,
    weight: Option<AgentWeight>,
    max_connections: Option<u32>,
    reason: String,
    passed_over: Option<String>,
}

impl AgentReport {
    /// A report that says nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether the endpoint works.
    #[must_use]
    pub const fn with_health(mut self, health: AgentHealth) -> Self {
        self.health = Some(health);
        self
    }

    /// Sets what is wanted of it.
    #[must_use]
    pub const fn with_admin(mut self, admin: Admin) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Sets its weight.
    #[must_use]
    pub const fn with_weight(mut self, weight: AgentWeight) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Sets how many connections it may have; 0 is any number.
    #[must_use]
    pub const fn with_max_connections(mut self, limit: u32) -> Self {
        self.max_connections = Some(limit);
        self
    }

    /// Sets why; cut to 200 characters, control characters replaced.
    #[must_use]
    pub fn with_reason(mut self, reason: impl fmt::Display) -> Self {
        Failed::because(reason).reason().trim().clone_into(&mut self.reason);
        self
    }

    /// Reads what an agent has sent: the first line of it.
    ///
    /// # Errors
    ///
    /// When it is empty or the line has no end; HAProxy ignores such answers too.
    pub fn read(answer: &[u8]) -> Result<Self, Unread> {
        if answer.is_empty() {
            return Err(Unread::Empty);
        }
        let end = answer.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let line = end.and_then(|end| answer.get(..end)).ok_or(Unread::Incomplete)?;
        let line = String::from_utf8_lossy(line);
        let mut report = Self::new();
        let mut rest = &*line;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if let Some(comment) = rest.strip_prefix('#') {
                return Ok(report.with_reason(comment.trim_start_matches(['#', ' ', '\t'])));
            }
            let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() {
                break;
            }
            report.take(word);
            rest = after;
        }
        if let Some(word) = &report.passed_over {
            report.reason.clone_from(word);
        }
        Ok(report)
    }

    /// Takes one word in; the last one of a kind counts.
    fn take(&mut self, word: &str) {
        let lower = word.to_ascii_lowercase();
        match lower.as_str() {
            "up" => self.health = Some(AgentHealth::Up),
            "down" => self.health = Some(AgentHealth::Down),
            "fail" => self.health = Some(AgentHealth::Fail),
            "stopped" => self.health = Some(AgentHealth::Stopped),
            "ready" => self.admin = Some(Admin::Ready),
            "drain" => self.admin = Some(Admin::Drain),
            "maint" => self.admin = Some(Admin::Maintenance),
            other => {
                let known = if let Some(limit) = other.strip_prefix("maxconn:") {
                    number(limit).map(|limit| self.max_connections = Some(limit))
                } else {
                    weight(other).map(|weight| self.weight = Some(weight))
                };
                if known.is_none() && self.passed_over.is_none() {
                    self.passed_over = Some(Failed::because(word).reason().to_owned());
                }
            }
        }
    }

    /// Whether the endpoint works, if the line says so.
    #[must_use]
    pub const fn health(&self) -> Option<AgentHealth> {
        self.health
    }

    /// What is wanted of it, if the line says so.
    #[must_use]
    pub const fn admin(&self) -> Option<Admin> {
        self.admin
    }

    /// Its weight, if the line says so.
    #[must_use]
    pub const fn weight(&self) -> Option<AgentWeight> {
        self.weight
    }

    /// How many connections it may have, if the line says so; 0 is any number.
    #[must_use]
    pub const fn max_connections(&self) -> Option<u32> {
        self.max_connections
    }

    /// What stands after `#`, or the first word that was not understood; may be empty.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The first word that was not understood.
    #[must_use]
    pub fn passed_over(&self) -> Option<&str> {
        self.passed_over.as_deref()
    }
}

impl fmt::Display for AgentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admin = self.admin.map(|admin| match admin {
            Admin::Ready => "ready",
            Admin::Drain => "drain",
            Admin::Maintenance => "maint",
        });
        let words = [
            self.health.map(|health| health.to_string()),
            admin.map(str::to_owned),
            self.weight.map(|weight| weight.to_string()),
            self.max_connections.map(|limit| format!("maxconn:{limit}")),
            Some(format!("# {}", self.reason)).filter(|_| !self.reason.is_empty()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(&words.join(" "))
    }
}

/// A number of digits only; what is too large for it counts as the largest.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// `N%`, `weight:N%` or `weight:N`.
fn weight(word: &str) -> Option<AgentWeight> {
    let named = word.strip_prefix("weight:");
    if let Some(percent) = named.unwrap_or(word).strip_suffix('%') {
        let percent = number(percent)?;
        return Some(AgentWeight::Percent(u16::try_from(percent).unwrap_or(u16::MAX)));
    }
    let weight = u16::try_from(number(named?)?).ok()?;
    Weight::new(weight).ok().map(AgentWeight::Absolute)
}

#[cfg(test)]
mod tests;
