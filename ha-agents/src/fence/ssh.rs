//! Nodes that are asked to switch themselves off, by `ssh`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::{ConfigError, Problems};
use ha_core::driver::pause;
use ha_core::id::NodeName;
use tokio::process::Command;

use super::command::{Answer, converse};
use super::{Evidence, FenceAction, FenceAgent, FenceError, Power};
use crate::group::Group;

/// What the remote shell says when it has come through.
const DONE: &str = "ha-agents: done";
/// The exit code by which `ssh` says that itself has failed.
const NO_SSH: i32 = 255;

/// Asks a node over the system's `ssh` to switch itself off, or to boot again.
///
/// **A node that hangs does not obey**, and one that nobody reaches any more cannot be asked:
/// both are what fencing is for. `off` is *acknowledged*, not verified: the node has said that it
/// will, and does not answer any more; that its network alone is gone looks the same. `reboot` is
/// better: the node must come back with another boot id, so that what ran before does not run.
/// Use it in tests, or as a first level before a device that cuts the power; in production as the
/// only one for nodes whose disks nobody else writes to. It can switch nothing on; a node that
/// does not answer is an error, never [`Power::Off`].
///
/// The keys of the hosts must be known (`StrictHostKeyChecking=yes`), nothing is asked for
/// (`BatchMode=yes`), and nothing is forwarded. No own SSH: settings of `ssh_config` hold.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::fence::{FenceAgent, Ssh};
///
/// let n1 = "n1".parse()?;
/// let ssh = Ssh::builder("ssh")
///     .host("n1".parse()?, "192.0.2.1")
///     .user("root")
///     .identity_file("/etc/cluster/fence-key")
///     .build()?;
/// ssh.reboot(&n1).await?; // it has booted again
/// # Ok(()) }
/// ```
///
/// # Cancel safety
///
/// When the future of an action is dropped, `ssh` is killed; the command may have been run.
///
/// # Source
///
/// cluster-glue's `external/ssh`, which acknowledges, too, and does not say so.
#[derive(Debug)]
pub struct Ssh {
    device: String,
    program: OsString,
    hosts: BTreeMap<NodeName, String>,
    user: Option<String>,
    port: Option<u16>,
    identity_file: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    config: Option<PathBuf>,
    off: String,
    reboot: String,
    boot_id: String,
    connect_timeout: Duration,
    timeout: Duration,
    poll: Duration,
}

/// Collects the settings of [`Ssh`].
#[derive(Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct SshBuilder {
    ssh: Ssh,
}

impl SshBuilder {
    /// Adds a node and its host, as `ssh` takes it.
    pub fn host(mut self, node: NodeName, host: impl Into<String>) -> Self {
        self.ssh.hosts.insert(node, host.into());
        self
    }

