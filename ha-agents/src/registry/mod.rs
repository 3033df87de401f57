//! From the words of a configuration to an agent.

mod checks;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
mod databases;
mod native;
mod network;
mod parameters;
mod standard;

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
#[cfg(feature = "attributes")]
use crate::attributes::Helpers;
use crate::lsb::{self, Lsb, LsbError};
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
/// | `lsb:NAME` | [`Lsb`], `/etc/init.d/NAME` | none |
/// | `nagios:NAME` | [`Nagios`](crate::nagios::Nagios), `/usr/lib/nagios/plugins/NAME` | its long options |
/// | `native:block-port` | `BlockPort` (feature `nftables`) | `protocol`, `ports` (`80`, `8000-8010`), `address`, `reset` |
/// | `native:command` | [`Commands`](crate::command::Commands) | `start`, `stop`, `check` (words as of `args`), `ocf_codes`, `env.NAME` |
/// | `native:delay` | [`Delay`](crate::native::Delay) | `start_delay`, `stop_delay`, `monitor_delay` |
/// | `native:dummy` | [`Dummy`](crate::native::Dummy) | none |
/// | `native:http` | [`Watch`](crate::native::Watch) of an `HttpCheck` (feature `http`) | `url`, `method`, `header.NAME`, `status` (`200-299`), `contains`, `authority` (a file), `limit` |
/// | `native:lxc` | [`Lxc`](crate::native::Lxc) | `container`, `path`, `config`, `stop_grace` |
/// | `native:mount` | [`Mount`](crate::native::Mount) | `source`, `directory`, `fstype`, `options`, `kill_holders`, `exclusive`, `rescan` |
/// | `native:mysql` | `MySql` (feature `mysql`) | `config`, `program`, `args`, `address`, `user`, `password_file`, `promotable`, `primary`, `primary_port`, `replication_user`, `replication_password_file`, `max_lag`, `write` |
/// | `native:postgres` | `Postgres` (feature `postgres`) | `data`, `program`, `config`, `host`, `port`, `user`, `password_file`, `database`, `promotable`, `primary`, `primary_port`, `replication`, `max_lag` |
/// | `native:process` | [`Process`](crate::native::Process) | `program`, `args` (split at blanks; `'…'` and `"…"` keep them; no shell), `directory`, `env.NAME`, `stop_grace` (`500ms`, `10s`), `log`, `ready` (`notify`, `port IP:PORT`, `line TEXT`), `pidfile`, `daemon`; and of a [check](crate::native::Checked) beside it `check.depth` and, with `check.` before each, those of `native:tcp` or `native:http` |
/// | `native:redis` | `Redis` (feature `redis`) | `config`, `program`, `address`, `user`, `password_file`, `promotable`, `primary`, `primary_port`, `max_lag`, `stop_grace` |
/// | `native:route` | `Route` (feature `route`) | `destination` (`10.1.0.0/16`, `default`), `gateway`, `device`, `source`, `family`, `table`, `metric` |
/// | `native:stateful` | [`Stateful`](crate::native::Stateful) | `state` |
/// | `native:symlink` | [`Symlink`](crate::native::Symlink) | `link`, `target`, `backup_suffix` |
/// | `native:tcp` | [`Watch`](crate::native::Watch) of a [`TcpCheck`](crate::native::TcpCheck) | `address` (host and port), `send`, `expect` (both with `\r`, `\n`, `\t`, `\0`), `limit` |
/// | `systemd:NAME` | `Unit`, a unit of systemd (feature `systemd`) | none |
/// | `ocf:PROVIDER:TYPE` | `Ocf` (feature `ocf`) | those of its metadata |
///
/// and what [`register`](Self::register) adds. Pacemaker writes `ocf:heartbeat:IPaddr2` likewise.
///
/// A native agent is made from its parameters, so with wrong ones there is none, and nobody can
/// look whether the resource runs. A script, a plugin or a unit is told them with each operation:
/// [`resolve`](Self::resolve) gives it whatever they are, because what runs must be found and
/// stopped with wrong ones, too. [`check`](Self::check) refuses those of scripts and units; a
/// script itself refuses to start without what it requires, a unit with anything. What options a
/// plugin has only the plugin knows.
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

/// A resource as a configuration has it.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "the three things that a registry asks for")]
pub struct Definition<'a> {
    /// Its name.
    pub resource: &'a ResourceName,
    /// Its agent.
    pub agent: &'a str,
    /// Its parameters.
    pub parameters: &'a BTreeMap<String, String>,
}

/// A resource cannot have the agent, or not with these parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// This node has no such init script.
    #[error("cannot run {resource}: its init script cannot be used; see the cause")]
    Lsb {
        /// The resource.
        resource: ResourceName,
        /// Why.
        #[source]
        source: LsbError,
    },
    /// Resources are the same where they must differ.
    #[cfg(feature = "ocf")]
    #[error(
        "cannot use agent {agent} for these resources together: they have the same value where they must differ; see the cause"
    )]
    NotUnique {
        /// Their agent.
        agent: String,
        /// Each pair, with the parameters.
        #[source]
        source: ConfigError,
    },
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

