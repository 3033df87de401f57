//! `agent` as its users run it, with Debian's real agents.

#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_agent");

fn agent(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    let read = serde_json::from_slice(&output.stdout);
    assert!(read.is_ok(), "{output:?}");
    read.unwrap()
}

/// Whether Debian's agents are here; a test without them is skipped by name.
fn has_agents() -> bool {
    let are_here = ["heartbeat/Dummy", "pacemaker/Stateful"]
        .iter()
        .all(|it| Path::new("/usr/lib/ocf/resource.d").join(it).exists());
    if !are_here {
        ha_lab::skip("OCF agents are not here; install resource-agents, pacemaker-resource-agents");
    }
    are_here
}

#[test]
fn an_operation_ends_with_its_code() {
    if !has_agents() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state={}", folder.path().join("x").display());
    let run = |operation: &str| agent(&["run", "ocf:heartbeat:Dummy", &state, operation]);
    for (operation, code) in
        [("probe", 7), ("start", 0), ("monitor", 0), ("stop", 0), ("monitor", 7), ("dance", 3)]
    {
        let output = run(operation);
        assert_eq!(output.status.code(), Some(code), "{operation}: {output:?}");
    }
    assert!(text(&run("start")).starts_with("start: ok (0)\n"));
    let told = json(&agent(&["--json", "run", "ocf:heartbeat:Dummy", &state, "stop"]));
    assert_eq!((told["code"].as_i64(), told["outcome"].as_str()), (Some(0), Some("ok")));
}

#[test]
fn wrong_words_are_told() {
    for (args, code, words) in [
        (&["run", "native:dummy"][..], 64, "required"),
        (&["run", "native:dummy", "a=b"], 64, "operation"),
        (&["run", "native:dummy", "start"], 0, ""),
        (&["run", "native:dummy", "dance"], 64, "cannot dance"),
        (&["run", "ocf:none:such", "start"], 5, "is not there; install it"),
        (&["run", "native:process", "start"], 6, "program"),
        (&["test", "native:dummy", "nothing"], 64, "NAME=VALUE"),
        (&["metadata", "ocf:none:such"], 1, "is not there"),
    ] {
        let output = agent(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(words), "{args:?}: {errors}");
    }
}

#[test]
fn what_runs_is_stopped_with_wrong_parameters_and_not_started() {
    if !has_agents() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state={}", folder.path().join("x").display());
    let run = |more: &str, operation: &str| {
        agent(&["run", "ocf:heartbeat:Dummy", &state, more, operation]).status.code()
    };
    assert_eq!(run("stat=x", "start"), Some(6));
    assert_eq!(run("stat=x", "probe"), Some(7), "nothing was started");
    assert_eq!(run("fake=x", "start"), Some(0));
    assert_eq!(run("stat=x", "probe"), Some(0));
    assert_eq!(run("stat=x", "stop"), Some(0));
    assert_eq!(run("stat=x", "probe"), Some(7));
}

/// This program is itself behind `crm_attribute`, and leaves nothing of that.
#[test]
fn what_an_agent_tells_the_cluster_is_shown() {
    if !has_agents() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state={}", folder.path().join("x").display());
    let run = |operation: &str| {
        Command::new(PROGRAM)
            .args(["run", "ocf:pacemaker:Stateful", "--node", "n1", &state, operation])
            .env("TMPDIR", folder.path())
            .output()
            .unwrap()
    };
    assert!(text(&run("start")).contains("attribute: master-test of n1 = 5\n"));
    assert!(text(&run("promote")).contains("attribute: master-test of n1 = 10\n"));
    run("demote");
    run("stop");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// In the directory for temporary files others may write, too.
#[test]
fn the_agents_programs_are_in_a_directory_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let kind = folder.path().join("resource.d/test");
    std::fs::create_dir_all(&kind).unwrap();
    let script = "#!/bin/sh
        case $1 in
        meta-data) echo '<resource-agent name=\"x\"/>';;
        monitor) stat -c 'mode %a' \"${PATH%%/bin:*}\";;
        esac";
    std::fs::write(kind.join("x"), script).unwrap();
    std::fs::set_permissions(kind.join("x"), Permissions::from_mode(0o755)).unwrap();
    let tmp = folder.path().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let run = |before: &str| {
        let command = "exec \"$1\" --ocf-root \"$2\" run ocf:test:x monitor";
        Command::new("sh")
            .args(["-c", &format!("umask 0; {before} {command}"), "sh", PROGRAM])
            .arg(folder.path())
            .env("TMPDIR", &tmp)
            .output()
            .unwrap()
    };
    let output = run("");
    assert!(text(&output).contains("output: mode 700\n"), "{output:?}");
    assert_eq!(std::fs::read_dir(&tmp).unwrap().count(), 0);
    // Somebody was there before.
    for before in ["mkdir \"$TMPDIR/ha-agent-$$\";", "ln -s /nowhere \"$TMPDIR/ha-agent-$$\";"] {
        let output = run(before);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("remove it"), "{output:?}");
    }
    for entry in std::fs::read_dir(&tmp).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(entry.is_symlink() || std::fs::read_dir(entry).unwrap().count() == 0);
    }
}

#[test]
fn metadata_and_the_list_are_for_people_and_programs() {
    if !has_agents() {
        return;
    }
    let shown = text(&agent(&["metadata", "ocf:pacemaker:Stateful"]));
    assert!(shown.contains("state") && shown.contains("unique in state"), "{shown}");
    assert!(shown.contains("Promoted") && shown.contains("reloadable"), "{shown}");
    let told = json(&agent(&["metadata", "ocf:pacemaker:Stateful", "--json"]));
    assert_eq!(told["parameters"][0]["name"], "state");
    assert_eq!(told["actions"][0]["timeout_s"], 20.0);
    let list = text(&agent(&["list"]));
    for name in ["native:process", "ocf:heartbeat:IPaddr2", "ocf:pacemaker:ping"] {
        assert!(list.lines().any(|line| line == name), "{name}: {list}");
    }
    assert_eq!(json(&agent(&["list", "--json"])).as_array().unwrap().len(), list.lines().count());
}

#[test]
fn an_agent_is_tried_out() {
    if !has_agents() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state={}", folder.path().join("x").display());
    let output = agent(&["test", "ocf:heartbeat:Dummy", &state]);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).contains("ocf:heartbeat:Dummy passed: "), "{output:?}");
    // It runs already: that is no test.
    agent(&["run", "ocf:heartbeat:Dummy", &state, "start"]);
    let output = agent(&["test", "ocf:heartbeat:Dummy", &state]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("stop the resource before its agent is tried"), "{output:?}");
    let told = json(&agent(&["test", "--json", "ocf:heartbeat:Dummy", &state]));
    assert_eq!(told["passed"], false);
    assert_eq!(told["findings"][0]["gravity"], "error");
}
