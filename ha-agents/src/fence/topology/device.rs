//! How a device of a topology is used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::config::Problems;
use ha_core::id::NodeName;

use crate::fence::FenceAction;

/// How it is found out which nodes a device can fence (Pacemaker's `pcmk_host_check`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostCheck {
    /// It fences every node (`none`).
    None,
    /// Those that [`host`](DeviceRules::host) names (`static-list`).
    StaticList,
    /// Those that the device lists, asked again when the list is older than
    /// [`list_expiry`](DeviceRules::list_expiry) (`dynamic-list`).
    DynamicList,
    /// Those of which the device can tell the status (`status`).
    Status,
}

/// How one fence device is used.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::fence::FenceAction;
/// use ha_agents::fence::topology::DeviceRules;
///
/// // Two boards of a pair of nodes: the one that fences n1 waits, so n1 wins a race.
/// let rules = DeviceRules::new()
///     .host("n1".parse().unwrap(), "board-1".parse().unwrap())
///     .delay_base(Duration::from_secs(5))
///     .timeout(FenceAction::Off, Duration::from_secs(20));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "rules do nothing until they are given to a topology"]
pub struct DeviceRules {
    pub(crate) check: Option<HostCheck>,
    pub(crate) hosts: BTreeMap<NodeName, NodeName>,
    pub(crate) delay_base: Duration,
    pub(crate) delays: BTreeMap<NodeName, Duration>,
    pub(crate) delay_max: Duration,
    pub(crate) action_limit: Option<usize>,
    pub(crate) timeouts: BTreeMap<FenceAction, Duration>,
    pub(crate) query_timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) reboot_action: FenceAction,
    pub(crate) unfences: bool,
    pub(crate) verifies: bool,
    pub(crate) list_expiry: Duration,
}

impl Default for DeviceRules {
    fn default() -> Self {
        Self::new()
    }
}

impl DeviceRules {
    /// How long an off, on or reboot may take by default: 60 s, as Pacemaker's.
    pub const TIMEOUT: Duration = Duration::from_mins(1);

    /// The defaults, as each setter has them.
    pub const fn new() -> Self {
        Self {
            check: None,
            hosts: BTreeMap::new(),
            delay_base: Duration::ZERO,
            delays: BTreeMap::new(),
            delay_max: Duration::ZERO,
            action_limit: Some(1),
            timeouts: BTreeMap::new(),
            query_timeout: Duration::from_secs(20),
            attempts: 2,
            reboot_action: FenceAction::Reboot,
            unfences: false,
            verifies: true,
            list_expiry: Duration::from_mins(1),
        }
    }

    /// Adds a node that the device can fence, and its name there (`pcmk_host_map`; with the same
    /// name twice `pcmk_host_list`).
    pub fn host(mut self, node: NodeName, plug: NodeName) -> Self {
        self.hosts.insert(node, plug);
        self
    }

    /// Sets how it is found out which nodes the device can fence (`pcmk_host_check`). Default:
    /// [`HostCheck::StaticList`] if it has hosts, else [`HostCheck::None`]: nobody is asked whom
    /// the configuration need not doubt.
    pub const fn check(mut self, check: HostCheck) -> Self {
        self.check = Some(check);
        self
    }

    /// Sets how long every fencing by this device waits first (`pcmk_delay_base`). Default: 0.
    pub const fn delay_base(mut self, delay: Duration) -> Self {
        self.delay_base = delay;
        self
    }

    /// Sets the same for one node (`pcmk_delay_base` of `node:delay`).
    pub fn delay_base_of(mut self, node: NodeName, delay: Duration) -> Self {
        self.delays.insert(node, delay);
        self
    }

    /// Sets the largest delay, drawn at random from the base up to here (`pcmk_delay_max`).
    /// Default: 0, none but the base.
    pub const fn delay_max(mut self, delay: Duration) -> Self {
        self.delay_max = delay;
        self
    }

    /// Sets how many actions the device bears at once (`pcmk_action_limit`); `None`: any number
    /// (its -1). Default: 1.
    pub const fn action_limit(mut self, most: Option<usize>) -> Self {
        self.action_limit = most;
        self
    }

    /// Sets how long one attempt of an action may take (`pcmk_off_timeout` and the like). Default:
    /// 60 s.
    pub fn timeout(mut self, action: FenceAction, timeout: Duration) -> Self {
        self.timeouts.insert(action, timeout);
        self
    }

