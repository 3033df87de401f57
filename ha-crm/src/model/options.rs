//! Settings of the whole cluster.

use serde::{Deserialize, Serialize};

use super::score::Score;

/// What a part of the cluster without quorum does with its at-most-one resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoQuorumPolicy {
    /// What runs goes on and is recovered where it is; nothing else is started. The other part
    /// must then rely on fencing alone, as nothing stops in time by itself.
    Freeze,
    /// Goes on as with quorum. Refused with at-most-one resources: two parts would run them.
    Ignore,
    /// Stops them.
    #[default]
    Stop,
    /// Fences its own nodes that may run them.
    Suicide,
}

/// Settings of the whole cluster (Pacemaker's cluster options).
///
/// ```
/// use ha_crm::model::{ClusterOptions, NoQuorumPolicy, Score};
///
/// let options = ClusterOptions { stop_all: true, ..ClusterOptions::default() };
/// assert_eq!(options.no_quorum_policy, NoQuorumPolicy::Stop);
/// assert_eq!(options.stickiness, Score::new(100));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::exhaustive_structs, reason = "so that `..ClusterOptions::default()` can be used")]
#[expect(clippy::struct_excessive_bools, reason = "they are switches, each by its name in a file")]
pub struct ClusterOptions {
    /// What happens without quorum. Default: stop.
    pub no_quorum_policy: NoQuorumPolicy,
    /// Whether nodes are fenced; must stay true with at-most-one resources. Default: true
    /// (Pacemaker's `stonith-enabled`).
    pub stonith_enabled: bool,
    /// Whether a resource may run on nodes that no location names. Default: true.
    pub symmetric: bool,
    /// How much a resource that does not say it wants to stay where it is; not below zero.
    /// Default: 100, so that a node that returns moves nothing (Pacemaker: 0).
    pub stickiness: Score,
    /// Leave everything alone. Default: false (Pacemaker's `maintenance-mode`).
    pub maintenance: bool,
    /// Stop everything. Default: false (`stop-all-resources`).
    pub stop_all: bool,
    /// Whether one failed start keeps a resource off a node. Default: true.
    pub start_failure_is_fatal: bool,
    /// Whether to look for what runs on a node that comes online, before anything is started.
    /// Default: true; false trusts that nothing does (`enable-startup-probes`).
    pub probe: bool,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            no_quorum_policy: NoQuorumPolicy::Stop,
            stonith_enabled: true,
            symmetric: true,
            stickiness: Score::new(100),
            maintenance: false,
            stop_all: false,
            start_failure_is_fatal: true,
            probe: true,
        }
    }
}
