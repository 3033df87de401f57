//! What a power cut takes, and the switch that makes it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ha_core::event::{Event, EventKind, Observer};
use ha_lab::switch::{PowerSwitch, SwitchFailure, ask};
use ha_lab::{Host, Process, require_program, run_test};

use crate::{LONG, lab};

fn shell(host: &Host, script: &str) -> Process {
    host.spawn(Command::new("sh").args(["-c", script])).expect("started")
}

/// The lines of a script that ends by itself.
fn output(host: &Host, script: &str) -> Vec<String> {
    let process = shell(host, script);
    let status = process.wait(LONG).expect("it ends");
    let lines: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
    assert!(status.success(), "{status}: {lines:?}");
    lines
}

fn is_mounted(host: &Host, folder: &Path) -> bool {
    let list = output(host, "cat /proc/self/mountinfo");
    list.iter().any(|line| line.contains(&folder.display().to_string()))
}

#[test]
fn mounts_of_a_host_are_its_own_and_go_with_its_power() {
    run_test(|| {
        if require_program("mount").is_none() {
            return;
        }
        let (_lab, _lan, [a, b]) = lab();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let script = format!("mount -t tmpfs none '{0}' && touch '{0}/here'", path.display());
        output(&a, &script);
        let daemon = shell(&a, "exec sleep 1000");
        assert!(is_mounted(&a, path), "its processes share them");
        assert!(!is_mounted(&b, path) && !path.join("here").exists(), "nobody else sees them");
        a.power_off().expect("off");
        assert!(daemon.status().is_some());
        a.power_on().expect("on");
        assert!(!is_mounted(&a, path), "its new life knows nothing of them");
        output(&a, &script);
        assert!(is_mounted(&a, path));
    });
}

#[test]
fn the_working_directory_is_kept() {
    run_test(|| {
        let (_lab, _lan, [a]) = lab();
        let here = std::env::current_dir().expect("a directory").display().to_string();
        assert_eq!(output(&a, "pwd"), [here]);
        let usr = a.spawn(Command::new("pwd").current_dir("/usr")).expect("started");
        usr.wait_for_line(LONG, |line| line == "/usr").expect("said");
    });
}

#[test]
fn added_addresses_are_lost_with_the_power() {
    run_test(|| {
        let (_lab, _lan, [a]) = lab();
        let floating =
            [("eth0", "10.77.0.100/24"), ("eth0", "fd77::100/64"), ("lo", "10.99.0.1/32")];
        for (interface, address) in floating {
            if let Err(error) = a.add_address(interface, address) {
                assert!(address.contains(':'), "{error}");
            }
        }
        a.power_off().expect("off");
        for (interface, _) in floating {
            let left = a.addresses(interface).expect("listed");
            assert!(left.iter().all(|address| address.ip().is_loopback()), "{left:?}");
        }
        a.power_on().expect("on");
        assert!(a.holds([10, 77, 0, 1].into()).expect("listed"), "its own is back");
        assert!(!a.holds([10, 77, 0, 100].into()).expect("listed"));
        assert!(!a.holds([10, 99, 0, 1].into()).expect("listed"));
    });
}

#[derive(Debug, Default)]
struct Seen(Mutex<Vec<Event>>);

impl Observer for Seen {
    fn observe(&self, event: &Event) {
        self.0.lock().expect("not poisoned").push(event.clone());
    }
}

#[test]
fn a_program_on_a_host_fences_another() {
    run_test(|| {
        let (lab, _lan, [a, b]) = lab();
        let seen = Arc::new(Seen::default());
        lab.observe(Arc::clone(&seen) as Arc<dyn Observer>);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("switch");
        let switch = PowerSwitch::new(&lab, &path).expect("a switch");
        let lives = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lives);
        switch.plug(&a, |_| ());
        switch.plug(&b, move |b| {
            shell(b, "exec sleep 1000");
            count.fetch_add(1, Ordering::SeqCst);
        });
        let daemon = shell(&b, "exec sleep 1000");
        assert_eq!(ask(&path, "list", LONG).expect("told"), "ok h1 h2");
        assert_eq!(ask(&path, "status h2", LONG).expect("told"), "ok on");
        a.run(|| assert_eq!(ask(&path, "off h2", LONG).expect("told"), "ok")).expect("run");
        assert!(daemon.status().is_some() && b.processes().is_empty() && b.is_off());
        assert_eq!(ask(&path, "off h2", LONG).expect("told"), "ok", "off already");
        assert_eq!(ask(&path, "status h2", LONG).expect("told"), "ok off");
        assert_eq!(ask(&path, "on h2", LONG).expect("told"), "ok");
        assert_eq!(ask(&path, "on h2", LONG).expect("told"), "ok", "on already");
        assert_eq!(ask(&path, "reboot h2", LONG).expect("told"), "ok");
        assert_eq!(lives.load(Ordering::SeqCst), 2, "told of each power on");
        assert_eq!(b.processes().len(), 1);
        for wrong in ["off", "off h9", "explode h2", "off h1 h2", ""] {
            let answer = ask(&path, wrong, LONG).expect("told");
            assert!(answer.starts_with("error cannot "), "{wrong}: {answer}");
        }
        let seen = seen.0.lock().expect("not poisoned");
        let asked = EventKind::Command { what: "power switch: off h2".to_owned() };
        let done = EventKind::Note { text: "power switch: off h2: ok".to_owned() };
        let off = EventKind::Fault { what: "power off".to_owned() };
        let order: Vec<_> = seen.iter().map(|event| event.kind.clone()).collect();
        assert_eq!(order.iter().filter(|kind| [&asked, &done, &off].contains(kind)).count(), 6);
        assert!(seen.is_sorted_by_key(|event| event.at));
        drop(switch);
        assert!(!path.exists(), "the socket goes with the switch");
    });
}

