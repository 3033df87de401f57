//! The configuration file of a node: one file, the same on all nodes but for the name.
//!
//! ```toml
//! name = "n1"
//! key = "/etc/ha/key"
//! data = "/var/lib/ha"
//! nodes = { n1 = "10.0.0.1", n2 = "10.0.0.2", n3 = "10.0.0.3" }
//! [fencing.pdu]
//! agent = "fence_apc"
//! parameters = { ip = "10.0.0.9", login = "ha", password = "…" }
//! [resources.vip]
//! agent = "ocf:heartbeat:IPaddr2"
//! parameters = { ip = "10.0.0.100", cidr_netmask = "24" }
//! ```
//!
//! # Keys
//!
//! | key | what | default |
//! |---|---|---|
//! | `name` | the name of this node, one of `nodes` | must be given |
//! | `key` | the file with the key that all nodes share | must be given |
//! | `data` | the folder of the node's own files | must be given |
//! | `socket` | where the node listens for commands | `ha.sock` in `data` |
//! | `nodes` | each node's `"ip"` or `"ip:port"`, or `{ address, second, witness }` | port 7405 |
//! | `quorum` | `"majority"`, or `{ two_node, wait_for_all, tie_breaker }` | majority with fencing |
//! | `self_fence` | `"none"` or `"reboot"`: what a node does that could not stop in time | none |
//! | `[timing]` | `interval`, `dead_after`, `stop_within`, `fence_delay`, `startup_wait` | see [`Timing`] |
//! | `[fencing.NAME]` | `agent`, `nodes`, `plugs`, `timeout`, `attempts`, `parameters` | all nodes but witnesses, 60 s, 2 |
//! | `[fencing]` | `action`, `timeout`, `levels`, as [`Fencing`](crate::model::Fencing) | reboot; one device that succeeds is enough |
//! | `[resources.NAME]` | as [`RawResource`](crate::model::RawResource), and `monitor`, `timeout` | at-most-one, monitored every 10 s |
//! | `[groups.NAME]` | as [`Group`](crate::model::Group) | |
//! | `[constraints]` | lists of `locations`, `colocations`, `orders`, as [`Constraints`](crate::model::Constraints) | |
//! | `[options]` | as [`ClusterOptions`](crate::model::ClusterOptions) | |
//!
//! The port of a node is UDP for the membership and TCP for the store and the managers. `monitor`
//! is the interval of a recurring monitor, `"0s"` or false for none; `timeout` is for every
//! operation that is not in `operations`. Levels are `{ n1 = ["board", ["pdu-a", "pdu-b"]] }`: the
//! board, and if that fails both power supplies. Parameters are text, whole numbers or true and false.
//! Relative paths start at the folder of the file.

mod cluster;
mod nodes;
mod section;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;
use ha_membership::mesh::{MeshConfig, MeshConfigBuilder};
use serde::Deserialize;

use self::section::{NAME, Section, name, word};
use crate::manager::{ManagerConfig, ManagerConfigBuilder};
use crate::model::{ClusterConfig, RawClusterConfig};

/// The largest file that is read, in bytes: 1 MiB, for some thousand resources.
pub const MAX_FILE: usize = 1 << 20;
/// The port of a node whose address has none.
pub const DEFAULT_PORT: u16 = 7405;
/// How many other members a member is told of; the rest it learns from them.
const SEEDS: usize = 16;

/// Everything that a node's program must know; checked whole.
///
/// ```
/// use ha_crm::file::NodeFile;
///
/// let file = NodeFile::parse(r#"
///     name = "n1"
///     key = "/etc/ha/key"
///     data = "/var/lib/ha"
///     nodes = { n1 = "10.0.0.1", n2 = "10.0.0.2", n3 = "10.0.0.3" }
///     [fencing.pdu]
///     agent = "fence_apc"
///     parameters = { ip = "10.0.0.9", login = "ha", password = "secret" }
///     [resources.vip]
///     agent = "ocf:heartbeat:IPaddr2"
///     parameters = { ip = "10.0.0.100", cidr_netmask = 24 }
/// "#)?;
/// assert_eq!(file.addresses[&file.name].address.to_string(), "10.0.0.1:7405");
/// assert_eq!(file.cluster.quorum().unwrap().needed(), 2);
///
/// let error = NodeFile::parse("nmae = 'n1'").unwrap_err();
/// assert!(error.to_string().contains("did you mean `name`?"));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeFile {
    /// This node.
    pub name: NodeName,
    /// The file with the key that all nodes share.
    pub key: PathBuf,
    /// The folder of the node's own files.
    pub data: PathBuf,
    /// Where each node is reached.
    pub addresses: BTreeMap<NodeName, NodeAddress>,
    /// Where the node listens for commands.
    pub socket: PathBuf,
    /// How long things take.
    pub timing: Timing,
    /// What the node does when it could not stop in time.
    pub self_fence: SelfFence,
    /// What is wanted of the cluster.
    pub cluster: ClusterConfig,
}

