//! `carp-host` and the real ucarp share an address.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ha_core::sys::packet::packet_address;
use ha_lab::holders::HolderWatch;
use ha_lab::{Host, Process, ProcessSignal};
use socket2::{Domain, Protocol, Socket, Type};

use crate::rig::{PATIENCE, Rig, VIP, await_state, eventually, holds, ip, stop};

const ETHERTYPE_IPV4: u16 = 0x0800;

/// Starts `carp-host` in group 42 with the password "love" and these flags.
fn carp_host(host: &Host, flags: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carp-host"));
    command.args(["--iface", "eth0", "--vhid", "42", "--vip", VIP]).args(flags);
    if !flags.contains(&"--pass") {
        command.args(["--pass", "love"]);
    }
    host.spawn(&mut command).expect("carp-host runs")
}

/// The real ucarp, with scripts that put the address on and take it off.
struct Ucarp {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Ucarp {
    /// `None` when ucarp or ip is not installed; the test is skipped then.
    fn find() -> Option<Self> {
        let program = ha_lab::require_program("ucarp")?;
        let ip = ha_lab::require_program("ip")?;
        let folder = tempfile::tempdir().expect("a folder");
        for (script, action) in [("up", "add"), ("down", "del")] {
            let path = folder.path().join(script);
            let text = format!("#!/bin/sh\nexec {} addr {action} $2/24 dev $1\n", ip.display());
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
        }
        Some(Self { program, folder })
    }

    fn start(&self, host: &Host, flags: &[&str]) -> Process {
        let source = host.addresses("eth0").expect("addresses");
        let source = source.iter().map(|address| address.ip()).find(std::net::IpAddr::is_ipv4);
        let mut command = Command::new(&self.program);
        command.args(["--interface", "eth0", "--vhid", "42", "--shutdown"]);
        command.args(["--addr", &ip(VIP).to_string(), "--srcip"]);
        command.arg(source.expect("an address").to_string());
        command.arg("--upscript").arg(self.folder.path().join("up"));
        command.arg("--downscript").arg(self.folder.path().join("down")).args(flags);
        if !flags.contains(&"--pass") {
            command.args(["--pass", "love"]);
        }
        host.spawn(&mut command).expect("ucarp runs")
    }
}

#[test]
fn ours_takes_over_from_ucarp_that_loses_power_and_yields_when_it_returns() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        ucarp.start(a, &["--preempt"]);
        eventually("ucarp serves", || holds(a, VIP));
        let ours = carp_host(b, &["--advskew", "50"]);
        await_state(&ours, "backup");
        assert!(!holds(b, VIP), "a backup does not hold the address");

        a.power_off().expect("off");
        await_state(&ours, "master");
        eventually("ours serves", || holds(b, VIP));

        a.power_on().expect("on");
        ucarp.start(a, &["--preempt"]);
        await_state(&ours, "backup");
        eventually("only ucarp serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn ucarp_takes_over_from_ours_that_loses_power_and_yields_when_it_returns() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let ours = carp_host(a, &["--preempt"]);
        await_state(&ours, "master");
        ucarp.start(b, &["--advskew", "50"]);

        a.power_off().expect("off");
        eventually("ucarp serves", || holds(b, VIP));

        a.power_on().expect("on");
        let ours = carp_host(a, &["--preempt"]);
        await_state(&ours, "master");
        eventually("only ours serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn a_planned_stop_moves_the_address_both_ways_and_ours_leaves_no_gap() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let theirs = ucarp.start(a, &[]);
        eventually("ucarp serves", || holds(a, VIP));
        let ours = carp_host(b, &["--advskew", "50"]);
        await_state(&ours, "backup");
        theirs.signal(ProcessSignal::Terminate).expect("it runs");
        await_state(&ours, "master");
        eventually("only ours serves", || holds(b, VIP) && !holds(a, VIP));

        let theirs = ucarp.start(a, &["--advskew", "100"]);
        theirs
            .wait_for_line(PATIENCE, |line| line.contains("state: BACKUP"))
            .expect("ucarp is a backup");
        let watch = HolderWatch::start(ip(VIP), &[a, b]).expect("a watch");
        watch.wait_for(&[b.name()], PATIENCE).expect("ours serves");
        stop(&ours, ProcessSignal::Terminate);
        eventually("only ucarp serves", || holds(a, VIP) && !holds(b, VIP));
        assert_eq!(watch.finish().vacancies, [], "somebody held it all the time");
    });
}

