//! A fence agent that is a program: `ClusterLabs`' fence agents and whatever speaks like them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::{ConfigError, Problems};
use ha_core::driver::pause;
use ha_core::id::NodeName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{Evidence, FenceAction, FenceAgent, FenceError, Power};
use crate::group::Group;
use crate::secret::Secret;

/// How much output of an agent is kept; more is read and thrown away.
const MAX_OUTPUT: usize = 64 * 1024;

/// Runs a program for each action, with the parameters on its standard input.
///
/// The program gets `action=off`, `port=PLUG` and the parameters, one `name=value` a line, and
/// answers by its exit code: 0 done (status: on), 2 to a status: off, else failed. The node's name
/// is its plug unless [`plug`](FenceCommandBuilder::plug) says otherwise. No shell is involved;
/// the environment is empty but for `PATH`; secrets are on no command line. When the time is up
/// the whole process group is killed, and the effect is unknown.
///
/// ```no_run
/// use ha_agents::fence::FenceCommand;
///
/// let board = FenceCommand::builder("board-n1", "fence_ipmilan")
///     .parameter("ip", "192.0.2.101")
///     .parameter("username", "admin")
///     .parameter("password_script", "/etc/cluster/ipmi-password")
///     .build()?;
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
///
/// # Source
///
/// `ClusterLabs`' Fence Agent API.
#[derive(Debug)]
pub struct FenceCommand {
    device: String,
    program: OsString,
    /// Any of the values may be a password.
    parameters: BTreeMap<String, Secret>,
    plugs: BTreeMap<NodeName, String>,
    only_plugged: bool,
    timeout: Duration,
    evidence: Option<Evidence>,
    names: BTreeMap<FenceAction, String>,
}

/// Collects the settings of a [`FenceCommand`].
#[derive(Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct FenceCommandBuilder {
    command: FenceCommand,
}

impl FenceCommandBuilder {
    /// Sets a parameter of the agent.
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.command.parameters.insert(name.into(), Secret::new(value));
        self
    }

    /// Sets what the device calls the node (Pacemaker's `pcmk_host_map`). Default: its name.
    pub fn plug(mut self, node: NodeName, plug: impl Into<String>) -> Self {
        self.command.plugs.insert(node, plug.into());
        self
    }

    /// Refuses nodes for which no [`plug`](Self::plug) is set (Pacemaker's `pcmk_host_check` of
    /// `static-list`), so that a wrong name never fences another machine. Default: their names are
    /// their plugs.
    pub const fn only_plugged(mut self) -> Self {
        self.command.only_plugged = true;
        self
    }

    /// Sets how long an action may take. Default: 60 s, Pacemaker's.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.command.timeout = timeout;
        self
    }

    /// Sets what a success of the agent is worth. Default: [`Evidence::VerifiedOff`], as the fence
    /// agent API has an agent fail that does not see the power off, but for those that cannot
    /// look: [`AssumedAfterTimeout`](Evidence::AssumedAfterTimeout) for `fence_sbd` and
    /// `fence_watchdog`, [`Acknowledged`](Evidence::Acknowledged) for `fence_ack_manual`,
    /// `fence_dummy`, `fence_kdump`, `fence_ovh` and `fence_rcd_serial`. `fence_heuristics_*`, which
    /// fence nothing, are refused.
    pub const fn evidence(mut self, evidence: Evidence) -> Self {
        self.command.evidence = Some(evidence);
        self
    }

    /// Sets what the agent calls an action (Pacemaker's `pcmk_off_action`, `pcmk_on_action` and
    /// `pcmk_reboot_action`): `off` for [`FenceAction::Reboot`] leaves a node off that was to be
    /// rebooted. Default: its own name.
    pub fn action_name(mut self, action: FenceAction, name: impl Into<String>) -> Self {
        self.command.names.insert(action, name.into());
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// A name or value that would not stay on its line, or takes the place of action or port; a
    /// timeout of zero.
    pub fn build(self) -> Result<FenceCommand, ConfigError> {
        let mut problems = Problems::new();
        let one_line = |text: &str| !text.contains(['\n', '\r', '\0']);
        for (name, value) in &self.command.parameters {
            let path = format!("fence.{}.parameters", self.command.device);
            if name.is_empty() || !one_line(name) || name.contains('=') {
                problems.add(path, format!("{name:?}"), "names of one line without '='");
            } else if matches!(name.as_str(), "action" | "port" | "plug") {
                problems.add(path, name, "other names: the action and the plug are set by us");
            } else if !one_line(value.reveal()) {
                problems.add(path, format!("{name}=…"), "values of one line");
            }
        }
        for (node, plug) in &self.command.plugs {
            if !one_line(plug) {
                let path = format!("fence.{}.plugs.{node}", self.command.device);
                problems.add(path, format!("{plug:?}"), "a plug of one line");
            }
        }
        for (action, name) in &self.command.names {
            if name.is_empty() || !one_line(name) {
                let path = format!("fence.{}.actions.{action}", self.command.device);
                problems.add(path, format!("{name:?}"), "an action's name of one line");
            }
        }
        if self.command.timeout.is_zero() {
            let path = format!("fence.{}.timeout", self.command.device);
            problems.add(path, "0", "more than 0; 60 s is usual");
        }
        problems.into_result(self.command)
    }
}