/// Where a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeAddress {
    /// UDP for the membership, TCP for the store and the managers.
    pub address: SocketAddr,
    /// The membership's second network.
    pub second: Option<SocketAddr>,
    /// Whether it only votes.
    pub witness: bool,
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The time between two heartbeats, 5 ms to 1 min. Default: 100 ms.
    pub interval: Duration,
    /// After how much silence a node is dead; at least three intervals. Default: seven intervals.
    pub dead_after: Duration,
    /// Within which time a node without quorum has stopped what is at-most-one. Default: 100 ms.
    pub stop_within: Duration,
    /// How long after its loss a node is fenced; at least `stop_within`. Default: `stop_within`.
    pub fence_delay: Duration,
    /// How long nodes that were not seen yet are awaited at the start. Default: 10 s.
    pub startup_wait: Duration,
}

/// What a node does when it has lost quorum and could not stop its resources in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SelfFence {
    /// Nothing: it is left to the fence devices.
    #[default]
    None,
    /// It reboots at once.
    Reboot,
}

impl NodeFile {
    /// Reads a node's file; relative paths in it start at its folder.
    ///
    /// # Errors
    ///
    /// All problems at once: with path, value and what is allowed.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&content(path)?).map(|file| file.below(path))
    }

    /// As [`read`](Self::read), for the node `name` whatever the file says: then it is the same
    /// on all nodes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_as(path: &Path, name: &NodeName) -> Result<Self, ConfigError> {
        Self::parse_as(&content(path)?, name).map(|file| file.below(path))
    }

    /// Reads the text of a node's file.
    ///
    /// # Errors
    ///
    /// All problems at once: with path, value and what is allowed. Of a text that is not TOML only
    /// the first, with its line and column.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Parts::read(text, true, None)?.node()
    }

    /// As [`parse`](Self::parse), for the node `name` whatever the file says.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_as(text: &str, name: &NodeName) -> Result<Self, ConfigError> {
        Parts::read(text, true, Some(name))?.node()
    }

    /// The settings of this node's membership, without its life: set
    /// [`incarnation`](MeshConfigBuilder::incarnation).
    pub fn mesh(&self) -> MeshConfigBuilder {
        let mut builder = self.timing.mesh(self.name.clone());
        if let Some(own) = self.addresses.get(&self.name) {
            builder = builder.link(own.address);
            builder = own.second.iter().fold(builder, |builder, link| builder.link(*link));
        }
        let others = self.addresses.iter().filter(|(name, _)| **name != self.name);
        builder = others.take(SEEDS).fold(builder, |builder, (_, to)| builder.seed(to.address));
        match self.cluster.quorum() {
            Some(quorum) => builder.quorum(quorum.clone()),
            None => builder,
        }
    }

    /// The settings of this node's manager, without its clock: set
    /// [`epoch`](ManagerConfigBuilder::epoch).
    pub fn manager(&self) -> ManagerConfigBuilder {
        self.timing.manager(self.name.clone(), self.cluster.clone())
    }

    fn below(mut self, file: &Path) -> Self {
        let folder = file.parent().unwrap_or(Path::new(""));
        for path in [&mut self.key, &mut self.data, &mut self.socket] {
            *path = folder.join(&*path);
        }
        self
    }
}

/// Reads what a file says of the cluster, to be applied to one that runs.
///
/// It is the same file as a node's; `name`, `key`, `data` and the like may be missing from it, and
/// are not applied.
///
/// # Errors
///
/// As [`NodeFile::read`].
pub fn read_cluster(path: &Path) -> Result<ClusterConfig, ConfigError> {
    parse_cluster(&content(path)?)
}

/// As [`read_cluster`], from the text.
///
/// # Errors
///
/// As [`NodeFile::parse`].
pub fn parse_cluster(text: &str) -> Result<ClusterConfig, ConfigError> {
    Ok(Parts::read(text, false, None)?.cluster)
}

impl Timing {
    fn mesh(&self, name: NodeName) -> MeshConfigBuilder {
        let builder = MeshConfig::lan(name).interval(self.interval).dead_after(self.dead_after);
        builder.suspect_after(self.dead_after / 7 * 3)
    }

    fn manager(&self, name: NodeName, cluster: ClusterConfig) -> ManagerConfigBuilder {
        ManagerConfig::builder(name, cluster)
            .stop_within(self.stop_within)
            .fence_delay(self.fence_delay)
            .startup_wait(self.startup_wait)
    }
}

/// What was read, as far as it could be.
struct Parts {
    name: Option<NodeName>,
    key: Option<PathBuf>,
    data: Option<PathBuf>,
    socket: Option<PathBuf>,
    addresses: BTreeMap<NodeName, NodeAddress>,
    timing: Timing,
    self_fence: SelfFence,
    cluster: ClusterConfig,
}

