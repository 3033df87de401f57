//! What is wrong is said in one clear error, and nothing is lost by it.

use std::fs;
use std::process::{Command, Output};

use ha_crm::manager::{Request, Response};
use ha_lab::switch::SwitchFailure;

use crate::rig::{NAMES, Rig, active, all_runs, eventually};

const SERVICE: &str = "[resources.service]\nagent = \"native:dummy\"\n";

fn run(rig: &Rig, name: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster-node"));
    command.arg("--config").arg(rig.path(name, "toml"));
    let run = || command.output().expect("it runs");
    rig.host(name).run(run).expect("in its network")
}

fn error(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.trim().lines().count(), 1, "{text}");
    text
}

#[test]
fn an_agent_that_is_not_installed_is_named_and_the_rest_runs() {
    ha_lab::run_test(|| {
        let resources = format!("{SERVICE}[resources.odd]\nagent = \"ocf:nobody:Nothing\"\n");
        let rig = Rig::new(&resources);
        let status = rig.wait("it is told", |status| {
            let line = status.resources.iter().find(|(name, _)| name.as_str() == "odd");
            line.is_some_and(|(_, line)| line.faults.len() == 3)
                && active(status, "service").len() == 1
        });
        let odd = status.resources.iter().find(|(name, _)| name.as_str() == "odd").expect("odd").1;
        assert!(odd.active.is_empty());
        assert!(odd.faults.values().all(|why| why.contains("ocf:nobody:Nothing")), "{odd:?}");
    });
}

#[test]
fn a_constraint_on_an_unknown_resource_is_named() {
    ha_lab::run_test(|| {
        let rig = Rig::without_nodes(&format!("{SERVICE}with = \"nothing\"\n"));
        let text = error(&run(&rig, "n1"));
        assert!(text.contains("resources.service.with") && text.contains("nothing"), "{text}");

        // To a running cluster it is refused whole.
        let good = Rig::new(SERVICE);
        good.wait("all runs", all_runs);
        let mut raw = ha_crm::file::read_cluster(&good.path("n1", "toml")).expect("good");
        let mut value = serde_json::to_value(&raw).expect("data");
        value["resources"]["service"]["with"] = serde_json::json!(["nothing"]);
        let wrong = serde_json::from_value(value).expect("a shape that is right");
        let refused = good.ask(&Request::Apply { config: Box::new(wrong) });
        assert!(
            matches!(&refused, Some(Response::Refused { reason }) if reason.contains("nothing")),
            "{refused:?}"
        );
        raw = ha_crm::file::read_cluster(&good.path("n1", "toml")).expect("good");
        good.order(&Request::Apply { config: Box::new(raw.raw().clone()) });
    });
}

#[test]
fn a_corrupt_store_is_left_alone_and_its_node_catches_up_without_it() {
    ha_lab::run_test(|| {
        let rig = Rig::new(SERVICE);
        rig.wait("all runs", all_runs);
        rig.order(&Request::Standby { node: "n2".parse().expect("a name") });
        // It stays off until its disk is damaged.
        rig.switch.fail(SwitchFailure::Refuses);
        rig.host("n3").power_off().expect("off");
        let store = rig.folder.path().join("data-n3/store");
        let damaged = vec![0x5a; 4096];
        let good = fs::read(&store).expect("a store");
        fs::write(&store, &damaged).expect("damaged");
        let lives = rig.count_lives("n3");
        rig.switch.mend();
        eventually("the switch has given it power again", || !rig.host("n3").is_off());
        // Its node ended with an error; the file is as it was.
        eventually("it ends", || {
            rig.count_lives("n3") > lives && rig.last_life("n3").status().is_some()
        });
        assert_eq!(fs::read(&store).expect("still there"), damaged);
        let text = error(&run(&rig, "n3"));
        assert!(text.contains("store") && text.contains(&store.display().to_string()), "{text}");
        assert!(good.len() > damaged.len());

        fs::rename(&store, rig.folder.path().join("damaged")).expect("moved away");
        rig.boot("n3");
        let status = rig.wait("whole again", |status| {
            all_runs(status) && status.nodes.values().all(|node| node.present)
        });
        let n2 = status.nodes.iter().find(|(name, _)| name.as_str() == "n2").expect("n2");
        assert_eq!(n2.1.status, ha_crm::model::NodeStatus::Standby, "nothing is lost");
    });
}

#[test]
fn a_node_with_another_key_is_no_member() {
    ha_lab::run_test(|| {
        let rig = Rig::new(SERVICE);
        rig.wait("all runs", all_runs);
        let process = rig.last_life("n3");
        process.signal(ha_lab::ProcessSignal::Terminate).expect("told");
        process.wait(crate::rig::PATIENCE).expect("it leaves");
        let other = rig.folder.path().join("other-key");
        fs::write(&other, "fedcba9876543210".repeat(4)).expect("a key");
        fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .expect("a mode");
        let config = fs::read_to_string(rig.path("n3", "toml")).expect("a file");
        let config = config.replace("key = \"key\"", "key = \"other-key\"");
        fs::write(rig.path("n3", "toml"), config).expect("a file");
        rig.boot("n3");
        let lines = || rig.lines("n3");
        eventually("it has tried", || lines().iter().any(|line| line.text.contains("\"ready\"")));
        // The others go on without it, and it starts nothing.
        let status = rig.wait("all runs", all_runs);
        assert!(!active(&status, "service").contains(&"n3".to_owned()));
        let n3 = status.nodes.iter().find(|(name, _)| name.as_str() == "n3").expect("n3");
        assert!(!n3.1.present);
    });
}

#[test]
fn a_full_disk_takes_its_node_out_and_nothing_else() {
    ha_lab::run_test(|| {
        let rig = Rig::without_nodes(SERVICE);
        let data = rig.folder.path().join("data-n2");
        fs::create_dir(&data).expect("a folder");
        // The node's own mounts: a small disk for its data.
        let script = format!(
            "mount -t tmpfs -o size=3m none {data} && dd if=/dev/zero of={data}/ballast bs=1k \
             2>/dev/null; exec {node} --config {config}",
            data = data.display(),
            node = env!("CARGO_BIN_EXE_cluster-node"),
            config = rig.path("n2", "toml").display()
        );
        let process = rig.host("n2").spawn(Command::new("sh").args(["-c", &script]));
        let process = process.expect("a shell");
        let status = process.wait(crate::rig::PATIENCE).expect("it ends: its disk is full");
        assert!(!status.success());
        let said: Vec<String> = process.lines().into_iter().map(|line| line.text).collect();
        let said = said.join("\n");
        assert!(
            said.contains("store") && said.to_lowercase().contains("full")
                || said.contains("No space"),
            "{said}"
        );
        fs::remove_dir_all(&data).ok();
        for name in NAMES {
            rig.boot(name);
        }
        rig.wait("all runs", all_runs);
    });
}