/// After a cut between the two hosts one serves, and the client is with it.
fn cut_and_heal(ours: &[&str], theirs: &[&str], ours_wins: bool) {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        if ha_lab::require_program("nft").is_none() {
            return;
        }
        let Rig { lab, lan, a, b } = &Rig::new();
        let client = lab.host("client").and_then(|host| host.join(lan, "10.77.0.9/24"));
        let client = client.expect("a client");
        let ours = carp_host(a, ours);
        await_state(&ours, "master");
        ucarp.start(b, theirs);
        // The client must know the address, for its entry to be wrong.
        let ask = || {
            client
                .run(|| std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", (ip(VIP), 9)))
                .expect("the lab runs")
        };
        ask().expect("sent");

        lab.partition(&[a], &[b]).expect("cut");
        eventually("both serve", || holds(a, VIP) && holds(b, VIP));
        lab.heal().expect("healed");
        let (winner, loser) = if ours_wins { (a, b) } else { (b, a) };
        eventually("only one serves", || holds(winner, VIP) && !holds(loser, VIP));
        let mac = winner.mac("eth0").expect("a link-layer address");
        eventually("the client is with the winner", || {
            client.neighbour(ip(VIP)).expect("neighbours") == Some(mac)
        });
    });
}

#[test]
fn after_a_cut_the_client_is_with_ours_that_is_preferred() {
    cut_and_heal(&[], &["--advskew", "50"], true);
}

#[test]
fn after_a_cut_the_client_is_with_ucarp_that_is_preferred() {
    cut_and_heal(&["--advskew", "50"], &[], false);
}

#[test]
fn after_a_cut_between_equals_the_lower_address_serves() {
    // a, with 10.77.0.1, is ours.
    cut_and_heal(&[], &[], true);
}

#[test]
fn a_sitting_master_is_left_alone_without_preemption() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        ucarp.start(a, &["--advskew", "100"]);
        eventually("ucarp serves", || holds(a, VIP));
        let ours = carp_host(b, &[]);
        await_state(&ours, "backup");
        // More than its dead interval; the next state it tells is by request.
        let more = ours.wait_for_line(Duration::from_secs(4), |_| true);
        assert!(more.is_err(), "{more:?}");
        assert!(holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn both_preempt_a_sitting_master_that_is_less_preferred() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        ucarp.start(a, &["--advskew", "100"]);
        eventually("ucarp serves", || holds(a, VIP));
        let ours = carp_host(b, &["--advskew", "50", "--preempt"]);
        await_state(&ours, "master");
        eventually("only ours serves", || holds(b, VIP) && !holds(a, VIP));
        a.kill_all();
        ucarp.start(a, &["--preempt"]);
        await_state(&ours, "backup");
        eventually("only ucarp serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn hosts_with_different_passwords_do_not_believe_each_other() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let theirs = ucarp.start(a, &["--advskew", "50"]);
        eventually("ucarp serves", || holds(a, VIP));
        // Ours does not believe ucarp, and ucarp, which would have to yield, not ours.
        let ours = carp_host(b, &["--pass", "hate"]);
        await_state(&ours, "master");
        theirs
            .wait_for_line(PATIENCE, |line| line.contains("Bad digest"))
            .expect("ucarp refuses our adverts");
        assert!(holds(a, VIP), "ucarp serves on");
        stop(&ours, ProcessSignal::Terminate);
        let lines = format!("{:?}", ours.lines());
        assert!(lines.contains("unsigned") && !lines.contains("\\\"unsigned\\\":0"), "{lines}");
    });
}

