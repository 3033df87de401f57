//! When a process serves, by what it says; and processes that outlive their manager.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use ha_agents::native::Process;
use ha_agents::{Check, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;

use super::{block_on, context, executable, line_in, runs};

fn sh(script: &str) -> Process {
    Process::new("/bin/sh").arg("-c").arg(script)
}

#[test]
fn a_program_serves_when_it_says_so_on_its_socket() {
    if ha_lab::require_program("systemd-notify").is_none() {
        return;
    }
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let go = dir.path().join("go");
        let script = "systemd-notify --status='reading its tables'; echo > $GO.asked; \
                      while ! [ -e $GO ]; do sleep 0.01; done; systemd-notify --ready; exec sleep 1000";
        let agent = sh(script).env("GO", &go).ready_on_notify();
        let asked = dir.path().join("go.asked");
        // A start whose time is up says that it is not known; the process goes on.
        let late = agent.start(&context().timeout(Duration::from_millis(300))).await;
        late.expect_err("not ready yet");
        while !asked.exists() {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.ends_with("it says: reading its tables"), "{}", report.reason);
        std::fs::write(&go, "").expect("written");
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report, Report::success());
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report, Report::success());
        agent.stop(&context()).await.expect("an answer");
    });
}

#[test]
fn a_stranger_cannot_say_that_it_serves() {
    if ha_lab::require_program("systemd-notify").is_none() {
        return;
    }
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("socket");
        let agent = sh("echo $NOTIFY_SOCKET > $FILE; exec sleep 1000").env("FILE", &file);
        let agent = agent.ready_on_notify();
        let context = context().timeout(Duration::from_millis(500));
        let stranger = async {
            let socket = line_in(&file).await;
            let name = socket.strip_prefix('@').expect("an abstract name").to_owned();
            // This process lives on, so it is seen not to be of the group.
            let address = SocketAddr::from_abstract_name(name).expect("an address");
            let socket = UnixDatagram::unbound().expect("a socket");
            socket.send_to_addr(b"READY=1\n", &address).expect("sent");
        };
        let (started, ()) = tokio::join!(agent.start(&context), stranger);
        started.expect_err("only its own word counts");
        agent.stop(&context).await.expect("an answer");
    });
}

#[test]
fn a_program_serves_when_its_port_answers() {
    if ha_lab::require_program("socat").is_none() {
        return;
    }
    block_on(async {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let listen = format!("TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr", address.port());
        let agent = Process::new("socat").arg(listen).arg("EXEC:true").ready_on_port(address);
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        std::net::TcpStream::connect(address).expect("it listens");
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report, Report::success());
        agent.stop(&context()).await.expect("an answer");
        std::net::TcpStream::connect(address).expect_err("nobody is left");
    });
}

#[test]
fn a_program_serves_when_its_log_says_so_and_its_last_words_are_kept() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let script = "echo starting; sleep 0.05; printf 'now ready '; echo to serve; sleep 0.1; \
                      echo 'out of paper' >&2; exit 3";
        let agent = sh(script).ready_on_line(&log, "ready to serve");
        let mut deaths = agent.deaths();
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        assert!(deaths.next().await.is_some());
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotRunning);
        let expected = r#"the process ended: exit status: 3; it last said "out of paper""#;
        assert_eq!(report.reason, expected);

        let never = sh("echo no; exit 0").ready_on_line(&log, "ready to serve");
        let report = never.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError, "the line of before does not count");
    });
}

