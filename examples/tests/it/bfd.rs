//! `bfd-session` and the real BIRD watch each other. With keepalived: see `keepalived_site`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ha_lab::{Host, Process, ProcessSignal};

use crate::rig::{PATIENCE, Rig, eventually, stop};

/// BIRD with one BFD neighbour, the other host of the rig.
struct Bird {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Bird {
    /// `None` when BIRD is not installed; the test is skipped then.
    fn find() -> Option<Self> {
        let program = ha_lab::require_program("bird")?;
        ha_lab::require_program("birdc")?;
        Some(Self { program, folder: tempfile::tempdir().expect("a folder") })
    }

    /// Starts it on host b; `more` is what else stands with the interface.
    fn start(&self, b: &Host, more: &str) -> Process {
        let file = |name: &str| self.folder.path().join(name);
        let config = format!(
            "log stderr all;\nrouter id 10.77.0.2;\nprotocol device {{}}\nprotocol bfd {{\n \
             interface \"eth0\" {{ min rx interval 50 ms; min tx interval 50 ms; \
             idle tx interval 1 s; multiplier 3; {more} }};\n \
             neighbor 10.77.0.1 dev \"eth0\" local 10.77.0.2;\n}}\n"
        );
        std::fs::write(file("conf"), config).expect("written");
        let mut command = Command::new(&self.program);
        command.arg("-f").arg("-c").arg(file("conf")).arg("-s").arg(file("socket"));
        command.arg("-P").arg(file("pid"));
        b.spawn(&mut command).expect("bird runs")
    }

    /// The line of the session in BIRD's own words, such as `10.77.0.1 eth0 Up … 0.050 0.150`.
    fn session(&self) -> String {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(self.folder.path().join("socket"));
        let output = command.args(["show", "bfd", "sessions"]).output().expect("birdc runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.starts_with("10.77.0.1")).unwrap_or_default().to_owned()
    }

    fn says(&self, state: &str) {
        eventually(state, || self.session().split_whitespace().nth(2) == Some(state));
    }
}

fn ours(a: &Host, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bfd-session"));
    command.args(["--local", "10.77.0.1", "--peer", "10.77.0.2", "--multiplier", "3"]);
    a.spawn(command.args(flags)).expect("bfd-session runs")
}

fn becomes(ours: &Process, state: &str) -> String {
    let wanted = format!("\"to\":\"{state}\"");
    let line = ours.wait_for_line(PATIENCE, |line| line.contains(&wanted));
    line.unwrap_or_else(|error| panic!("{state}: {error}\n{:#?}", ours.lines())).text
}

#[test]
fn a_dead_bird_is_noticed_and_a_new_one_found() {
    ha_lab::run_test(|| {
        let Some(bird) = Bird::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let ours = ours(a, &["--min-tx-ms", "50", "--min-rx-ms", "50"]);
        for _ in 0..2 {
            let theirs = bird.start(b, "");
            becomes(&ours, "up");
            bird.says("Up");
            theirs.kill().expect("it runs");
            let line = becomes(&ours, "down");
            assert!(line.contains("control detection time expired"), "{line}");
            theirs.wait(PATIENCE).expect("it is dead");
        }
    });
}

#[test]
fn bird_notices_a_loss_of_power_and_an_orderly_stop() {
    ha_lab::run_test(|| {
        let Some(bird) = Bird::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let _theirs = bird.start(b, "");
        let flags = ["--min-tx-ms", "50", "--min-rx-ms", "50"];
        let first = ours(a, &flags);
        becomes(&first, "up");
        bird.says("Up");
        a.power_off().expect("off");
        bird.says("Down");
        a.power_on().expect("on");

        let second = ours(a, &flags);
        becomes(&second, "up");
        bird.says("Up");
        stop(&second, ProcessSignal::Terminate);
        // At once, not after the detection time; BIRD shows no state of the other end.
        bird.says("Down");
    });
}

#[test]
fn both_go_by_the_slower_interval() {
    ha_lab::run_test(|| {
        let Some(bird) = Bird::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let _theirs = bird.start(b, "");
        let ours = ours(a, &["--min-tx-ms", "10", "--min-rx-ms", "200"]);
        becomes(&ours, "up");
        bird.says("Up");
        // BIRD takes packets every 50 ms at most, and sends every 200 ms as we take no more.
        let told = |line: &str| line.contains("sends every 50ms, detects within 600ms");
        ours.wait_for_line(PATIENCE, told).expect("what was agreed on");
        eventually("BIRD's view: interval, and 3 × 50 ms", || {
            let line = bird.session();
            let numbers: Vec<&str> = line.split_whitespace().rev().take(2).collect();
            numbers == ["0.150", "0.200"]
        });
    });
}

#[test]
fn authentication_is_understood_both_ways_and_a_wrong_key_never_comes_up() {
    ha_lab::run_test(|| {
        let Some(bird) = Bird::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        for (method, theirs) in [
            ("simple", "simple"),
            ("keyed-md5", "keyed md5"),
            ("meticulous-keyed-md5", "meticulous keyed md5"),
            ("keyed-sha1", "keyed sha1"),
            ("meticulous-keyed-sha1", "meticulous keyed sha1"),
        ] {
            let more = format!("authentication {theirs}; password \"secret\" {{ id 7; }};");
            let process = bird.start(b, &more);
            let flags = ["--min-tx-ms", "50", "--min-rx-ms", "50", "--auth", method, "--key"];
            let wrong = ours(a, &[&flags[..], &["7:secrex"]].concat());
            // What is refused is counted, and told in the end.
            wrong.wait_for_line(PATIENCE, |line| line.contains("ready")).expect("it runs");
            let right = ours_after(&wrong, a, &[&flags[..], &["7:secret"]].concat());
            becomes(&right, "up");
            bird.says("Up");
            assert!(
                !wrong.lines().iter().any(|line| line.text.contains("\"to\":\"up\"")),
                "{method}"
            );
            stop(&right, ProcessSignal::Terminate);
            process.kill().expect("it runs");
            process.wait(PATIENCE).expect("it is dead");
        }
    });
}

/// Ends a session that was to hear BIRD for a while, and starts another one.
fn ours_after(wrong: &Process, a: &Host, flags: &[&str]) -> Process {
    let more = wrong.wait_for_line(Duration::from_secs(2), |line| line.contains("\"to\":\"up\""));
    assert!(more.is_err(), "a wrong key comes up: {more:?}");
    stop(wrong, ProcessSignal::Terminate);
    let refused = wrong.lines().iter().any(|line| {
        line.text.contains("\"event\":\"stopped\"") && !line.text.contains("\"rejected\":0")
    });
    assert!(refused, "{:#?}", wrong.lines());
    ours(a, flags)
}
