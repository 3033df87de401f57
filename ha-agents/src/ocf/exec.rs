//! A script of the standard as a resource agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::ConfigError;
use ha_core::id::ResourceName;

use super::metadata::{AgentMetadata, MetadataError};
use super::script::Script;
use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
#[cfg(feature = "attributes")]
use crate::attributes::Helpers;
use crate::lsb::is_name;
use crate::outcome::Outcome;
use crate::program::refusal;
use crate::run::{Ended, Guard, run};

/// Runs an OCF resource agent: `$OCF_ROOT/resource.d/PROVIDER/TYPE`.
///
/// - The environment is empty but for what the standard names, `PATH`, `LC_ALL=C`,
///   `HA_LOGFACILITY=none` (the agents' log goes to standard error, which is kept),
///   `HA_OPERATION`, by which all processes of an operation are found again, as by
///   `HA_NODE` and `HA_SESSION` ([`leftovers`](crate::leftovers)), and what
///   [`env`](OcfBuilder::env) gives. No shell sees a parameter.
/// - Before a start, promote, reload, validate or migration the parameters are checked against the
///   agent's metadata: a missing one is [`Outcome::NotConfigured`] and nothing runs; an unknown
///   one is a warning. A stop or monitor is never refused so: what runs must be stoppable.
/// - When the time is up, the agent's processes are looked at (the error has the
///   [`Diagnosis`](crate::Diagnosis)), told to end, after [`grace`](OcfBuilder::grace) killed, and
///   reaped. That includes those that have left the process group, but not a daemon in a session
///   of its own: that is the resource, and the agent's stop finds it.
/// - What an agent leaves running when it answers stays.
/// - When this program dies during an operation, even by SIGKILL, the agent's process group is
///   killed, as that of a native process is; but a monitor or validation, which changes nothing.
///
/// Promotion scores and node attributes are set by agents with Pacemaker's programs
/// (`crm_attribute`, `attrd_updater`). With the feature `attributes` stand-ins of these names ask
/// this program: `OcfBuilder::helpers`. Without them `ocf:pacemaker:Stateful` goes on, but agents
/// that read scores or attributes fail.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::ocf::Ocf;
/// use ha_agents::{OpContext, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let agent = Ocf::builder("heartbeat", "IPaddr2").load().await?;
/// let context = OpContext::new("vip".parse()?, OpId::FIRST).parameter("ip", "192.0.2.10");
/// let report = agent.start(&context).await?;
/// println!("{}: {}", report.outcome, report.reason);
/// # Ok(()) }
/// ```
///
/// # Source
///
/// OCF Resource Agent API 1.1; the variables `OCF_RESKEY_CRM_meta_*` are Pacemaker's.
#[derive(Debug)]
pub struct Ocf {
    script: Script,
    metadata: AgentMetadata,
}

/// Collects the settings of an [`Ocf`] agent.
#[derive(Debug)]
#[must_use = "a builder does nothing until load() is called"]
pub struct OcfBuilder {
    script: Script,
    timeout: Duration,
}

/// The agent cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OcfError {
    /// Its metadata cannot be read.
    #[error("cannot use {agent}: its metadata is not understood")]
    Metadata {
        /// The agent, as `ocf:PROVIDER:TYPE`.
        agent: String,
        /// Why.
        #[source]
        source: MetadataError,
    },
    /// Provider or type are not names.
    #[error(
        "cannot use {agent}: a provider or type has letters, digits, '-', '_' and '.', and starts with a letter or digit"
    )]
    Name {
        /// The agent, as `ocf:PROVIDER:TYPE`.
        agent: String,
    },
    /// It did not give its metadata.
    #[error(
        "cannot use {agent}: asked for its metadata it answered {answer}; mend or reinstall it"
    )]
    NoMetadata {
        /// The agent, as `ocf:PROVIDER:TYPE`.
        agent: String,
        /// Its answer.
        answer: String,
    },
    /// It cannot be executed.
    #[error(
        "cannot use {agent}: {} cannot be executed; make it executable, or run as its owner", .path.display()
    )]
    NotExecutable {
        /// The agent, as `ocf:PROVIDER:TYPE`.
        agent: String,
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not there.
    #[error(
        "cannot use {agent}: {} is not there; install it (Debian: resource-agents, pacemaker-resource-agents) or correct its name", .path.display()
    )]
    NotInstalled {
        /// The agent, as `ocf:PROVIDER:TYPE`.
        agent: String,
        /// Where it should be.
        path: PathBuf,
    },
}

