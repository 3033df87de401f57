//! From the words of a configuration to an agent.

mod checks;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod databases;
mod native;
mod network;
mod parameters;

use std::collections::BTreeMap;
use std::fmt;
#[cfg(feature = "ocf")]
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(feature = "ocf")]
use std::sync::{Mutex, PoisonError};
#[cfg(feature = "ocf")]
use std::time::SystemTime;

use ha_core::config::ConfigError;
use ha_core::id::ResourceName;

pub use self::parameters::Parameters;
use crate::agent::ResourceAgent;
#[cfg(feature = "ocf")]
use crate::ocf::{Ocf, OcfError};
use crate::outcome::Outcome;

/// Makes an agent for a resource from its parameters.
type Factory = dyn Fn(&ResourceName, &BTreeMap<String, String>) -> Result<Arc<dyn ResourceAgent>, ConfigError>
    + Send
    + Sync;

/// The agents that this node has, by the names that configurations use.
///
/// | name | agent | parameters |
/// |---|---|---|
/// | `native:process` | [`Process`](crate::native::Process) | `program`, `args` (split at blanks; `'…'` and `"…"` keep them; no shell), `directory`, `env.NAME`, `stop_grace` (`500ms`, `10s`); and of a [check](crate::native::Checked) beside it `check.depth` and, with `check.` before each, those of `native:tcp` or `native:http` |
/// | `native:mount` | [`Mount`](crate::native::Mount) | `source`, `directory`, `fstype`, `options`, `kill_holders`, `exclusive`, `rescan` |
/// | `native:block-port` | `BlockPort` (feature `nftables`) | `protocol`, `ports` (`80`, `8000-8010`), `address`, `reset` |
/// | `native:delay` | [`Delay`](crate::native::Delay) | `start_delay`, `stop_delay`, `monitor_delay` |
/// | `native:dummy` | [`Dummy`](crate::native::Dummy) | none |
/// | `native:http` | [`Watch`](crate::native::Watch) of an `HttpCheck` (feature `http`) | `url`, `method`, `header.NAME`, `status` (`200-299`), `contains`, `authority` (a file), `limit` |
/// | `native:lxc` | [`Lxc`](crate::native::Lxc) | `container`, `path`, `config`, `stop_grace` |
/// | `native:mysql` | `MySql` (feature `mysql`) | `config`, `program`, `args`, `address`, `user`, `password_file`, `promotable`, `primary`, `primary_port`, `replication_user`, `replication_password_file`, `max_lag`, `write` |
/// | `native:postgres` | `Postgres` (feature `postgres`) | `data`, `program`, `config`, `host`, `port`, `user`, `password_file`, `database`, `promotable`, `primary`, `primary_port`, `replication`, `max_lag` |
/// | `native:redis` | `Redis` (feature `redis`) | `config`, `program`, `address`, `user`, `password_file`, `promotable`, `primary`, `primary_port`, `max_lag`, `stop_grace` |
/// | `native:route` | `Route` (feature `route`) | `destination` (`10.1.0.0/16`, `default`), `gateway`, `device`, `source`, `family`, `table`, `metric` |
/// | `native:stateful` | [`Stateful`](crate::native::Stateful) | `state` |
/// | `native:symlink` | [`Symlink`](crate::native::Symlink) | `link`, `target`, `backup_suffix` |
/// | `native:tcp` | [`Watch`](crate::native::Watch) of a [`TcpCheck`](crate::native::TcpCheck) | `address` (host and port), `send`, `expect` (both with `\r`, `\n`, `\t`, `\0`), `limit` |
/// | `ocf:PROVIDER:TYPE` | `Ocf` (feature `ocf`) | those of its metadata |
///
/// and what [`register`](Self::register) adds. Pacemaker writes `ocf:heartbeat:IPaddr2` likewise.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ha_agents::native::Dummy;
/// use ha_agents::registry::{Parameters, Registry};
///
/// let mut registry = Registry::new();
/// registry.register("native:address", |_resource, given| {
///     let mut parameters = Parameters::new(given);
///     let _ip = parameters.required("ip", "an address, such as 192.0.2.10");
///     parameters.finish(Arc::new(Dummy::new()))
/// });
/// let vip = "vip".parse().unwrap();
/// let agent = registry.resolve(&vip, "native:address", &[("ip".into(), "192.0.2.10".into())].into()).await?;
/// assert!(registry.check(&vip, "native:address", &Default::default()).await.is_err());
/// # Ok::<(), ha_agents::registry::RegistryError>(()) }).unwrap();
/// ```
pub struct Registry {
    factories: BTreeMap<String, Arc<Factory>>,
    #[cfg(feature = "ocf")]
    ocf: OcfAgents,
}

/// A resource cannot have the agent, or not with these parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// This node cannot run the script.
    #[cfg(feature = "ocf")]
    #[error("cannot use agent {agent} for {resource}: this node cannot run it; see the cause")]
    Ocf {
        /// The resource.
        resource: ResourceName,
        /// Its agent.
        agent: String,
        /// Why.
        #[source]
        source: OcfError,
    },
    /// Parameters are missing, unknown or wrong.
    #[error(
        "cannot use agent {agent} for {resource}: {} of its parameters are missing, unknown or wrong; correct them all", source.problems().len()
    )]
    Parameters {
        /// The resource.
        resource: ResourceName,
        /// Its agent.
        agent: String,
        /// Each of them, with what is allowed.
        #[source]
        source: ConfigError,
    },
    /// There is no such agent.
    #[error(
        "cannot use agent {agent} for {resource}: there is none of that name; use one of {known}"
    )]
    UnknownAgent {
        /// The resource.
        resource: ResourceName,
        /// Its agent.
        agent: String,
        /// The names that there are.
        known: String,
    },
}

