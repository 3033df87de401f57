//! What would be decided if something were different.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::time::WallTime;

use crate::cib::{
    AttributeSet, Cib, CibResource, CibValue, JoinState, NodeState, OperationRecord,
    OperationStatus, Pair, Presence, ResourceHistory, TransitionKey,
};
use crate::model::Score;

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
    /// An operation of a resource fails.
    Failure {
        /// On this node.
        node: String,
        /// The resource, or instance if instances are unique.
        resource: String,
        /// `monitor`, `start`, `stop`, ….
        operation: String,
        /// The agent's exit code, not 0; 1 is an error of no particular kind.
        rc: i32,
    },
    /// So much time has passed since the CIB's `execution-date`; nothing happens if it has none.
    Later(Duration),
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
     quorum=yes, quorum=no, attribute=NODE:NAME=VALUE, later=10min, or \
     failure=NODE/RESOURCE/OPERATION, if need be with /EXITCODE from 1 to 255"
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
            ("later", span) => Duration::read(span).map(Self::Later).ok_or_else(wrong),
            ("failure", value) => {
                let parts: Vec<&str> = value.split('/').collect();
                let (node, resource, operation, rc) = match parts.as_slice() {
                    [node, resource, operation] => (node, resource, operation, Ok(1)),
                    [node, resource, operation, rc] => (node, resource, operation, rc.parse()),
                    _ => return Err(wrong()),
                };
                let rc = rc.ok().filter(|rc| (1..=255).contains(rc)).ok_or_else(wrong)?;
                let [node, resource, operation] =
                    [node, resource, operation].map(|part| (*part).to_owned());
                Ok(Self::Failure { node, resource, operation, rc })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(node, name, value) => write!(f, "attribute={node}:{name}={value}"),
            Self::Failure { node, resource, operation, rc } => {
                write!(f, "failure={node}/{resource}/{operation}/{rc}")
            }
            Self::Later(span) => write!(f, "later={}ms", span.as_millis()),
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
            Self::Failure { node, resource, operation, rc } => {
                fail(cib, node, resource, operation, *rc);
            }
            Self::Later(span) => {
                let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
                let later =
                    |now: WallTime| WallTime::from_micros(now.as_micros().saturating_add(micros));
                cib.execution_date = cib.execution_date.map(later);
            }
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

/// Enters a failure as the node and the cluster's head do: a record, and a count.
fn fail(cib: &mut Cib, node: &str, resource: &str, operation: &str, rc: i32) {
    let now = cib.execution_date;
    // A failed start or stop counts as any number of failures.
    let is_fatal = matches!(operation, "start" | "stop") && start_failure_is_fatal(cib);
    let interval_ms = if operation == "monitor" { monitor_interval(cib, resource) } else { 0 };
    let state = state(cib, node);
    let position = state.resources.iter().position(|history| &*history.id == resource);
    let position = position.unwrap_or_else(|| {
        let id = resource.into();
        state.resources.push(ResourceHistory { id, ..ResourceHistory::default() });
        state.resources.len() - 1
    });
    let operations = &mut state.resources[position].operations;
    let last = operations.iter().filter_map(|record| record.call_id).max().unwrap_or(0);
    operations.push(OperationRecord {
        id: format!("{resource}_last_failure_0").into(),
        operation: operation.into(),
        interval_ms,
        call_id: Some(last.saturating_add(1)),
        rc_code: Some(rc),
        status: Some(OperationStatus::Done),
        transition: Some(TransitionKey {
            action: 0,
            transition: 0,
            target_rc: Some(0),
            uuid: "".into(),
        }),
        last_rc_change: now,
        ..OperationRecord::default()
    });
    let key = format!("{resource}#{operation}_{interval_ms}");
    let name = format!("fail-count-{key}");
    let before = state.attribute(&name).and_then(Score::read).map_or(0, Score::get);
    let count = if is_fatal { "INFINITY".to_owned() } else { (before + 1).to_string() };
    set(cib, node, &name, &count);
    if let Some(now) = now {
        set(cib, node, &format!("last-failure-{key}"), &(now.as_micros() / 1_000_000).to_string());
    }
}

/// Source: `start-failure-is-fatal`, by default true.
fn start_failure_is_fatal(cib: &Cib) -> bool {
    let value = cib.options.iter().find_map(|set| set.get("start-failure-is-fatal"));
    value.and_then(bool::read).unwrap_or(true)
}

/// How often a resource is monitored, in milliseconds; 10 s if it is not.
fn monitor_interval(cib: &Cib, resource: &str) -> u64 {
    let base = resource.split_once(':').map_or(resource, |(base, _)| base);
    let mut primitives = cib.resources.iter().flat_map(CibResource::primitives);
    let configured = primitives.find(|primitive| &*primitive.id == base);
    let lists = configured.into_iter().flat_map(|primitive| &primitive.operations);
    let monitors = lists.flat_map(|list| &list.operations).filter(|one| &*one.name == "monitor");
    let interval = monitors.filter_map(|one| one.interval).find(|interval| !interval.is_zero());
    interval.and_then(|interval| interval.as_millis().try_into().ok()).unwrap_or(10_000)
}

/// Sets a transient attribute, before all others.
fn set(cib: &mut Cib, node: &str, name: &str, value: &str) {
    let pair = Pair { name: name.into(), value: Some(value.into()), ..Pair::default() };
    let score = Some(Score::INFINITY);
    let set = AttributeSet { pairs: vec![pair], score, ..AttributeSet::default() };
    state(cib, node).attributes.insert(0, Arc::new(set));
}