#[test]
fn the_power_can_be_cut_while_a_host_boots() {
    run_test(|| {
        let (lab, _lan, [a]) = lab();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("switch");
        let switch = PowerSwitch::new(&lab, &path).expect("a switch");
        let (boots, end) = std::sync::mpsc::channel::<()>();
        let booting = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&booting);
        switch.plug(&a, move |a| {
            seen.fetch_add(1, Ordering::SeqCst);
            end.recv().ok();
            a.spawn(&mut Command::new("true")).expect_err("no power");
        });
        a.power_off().expect("off");
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(ask(&path, "on h1", LONG).expect("told"), "ok"));
            while booting.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(!a.is_off());
            assert_eq!(ask(&path, "off h1", LONG).expect("told"), "ok");
            assert!(a.is_off());
            boots.send(()).expect("it boots");
        });
    });
}

#[test]
fn a_switch_is_slow_refuses_loses_answers_and_hangs() {
    run_test(|| {
        let (lab, _lan, [a]) = lab();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("switch");
        let switch = PowerSwitch::new(&lab, &path).expect("a switch");
        switch.plug(&a, |_| ());
        let short = Duration::from_millis(50);
        let late = |line: &str| {
            let error = ask(&path, line, short).expect_err("no answer");
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
        };
        switch.fail(SwitchFailure::Refuses);
        assert!(ask(&path, "off h1", LONG).expect("told").starts_with("error"));
        assert!(!a.is_off());
        switch.fail(SwitchFailure::Hangs);
        late("off h1");
        assert!(!a.is_off());
        switch.fail(SwitchFailure::AnswerLost);
        late("off h1");
        while !a.is_off() {
            thread::yield_now();
        }
        switch.mend();
        switch.delay(Duration::from_millis(200));
        late("on h1");
        while a.is_off() {
            thread::yield_now();
        }
        // Neither a hanging client nor a slow action keeps the end of the lab waiting.
        switch.delay(Duration::from_hours(1));
        late("off h1");
        let mut silent = UnixStream::connect(&path).expect("connected");
        let mut flood = UnixStream::connect(&path).expect("connected");
        flood.write_all(&[b'x'; 4096]).ok();
        assert!(matches!(flood.read(&mut [0; 8]), Ok(0) | Err(_)), "thrown out");
        drop(lab);
        assert!(!path.exists());
        assert_eq!(silent.read(&mut [0; 8]).expect("closed"), 0);
    });
}

#[test]
fn the_switch_calls_no_host_off_whose_processes_are_being_killed_yet() {
    run_test(|| {
        let (lab, _lan, [a, _]) = lab();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("switch");
        let switch = PowerSwitch::new(&lab, &path).expect("a switch");
        switch.plug(&a, |_| ());
        for round in 0..10 {
            let daemons: Vec<Process> = (0..20).map(|_| shell(&a, "exec sleep 1000")).collect();
            thread::scope(|scope| {
                scope.spawn(|| a.power_off().expect("off"));
                while !a.is_off() {
                    thread::yield_now();
                }
                assert_eq!(
                    ask(&path, &format!("off {}", a.name()), LONG).expect("an answer"),
                    "ok"
                );
                let alive = daemons.iter().filter(|daemon| daemon.status().is_none()).count();
                assert_eq!(alive, 0, "round {round}");
                assert_eq!(
                    ask(&path, &format!("on {}", a.name()), LONG).expect("an answer"),
                    "ok",
                    "round {round}"
                );
            });
        }
    });
}