    /// Sets the user. Default: as `ssh_config` says, else the one that runs this.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.ssh.user = Some(user.into());
        self
    }

    /// Sets the port. Default: as `ssh_config` says, else 22.
    pub const fn port(mut self, port: u16) -> Self {
        self.ssh.port = Some(port);
        self
    }

    /// Sets the only key to log in with. Default: those that `ssh` has.
    pub fn identity_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ssh.identity_file = Some(file.into());
        self
    }

    /// Sets the file with the keys of the hosts. Default: those of `ssh`.
    pub fn known_hosts(mut self, file: impl Into<PathBuf>) -> Self {
        self.ssh.known_hosts = Some(file.into());
        self
    }

    /// Sets the configuration of `ssh`. Default: the user's and the system's.
    pub fn config(mut self, file: impl Into<PathBuf>) -> Self {
        self.ssh.config = Some(file.into());
        self
    }

    /// Sets the program. Default: `ssh`.
    pub fn program(mut self, program: impl Into<OsString>) -> Self {
        self.ssh.program = program.into();
        self
    }

    /// Sets the command that switches the node off. It is run by the user's shell there, and must
    /// return before the node is gone. Default: one second later, `systemctl poweroff` without
    /// stopping anything, or else `poweroff -f`.
    pub fn off_command(mut self, command: impl Into<String>) -> Self {
        self.ssh.off = command.into();
        self
    }

    /// Sets the command that boots the node again, likewise.
    pub fn reboot_command(mut self, command: impl Into<String>) -> Self {
        self.ssh.reboot = command.into();
        self
    }

    /// Sets the command that says which boot of the node this is. Default:
    /// `cat /proc/sys/kernel/random/boot_id`.
    pub fn boot_id_command(mut self, command: impl Into<String>) -> Self {
        self.ssh.boot_id = command.into();
        self
    }

    /// Sets how long a connection may take to be made; whole seconds. Default: 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.ssh.connect_timeout = timeout;
        self
    }

    /// Sets how long an action may take, until the node is gone or has booted again. Default:
    /// 5 minutes, as machines boot slowly.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.ssh.timeout = timeout;
        self
    }

    /// Sets the time between two looks whether the node is gone or back. Default: 1 s.
    pub const fn poll(mut self, poll: Duration) -> Self {
        self.ssh.poll = poll;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All that is wrong, at once: no host, one or a user that `ssh` would take for something
    /// else, a command that is empty, times that are too short.
    pub fn build(self) -> Result<Ssh, ConfigError> {
        let mut problems = Problems::new();
        let ssh = self.ssh;
        let mut check = |is_right: bool, name: &str, value: &str, allowed: &str| {
            if !is_right {
                problems.add(format!("fence.{}.{name}", ssh.device), value, allowed);
            }
        };
        check(!ssh.hosts.is_empty(), "hosts", "none", "one host or more");
        let is_word = |word: &str| {
            let is_odd = |c: char| c.is_whitespace() || c.is_control();
            !word.is_empty() && !word.starts_with('-') && !word.contains(is_odd)
        };
        for (node, host) in &ssh.hosts {
            let name = format!("hosts.{node}");
            check(is_word(host), &name, &format!("{host:?}"), "a name or an address");
        }
        let user = ssh.user.as_deref();
        check(user.is_none_or(is_word), "user", &format!("{user:?}"), "a name");
        check(ssh.port != Some(0), "port", "0", "1 to 65535; 22 is usual");
        for (name, command) in [
            ("off_command", &ssh.off),
            ("reboot_command", &ssh.reboot),
            ("boot_id_command", &ssh.boot_id),
        ] {
            let is_command = !command.trim().is_empty() && !command.contains('\0');
            check(is_command, name, &format!("{command:?}"), "a command of the shell there");
        }
        let connect = format!("{:?}", ssh.connect_timeout);
        let is_second = ssh.connect_timeout.as_secs() >= 1;
        check(is_second, "connect_timeout", &connect, "1 s or more; 5 s is usual");
        check(!ssh.timeout.is_zero(), "timeout", "0", "more than 0; 5 min is usual");
        check(!ssh.poll.is_zero(), "poll", "0", "more than 0; 1 s is usual");
        problems.into_result(ssh)
    }
}

/// How a visit failed.
enum Trouble {
    /// `ssh` does not run here.
    NotRun(io::Error),
    /// The node answered, and the command failed there: its last words.
    Said(String),
    /// `ssh` itself found no way to the node: its last words.
    Silent(String),
}

impl Ssh {
    /// The device `device`; add its hosts.
    pub fn builder(device: impl Into<String>) -> SshBuilder {
        let later = |gentle: &str, rough: &str| {
            // The shell there answers before it happens.
            format!("nohup sh -c 'sleep 1; {gentle} || {rough}' >/dev/null 2>&1 </dev/null &")
        };
        SshBuilder {
            ssh: Ssh {
                device: device.into(),
                program: "ssh".into(),
                hosts: BTreeMap::new(),
                user: None,
                port: None,
                identity_file: None,
                known_hosts: None,
                config: None,
                off: later("systemctl poweroff --force --force", "poweroff -f"),
                reboot: later("systemctl reboot --force --force", "reboot -f"),
                boot_id: "cat /proc/sys/kernel/random/boot_id".to_owned(),
                connect_timeout: Duration::from_secs(5),
                timeout: Duration::from_mins(5),
                poll: Duration::from_secs(1),
            },
        }
    }

