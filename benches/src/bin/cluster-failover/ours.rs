//! Three `cluster-node` processes.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ha_lab::Host;
use serde_json::Value;

use crate::Failure;
use crate::cluster::Cluster;
use crate::rig::{NAMES, Rig, VIP, address, output, random, sibling};

/// Ours, with agents of the crates or with the peer's.
pub(crate) struct Ours {
    ocf: bool,
    timing: &'static str,
    key: String,
}

impl Ours {
    pub(crate) fn new(ocf: bool, timing: &'static str) -> Result<Self, Failure> {
        let mut key = String::new();
        for byte in random::<32>()? {
            write!(key, "{byte:02x}")?;
        }
        Ok(Self { ocf, timing, key })
    }

    fn resources(&self, folder: &Path) -> String {
        if self.ocf {
            format!(
                "[resources.vip]\nagent = \"ocf:heartbeat:IPaddr2\"\n\
                 parameters = {{ ip = \"{VIP}\", cidr_netmask = \"24\", nic = \"eth0\" }}\n\
                 [resources.service]\nagent = \"ocf:pacemaker:Dummy\"\nwith = \"vip\"\n\
                 parameters = {{ state = \"/run/bench/service\" }}\n\
                 [resources.third]\nagent = \"ocf:pacemaker:Dummy\"\nwith = \"vip\"\n\
                 parameters = {{ state = \"/run/bench/third\" }}\n"
            )
        } else {
            let script = folder.join("service.sh");
            format!(
                "[resources.vip]\nagent = \"native:address\"\n\
                 parameters = {{ address = \"{VIP}/24\", interface = \"eth0\" }}\n\
                 [resources.service]\nagent = \"native:process\"\nwith = \"vip\"\n\
                 parameters = {{ program = \"sh\", args = \"{}\" }}\n\
                 [resources.third]\nagent = \"native:dummy\"\nwith = \"vip\"\n",
                script.display()
            )
        }
    }
}

/// Asks one node after the other until one does it.
fn hactl(rig: &Rig, arguments: &[&str]) -> Option<String> {
    NAMES.iter().find_map(|name| {
        let socket = rig.folder().join(name).join("data/ha.sock");
        let mut command = Command::new(sibling("hactl").ok()?);
        command.arg("--socket").arg(socket).args(["--timeout", "3"]).args(arguments);
        let output = command.output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
}

fn order(rig: &Rig, arguments: &[&str]) -> Result<(), Failure> {
    rig.until(&arguments.join(" "), || hactl(rig, arguments)).map(drop)
}

fn status(rig: &Rig) -> Option<Value> {
    serde_json::from_str(&hactl(rig, &["status", "--json"])?).ok()
}

impl Cluster for Ours {
    fn prepare(&self, folder: &Path, node: &str) -> Result<(), Failure> {
        let nodes = NAMES.map(|name| format!("{name} = \"{}\"", address(name))).join(", ");
        let (root, key) = (folder.display(), folder.join("key"));
        let file = format!(
            "name = \"{node}\"\nkey = \"{root}/key\"\ndata = \"{root}/{node}/data\"\n\
             nodes = {{ {nodes} }}\n{}[options]\nstickiness = 100\n\
             [fencing.switch]\nagent = \"fence_lab\"\n\
             parameters = {{ socket = \"{root}/switch\" }}\n{}",
            self.timing,
            self.resources(folder)
        );
        fs::write(folder.join(node).join("cluster.toml"), file)?;
        fs::write(&key, &self.key)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        let service = "echo $$ > /run/bench/service\nexec sleep 1000000\n";
        fs::write(folder.join("service.sh"), service)?;
        Ok(())
    }

    fn command(&self, folder: &Path, node: &str) -> Result<Vec<OsString>, Failure> {
        let config = folder.join(node).join("cluster.toml");
        Ok(vec![sibling("cluster-node")?.into(), "--config".into(), config.into()])
    }

    fn configure(&self, _: &Rig) -> Result<(), Failure> {
        Ok(())
    }

    fn quiet(&self, rig: &Rig) -> bool {
        let Some(status) = status(rig) else { return false };
        let all = |part: &str, good: fn(&Value) -> bool| {
            status[part].as_object().is_some_and(|lines| lines.values().all(good))
        };
        let length = |value: &Value| value.as_array().map_or(0, Vec::len);
        status["waits_for"] == ""
            && all("nodes", |node| node["present"] == true && node["status"] == "online")
            && status["resources"].as_object().is_some_and(|lines| {
                lines
                    .values()
                    .all(|line| length(&line["active"]) == 1 && length(&line["busy"]) == 0)
            })
    }

    fn leader(&self, rig: &Rig) -> Option<String> {
        Some(status(rig)?["leader"].as_str()?.to_owned())
    }

    fn order_move(&self, rig: &Rig, node: &str) -> Result<(), Failure> {
        order(rig, &["move", "vip", node])
    }

    fn take_back(&self, rig: &Rig) -> Result<(), Failure> {
        order(rig, &["clear", "vip"])
    }

    fn kill_service(&self, rig: &Rig, host: &Host) -> Result<(), Failure> {
        let mark = rig.mark(host.name().as_str());
        let pid = fs::read_to_string(&mark)?;
        fs::remove_file(mark)?;
        if !self.ocf {
            output(host, Command::new("kill").args(["-9", pid.trim()]))?;
        }
        Ok(())
    }

    fn forget_failures(&self, rig: &Rig) -> Result<(), Failure> {
        order(rig, &["cleanup", "service"])
    }
}