#[test]
fn what_outlives_its_manager_is_adopted_by_the_next() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let child = dir.path().join("child");
        let make = || {
            let script = "sleep 1000 & echo $! > $CHILD; trap '' TERM; while :; do wait; done";
            let agent = sh(script).env("CHILD", &child).pidfile(&file);
            agent.stop_grace(Duration::from_millis(100))
        };
        let first = make();
        first.start(&context()).await.expect("an answer");
        let (id, child) = (first.id().await.expect("it runs"), line_in(&child).await);
        drop(first);
        assert!(runs(&id.to_string()) && runs(&child));

        let second = make();
        let probe = second.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(probe, Report::success());
        assert_eq!(second.id().await, Some(id));
        second.start(&context()).await.expect("an answer");
        assert_eq!(second.id().await, Some(id), "not started twice");
        drop(second);

        let third = make();
        let report = third.stop(&context()).await.expect("an answer");
        assert_eq!(report, Report::success());
        assert!(!runs(&id.to_string()) && !runs(&child), "left something behind");
        assert!(!file.exists());
    });
}

#[test]
fn the_death_of_an_adopted_process_is_told() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let make = || Process::new("sleep").arg("1000").pidfile(&file);
        make().start(&context()).await.expect("an answer");
        let agent = make();
        let mut deaths = agent.deaths();
        agent.start(&context()).await.expect("an answer");
        let id = agent.id().await.expect("it runs");
        std::process::Command::new("kill").args(["-9", &id.to_string()]).status().expect("kill");
        assert!(deaths.next().await.is_some());
        let report = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotRunning);
        agent.start(&context()).await.expect("an answer");
        assert_ne!(agent.id().await, Some(id));
        agent.stop(&context()).await.expect("an answer");
    });
}

#[test]
fn a_pidfile_that_names_a_stranger_is_not_believed() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let stranger = std::process::Command::new("tail").args(["-f", "/dev/null"]).spawn();
        let mut stranger = Stranger(stranger.expect("a process"));
        let stranger = &mut stranger.0;
        for text in [stranger.id().to_string(), "1".to_owned(), "-1".to_owned(), "x".repeat(9_000)]
        {
            std::fs::write(&file, text).expect("written");
            let agent = Process::new("sleep").arg("1000").pidfile(&file);
            let probe = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
            assert_eq!(probe.outcome, Outcome::NotRunning);
            assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        }
        assert!(stranger.try_wait().expect("a child").is_none(), "a stranger was killed");
    });
}

/// Ends with its test.
struct Stranger(std::process::Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_program_that_goes_to_the_background_is_adopted_and_stopped() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let program = dir.path().join("daemon");
        // Two forks and a session of its own, as the old books teach.
        let script = r#"#!/bin/sh
            (setsid sh -c 'echo $$ > "$0.new"; mv "$0.new" "$0"; sleep 1000 & wait' "$1" \
                </dev/null >/dev/null 2>&1 &)
            exit 0"#;
        executable(&program, script);
        let make = || Process::new(&program).arg(&file).daemon(&file);
        let agent = make();
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        let id = number(&file);
        assert_eq!(agent.id().await.map(|id| id.to_string()), Some(id.clone()));
        drop(agent);
        let agent = make();
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report, Report::success());
        let sleeper = child_of(&id);
        agent.stop(&context()).await.expect("an answer");
        assert!(!runs(&id) && !runs(&sleeper), "left something behind");

        executable(&program, "#!/bin/sh\nexit 4");
        let report = make().start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.contains("exit status: 4"), "{}", report.reason);
    });
}

#[test]
fn a_start_that_cannot_note_its_process_leaves_none() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("no/such/folder/pid");
        let agent = Process::new("sleep").arg("1000").pidfile(&file);
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.contains("cannot write its pidfile"), "{}", report.reason);
        let _none_is_left = Marked(&file);
        // It was killed; its end takes a moment.
        for _ in 0..2_000 {
            if marked(&file).is_empty() {
                break;
            }
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
        assert_eq!(marked(&file), [""; 0], "left something behind");
    });
}