    /// Sets how long a status or list may take (`pcmk_status_timeout`, `pcmk_list_timeout`).
    /// Default: 20 s.
    pub const fn query_timeout(mut self, timeout: Duration) -> Self {
        self.query_timeout = timeout;
        self
    }

    /// Sets how often an action is tried in all (`pcmk_off_retries` and the like), 1 to 10.
    /// Default: 2.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets what is done where a reboot by this device alone is asked for (`pcmk_reboot_action`):
    /// reboot, or off, which leaves the node off. Default: reboot.
    pub const fn reboot_action(mut self, action: FenceAction) -> Self {
        self.reboot_action = action;
        self
    }

    /// Lets a node that joins be switched on by this device: fabric fencing, whose metadata says
    /// `automatic` or `on_target` of `on`. Default: no.
    pub const fn unfences(mut self, unfences: bool) -> Self {
        self.unfences = unfences;
        self
    }

    /// Sets whether the device is asked for the status after an off. A device that says *off* then
    /// raises the evidence; one that says *on* has not fenced; one that cannot tell keeps what its
    /// off was worth. Default: yes.
    pub const fn verifies(mut self, verifies: bool) -> Self {
        self.verifies = verifies;
        self
    }

    /// Sets how long a list of the device is believed. Default: 60 s.
    pub const fn list_expiry(mut self, expiry: Duration) -> Self {
        self.list_expiry = expiry;
        self
    }

    pub(crate) fn host_check(&self) -> HostCheck {
        let usual = if self.hosts.is_empty() { HostCheck::None } else { HostCheck::StaticList };
        self.check.unwrap_or(usual)
    }

    /// What the device calls the node.
    pub(crate) fn plug(&self, node: &NodeName) -> NodeName {
        self.hosts.get(node).unwrap_or(node).clone()
    }

    /// Whether the node is out of reach by the configuration alone.
    pub(crate) fn excludes(&self, node: &NodeName) -> bool {
        self.host_check() == HostCheck::StaticList && !self.hosts.contains_key(node)
    }

    pub(crate) fn timeout_of(&self, action: FenceAction) -> Duration {
        self.timeouts.get(&action).copied().unwrap_or(Self::TIMEOUT)
    }

    pub(crate) fn base_of(&self, node: &NodeName) -> Duration {
        self.delays.get(node).copied().unwrap_or(self.delay_base)
    }

    /// The longest that the fencing of a node by this device takes at the first attempt. Without a
    /// node: of any.
    pub(crate) fn longest(&self, node: Option<&NodeName>) -> Duration {
        let base = match node {
            Some(node) => self.base_of(node),
            None => self.delays.values().copied().fold(self.delay_base, Duration::max),
        };
        let act = self.timeout_of(FenceAction::Off).max(self.timeout_of(FenceAction::Reboot));
        base.max(self.delay_max).saturating_add(act)
    }

    pub(super) fn examine(&self, path: &str, problems: &mut Problems) {
        if self.host_check() == HostCheck::StaticList && self.hosts.is_empty() {
            problems.add(format!("{path}.check"), "static list", "with at least one host");
        }
        if self.action_limit == Some(0) {
            problems.add(format!("{path}.action_limit"), 0, "1 or more, or none");
        }
        if !(1..=10).contains(&self.attempts) {
            problems.add(format!("{path}.attempts"), self.attempts, "1 to 10; 2 is usual");
        }
        if self.reboot_action == FenceAction::On {
            problems.add(format!("{path}.reboot_action"), "on", "reboot or off");
        }
        for (action, timeout) in &self.timeouts {
            if timeout.is_zero() {
                problems.add(format!("{path}.timeout.{action}"), 0, "more than 0; 60 s is usual");
            }
        }
        if self.query_timeout.is_zero() {
            problems.add(format!("{path}.query_timeout"), 0, "more than 0; 20 s is usual");
        }
        let bases: BTreeSet<Duration> =
            self.delays.values().copied().chain([self.delay_base]).collect();
        for base in bases {
            if !self.delay_max.is_zero() && base > self.delay_max {
                let allowed = format!("at least the base, {base:?}, or 0 for no random delay");
                problems.add(format!("{path}.delay_max"), format!("{:?}", self.delay_max), allowed);
            }
        }
    }
}
