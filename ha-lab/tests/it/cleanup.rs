//! Nothing is left, in whatever way a lab ends.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use ha_core::time::{BootClock, Clock as _};
use ha_lab::{Host, Lab, run_test};

use crate::{LONG, lab};

/// Names the namespaces of the lab that a child of this test makes.
const CHILD: &str = "HA_LAB_TEST_CHILD";

/// A process that escapes: a new session, its parent gone, as daemons do.
fn daemon() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM INT HUP; (setsid sleep 1000 &) ; setsid sleep 1000 & echo up; exec sleep 1000"]);
    command
}

/// A lab with a host that has a process with daemons, and the host's namespaces.
fn busy() -> (Lab, Host, BTreeSet<PathBuf>) {
    let (lab, _lan, [a]) = lab();
    let process = a.spawn(&mut daemon()).expect("started");
    process.wait_for_line(LONG, |line| line == "up").expect("up");
    while a.processes().len() < 3 {
        thread::yield_now();
    }
    let mut namespaces = BTreeSet::new();
    for pid in a.processes() {
        namespaces.extend(["net", "pid", "mnt"].map(|kind| {
            fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a living process")
        }));
    }
    assert_eq!(namespaces.len(), 3, "one namespace each for network, processes and mounts");
    (lab, a, namespaces)
}

/// Whoever is in one of the namespaces or holds it open: processes, threads, descriptors; the dead
/// that nobody has waited for yet do not count.
fn users(namespaces: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let links = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for process in links(PathBuf::from("/proc")) {
        for task in links(process.join("task")) {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            if stat.contains(") Z ") || stat.contains(") X ") {
                continue;
            }
            found.extend(["ns/net", "ns/pid", "ns/mnt"].map(|link| task.join(link)));
        }
        found.extend(links(process.join("fd")));
    }
    found.retain(|link| fs::read_link(link).is_ok_and(|to| namespaces.contains(&to)));
    found
}

#[test]
fn nothing_is_left_after_a_drop() {
    run_test(|| {
        let (lab, host, namespaces) = busy();
        assert!(!users(&namespaces).is_empty());
        drop(lab);
        assert_eq!(users(&namespaces), Vec::<PathBuf>::new());
        host.spawn(&mut Command::new("true")).expect_err("its lab is gone");
    });
}

#[test]
fn nothing_is_left_after_a_panic() {
    run_test(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let (_lab, _host, namespaces) = busy();
            sender.send(namespaces).expect("somebody listens");
            panic!("on purpose");
        });
        thread.join().expect_err("it panicked");
        let namespaces = receiver.recv().expect("sent before");
        assert_eq!(users(&namespaces), Vec::<PathBuf>::new());
    });
}

/// Not a test of its own: the lab of another process, which the tests below kill.
#[test]
fn child_with_a_lab() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (_lab, host, namespaces) = busy();
    let pids: Vec<String> = host.processes().iter().map(u32::to_string).collect();
    let names: Vec<_> = namespaces.iter().map(|name| name.to_string_lossy()).collect();
    println!("lab: {} {}", names.join(" "), pids.join(" "));
    loop {
        thread::park();
    }
}

fn start_child() -> (Child, BTreeSet<PathBuf>) {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(["it::cleanup::child_with_a_lab", "--exact", "--nocapture"]).env(CHILD, "1");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let line = lines.map(|line| line.expect("text")).find(|line| line.contains("lab: "));
    let line = line.expect("the child made its lab");
    let words = line.rsplit_once("lab: ").expect("found above").1.split(' ');
    (child, words.take(2).map(PathBuf::from).collect())
}

fn nothing_is_left_after(signal: &str) {
    let (mut child, namespaces) = start_child();
    let left = || users(&namespaces);
    assert!(!left().is_empty());
    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {}", child.id())]).status();
    assert!(kill.expect("sh runs").success());
    assert_eq!(child.wait().expect("dead").code(), None, "killed by a signal");
    // The kernel kills them at once. The last trace goes when the machine's first process has
    // waited for those whose parent is dead, for which some take seconds: fail only if it never
    // happens.
    // It must be gone once: later the kernel may give its number to a lab of another test.
    let clock = BootClock::new();
    let end = clock.now() + LONG;
    let mut rest = left();
    while !rest.is_empty() && clock.now() < end {
        thread::yield_now();
        rest = left();
    }
    assert_eq!(rest, Vec::<PathBuf>::new());
}

#[test]
fn nothing_is_left_after_sigterm() {
    run_test(|| nothing_is_left_after("TERM"));
}

#[test]
fn nothing_is_left_after_sigint() {
    run_test(|| nothing_is_left_after("INT"));
}

#[test]
fn nothing_is_left_after_sigkill() {
    run_test(|| nothing_is_left_after("KILL"));
}
