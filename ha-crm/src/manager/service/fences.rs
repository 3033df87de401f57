//! The fencer: levels of devices, retries and deadlines are its own; the devices' agents are found
//! before they are needed.

use std::sync::Arc;

use async_trait::async_trait;
use ha_agents::fence::runner::{FencerHandle, FencerService, Request};
use ha_agents::fence::{Device, FenceAction, FenceAgent, FenceError, Power};
use ha_core::driver::Task;
use ha_core::id::{NodeName, OpId};
use tokio::sync::Mutex;

use crate::model::{FenceDevice, FenceMethod, Fencing};

/// Fences nodes by the devices of a configuration.
#[derive(Debug, Default)]
pub(super) struct Fences {
    present: Mutex<Option<Fencer>>,
}

/// A fencer that runs, and what it was made from. Dropped, it takes no more requests, and carries
/// out those that are under way.
#[derive(Debug)]
struct Fencer {
    of: Fencing,
    /// Every device has its agent.
    is_whole: bool,
    handle: FencerHandle,
    _task: Task<std::io::Result<()>>,
}

impl Fences {
    /// Finds the agents of all devices, so that fencing does not wait for it.
    pub(super) async fn prepare(&self, fencing: &Fencing) {
        if let Err(reason) = self.fencer(fencing).await {
            tracing::error!(reason, "this node cannot fence");
        }
    }

    /// Makes sure that a node is off; tells by what, or why it is not sure.
    pub(super) async fn fence(
        &self,
        op: OpId,
        node: NodeName,
        fencing: &Fencing,
    ) -> Result<String, String> {
        let action = match fencing.action {
            FenceMethod::Off => FenceAction::Off,
            FenceMethod::Reboot => FenceAction::Reboot,
        };
        let fencer = self.fencer(fencing).await?;
        let report = fencer.fence(Request::new(op, node, action)).await;
        let report = report.map_err(|error| error.to_string())?;
        let words = report.to_string();
        if report.outcome.is_done() { Ok(words) } else { Err(words) }
    }

    /// The fencer of this configuration. One that lacks an agent is made anew each time: it may
    /// have been installed.
    async fn fencer(&self, fencing: &Fencing) -> Result<FencerHandle, String> {
        let mut present = self.present.lock().await;
        if let Some(fencer) = present.as_ref().filter(|f| f.is_whole && f.of == *fencing) {
            return Ok(fencer.handle.clone());
        }
        let (mut agents, mut is_whole) = (Vec::new(), true);
        for (name, device) in &fencing.devices {
            agents.push(match device_of(name, device).resolve().await {
                Ok(agent) => agent,
                Err(error) => {
                    let reason = error.to_string();
                    tracing::error!(device = name, reason, "this node cannot fence by it");
                    is_whole = false;
                    Arc::new(Absent { device: name.clone(), reason }) as Arc<dyn FenceAgent>
                }
            });
        }
        let topology = fencing.topology().map_err(|error| error.to_string())?;
        let service = FencerService::new(topology, agents, seed());
        let service = service.map_err(|error| error.to_string())?;
        let handle = service.handle();
        let fencer = Fencer {
            of: fencing.clone(),
            is_whole,
            handle: handle.clone(),
            _task: service.spawn(),
        };
        *present = Some(fencer);
        Ok(handle)
    }
}

/// Delays are drawn at random from it; two nodes must not draw the same.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn device_of(name: &str, device: &FenceDevice) -> Device {
    let mut wanted = Device::new(name, &device.agent);
    for node in &device.nodes {
        let plug = device.plugs.get(node).map_or(node.as_str(), String::as_str);
        wanted = wanted.node(node.clone(), plug);
    }
    if let Some(timeout) = device.timeout {
        wanted = wanted.timeout(timeout);
    }
    device.parameters.iter().fold(wanted, |wanted, (key, value)| wanted.parameter(key, value))
}

/// Stands for a device whose agent cannot be used on this node, so that others are tried.
#[derive(Debug)]
struct Absent {
    device: String,
    reason: String,
}

impl Absent {
    fn error(&self) -> FenceError {
        FenceError::Unusable { device: self.device.clone(), why: self.reason.clone() }
    }
}

#[async_trait]
impl FenceAgent for Absent {
    fn device(&self) -> &str {
        &self.device
    }

    async fn off(&self, _: &NodeName) -> Result<(), FenceError> {
        Err(self.error())
    }

