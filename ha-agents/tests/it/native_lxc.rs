//! The real LXC, with a container that is a single static program.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ha_agents::native::Lxc;
use ha_agents::registry::Registry;
use ha_agents::{Check, OpResult, Outcome, Report, ResourceAgent};

use super::{block_on, context};

fn succeeds(result: OpResult) {
    let report = result.expect("an answer");
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

/// Makes a container that sleeps; `None`: containers do not run here.
fn container(at: &Path) -> Option<Lxc> {
    let busybox = ha_lab::require_program("busybox")?;
    ha_lab::require_program("lxc-start")?;
    if rustix::process::geteuid().as_raw() != 0 {
        ha_lab::skip("must be root, to start a container");
        return None;
    }
    let root = at.join("ha-test/rootfs");
    for folder in ["bin", "dev", "proc", "sys", "etc", "tmp"] {
        fs::create_dir_all(root.join(folder)).expect("made");
    }
    fs::copy(busybox, root.join("bin/busybox")).expect("copied");
    let config = format!(
        "lxc.uts.name = ha-test\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = empty\n\
         lxc.init.cmd = /bin/busybox sleep 1000\nlxc.apparmor.profile = unconfined\n\
         lxc.autodev = 0\n",
        root.display()
    );
    fs::write(at.join("ha-test/config"), config).expect("written");
    Some(Lxc::new("ha-test").path(at).stop_grace(Duration::from_secs(1)))
}

fn run(at: &Path, program: &str) {
    let status = Command::new(program).arg("-P").arg(at).args(["-n", "ha-test"]).status();
    assert!(status.expect("run").success(), "{program}");
}

#[test]
fn a_container_runs_while_it_is_started_and_a_frozen_one_has_failed() {
    ha_lab::run_test(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let Some(agent) = container(dir.path()) else { return };
        block_on(async {
            let look = async |depth| {
                let check = Check { depth, ..Check::STARTED };
                agent.monitor(&context(), check).await.expect("an answer")
            };
            assert_eq!(look(0).await.outcome, Outcome::NotRunning);
            succeeds(agent.stop(&context()).await);
            for _ in 0..2 {
                succeeds(agent.start(&context()).await);
                for depth in [0, 10] {
                    assert_eq!(look(depth).await, Report::success(), "{depth}");
                }
            }
            run(dir.path(), "lxc-freeze");
            let frozen = look(10).await;
            assert_eq!(frozen.outcome, Outcome::GenericError, "{frozen:?}");
            assert!(frozen.reason.contains("FROZEN"), "{frozen:?}");
            run(dir.path(), "lxc-unfreeze");
            for _ in 0..2 {
                succeeds(agent.stop(&context()).await);
                assert_eq!(look(0).await.outcome, Outcome::NotRunning);
            }
        });
    });
}

#[test]
fn a_container_that_is_not_there_is_not_installed_and_stops() {
    ha_lab::run_test(|| {
        if ha_lab::require_program("lxc-info").is_none() {
            return;
        }
        block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let agent = Lxc::new("none").path(dir.path());
            let report = agent.start(&context()).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::NotInstalled, "{report:?}");
            let report = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::NotRunning, "{report:?}");
            succeeds(agent.stop(&context()).await);
            let odd = Lxc::new("--help").start(&context()).await.expect("an answer");
            assert_eq!(odd.outcome, Outcome::NotConfigured, "{odd:?}");
            let given = [("path", "here"), ("stop_grace", "x")];
            let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let name = "r1".parse().expect("a name");
            let error =
                Registry::new().check(&name, "native:lxc", &given).await.expect_err("wrong");
            assert!(error.to_string().contains("3 of its parameters"), "{error}");
        });
    });
}
