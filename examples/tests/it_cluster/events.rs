//! What `cluster-node` says, and in which order things happen.

use std::time::Duration;

use ha_core::time::{BootClock, Clock};
use ha_crm::manager::{Request, Status};
use ha_lab::Line;
use serde_json::Value;

use crate::rig::{NAMES, Rig, active, all_runs, eventually};

const RESOURCES: &str = "[resources.service]\nagent = \"native:process\"\n\
    parameters = { program = \"sleep\", args = \"100000\" }\n";

/// The events of a node with the moment of each on the boot-time clock.
fn events(lines: &[Line]) -> Vec<(u64, Value)> {
    let parsed = lines.iter().filter_map(|line| serde_json::from_str::<Value>(&line.text).ok());
    parsed.filter_map(|event| Some((event["at"].as_u64()?, event))).collect()
}

fn is(event: &Value, kind: &str) -> bool {
    event["event"] == kind
}

#[test]
fn a_node_that_is_cut_off_stops_before_the_service_starts_elsewhere() {
    ha_lab::run_test(|| {
        let rig = Rig::new(RESOURCES);
        for delay in [0, 1200] {
            rig.switch.delay(Duration::from_millis(delay));
            let status = rig.wait("all runs", |status| {
                all_runs(status) && status.nodes.values().all(|node| node.present)
            });
            let here = active(&status, "service").remove(0);
            let before = events(&rig.lines(&here)).len();
            let cut = &BootClock::new().now().as_nanos();
            rig.host(&here).cut().expect("cut");
            let others: Vec<&str> = NAMES.into_iter().filter(|name| *name != here).collect();
            let elsewhere = |status: &Status| {
                active(status, "service").iter().any(|node| others.contains(&node.as_str()))
            };
            let status = rig.wait("it runs elsewhere", elsewhere);
            let there = active(&status, "service").remove(0);
            rig.host(&here).uncut().expect("mended");

            let old = events(&rig.lines(&here));
            let stopped = old.iter().skip(before).find(|(_, event)| is(event, "stopped"));
            let (stopped, _) = stopped.expect("the node that was cut off stopped by itself");
            let start = || {
                let new = events(&rig.lines(&there));
                let start = new.iter().find(|(at, event)| at > cut && is(event, "start_requested"));
                start.map(|(at, _)| *at)
            };
            eventually("the other one says that it starts it", || start().is_some());
            let started = &start().expect("just seen");
            assert!(stopped < started, "stopped at {stopped}, started at {started}");
            let margin = Duration::from_nanos(started - stopped);
            eprintln!("switch {delay} ms late: stopped {margin:?} before it started elsewhere");
            let fenced = |(at, event): &&(u64, Value)| {
                is(event, "fence_reported") && event["confirmed"] == true && at < started
            };
            let others = others.iter().flat_map(|name| events(&rig.lines(name)));
            assert!(others.collect::<Vec<_>>().iter().any(|e| fenced(&e)), "fenced before");
        }
    });
}

fn set_link(rig: &Rig, node: &str, state: &str) {
    let set = || std::process::Command::new("ip").args(["link", "set", "eth0", state]).status();
    let set = rig.host(node).run(set).expect("in its network").expect("ip is part of iproute2");
    assert!(set.success());
}

#[test]
fn one_cable_is_not_the_end_of_a_cluster_with_two() {
    ha_lab::run_test(|| {
        let rig = Rig::new(RESOURCES);
        let status = rig.wait("all runs", all_runs);
        let leader = status.leader.to_string();
        set_link(&rig, &leader, "down");
        // Longer than a node may be silent; and the managers still speak to each other.
        for to in NAMES {
            let (resource, node) =
                ("service".parse().expect("a name"), to.parse().expect("a name"));
            rig.order(&Request::Move { resource, node });
            rig.wait("moved", |status| all_runs(status) && active(status, "service") == [to]);
            std::thread::park_timeout(Duration::from_millis(500));
        }
        let status = rig.wait("all runs", all_runs);
        assert!(status.nodes.values().all(|node| node.present));
        set_link(&rig, &leader, "up");
        for name in NAMES {
            let fenced = |(_, event): &(u64, Value)| is(event, "fence_requested");
            assert!(!events(&rig.lines(name)).iter().any(fenced), "nobody was fenced");
        }
    });
}

#[test]
fn the_death_of_a_service_is_noticed_without_polling() {
    ha_lab::run_test(|| {
        let rig = Rig::new(&format!("{RESOURCES}monitor = \"1h\"\n"));
        let status = rig.wait("all runs", all_runs);
        let here = active(&status, "service").remove(0);
        let token = |status: &Status| status.resources.values().next().and_then(|line| line.token);
        let before = token(&status);
        let pattern = "^sleep 100000";
        let kill = std::process::Command::new("pkill").args(["-9", "-f", pattern]).status();
        assert!(kill.expect("pkill is part of procps").success());
        // The next monitor is an hour away.
        let status = rig.wait("restarted", |status| all_runs(status) && token(status) > before);
        assert_eq!(active(&status, "service"), [here]);
    });
}

#[test]
fn all_power_is_cut_and_everything_comes_back_from_the_disks() {
    ha_lab::run_test(|| {
        let rig = Rig::new(RESOURCES);
        rig.wait("all runs", all_runs);
        let standby = Request::Standby { node: "n3".parse().expect("a name") };
        rig.order(&standby);
        for name in NAMES {
            rig.host(name).power_off().expect("off");
        }
        for name in NAMES {
            rig.host(name).power_on().expect("on");
            rig.boot(name);
        }
        let status = rig.wait("all runs again", all_runs);
        let n3 = status.nodes.iter().find(|(name, _)| name.as_str() == "n3").expect("n3");
        assert_eq!(n3.1.status, ha_crm::model::NodeStatus::Standby, "what was agreed on is kept");
        eventually("nobody was fenced", || {
            NAMES.iter().all(|name| {
                events(&rig.lines(name)).iter().all(|(_, event)| !is(event, "fence_requested"))
            })
        });
    });
}
