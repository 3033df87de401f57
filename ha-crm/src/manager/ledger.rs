//! What the cluster has agreed on: the document in the store that only the leader writes.

use std::collections::BTreeMap;

use ha_core::id::{Incarnation, NodeName, ResourceName, Term};
use ha_core::time::WallTime;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterConfig, Failures, OperationName};

/// The key of the ledger in the store.
pub const LEDGER_KEY: &str = "cluster/ledger";
/// The version of the format; a newer one is refused.
const VERSION: u32 = 1;

/// What the cluster has agreed on: what is wanted, what became of each node, which failures count,
/// and the last decision.
///
/// It is one entry of the [store](ha_membership::store::ClusterStore), and each write of it is a
/// compare-and-set: a leader that was deposed cannot write any more, and so cannot start anything,
/// as nothing is started before the decision to do so has been written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ledger {
    version: u32,
    /// What is wanted.
    pub config: ClusterConfig,
    /// What is known of nodes.
    pub nodes: BTreeMap<NodeName, NodeRecord>,
    /// The failures of resources on nodes.
    pub failures: BTreeMap<ResourceName, BTreeMap<NodeName, FailureRecord>>,
    /// The last decision.
    pub decision: DecisionRecord,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NodeRecord {
    /// A person wants nothing to run there.
    #[serde(default)]
    pub standby: bool,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a node, as far as it must be known before its resources start elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "whoever acts on it must handle all")]
pub enum Fate {
    /// It was admitted in this life and may run anything.
    Member {
        /// The life.
        life: Incarnation,
    },
    /// In this life and all before it runs nothing: it was fenced, or left in order.
    Off {
        /// The last such life; none if it was never a member.
        life: Option<Incarnation>,
    },
    /// Nobody knows; it may run something.
    #[default]
    Unknown,
}

/// The failures of a resource on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FailureRecord {
    /// How many, when the last, of what; none since it was cleaned up.
    pub failures: Option<Failures>,
    /// The life of the node whose count is known.
    pub life: Incarnation,
    /// How many the node had counted in that life when they were last added.
    pub seen: u32,
}

/// A decision: what its actions are is agreed on before any of them begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DecisionRecord {
    /// Its number; each has a higher one than all before.
    pub number: u64,
    /// The leader's term.
    pub term: Term,
    /// The leader.
    pub by: NodeName,
    /// When.
    pub at: WallTime,
    /// The actions with their reasons, at most 100 of them.
    pub actions: Vec<String>,
}

impl Ledger {
    /// The ledger of a cluster that has done nothing yet.
    #[must_use]
    pub fn new(config: ClusterConfig, by: NodeName, at: WallTime) -> Self {
        let nodes = config.nodes().iter().map(|n| (n.clone(), NodeRecord::default())).collect();
        let decision =
            DecisionRecord { number: 0, term: Term::new(0), by, at, actions: Vec::new() };
        Self { version: VERSION, config, nodes, failures: BTreeMap::new(), decision }
    }

    /// The ledger as the store has it (JSON).
    ///
    /// # Errors
    ///
    /// [`LedgerError`]; none is expected.
    pub fn encode(&self) -> Result<Vec<u8>, LedgerError> {
        serde_json::to_vec(self).map_err(|source| LedgerError::Malformed { source })
    }

    /// Reads what the store has.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]: it is no ledger, or one of a newer version of this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let malformed = |source| LedgerError::Malformed { source };
        let Version { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version > VERSION {
            return Err(LedgerError::Version { version });
        }
        serde_json::from_slice(bytes).map_err(malformed)
    }

    /// What became of a node.
    #[must_use]
    pub fn fate(&self, node: &NodeName) -> Fate {
        self.nodes.get(node).map_or(Fate::Unknown, |record| record.fate)
    }

    /// Notes what became of a node; whether that is news.
    pub(super) fn set_fate(&mut self, node: &NodeName, fate: Fate) -> bool {
        let record = self.nodes.entry(node.clone()).or_default();
        std::mem::replace(&mut record.fate, fate) != fate
    }

    /// Adds the failures that a node has counted since it was last asked; whether there were any.
    pub(super) fn count_failures(
        &mut self,
        (resource, node): (&ResourceName, &NodeName),
        (life, counted): (Incarnation, u32),
        (operation, at): (OperationName, WallTime),
    ) -> bool {
        let known = self.failures.entry(resource.clone()).or_default();
        let record = known.entry(node.clone());
        let record = record.or_insert(FailureRecord { failures: None, life, seen: 0 });
        if record.life != life {
            (record.life, record.seen) = (life, 0);
        }
        let more = counted.saturating_sub(record.seen);
        if more == 0 {
            return false;
        }
        record.seen = counted;
        let before = record.failures.map_or(0, |failures| failures.count);
        record.failures =
            Some(Failures { count: before.saturating_add(more), last: at, operation });
        true
    }

    /// Forgets the failures of a resource, on all nodes.
    pub(super) fn clean_up(&mut self, resource: &ResourceName) {
        for record in self.failures.get_mut(resource).into_iter().flat_map(BTreeMap::values_mut) {
            record.failures = None;
        }
    }
}

/// A ledger cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It is something else.
    #[error(
        "cannot read the cluster's ledger: the store has something else under {LEDGER_KEY}; who wrote it?"
    )]
    Malformed {
        /// Where it ends to be one.
        #[source]
        source: serde_json::Error,
    },
    /// A newer program wrote it.
    #[error(
        "cannot read the cluster's ledger: it has version {version}, this program knows {VERSION}; update it"
    )]
    Version {
        /// Its version.
        version: u32,
    },
}
