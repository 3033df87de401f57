//! A program that is killed, and its guardian, in a laboratory.

use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ha_lab::holders::HolderWatch;
use ha_lab::{Host, Lab, Process, ProcessSignal};

use crate::real_kernel::{ear, hear, hosts};

const PATIENCE: Duration = Duration::from_secs(20);
const VIP: &str = "10.77.0.200/24";

/// The program `guarded` of the examples, built if need be.
fn program() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--example", "guarded", "--all-features"]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    assert!(cargo.status().expect("cargo runs").success());
    let test = std::env::current_exe().expect("it has a path");
    let target = test.parent().and_then(|deps| deps.parent()).expect("two levels");
    target.join("examples/guarded")
}

/// Starts the program, and waits until it holds the address and its guardian is a process of its
/// own session.
fn start(host: &Host) -> (Process, String) {
    start_with(host, "10.77.0.1", VIP)
}

fn start_with(host: &Host, source: &str, vip: &str) -> (Process, String) {
    let mut command = Command::new(program());
    command.args(["eth0", source, vip]);
    let process = host.spawn(&mut command).expect("it starts");
    process.wait_for_line(PATIENCE, |line| line == "held").expect("it holds the address");
    let children = format!("/proc/{0}/task/{0}/children", process.pid());
    let guardian = std::fs::read_to_string(children).expect("it runs").trim().to_owned();
    let session = || {
        let stat = std::fs::read_to_string(format!("/proc/{guardian}/stat")).expect("it runs");
        let fields = stat.rsplit_once(") ").expect("a name").1.to_owned();
        fields.split(' ').nth(3).expect("a session").to_owned()
    };
    let before = {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()));
        let stat = stat.expect("it runs");
        stat.rsplit_once(") ").expect("a name").1.split(' ').nth(3).expect("one").to_owned()
    };
    while session() == before {
        std::thread::yield_now();
    }
    (process, guardian)
}

fn is_vrrp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&112)
}

#[test]
fn a_killed_program_sends_its_last_advert_and_its_address_goes() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let ear = ear(&b);
        let vip = "10.77.0.200".parse().expect("an address");
        let watch = HolderWatch::start(vip, &[&a, &b]).expect("a watch");
        let (process, _) = start(&a);
        watch.wait_for(&[a.name()], PATIENCE).expect("it is held");
        // With all of its group: the guardian has left it.
        process.kill().expect("killed");
        let frame = hear(&ear, is_vrrp);
        assert_eq!(frame[22], 255, "the hop limit");
        assert_eq!(frame[26..30], [10, 77, 0, 1]);
        assert_eq!(frame[30..34], [224, 0, 0, 18]);
        assert_eq!(frame[34..37], [0x31, 51, 0], "version 3, the router, priority 0");
        watch.wait_for(&[], PATIENCE).expect("the address is gone");
    });
}

#[test]
fn after_a_goodbye_nothing_happens() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let ear = ear(&b);
        let (process, guardian) = start(&a);
        process.signal(ProcessSignal::Terminate).expect("told");
        assert!(process.wait(PATIENCE).expect("it ends").success());
        assert!(!std::fs::exists(format!("/proc/{guardian}")).expect("readable"), "it is gone");
        assert!(a.holds("10.77.0.200".parse().expect("an address")).expect("addresses"));
        ear.set_nonblocking(true).expect("set");
        let mut buffer = [0; 2_000];
        while let Ok(len) = (&ear).read(&mut buffer) {
            assert!(!is_vrrp(&buffer[..len]), "no advert was sent");
        }
    });
}

#[test]
fn what_a_new_life_has_put_there_is_its_own() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let ear = ear(&b);
        let (first, guardian) = start(&a);
        first.kill().expect("killed");
        hear(&ear, is_vrrp);
        let (_second, _) = start(&a);
        while std::fs::exists(format!("/proc/{guardian}")).expect("readable") {
            std::thread::yield_now();
        }
        assert!(a.holds("10.77.0.200".parse().expect("an address")).expect("addresses"));
    });
}

/// The host's link-local address, once the kernel lets it be used.
fn link_local(host: &Host) -> String {
    let arguments = ["-6", "-o", "address", "show", "dev", "eth0", "scope", "link", "-tentative"];
    loop {
        let output = host.run(|| Command::new("ip").args(arguments).output());
        let output = output.expect("the lab runs").expect("ip runs");
        let shown = String::from_utf8(output.stdout).expect("text");
        if let Some((_, rest)) = shown.split_once("inet6 ") {
            return rest.split('/').next().expect("an address").to_owned();
        }
        std::thread::yield_now();
    }
}

#[test]
fn the_last_advert_and_the_address_may_be_of_ipv6() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let ear = ear(&b);
        let source = link_local(&a);
        let (process, _) = start_with(&a, &source, "2001:db8::200/64");
        process.kill().expect("killed");
        let frame = hear(&ear, |frame| {
            frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&112)
        });
        assert_eq!(frame[21], 255, "the hop limit");
        let from: [u8; 16] = frame[22..38].try_into().expect("16 bytes");
        assert_eq!(std::net::Ipv6Addr::from(from).to_string(), source);
        assert_eq!(frame[54..57], [0x31, 51, 0], "version 3, the router, priority 0");
        let vip = "2001:db8::200".parse().expect("an address");
        let watch = HolderWatch::start(vip, &[&a, &b]).expect("a watch");
        watch.wait_for(&[], PATIENCE).expect("the address is gone");
    });
}
