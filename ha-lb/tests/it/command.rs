//! Checks that are commands.

use std::path::Path;
use std::time::Duration;

use ha_core::health::Health;
use ha_lb::endpoint::Endpoint;
use ha_lb::health::command::CommandCheck;
use ha_lb::health::monitor::Monitor;
use ha_lb::health::schedule::Pace;
use ha_lb::health::{HealthCheck, Target};

use crate::monitor::until;
use crate::support::{nobody, pool};

fn shell(script: &str) -> CommandCheck {
    CommandCheck::new("/bin/sh").expect("absolute").with_arguments(["-c", script])
}

fn target() -> Target {
    let web = Endpoint::new("web".parse().expect("a name"), ([192, 0, 2, 7], 8080).into());
    web.with_max_connections(12).into()
}

#[tokio::test]
async fn a_command_sees_what_haproxy_s_sees_and_its_code_decides() {
    let script = "echo $HAPROXY_SERVER_NAME $HAPROXY_SERVER_ADDR $HAPROXY_SERVER_PORT \
                  $HAPROXY_SERVER_MAXCONN $HAPROXY_PROXY_NAME ${HOME-no home}";
    let check = shell(script).with_variable("HAPROXY_PROXY_NAME", "shop");
    let passed = check.check(&target()).await.expect("code 0");
    assert_eq!(passed.reason(), "exit code 0: web 192.0.2.7 8080 12 shop no home");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("check");
    std::fs::write(&file, "#!/bin/sh\necho \"$@\" >&2\nexit 3\n").expect("written");
    let allowed = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&file, allowed).expect("allowed");
    let check = CommandCheck::new(&file).expect("absolute");
    let failed = check.check(&target()).await.expect_err("code 3");
    assert_eq!(failed.reason(), "exit code 3: NOT_USED NOT_USED 192.0.2.7 8080");
    let failed = shell("kill -9 $$").check(&target()).await.expect_err("killed");
    assert_eq!(failed.reason(), "killed by signal 9");
    let missing = CommandCheck::new(folder.path().join("missing")).expect("absolute");
    let failed = missing.check(&target()).await.expect_err("no such file");
    assert!(failed.reason().starts_with("cannot run /"), "{failed}");
    assert!(CommandCheck::new("check-web").is_err());
}

#[tokio::test]
async fn much_output_neither_blocks_nor_fills_memory() {
    let script = "i=0; while [ $i -lt 3000 ]; do echo line $i of many; i=$((i+1)); done; exit 1";
    let failed = shell(script).check(&target()).await.expect_err("code 1");
    assert!(failed.reason().starts_with("exit code 1: line 0 of many line 1"), "{failed}");
    assert_eq!(failed.reason().len(), 200);
}

/// Whether a process runs, as far as one can see; one that is dead and not buried does not.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(process).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("child");
    let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
    let pool = pool(&[nobody().await]);
    let pace = Pace::builder().interval(Duration::from_millis(500)).build().expect("in range");
    let check = std::sync::Arc::new(shell(&script));
    let monitor = Monitor::new(pool.clone(), check, pace).spawn();
    let child = loop {
        match std::fs::read_to_string(&file) {
            Ok(child) => break child.trim().to_owned(),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    until(&pool, 0, Health::Unhealthy).await;
    monitor.stop().await.expect("no panic").expect("a timer");
    while runs(&child) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed_and_not_waited_for() {
    // The child keeps the pipe open.
    let passed = shell("sleep 1000 & echo $!").check(&target()).await.expect("code 0");
    let child = passed.reason().trim_start_matches("exit code 0: ").to_owned();
    assert!(child.parse::<u32>().is_ok(), "{child}");
    while runs(&child) {
        tokio::task::yield_now().await;
    }
}
