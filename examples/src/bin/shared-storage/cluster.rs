//! The cluster of the show: its configuration, and what is asked of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_core::id::NodeName;
use ha_crm::control::Client;
use ha_crm::manager::{Request, Response, Status};

use crate::disk::Disk;
use crate::fence;
use crate::stage::Failure;

/// The nodes and their addresses.
pub(crate) const NODES: [(&str, &str); 3] =
    [("n1", "10.77.0.11"), ("n2", "10.77.0.12"), ("n3", "10.77.0.13")];
pub(crate) const VIP: &str = "10.77.0.100";
pub(crate) const PORT: u16 = 80;
/// The group of the disk, the service and its address.
pub(crate) const GROUP: &str = "storage";
/// In the order in which they start.
pub(crate) const RESOURCES: [&str; 3] = ["disk", "service", "address"];
/// How long a request may take: the store may be choosing a new leader.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// The paths of the show, all in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) folder: PathBuf,
}

impl Paths {
    /// The folder of a node, in which its program runs.
    pub(crate) fn node(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The configuration of a node: the same text for all.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.node(name).join("cluster.toml")
    }

    /// Where every node mounts the disk; each has mounts of its own.
    fn mounted(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// The file of the witness, where the disk is mounted.
    pub(crate) fn witness(&self) -> PathBuf {
        self.mounted().join("witness")
    }

    /// Where overlaps are told.
    pub(crate) fn overlaps(&self) -> PathBuf {
        self.folder.join("overlaps")
    }

    /// The socket of the power switch.
    pub(crate) fn switch(&self) -> PathBuf {
        self.folder.join("switch")
    }

    /// The fence agent.
    fn agent(&self) -> PathBuf {
        self.folder.join(fence::NAME)
    }

    /// Makes what the nodes need to find.
    pub(crate) fn prepare(&self, disk: &Disk) -> Result<(), Failure> {
        std::fs::create_dir(self.mounted())?;
        std::os::unix::fs::symlink(std::env::current_exe()?, self.agent())?;
        let key = self.folder.join("key");
        std::fs::write(&key, "0123456789abcdef".repeat(4))?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private)?;
        let text = self.text(disk)?;
        for (name, _) in NODES {
            std::fs::create_dir(self.node(name))?;
            std::fs::write(self.config(name), &text)?;
        }
        Ok(())
    }

    /// The configuration of all nodes: a node's name is given to it by a flag.
    fn text(&self, disk: &Disk) -> Result<String, Failure> {
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let mut nodes = String::new();
        for (name, ip) in NODES {
            write!(nodes, "{name} = \"{ip}\", ")?;
        }
        let program = std::env::current_exe()?;
        let args = format!(
            "service --listen 0.0.0.0:{PORT} --file '{}' --overlaps '{}'",
            self.witness().display(),
            self.overlaps().display()
        );
        let fstype =
            disk.fstype.map_or_else(String::new, |fstype| format!("fstype = {fstype:?}, "));
        let members = RESOURCES.map(|name| format!("{name:?}")).join(", ");
        Ok(format!(
            r#"key = {key}
data = "data"
nodes = {{ {nodes} }}

[fencing.switch]
agent = {agent}
parameters = {{ socket = {switch} }}

[resources.disk]
agent = "native:mount"
parameters = {{ source = {source:?}, directory = {directory}, {fstype}options = {options:?}, exclusive = false }}

[resources.service]
agent = "native:process"
parameters = {{ program = {program}, args = {args:?} }}

[resources.address]
agent = "native:address"
parameters = {{ address = "{VIP}/24", interface = "eth0" }}

[groups.{GROUP}]
members = [{members}]

[options]
stickiness = 100
"#,
            key = quoted(&self.folder.join("key")),
            agent = quoted(&self.agent()),
            switch = quoted(&self.switch()),
            source = disk.source,
            directory = quoted(&self.mounted()),
            options = disk.options,
            program = quoted(&program),
        ))
    }

    /// Asks the first node of these that answers, which asks the leader.
    pub(crate) fn ask(&self, nodes: &[&NodeName], request: &Request) -> Result<Response, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut last: Failure = "there is no node to ask".into();
        for node in nodes {
            let socket = self.node(node.as_str()).join("data/ha.sock");
            let asked = runtime
                .block_on(async { Client::connect(&socket).await?.ask(request, ASK_LIMIT).await });
            match asked {
                Ok(Response::Refused { reason }) => last = reason.into(),
                Ok(response) => return Ok(response),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// How everything is, as the leader knows it.
    pub(crate) fn status(&self, nodes: &[&NodeName]) -> Result<Status, Failure> {
        let response = self.ask(nodes, &Request::Status)?;
        let Response::Status(status) = response else {
            return Err(format!("a strange answer: {response:?}").into());
        };
        Ok(*status)
    }
}