#[test]
fn adverts_to_the_broadcast_address_are_understood_both_ways() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let theirs = ucarp.start(a, &["--nomcast"]);
        eventually("ucarp serves", || holds(a, VIP));
        let ours = carp_host(b, &["--nomcast", "--advskew", "50", "--preempt"]);
        await_state(&ours, "backup");
        let more = ours.wait_for_line(Duration::from_secs(4), |_| true);
        assert!(more.is_err(), "a backup that hears nothing takes over: {more:?}");
        theirs.kill().expect("it runs");
        await_state(&ours, "master");
        a.remove_address("eth0", VIP).expect("removed");
        ucarp.start(a, &["--nomcast", "--preempt"]);
        await_state(&ours, "backup");
        eventually("only ucarp serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

/// The next CARP frame on a host's interface.
fn record(host: &Host) -> Vec<u8> {
    host.run(|| {
        let socket = packet_socket();
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut frame = [0; 2_000];
        loop {
            let len = (&socket).read(&mut frame).expect("a frame in time");
            if frame[..len].get(23) == Some(&112) {
                return frame[..len].to_vec();
            }
        }
    })
    .expect("the lab runs")
}

fn packet_socket() -> Socket {
    let protocol = Protocol::from(i32::from(ETHERTYPE_IPV4.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a packet socket");
    socket.bind(&packet_address(interface(), ETHERTYPE_IPV4, [0; 6])).expect("bound");
    socket
}

fn interface() -> u32 {
    let any = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    rustix::net::netdevice::name_to_index(any, "eth0").expect("it has one")
}

/// Sends a recorded advert again, as one of a host that is preferred to all others.
fn replay(host: &Host, mut frame: Vec<u8>) {
    let carp = &mut frame[34..];
    (carp[2], carp[5]) = (1, 0);
    carp[6..8].fill(0);
    let words = carp.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("16 bits");
    carp[6..8].copy_from_slice(&checksum.to_be_bytes());
    host.run(|| {
        let to = packet_address(interface(), ETHERTYPE_IPV4, [1, 0, 0x5e, 0, 0, 0x12]);
        packet_socket().send_to(&frame, &to).expect("sent")
    })
    .expect("the lab runs");
}

#[test]
fn a_recorded_advert_of_ucarp_does_not_depose_ours_and_a_restarted_ucarp_does() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { lab, lan, a, b } = &Rig::new();
        let attacker = lab.host("attacker").and_then(|host| host.join(lan, "10.77.0.66/24"));
        let attacker = attacker.expect("an attacker");
        ucarp.start(a, &[]);
        eventually("ucarp serves", || holds(a, VIP));
        let recorded = record(&attacker);
        a.power_off().expect("off");

        // Without a proof any advert that is new to it is believed: the attack is a real one.
        let naive = carp_host(b, &["--advskew", "50", "--no-proof"]);
        await_state(&naive, "master");
        replay(&attacker, recorded.clone());
        await_state(&naive, "backup");
        naive.kill().expect("it runs");
        naive.wait(PATIENCE).expect("dead");

        // Ours has started after the advert was recorded: it cannot know it.
        let ours = carp_host(b, &["--advskew", "50"]);
        await_state(&ours, "master");
        for _ in 0..3 {
            replay(&attacker, recorded.clone());
            ours.wait_for_line(Duration::from_millis(600), |line| {
                line.contains("\"to\":\"backup\"")
            })
            .expect_err("a copy deposes nobody");
        }
        assert!(holds(b, VIP));

        a.power_on().expect("on");
        ucarp.start(a, &["--preempt"]);
        await_state(&ours, "backup");
        eventually("only ucarp serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn sigusr2_hands_over_and_commands_follow_the_state() {
    ha_lab::run_test(|| {
        let Some(ucarp) = Ucarp::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let folder = tempfile::tempdir().expect("a folder");
        let told = folder.path().join("told");
        let script = |word: &str| {
            let path = folder.path().join(word);
            let text = format!("#!/bin/sh\necho {word} $* >> {}\n", told.display());
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
            path.display().to_string()
        };
        let (up, down) = (script("up"), script("down"));
        let ours = carp_host(a, &["--up", &up, "--down", &down]);
        await_state(&ours, "master");
        ucarp
            .start(b, &["--advskew", "50"])
            .wait_for_line(PATIENCE, |line| line.contains("state: BACKUP"))
            .expect("ucarp is a backup");
        let pid = rustix::process::Pid::from_raw(i32::try_from(ours.pid()).expect("a pid"));
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::USR2)
            .expect("it runs");
        await_state(&ours, "backup");
        eventually("only ucarp serves", || holds(b, VIP) && !holds(a, VIP));
        eventually("the commands ran", || {
            let told = std::fs::read_to_string(&told).unwrap_or_default();
            told == format!("up eth0 {VIP}\ndown eth0 {VIP}\n")
        });
    });
}

#[test]
fn wrong_flags_are_told_in_one_line_with_field_value_and_what_is_allowed() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["--vhid", "0"], &["--vhid", "0", "1..=255"]),
        (&["--advskew", "255"], &["advskew", "255", "0 to 254"]),
        (&["--advbase", "255"], &["advbase", "255", "0 to 254"]),
        (&["--pass", "more than twenty bytes"], &["password", "22 bytes", "1 to 20"]),
        (&["--passfile", "/nowhere"], &["--passfile", "/nowhere", "No such file"]),
        (&["--vip", "fd00::1/64"], &["address", "fd00::1/64", "VRRP"]),
        (&["--srcip", "fd00::1"], &["--srcip", "fd00::1"]),
    ];
    for (flags, words) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carp-host"));
        command.args(["--iface", "lo"]);
        for (flag, value) in [("--vhid", "42"), ("--vip", VIP), ("--pass", "love")] {
            let other_password = flag == "--pass" && flags.contains(&"--passfile");
            if !flags.contains(&flag) && !other_password {
                command.args([flag, value]);
            }
        }
        let output = command.args(flags).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{flags:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{flags:?}: no {word} in {error}");
        }
    }
}
