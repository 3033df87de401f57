//! Whom a level is for.

use std::collections::BTreeMap;
use std::fmt;

use ha_core::id::NodeName;
use regex_lite::Regex;

/// Whom a fencing level is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "the three ways that fencing levels have")]
pub enum Target {
    /// The node of this name (Pacemaker's `target`).
    Node(NodeName),
    /// Nodes in whose name this regular expression is found (`target-pattern`); not anchored, as
    /// Pacemaker's are not: `^web` begins with, `^web1$` is.
    Pattern(String),
    /// Nodes with this attribute of this value (`target-attribute`, `target-value`).
    Attribute {
        /// The attribute.
        name: String,
        /// Its value.
        value: String,
    },
}

impl Target {
    /// Which of several that a node meets holds: the smallest.
    pub(super) const fn precedence(&self) -> u8 {
        match self {
            Self::Node(_) => 0,
            Self::Pattern(_) => 1,
            Self::Attribute { .. } => 2,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Pattern(pattern) => write!(f, "/{pattern}/"),
            Self::Attribute { name, value } => write!(f, "{name}={value}"),
        }
    }
}

/// A target, ready to be compared.
#[derive(Debug, Clone)]
pub(super) enum Matcher {
    Node(NodeName),
    Pattern(Regex),
    Attribute { name: String, value: String },
}

impl Matcher {
    pub(super) fn new(target: &Target) -> Result<Self, String> {
        Ok(match target {
            Target::Node(node) => Self::Node(node.clone()),
            Target::Pattern(pattern) => {
                Self::Pattern(Regex::new(pattern).map_err(|error| error.to_string())?)
            }
            Target::Attribute { name, value } => {
                Self::Attribute { name: name.clone(), value: value.clone() }
            }
        })
    }

    pub(super) fn matches(&self, node: &NodeName, attributes: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Node(name) => name == node,
            Self::Pattern(pattern) => pattern.is_match(node.as_str()),
            Self::Attribute { name, value } => attributes.get(name) == Some(value),
        }
    }
}

/// A level of a topology.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) target: Target,
    pub(super) matcher: Matcher,
    pub(super) index: u32,
    pub(super) devices: Vec<String>,
}
