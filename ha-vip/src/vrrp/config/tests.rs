//! What configurations are let through, and what is said of the others.

use super::*;

fn address(text: &str) -> VirtualAddress {
    text.parse().expect("an address")
}

#[test]
fn every_problem_is_told_at_once() {
    let error = RouterConfig::builder(0)
        .priority(0)
        .advert_interval(Duration::from_millis(15))
        .address(address("192.0.2.1/24"))
        .address(address("2001:db8::1/64"))
        .address(address("192.0.2.1/32"))
        .build()
        .expect_err("all wrong");
    let paths: Vec<&str> = error.problems().iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["vrid", "priority", "advert_interval", "address", "address"]);
    assert!(error.to_string().contains("advert_interval: 15 ms is not allowed: 10 ms to"));
}

#[test]
fn the_intervals_of_the_rfc_are_kept() {
    let build = |interval| {
        RouterConfig::builder(1).address(address("192.0.2.1/24")).advert_interval(interval).build()
    };
    for ms in [10, 100, 40_950] {
        assert!(build(Duration::from_millis(ms)).is_ok(), "{ms}");
    }
    for interval in
        [Duration::ZERO, Duration::from_millis(9), Duration::from_secs(41), Duration::MAX]
    {
        assert!(build(interval).is_err(), "{interval:?}");
    }
}

#[test]
fn skew_and_down_interval_follow_section_6_1() {
    let ten = Duration::from_millis(10);
    let priority = |p| Priority::new(p).expect("not 0");
    let config = RouterConfig::builder(1).address(address("192.0.2.1/24"));
    let v3 = config.clone().build().expect("a configuration");
    assert_eq!(v3.skew(priority(100), ten).as_micros(), 6_093);
    assert_eq!(v3.active_down(priority(254), ten).as_micros(), 30_078);
    assert_eq!(v3.active_down(Priority::OWNER, ten).as_micros(), 30_039);
    // RFC 3768 §6.1: the skew of version 2 is of a second, whatever the interval.
    let v2 = config.version(Version::V2).build().expect("a configuration");
    assert_eq!(v2.active_down(priority(100), Duration::from_secs(2)).as_micros(), 6_609_375);
}

#[test]
fn a_virtual_mac_is_one_instances_and_an_address_elsewhere_is_one_of_the_instance() {
    let router = || {
        let address: VirtualAddress = "192.0.2.10/24".parse().expect("an address");
        RouterConfig::builder(51).address(address).build().expect("valid")
    };
    let other: VirtualAddress = "192.0.2.11/24".parse().expect("an address");
    let other = RouterConfig::builder(51).address(other).build().expect("valid");
    let error = HostConfig::builder()
        .instance(Instance::new("a", "eth0", router()).virtual_mac(true))
        .instance(
            Instance::new("b", "eth1", other)
                .virtual_mac(true)
                .address_on("192.0.2.99".parse().expect("an address"), "eth2"),
        )
        .build()
        .expect_err("two problems");
    let text = error.to_string();
    assert!(text.contains("instance.b.virtual_mac"), "{text}");
    assert!(text.contains("instance.b.address_on"), "{text}");
}