    fn host(&self, node: &NodeName) -> Result<&str, FenceError> {
        self.hosts.get(node).map(String::as_str).ok_or_else(|| {
            let (device, node) = (self.device.clone(), node.clone());
            FenceError::UnknownNode { device, node }
        })
    }

    /// `ssh` for a command; nothing of it is for the shell here.
    fn command(&self, host: &str, command: &str) -> Command {
        let mut ssh = Command::new(&self.program);
        ssh.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(file) = &self.config {
            ssh.arg("-F").arg(file);
        }
        let connect = format!("ConnectTimeout={}", self.connect_timeout.as_secs());
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            &connect,
            "ConnectionAttempts=1",
            "ServerAliveInterval=2",
            "ServerAliveCountMax=2",
            "ControlMaster=no",
            "ControlPath=none",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "RequestTTY=no",
        ] {
            ssh.args(["-o", option]);
        }
        if let Some(file) = &self.known_hosts {
            let mut option = OsString::from("UserKnownHostsFile=");
            option.push(file);
            ssh.arg("-o").arg(option).args(["-o", "GlobalKnownHostsFile=none"]);
        }
        if let Some(file) = &self.identity_file {
            ssh.arg("-i").arg(file).args(["-o", "IdentitiesOnly=yes"]);
        }
        ssh.args(self.port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        ssh.args(self.user.iter().flat_map(|user| ["-l", user]));
        ssh.args(["-a", "-x", "-T", "--", host]);
        // The mark shows that a shell has come through, and not a login that ran something else.
        ssh.arg(format!("{{ {command}\n}} && echo '{DONE}'"));
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        ssh
    }

    /// Runs a command there; what it wrote, without the mark.
    async fn ask(&self, host: &str, command: &str) -> Result<String, Trouble> {
        let mut group = Group::spawn(&mut self.command(host, command)).map_err(Trouble::NotRun)?;
        let said = converse(&mut group, String::new()).await;
        let Answer { status, output, errors } = said.map_err(Trouble::NotRun)?;
        let output = String::from_utf8_lossy(&output);
        match output.trim_end().strip_suffix(DONE) {
            Some(output) if status.success() => Ok(output.trim().to_owned()),
            _ => {
                let errors = String::from_utf8_lossy(&errors);
                let last = errors.lines().rev().find(|line| !line.trim().is_empty());
                let last: String = last
                    .unwrap_or("the command was not run to its end there")
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                Err(if status.code() == Some(NO_SSH) {
                    Trouble::Silent(format!("ssh: {last}"))
                } else {
                    Trouble::Said(format!("the command there: {last}"))
                })
            }
        }
    }

    /// Which boot of the node this is; nothing has happened to it if that fails.
    async fn boot_id(&self, host: &str) -> Result<String, FenceError> {
        let device = self.device.clone();
        self.ask(host, &self.boot_id).await.map_err(|trouble| match trouble {
            Trouble::NotRun(source) => {
                let program = self.program.to_string_lossy().into_owned();
                FenceError::NotAsked { device, program, source }
            }
            Trouble::Said(why) | Trouble::Silent(why) => FenceError::Unusable {
                device,
                why: format!("{host} cannot be asked, {why}; check the login by hand"),
            },
        })
    }