impl RegistryError {
    /// What a probe of the resource would answer.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            #[cfg(feature = "ocf")]
            Self::Ocf { source, .. } => source.outcome(),
            Self::Parameters { .. } => Outcome::NotConfigured,
            Self::UnknownAgent { .. } => Outcome::NotInstalled,
        }
    }
}

impl Registry {
    /// The agents of this crate.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Self {
            factories: BTreeMap::new(),
            #[cfg(feature = "ocf")]
            ocf: OcfAgents { root: PathBuf::from("/usr/lib/ocf"), loaded: Mutex::default() },
        };
        native::register(&mut registry);
        registry
    }

    /// Sets `OCF_ROOT`, in whose `resource.d` the scripts are. Default: `/usr/lib/ocf`.
    #[cfg(feature = "ocf")]
    pub fn ocf_root(&mut self, root: impl Into<PathBuf>) {
        self.ocf = OcfAgents { root: root.into(), loaded: Mutex::default() };
    }

    /// Adds an agent, or replaces the one of that name. The factory is called for a
    /// [`check`](Self::check), too, so it must have no effect of its own; its errors name
    /// parameters, which [`Parameters`] helps with.
    ///
    /// Names that begin with `ocf:` are looked for here first.
    pub fn register<F>(&mut self, name: impl Into<String>, factory: F)
    where
        F: Fn(
                &ResourceName,
                &BTreeMap<String, String>,
            ) -> Result<Arc<dyn ResourceAgent>, ConfigError>
            + Send
            + Sync
            + 'static,
    {
        self.factories.insert(name.into(), Arc::new(factory));
    }

    /// The names of all agents but the scripts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// The agent for `resource`. A native one is new, and does nothing until it is told to; a
    /// script is shared by all resources of its type, as its parameters come with each operation.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]: there is no such agent, or the parameters are wrong; all of them are
    /// named at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is touched; a script may have been asked for its metadata.
    pub async fn resolve(
        &self,
        resource: &ResourceName,
        agent: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Arc<dyn ResourceAgent>, RegistryError> {
        Ok(self.find(resource, agent, parameters).await?.0)
    }

    /// Whether [`resolve`](Self::resolve) would succeed on this node; touches nothing. Returns
    /// what is allowed but doubtful, a line each: deprecated parameters of scripts, and values
    /// that are not of the type in the metadata, which scripts often take all the same.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    ///
    /// # Cancel safety
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn check(
        &self,
        resource: &ResourceName,
        agent: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, RegistryError> {
        Ok(self.find(resource, agent, parameters).await?.1)
    }

    #[cfg_attr(not(feature = "ocf"), expect(clippy::unused_async, reason = "scripts answer late"))]
    async fn find(
        &self,
        resource: &ResourceName,
        agent: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(Arc<dyn ResourceAgent>, Vec<String>), RegistryError> {
        let wrong = |source| {
            let (resource, agent) = (resource.clone(), agent.to_owned());
            RegistryError::Parameters { resource, agent, source }
        };
        if let Some(factory) = self.factories.get(agent) {
            return Ok((factory(resource, parameters).map_err(wrong)?, Vec::new()));
        }
        #[cfg(feature = "ocf")]
        if let Some((provider, kind)) = agent.strip_prefix("ocf:").and_then(|s| s.split_once(':')) {
            let loaded = self.ocf.load(provider, kind).await.map_err(|source| {
                let (resource, agent) = (resource.clone(), agent.to_owned());
                RegistryError::Ocf { resource, agent, source }
            })?;
            let doubts = loaded.agent_metadata().check_strictly(parameters, &EVERY_SCRIPT);
            let doubts = doubts.map_err(wrong)?;
            return Ok((loaded, doubts));
        }
        let mut known: Vec<&str> = self.names().collect();
        if cfg!(feature = "ocf") {
            known.push("ocf:PROVIDER:TYPE");
        }
        let (resource, agent) = (resource.clone(), agent.to_owned());
        Err(RegistryError::UnknownAgent { resource, agent, known: known.join(", ") })
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("names", &self.factories.keys()).finish_non_exhaustive()
    }
}

/// Parameters of scripts that no metadata lists: `ocf-shellfuncs` reads them for all.
#[cfg(feature = "ocf")]
const EVERY_SCRIPT: [&str; 2] = ["trace_ra", "trace_file"];

/// The scripts that were asked for their metadata; asked again when their file has changed.
#[cfg(feature = "ocf")]
#[derive(Debug)]
struct OcfAgents {
    root: PathBuf,
    loaded: Mutex<BTreeMap<String, Loaded>>,
}

#[cfg(feature = "ocf")]
#[derive(Debug, Clone)]
struct Loaded {
    agent: Arc<Ocf>,
    changed: Option<SystemTime>,
}

#[cfg(feature = "ocf")]
impl OcfAgents {
    async fn load(&self, provider: &str, kind: &str) -> Result<Arc<Ocf>, OcfError> {
        let name = format!("{provider}:{kind}");
        let path = self.root.join("resource.d").join(provider).join(kind);
        let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let known = {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.get(&name).cloned()
        };
        if let Some(known) = known.filter(|known| changed.is_some() && known.changed == changed) {
            return Ok(known.agent);
        }
        let agent = Arc::new(Ocf::builder(provider, kind).root(&self.root).load().await?);
        let entry = Loaded { agent: Arc::clone(&agent), changed };
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(name, entry);
        Ok(agent)
    }
}