    async fn on(&self, _: &NodeName) -> Result<(), FenceError> {
        Err(self.error())
    }

    async fn status(&self, _: &NodeName) -> Result<Power, FenceError> {
        Err(self.error())
    }

    async fn list(&self) -> Result<Vec<NodeName>, FenceError> {
        Err(self.error())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// A fence agent that notes what it is asked, and answers by a line of shell.
    fn agent(dir: &Path, name: &str, answer: &str) -> FenceDevice {
        let path = dir.join(format!("fence_{name}"));
        let text = format!(
            "#!/bin/sh\nwhile read -r line; do case $line in action=*) action=${{line#action=}};; \
             port=*) port=${{line#port=}};; esac; done\n\
             [ \"$action\" = metadata ] && {{ echo '<resource-agent name=\"{name}\"><parameters>\
             <parameter name=\"port\"/></parameters><actions><action name=\"off\"/>\
             <action name=\"on\"/><action name=\"reboot\"/><action name=\"status\"/></actions>\
             </resource-agent>'; exit 0; }}\n\
             echo \"{name} $action $port\" >> {dir}/log\n{answer}\n",
            dir = dir.display()
        );
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        FenceDevice::new(path.display().to_string(), [n1()]).attempts(1)
    }

    fn n1() -> NodeName {
        "n1".parse().expect("a name")
    }

    fn log(dir: &Path) -> Vec<String> {
        let text = fs::read_to_string(dir.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn fence(fences: &Fences, op: u64, fencing: &Fencing) -> Result<String, String> {
        fences.fence(OpId::new(op), n1(), fencing).await
    }

    const SWITCH: &str = "case $action in off|on) echo $action > $0.$port;; \
                          status) [ \"$(cat $0.$port)\" = on ] || exit 2;; esac";

    #[tokio::test]
    async fn the_next_level_is_tried_and_both_supplies_are_cut_before_one_comes_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let fencing = Fencing::device("board", agent(dir, "board", "echo dead >&2; exit 1"))
            .and_device("left", agent(dir, "left", SWITCH).plug(n1(), "3"))
            .and_device("right", agent(dir, "right", SWITCH))
            .level(&n1(), ["board"])
            .level(&n1(), ["left", "right"]);
        let fences = Fences::default();
        fences.prepare(&fencing).await;
        let words = fence(&fences, 1, &fencing).await.expect("by the second level");
        assert!(words.starts_with("reboot of n1 by left and right"), "{words}");
        let asked = log(dir);
        assert_eq!(asked.first().map(String::as_str), Some("board reboot n1"), "{asked:?}");
        let at = |line: &str| asked.iter().position(|l| l == line).expect(line);
        assert!(at("right off n1") < at("left on 3"), "{asked:?}");
        assert!(at("left status 3") < at("left on 3"), "it is looked at: {asked:?}");
    }

    #[tokio::test]
    async fn one_supply_that_stays_on_is_no_fencing_and_off_may_be_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let stays = "case $action in status) exit 0;; esac";
        let fencing = Fencing::device("left", agent(dir, "left", SWITCH))
            .and_device("right", agent(dir, "right", stays))
            .level(&n1(), ["left", "right"])
            .action(FenceMethod::Off);
        let why = fence(&Fences::default(), 1, &fencing).await.expect_err("it has power");
        assert!(why.contains("cannot off n1") && why.contains("right"), "{why}");
        assert!(!log(dir).iter().any(|line| line.contains("reboot")), "{:?}", log(dir));
    }

    #[tokio::test]
    async fn an_agent_that_is_missing_leaves_the_others_and_is_found_when_it_comes() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let late = agent(dir, "late", SWITCH);
        let (path, hidden) = (dir.join("fence_late"), dir.join("hidden"));
        fs::rename(&path, &hidden).expect("renamed");
        let fencing = Fencing::device("a", late).and_device("b", agent(dir, "b", SWITCH));
        let fences = Fences::default();
        let words = fence(&fences, 1, &fencing).await.expect("by the other");
        assert!(words.contains("by b"), "{words}");
        fs::rename(&hidden, &path).expect("renamed");
        let words = fence(&fences, 2, &fencing).await.expect("done");
        assert!(words.contains("by a"), "{words}");
        let words = fence(&fences, 3, &Fencing::default()).await.expect_err("by whom?");
        assert!(words.contains("no device can fence it"), "{words}");
    }
}