/// What a program answered.
pub(super) struct Answer {
    pub(super) status: ExitStatus,
    pub(super) output: Vec<u8>,
    pub(super) errors: Vec<u8>,
}

impl FenceCommand {
    /// The device `device`, spoken to by `program`, a path or a name on `PATH`.
    pub fn builder(device: impl Into<String>, program: impl Into<OsString>) -> FenceCommandBuilder {
        FenceCommandBuilder {
            command: Self {
                device: device.into(),
                program: program.into(),
                parameters: BTreeMap::new(),
                plugs: BTreeMap::new(),
                only_plugged: false,
                timeout: Duration::from_mins(1),
                evidence: None,
                names: BTreeMap::new(),
            },
        }
    }

    fn input(&self, action: &str, node: Option<&NodeName>) -> String {
        let named = self.names.iter().find(|(known, _)| known.as_str() == action);
        let action = format!("action={}\n", named.map_or(action, |(_, name)| name));
        let port = node.map(|node| {
            let plug = self.plugs.get(node).map_or(node.as_str(), String::as_str);
            format!("port={plug}\n")
        });
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|(name, value)| format!("{name}={}\n", value.reveal()));
        [action].into_iter().chain(port).chain(parameters).collect()
    }

    async fn ask(
        &self,
        action: &'static str,
        node: Option<&NodeName>,
    ) -> Result<Answer, FenceError> {
        if let Some(node) = node.filter(|node| self.only_plugged && !self.plugs.contains_key(node))
        {
            let (device, node) = (self.device.clone(), node.clone());
            return Err(FenceError::UnknownNode { device, node });
        }
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let device = self.device.clone();
        let mut group = Group::spawn(&mut command).map_err(|source| {
            let program = self.program.to_string_lossy().into_owned();
            FenceError::NotAsked { device: device.clone(), program, source }
        })?;
        let target = node.map_or_else(|| device.clone(), NodeName::to_string);
        let input = self.input(action, node);
        let answer = tokio::select! { biased;
            answer = converse(&mut group, input) => answer,
            late = pause(self.timeout) => {
                // The drop of the group kills it.
                let limit = self.timeout;
                return Err(match late {
                    Ok(()) => FenceError::NoAnswer { device, action, target, limit },
                    Err(error) => {
                        FenceError::Failed { device, action, target, answer: error.to_string() }
                    }
                });
            }
        };
        answer.map_err(|error| FenceError::Failed {
            device,
            action,
            target,
            answer: error.to_string(),
        })
    }

    /// What the program says of itself: its parameters and actions.
    ///
    /// # Errors
    ///
    /// [`FenceError`]: it cannot be asked, or what it says is not metadata.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a drop kills the program, which changes nothing.
    #[cfg(feature = "ocf")]
    pub async fn metadata(&self) -> Result<crate::ocf::AgentMetadata, FenceError> {
        let action = "metadata";
        let answer = self.ask(action, None).await?;
        if !answer.status.success() {
            return Err(self.failed(action, self.device.clone(), &answer));
        }
        let text = String::from_utf8_lossy(&answer.output);
        crate::ocf::AgentMetadata::parse(&text).map_err(|error| FenceError::Failed {
            device: self.device.clone(),
            action,
            target: self.device.clone(),
            answer: error.to_string(),
        })
    }

    async fn act(&self, action: &'static str, node: &NodeName) -> Result<(), FenceError> {
        if action != "on" && self.name().starts_with("fence_heuristics_") {
            return Err(FenceError::Refused {
                device: self.device.clone(),
                action,
                target: node.to_string(),
                why: "it only holds other agents back and fences nothing",
            });
        }
        let answer = self.ask(action, Some(node)).await?;
        if answer.status.success() {
            return Ok(());
        }
        Err(self.failed(action, node.to_string(), &answer))
    }

    /// The program's name without its folder.
    fn name(&self) -> &str {
        let name = std::path::Path::new(&self.program).file_name();
        name.and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn failed(&self, action: &'static str, target: String, answer: &Answer) -> FenceError {
        let words = String::from_utf8_lossy(&answer.errors);
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let last: String = last.trim().chars().take(200).collect();
        let answer = format!("{}: {last}", answer.status);
        FenceError::Failed { device: self.device.clone(), action, target, answer }
    }
}

