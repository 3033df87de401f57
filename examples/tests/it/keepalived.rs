//! `vrrp-router` and the real keepalived share an address.

use ha_lab::ProcessSignal;

use crate::rig::{Keepalived, Rig, VIP, await_state, eventually, holds, router, serving, stop};

#[test]
fn router_takes_over_from_keepalived_that_loses_power_and_yields_when_it_returns() {
    ha_lab::run_test(|| {
        let Some(keepalived) = Keepalived::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        keepalived.start(a, 150, &serving(VIP));
        eventually("keepalived serves", || holds(a, VIP));
        let ours = router(b, &["--priority", "100", "--vip", VIP]);
        await_state(&ours, "backup");
        assert!(!holds(b, VIP), "a backup does not hold the address");

        a.power_off().expect("off");
        await_state(&ours, "active");
        eventually("ours serves", || holds(b, VIP));

        a.power_on().expect("on");
        keepalived.start(a, 150, &serving(VIP));
        await_state(&ours, "backup");
        eventually("only keepalived serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn keepalived_takes_over_from_router_that_loses_power_and_yields_when_it_returns() {
    ha_lab::run_test(|| {
        let Some(keepalived) = Keepalived::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let flags = ["--priority", "150", "--vip", VIP];
        let ours = router(a, &flags);
        await_state(&ours, "active");
        keepalived.start(b, 100, &serving(VIP));

        a.power_off().expect("off");
        eventually("keepalived serves", || holds(b, VIP));

        a.power_on().expect("on");
        let ours = router(a, &flags);
        await_state(&ours, "active");
        eventually("only ours serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn a_planned_stop_moves_the_address_both_ways() {
    ha_lab::run_test(|| {
        let Some(keepalived) = Keepalived::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let theirs = keepalived.start(a, 150, &serving(VIP));
        eventually("keepalived serves", || holds(a, VIP));
        let ours = router(b, &["--priority", "100", "--vip", VIP]);
        await_state(&ours, "backup");

        theirs.signal(ProcessSignal::Terminate).expect("it runs");
        await_state(&ours, "active");
        eventually("only ours serves", || holds(b, VIP) && !holds(a, VIP));

        keepalived.start(a, 50, &serving(VIP));
        stop(&ours, ProcessSignal::Terminate);
        eventually("only keepalived serves", || holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn a_sitting_router_is_left_alone_without_preemption() {
    ha_lab::run_test(|| {
        let Some(keepalived) = Keepalived::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        keepalived.start(a, 100, &serving(VIP));
        eventually("keepalived serves", || holds(a, VIP));
        let ours = router(b, &["--priority", "150", "--vip", VIP, "--preempt", "false"]);
        await_state(&ours, "backup");
        // It would have preempted after 3.4 adverts; the next state it tells is by request.
        let more = ours.wait_for_line(std::time::Duration::from_secs(1), |line| {
            line.contains("state-changed")
        });
        assert!(more.is_err(), "{more:?}");
        assert!(holds(a, VIP) && !holds(b, VIP));
    });
}

#[test]
fn the_address_moves_between_router_and_keepalived_in_ipv6() {
    ha_lab::run_test(|| {
        let Some(keepalived) = Keepalived::find() else { return };
        let Rig { a, b, .. } = &Rig::new();
        let (local, global) = ("fe80::77:200/64", "fd77::200/64");
        let addresses = format!("virtual_ipaddress {{ {local}\n {global}\n }}");
        keepalived.start(a, 150, &addresses);
        eventually("keepalived serves", || holds(a, global));
        let ours = router(b, &["--priority", "100", "--vip", local, "--vip", global]);
        await_state(&ours, "backup");

        a.power_off().expect("off");
        await_state(&ours, "active");
        eventually("ours serves", || holds(b, global) && holds(b, local));

        a.power_on().expect("on");
        keepalived.start(a, 150, &addresses);
        await_state(&ours, "backup");
        eventually("only keepalived serves", || holds(a, global) && !holds(b, global));
    });
}

#[test]
fn after_a_split_one_of_the_two_serves_and_the_client_is_with_it() {
    ha_lab::run_test(|| {
        let Some(keepalived) = Keepalived::find() else { return };
        if ha_lab::require_program("nft").is_none() {
            return;
        }
        let Rig { lab, lan, a, b } = &Rig::new();
        let client = lab.host("client").and_then(|host| host.join(lan, "10.77.0.9/24"));
        let client = client.expect("a client");
        let ours = router(a, &["--priority", "150", "--vip", VIP]);
        await_state(&ours, "active");
        keepalived.start(b, 100, &serving(VIP));
        // The client must know the address, for its entry to be wrong.
        let ask = || {
            client
                .run(|| {
                    std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", (crate::rig::ip(VIP), 9))
                })
                .expect("the lab runs")
        };
        ask().expect("sent");

        lab.partition(&[a], &[b]).expect("cut");
        eventually("both serve", || holds(a, VIP) && holds(b, VIP));
        lab.heal().expect("healed");
        eventually("only ours serves", || holds(a, VIP) && !holds(b, VIP));
        let winner = a.mac("eth0").expect("a link-layer address");
        eventually("the client is with the winner", || {
            client.neighbour(crate::rig::ip(VIP)).expect("neighbours") == Some(winner)
        });
    });
}
