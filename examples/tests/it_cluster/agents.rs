//! Debian's resource and fence agents, run by a cluster.

use ha_crm::manager::{Request, Status};

use crate::rig::{NAMES, PATIENCE, Rig, active, all_runs, eventually, promoted};

#[test]
fn debians_agents_start_move_and_stop() {
    ha_lab::run_test(|| {
        for agent in ["heartbeat/Dummy", "heartbeat/IPaddr2", "pacemaker/Stateful"] {
            let path = format!("/usr/lib/ocf/resource.d/{agent}");
            if !std::path::Path::new(&path).exists() {
                return ha_lab::skip(format!("{path} is missing: install resource-agents"));
            }
        }
        if ha_lab::require_program("fence_dummy").is_none() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let state = |name: &str| folder.path().join(name).display().to_string();
        let resources = format!(
            "[fencing.dummy]\nagent = \"fence_dummy\"\nparameters = {{ type = \"file\", \
             status_file = \"{}\" }}\n\
             [groups.all]\nmembers = [\"d\", \"s\", \"ip\"]\n\
             [resources.d]\nagent = \"ocf:heartbeat:Dummy\"\nmonitor = \"1s\"\n\
             parameters = {{ state = \"{}\" }}\n\
             [resources.s]\nagent = \"ocf:pacemaker:Stateful\"\nmonitor = \"0s\"\n\
             parameters = {{ state = \"{}\" }}\n\
             [resources.ip]\nagent = \"ocf:heartbeat:IPaddr2\"\nmonitor = \"1s\"\n\
             parameters = {{ ip = \"10.78.0.100\", cidr_netmask = \"24\", nic = \"eth0\" }}\n",
            state("fenced"),
            state("d"),
            state("s")
        );
        let rig = Rig::new(&resources);
        let status = rig.wait("all runs", all_runs);
        let here = active(&status, "ip").remove(0);
        let ip = "10.78.0.100".parse().expect("an address");
        assert!(rig.host(&here).holds(ip).expect("addresses"));

        let there = if here == "n1" { "n2" } else { "n1" };
        rig.order(&Request::Move {
            resource: "all".parse().expect("a name"),
            node: there.parse().expect("a name"),
        });
        rig.wait("moved", |status| all_runs(status) && active(status, "ip") == [there]);
        assert!(rig.host(there).holds(ip).expect("addresses"));
        assert!(!rig.host(&here).holds(ip).expect("addresses"));

        // Power is lost: fence_dummy, the first device, is asked before anything starts elsewhere.
        let status_file = folder.path().join("fenced");
        let before = std::fs::metadata(&status_file).and_then(|file| file.modified()).ok();
        rig.host(there).power_off().expect("off");
        rig.wait("it runs elsewhere", |status| {
            let on = active(status, "ip");
            on.len() == 1 && on != [there]
        });
        let after = std::fs::metadata(&status_file).and_then(|file| file.modified()).ok();
        assert!(after.is_some() && after > before, "fence_dummy was not asked");
        rig.host(there).power_on().expect("on");
        rig.boot(there);
        rig.order(&Request::Clear { resource: "all".parse().expect("a name") });
        let status = rig.wait("whole again", |status| {
            all_runs(status) && status.nodes.values().all(|node| node.present)
        });
        let there = active(&status, "ip").remove(0);

        // An address that somebody takes away is put back: the monitor notices.
        rig.host(&there).remove_address("eth0", "10.78.0.100/24").expect("removed");
        eventually("the address is back", || rig.host(&there).holds(ip).expect("addresses"));
        rig.wait("all runs again", all_runs);
    });
}

/// What Debian's promotable example tells `crm_master` decides which copy is promoted.
#[test]
fn debians_stateful_is_promoted_on_one_node_and_the_address_goes_with_it() {
    ha_lab::run_test(|| {
        for agent in ["heartbeat/IPaddr2", "pacemaker/Stateful"] {
            let path = format!("/usr/lib/ocf/resource.d/{agent}");
            if !std::path::Path::new(&path).exists() {
                return ha_lab::skip(format!("{path} is missing: install resource-agents"));
            }
        }
        let state = tempfile::tempdir().expect("a folder");
        let resources = format!(
            "[resources.db]\nagent = \"ocf:pacemaker:Stateful\"\nmonitor = \"1s\"\n\
             promotable = true\nparameters = {{ state = \"{}\" }}\n\
             [resources.ip]\nagent = \"ocf:heartbeat:IPaddr2\"\nmonitor = \"1s\"\n\
             with = \"db:promoted\"\nafter = \"db:promoted\"\n\
             parameters = {{ ip = \"10.78.0.100\", cidr_netmask = \"24\", nic = \"eth0\" }}\n",
            state.path().join("db").display()
        );
        let rig = Rig::without_nodes(&resources);
        for name in NAMES {
            // Each host has a state of its own there.
            let mut mount = std::process::Command::new("mount");
            let mount = mount.args(["-t", "tmpfs", "state"]).arg(state.path());
            let mounted = rig.host(name).spawn(mount).expect("mount runs");
            assert!(mounted.wait(PATIENCE).expect("it ends").success());
            rig.boot(name);
        }
        let serves = |status: &Status, copies: usize| {
            let on = promoted(status, "db");
            active(status, "db").len() == copies && on.len() == 1 && active(status, "ip") == on
        };
        let status = rig.wait("one is promoted", |status| serves(status, 3));
        let here = promoted(&status, "db").remove(0);
        let ip = "10.78.0.100".parse().expect("an address");
        assert!(rig.host(&here).holds(ip).expect("addresses"));

        let there = if here == "n1" { "n2" } else { "n1" };
        let role = || "db:promoted".parse().expect("a name");
        rig.order(&Request::Move { resource: role(), node: there.parse().expect("a name") });
        rig.wait("another is promoted", |status| {
            serves(status, 3) && promoted(status, "db") == [there]
        });
        assert!(rig.host(there).holds(ip).expect("addresses"));
        rig.order(&Request::Clear { resource: role() });

        rig.host(there).power_off().expect("off");
        let status = rig.wait("one that is left is promoted", |status| {
            serves(status, 2) && promoted(status, "db") != [there]
        });
        assert!(rig.host(&promoted(&status, "db")[0]).holds(ip).expect("addresses"));
    });
}