/// An agent that is there.
enum Found {
    /// It was made from its parameters, or takes any.
    Made(Arc<dyn ResourceAgent>),
    /// It takes no parameters, and refuses to start with some.
    Plain(Arc<dyn ResourceAgent>),
    /// It has those of its metadata.
    #[cfg(feature = "ocf")]
    Script(Arc<Ocf>),
}

impl Found {
    fn agent(self) -> Arc<dyn ResourceAgent> {
        match self {
            Self::Made(agent) | Self::Plain(agent) => agent,
            #[cfg(feature = "ocf")]
            Self::Script(script) => script,
        }
    }
}

impl RegistryError {
    fn wrong(resource: &ResourceName, agent: &str, source: ConfigError) -> Self {
        Self::Parameters { resource: resource.clone(), agent: agent.to_owned(), source }
    }

    /// Whether this node has no agent of that name, so that nothing of it can be started here by
    /// that agent. All other errors say nothing about whether the resource runs: of wrong
    /// parameters no agent is made that could look.
    ///
    /// ```
    /// use ha_agents::registry::Registry;
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    /// # runtime.unwrap().block_on(async {
    /// let (registry, disk) = (Registry::new(), "disk".parse()?);
    /// let misspelt = [("devise".to_owned(), "/dev/sdb1".to_owned())].into();
    /// let error = registry.resolve(&disk, "native:mount", &misspelt).await.unwrap_err();
    /// assert!(!error.is_absent()); // it may be mounted all the same
    /// let error = registry.resolve(&disk, "native:mnt", &misspelt).await.unwrap_err();
    /// assert!(error.is_absent());
    /// # Ok::<(), ha_core::id::NameError>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Lsb { source: LsbError::Name { .. }, .. } | Self::UnknownAgent { .. } => true,
            Self::Lsb { source, .. } => source.outcome() == Outcome::NotInstalled,
            #[cfg(feature = "ocf")]
            Self::Ocf { source, .. } => {
                matches!(source, OcfError::Name { .. } | OcfError::NotInstalled { .. })
            }
            #[cfg(feature = "ocf")]
            Self::NotUnique { .. } => false,
            Self::Parameters { .. } => false,
        }
    }

    /// What a probe of the resource would answer.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Lsb { source, .. } => source.outcome(),
            #[cfg(feature = "ocf")]
            Self::Ocf { source, .. } => source.outcome(),
            #[cfg(feature = "ocf")]
            Self::NotUnique { .. } => Outcome::NotConfigured,
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
            ocf: OcfAgents {
                root: PathBuf::from("/usr/lib/ocf"),
                #[cfg(feature = "attributes")]
                helpers: None,
                loaded: Mutex::default(),
            },
        };
        registry.register("native:command", |_, given| standard::command(given));
        native::register(&mut registry);
        registry
    }

    /// Sets `OCF_ROOT`, in whose `resource.d` the scripts are. Default: `/usr/lib/ocf`.
    #[cfg(feature = "ocf")]
    pub fn ocf_root(&mut self, root: impl Into<PathBuf>) {
        self.ocf.root = root.into();
        self.ocf.loaded = Mutex::default();
    }

    /// Lets the scripts' `attrd_updater`, `crm_attribute` and so on be these stand-ins. Default:
    /// the programs that are on `PATH`, if there are some.
    #[cfg(feature = "attributes")]
    pub fn helpers(&mut self, helpers: &Helpers) {
        self.ocf.helpers = Some(helpers.clone());
        self.ocf.loaded = Mutex::default();
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

    /// All agents that this node has, by name: those of [`names`](Self::names), and the scripts and
    /// plugins that are installed; not the units of systemd.
    #[must_use]
    pub fn installed(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names().map(str::to_owned).collect();
        names.extend(standard::installed());
        #[cfg(feature = "ocf")]
        for provider in standard::files(&self.ocf.root.join("resource.d"), true) {
            let folder = self.ocf.root.join("resource.d").join(&provider);
            let kinds = standard::files(&folder, false).into_iter();
            names.extend(kinds.map(|kind| format!("ocf:{provider}:{kind}")));
        }
        names.sort_unstable();
        names
    }

    /// The agent for `resource`. A native one is new, and does nothing until it is told to; a
    /// script is shared by all resources of its type, as its parameters come with each operation.
    /// Only native agents are refused because of their parameters; a script checks them itself
    /// before it starts something.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]: there is no such agent, or a native one cannot be made from the
    /// parameters; all that are wrong are named at once. Only if the error
    /// [is of absence](RegistryError::is_absent) it is known that nothing runs by that agent.
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
        Ok(self.find(resource, agent, parameters).await?.agent())
    }

    /// Whether the agent is on this node and takes these parameters; touches nothing. Returns
    /// what is allowed but doubtful, a line each: deprecated parameters of scripts, and what is no
    /// boolean where the metadata says boolean, as it is wrong about that at times. A value that
    /// is not of another type is an error, also where the script would take it.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]: there is no such agent, or the parameters are wrong; all of them are
    /// named at once.
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
        let checked = match self.find(resource, agent, parameters).await? {
            Found::Made(_) => Ok(Vec::new()),
            Found::Plain(agent) => Parameters::new(parameters).finish(agent).map(|_| Vec::new()),
            #[cfg(feature = "ocf")]
            Found::Script(script) => script.agent_metadata().check_typed(parameters, &EVERY_SCRIPT),
        };
        checked.map_err(|source| RegistryError::wrong(resource, agent, source))
    }

    /// Checks all resources of a configuration: each as [`check`](Self::check) does, and that
    /// those of one script differ where its metadata says that they must
    /// ([`AgentMetadata::check_unique`](crate::ocf::AgentMetadata::check_unique)).
    ///
    /// # Errors
    ///
    /// All that is wrong.
    ///
    /// # Cancel safety
    ///
    /// As [`resolve`](Self::resolve).
    #[cfg(feature = "ocf")]
    pub async fn check_all(
        &self,
        resources: &[Definition<'_>],
    ) -> Result<Vec<String>, Vec<RegistryError>> {
        let (mut doubts, mut errors, mut scripts) = (Vec::new(), Vec::new(), BTreeMap::new());
        for Definition { resource, agent, parameters } in resources {
            match self.check(resource, agent, parameters).await {
                Ok(more) => {
                    doubts.extend(more.into_iter().map(|doubt| format!("{resource}: {doubt}")));
                }
                Err(error) => errors.push(error),
            }
            if agent.starts_with("ocf:") {
                scripts.entry(*agent).or_insert_with(Vec::new).push((*resource, *parameters));
            }
        }
        for (agent, resources) in scripts {
            let name = agent.strip_prefix("ocf:").and_then(|name| name.split_once(':'));
            let Some((provider, kind)) = name else { continue };
            // One that cannot be loaded was told above.
            let Ok(loaded) = self.ocf.load(provider, kind).await else { continue };
            if let Err(source) = loaded.agent_metadata().check_unique(&resources) {
                errors.push(RegistryError::NotUnique { agent: agent.to_owned(), source });
            }
        }
        if errors.is_empty() { Ok(doubts) } else { Err(errors) }
    }

    #[cfg_attr(not(feature = "ocf"), expect(clippy::unused_async, reason = "scripts answer late"))]
    async fn find(
        &self,
        resource: &ResourceName,
        agent: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Found, RegistryError> {
        if let Some(factory) = self.factories.get(agent) {
            let made = factory(resource, parameters).map(Found::Made);
            return made.map_err(|source| RegistryError::wrong(resource, agent, source));
        }
        if let Some(name) = agent.strip_prefix("nagios:").filter(|name| lsb::is_name(name)) {
            return Ok(Found::Made(standard::nagios(name)));
        }
        #[cfg(feature = "systemd")]
        if let Some(name) = agent.strip_prefix("systemd:") {
            let unit = standard::systemd(name).map(Found::Plain);
            return unit.map_err(|source| RegistryError::wrong(resource, agent, source));
        }
        if let Some(name) = agent.strip_prefix("lsb:") {
            let script = Lsb::load(name)
                .map_err(|source| RegistryError::Lsb { resource: resource.clone(), source })?;
            return Ok(Found::Plain(Arc::new(script)));
        }
        #[cfg(feature = "ocf")]
        if let Some((provider, kind)) = agent.strip_prefix("ocf:").and_then(|s| s.split_once(':')) {
            let loaded = self.ocf.load(provider, kind).await.map_err(|source| {
                let (resource, agent) = (resource.clone(), agent.to_owned());
                RegistryError::Ocf { resource, agent, source }
            })?;
            return Ok(Found::Script(loaded));
        }
        let mut known: Vec<&str> = self.names().collect();
        known.extend(["lsb:NAME", "nagios:NAME"]);
        if cfg!(feature = "systemd") {
            known.push("systemd:NAME");
        }
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
    #[cfg(feature = "attributes")]
    helpers: Option<Helpers>,
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
        let builder = Ocf::builder(provider, kind).root(&self.root);
        #[cfg(feature = "attributes")]
        let builder = match &self.helpers {
            Some(helpers) => builder.helpers(helpers),
            None => builder,
        };
        let agent = Arc::new(builder.load().await?);
        let entry = Loaded { agent: Arc::clone(&agent), changed };
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).insert(name, entry);
        Ok(agent)
    }
}
