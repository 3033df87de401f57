//! What waits for a router that was stopped: old adverts, and more of the kernel's news than there
//! is room for.

use std::process::Command;
use std::thread;
use std::time::Duration;

use ha_core::time::{BootClock, Clock};
use ha_lab::{Host, Process};

use crate::rig::{Rig, VIP, await_state, eventually, holds, router, says};

fn changes(router: &Process) -> usize {
    router.lines().iter().filter(|line| line.text.contains("state-changed")).count()
}

fn rest(time: Duration) {
    let clock = BootClock::new();
    let end = clock.now() + time;
    while clock.now() < end {
        thread::park_timeout(end.since(clock.now()));
    }
}

#[test]
fn adverts_that_waited_while_the_router_was_stopped_are_no_elections() {
    ha_lab::run_test(|| {
        let Rig { a, b, .. } = &Rig::new();
        let first = router(a, &["--vip", VIP, "--priority", "150"]);
        await_state(&first, "active");
        let second = router(b, &["--vip", VIP, "--priority", "100"]);
        says(&second, "10.77.0.1 is the active router");
        for _ in 0..3 {
            first.freeze().expect("it runs");
            await_state(&second, "active");
            // Some forty adverts of the second wait in the first one's socket.
            rest(Duration::from_secs(4));
            let before = (changes(&first), changes(&second));
            first.thaw().expect("it runs");
            await_state(&second, "backup");
            eventually("the first serves alone", || holds(a, VIP) && !holds(b, VIP));
            rest(Duration::from_millis(500));
            let after = (changes(&first), changes(&second));
            // At most: yields, and preempts again; and the second: leaves, and is a backup.
            assert!(after.0 - before.0 <= 3, "{:#?}", first.lines());
            assert!(after.1 - before.1 <= 2, "{:#?}", second.lines());
        }
    });
}

/// How many messages netlink sockets in this host had no room for.
fn drops(host: &Host) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/netlink").expect("there");
    let table = host.run(read).expect("the lab runs");
    let column = |line: &str| line.split_whitespace().nth(8).and_then(|n| n.parse::<u64>().ok());
    table.lines().skip(1).filter_map(column).sum()
}

#[test]
fn after_a_netlink_overrun_a_deleted_address_is_put_back() {
    ha_lab::run_test(|| {
        let Rig { a, .. } = &Rig::new();
        // The owner serves at once, and with such adverts it does not notice that it was stopped.
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrrp-router"));
        command.args(["--iface", "eth0", "--vrid", "51", "--vip", VIP]);
        command.args(["--priority", "255", "--advert-ms", "30000"]);
        let ours = a.spawn(&mut command).expect("vrrp-router runs");
        await_state(&ours, "active");
        says(&ours, "address-added");
        ours.freeze().expect("it runs");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("batch");
        let line = |n: u32| {
            let ip = std::net::Ipv4Addr::from(0x0a63_0000 + n % 4_096);
            let verb = if (n / 4_096).is_multiple_of(2) { "add" } else { "del" };
            format!("address {verb} {ip}/32 dev lo\n")
        };
        std::fs::write(&file, (0..16 * 4_096).map(line).collect::<String>()).expect("written");
        let before = drops(a);
        let flood = || Command::new("ip").arg("-force").arg("-batch").arg(&file).output();
        eventually("the router's socket is full", || {
            a.run(flood).expect("the lab runs").expect("ip runs");
            drops(a) > before
        });
        a.remove_address("eth0", VIP).expect("deleted, and nobody heard of it");
        ours.thaw().expect("it runs");
        eventually("it is put back", || holds(a, VIP));
        assert_eq!(changes(&ours), 2, "by no change of state: {:#?}", ours.lines());
    });
}
