//! Three nodes on a network, a power switch, and what can be asked of them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};
use ha_crm::control::Client;
use ha_crm::manager::{Request, Response, Status};
use ha_lab::switch::PowerSwitch;
use ha_lab::{Host, Lab, Line, Process};

/// Long enough for any machine; every wait ends as soon as what it waits for is there.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// The processes of a node, one a life; the last may run.
pub(crate) type Lives = Arc<Mutex<Vec<Process>>>;

pub(crate) struct Rig {
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) lives: BTreeMap<String, Lives>,
    pub(crate) switch: PowerSwitch,
    pub(crate) folder: tempfile::TempDir,
    lab: Lab,
}

/// A host's address on the first network (78) or the second (79).
fn address(network: u8, host: &str) -> String {
    format!("10.{network}.0.{}", host.trim_start_matches('n'))
}

impl Rig {
    /// Three nodes with these resources, as a file has them, all running.
    pub(crate) fn new(resources: &str) -> Self {
        let rig = Self::without_nodes(resources);
        for name in NAMES {
            rig.boot(name);
        }
        rig
    }

    /// The hosts and the files; nothing runs yet.
    pub(crate) fn without_nodes(resources: &str) -> Self {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let back = lab.network("back").expect("a network");
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("switch");
        let switch = PowerSwitch::new(&lab, &socket).expect("a switch");
        let key = folder.path().join("key");
        fs::write(&key, "0123456789abcdef".repeat(4)).expect("a key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
        let mut rig = Self { hosts: BTreeMap::new(), lives: BTreeMap::new(), switch, folder, lab };
        for name in NAMES {
            let host = rig.lab.host(name).expect("a host");
            let host = host.join(&lan, &format!("{}/24", address(78, name))).expect("a link");
            let host = host.join(&back, &format!("{}/24", address(79, name))).expect("a link");
            let file = rig.config(name, resources);
            fs::write(rig.path(name, "toml"), file).expect("a file");
            let lives = Lives::default();
            let (config, started) = (rig.path(name, "toml"), Arc::clone(&lives));
            rig.switch.plug(&host, move |host| start(host, &config, &started));
            rig.lives.insert(name.to_owned(), lives);
            rig.hosts.insert(name.to_owned(), host);
        }
        rig
    }

    fn config(&self, name: &str, resources: &str) -> String {
        let node = |name| {
            let (first, second) = (address(78, name), address(79, name));
            format!("{name} = {{ address = \"{first}\", second = \"{second}\" }}")
        };
        let nodes = NAMES.map(node).join(", ");
        format!(
            "name = \"{name}\"\nkey = \"key\"\ndata = \"data-{name}\"\nnodes = {{ {nodes} }}\n\
             [fencing.switch]\nagent = \"{}\"\nparameters = {{ socket = \"{}\" }}\n{resources}\n",
            env!("CARGO_BIN_EXE_fence_lab"),
            self.folder.path().join("switch").display(),
        )
    }

    pub(crate) fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{kind}"))
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("data-{name}")).join("ha.sock")
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        &self.hosts[name]
    }

    pub(crate) fn boot(&self, name: &str) {
        start(self.host(name), &self.path(name, "toml"), &self.lives[name]);
    }

    /// The present process of a node, or its last.
    pub(crate) fn last_life(&self, name: &str) -> Process {
        let lives = self.lives[name].lock().unwrap_or_else(PoisonError::into_inner);
        lives.last().expect("it was started").clone()
    }

    pub(crate) fn count_lives(&self, name: &str) -> usize {
        self.lives[name].lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The lines that a node has written in all its lives.
    pub(crate) fn lines(&self, name: &str) -> Vec<Line> {
        let lives = self.lives[name].lock().unwrap_or_else(PoisonError::into_inner);
        lives.iter().flat_map(Process::lines).collect()
    }

    /// Asks one node after the other until one does not refuse: some may be cut off.
    pub(crate) fn ask(&self, request: &Request) -> Option<Response> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut refused = None;
        for name in NAMES {
            let answer = runtime.block_on(async {
                let mut client = Client::connect(self.socket(name)).await.ok()?;
                client.ask(request, Duration::from_secs(3)).await.ok()
            });
            match answer {
                Some(Response::Refused { .. }) => refused = answer,
                Some(_) => return answer,
                None => {}
            }
        }
        refused
    }

    /// Asks until somebody has done it; the leader may be changing.
    pub(crate) fn order(&self, request: &Request) {
        eventually(&format!("{request:?} is done"), || self.ask(request) == Some(Response::Done));
    }

    pub(crate) fn status(&self) -> Option<Status> {
        NAMES.iter().find_map(|_| match self.ask(&Request::Status) {
            Some(Response::Status(status)) => Some(*status),
            _ => None,
        })
    }

    /// Waits until the cluster is as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        let clock = BootClock::new();
        let end = clock.now() + PATIENCE;
        while clock.now() < end {
            if let Some(status) = self.status() {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        let tail = |name: &str| {
            let lines = self.lines(name);
            let lines = lines.iter().rev().take(25).rev();
            lines.map(|line| format!("{name} {}", line.text)).collect::<Vec<_>>().join("\n  ")
        };
        panic!("never: {what}: {last:#?}{}", NAMES.map(tail).join("\n  "));
    }
}

fn start(host: &Host, config: &Path, lives: &Lives) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-node"));
    command.arg("--config").arg(config);
    // A host that loses its power meanwhile starts nothing.
    if let Ok(process) = host.spawn(&mut command) {
        lives.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }
}

/// Waits until `what` is true, and fails with `why` if it never is.
pub(crate) fn eventually(why: &str, mut what: impl FnMut() -> bool) {
    let clock = BootClock::new();
    let end = clock.now() + PATIENCE;
    while !what() {
        assert!(clock.now() < end, "never happened: {why}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Where a resource is promoted.
pub(crate) fn promoted(status: &Status, resource: &str) -> Vec<String> {
    let line = status.resources.iter().find(|(name, _)| name.as_str() == resource);
    let promoted = line.map(|(_, line)| line.promoted.clone()).unwrap_or_default();
    promoted.iter().map(NodeName::to_string).collect()
}

/// Where a resource is active.
pub(crate) fn active(status: &Status, resource: &str) -> Vec<String> {
    let line = status.resources.iter().find(|(name, _)| name.as_str() == resource);
    let active = line.map(|(_, line)| line.active.clone()).unwrap_or_default();
    active.iter().map(NodeName::to_string).collect()
}

/// Whether everything runs, once, and nothing is under way.
pub(crate) fn all_runs(status: &Status) -> bool {
    status.waits_for.is_empty()
        && status.resources.values().all(|line| line.active.len() == 1 && line.busy.is_empty())
}
