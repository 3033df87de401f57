//! A fence device from the words of a configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::ConfigError;
use ha_core::id::NodeName;

use super::{FenceAgent, FenceCommand, NativeAgent};

/// Where agents are besides on `PATH`, which of an ordinary user, and of many services, lacks them.
const USUAL: [&str; 5] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/usr/bin"];

/// A fence device as a configuration names it: an agent, the nodes at its plugs, parameters.
///
/// [`resolve`](Self::resolve) finds the agent, checks the parameters against its metadata, and
/// makes a [`FenceCommand`] of it.
///
/// ```no_run
/// # async fn example() -> Result<(), ha_agents::fence::DeviceError> {
/// use std::time::Duration;
/// use ha_agents::fence::Device;
///
/// let pdu = Device::new("pdu", "fence_apc_snmp")
///     .node("n1".parse().unwrap(), "3")
///     .node("n2".parse().unwrap(), "4")
///     .parameter("ip", "192.0.2.200")
///     .timeout(Duration::from_secs(30))
///     .resolve()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a device does nothing until resolve() is called"]
pub struct Device {
    name: String,
    agent: String,
    nodes: BTreeMap<NodeName, String>,
    parameters: BTreeMap<String, String>,
    timeout: Option<Duration>,
    directories: Vec<PathBuf>,
}

impl std::fmt::Debug for Device {
    /// Without the parameters, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.name)
            .field("agent", &self.agent)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// A fence device cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The agent is not on this node.
    #[error(
        "cannot use fence device {device}: its agent {agent} is not in {searched}; install it (Debian: fence-agents) or correct its name"
    )]
    NotInstalled {
        /// The device.
        device: String,
        /// Its agent.
        agent: String,
        /// Where it was looked for.
        searched: String,
    },
    /// Parameters are missing, unknown or wrong.
    #[error(
        "cannot use fence device {device}: {} of its settings for {agent} are missing, unknown or wrong; correct them all", source.problems().len()
    )]
    Parameters {
        /// The device.
        device: String,
        /// Its agent.
        agent: String,
        /// Each of them, with what is allowed; never with a value, which may be a secret.
        #[source]
        source: ConfigError,
    },
}

/// The device `name`, spoken to by `agent`, for these nodes at their plugs: short for
/// [`Device::resolve`].
///
/// # Errors
///
/// As [`Device::resolve`].
///
/// # Cancel safety
///
/// As [`Device::resolve`].
pub async fn resolve(
    name: &str,
    agent: &str,
    nodes: &BTreeMap<NodeName, String>,
    parameters: &BTreeMap<String, String>,
) -> Result<Arc<dyn FenceAgent>, DeviceError> {
    let mut device = Device::new(name, agent);
    device.nodes.clone_from(nodes);
    device.parameters.clone_from(parameters);
    device.resolve().await
}

impl Device {
    /// The device `name`, spoken to by `agent`: the name of a [`NativeAgent`], a path, or a name
    /// on `PATH`, in `/usr/sbin`, `/usr/local/sbin` or where [`search`](Self::search) says.
    pub fn new(name: impl Into<String>, agent: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            agent: agent.into(),
            nodes: BTreeMap::new(),
            parameters: BTreeMap::new(),
            timeout: None,
            directories: Vec::new(),
        }
    }

    /// Adds a node and what the device calls it. A device with nodes fences no others; one without
    /// fences all, by their names.
    pub fn node(mut self, node: NodeName, plug: impl Into<String>) -> Self {
        self.nodes.insert(node, plug.into());
        self
    }

    /// Sets a parameter of the agent.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Sets how long an action may take. Default: 60 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Adds a directory in which the agent is looked for first.
    pub fn search(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directories.push(directory.into());
        self
    }

    /// The agent, ready to fence.
    ///
    /// # Errors
    ///
    /// [`DeviceError`]: the agent is not there, or its parameters are wrong, of which all are
    /// named at once. An agent that gives no metadata (it may need its device for that) is taken
    /// as it is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is fenced; the agent may have been asked for its metadata.
    pub async fn resolve(&self) -> Result<Arc<dyn FenceAgent>, DeviceError> {
        match self.native() {
            Some(made) => made,
            None => Ok(Arc::new(self.find().await?.0)),
        }
    }

    /// A native agent, if it is one.
    fn native(&self) -> Option<Result<Arc<dyn FenceAgent>, DeviceError>> {
        let native = NativeAgent::named(&self.agent)?;
        let made = native.make(&self.name, &self.nodes, &self.parameters, self.timeout);
        Some(made.map_err(|source| {
            let (device, agent) = (self.name.clone(), self.agent.clone());
            DeviceError::Parameters { device, agent, source }
        }))
    }

    /// Whether [`resolve`](Self::resolve) would succeed on this node. Returns what is allowed but
    /// doubtful, a line each: deprecated parameters, values that are not of their type, and an
    /// agent without metadata.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    ///
    /// # Cancel safety
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn check(&self) -> Result<Vec<String>, DeviceError> {
        match self.native() {
            Some(made) => made.map(|_| Vec::new()),
            None => Ok(self.find().await?.1),
        }
    }

    #[cfg_attr(not(feature = "ocf"), expect(clippy::unused_async, reason = "metadata is late"))]
    async fn find(&self) -> Result<(FenceCommand, Vec<String>), DeviceError> {
        let wrong = |source| {
            let (device, agent) = (self.name.clone(), self.agent.clone());
            DeviceError::Parameters { device, agent, source }
        };
        let mut builder = FenceCommand::builder(&self.name, self.program()?);
        for (name, value) in &self.parameters {
            builder = builder.parameter(name, value);
        }
        for (node, plug) in &self.nodes {
            builder = builder.plug(node.clone(), plug);
        }
        if !self.nodes.is_empty() {
            builder = builder.only_plugged();
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        let command = builder.build().map_err(wrong)?;
        #[cfg(feature = "ocf")]
        let doubts = match command.metadata().await {
            Ok(metadata) => check(&metadata, &self.parameters).map_err(wrong)?,
            Err(error) => vec![format!("the parameters of {} are not checked: {error}", self.name)],
        };
        #[cfg(not(feature = "ocf"))]
        let doubts = Vec::new();
        Ok((command, doubts))
    }

    fn program(&self) -> Result<OsString, DeviceError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut searched = self.directories.clone();
        if self.agent.contains('/') {
            searched = vec![PathBuf::new()];
        } else {
            searched.extend(std::env::split_paths(&path));
            searched.extend(USUAL.map(PathBuf::from));
        }
        let found = searched.iter().map(|folder| folder.join(&self.agent));
        let found = found.into_iter().find(|file| is_executable(file));
        found.map(PathBuf::into_os_string).ok_or_else(|| {
            let mut names: Vec<String> = Vec::new();
            for folder in searched.iter().map(|folder| folder.display().to_string()) {
                if !names.contains(&folder) {
                    names.push(folder);
                }
            }
            let (device, agent) = (self.name.clone(), self.agent.clone());
            let mut searched = names.join(", ");
            if searched.is_empty() {
                "that place".clone_into(&mut searched);
            }
            DeviceError::NotInstalled { device, agent, searched }
        })
    }
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// As the metadata has it, without what we set ourselves.
#[cfg(feature = "ocf")]
fn check(
    metadata: &crate::ocf::AgentMetadata,
    given: &BTreeMap<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let mut given = given.clone();
    for name in ["action", "plug", "port"] {
        if metadata.parameter(name).is_some_and(|known| known.required && !known.deprecated) {
            given.insert(name.to_owned(), "off".to_owned());
        }
    }
    metadata.check_strictly(&given, &[])
}
