//! Which devices fence which node, in which order.

mod device;
mod level;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

pub use self::device::{DeviceRules, HostCheck};
pub use self::level::Target;
use self::level::{Level, Matcher};

/// The fence devices of a cluster and the levels in which they are tried.
///
/// All devices of a level must succeed; if one fails the next level is tried, from the lowest
/// index to the highest. A node without a level is tried by every device that can fence it, one
/// after the other in the order of their names.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::fence::FenceAction;
/// use ha_agents::fence::topology::{DeviceRules, Target, Topology};
///
/// let n1 = || "n1".parse().unwrap();
/// let quick = DeviceRules::new().timeout(FenceAction::Off, Duration::from_secs(15))
///     .timeout(FenceAction::Reboot, Duration::from_secs(15));
/// let topology = Topology::builder()
///     .device("board", quick.clone().host(n1(), n1()))
///     .device("pdu-a", quick.clone())
///     .device("pdu-b", quick)
///     .level(Target::Node(n1()), 1, ["board"])
///     .level(Target::Node(n1()), 2, ["pdu-a", "pdu-b"]) // two power supplies: both, or none
///     .timeout(Duration::from_secs(60))
///     .build()?;
/// let wrong = Topology::builder().level(Target::Pattern("(".into()), 0, ["nobody"]).build();
/// assert_eq!(wrong.unwrap_err().problems().len(), 3); // pattern, index, device: all at once
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
///
/// # Source
///
/// Pacemaker's `fencing-level` (`target`, `target-pattern`, `target-attribute`) and its options
/// of fence devices, `pcmk_*`.
#[derive(Debug, Clone)]
pub struct Topology {
    devices: BTreeMap<String, DeviceRules>,
    levels: Vec<Level>,
    timeout: Option<Duration>,
    retry_share: u32,
}

/// Collects the settings of a [`Topology`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct TopologyBuilder {
    devices: BTreeMap<String, DeviceRules>,
    levels: Vec<(Target, u32, Vec<String>)>,
    nodes: BTreeSet<NodeName>,
    timeout: Option<Duration>,
    retry_share: u32,
}

impl TopologyBuilder {
    /// Adds a device.
    pub fn device(mut self, name: impl Into<String>, rules: DeviceRules) -> Self {
        self.devices.insert(name.into(), rules);
        self
    }

    /// Adds a level: whom it is for, its index from 1 to 9, its devices.
    pub fn level<D: Into<String>>(
        mut self,
        target: Target,
        index: u32,
        devices: impl IntoIterator<Item = D>,
    ) -> Self {
        self.levels.push((target, index, devices.into_iter().map(Into::into).collect()));
        self
    }

    /// Names the nodes of the cluster, so that it is checked that each can be fenced and that no
    /// pattern is for nobody. Default: none, nothing of that is checked.
    pub fn nodes(mut self, nodes: impl IntoIterator<Item = NodeName>) -> Self {
        self.nodes.extend(nodes);
        self
    }

    /// Sets how long a request may take in all (Pacemaker's `stonith-timeout`). Default: what the
    /// levels of its node take at the longest, delays included, and a fifth more.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how much of a request's time must be left for another attempt, in per cent, 0 to 100.
    /// Default: 30, as Pacemaker has it.
    pub const fn retry_share(mut self, percent: u32) -> Self {
        self.retry_share = percent;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All that is wrong: unknown devices, patterns that are none, levels twice or out of range,
    /// levels that cannot reach their node or are for nobody, devices' own settings, and levels
    /// that do not fit into the [`timeout`](Self::timeout), delays included.
    pub fn build(self) -> Result<Topology, ConfigError> {
        let mut problems = Problems::new();
        for (name, rules) in &self.devices {
            rules.examine(&format!("fencing.devices.{name}"), &mut problems);
        }
        if self.timeout == Some(Duration::ZERO) {
            problems.add("fencing.timeout", 0, "more than 0; 60 s is usual");
        }
        if self.retry_share > 100 {
            problems.add("fencing.retry_share", self.retry_share, "0 to 100 per cent");
        }
        let mut levels = Vec::new();
        for (target, index, devices) in &self.levels {
            levels.extend(self.level_of(target, *index, devices, &mut problems));
        }
        levels.sort_by_key(|level: &Level| level.index);
        let topology = Topology {
            devices: self.devices,
            levels,
            timeout: self.timeout,
            retry_share: self.retry_share,
        };
        topology.examine_times(&mut problems);
        for node in &self.nodes {
            topology.examine_node(node, &mut problems);
        }
        problems.into_result(topology)
    }

    fn level_of(
        &self,
        target: &Target,
        index: u32,
        devices: &[String],
        problems: &mut Problems,
    ) -> Option<Level> {
        let path = format!("fencing.levels.{target}.{index}");
        if !(1..=9).contains(&index) {
            problems.add(&path, index, "an index of 1 to 9");
        }
        let same = |(other, at, _): &&(Target, u32, Vec<String>)| other == target && *at == index;
        if self.levels.iter().filter(same).count() > 1 {
            problems.add(&path, "two levels", "one level of an index; put its devices together");
        }
        if devices.is_empty() {
            problems.add(&path, "no device", "at least one device");
        }
        for (at, device) in devices.iter().enumerate() {
            match (self.devices.get(device), target) {
                _ if devices.iter().take(at).any(|other| other == device) => {
                    problems.add(&path, format!("{device} twice"), "each device once");
                }
                (None, _) => problems.add(&path, device, self.device_names()),
                (Some(rules), Target::Node(node)) if rules.excludes(node) => {
                    let allowed =
                        format!("devices that reach {node}: add it to the device's hosts");
                    problems.add(&path, device, allowed);
                }
                (Some(_), _) => {}
            }
        }
        let matcher = match Matcher::new(target) {
            Ok(matcher) => matcher,
            Err(why) => {
                problems.add(&path, target, format!("a regular expression: {why}"));
                return None;
            }
        };
        let meets = |node: &NodeName| matcher.matches(node, &BTreeMap::new());
        let for_nobody = !self.nodes.is_empty() && !self.nodes.iter().any(meets);
        if for_nobody && !matches!(target, Target::Attribute { .. }) {
            problems.add(&path, target, "a target that one of the cluster's nodes meets");
        }
        Some(Level { target: target.clone(), matcher, index, devices: devices.to_vec() })
    }

    fn device_names(&self) -> String {
        let names: Vec<&str> = self.devices.keys().map(String::as_str).collect();
        match names.join(", ") {
            none if none.is_empty() => "known devices, of which there are none".to_owned(),
            names => format!("known devices: {names}"),
        }
    }
}

impl Topology {
    /// Starts with no device, no level and the defaults.
    pub const fn builder() -> TopologyBuilder {
        TopologyBuilder {
            devices: BTreeMap::new(),
            levels: Vec::new(),
            nodes: BTreeSet::new(),
            timeout: None,
            retry_share: 30,
        }
    }

