//! Pacemaker and Corosync, as Debian has them, on the hosts of the laboratory.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ha_lab::{Host, find_program};

use crate::Failure;
use crate::cluster::Cluster;
use crate::rig::{NAMES, Rig, VIP, address, output, random};

const PROGRAMS: [&str; 7] = [
    "corosync",
    "pacemakerd",
    "crm_mon",
    "crmadmin",
    "crm_resource",
    "cibadmin",
    "corosync-cmapctl",
];
const AGENTS: [&str; 2] = ["heartbeat/IPaddr2", "pacemaker/Dummy"];

/// The peer, with lines of its own for the section `totem`.
pub(crate) struct Peer {
    totem: &'static str,
    key: [u8; 256],
}

/// The versions, or what is missing.
pub(crate) fn versions() -> Result<String, String> {
    let agent = |name: &&str| Path::new("/usr/lib/ocf/resource.d").join(name).is_file();
    let missing = PROGRAMS.into_iter().filter(|name| find_program(name).is_none());
    let missing: Vec<&str> =
        missing.chain(AGENTS.into_iter().filter(|name| !agent(name))).collect();
    if !missing.is_empty() {
        return Err(format!("{} missing", missing.join(", ")));
    }
    let first = |name: &str, flag: &str| {
        let output = Command::new(find_program(name).unwrap_or_default()).arg(flag).output().ok();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
    };
    Ok(format!("{}; {}", first("pacemakerd", "--version"), first("corosync", "-v")))
}

impl Peer {
    pub(crate) fn new(totem: &'static str) -> Result<Self, Failure> {
        Ok(Self { totem, key: random()? })
    }

    fn corosync_conf(&self) -> String {
        let mut nodes = String::new();
        for (number, name) in ["1", "2", "3"].into_iter().zip(NAMES) {
            let address = address(name);
            let ids = [" name: ", name, "\n nodeid: ", number, "\n ring0_addr: ", &address];
            nodes.push_str(&["node {\n", &ids.concat(), "\n}\n"].concat());
        }
        format!(
            "totem {{\n version: 2\n cluster_name: bench\n transport: knet\n\
             crypto_cipher: aes256\n crypto_hash: sha256\n{}}}\n\
             quorum {{\n provider: corosync_votequorum\n}}\n\
             system {{\n move_to_root_cgroup: no\n}}\n\
             logging {{\n to_stderr: yes\n to_syslog: no\n timestamp: hires\n}}\n\
             nodelist {{\n{nodes}}}\n",
            self.totem
        )
    }
}

/// Asks on one node after the other until one answers.
fn ask(rig: &Rig, arguments: &[&str]) -> Option<String> {
    rig.hosts().iter().filter(|host| !host.is_off()).find_map(|host| {
        let (program, rest) = arguments.split_first()?;
        output(host, Command::new(find_program(program)?).args(rest)).ok()
    })
}

fn order(rig: &Rig, arguments: &[&str]) -> Result<(), Failure> {
    rig.until(&arguments.join(" "), || ask(rig, arguments)).map(drop)
}

fn state(rig: &Rig) -> Option<String> {
    ask(rig, &["crm_mon", "--one-shot", "--output-as=xml"])
}

/// The value of an attribute in an element written on one line.
fn attribute<'t>(element: &'t str, name: &str) -> Option<&'t str> {
    element.split_once(&format!(" {name}=\""))?.1.split('"').next()
}

fn leader(state: &str) -> Option<&str> {
    attribute(state.lines().find(|line| line.contains("<current_dc "))?, "name")
}

/// The resources of the measurement, as Pacemaker's XML.
fn resources(switch: &str) -> String {
    let monitor = |id: &str, every: u32| {
        format!("<operations><op id='{id}-m' name='monitor' interval='{every}s'/></operations>")
    };
    let attributes = |id: &str, pairs: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| {
            format!("<nvpair id='{id}-{name}' name='{name}' value='{value}'/>")
        };
        let pairs: String = pairs.iter().map(pair).collect();
        format!("<instance_attributes id='{id}-a'>{pairs}</instance_attributes>")
    };
    let mut all = String::from("<resources>");
    for (id, kind, pairs, every) in [
        ("power", "class='stonith' type='fence_lab'", &[("socket", switch)][..], 60),
        (
            "vip",
            "class='ocf' provider='heartbeat' type='IPaddr2'",
            &[("ip", VIP), ("cidr_netmask", "24"), ("nic", "eth0")],
            10,
        ),
        ("service", DUMMY, &[("state", "/run/bench/service")], 10),
        ("third", DUMMY, &[("state", "/run/bench/third")], 10),
    ] {
        let inner = attributes(id, pairs) + &monitor(id, every);
        all.push_str(&["<primitive id='", id, "' ", kind, ">", &inner, "</primitive>"].concat());
    }
    all + "</resources>"
}

