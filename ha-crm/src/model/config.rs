//! What is wanted, checked: a [`ClusterConfig`] that exists is one that can be kept.

use std::collections::BTreeMap;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::{NodeName, ResourceName};
use ha_core::time::WallTime;
use ha_membership::quorum::{TieBreaker, VoteQuorum};
use serde::{Deserialize, Serialize};

use super::check;
use super::constraint::{Constraints, Location, Origin};
use super::fencing::Fencing;
use super::group::Group;
use super::options::ClusterOptions;
use super::resource::RawResource;
use super::score::Score;

/// A cluster's configuration, checked whole; made by [`Cluster::builder`](crate::Cluster::builder)
/// or from data.
///
/// From data it is `serde`: the same checks, and a file that asks for an at-most-one resource
/// without quorum and fencing does not load.
///
/// ```
/// use ha_crm::model::ClusterConfig;
///
/// let file = r#"{
///     "nodes": ["a", "b", "c"],
///     "resources": { "db": { "guarantee": "at-most-one", "agent": "ocf:heartbeat:pgsql" } }
/// }"#;
/// let error = serde_json::from_str::<ClusterConfig>(file).unwrap_err().to_string();
/// assert!(error.contains("quorum and fencing"), "{error}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawClusterConfig", into = "RawClusterConfig")]
pub struct ClusterConfig {
    raw: RawClusterConfig,
    policy: Option<VoteQuorum>,
}

/// A cluster's configuration as a file has it, not checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RawClusterConfig {
    /// The members, each with one vote.
    pub nodes: Vec<NodeName>,
    /// Those of them that only vote: they run nothing, and so need no fencing (Corosync's quorum
    /// device; the third vote of a cluster of two nodes).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<NodeName>,
    /// How quorum is found; must be given for at-most-one resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<VoteRules>,
    /// How nodes are fenced; must be given for at-most-one resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fencing: Option<Fencing>,
    /// What is to run.
    #[serde(default)]
    pub resources: BTreeMap<ResourceName, RawResource>,
    /// What belongs together, by names that no resource has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<ResourceName, Group>,
    /// What holds between resources and nodes.
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
    /// Settings of the whole cluster.
    #[serde(default)]
    pub options: ClusterOptions,
}

/// How quorum is found: a majority of the nodes, and what else may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct VoteRules {
    /// One of two nodes may act after it has fenced the other. Default: false.
    pub two_node: bool,
    /// Nobody acts until all were there together. Default: false; true with `two_node`.
    pub wait_for_all: bool,
    /// Which half may act. Default: neither.
    pub tie_breaker: TieBreaker,
}

impl VoteRules {
    /// A majority of the nodes; for three and more.
    #[must_use]
    pub const fn majority() -> Self {
        Self { two_node: false, wait_for_all: false, tie_breaker: TieBreaker::None }
    }

    /// Two nodes without a third vote: fence first, then act.
    #[must_use]
    pub const fn two_node() -> Self {
        Self { two_node: true, wait_for_all: true, tie_breaker: TieBreaker::None }
    }
}

impl ClusterConfig {
    /// The members.
    #[must_use]
    pub fn nodes(&self) -> &[NodeName] {
        &self.raw.nodes
    }

    /// Whether a member only votes, and runs nothing.
    #[must_use]
    pub fn is_witness(&self, node: &NodeName) -> bool {
        self.raw.witnesses.contains(node)
    }

    /// What is to run.
    #[must_use]
    pub const fn resources(&self) -> &BTreeMap<ResourceName, RawResource> {
        &self.raw.resources
    }

    /// How quorum is found; always given if a resource is at-most-one.
    #[must_use]
    pub const fn quorum(&self) -> Option<&VoteQuorum> {
        self.policy.as_ref()
    }

    /// How nodes are fenced; always given, and for every node, if a resource is at-most-one.
    #[must_use]
    pub const fn fencing(&self) -> Option<&Fencing> {
        self.raw.fencing.as_ref()
    }

    /// What belongs together.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<ResourceName, Group> {
        &self.raw.groups
    }

    /// What holds between resources and nodes.
    #[must_use]
    pub const fn constraints(&self) -> &Constraints {
        &self.raw.constraints
    }

    /// Settings of the whole cluster.
    #[must_use]
    pub const fn options(&self) -> &ClusterOptions {
        &self.raw.options
    }

    /// The configuration in which a resource or group is asked to move to `node`, until a time or
    /// until [`without_moves`](Self::without_moves).
    ///
    /// # Errors
    ///
    /// There is no such resource or node.
    pub fn with_move(
        &self,
        resource: &ResourceName,
        node: &NodeName,
        until: Option<WallTime>,
    ) -> Result<Self, ConfigError> {
        let mut raw = self.without_moves(resource).raw;
        let mut wish = Location::new(resource.clone(), node.clone(), Score::INFINITY);
        wish.origin = Origin::Move;
        wish.until = until;
        raw.constraints.locations.push(wish);
        Self::try_from(raw)
    }

    /// The configuration without what [`with_move`](Self::with_move) added for a resource.
    #[must_use]
    pub fn without_moves(&self, resource: &ResourceName) -> Self {
        let mut config = self.clone();
        let asked = |l: &Location| l.origin == Origin::Move && l.resource == *resource;
        config.raw.constraints.locations.retain(|location| !asked(location));
        config
    }

    /// Other data with what is known of the nodes; not checked.
    pub(crate) fn with_raw(&self, raw: RawClusterConfig) -> Self {
        Self { raw, policy: self.policy.clone() }
    }

    /// The configuration as data.
    #[must_use]
    pub const fn raw(&self) -> &RawClusterConfig {
        &self.raw
    }
}

impl TryFrom<RawClusterConfig> for ClusterConfig {
    type Error = ConfigError;

    fn try_from(raw: RawClusterConfig) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        check::check(&raw, &mut problems);
        let policy = match raw.quorum.map(|rules| vote_quorum(&raw.nodes, rules)).transpose() {
            Ok(policy) => policy,
            Err(error) => {
                problems.absorb(error);
                None
            }
        };
        problems.into_result(Self { raw, policy })
    }
}

impl From<ClusterConfig> for RawClusterConfig {
    fn from(config: ClusterConfig) -> Self {
        config.raw
    }
}

fn vote_quorum(nodes: &[NodeName], rules: VoteRules) -> Result<VoteQuorum, ConfigError> {
    let builder = nodes.iter().fold(VoteQuorum::builder(), |b, node| b.voter(node.clone()));
    let VoteRules { two_node, wait_for_all, tie_breaker } = rules;
    builder.two_node(two_node).wait_for_all(wait_for_all).tie_breaker(tie_breaker).build()
}