/// Whether an exit code of 2 means off. Interpreters end so, too, when they cannot run a script:
/// then they complain, and nothing says off.
fn says_off(answer: &Answer) -> bool {
    let says = |word: &[u8]| word.eq_ignore_ascii_case(b"off");
    answer.errors.trim_ascii().is_empty() || answer.output.windows(3).any(says)
}

/// Writes the input, reads the output to its end and waits for the leader.
pub(super) async fn converse(group: &mut Group, input: String) -> io::Result<Answer> {
    let (stdin, stdout, stderr) =
        (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // An agent that does not read its input answers by its exit code.
            let _unread = stdin.write_all(input.as_bytes()).await;
        }
    };
    let work = async { tokio::join!(write, drain(stdout), drain(stderr)) };
    // A grandchild that keeps the pipes open must not keep us: the leader's end is the answer.
    let exited = async {
        group.exited().await?;
        pause(Duration::from_millis(100)).await
    };
    let (output, errors) = tokio::select! { biased;
        ((), output, errors) = work => (output, errors),
        end = exited => { end?; (Vec::new(), Vec::new()) }
    };
    group.exited().await?;
    let status = match group.reap().await {
        // The leader's answer holds, also where a helper of it waits for a dead device.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => group.child.wait().await?,
        ended => ended?,
    };
    Ok(Answer { status, output, errors })
}

/// Reads to the end; keeps the first [`MAX_OUTPUT`] bytes.
async fn drain(source: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    let Some(mut source) = source else {
        return kept;
    };
    while let Ok(read @ 1..) = source.read(&mut buffer).await {
        let room = MAX_OUTPUT - kept.len();
        kept.extend(buffer.iter().take(read.min(room)));
    }
    kept
}

#[async_trait]
impl FenceAgent for FenceCommand {
    fn device(&self) -> &str {
        &self.device
    }

    async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
        self.act("off", node).await
    }

    async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
        self.act("on", node).await
    }

    async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
        self.act("reboot", node).await
    }

    async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
        let answer = self.ask("status", Some(node)).await?;
        match answer.status.code() {
            Some(0) => Ok(Power::On),
            Some(2) if says_off(&answer) => Ok(Power::Off),
            _ => Err(self.failed("status", node.to_string(), &answer)),
        }
    }

    /// The plugs that the device lists, as node names; those that cannot be names are left out.
    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        let answer = self.ask("list", None).await?;
        if !answer.status.success() {
            return Err(self.failed("list", self.device.clone(), &answer));
        }
        let output = String::from_utf8_lossy(&answer.output);
        let plugs = output.lines().filter_map(|line| line.split([',', ' ', '\t']).next());
        let node = |plug: &str| {
            let mapped = self.plugs.iter().find(|(_, mapped)| *mapped == plug);
            let own = || if self.only_plugged { None } else { plug.parse().ok() };
            mapped.map_or_else(own, |(node, _)| Some(node.clone()))
        };
        Ok(plugs.filter_map(node).collect())
    }

    async fn monitor(&self) -> Result<(), FenceError> {
        let answer = self.ask("monitor", None).await?;
        if answer.status.success() {
            return Ok(());
        }
        Err(self.failed("monitor", self.device.clone(), &answer))
    }

    fn evidence(&self) -> Evidence {
        let known = match self.name() {
            "fence_sbd" | "fence_watchdog" => Evidence::AssumedAfterTimeout,
            "fence_ack_manual" | "fence_dummy" | "fence_kdump" | "fence_ovh"
            | "fence_rcd_serial" => Evidence::Acknowledged,
            _ => Evidence::VerifiedOff,
        };
        self.evidence.unwrap_or(known)
    }
}