impl Parts {
    fn read(text: &str, whole: bool, me: Option<&NodeName>) -> Result<Self, ConfigError> {
        let problems = RefCell::new(Problems::new());
        let mut file = Section::whole(table(text)?, &problems);
        let need = |file: &mut Section<'_>, key, allowed: &str| {
            cluster::optional_text(file, key, allowed, whole).map(PathBuf::from)
        };
        let name = match me {
            Some(me) => file.take("name").and(Some(me.clone())).or_else(|| Some(me.clone())),
            None if whole => file.needed("name", NAME, name),
            None => file.read("name", NAME, name),
        };
        let key = need(&mut file, "key", "the path of the file with the key of all nodes");
        let data = need(&mut file, "data", "the path of the folder for the node's own files");
        let socket = file.read("socket", "a path", section::filled).map(PathBuf::from);
        let self_fence = file.read("self_fence", "none or reboot", word).unwrap_or_default();
        let addresses = nodes::addresses(&mut file);
        let timing = nodes::timing(&mut file);
        let raw = raw(&mut file, &addresses);
        if let Some(name) = name.as_ref().filter(|name| !addresses.contains_key(*name)) {
            file.problem("name", name, "a name that stands in `nodes`");
        }
        file.finish();
        let mut problems = problems.into_inner();
        // Names whose addresses are wrong were kept, so this tells of nothing that follows from
        // what was told already.
        match ClusterConfig::try_from(raw).map_err(in_the_file) {
            Ok(cluster) => problems.into_result(Self {
                name,
                key,
                data,
                socket,
                addresses,
                timing,
                self_fence,
                cluster,
            }),
            Err(error) => {
                problems.absorb(error.clone());
                Err(problems.into_result(()).err().unwrap_or(error))
            }
        }
    }

    fn node(self) -> Result<NodeFile, ConfigError> {
        let (Some(name), Some(key), Some(data)) = (self.name, self.key, self.data) else {
            // They were needed, so this was told before.
            return Err(ConfigError::new("name, key, data", "nothing", "all of them"));
        };
        let socket = self.socket.unwrap_or_else(|| data.join("ha.sock"));
        let Self { addresses, timing, self_fence, cluster, .. } = self;
        let file = NodeFile { name, key, data, addresses, socket, timing, self_fence, cluster };
        file.mesh().build().map_err(in_the_file)?;
        Ok(file)
    }
}

fn raw(file: &mut Section<'_>, addresses: &BTreeMap<NodeName, NodeAddress>) -> RawClusterConfig {
    let names = |witness| {
        let chosen = addresses.iter().filter(move |(_, node)| witness || !node.witness);
        chosen.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    let (nodes, workers) = (names(true), names(false));
    let witnesses = nodes.iter().filter(|name| !workers.contains(name)).cloned().collect();
    let fencing = cluster::fencing(file, &workers);
    let quorum = cluster::quorum(file, fencing.is_some());
    // The store needs a majority whatever the quorum rules say.
    if nodes.len() == 2 && quorum.is_some() {
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let allowed = "a third vote, as one of two nodes is no majority once the other is lost: \
                       add a witness, such as w = { address = \"10.0.0.3\", witness = true }";
        file.problem("nodes", names.join(", "), allowed);
    }
    RawClusterConfig {
        nodes,
        witnesses,
        quorum,
        fencing,
        resources: cluster::resources(file),
        groups: cluster::groups(file),
        constraints: cluster::constraints(file),
        options: cluster::options(file),
    }
}

/// The problems under the names that things have in the file.
fn in_the_file(error: ConfigError) -> ConfigError {
    let mut problems = Problems::new();
    for problem in error.problems() {
        let path = match problem.path.as_str() {
            "witnesses" | "quorum.voters" => "nodes".to_owned(),
            path => match path.strip_prefix("fencing.devices") {
                Some(device) => format!("fencing{device}"),
                None => path.to_owned(),
            },
        };
        problems.add(path, &problem.value, problem.allowed.clone());
    }
    problems.into_result(()).err().unwrap_or(error)
}

fn table(text: &str) -> Result<toml::Table, ConfigError> {
    if text.len() > MAX_FILE {
        let value = format!("{} bytes", text.len());
        return Err(ConfigError::new("the file", value, format!("at most {MAX_FILE} bytes")));
    }
    text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
        let why = error.message().replace('\n', ", ");
        ConfigError::new(format!("line {line}, column {column}"), format!("{shown:?}"), why)
    })
}

fn content(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |why: &dyn std::fmt::Display| {
        let allowed = format!("a file of TOML that can be read: {why}");
        ConfigError::new("the file", path.display(), allowed)
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    if bytes.len() > MAX_FILE {
        return Err(unreadable(&format_args!("it has more than {MAX_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8"))
}

#[cfg(test)]
mod tests;
