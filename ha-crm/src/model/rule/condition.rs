//! One condition of a rule.

use serde::{Deserialize, Serialize};

use super::attribute::AttributeExpression;
use super::date::DateExpression;
use super::facts::Facts;
use super::moment::Moment;
use super::scope::{OpExpression, ResourceExpression};
use super::{Rule, cut};

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Condition {
    /// On an attribute of a node.
    Attribute(AttributeExpression),
    /// On the time.
    Date(DateExpression),
    /// Never holds; the text says why. [`read`](super::read) puts it where a condition cannot be
    /// read.
    Never(String),
    /// On an operation.
    Operation(OpExpression),
    /// On the agent of a resource.
    Resource(ResourceExpression),
    /// A rule in the rule.
    Rule(Rule),
}

impl Condition {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Attribute(expression) => expression.holds(facts),
            Self::Date(expression) => expression.holds(Moment::of(facts.now)),
            Self::Never(_) => false,
            Self::Operation(expression) => expression.holds(facts),
            Self::Resource(expression) => expression.holds(facts),
            Self::Rule(rule) => rule.holds(facts),
        }
    }

    /// The condition, and what it was judged by.
    pub(super) fn why(&self, facts: &Facts<'_>) -> String {
        match self {
            Self::Attribute(expression) => expression.why(facts),
            Self::Date(expression) => {
                format!("{expression} (it is {})", Moment::of(facts.now))
            }
            Self::Never(why) => format!("never ({})", cut(why)),
            Self::Operation(expression) => match facts.operation {
                Some((name, interval)) => {
                    format!("{expression} (it is {} every {interval:?})", cut(name))
                }
                None => format!("{expression} (no operation is known)"),
            },
            Self::Resource(expression) => match facts.agent {
                Some(agent) => format!("{expression} (it is {agent})"),
                None => format!("{expression} (no agent is known)"),
            },
            Self::Rule(rule) => match &rule.id {
                Some(id) => format!("rule {}: {}", cut(id), rule.reason(facts)),
                None => format!("inner rule: {}", rule.reason(facts)),
            },
        }
    }

    pub(super) fn next_change(&self, now: Moment) -> Option<Moment> {
        match self {
            Self::Date(expression) => expression.next_change(now),
            Self::Rule(rule) => rule.next_moment(now),
            Self::Attribute(_) | Self::Never(_) | Self::Operation(_) | Self::Resource(_) => None,
        }
    }
}