    /// The names of the devices.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// How long a request that goes through these levels may take in all.
    #[must_use]
    pub fn timeout_of(&self, node: &NodeName, levels: &[Vec<String>]) -> Duration {
        self.timeout.unwrap_or_else(|| {
            let rules = levels.iter().flatten().filter_map(|device| self.devices.get(device));
            let longest: Duration = rules.map(|rules| rules.longest(Some(node))).sum();
            longest.saturating_add(longest / 5).max(Duration::from_secs(1))
        })
    }

    pub(crate) fn rules(&self, device: &str) -> Option<&DeviceRules> {
        self.devices.get(device)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn do_not_verify(&mut self, device: &str) {
        if let Some(rules) = self.devices.get_mut(device) {
            rules.verifies = false;
        }
    }

    /// The time that must be left of `timeout` for another attempt.
    pub(crate) fn needed_for_retry(&self, timeout: Duration) -> Duration {
        timeout / 100 * self.retry_share
    }

    /// The levels for a node, lowest index first: those that name it, else those of the first
    /// pattern, else of the first attribute that it meets; without any each device that the
    /// configuration does not exclude is a level.
    #[must_use]
    pub fn levels_of(
        &self,
        node: &NodeName,
        attributes: &BTreeMap<String, String>,
    ) -> Vec<Vec<String>> {
        let mut meets: Vec<&Target> = self
            .levels
            .iter()
            .filter(|level| level.matcher.matches(node, attributes))
            .map(|level| &level.target)
            .collect();
        meets.sort_by_key(|target| target.precedence());
        let Some(target) = meets.first() else {
            let reaches = |(_, rules): &(&String, &DeviceRules)| !rules.excludes(node);
            return self
                .devices
                .iter()
                .filter(reaches)
                .map(|(name, _)| vec![name.clone()])
                .collect();
        };
        let of_it = self.levels.iter().filter(|level| &level.target == *target);
        of_it.map(|level| level.devices.clone()).collect()
    }

    /// The devices that switch a node on when it joins.
    #[must_use]
    pub fn unfencing_of(&self, node: &NodeName) -> Vec<String> {
        let devices = self.devices.iter();
        let unfences = devices.filter(|(_, rules)| rules.unfences && !rules.excludes(node));
        unfences.map(|(name, _)| name.clone()).collect()
    }

    /// Each target's levels, one after the other, must fit into the time of a request: else the
    /// last would never be tried to its end.
    fn examine_times(&self, problems: &mut Problems) {
        let Some(timeout) = self.timeout else { return };
        let targets: BTreeSet<&Target> = self.levels.iter().map(|level| &level.target).collect();
        for target in targets {
            let node = match target {
                Target::Node(node) => Some(node),
                Target::Pattern(_) | Target::Attribute { .. } => None,
            };
            let levels = self.levels.iter().filter(|level| &level.target == target);
            let devices = levels.flat_map(|level| &level.devices);
            let rules = devices.filter_map(|device| self.devices.get(device));
            let needed = rules.map(|rules| rules.longest(node)).sum::<Duration>();
            if needed > timeout {
                let allowed = format!(
                    "at least {needed:?}, what the levels of {target} take with their delays; or shorten their timeouts"
                );
                problems.add("fencing.timeout", format!("{timeout:?}"), allowed);
            }
        }
        for (name, rules) in &self.devices {
            let alone = !self.levels.iter().any(|level| level.devices.contains(name));
            let needed = rules.longest(None);
            if alone && needed > timeout {
                let allowed = format!("at least {needed:?}, what {name} takes with its delay");
                problems.add("fencing.timeout", format!("{timeout:?}"), allowed);
            }
        }
    }

    /// Every node must be in reach of a whole level; by attributes any might.
    fn examine_node(&self, node: &NodeName, problems: &mut Problems) {
        let by_attribute = |level: &Level| matches!(level.target, Target::Attribute { .. });
        let reaches =
            |device: &String| self.devices.get(device).is_some_and(|rules| !rules.excludes(node));
        let levels = self.levels_of(node, &BTreeMap::new());
        let can = levels.iter().any(|level| level.iter().all(reaches));
        if !can && !self.levels.iter().any(by_attribute) {
            let path = format!("fencing.nodes.{node}");
            problems.add(path, "no level", "a level whose devices all reach the node");
        }
    }
}