    /// Acts, and waits until `is_done` says so of the boot id, or of its absence.
    async fn act(
        &self,
        action: &'static str,
        node: &NodeName,
        command: &str,
        is_done: impl Fn(&str, Option<&str>) -> bool + Sync,
    ) -> Result<(), FenceError> {
        let host = self.host(node)?;
        let (device, target) = (self.device.clone(), node.to_string());
        let failed = |answer: String| FenceError::Failed {
            device: self.device.clone(),
            action,
            target: node.to_string(),
            answer,
        };
        let work = async {
            let before = self.boot_id(host).await?;
            self.ask(host, command).await.map_err(|trouble| match trouble {
                Trouble::NotRun(error) => failed(error.to_string()),
                Trouble::Said(words) | Trouble::Silent(words) => failed(words),
            })?;
            let mut missed = 0;
            loop {
                let now = match self.ask(host, &self.boot_id).await {
                    Ok(boot_id) => Some(Some(boot_id)),
                    Err(Trouble::Silent(_)) => Some(None),
                    // Trouble of our own says nothing of the node; and one whose command fails
                    // answers.
                    Err(Trouble::NotRun(_) | Trouble::Said(_)) => None,
                };
                missed = if now == Some(None) { missed + 1 } else { 0 };
                // One connection that fails may be a daemon that has too many of them.
                let is_over = |now: Option<String>| is_done(&before, now.as_deref());
                if missed != 1 && now.is_some_and(is_over) {
                    return Ok(());
                }
                pause(self.poll).await.map_err(|error| failed(error.to_string()))?;
            }
        };
        tokio::select! { biased;
            done = work => done,
            _late = pause(self.timeout) => {
                Err(FenceError::NoAnswer { device, action, target, limit: self.timeout })
            }
        }
    }
}

#[async_trait]
impl FenceAgent for Ssh {
    fn device(&self) -> &str {
        &self.device
    }

    /// Acknowledged, and the node does not answer any more; not verified.
    async fn off(&self, node: &NodeName) -> Result<(), FenceError> {
        self.act("off", node, &self.off, |_, now| now.is_none()).await
    }

    /// Not possible: nobody is there to be asked.
    async fn on(&self, node: &NodeName) -> Result<(), FenceError> {
        self.host(node)?;
        let why = "ssh can switch nothing on; use a device that can".to_owned();
        Err(FenceError::Unusable { device: self.device.clone(), why })
    }

    /// On, or an error: no answer says nothing.
    async fn status(&self, node: &NodeName) -> Result<Power, FenceError> {
        let host = self.host(node)?;
        tokio::select! { biased;
            boot_id = self.boot_id(host) => boot_id.map(|_| Power::On),
            _late = pause(self.timeout) => {
                let why = format!("{host} did not answer within {:?}", self.timeout);
                Err(FenceError::Unusable { device: self.device.clone(), why })
            }
        }
    }

    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        Ok(self.hosts.keys().cloned().collect())
    }

    /// Verified: the node has come back with another boot id.
    async fn reboot(&self, node: &NodeName) -> Result<(), FenceError> {
        let is_done = |before: &str, now: Option<&str>| now.is_some_and(|now| now != before);
        self.act("reboot", node, &self.reboot, is_done).await
    }

    /// [`Evidence::Acknowledged`]; that of a reboot is better, see
    /// [`perform`](FenceAgent::perform).
    fn evidence(&self) -> Evidence {
        Evidence::Acknowledged
    }

    /// A reboot is [`Evidence::VerifiedOff`]: what ran before the new boot does not run.
    async fn perform(&self, node: &NodeName, action: FenceAction) -> Result<Evidence, FenceError> {
        match action {
            FenceAction::Off => self.off(node).await.map(|()| self.evidence()),
            FenceAction::On => self.on(node).await.map(|()| self.evidence()),
            FenceAction::Reboot => self.reboot(node).await.map(|()| Evidence::VerifiedOff),
        }
    }

    /// Whether each node can be asked; one that is off cannot.
    async fn monitor(&self) -> Result<(), FenceError> {
        for node in self.hosts.keys() {
            self.status(node).await?;
        }
        Ok(())
    }
}
