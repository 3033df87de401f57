//! Configurations that load, and those that must not.

use std::time::Duration;

use ha_core::guarantee::Guarantee;
use ha_crm::Cluster;
use ha_crm::model::{ClusterConfig, FenceDevice, Fencing, Resource, Score, VoteRules};
use proptest::prelude::*;

use super::{node, resource};

const GOOD: &str = r#"{
    "nodes": ["n0", "n1"],
    "quorum": { "two_node": true },
    "fencing": { "devices": {
        "board0": { "agent": "fence_ipmilan", "nodes": ["n0"], "parameters": { "ip": "192.0.2.1" } },
        "board1": { "agent": "fence_ipmilan", "nodes": ["n1"] }
    } },
    "resources": {
        "db": {
            "guarantee": "at-most-one", "agent": "ocf:heartbeat:pgsql",
            "locations": { "n0": 50 }, "stickiness": 1000000
        },
        "proxy": { "guarantee": "at-least-one", "agent": "native:process" }
    }
}"#;

fn load(text: &str) -> Result<ClusterConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn a_good_file_loads_and_is_the_same_after_a_round_trip() {
    let config = load(GOOD).expect("good");
    assert_eq!(config.quorum().expect("given").needed(), 2);
    let db = &config.resources()[&"db".parse().expect("a name")];
    assert_eq!((db.guarantee, db.stickiness), (Guarantee::AtMostOne, Some(Score::INFINITY)));
    let text = serde_json::to_string(&config).expect("plain data");
    assert_eq!(load(&text).expect("the same"), config);
}

#[test]
fn at_most_one_without_quorum_and_fencing_does_not_load_and_the_error_says_what_to_do() {
    let without = |keys: &[&str]| {
        let mut value: serde_json::Value = serde_json::from_str(GOOD).expect("JSON");
        for key in keys {
            value.as_object_mut().expect("an object").remove(*key);
        }
        load(&value.to_string()).expect_err("not safe")
    };
    let both = without(&["quorum", "fencing"]);
    for part in ["resources.db.guarantee", "quorum and fencing is missing", "at-least-one if"] {
        assert!(both.contains(part), "{part:?} is not in {both}");
    }
    assert!(!both.contains("proxy"), "a proxy needs neither: {both}");
    assert!(without(&["fencing"]).contains("and fencing is missing"));
    assert!(without(&["quorum"]).contains("and quorum is missing"));
}

#[test]
fn fencing_that_does_not_reach_every_node_is_not_enough() {
    let error = load(&GOOD.replace(r#""nodes": ["n1"]"#, r#""nodes": []"#)).expect_err("n1");
    assert!(error.contains("no device reaches n1"), "{error}");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_paths() {
    let error = load(
        r#"{
            "nodes": ["n0", "n0"],
            "fencing": { "devices": { "pdu": { "agent": "x", "nodes": ["n7"] } } },
            "resources": {
                "a": { "guarantee": "at-least-one", "agent": "", "locations": { "n8": 1 } },
                "b": { "guarantee": "at-most-one", "agent": "x" }
            }
        }"#,
    )
    .expect_err("five mistakes");
    for path in [
        "nodes[1]",
        "fencing.devices.pdu.nodes",
        "resources.a.agent",
        "resources.a.locations",
        "resources.b.guarantee",
    ] {
        assert!(error.contains(path), "{path} is not in {error}");
    }
    assert!(load(r#"{ "nodes": [] }"#).is_err());
    assert!(load(r#"{ "nodes": ["n0"], "colour": "red" }"#).is_err());
}

#[test]
fn the_builder_makes_the_same_checks() {
    let error = Cluster::builder()
        .node(node(0))
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", [])))
        .at_most_one(Resource::new(resource(1), "x"))
        .at_least_one(Resource::new(resource(1), "x").location(node(9), Score::ZERO))
        .build()
        .expect_err("a device for nobody, none for n0, r1 twice");
    assert_eq!(error.problems().len(), 3, "{error}");
}

#[test]
fn levels_that_could_not_fence_are_refused_all_at_once() {
    let device = |nodes: &[usize]| FenceDevice::new("fence_apc", nodes.iter().map(|n| node(*n)));
    let slow = device(&[0, 1]).timeout(Duration::from_secs(50)).attempts(0);
    let fencing = Fencing::device("slow", slow)
        .and_device("other", device(&[1]))
        .level(&node(0), ["slow", "slow"])
        .level(&node(0), ["other"])
        .level(&node(0), ["ghost"])
        .level(&node(1), [""; 0])
        .level(&node(7), ["slow"])
        .timeout(Duration::from_secs(1));
    let cluster = Cluster::builder().node(node(0)).node(node(1)).fencing(fencing);
    let error = cluster.build().expect_err("none of it works").to_string();
    for wanted in [
        "fencing.devices.slow.attempts: 0 is not allowed: 1 to 10",
        "fencing.levels.n0.1: slow twice is not allowed",
        "fencing.levels.n0.2: other is not allowed: devices that reach n0",
        "fencing.levels.n0.3: ghost is not allowed: known devices: other, slow",
        "fencing.levels.n1.1: no device is not allowed",
        "fencing.levels: n7 is not allowed: names that stand in `nodes`",
        "fencing.timeout: 1s is not allowed: at least",
    ] {
        assert!(error.contains(wanted), "{wanted}\n{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in ".{0,300}") {
        let _either = load(&text);
    }

    #[test]
    fn scores_add_up_in_any_order_and_never_leave_their_range(a: i32, b: i32) {
        let (a, b) = (Score::new(a), Score::new(b));
        prop_assert_eq!(a + b, b + a);
        prop_assert!((Score::NEVER..=Score::INFINITY).contains(&(a + b)));
        prop_assert_eq!(a + Score::NEVER, Score::NEVER);
    }
}
