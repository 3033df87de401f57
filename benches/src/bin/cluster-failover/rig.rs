//! The laboratory: three nodes, a client, a power switch; and what the kernels know of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ha_core::time::{BootClock, Clock, Instant};
use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::switch::PowerSwitch;
use ha_lab::{Host, Lab, Line, Process};

use crate::Failure;
use crate::cluster::Cluster;

pub(crate) const NAMES: [&str; 3] = ["n1", "n2", "n3"];
pub(crate) const VIP: &str = "10.79.0.100";
/// For what ends as soon as it is there.
const PATIENCE: Duration = Duration::from_secs(90);
const PORT: u16 = 7;

pub(crate) fn address(node: &str) -> String {
    format!("10.79.0.{}", node.trim_start_matches('n'))
}

type Lives = Arc<Mutex<Vec<(String, Process)>>>;

/// A cluster in its laboratory; all of it goes when this is dropped.
pub(crate) struct Rig {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) watch: HolderWatch,
    pub(crate) clock: BootClock,
    hosts: Vec<Host>,
    client: Host,
    lives: Lives,
    _responders: Vec<Responder>,
    _switch: PowerSwitch,
    _lab: Lab,
    folder: tempfile::TempDir,
}

impl Rig {
    /// The hosts; nothing runs on them yet.
    pub(crate) fn new(cluster: impl Cluster + 'static) -> Result<Self, Failure> {
        let lab = Lab::new()?;
        let lan = lab.network("lan")?;
        let folder = tempfile::Builder::new().prefix(&prefix(std::process::id())).tempdir()?;
        let path = folder.path().to_owned();
        let client = lab.host("client")?.join(&lan, "10.79.0.9/24")?;
        let switch = PowerSwitch::new(&lab, path.join("switch"))?;
        fs::create_dir(path.join("sbin"))?;
        std::os::unix::fs::symlink(sibling("fence_lab")?, path.join("sbin/fence_lab"))?;
        fs::write(path.join("node.sh"), include_str!("node.sh"))?;
        let (cluster, lives): (Arc<dyn Cluster>, _) = (Arc::new(cluster), Lives::default());
        let (mut hosts, mut responders) = (Vec::new(), Vec::new());
        for name in NAMES {
            let host = lab.host(name)?.join(&lan, &format!("{}/24", address(name)))?;
            fs::create_dir_all(path.join(name).join("run"))?;
            cluster.prepare(&path, name)?;
            responders.push(Responder::start(&host, PORT)?);
            let (cluster, lives, path) = (Arc::clone(&cluster), Arc::clone(&lives), path.clone());
            // A host that loses its power meanwhile starts nothing.
            switch.plug(&host, move |host| drop(boot(&*cluster, host, &path, &lives)));
            hosts.push(host);
        }
        let watch = HolderWatch::start(VIP.parse()?, &hosts.iter().collect::<Vec<_>>())?;
        Ok(Self {
            cluster,
            watch,
            clock: BootClock::new(),
            hosts,
            client,
            lives,
            _responders: responders,
            _switch: switch,
            _lab: lab,
            folder,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn host(&self, name: &str) -> Result<&Host, Failure> {
        let host = self.hosts.iter().find(|host| host.name().as_str() == name);
        host.ok_or_else(|| format!("no node {name}").into())
    }

    pub(crate) fn boot(&self, host: &Host) -> Result<(), Failure> {
        boot(&*self.cluster, host, self.folder(), &self.lives)
    }

    /// What the programs of the nodes have written, with the node's name.
    pub(crate) fn lines(&self) -> Vec<(String, Line)> {
        let lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(name, process): &(String, Process)| {
            process.lines().into_iter().map(|line| (name.clone(), line)).collect::<Vec<_>>()
        };
        lives.iter().flat_map(of).collect()
    }

    /// Who holds the address, if it is one host.
    pub(crate) fn holder(&self) -> Option<String> {
        match &self.watch.holders()[..] {
            [one] => Some(one.to_string()),
            _ => None,
        }
    }

    /// The file that is there while the service runs on a node; an unclean end leaves it.
    pub(crate) fn mark(&self, node: &str) -> PathBuf {
        self.folder().join(node).join("run/service")
    }

    /// Whether the service has been started on a node that has power.
    pub(crate) fn serves(&self, node: &str) -> bool {
        let powered = self.host(node).is_ok_and(|host| !host.is_off());
        powered && self.mark(node).exists()
    }

    /// Removes what an unclean end of the service has left on the nodes that do not run it.
    pub(crate) fn tidy(&self, holder: &str) {
        for name in NAMES.into_iter().filter(|name| *name != holder) {
            // It is not there as a rule.
            drop(fs::remove_file(self.mark(name)));
        }
    }

    /// Waits until all nodes are members, everything runs on one and nothing is under way; twice,
    /// as a manager may be between two steps. Returns who runs everything.
    pub(crate) fn settle(&self) -> Result<String, Failure> {
        let mut seen = 0;
        self.until("everything runs and is quiet", || {
            let holder = self.holder();
            let runs = holder.as_ref().is_some_and(|name| self.serves(name));
            seen = if runs && self.cluster.quiet(self) { seen + 1 } else { 0 };
            if seen < 2 {
                rest(Duration::from_millis(150));
            }
            (seen >= 2).then_some(holder).flatten()
        })
    }

    /// Waits until `what` has a value; looks every half millisecond.
    pub(crate) fn until<T>(
        &self,
        why: &str,
        mut what: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let end = self.clock.now() + PATIENCE;
        loop {
            if let Some(value) = what() {
                return Ok(value);
            }
            if self.clock.now() > end {
                let lines = self.lines();
                let last = lines.iter().rev().take(60).rev();
                let last: Vec<String> =
                    last.map(|(n, line)| format!("{n} {}", line.text)).collect();
                return Err(format!("never: {why}\n{}", last.join("\n")).into());
            }
            thread::park_timeout(Duration::from_micros(500));
        }
    }

    /// A client that asks the address every millisecond and is answered.
    pub(crate) fn probe(&self, holder: &str) -> Result<Prober, Failure> {
        let target = format!("{VIP}:{PORT}").parse()?;
        let prober = Prober::start(&self.client, target, Duration::from_millis(1))?;
        prober.wait_for_answer_by(&holder.parse()?, PATIENCE)?;
        rest(Duration::from_millis(100));
        Ok(prober)
    }
}

/// Runs a command on a host and returns what it writes.
pub(crate) fn output(host: &Host, command: &mut Command) -> Result<String, Failure> {
    let process = host.spawn(command)?;
    let status = process.wait(Duration::from_secs(20));
    let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
    let text = lines.join("\n");
    if status?.success() { Ok(text) } else { Err(format!("{command:?}: {text}").into()) }
}

/// The longest time without an answer since `began`.
pub(crate) fn longest_gap(prober: Prober, began: Instant) -> Duration {
    let gaps = prober.finish().gaps.into_iter().filter(|gap| gap.to >= began);
    gaps.map(|gap| gap.to.since(gap.from.max(began))).max().unwrap_or_default()
}

fn boot(cluster: &dyn Cluster, host: &Host, folder: &Path, lives: &Lives) -> Result<(), Failure> {
    let name = host.name().as_str();
    let mut command = Command::new("unshare");
    command.args(["--uts", "--ipc", "sh"]).arg(folder.join("node.sh"));
    command.arg(name).arg(folder.join(name)).arg(folder.join("sbin"));
    command.args(cluster.command(folder, name)?);
    let process = host.spawn(&mut command)?;
    lives.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), process));
    Ok(())
}

fn prefix(pid: u32) -> String {
    format!("cluster-failover-{pid}-")
}

/// Removes the folders that killed runs have left; all else of them went with them.
pub(crate) fn sweep() -> Result<(), Failure> {
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("cluster-failover-").and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if name.starts_with(&prefix(pid)) && !Path::new(&format!("/proc/{pid}")).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A program that was built beside this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    let missing =
        || format!("{} is not there; build it: cargo build --release --bins", path.display());
    path.is_file().then(|| path.clone()).ok_or_else(|| missing().into())
}

pub(crate) fn rest(duration: Duration) {
    let clock = BootClock::new();
    let end = clock.now() + duration;
    while clock.now() < end {
        thread::park_timeout(end.since(clock.now()));
    }
}

/// Random bytes, for a key.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}
