//! Conditions on what a default is for: an operation, or the resources of an agent.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cut;
use super::facts::Facts;
use crate::model::span;

/// A condition on an operation: Pacemaker's `op_expression`. For defaults of operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct OpExpression {
    /// The operation's name.
    pub name: String,
    /// How often it is repeated. Default: any interval.
    #[serde(with = "span::option", default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
}

impl OpExpression {
    /// Operations of that name, whatever their interval.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), interval: None }
    }

    /// Only those of that interval.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        facts.operation.is_some_and(|(name, interval)| {
            self.name == name && self.interval.is_none_or(|wanted| wanted == interval)
        })
    }
}

impl fmt::Display for OpExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}", cut(&self.name))?;
        match self.interval {
            Some(interval) => write!(f, " every {interval:?}"),
            None => Ok(()),
        }
    }
}

/// A condition on a resource's agent: Pacemaker's `rsc_expression`. For defaults of resources.
///
/// What is not given may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ResourceExpression {
    /// The agent's standard, such as `ocf` or `systemd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Who made the agent, such as `heartbeat`; only OCF agents have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The agent's name, such as `IPaddr2`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl ResourceExpression {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let is = |wanted: &Option<String>, actual: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == actual)
        };
        facts.agent.is_some_and(|agent| {
            is(&self.class, Some(agent.class))
                && is(&self.provider, agent.provider)
                && is(&self.kind, Some(agent.kind))
        })
    }
}

impl fmt::Display for ResourceExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Option<String>| cut(part.as_deref().unwrap_or("*"));
        let (class, provider, kind) = (&self.class, &self.provider, &self.kind);
        write!(f, "resource of {}:{}:{}", part(class), part(provider), part(kind))
    }
}
