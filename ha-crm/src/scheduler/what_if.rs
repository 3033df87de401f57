//! What would be decided if something were different.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::cib::{AttributeSet, Cib, JoinState, NodeState, Pair, Presence};

/// Something that could be different.
///
/// ```
/// use ha_crm::scheduler::WhatIf;
///
/// let lost: WhatIf = "node-down=n1".parse()?;
/// assert_eq!(lost, WhatIf::NodeDown("n1".into()));
/// assert!("node-gone=n1".parse::<WhatIf>().is_err());
/// # Ok::<(), ha_crm::scheduler::WhatIfError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhatIf {
    /// A node has an attribute: node, name, value.
    Attribute(String, String, String),
    /// A node is lost, without a word.
    NodeDown(String),
    /// A node is there again.
    NodeUp(String),
    /// The cluster has quorum, or has not.
    Quorum(bool),
    /// A node is in standby.
    Standby(String),
}

/// A text that is not a [`WhatIf`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {0:?} as a change: write node-down=NODE, node-up=NODE, standby=NODE, \
     quorum=yes, quorum=no or attribute=NODE:NAME=VALUE"
)]
pub struct WhatIfError(String);

impl FromStr for WhatIf {
    type Err = WhatIfError;

    fn from_str(text: &str) -> Result<Self, WhatIfError> {
        let wrong = || WhatIfError(text.chars().take(80).collect());
        let (what, value) = text.split_once('=').ok_or_else(wrong)?;
        match (what, value) {
            ("node-down", node) => Ok(Self::NodeDown(node.to_owned())),
            ("node-up", node) => Ok(Self::NodeUp(node.to_owned())),
            ("standby", node) => Ok(Self::Standby(node.to_owned())),
            ("quorum", "yes") => Ok(Self::Quorum(true)),
            ("quorum", "no") => Ok(Self::Quorum(false)),
            ("attribute", value) => {
                let (node, pair) = value.split_once(':').ok_or_else(wrong)?;
                let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
                Ok(Self::Attribute(node.to_owned(), name.to_owned(), value.to_owned()))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(node, name, value) => write!(f, "attribute={node}:{name}={value}"),
            Self::NodeDown(node) => write!(f, "node-down={node}"),
            Self::NodeUp(node) => write!(f, "node-up={node}"),
            Self::Quorum(yes) => write!(f, "quorum={}", if *yes { "yes" } else { "no" }),
            Self::Standby(node) => write!(f, "standby={node}"),
        }
    }
}

impl WhatIf {
    /// Changes a CIB accordingly. Nodes that are not in it are entered in its status.
    pub fn apply(&self, cib: &mut Cib) {
        match self {
            Self::Attribute(node, name, value) => set(cib, node, name, value),
            Self::NodeDown(node) => {
                let state = state(cib, node);
                state.in_ccm = Some(Presence::Absent);
                state.crmd = Some(Presence::Absent);
                state.join = Some(JoinState::Down);
                state.expected = Some(JoinState::Member);
            }
            Self::NodeUp(node) => {
                let state = state(cib, node);
                state.in_ccm = Some(Presence::Present);
                state.crmd = Some(Presence::Present);
                state.join = Some(JoinState::Member);
                state.expected = Some(JoinState::Member);
            }
            Self::Quorum(yes) => cib.have_quorum = Some(*yes),
            Self::Standby(node) => set(cib, node, "standby", "true"),
        }
    }
}

fn state<'c>(cib: &'c mut Cib, node: &str) -> &'c mut NodeState {
    let position = cib.node_states.iter().position(|state| state.uname.as_deref() == Some(node));
    let position = position.unwrap_or_else(|| {
        let configured = cib.nodes.iter().find(|one| one.uname.as_deref() == Some(node));
        let state = NodeState {
            id: configured.map(|configured| Arc::clone(&configured.id)),
            uname: Some(node.into()),
            ..NodeState::default()
        };
        cib.node_states.push(state);
        cib.node_states.len() - 1
    });
    &mut cib.node_states[position]
}

/// Sets a transient attribute, before all others.
fn set(cib: &mut Cib, node: &str, name: &str, value: &str) {
    let pair = Pair { name: name.into(), value: Some(value.into()), ..Pair::default() };
    let score = Some(crate::model::Score::INFINITY);
    let set = AttributeSet { pairs: vec![pair], score, ..AttributeSet::default() };
    state(cib, node).attributes.insert(0, Arc::new(set));
}
