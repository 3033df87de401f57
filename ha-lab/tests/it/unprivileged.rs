//! The same as an ordinary user.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use ha_lab::{Lab, LabError, run_test, skip};

/// Runs tests of this binary as the user `nobody`; an ordinary user's run has them anyway.
fn as_nobody(arguments: &[&str], threads: &str) -> Option<Output> {
    if !is_root() {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("readable");
    let copy = folder.path().join("it");
    fs::copy(std::env::current_exe().expect("a path"), &copy).expect("copied");
    let mut command = Command::new(&copy);
    command.args(arguments).args(["--nocapture", threads]).uid(65534).gid(65534);
    command.current_dir("/").env_remove("HA_REQUIRE_ALL");
    Some(command.output().expect("started"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"))
}

fn passes(output: &Output) {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|t| String::from_utf8_lossy(t));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains(" 0 failed"), "{stdout}\n{stderr}");
    if stderr.contains("forbids it") {
        skip(format_args!("user namespaces are forbidden here: {stderr}"));
    }
}

#[test]
fn an_ordinary_users_tests_pass() {
    let tests =
        ["it::faults", "it::instruments", "it::topology", "it::cleanup", "it::power", "it::real"];
    if let Some(output) = as_nobody(&tests, "--test-threads=4") {
        passes(&output);
    }
}

#[test]
fn one_thread_is_fine_too() {
    let tests = ["it::topology::hosts_of_one_network", "it::unprivileged::entering_is"];
    if let Some(output) = as_nobody(&tests, "--test-threads=1") {
        passes(&output);
    }
}

#[test]
fn entering_is_nothing_for_root_and_refused_to_a_process_with_threads() {
    run_test(|| ha_lab::enter().expect("there is nothing to do"));
    // Started again inside a user namespace, or started by root: privileged. Else: libtest has
    // threads, which is what the error says.
    match ha_lab::enter() {
        Ok(()) => assert!(Lab::new().is_ok()),
        Err(error) => {
            assert!(matches!(error, LabError::Threads { .. }), "{error}");
            let error = Lab::new().expect_err("no privilege");
            assert!(error.to_string().contains("call `ha_lab::enter` first"), "{error}");
        }
    }
}
