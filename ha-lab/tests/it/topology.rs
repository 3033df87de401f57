//! Hosts, networks, addresses, processes.

use std::process::Command;

use ha_lab::{LabError, run_test};

use crate::{LONG, Line, lab};

#[test]
fn hosts_of_one_network_see_each_other_and_those_of_another_do_not() {
    run_test(|| {
        let (lab, _lan, [a, b]) = lab();
        let other = lab.network("other").expect("a network");
        let c = lab.host("c").expect("a host").join(&other, "10.77.0.3/24").expect("joined");
        assert!(Line::new(&a, &b).works() && Line::new(&b, &a).works());
        assert!(Line::new(&a, &c).is_dead());
    });
}

#[test]
fn a_host_routes_between_two_networks_when_told() {
    run_test(|| {
        let (lab, _lan, [a, router]) = lab();
        let far = lab.network("far").expect("a network");
        router.join(&far, "10.88.0.2/24").expect("joined");
        router.set_sysctl("net.ipv4.ip_forward", "1").expect("set");
        assert_eq!(router.sysctl("net.ipv4.ip_forward").expect("read"), "1");
        assert_eq!(a.sysctl("net.ipv4.ip_forward").expect("read"), "0", "each has its own");
        let b = lab.host("b").expect("a host").join(&far, "10.88.0.1/24").expect("joined");
        a.add_route("0.0.0.0/0", "10.77.0.2".parse().expect("an address")).expect("a way");
        b.add_route("10.77.0.0/24", "10.88.0.2".parse().expect("an address")).expect("a way");
        assert!(Line::new(&a, &b).works());
    });
}

#[test]
fn addresses_come_and_go() {
    run_test(|| {
        let (_lab, _lan, [a]) = lab();
        let vip = "10.77.0.99".parse().expect("an address");
        for address in ["10.77.0.99/24", "fd00::99/64"] {
            a.add_address("eth0", address).expect("added");
            let listed = a.addresses("eth0").expect("listed");
            assert!(listed.contains(&address.parse().expect("an address")), "{listed:?}");
            a.add_address("eth0", address).expect_err("twice");
        }
        assert!(a.holds(vip).expect("looked"));
        a.remove_address("eth0", "10.77.0.99/24").expect("removed");
        assert!(!a.holds(vip).expect("looked"));
        let error = a.add_address("eth7", "10.77.0.99/24").expect_err("no such interface");
        assert!(error.to_string().contains("eth7 of h1"), "{error}");
    });
}

#[test]
fn neighbours_are_learned_at_the_labs_own_link_layer_addresses() {
    run_test(|| {
        let (_lab, _lan, [a, b]) = lab();
        assert!(Line::new(&a, &b).works());
        let ip = "10.77.0.2".parse().expect("an address");
        assert_eq!(a.neighbour(ip).expect("looked"), Some([2, 0, 0, 0, 1, 0]));
        assert_eq!(b.mac("eth0").expect("looked"), [2, 0, 0, 0, 1, 0]);
        a.forget_neighbours(Some(ip)).expect("forgotten");
        assert_eq!(a.neighbour(ip).expect("looked"), None);
        a.forget_neighbours(None).expect("none is fine");
    });
}

#[test]
fn a_process_lives_in_the_network_of_its_host() {
    run_test(|| {
        let (_lab, _lan, [a]) = lab();
        let script = "cat /proc/net/dev; echo ready; exec sleep 1000";
        let process = a.spawn(Command::new("sh").args(["-c", script])).expect("started");
        process.wait_for_line(LONG, |line| line.trim().starts_with("eth0:")).expect("its own");
        process.wait_for_line(LONG, |line| line == "ready").expect("written");
        assert_eq!(a.processes(), [process.pid()]);
        process.kill().expect("killed");
        assert_eq!(process.wait(LONG).expect("dead").code(), None);
        let error = a.spawn(&mut Command::new("no-such-program")).expect_err("not there");
        assert!(error.to_string().contains("start no-such-program on h1"), "{error}");
    });
}

#[test]
fn a_closure_borrows_starts_threads_and_carries_its_panic_over() {
    run_test(|| {
        let (_lab, _lan, [a]) = lab();
        let text = "borrowed".to_owned();
        let inner = || std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        let (there, thread) = a
            .run(|| (inner(), std::thread::spawn(inner).join().expect("no panic"), text.len()))
            .map(|(there, thread, len)| {
                assert_eq!(len, 8);
                (there, thread)
            })
            .expect("run");
        assert_eq!(there, thread);
        assert_ne!(there, inner());
        let panic = std::panic::catch_unwind(|| a.run(|| panic!("carried over")));
        let message = panic.expect_err("a panic");
        assert_eq!(message.downcast_ref::<&str>(), Some(&"carried over"));
        a.run(|| ()).expect("the host is well");
    });
}

#[test]
fn names_are_used_once_and_labs_do_not_mix() {
    run_test(|| {
        let (lab, _lan, [_a]) = lab::<1>();
        assert!(matches!(lab.host("h1"), Err(LabError::Duplicate { .. })));
        assert!(matches!(lab.network("lan"), Err(LabError::Duplicate { .. })));
        assert!(matches!(lab.host("a b"), Err(LabError::Name(_))));
        let (_other, foreign, []) = crate::lab();
        let b = lab.host("b").expect("a host");
        let error = b.join(&foreign, "10.77.0.9/24").expect_err("another lab's");
        assert!(error.to_string().contains("another lab"), "{error}");
        assert!(matches!(b.join(&foreign, "10.77.0.9"), Err(LabError::Address { .. })));
    });
}
