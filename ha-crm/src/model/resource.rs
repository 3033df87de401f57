//! A resource, as it is wanted.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use serde::{Deserialize, Serialize};

use super::operation::{OnFail, Operation, OperationName};
use super::score::Score;
use super::span;

/// What to do with an at-most-one resource that is found active in several places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MultipleActive {
    /// Leave it alone, until a person has looked.
    Block,
    /// Stop it everywhere, and leave it so.
    StopOnly,
    /// Stop it everywhere, then start it once: nobody can say which one is right.
    #[default]
    StopStart,
}

/// A resource that the cluster keeps running (Pacemaker's primitive).
///
/// Its [guarantee](Guarantee) is not a setting of it: it comes from how it is given to a cluster.
///
/// ```
/// use ha_crm::model::{Resource, Score};
///
/// let db = Resource::new("db".parse()?, "ocf:heartbeat:pgsql")
///     .parameter("pgdata", "/srv/pg")
///     .location("n1".parse()?, Score::new(100))
///     .migration_threshold(3);
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
    /// How important it is: what has a higher one is placed first. Default: 0.
    #[serde(default)]
    pub priority: i32,
    /// How much it wants to stay where it is; not below zero. Default: the cluster's, 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Score>,
    /// Whether it shall run at all (Pacemaker's `target-role`). Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether anything is done to it (Pacemaker's `is-managed`). Default: true.
    #[serde(default = "yes")]
    pub managed: bool,
    /// After how many failures on a node it leaves that node. Default: never, but for a failed
    /// start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration_threshold: Option<NonZeroU32>,
    /// How long after the last failure on a node the failures there are forgotten. Above 0.
    /// Default: only when cleaned up.
    #[serde(default, with = "span::option", skip_serializing_if = "Option::is_none")]
    pub failure_timeout: Option<Duration>,
    /// Whether it runs as copies of which one is promoted, as a database with a primary does. Its
    /// copies run wherever they may; *at most one*, which it must be, is its promoted role, which
    /// constraints name with [`promoted_role`](super::promoted_role). Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub promotable: bool,
    /// What to do if it is active in several places. Default: stop all, start one.
    #[serde(default)]
    pub multiple_active: MultipleActive,
    /// It runs only where all of these run: mandatory colocations in short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<ResourceName>,
    /// It starts after all of these, and stops before them: mandatory orders in short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ResourceName>,
    /// Settings of its operations, and its recurring monitors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// How much it wants to be on which node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations: BTreeMap<NodeName, Score>,
    /// The agent's parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

impl RawResource {
    /// What is to be done when `operation` failed, if that is said.
    #[must_use]
    pub fn on_fail(&self, operation: OperationName) -> Option<OnFail> {
        self.operations.iter().find(|op| op.name == operation)?.on_fail
    }

    /// The settings of an operation: as given, or the defaults.
    #[must_use]
    pub fn operation(&self, name: OperationName) -> Operation {
        let given = self.operations.iter().find(|op| op.name == name);
        given.cloned().unwrap_or_else(|| Operation::new(name))
    }
}

impl Resource {
    /// A resource run by `agent`.
    pub fn new(name: ResourceName, agent: impl Into<String>) -> Self {
        let raw = RawResource {
            guarantee: Guarantee::AtLeastOne,
            agent: agent.into(),
            priority: 0,
            stickiness: None,
            enabled: true,
            managed: true,
            migration_threshold: None,
            failure_timeout: None,
            promotable: false,
            multiple_active: MultipleActive::StopStart,
            with: Vec::new(),
            after: Vec::new(),
            operations: Vec::new(),
            locations: BTreeMap::new(),
            parameters: BTreeMap::new(),
        };
        Self { name, raw }
    }

    /// Sets a parameter of the agent.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.raw.parameters.insert(name.into(), value.into());
        self
    }

    /// Sets how important it is: what has a higher one is placed first. Default: 0.
    #[must_use]
    pub const fn priority(mut self, priority: i32) -> Self {
        self.raw.priority = priority;
        self
    }

    /// Sets how much it wants to stay where it is; not below zero. Default: the cluster's, 100.
    #[must_use]
    pub const fn stickiness(mut self, score: Score) -> Self {
        self.raw.stickiness = Some(score);
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

    /// Sets whether anything is done to it. Default: true.
    #[must_use]
    pub const fn managed(mut self, managed: bool) -> Self {
        self.raw.managed = managed;
        self
    }

    /// Sets after how many failures on a node it leaves that node; 0: never. Default: never.
    #[must_use]
    pub const fn migration_threshold(mut self, failures: u32) -> Self {
        self.raw.migration_threshold = NonZeroU32::new(failures);
        self
    }

    /// Sets how long after the last failure the failures on a node are forgotten. Default: only
    /// when cleaned up.
    #[must_use]
    pub const fn failure_timeout(mut self, span: Duration) -> Self {
        self.raw.failure_timeout = Some(span);
        self
    }

    /// Makes it run as copies of which at most one is promoted (Pacemaker's promotable clone).
    ///
    /// ```
    /// use ha_crm::model::{Resource, promoted_role};
    ///
    /// let db = Resource::new("db".parse()?, "native:redis").promotable();
    /// // The address goes where the primary is.
    /// let primary = promoted_role(db.name()).unwrap();
    /// let vip = Resource::new("vip".parse()?, "ocf:heartbeat:IPaddr2")
    ///     .parameter("ip", "192.0.2.1")
    ///     .with(primary.clone())
    ///     .after(primary);
    /// # Ok::<(), ha_core::id::NameError>(())
    /// ```
    #[must_use]
    pub const fn promotable(mut self) -> Self {
        self.raw.promotable = true;
        self
    }

    /// Sets what to do if it is active in several places. Default: stop all, start one.
    #[must_use]
    pub const fn multiple_active(mut self, what: MultipleActive) -> Self {
        self.raw.multiple_active = what;
        self
    }

    /// Adds an operation's settings.
    #[must_use]
    pub fn operation(mut self, operation: Operation) -> Self {
        self.raw.operations.push(operation);
        self
    }

    /// Makes it run only where `other` runs.
    #[must_use]
    pub fn with(mut self, other: ResourceName) -> Self {
        self.raw.with.push(other);
        self
    }

    /// Makes it start after `other`, and stop before it.
    #[must_use]
    pub fn after(mut self, other: ResourceName) -> Self {
        self.raw.after.push(other);
        self
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ResourceName {
        &self.name
    }
}
