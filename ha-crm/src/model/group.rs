//! Resources that belong together.

use std::collections::BTreeMap;

use ha_core::id::{NodeName, ResourceName};
use serde::{Deserialize, Serialize};

use super::score::Score;

/// Resources on one node, started in their order and stopped in the reverse one.
///
/// If a member cannot run, those after it do not run either; those before it do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Group {
    /// The members in the order of their start; all of the same guarantee.
    pub members: Vec<ResourceName>,
    /// How important it is: what has a higher one is placed first. Default: 0.
    #[serde(default)]
    pub priority: i32,
    /// How much it wants to be on which node; counts once for the group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations: BTreeMap<NodeName, Score>,
    /// Whether it shall run at all. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether anything is done to its members. Default: true.
    #[serde(default = "yes")]
    pub managed: bool,
}

const fn yes() -> bool {
    true
}

impl Group {
    /// A group of these members, in the order of their start.
    pub fn new(members: impl IntoIterator<Item = ResourceName>) -> Self {
        let (members, locations) = (members.into_iter().collect(), BTreeMap::new());
        Self { members, priority: 0, locations, enabled: true, managed: true }
    }

    /// Sets how important it is. Default: 0.
    #[must_use]
    pub const fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how much it wants to be on `node`. Default: 0 everywhere.
    #[must_use]
    pub fn location(mut self, node: NodeName, score: Score) -> Self {
        self.locations.insert(node, score);
        self
    }

    /// Sets whether it shall run at all. Default: true.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}
