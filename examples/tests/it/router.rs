//! `vrrp-router` as a program: its flags, its lines, and that it lets go of what it holds.

use std::process::Command;

use ha_lab::{Host, Process, ProcessSignal};
use ha_vip::net::ipv4;
use ha_vip::vrrp::wire::GROUP_V4;
use socket2::{Domain, Protocol, Socket, Type};

use crate::rig::{PATIENCE, Rig, VIP, await_state, eventually, holds, router, says, stop};

#[test]
fn the_address_is_let_go_of_on_sigterm_and_sigint() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        for signal in [ProcessSignal::Terminate, ProcessSignal::Interrupt] {
            let ours = router(a, &["--vip", VIP]);
            await_state(&ours, "active");
            eventually("it serves", || holds(a, VIP));
            stop(&ours, signal);
            assert!(!holds(a, VIP), "the address is gone when the program is");
        }
    });
}

#[test]
fn the_leftovers_of_a_killed_router_are_cleared_by_its_next_life() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        let other = "10.77.0.50/24";
        a.add_address("eth0", other).expect("an address of somebody else");
        let first = router(a, &["--vip", VIP, "--vip", other]);
        await_state(&first, "active");
        eventually("it serves", || holds(a, VIP));
        first.kill().expect("it runs");
        first.wait(PATIENCE).expect("it is dead");
        assert!(holds(a, VIP), "the kernel keeps the address of a killed program");

        let second = router(a, &["--vip", VIP, "--vip", other]);
        await_state(&second, "backup");
        assert!(!holds(a, VIP), "a backup does not hold the address");
        await_state(&second, "active");
        stop(&second, ProcessSignal::Terminate);
        assert!(!holds(a, VIP));
        assert!(holds(a, other), "what somebody else put there stays");
    });
}

#[test]
fn two_routers_hand_over_without_a_moment_in_which_nobody_serves() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let first = router(a, &["--vip", VIP, "--priority", "150"]);
        await_state(&first, "active");
        let second = router(b, &["--vip", VIP, "--priority", "100"]);
        await_state(&second, "backup");
        eventually("the first serves", || holds(a, VIP));
        stop(&first, ProcessSignal::Terminate);
        // The first was there until the second served, so now the second serves.
        assert!(holds(b, VIP) && !holds(a, VIP), "{:#?}\n{:#?}", first.lines(), second.lines());
    });
}

#[test]
fn a_storm_of_malformed_packets_changes_nothing() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let ours = router(a, &["--vip", VIP]);
        await_state(&ours, "active");
        ours.wait_for_line(PATIENCE, |line| line.contains("address-added")).expect("it serves");
        b.run(|| {
            let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
            raw.set_header_included_v4(true)?;
            raw.set_multicast_if_v4(&[10, 77, 0, 2].into())?;
            let to = std::net::SocketAddr::from((GROUP_V4, 0)).into();
            // All lengths, and bytes that look like an advert for a while.
            for len in 0..600_usize {
                let mut message = vec![0x31, 51, 255, 200, 0, 10, 0, 0];
                message.resize(len, u8::try_from(len % 251).unwrap_or_default());
                let packet = ipv4::encode([10, 77, 0, 2].into(), GROUP_V4, 1, &message);
                raw.send_to(&packet, &to)?;
            }
            Ok::<_, std::io::Error>(())
        })
        .expect("the lab runs")
        .expect("sent");
        let more = ours.wait_for_line(std::time::Duration::from_millis(500), |_| true);
        assert!(more.is_err(), "nothing changed, nothing is said: {more:?}");
        assert!(holds(a, VIP));
        stop(&ours, ProcessSignal::Terminate);
    });
}