impl OcfError {
    /// What a probe of a resource of this agent would answer.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NotInstalled { .. } => Outcome::NotInstalled,
            Self::NotExecutable { .. } => Outcome::NoPermission,
            Self::Name { .. } => Outcome::NotConfigured,
            Self::Metadata { .. } | Self::NoMetadata { .. } => Outcome::GenericError,
        }
    }
}

impl OcfBuilder {
    /// Sets `OCF_ROOT`. Default: `/usr/lib/ocf`, the standard's.
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.script.root = root.into();
        self
    }

    /// Sets a variable of the agent's environment, such as `HA_RSCTMP`.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.script.env.insert(name.into(), value.into());
        self
    }

    /// Lets the agent's `attrd_updater`, `crm_attribute` and so on be these stand-ins. What a
    /// promotable one tells them of its promotion is then in its reports
    /// ([`Report::promotion`]). Default: the programs that are on `PATH`, if there are some.
    #[cfg(feature = "attributes")]
    pub fn helpers(mut self, helpers: &Helpers) -> Self {
        self.script.helpers = Some(helpers.clone());
        self
    }

    /// Sets how long an operation whose time is up has between SIGTERM and SIGKILL. Default: 2 s;
    /// Pacemaker kills at once.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.script.grace = grace;
        self
    }

    /// Sets how long the agent may take to give its metadata. Default: 30 s.
    pub const fn metadata_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks the agent for its metadata.
    ///
    /// # Errors
    ///
    /// [`OcfError`]: not installed, not executable, or not an OCF agent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a drop kills the agent, which has changed nothing.
    pub async fn load(self) -> Result<Ocf, OcfError> {
        let agent = name(&self.script);
        if !is_name(&self.script.provider) || !is_name(&self.script.kind) {
            return Err(OcfError::Name { agent });
        }
        let path = self.script.path();
        let Ok(instance) = ResourceName::new("metadata") else {
            return Err(OcfError::Name { agent });
        };
        let command = self.script.call("meta-data", &instance);
        let text = match run(command, self.timeout, self.script.grace, Guard::Nobody).await {
            Ok(Ended::Exited(status, details)) if status.success() => details.output,
            Ok(Ended::Exited(status, details)) => {
                let words = details.errors.lines().last().unwrap_or_default();
                let answer = format!("{status}: {}", words.chars().take(200).collect::<String>());
                return Err(OcfError::NoMetadata { agent, answer });
            }
            Ok(Ended::TimedOut(_)) => {
                let answer = format!("nothing in {:?}", self.timeout);
                return Err(OcfError::NoMetadata { agent, answer });
            }
            Err(error) => {
                return Err(match refusal(&error) {
                    Some(Outcome::NotInstalled) => OcfError::NotInstalled { agent, path },
                    _ => OcfError::NotExecutable { agent, path, source: error },
                });
            }
        };
        match AgentMetadata::parse(&text) {
            Ok(metadata) => Ok(Ocf { script: self.script, metadata }),
            Err(source) => Err(OcfError::Metadata { agent, source }),
        }
    }
}

impl Ocf {
    /// The agent `ocf:PROVIDER:TYPE`.
    pub fn builder(provider: impl Into<String>, kind: impl Into<String>) -> OcfBuilder {
        OcfBuilder {
            script: Script {
                root: PathBuf::from("/usr/lib/ocf"),
                provider: provider.into(),
                kind: kind.into(),
                env: BTreeMap::new(),
                grace: Duration::from_secs(2),
                #[cfg(feature = "attributes")]
                helpers: None,
            },
            timeout: Duration::from_secs(30),
        }
    }

    /// Everything that the agent says of itself.
    #[must_use]
    pub const fn agent_metadata(&self) -> &AgentMetadata {
        &self.metadata
    }

