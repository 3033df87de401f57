//! A process in a hurry, with its token, and after the death of its parent.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use ha_agents::native::Process;
use ha_agents::{Check, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;

use super::{block_on, context, line_in, runs};

/// A leader and a child of it that both ignore SIGTERM; prints the child's number to `$CHILD`.
const STUBBORN: &str =
    "trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $! > $CHILD; wait; wait";

/// Set in a test binary that is started to be killed.
const PARENT: &str = "HA_AGENTS_TEST_PARENT";

fn stubborn(file: &std::path::Path) -> Process {
    Process::new("/bin/sh").arg("-c").arg(STUBBORN).env("CHILD", file)
}

#[test]
fn a_stop_in_a_hurry_ends_in_time_with_nothing_left() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("child");
        // With the grace of 10 s that it has by default.
        let agent = stubborn(&file);
        agent.start(&context()).await.expect("an answer");
        let (child, leader) = (line_in(&file).await, agent.id().await.expect("it runs"));
        let limit = Duration::from_secs(1);
        let report = agent.stop(&context().timeout(limit)).await.expect("an answer in time");
        assert_eq!(report, Report::success());
        assert!(!runs(&child) && !runs(&leader.to_string()), "left something behind");
        let report = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotRunning);
    });
}

#[test]
fn the_program_is_told_its_resource_and_its_fencing_token() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("told");
        let script = "echo $HA_RESOURCE $HA_FENCING_TOKEN > $FILE.new; mv $FILE.new $FILE";
        let agent = Process::new("/bin/sh").arg("-c").arg(script).env("FILE", &file);
        agent.start(&context().meta("fencing-token", "42")).await.expect("an answer");
        assert_eq!(line_in(&file).await, "r1 42");
        agent.stop(&context()).await.expect("an answer");
        std::fs::remove_file(&file).expect("it was there");
        agent.start(&context().meta("fencing-token", "43")).await.expect("an answer");
        assert_eq!(line_in(&file).await, "r1 43", "each start has its own");
    });
}

/// Runs the test again as a parent that starts something and says its number; kills the parent,
/// and waits until what it has started is gone.
fn dies_with_its_parent(test: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut parent = Command::new(std::env::current_exe().expect("a path"))
        .args([test, "--exact", "--nocapture"])
        .env(PARENT, dir.path().join("child"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(parent.stdout.take().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    let child = lines.find_map(|line| line.strip_prefix("started ").map(str::to_owned));
    let child = child.expect("it starts the group");
    assert!(runs(&child));
    parent.kill().expect("killed by SIGKILL");
    parent.wait().expect("waited for");
    block_on(async {
        while runs(&child) {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
    });
}

#[test]
fn a_parent_killed_by_sigkill_takes_the_group_along() {
    let Some(file) = std::env::var_os(PARENT) else {
        return dies_with_its_parent("process::a_parent_killed_by_sigkill_takes_the_group_along");
    };
    // The parent: starts the group, says so and waits for its death.
    block_on(async {
        let agent = stubborn(file.as_ref());
        agent.start(&context()).await.expect("an answer");
        let child = line_in(file.as_ref()).await;
        println!("\nstarted {child}");
        std::future::pending::<()>().await;
    });
}

#[test]
fn a_parent_killed_by_sigkill_takes_an_operation_along() {
    let Some(file) = std::env::var_os(PARENT) else {
        return dies_with_its_parent(
            "process::a_parent_killed_by_sigkill_takes_an_operation_along",
        );
    };
    let file = std::path::PathBuf::from(file);
    block_on(async {
        let root = file.parent().expect("a directory");
        super::ocf::script(root, "slow", STUBBORN);
        let agent = ha_agents::ocf::Ocf::builder("test", "slow").root(root).env("CHILD", &file);
        let agent = agent.load().await.expect("an agent");
        let context = context().parameter("file", "x");
        let told = async { println!("\nstarted {}", line_in(&file).await) };
        let (started, ()) = tokio::join!(agent.start(&context), told);
        started.expect("killed before");
    });
}
