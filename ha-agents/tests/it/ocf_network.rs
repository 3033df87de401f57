//! Debian's real agents that change the network, each in a host of a laboratory.

use std::process::Command;

use ha_lab::{Host, Lab};

use super::block_on;
use super::mount::on_a_host;
use super::ocf_real::{cycle, load, with};

/// Runs `test` in the network of a host that is 10.66.0.1 and `fd66::1` on eth0.
fn in_a_lan(test: impl FnOnce(&Host) + Send) {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = lab.host("n1").expect("a host").join(&lan, "10.66.0.1/24").expect("joined");
        host.add_address("eth0", "fd66::1/64").expect("added");
        host.run(|| test(&host)).expect("a worker");
    });
}

fn says(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_real_ipaddr2_moves_an_address_of_ipv6() {
    in_a_lan(|host| {
        block_on(async {
            let Some(agent) = load("heartbeat", "IPaddr2").await else { return };
            let context = with(&[("ip", "fd66::100"), ("cidr_netmask", "64"), ("nic", "eth0")]);
            let ip = "fd66::100".parse().expect("an address");
            assert_eq!(cycle(&agent, &context, "VMSMS").await, "V0 M7 S0 M0 S0");
            assert!(host.holds(ip).expect("the kernel's word"));
            assert_eq!(cycle(&agent, &context, "XMX").await, "X0 M7 X0");
            assert!(!host.holds(ip).expect("the kernel's word"));
        });
    });
}

/// Whatever is wrong, a stop says that nothing is left, so nobody has to fence.
#[test]
fn the_real_ipaddr2_tells_wrong_parameters_apart() {
    in_a_lan(|_| {
        block_on(async {
            let Some(agent) = load("heartbeat", "IPaddr2").await else { return };
            for (parameters, expected) in [
                (&[("ip", "bogus")][..], "V6 M7 S6 X0"),
                (&[("ip", "10.77.0.1")], "V1 M7 S1 X0"), // no route
                (&[("ip", "10.66.0.100"), ("nic", "nonesuch")], "V6 M7 S6 X0"),
                (&[("ip", "10.66.0.100"), ("cidr_netmask", "64")], "V6 M7 S6 X0"),
            ] {
                let told = cycle(&agent, &with(parameters), "VMSX").await;
                assert_eq!(told, expected, "{parameters:?}");
            }
        });
    });
}

#[test]
fn the_real_route_comes_and_goes() {
    in_a_lan(|_| {
        if ha_lab::require_program("ip").is_none() {
            return;
        }
        block_on(async {
            let Some(agent) = load("heartbeat", "Route").await else { return };
            let route = with(&[
                ("destination", "10.99.0.0/16"),
                ("gateway", "10.66.0.7"),
                ("device", "eth0"),
            ]);
            assert_eq!(cycle(&agent, &route, "VMSMS").await, "V0 M7 S0 M0 S0");
            let routes = says("ip", &["route"]);
            assert!(routes.contains("10.99.0.0/16 via 10.66.0.7"), "{routes}");
            assert_eq!(cycle(&agent, &route, "XMX").await, "X0 M7 X0");
            assert!(!says("ip", &["route"]).contains("10.99.0.0"));
        });
    });
}

/// The agent looks into /sys, so it needs that of its own network.
#[test]
fn the_real_macvlan_comes_and_goes() {
    on_a_host(async |_| {
        if ha_lab::require_program("ip").is_none() {
            return;
        }
        let Some(agent) = load("heartbeat", "iface-macvlan").await else { return };
        let does = |command: &str, args: &[&str]| {
            Command::new(command).args(args).status().expect("it runs").success()
        };
        assert!(does("mount", &["-t", "sysfs", "sysfs", "/sys"]));
        if !does("ip", &["link", "add", "base0", "type", "veth", "peer", "name", "peer0"])
            || !does("ip", &["link", "add", "probe0", "link", "base0", "type", "macvlan"])
        {
            ha_lab::skip("the kernel has no veth or macvlan interfaces here; load their modules");
            return;
        }
        assert!(does("ip", &["link", "del", "probe0"]));
        assert!(["base0", "peer0"].iter().all(|it| does("ip", &["link", "set", it, "up"])));
        let context = with(&[("device", "base0"), ("name", "mv0")]);
        assert_eq!(cycle(&agent, &context, "VMSMS").await, "V0 M7 S0 M0 S0");
        assert!(says("ip", &["link"]).contains("mv0@base0"));
        assert_eq!(cycle(&agent, &context, "XMX").await, "X0 M7 X0");
        assert!(!says("ip", &["link"]).contains("mv0"));
    });
}