    /// Checks parameters against the metadata, without running anything.
    ///
    /// # Errors
    ///
    /// As [`AgentMetadata::check`].
    pub fn check(&self, given: &BTreeMap<String, String>) -> Result<Vec<String>, ConfigError> {
        self.metadata.check(given)
    }

    /// Runs any action of the script, such as `status` or one that the standard does not have, and
    /// does not check the parameters before: what the script itself says of them is the answer.
    ///
    /// # Errors
    ///
    /// As [`ResourceAgent::start`].
    ///
    /// # Cancel safety
    ///
    /// A drop kills the script.
    pub async fn run_action(&self, action: &str, context: &OpContext) -> OpResult {
        self.script.act("run", action, context, None).await
    }

    async fn act(&self, what: &'static str, action: &str, context: &OpContext) -> OpResult {
        match self.check(&context.parameters) {
            Ok(doubts) => {
                for doubt in doubts {
                    tracing::warn!(resource = %context.resource, agent = %self, doubt, "doubtful parameter");
                }
            }
            Err(error) => return Ok(Report::new(Outcome::NotConfigured, error.to_string())),
        }
        let report = self.script.act(what, action, context, None).await?;
        Ok(self.scored(context, report).await)
    }

    /// Adds what the agent has told its stand-ins about its promotion (`crm_master`).
    #[cfg(feature = "attributes")]
    async fn scored(&self, context: &OpContext, mut report: Report) -> Report {
        let helpers = self.script.helpers.as_ref().filter(|_| self.metadata.knows("promote"));
        if let Some(helpers) = helpers {
            match helpers.promotion_score(&context.resource).await {
                // One that says nothing, or no more, is not to be promoted, as with Pacemaker.
                Ok(score) => report.promotion = Some(score.unwrap_or(crate::attributes::NEVER)),
                Err(error) => {
                    tracing::warn!(resource = %context.resource, %error, "no promotion score");
                }
            }
        }
        report
    }

    #[cfg(not(feature = "attributes"))]
    #[expect(clippy::unused_async, reason = "with attributes it asks for them")]
    async fn scored(&self, _: &OpContext, report: Report) -> Report {
        report
    }
}

impl fmt::Display for Ocf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&name(&self.script))
    }
}

fn name(script: &Script) -> String {
    format!("ocf:{}:{}", script.provider, script.kind)
}

#[async_trait]
impl ResourceAgent for Ocf {
    async fn start(&self, context: &OpContext) -> OpResult {
        self.act("start", "start", context).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.script.act("stop", "stop", context, None).await
    }

    async fn monitor(&self, context: &OpContext, check: Check) -> OpResult {
        let report = self.script.act("monitor", "monitor", context, Some(check.depth)).await?;
        Ok(self.scored(context, report).await)
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        if !self.metadata.knows("validate-all") {
            return Ok(match self.check(&context.parameters) {
                Ok(_) => Report::success(),
                Err(error) => Report::new(Outcome::NotConfigured, error.to_string()),
            });
        }
        self.act("validate", "validate-all", context).await
    }

    fn metadata(&self) -> Metadata {
        self.metadata.brief()
    }

    async fn promote(&self, context: &OpContext) -> OpResult {
        self.act("promote", "promote", context).await
    }

    async fn demote(&self, context: &OpContext) -> OpResult {
        let report = self.script.act("demote", "demote", context, None).await?;
        Ok(self.scored(context, report).await)
    }

    async fn notify(&self, context: &OpContext) -> OpResult {
        self.script.act("notify", "notify", context, None).await
    }

    async fn reload(&self, context: &OpContext) -> OpResult {
        let agent = self.metadata.knows("reload-agent");
        let action = if agent { "reload-agent" } else { "reload" };
        self.act("reload", action, context).await
    }

    async fn migrate_to(&self, context: &OpContext) -> OpResult {
        self.act("migrate", "migrate_to", context).await
    }

    async fn migrate_from(&self, context: &OpContext) -> OpResult {
        self.act("take over", "migrate_from", context).await
    }
}
