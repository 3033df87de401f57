//! A resource, as it is wanted.

use std::collections::BTreeMap;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use serde::{Deserialize, Serialize};

use super::score::Score;

/// A resource that the cluster keeps running (Pacemaker's primitive).
///
/// Its [guarantee](Guarantee) is not a setting of it: it comes from how it is given to a cluster.
///
/// ```
/// use ha_crm::model::{Resource, Score};
///
/// let db = Resource::new("db".parse()?, "ocf:heartbeat:pgsql")
///     .parameter("pgdata", "/srv/pg")
///     .location("n1".parse()?, Score::new(100));
/// # Ok::<(), ha_core::id::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    pub(crate) name: ResourceName,
    pub(crate) raw: RawResource,
}

/// A resource as a configuration file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RawResource {
    /// In how many places it runs.
    pub guarantee: Guarantee,
    /// What runs it, such as `ocf:heartbeat:IPaddr2`.
    pub agent: String,
    /// The agent's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// How much it wants to stay where it is; not below zero. Default: 100, so that a node that returns moves
    /// nothing (Pacemaker's own default is 0, which surprises everybody once).
    #[serde(default = "default_stickiness")]
    pub stickiness: Score,
    /// How much it wants to be on which node.
    #[serde(default)]
    pub locations: BTreeMap<NodeName, Score>,
    /// Whether it shall run at all (Pacemaker's `target-role`). Default: true.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
}

const fn default_stickiness() -> Score {
    Score::new(100)
}

const fn default_enabled() -> bool {
    true
}

impl Resource {
    /// A resource run by `agent`.
    pub fn new(name: ResourceName, agent: impl Into<String>) -> Self {
        let raw = RawResource {
            guarantee: Guarantee::AtLeastOne,
            agent: agent.into(),
            parameters: BTreeMap::new(),
            stickiness: default_stickiness(),
            locations: BTreeMap::new(),
            enabled: true,
        };
        Self { name, raw }
    }

    /// Sets a parameter of the agent.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.raw.parameters.insert(name.into(), value.into());
        self
    }

    /// Sets how much it wants to stay where it is; not below zero. Default: 100.
    #[must_use]
    pub const fn stickiness(mut self, score: Score) -> Self {
        self.raw.stickiness = score;
        self
    }

    /// Sets how much it wants to be on `node`; below zero keeps it away. Default: 0 everywhere.
    #[must_use]
    pub fn location(mut self, node: NodeName, score: Score) -> Self {
        self.raw.locations.insert(node, score);
        self
    }

    /// Sets whether it shall run at all. Default: true.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.raw.enabled = enabled;
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ResourceName {
        &self.name
    }
}
