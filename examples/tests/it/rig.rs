//! Two hosts that share an address, and what is asked of them again and again.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use ha_core::time::{BootClock, Clock};
use ha_lab::{Host, Lab, Network, Process, ProcessSignal};

/// Long enough for any machine; every wait ends as soon as what it waits for is there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const VIP: &str = "10.77.0.100/24";

pub(crate) struct Rig {
    pub(crate) lab: Lab,
    pub(crate) lan: Network,
    pub(crate) a: Host,
    pub(crate) b: Host,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = |name: &str, address: &str| {
            lab.host(name).and_then(|host| host.join(&lan, address)).expect("a host")
        };
        let (a, b) = (host("a", "10.77.0.1/24"), host("b", "10.77.0.2/24"));
        Self { lab, lan, a, b }
    }
}

pub(crate) fn ip(address: &str) -> IpAddr {
    address.split('/').next().and_then(|ip| ip.parse().ok()).expect("an address")
}

pub(crate) fn holds(host: &Host, address: &str) -> bool {
    host.holds(ip(address)).expect("the host's addresses")
}

/// Waits until `what` is true, and fails with `why` if it never is.
pub(crate) fn eventually(why: &str, mut what: impl FnMut() -> bool) {
    let clock = BootClock::new();
    let end = clock.now() + PATIENCE;
    while !what() {
        assert!(clock.now() < end, "never happened: {why}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Starts `vrrp-router` with virtual router 51, adverts every 100 ms, and these flags.
pub(crate) fn router(host: &Host, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
    command.args(["--iface", "eth0", "--vrid", "51", "--advert-ms", "100"]).args(flags);
    host.spawn(&mut command).expect("vrrp-router runs")
}

/// Waits for the line that says that the router's state is now `state`.
pub(crate) fn await_state(router: &Process, state: &str) {
    let wanted = format!("\"to\":\"{state}\"");
    router
        .wait_for_line(PATIENCE, |line| line.contains("state-changed") && line.contains(&wanted))
        .unwrap_or_else(|error| panic!("state {state}: {error}\n{:#?}", router.lines()));
}

/// Waits until the router has said this at any time.
pub(crate) fn says(router: &Process, text: &str) {
    eventually(text, || router.lines().iter().any(|line| line.text.contains(text)));
}

/// Stops a router in order and expects it to end well.
pub(crate) fn stop(router: &Process, signal: ProcessSignal) {
    router.signal(signal).expect("it runs");
    let status = router.wait(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}: {:#?}", router.lines());
}

/// A keepalived with one instance of virtual router 51.
pub(crate) struct Keepalived {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Keepalived {
    /// `None` when keepalived is not installed; the test is skipped then.
    pub(crate) fn find() -> Option<Self> {
        let program = ha_lab::require_program("keepalived")?;
        Some(Self { program, folder: tempfile::tempdir().expect("a folder") })
    }

    /// Starts it; `more` is what else stands in the instance.
    pub(crate) fn start(&self, host: &Host, priority: u8, more: &str) -> Process {
        let name = host.name();
        let file = |ending: &str| self.folder.path().join(format!("{name}.{ending}"));
        let config = format!(
            "global_defs {{ router_id {name}\n vrrp_garp_master_repeat 1\n }}\n\
             vrrp_instance V {{ state BACKUP\n interface eth0\n version 3\n \
             virtual_router_id 51\n priority {priority}\n advert_int 0.1\n {more}\n }}\n"
        );
        std::fs::write(file("conf"), config).expect("written");
        // A reboot empties /run: the pid of an earlier life may be that of something else now.
        for leftover in ["pid", "vrrp.pid"] {
            drop(std::fs::remove_file(file(leftover)));
        }
        let mut command = Command::new(&self.program);
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]).arg(file("conf"));
        command.arg("--pid").arg(file("pid")).arg("--vrrp_pid").arg(file("vrrp.pid"));
        host.spawn(&mut command).expect("keepalived runs")
    }
}

/// The addresses of a keepalived instance that serves `vip`.
pub(crate) fn serving(vip: &str) -> String {
    format!("virtual_ipaddress {{ {vip} }}")
}
