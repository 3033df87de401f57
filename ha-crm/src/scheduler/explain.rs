//! Why: where every score comes from, and what every action waits for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ha_core::role::Role;
use serde::Serialize;

use crate::model::Score;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::resource::ABSENT;

/// One part of a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScorePart {
    /// How much it is.
    pub score: Score,
    /// Where it comes from.
    pub why: String,
}

/// The score of a resource on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeScore {
    /// The node.
    pub node: Arc<str>,
    /// The score; [`NEVER`](Score::NEVER) forbids.
    pub score: Score,
    /// What it is made of: added one after the other these give the score.
    pub parts: Vec<ScorePart>,
    /// Why the node could not be had whatever the score is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<&'static str>,
}

/// How the place of one instance came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Account {
    /// The instance; that of a clone has a number.
    pub resource: Arc<str>,
    /// Its name in the configuration.
    pub base: Arc<str>,
    /// What it is.
    pub role: Role,
    /// What it shall be.
    pub next_role: Role,
    /// Where it is.
    pub running: Vec<Arc<str>>,
    /// Where it shall be.
    pub assigned: Option<Arc<str>>,
    /// Why its role is limited, or it is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// The nodes that it knows of.
    pub nodes: Vec<NodeScore>,
}

impl fmt::Display for Account {
    /// The result in one line, then each node with its score and the parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.assigned.as_deref().unwrap_or("nowhere");
        write!(f, "{}: {} now", self.resource, self.role)?;
        if !self.running.is_empty() {
            let nodes: Vec<&str> = self.running.iter().map(|node| &**node).collect();
            write!(f, " on {}", nodes.join(", "))?;
        }
        write!(f, ", shall be {}", self.next_role)?;
        if self.next_role.is_active() {
            write!(f, " on {place}")?;
        }
        if let Some(remark) = &self.remark {
            write!(f, " ({remark})")?;
        }
        for node in &self.nodes {
            write!(f, "\n   {}: {}", node.node, node.score)?;
            for (index, part) in node.parts.iter().enumerate() {
                let sign = if index == 0 { " = " } else { " + " };
                write!(f, "{sign}{} ({})", part.score, part.why)?;
            }
            if let Some(why) = node.unavailable {
                write!(f, "; {why}")?;
            }
        }
        Ok(())
    }
}

/// The accounts of all primitives.
pub(crate) fn accounts(cluster: &Cluster<'_>) -> Vec<Account> {
    let primitives = cluster.resource_ids().filter(|rsc| cluster[*rsc].is_primitive());
    primitives.map(|rsc| account(cluster, rsc)).collect()
}

fn account(cluster: &Cluster<'_>, resource: RscId) -> Account {
    let rsc = &cluster[resource];
    let name = |node: &NodeId| Arc::clone(&cluster[*node].name);
    Account {
        resource: Arc::clone(&rsc.id),
        base: Arc::clone(&rsc.base),
        role: rsc.role,
        next_role: rsc.next_role,
        running: rsc.running.iter().map(name).collect(),
        assigned: rsc.assigned.as_ref().map(name),
        remark: remark(cluster, resource),
        nodes: node_scores(cluster, resource),
    }
}

fn remark(cluster: &Cluster<'_>, resource: RscId) -> Option<String> {
    let rsc = &cluster[resource];
    if let Some(why) = rsc.why.as_ref().or(rsc.next_role_why.as_ref()) {
        return Some(why.to_string());
    }
    if rsc.blocked {
        Some("blocked".to_owned())
    } else if rsc.maintenance {
        Some("in maintenance".to_owned())
    } else if !rsc.managed {
        Some("not managed".to_owned())
    } else {
        None
    }
}

/// What each node got, with the parts.
fn node_scores(cluster: &Cluster<'_>, resource: RscId) -> Vec<NodeScore> {
    let mut parts: BTreeMap<NodeId, Vec<ScorePart>> = BTreeMap::new();
    for entry in cluster.ledger.of(resource) {
        let part = ScorePart { score: Score::new(entry.score), why: entry.why.to_string() };
        parts.entry(entry.node).or_default().push(part);
    }
    let known = cluster.node_ids().filter(|node| cluster[resource].score(*node) != ABSENT);
    let scores = known.map(|node| NodeScore {
        node: Arc::clone(&cluster[node].name),
        score: Score::new(cluster[resource].score(node)),
        parts: parts.remove(&node).unwrap_or_default(),
        unavailable: unavailable(cluster, node),
    });
    scores.collect()
}

fn unavailable(cluster: &Cluster<'_>, node: NodeId) -> Option<&'static str> {
    let node = &cluster[node];
    if !node.online {
        Some("the node is offline")
    } else if node.unclean {
        Some("the node is unclean")
    } else if node.shutdown {
        Some("the node shuts down")
    } else if node.standby {
        Some("the node is in standby")
    } else if node.maintenance {
        Some("the node is in maintenance")
    } else {
        None
    }
}