#[test]
fn wrong_flags_are_told_in_one_line_with_field_value_and_what_is_allowed() {
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--vrid", "0"], &["--vrid", "0", "1..=255"]),
        (&["--vrid", "256"], &["--vrid", "256", "1..=255"]),
        (&["--priority", "0"], &["--priority", "0", "1..=255"]),
        (&["--advert-ms", "5"], &["--advert-ms", "5", "10 to 40950"]),
        (&["--advert-ms", "15"], &["--advert-ms", "15", "steps of 10"]),
        (&["--vip", "10.0.0.300/24"], &["--vip", "10.0.0.300/24", "ADDRESS/PREFIX"]),
        (&["--vip", "fd00::1/64"], &["address", "mixed", "all IPv4 or all IPv6"]),
        (&["--preempt", "perhaps"], &["--preempt", "perhaps", "true", "false"]),
        (&["--nonsense"], &["--nonsense"]),
    ];
    for (flags, words) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
        command.args(["--iface", "lo", "--vip", VIP]);
        if !flags.contains(&"--vrid") {
            command.args(["--vrid", "51"]);
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

#[test]
fn an_interface_that_is_not_there_is_told() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
        command.args(["--iface", "eth7", "--vrid", "51", "--vip", VIP]);
        let ours = a.spawn(&mut command).expect("it starts");
        ours.wait_for_line(PATIENCE, |line| line.contains("no such network interface"))
            .expect("the reason");
        assert_eq!(ours.wait(PATIENCE).expect("it ends").code(), Some(1));
    });
}

#[test]
fn without_privilege_the_missing_capability_is_named() {
    // An ordinary user: drop to one if this is root.
    use std::os::unix::process::CommandExt;
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("vrrp-router");
    std::fs::copy(env!("CARGO_BIN_EXE_vrrp-router"), &program).expect("copied");
    let mut command = Command::new(&program);
    command.args(["--iface", "lo", "--vrid", "51", "--vip", VIP]);
    if rustix::process::geteuid().is_root() {
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), everybody).expect("set");
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("CAP_NET_RAW") && error.lines().count() == 1, "{error}");
}

fn await_reason(router: &Process, state: &str, reason: &str) {
    let to = format!("\"to\":\"{state}\"");
    router
        .wait_for_line(PATIENCE, |line| line.contains(&to) && line.contains(reason))
        .unwrap_or_else(|error| panic!("{state}, {reason}: {error}\n{:#?}", router.lines()));
}

#[test]
fn kin_is_the_heir_and_does_not_wait_for_its_skew() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let second = router(b, &["--vip", VIP, "--priority", "100", "--kin", "10.77.0.1"]);
        await_state(&second, "active");
        // The first preempts, and hears the offer of the second as soon as that is its backup.
        let first = router(a, &["--vip", VIP, "--priority", "150", "--kin", "10.77.0.2"]);
        await_state(&first, "active");
        await_state(&second, "backup");
        first
            .wait_for_line(PATIENCE, |line| line.contains("10.77.0.2 would be the heir"))
            .expect("the second offers itself");
        stop(&first, ProcessSignal::Terminate);
        await_reason(&second, "active", "heir");
    });
}

#[test]
fn a_lost_link_is_told_to_kin_over_a_second_network() {
    ha_lab::run_test(|| {
        let Rig { lab, a, b, .. } = Rig::new();
        let inside = lab.network("inside").expect("a network");
        let a = a.join(&inside, "10.78.0.1/24").expect("joined");
        let b = b.join(&inside, "10.78.0.2/24").expect("joined");
        let flags = |priority, kin| {
            ["--vip", VIP, "--priority", priority, "--kin", kin, "--second-iface", "eth1"]
        };
        let first = router(&a, &flags("150", "10.77.0.2,10.78.0.2"));
        await_state(&first, "active");
        let second = router(&b, &flags("100", "10.77.0.1,10.78.0.1"));
        says(&second, "10.77.0.1 is the active router");
        // Kin have spoken, so that the first knows its heir.
        says(&first, "10.77.0.2 would be the heir");
        a.link_down_on("eth0").expect("down");
        await_reason(&second, "active", "the active router named it its heir");
        eventually("it serves alone", || holds(&b, VIP) && !holds(&a, VIP));
    });
}

