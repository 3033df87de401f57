//! Faults, each with what a peer notices.

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use ha_core::event::{Event, EventKind, Observer};
use ha_lab::{LabError, require_program, run_test};

use crate::{LONG, Line, lab};

#[test]
fn a_partition_cuts_both_ways_and_heals() {
    run_test(|| {
        if require_program("nft").is_none() {
            return;
        }
        let (lab, _lan, [a, b, c]) = lab();
        let (there, back, around) = (Line::new(&a, &b), Line::new(&b, &a), Line::new(&a, &c));
        assert!(there.works() && back.works() && around.works());
        lab.partition(&[&a], &[&b]).expect("partitioned");
        assert!(there.is_dead() && back.is_dead());
        assert!(around.works(), "the third host is on neither side");
        lab.heal().expect("healed");
        assert!(there.works() && back.works());
    });
}

#[test]
fn a_cut_path_is_dead_one_way_only() {
    run_test(|| {
        if require_program("nft").is_none() {
            return;
        }
        let (lab, _lan, [a, b]) = lab();
        let (there, back) = (Line::new(&a, &b), Line::new(&b, &a));
        assert!(there.works() && back.works());
        lab.cut_path(&a, &b).expect("cut");
        assert!(there.is_dead() && back.works());
    });
}

#[test]
fn loss_drops_some_and_all_and_none() {
    run_test(|| {
        if require_program("nft").is_none() {
            return;
        }
        let (_lab, lan, [a, b]) = lab();
        let line = Line::new(&a, &b);
        assert!(line.works());
        a.loss(50.0).expect("half");
        assert!(line.works(), "one of many gets through");
        line.drain();
        // The kernels know each other, so each packet is one frame.
        let sent = 2000;
        for _ in 0..sent {
            line.from.send_to(b"x", &line.address).expect("sent");
        }
        line.to.set_nonblocking(true).expect("set");
        let mut got = 0;
        while line.to.recv(&mut [0; 8]).is_ok() {
            got += 1;
        }
        line.to.set_nonblocking(false).expect("set");
        assert!(got < sent, "{got} of {sent} came");
        a.loss(0.0).expect("none");
        lan.loss(100.0).expect("all");
        assert!(line.is_dead());
        lan.loss(0.0).expect("none");
        assert!(line.works());
        assert!(matches!(a.loss(101.0), Err(LabError::Range { .. })));
    });
}

#[test]
fn power_off_takes_processes_addresses_and_links_and_power_on_gives_the_first_address_back() {
    run_test(|| {
        let (_lab, _lan, [a, b]) = lab();
        let line = Line::new(&a, &b);
        assert!(line.works());
        b.add_address("eth0", "10.77.0.99/24").expect("added");
        let process = b.spawn(Command::new("sleep").arg("1000")).expect("started");
        b.power_off().expect("off");
        assert!(b.is_off() && line.is_dead());
        assert!(process.status().is_some() && b.processes().is_empty());
        assert!(!b.holds("10.77.0.99".parse().expect("an address")).expect("looked"));
        assert!(b.addresses("eth0").expect("listed").is_empty());
        let error = b.spawn(&mut Command::new("true")).expect_err("no power");
        assert!(error.to_string().contains("no power"), "{error}");
        b.power_on().expect("on");
        assert!(!b.is_off() && line.works());
        assert!(!b.holds("10.77.0.99".parse().expect("an address")).expect("looked"));
        let again = b.spawn(&mut Command::new("true")).expect("started");
        assert!(again.wait(LONG).expect("ended").success());
    });
}

#[test]
fn a_cut_host_keeps_its_carrier_and_a_downed_link_does_not() {
    run_test(|| {
        let (lab, _lan, [a, b]) = lab();
        let line = Line::new(&a, &b);
        assert!(line.works());
        let carrier = || {
            let process = b.spawn(Command::new("ip").args(["-o", "link", "show", "eth0"]));
            let process = process.expect("started");
            process.wait(LONG).expect("ended");
            process.lines().iter().any(|line| line.text.contains("LOWER_UP"))
        };
        let ip = ha_lab::find_program("ip").is_some();
        b.cut().expect("cut");
        assert!(line.is_dead() && (!ip || carrier()));
        b.uncut().expect("uncut");
        assert!(line.works());
        b.link_down().expect("down");
        assert!(line.is_dead() && (!ip || !carrier()));
        b.cut().expect("cut");
        lab.heal().expect("healed");
        assert!(line.works() && (!ip || carrier()));
    });
}

#[test]
fn a_frozen_host_accepts_and_says_nothing_until_thawed() {
    run_test(|| {
        let (_lab, _lan, [a, b]) = lab();
        // A process with a child of its own: both stand still.
        let script = "(while :; do echo tick; done) & while :; do echo tick; done";
        let process = b.spawn(Command::new("sh").args(["-c", script])).expect("started");
        process.wait_for_line(LONG, |line| line == "tick").expect("runs");
        b.freeze().expect("frozen");
        let state = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
            status.lines().find(|line| line.starts_with("State:")).expect("a state").to_owned()
        };
        let pids = b.processes();
        assert_eq!(pids.len(), 2);
        assert!(pids.iter().all(|&pid| state(pid).contains("stopped")));
        let listener = b.run(|| TcpListener::bind("10.77.0.2:80")).expect("run").expect("bound");
        let connected = a.run(|| TcpStream::connect("10.77.0.2:80")).expect("run");
        connected.expect("the kernel answers");
        drop(listener);
        b.thaw().expect("thawed");
        assert!(pids.iter().all(|&pid| !state(pid).contains("stopped")));
        process.freeze().expect("frozen");
        process.thaw().expect("thawed");
        b.kill_all();
        assert!(process.status().is_some() && b.processes().is_empty());
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
fn observers_are_told_of_each_fault() {
    run_test(|| {
        let (lab, _lan, [a]) = lab();
        let seen = Arc::new(Seen::default());
        lab.observe(Arc::clone(&seen) as Arc<dyn Observer>);
        a.power_off().expect("off");
        a.power_on().expect("on");
        let seen = seen.0.lock().expect("not poisoned");
        let told: Vec<_> = seen.iter().map(|e| (e.subject.as_str(), e.kind.clone())).collect();
        let fault = |what: &str| EventKind::Fault { what: what.to_owned() };
        assert_eq!(told, [("h1", fault("power off")), ("h1", fault("power on"))]);
        assert!(seen.is_sorted_by_key(|event| event.at));
    });
}
