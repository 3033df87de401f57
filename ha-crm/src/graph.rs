//! What is to be done, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ha_core::id::{NodeName, ResourceName};
use serde::Serialize;

/// The number of an action in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ActionId(usize);

impl ActionId {
    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "whoever runs a graph must be able to run all of it")]
pub enum ActionKind {
    /// Make the promoted one of a resource's copies a copy again.
    Demote {
        /// Which.
        resource: ResourceName,
        /// Where.
        node: NodeName,
    },
    /// Make sure that a node is off.
    Fence {
        /// Which.
        node: NodeName,
    },
    /// Look whether a resource runs on a node. It succeeds when it finds that it does not; what
    /// else it finds ends the transition, and a new decision is due.
    Probe {
        /// Which.
        resource: ResourceName,
        /// Where.
        node: NodeName,
    },
    /// Make a copy of a resource the promoted one.
    Promote {
        /// Which.
        resource: ResourceName,
        /// Where.
        node: NodeName,
    },
    /// Start a resource.
    Start {
        /// Which.
        resource: ResourceName,
        /// Where.
        node: NodeName,
    },
    /// Stop a resource.
    Stop {
        /// Which.
        resource: ResourceName,
        /// Where.
        node: NodeName,
    },
}

impl ActionKind {
    /// The node that it concerns.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        match self {
            Self::Fence { node }
            | Self::Demote { node, .. }
            | Self::Probe { node, .. }
            | Self::Promote { node, .. }
            | Self::Start { node, .. }
            | Self::Stop { node, .. } => node,
        }
    }

    /// The resource that it concerns; none if it concerns the node as a whole.
    #[must_use]
    pub const fn resource(&self) -> Option<&ResourceName> {
        match self {
            Self::Fence { .. } => None,
            Self::Demote { resource, .. }
            | Self::Probe { resource, .. }
            | Self::Promote { resource, .. }
            | Self::Start { resource, .. }
            | Self::Stop { resource, .. } => Some(resource),
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Demote { resource, node } => write!(f, "demote {resource} on {node}"),
            Self::Fence { node } => write!(f, "fence {node}"),
            Self::Probe { resource, node } => write!(f, "probe {resource} on {node}"),
            Self::Promote { resource, node } => write!(f, "promote {resource} on {node}"),
            Self::Start { resource, node } => write!(f, "start {resource} on {node}"),
            Self::Stop { resource, node } => write!(f, "stop {resource} on {node}"),
        }
    }
}

/// One action, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Action {
    /// Its number.
    pub id: ActionId,
    /// What it does.
    #[serde(flatten)]
    pub kind: ActionKind,
    /// Why it is to be done, for a person.
    pub reason: String,
}

/// One action must have succeeded before another begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Edge {
    /// What comes first.
    pub before: ActionId,
    /// What waits for it.
    pub after: ActionId,
    /// Why it waits, for a person.
    pub reason: String,
}

/// The actions of a decision with their order; acyclic.
///
/// An action may begin when all that it waits for has *succeeded*. If one fails, what waits for it
/// is not done, and a new decision is due.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TransitionGraph {
    actions: Vec<Action>,
    edges: Vec<Edge>,
}

impl TransitionGraph {
    pub(crate) fn add(&mut self, kind: ActionKind, reason: impl Into<String>) -> ActionId {
        let id = ActionId(self.actions.len());
        self.actions.push(Action { id, kind, reason: reason.into() });
        id
    }

    pub(crate) fn order(&mut self, before: ActionId, after: ActionId, reason: impl Into<String>) {
        self.edges.push(Edge { before, after, reason: reason.into() });
    }

    /// The actions; an action's number is its place.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The order.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The actions that can begin once those in `done` have succeeded.
    pub fn ready<'a>(&'a self, done: &'a BTreeSet<ActionId>) -> impl Iterator<Item = &'a Action> {
        let open = self.edges.iter().filter(|edge| !done.contains(&edge.before));
        let waiting: BTreeSet<ActionId> = open.map(|edge| edge.after).collect();
        let can = move |id| !done.contains(&id) && !waiting.contains(&id);
        self.actions.iter().filter(move |action| can(action.id))
    }

    /// One order in which everything can be done; `None` if there is a cycle, which would be a
    /// mistake of the policy.
    #[must_use]
    pub fn sorted(&self) -> Option<Vec<ActionId>> {
        let mut waits: Vec<usize> = vec![0; self.actions.len()];
        let mut after: Vec<Vec<usize>> = vec![Vec::new(); self.actions.len()];
        for edge in &self.edges {
            *waits.get_mut(edge.after.0)? += 1;
            after.get_mut(edge.before.0)?.push(edge.after.0);
        }
        let mut ready: BTreeSet<usize> =
            waits.iter().enumerate().filter(|(_, count)| **count == 0).map(|(id, _)| id).collect();
        let mut sorted = Vec::new();
        while let Some(id) = ready.pop_first() {
            sorted.push(ActionId(id));
            for next in after.get(id)? {
                let count = waits.get_mut(*next)?;
                *count -= 1;
                if *count == 0 {
                    ready.insert(*next);
                }
            }
        }
        (sorted.len() == self.actions.len()).then_some(sorted)
    }
}

impl fmt::Display for TransitionGraph {
    /// One action a line, with its reason and what it waits for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut waits: BTreeMap<ActionId, Vec<&Edge>> = BTreeMap::new();
        for edge in &self.edges {
            waits.entry(edge.after).or_default().push(edge);
        }
        for action in &self.actions {
            writeln!(f, "{} {}: {}", action.id, action.kind, action.reason)?;
            for edge in waits.get(&action.id).into_iter().flatten() {
                writeln!(f, "   after {}: {}", edge.before, edge.reason)?;
            }
        }
        Ok(())
    }
}