#[test]
fn a_lost_bfd_session_makes_the_backup_take_over_at_once() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        // By its silence alone it would be gone after more than half a minute.
        let run = |host: &Host, priority, neighbours| {
            let flags = ["--advert-ms", "10000", "--vip", VIP, "--bfd", neighbours];
            let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
            command.args(["--iface", "eth0", "--vrid", "51"]).args(flags);
            host.spawn(command.args(["--priority", priority])).expect("vrrp-router runs")
        };
        let second = run(b, "100", "10.77.0.2,10.77.0.1");
        await_state(&second, "backup");
        // The owner is active at once, and says so.
        let first = run(a, "255", "10.77.0.1,10.77.0.2");
        await_state(&first, "active");
        says(&second, "10.77.0.1 is the active router");
        says(&second, "\"to\":\"up\"");
        a.power_off().expect("off");
        await_reason(&second, "active", "a detector says");
    });
}

fn mac(host: &Host) -> String {
    ha_vip::announce::Mac::new(host.mac("eth0").expect("it has one")).to_string()
}

#[test]
fn a_host_with_the_same_address_by_mistake_is_told_with_both_link_layer_addresses() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let ours = router(a, &["--vip", VIP]);
        await_state(&ours, "active");
        says(&ours, "address-added");
        b.add_address("eth0", VIP).expect("a mistake");
        // Whatever it says to a neighbour, it says from that address.
        b.run(|| {
            let socket = std::net::UdpSocket::bind("10.77.0.100:0")?;
            socket.send_to(b"x", "10.77.0.9:9")
        })
        .expect("the lab runs")
        .expect("sent");
        says(&ours, &format!("{} claims 10.77.0.100, which is held here by {}", mac(b), mac(a)));
    });
}

#[test]
fn a_split_is_told_when_it_is_over_with_how_long_it_lasted() {
    ha_lab::run_test(|| {
        let Rig { lab, a, b, .. } = &Rig::new();
        let first = router(a, &["--vip", VIP, "--priority", "150"]);
        await_state(&first, "active");
        let second = router(b, &["--vip", VIP, "--priority", "100"]);
        await_state(&second, "backup");
        lab.partition(&[a], &[b]).expect("cut");
        await_state(&second, "active");
        lab.heal().expect("healed");
        await_state(&second, "backup");
        says(&second, "10.77.0.1 is active too, with priority 150");
        says(&second, "10.77.0.1 was active too, for");
    });
}

#[test]
fn an_address_that_was_deleted_by_hand_is_put_back() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        let ours = router(a, &["--vip", VIP]);
        await_state(&ours, "active");
        eventually("it serves", || holds(a, VIP));
        for _ in 0..3 {
            a.remove_address("eth0", VIP).expect("deleted");
            eventually("it is put back", || holds(a, VIP));
        }
        stop(&ours, ProcessSignal::Terminate);
        assert!(!holds(a, VIP), "and stays away in the end");
    });
}

#[test]
fn the_guardian_of_a_killed_router_says_goodbye_and_removes_the_address() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let first = router(a, &["--vip", VIP, "--priority", "150", "--guardian"]);
        await_state(&first, "active");
        eventually("it serves", || holds(a, VIP));
        let second = router(b, &["--vip", VIP, "--priority", "100"]);
        says(&second, "10.77.0.1 is the active router");
        first.signal(ProcessSignal::Kill).expect("it runs");
        await_reason(&second, "active", "the active router stopped");
        eventually("nobody but the second serves", || !holds(a, VIP) && holds(b, VIP));
    });
}

#[test]
fn the_guardian_of_a_router_that_stops_in_order_does_nothing() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let first = router(a, &["--vip", VIP, "--priority", "150", "--guardian"]);
        await_state(&first, "active");
        let second = router(b, &["--vip", VIP, "--priority", "100"]);
        says(&second, "10.77.0.1 is the active router");
        stop(&first, ProcessSignal::Terminate);
        assert!(holds(b, VIP) && !holds(a, VIP));
        eventually("no guardian is left", || a.processes().is_empty());
    });
}

#[test]
fn the_kernel_removes_the_leased_address_of_a_killed_router() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        let ours = router(a, &["--vip", VIP, "--lease-s", "1"]);
        await_state(&ours, "active");
        eventually("it serves", || holds(a, VIP));
        ours.signal(ProcessSignal::Kill).expect("it runs");
        eventually("the lease is over", || !holds(a, VIP));
    });
}
