//! A real daemon with children of its own: keepalived.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::{Host, Process, require_program, run_test};

use crate::{EVERY, LONG, lab};

/// Starts keepalived on a host, as a VRRPv3 router with adverts of 50 ms.
fn keepalived(program: &PathBuf, folder: &Path, host: &Host, priority: u8) -> Process {
    let file = |kind| folder.join(format!("{}.{kind}", host.name()));
    let config = format!(
        "global_defs {{\n  vrrp_version 3\n}}\nvrrp_instance lab {{\n  state BACKUP\n  \
         interface eth0\n  virtual_router_id 51\n  priority {priority}\n  advert_int 0.05\n  \
         virtual_ipaddress {{\n    10.77.0.99/24\n  }}\n}}\n"
    );
    fs::write(file("conf"), config).expect("written");
    // A reboot empties /run; a file left there would name a process that is there again.
    for kind in ["pid", "vrrp"] {
        fs::remove_file(file(kind)).ok();
    }
    let mut command = Command::new(program);
    command.args(["--dont-fork", "--log-console", "--vrrp", "--log-detail", "--use-file"]);
    command.arg(file("conf")).arg("--pid").arg(file("pid")).arg("--vrrp_pid").arg(file("vrrp"));
    host.spawn(&mut command).expect("started")
}

#[test]
fn keepalived_hands_its_address_over_when_the_power_goes_and_takes_it_back() {
    run_test(|| {
        let Some(program) = require_program("keepalived") else { return };
        let folder = tempfile::tempdir().expect("a folder");
        let (_lab, _lan, [client, a, b]) = lab();
        let vip = "10.77.0.99".parse().expect("an address");
        let _services = [&a, &b].map(|host| Responder::start(host, 7).expect("answers"));
        let watch = HolderWatch::start(vip, &[&a, &b]).expect("watched");
        let first = keepalived(&program, folder.path(), &a, 150);
        let second = keepalived(&program, folder.path(), &b, 100);
        let explain = |error| panic!("{error}: {:#?} {:#?}", first.lines(), second.lines());
        watch.wait_for(&[a.name()], LONG).unwrap_or_else(explain);
        let prober = Prober::start(&client, (vip, 7).into(), EVERY).expect("probed");
        prober.wait_for_answer_by(a.name(), LONG).expect("answered");
        assert!(a.processes().len() > 1, "it has children");
        a.power_off().expect("off");
        assert!(a.processes().is_empty() && first.status().is_some());
        watch.wait_for(&[b.name()], LONG).unwrap_or_else(explain);
        prober.wait_for_answer_by(b.name(), LONG).expect("answered");
        let report = prober.report();
        assert!(report.changes == 1 && !report.gaps.is_empty(), "{report}");
        a.power_on().expect("on");
        let again = keepalived(&program, folder.path(), &a, 150);
        let answered = prober.wait_for_answer_by(a.name(), LONG);
        answered.unwrap_or_else(|error| panic!("{error}: {:#?}", again.lines()));
    });
}