const DUMMY: &str = "class='ocf' provider='pacemaker' type='Dummy'";
const CONSTRAINTS: &str = "<constraints>\
    <rsc_colocation id='c1' rsc='service' with-rsc='vip' score='INFINITY'/>\
    <rsc_colocation id='c2' rsc='third' with-rsc='vip' score='INFINITY'/></constraints>";

impl Cluster for Peer {
    fn prepare(&self, folder: &Path, node: &str) -> Result<(), Failure> {
        fs::write(folder.join("peer.sh"), include_str!("peer.sh"))?;
        let etc = folder.join(node).join("etc");
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("corosync.conf"), self.corosync_conf())?;
        fs::write(etc.join("authkey"), self.key)?;
        fs::set_permissions(etc.join("authkey"), fs::Permissions::from_mode(0o400))?;
        Ok(())
    }

    fn command(&self, folder: &Path, node: &str) -> Result<Vec<OsString>, Failure> {
        Ok(vec!["sh".into(), folder.join("peer.sh").into(), folder.join(node).into()])
    }

    fn configure(&self, rig: &Rig) -> Result<(), Failure> {
        let online = |state: &str| {
            let is = |line: &&str| line.contains("<node name=") && line.contains("online=\"true\"");
            state.lines().filter(is).count() == NAMES.len()
        };
        rig.until("a leader", || {
            state(rig).filter(|state| leader(state).is_some() && online(state))
        })?;
        let stickiness =
            ["crm_attribute", "-t", "rsc_defaults", "-n", "resource-stickiness", "-v", "100"];
        order(rig, &stickiness)?;
        let resources = resources(&rig.folder().join("switch").display().to_string());
        order(rig, &["cibadmin", "-R", "-o", "resources", "-X", &resources])?;
        order(rig, &["cibadmin", "-R", "-o", "constraints", "-X", CONSTRAINTS])
    }

    fn quiet(&self, rig: &Rig) -> bool {
        let Some(state) = state(rig) else { return false };
        let node = |line: &&str| {
            line.contains("<node name=")
                && attribute(line, "online") == Some("true")
                && attribute(line, "unclean") == Some("false")
                && attribute(line, "pending") == Some("false")
        };
        let resource = |line: &&str| {
            line.contains("<resource id=")
                && attribute(line, "active") == Some("true")
                && attribute(line, "failed") == Some("false")
                && attribute(line, "pending").is_none()
        };
        let count = |good: &dyn Fn(&&str) -> bool| state.lines().filter(|line| good(line)).count();
        let idle = || {
            let answer = ask(rig, &["crmadmin", "--status", leader(&state)?])?;
            Some(answer.contains("S_IDLE"))
        };
        count(&node) == NAMES.len() && count(&resource) == 4 && idle() == Some(true)
    }

    fn leader(&self, rig: &Rig) -> Option<String> {
        leader(&state(rig)?).map(str::to_owned)
    }

    fn order_move(&self, rig: &Rig, node: &str) -> Result<(), Failure> {
        order(rig, &["crm_resource", "--move", "--resource", "vip", "--node", node])
    }

    fn take_back(&self, rig: &Rig) -> Result<(), Failure> {
        order(rig, &["crm_resource", "--clear", "--resource", "vip"])
    }

    fn kill_service(&self, rig: &Rig, host: &Host) -> Result<(), Failure> {
        Ok(fs::remove_file(rig.mark(host.name().as_str()))?)
    }

    fn forget_failures(&self, rig: &Rig) -> Result<(), Failure> {
        order(rig, &["crm_resource", "--cleanup", "--resource", "service"])
    }
}
