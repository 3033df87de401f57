//! Which levels a node has, and what is wrong with a topology.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_agents::fence::FenceAction;
use ha_agents::fence::topology::{DeviceRules, HostCheck, Target, Topology};
use ha_core::id::NodeName;

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn pattern(text: &str) -> Target {
    Target::Pattern(text.to_owned())
}

#[test]
fn a_name_goes_before_a_pattern_and_a_pattern_before_an_attribute() {
    let rack = Target::Attribute { name: "rack".to_owned(), value: "r1".to_owned() };
    let topology = Topology::builder()
        .device("board", DeviceRules::new())
        .device("pdu", DeviceRules::new())
        .device("disk", DeviceRules::new())
        .device("own", DeviceRules::new().host(node("n9"), node("7")))
        .level(rack, 1, ["disk"])
        .level(pattern("^web[0-9]+$"), 2, ["pdu", "disk"])
        .level(pattern("^web[0-9]+$"), 1, ["board"])
        .level(Target::Node(node("web3")), 1, ["pdu"])
        .build()
        .expect("valid");
    let in_rack = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
    let none = BTreeMap::new();
    let of = |name: &str, attributes: &BTreeMap<String, String>| {
        let levels = topology.levels_of(&node(name), attributes);
        levels.iter().map(|level| level.join("+")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("web1", &in_rack), "board pdu+disk", "in the order of the indexes");
    assert_eq!(of("web3", &in_rack), "pdu");
    assert_eq!(of("db1", &in_rack), "disk");
    assert_eq!(of("db1", &none), "board disk pdu", "each that is not excluded");
    assert_eq!(of("n9", &none), "board disk own pdu");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let error = Topology::builder()
        .device("a", DeviceRules::new().check(HostCheck::StaticList))
        .device("b", DeviceRules::new().host(node("n2"), node("2")).attempts(0))
        .device("c", DeviceRules::new().action_limit(Some(0)).reboot_action(FenceAction::On))
        .device("d", DeviceRules::new().delay_base(Duration::from_secs(9)).delay_max(SECOND))
        .device("e", DeviceRules::new().timeout(FenceAction::Off, Duration::ZERO))
        .level(Target::Node(node("n1")), 1, ["b"])
        .level(Target::Node(node("n2")), 10, ["nobody"])
        .level(Target::Node(node("n3")), 1, Vec::<String>::new())
        .level(Target::Node(node("n4")), 1, ["c", "c"])
        .level(pattern("("), 1, ["c"])
        .level(pattern("^x"), 1, ["c"])
        .nodes(["n1", "n2", "n3", "n4"].map(node))
        .retry_share(101)
        .build()
        .expect_err("much is wrong");
    let text = error.to_string();
    for words in [
        "fencing.devices.a.check: static list is not allowed: with at least one host",
        "fencing.devices.b.attempts: 0 is",
        "fencing.devices.c.action_limit: 0 is",
        "fencing.devices.c.reboot_action: on is",
        "fencing.devices.d.delay_max: 1s is not allowed: at least the base, 9s",
        "fencing.devices.e.timeout.off: 0 is",
        "fencing.levels.n1.1: b is not allowed: devices that reach n1",
        "fencing.levels.n2.10: 10 is not allowed: an index of 1 to 9",
        "fencing.levels.n2.10: nobody is not allowed: known devices: a, b, c, d, e",
        "fencing.levels.n3.1: no device",
        "fencing.levels.n4.1: c twice",
        "fencing.levels./(/.1: /(/ is not allowed: a regular expression",
        "fencing.levels./^x/.1: /^x/ is not allowed: a target that one of the cluster's nodes",
        "fencing.nodes.n1: no level",
        "fencing.retry_share: 101 is",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_time_that_the_levels_do_not_fit_into_is_refused() {
    let twenty = || DeviceRules::new().timeout(FenceAction::Off, 20 * SECOND);
    let rules = || twenty().timeout(FenceAction::Reboot, 20 * SECOND).delay_max(5 * SECOND);
    let builder = || {
        Topology::builder()
            .device("a", rules())
            .device("b", rules())
            .level(Target::Node(node("n1")), 1, ["a"])
            .level(Target::Node(node("n1")), 2, ["b"])
    };
    builder().timeout(50 * SECOND).build().expect("2 x (5 s + 20 s) fit");
    let error = builder().timeout(49 * SECOND).build().expect_err("they do not");
    assert!(error.to_string().contains("at least 50s"), "{error}");
    let topology = builder().build().expect("valid");
    let levels = topology.levels_of(&node("n1"), &BTreeMap::new());
    assert_eq!(topology.timeout_of(&node("n1"), &levels), 60 * SECOND, "a fifth more");
}
