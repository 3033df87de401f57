//! The program `member`, run as a user runs it: three on loopback.
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;

/// The program, running; killed when dropped.
struct Member {
    child: Child,
    events: BufReader<ChildStdout>,
}

/// An address on loopback whose port was free a moment ago.
fn free() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("bound").to_string()
}

fn key(byte: u8) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), [byte; 32]).expect("written");
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o600)).expect("set");
    file
}

fn command(name: &str, bind: &str, join: &str, key: &NamedTempFile) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_member"));
    command.args(["--name", name, "--bind", bind, "--voters", "a,b,c", "--interval-ms", "50"]);
    command.args(["--join", join, "--key"]).arg(key.path()).stdout(Stdio::piped());
    command
}

impl Member {
    fn start(name: &str, bind: &str, join: &str, key: &NamedTempFile) -> Self {
        let mut child = command(name, bind, join, key).spawn().expect("the program was built");
        let events = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut member = Self { child, events };
        member.until(|event| event["event"] == "ready");
        member
    }

    /// Reads events up to the first for which `wanted` is true, and returns the names of all that
    /// came about others.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<(String, String)> {
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).expect("text");
            assert!(read > 0, "the program ended; it had said {seen:?}");
            let event: Value = serde_json::from_str(&line).expect("a line of JSON");
            assert!(event["t"].as_f64().is_some_and(|t| t > 1e9), "{line}");
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            seen.push((text("event"), text("node")));
            if wanted(&event) {
                return seen;
            }
        }
    }

    fn event(&mut self, event: &str, node: &str) -> Vec<(String, String)> {
        self.until(|line| line["event"] == event && line["node"] == node)
    }

    fn whole(&mut self) {
        self.until(|line| {
            let members = line["members"].as_array().map_or(0, Vec::len);
            members == 3 && line["quorate"] == true
        });
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child");
        kill_process(pid, signal).expect("it runs");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn has(seen: &[(String, String)], event: &str, node: &str) -> bool {
    seen.iter().any(|(e, n)| e == event && n == node)
}

#[test]
fn members_find_each_other_through_a_late_seed_and_tell_deaths_from_leaves() {
    let (key, [a, b, c]) = (key(7), [free(), free(), free()]);
    let mut b_runs = Member::start("b", &b, &a, &key);
    let mut c_runs = Member::start("c", &c, &a, &key);
    let mut a_runs = Member::start("a", &a, &a, &key);
    a_runs.whole();
    b_runs.whole();
    c_runs.whole();

    a_runs.signal(Signal::KILL);
    for member in [&mut b_runs, &mut c_runs] {
        let seen = member.event("fail", "a");
        assert!(has(&seen, "suspect", "a") && !has(&seen, "leave", "a"), "{seen:?}");
    }
    let mut a_again = Member::start("a", &a, &b, &key);
    b_runs.event("join", "a");
    a_again.whole();

    c_runs.signal(Signal::INT);
    let seen = b_runs.event("leave", "c");
    assert!(!has(&seen, "fail", "c") && !has(&seen, "suspect", "c"), "{seen:?}");
    c_runs.until(|line| line["event"] == "stopped");
}

#[test]
fn one_with_the_wrong_key_never_joins_and_is_counted() {
    let (right, wrong, [a, b, c]) = (key(7), key(8), [free(), free(), free()]);
    let mut a_runs = Member::start("a", &a, &b, &right);
    // One that is stopped before it has knocked is started again.
    loop {
        let mut stranger = Member::start("c", &c, &a, &wrong);
        stranger.signal(Signal::TERM);
        let sent = std::cell::Cell::new(0);
        let seen = stranger.until(|line| {
            sent.set(line["sent"].as_u64().unwrap_or_default());
            line["event"] == "stopped"
        });
        assert!(!seen.iter().any(|(event, _)| event == "join"), "{seen:?}");
        if sent.get() > 0 {
            break;
        }
    }
    let mut b_runs = Member::start("b", &b, &a, &right);
    let seen = a_runs.event("join", "b");
    assert!(!has(&seen, "join", "c"), "{seen:?}");
    b_runs.event("join", "a");
    a_runs.signal(Signal::TERM);
    let forged = std::cell::Cell::new(0);
    let seen = a_runs.until(|line| {
        forged.set(line["forged"].as_u64().unwrap_or_default());
        line["event"] == "stopped"
    });
    assert!(forged.get() > 0 && !seen.iter().any(|(_, node)| node == "c"), "{seen:?}");
}

#[test]
fn mistakes_are_told_in_one_line_with_status_2() {
    let open = key(7);
    std::fs::set_permissions(open.path(), PermissionsExt::from_mode(0o644)).expect("set");
    let bind = free();
    let output = command("a", &bind, &bind, &open).stderr(Stdio::piped()).output().expect("built");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("chmod 600") && text.lines().count() == 1, "{text}");
}
