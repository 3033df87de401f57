//! How nodes are fenced: by which devices, in which order.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_agents::fence::FenceAction;
use ha_agents::fence::topology::{DeviceRules, HostCheck, Target, Topology};
use ha_core::config::ConfigError;
use ha_core::id::NodeName;
use serde::{Deserialize, Serialize};

use super::span;

/// What is done to a node that is fenced (Pacemaker's `stonith-action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FenceMethod {
    /// It is switched off, and stays so until a person switches it on.
    Off,
    /// It is switched off and on again.
    #[default]
    Reboot,
}

/// How nodes are fenced.
///
/// ```
/// use ha_crm::model::{FenceDevice, Fencing};
///
/// let (n1, n2) = ("n1".parse()?, "n2".parse()?);
/// let both = || [&n1, &n2].map(Clone::clone);
/// // The board of each node first; if it does not answer, both power supplies.
/// let fencing = Fencing::device("board", FenceDevice::new("fence_ipmilan", both()))
///     .and_device("pdu-a", FenceDevice::new("fence_apc", both()))
///     .and_device("pdu-b", FenceDevice::new("fence_apc", both()))
///     .level(&n1, ["board"])
///     .level(&n1, ["pdu-a", "pdu-b"]);
/// # Ok::<(), ha_core::id::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Fencing {
    /// The devices by name.
    pub devices: BTreeMap<String, FenceDevice>,
    /// Which devices fence a node, in the order in which they are tried; all of a level must
    /// succeed (Pacemaker's `fencing-level`). At most nine. A node without levels is fenced by the
    /// first of the devices that reach it, in the order of their names, that succeeds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<NodeName, Vec<Vec<String>>>,
    /// What is done to a node. Default: reboot.
    #[serde(default)]
    pub action: FenceMethod,
    /// How long fencing a node may take in all (`stonith-timeout`). Above 0, and enough for all its
    /// levels. Default: what these take at the longest, and a fifth more.
    #[serde(default, with = "span::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

impl Fencing {
    /// One device that reaches these nodes.
    pub fn device(name: impl Into<String>, device: FenceDevice) -> Self {
        Self::default().and_device(name, device)
    }

    /// Adds a device.
    #[must_use]
    pub fn and_device(mut self, name: impl Into<String>, device: FenceDevice) -> Self {
        self.devices.insert(name.into(), device);
        self
    }

    /// Adds devices that are tried together when those of the levels before have failed.
    #[must_use]
    pub fn level<D: Into<String>>(
        mut self,
        node: &NodeName,
        devices: impl IntoIterator<Item = D>,
    ) -> Self {
        let levels = self.levels.entry(node.clone()).or_default();
        levels.push(devices.into_iter().map(Into::into).collect());
        self
    }

    /// Sets what is done to a node. Default: reboot.
    #[must_use]
    pub const fn action(mut self, action: FenceMethod) -> Self {
        self.action = action;
        self
    }

    /// Sets how long fencing a node may take in all. Default: what its levels take at the longest,
    /// and a fifth more.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same as the fencer has it.
    ///
    /// # Errors
    ///
    /// All that is wrong with the levels and the times.
    pub fn topology(&self) -> Result<Topology, ConfigError> {
        let mut topology = Topology::builder();
        // One without a node reaches nobody.
        for (name, device) in self.devices.iter().filter(|(_, device)| !device.nodes.is_empty()) {
            topology = topology.device(name, device.rules());
        }
        for (node, levels) in &self.levels {
            for (index, devices) in (1..).zip(levels) {
                topology = topology.level(Target::Node(node.clone()), index, devices);
            }
        }
        if let Some(timeout) = self.timeout {
            topology = topology.timeout(timeout);
        }
        topology.build()
    }
}

/// One fence device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FenceDevice {
    /// The fence agent, such as `fence_ipmilan`.
    pub agent: String,
    /// The nodes that it can fence.
    pub nodes: Vec<NodeName>,
    /// What the device calls a node, where that is not the node's name (Pacemaker's
    /// `pcmk_host_map`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugs: BTreeMap<NodeName, String>,
    /// How long one attempt may take. Above 0. Default: the agent's, 60 s.
    #[serde(default, with = "span::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How often an action is tried in all, 1 to 10 (`pcmk_reboot_retries`). Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The agent's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

impl FenceDevice {
    /// A device that can fence these nodes.
    pub fn new(agent: impl Into<String>, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        Self {
            agent: agent.into(),
            nodes: nodes.into_iter().collect(),
            plugs: BTreeMap::new(),
            timeout: None,
            attempts: None,
            parameters: BTreeMap::new(),
        }
    }

    /// Sets what the device calls a node. Default: the node's name.
    #[must_use]
    pub fn plug(mut self, node: NodeName, plug: impl Into<String>) -> Self {
        self.plugs.insert(node, plug.into());
        self
    }

    /// Sets how long one attempt may take. Default: the agent's, 60 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how often an action is tried in all, 1 to 10. Default: 2.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets a parameter of the agent.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// How the fencer uses it. It reaches the nodes that are named, and no others; its plugs are
    /// known to the agent.
    fn rules(&self) -> DeviceRules {
        let mut rules = DeviceRules::new().check(HostCheck::StaticList);
        for node in &self.nodes {
            rules = rules.host(node.clone(), node.clone());
        }
        if let Some(timeout) = self.timeout.filter(|timeout| !timeout.is_zero()) {
            for action in [FenceAction::Off, FenceAction::On, FenceAction::Reboot] {
                rules = rules.timeout(action, timeout);
            }
        }
        if let Some(attempts) = self.attempts {
            rules = rules.attempts(attempts);
        }
        rules
    }
}
