//! Deciding: from a state to what is to be done, without doing it.

mod place;
mod plan;
mod promotion;
mod settle;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ha_core::id::ResourceName;
use ha_core::time::WallTime;
use serde::Serialize;

use self::place::Places;
use self::view::View;
use crate::explain::Placement;
use crate::graph::TransitionGraph;
use crate::model::ClusterState;

/// Decides what a cluster shall do.
///
/// # The law
///
/// A pure function: the same state and time give the same decision, wherever it is computed. So a
/// decision can be replayed from its input, simulated, and asked "why?".
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// The decision for `state`; `now` is for rules on dates and for failures that expire.
    fn decide(&self, state: &ClusterState, now: WallTime) -> Decision;
}

impl<P: PolicyEngine + ?Sized> PolicyEngine for &P {
    fn decide(&self, state: &ClusterState, now: WallTime) -> Decision {
        (**self).decide(state, now)
    }
}

impl<P: PolicyEngine + ?Sized> PolicyEngine for Box<P> {
    fn decide(&self, state: &ClusterState, now: WallTime) -> Decision {
        (**self).decide(state, now)
    }
}

impl<P: PolicyEngine + ?Sized> PolicyEngine for Arc<P> {
    fn decide(&self, state: &ClusterState, now: WallTime) -> Decision {
        (**self).decide(state, now)
    }
}

/// What shall be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decision {
    /// The actions and their order.
    pub graph: TransitionGraph,
    /// Where each resource shall be, with the scores of all nodes.
    pub placements: BTreeMap<ResourceName, Placement>,
    /// When to decide again though nothing happens: a failure or a move ends by itself then.
    pub next_change: Option<WallTime>,
}

impl Decision {
    /// Why a resource is where it shall be, as text; `None` if it is not configured.
    #[must_use]
    pub fn explain(&self, resource: &ResourceName) -> Option<String> {
        self.placements.get(resource).map(|placement| format!("{resource} {placement}"))
    }
}

/// Places each resource by its scores.
///
/// - *At most one*: the online node with the highest score that is not below zero; of equal ones
///   where it is, then the one with the fewest resources, then the first name. A start waits for
///   the stop everywhere else and for the fencing of *every* unclean node: nobody knows what an
///   unclean node runs. Without quorum everything is stopped, and nobody is fenced. While quorum
///   hangs on fencing, what runs goes on, nothing is started, and the fencing is done.
/// - *Promotable*: copies as at least one, on every online node whose score is not below zero; one
///   of them is promoted, as *at most one*: the one with the highest promotion score, not below
///   zero, that its agent tells. By the name `db:promoted` constraints, moves and explanations
///   speak of it.
/// - *At least one*: every online node whose score is not below zero, with or without quorum.
/// - A node in maintenance is left alone, with all that it runs.
///
/// ```
/// use ha_core::time::WallTime;
/// use ha_crm::model::{ClusterState, FenceDevice, Fencing, NodeStatus, Resource, VoteRules};
/// use ha_crm::{Cluster, PolicyEngine, ScorePolicy};
///
/// let nodes = || ["n1", "n2", "n3"].map(|name| name.parse().unwrap());
/// let config = Cluster::builder()
///     .nodes(nodes())
///     .quorum(VoteRules::majority())
///     .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", nodes())))
///     .at_most_one(Resource::new("db".parse()?, "ocf:heartbeat:pgsql"))
///     .build()?;
/// // n1 ran the database, and is not heard any more.
/// let state = ClusterState::new(config)
///     .with_node("n1".parse()?, NodeStatus::Unclean)
///     .with_active("db".parse()?, "n1".parse()?);
/// let decision = ScorePolicy::new().decide(&state, WallTime::from_micros(0));
/// assert_eq!(
///     decision.graph.to_string(),
///     "#0 fence n1: its state is not known\n\
///      #1 start db on n2: n2 has the highest score, 0\n   \
///         after #0: n1 may run db until it is fenced\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ScorePolicy;

impl ScorePolicy {
    /// The policy.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl PolicyEngine for ScorePolicy {
    fn decide(&self, state: &ClusterState, now: WallTime) -> Decision {
        match promotion::expand(state) {
            Some(expanded) => promotion::contract(decide(&expanded, now), state),
            None => decide(state, now),
        }
    }
}

fn decide(state: &ClusterState, now: WallTime) -> Decision {
    let view = View::new(state, now);
    let mut places = place::place(&view);
    let restarts = settle::settle(&view, &mut places);
    let graph = plan::plan(&view, &places, &restarts);
    let Places { targets, reasons, sheets } = places;
    let all = view.resources.iter().zip(targets).zip(reasons).zip(sheets);
    let placements = all
        .map(|((((name, _), targets), reason), sheets)| {
            let nodes = targets.iter().map(|node| view.nodes[*node].clone()).collect();
            let sheets = view.nodes.iter().zip(sheets).zip(&view.configured);
            let sheets = sheets.filter(|(_, configured)| **configured);
            let sheets = sheets.map(|((node, sheet), _)| ((*node).clone(), sheet)).collect();
            ((*name).clone(), Placement { nodes, reason, sheets })
        })
        .collect();
    Decision { graph, placements, next_change: view.next_change }
}
