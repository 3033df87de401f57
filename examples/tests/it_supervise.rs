//! The program `supervise`, run as a user runs it, with real processes.
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program, running; killed when dropped.
struct Supervise {
    child: Child,
    lines: BufReader<ChildStdout>,
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervise"));
    command.arg("--config").arg(config);
    command
}

impl Supervise {
    fn start(config: &Path) -> Self {
        let child = command(config).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program was built");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    /// Reads up to the line that a service is in a state, and returns it.
    fn state(&mut self, service: &str, state: &str) -> Value {
        self.until(|line| line["service"] == service && line["state"] == state)
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).expect("text");
            assert!(read > 0, "the program ended; it had said {seen:?}");
            let value: Value = serde_json::from_str(&line).expect("a line of JSON");
            if wanted(&value) {
                return value;
            }
            seen.push(line);
        }
    }

    fn terminate(&self) {
        kill_process(pid(&self.child.id().to_string()), Signal::TERM).expect("it runs");
    }
}

impl Drop for Supervise {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Is killed when its test ends, however it does.
struct Killed(String);

impl Drop for Killed {
    fn drop(&mut self) {
        if runs(&self.0) {
            let _gone = kill_process(pid(&self.0), Signal::KILL);
        }
    }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().expect("a number")).expect("not zero")
}

fn number(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a pidfile").trim().to_owned()
}

fn runs(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn what_dies_is_restarted_what_crashes_is_given_up_and_all_is_stopped_at_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let (config, file) = (dir.path().join("services.toml"), dir.path().join("web.pid"));
    let text = format!(
        r#"
        [service.web]
        agent = "native:process"
        backoff_ms = 10
        parameters = {{ program = "sleep", args = "1000", pidfile = "{pidfile}" }}

        [service.sick]
        agent = "native:process"
        restarts = 3
        backoff_ms = 1
        backoff_most_ms = 20
        parameters = {{ program = "/bin/sh", args = "-c 'echo no license; exit 3'", log = "{log}" }}

        [service.checked]
        agent = "native:dummy"
        monitor_ms = 20
        "#,
        pidfile = file.display(),
        log = dir.path().join("sick.log").display(),
    );
    std::fs::write(&config, text).expect("written");
    let mut it = Supervise::start(&config);
    it.state("web", "running");
    let before = number(&file);
    kill_process(pid(&before), Signal::KILL).expect("it runs");
    it.state("web", "waiting");
    it.state("web", "running");
    let after = number(&file);
    assert!(before != after && runs(&after));

    drop(it);
    let _outlives = Killed(after.clone());
    let mut it = Supervise::start(&config);
    let given_up = it.state("sick", "given-up");
    assert_eq!(given_up["failures"], 4, "a start and three restarts");
    it.terminate();
    it.state("web", "down");
    it.until(|line| line["event"] == "stopped");
    assert!(it.child.wait().expect("it ends").success());
    assert!(!runs(&after), "the one that outlived the first was adopted and stopped");
}

#[test]
fn a_file_that_is_wrong_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("services.toml");
    let refused = |text: &str| {
        std::fs::write(&config, text).expect("written");
        let output = command(&config).arg("--check").output().expect("the program was built");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let why = refused("[service.a]\nagent = \"native:process\"\n");
    assert!(why.contains("program"), "{why}");
    let why = refused("[service.a]\nagent = \"native:nothing\"\n");
    assert!(why.contains("native:dummy"), "{why}");
    let why = refused("[service.a]\nagent = \"native:dummy\"\nmonitors_ms = 3\n");
    assert!(why.contains("monitor_ms"), "{why}");
    std::fs::write(&config, "[service.a]\nagent = \"native:dummy\"\n").expect("written");
    assert!(command(&config).arg("--check").status().expect("the program was built").success());
}