#[test]
fn what_goes_to_the_background_too_late_is_stopped_all_the_same() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let program = dir.path().join("daemon");
        let script = r#"#!/bin/sh
            (setsid sh -c 'while ! [ -e "$0.go" ]; do sleep 0.01; done; echo $$ > "$0.new"
                mv "$0.new" "$0"; exec sleep 1000' "$1" </dev/null >/dev/null 2>&1 &)
            exit 0"#;
        executable(&program, script);
        let _none_is_left = Marked(&file);
        let agent = Process::new(&program).arg(&file).daemon(&file);
        let short = context().timeout(Duration::from_millis(300));
        agent.start(&short).await.expect_err("it has written no pidfile");
        assert!(!marked(&file).is_empty(), "it is on its way");
        let report = agent.stop(&context()).await.expect("an answer");
        assert_eq!(report, Report::success());
        assert_eq!(marked(&file), [""; 0], "it would be running soon");

        agent.start(&short).await.expect_err("it has written no pidfile");
        std::fs::write(dir.path().join("pid.go"), "").expect("written");
        let id = line_in(&file).await;
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report, Report::success(), "it came up after its time");
        agent.stop(&context()).await.expect("an answer");
        assert!(!runs(&id));
    });
}

#[test]
fn a_process_of_another_pidfile_is_a_stranger_though_it_runs_the_same_program() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, stale) = (dir.path().join("pid"), dir.path().join("stale"));
        let agent = Process::new("sleep").arg("1000").pidfile(&file);
        agent.start(&context()).await.expect("an answer");
        std::fs::copy(&file, &stale).expect("copied");
        let other = Process::new("sleep").arg("1000").pidfile(&stale);
        let probe = other.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(probe.outcome, Outcome::NotRunning);
        assert_eq!(other.stop(&context()).await.expect("an answer"), Report::success());
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report, Report::success(), "its neighbour's stop has ended it");
        agent.stop(&context()).await.expect("an answer");
    });
}

#[test]
fn children_of_an_adopted_process_that_lost_the_mark_are_ended_too() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, child) = (dir.path().join("pid"), dir.path().join("child"));
        let make = || {
            let script = "env -i sleep 1000 & echo $! > $CHILD; wait";
            sh(script).env("CHILD", &child).pidfile(&file)
        };
        let first = make();
        first.start(&context()).await.expect("an answer");
        let id = line_in(&child).await;
        drop(first);
        assert_eq!(make().stop(&context()).await.expect("an answer"), Report::success());
        assert!(!runs(&id), "left something behind");
    });
}

#[test]
fn children_have_the_same_time_to_end_as_their_parent() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (ready, saved) = (dir.path().join("ready"), dir.path().join("saved"));
        let script = "(trap 'sleep 0.3; echo all > $SAVED; exit' TERM; echo > $READY; \
                       while :; do sleep 0.01; done) & trap exit TERM; while :; do sleep 0.01; done";
        let agent = sh(script).env("SAVED", &saved).env("READY", &ready);
        agent.start(&context()).await.expect("an answer");
        while !ready.exists() {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
        assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        let kept = std::fs::read_to_string(&saved).expect("its child had time to save its work");
        assert_eq!(kept, "all\n");
    });
}

/// Kills what was started for this pidfile, also when its test fails.
struct Marked<'a>(&'a Path);

impl Drop for Marked<'_> {
    fn drop(&mut self) {
        for id in marked(self.0) {
            drop(std::process::Command::new("kill").args(["-9", &id]).status());
        }
    }
}

/// The ids of the processes that were started for this pidfile.
fn marked(file: &Path) -> Vec<String> {
    let mark = format!("HA_PIDFILE={}", file.display());
    let has_it = |id: &String| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").expect("read").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.parse::<u32>().is_ok()).filter(has_it).collect()
}

fn number(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a pidfile").trim().to_owned()
}

fn child_of(id: &str) -> String {
    loop {
        let path = format!("/proc/{id}/task/{id}/children");
        let children = std::fs::read_to_string(path).expect("it runs");
        if let Some(child) = children.split_whitespace().next() {
            return child.to_owned();
        }
        std::thread::yield_now();
    }
}
