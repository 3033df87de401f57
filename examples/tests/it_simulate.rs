//! `simulate` as its users run it, and how near its decisions are to Pacemaker's.

#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_simulate");

/// Where a corpus of decisions may lie; it does not come with the source.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/pacemaker-scheduler");

/// How many cases of each tier are decided as Pacemaker decides them, at least.
const FLOOR: [(u64, usize); 3] = [(1, 53), (2, 309), (3, 174)];

const CIB: &str = r#"<cib have-quorum="1" dc-uuid="1" execution-date="1700000000">
  <configuration>
    <crm_config><cluster_property_set id="o">
      <nvpair id="o-f" name="fencing-enabled" value="false"/></cluster_property_set></crm_config>
    <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
    <resources>
      <primitive id="ip" class="ocf" provider="heartbeat" type="IPaddr2"/>
      <primitive id="web" class="ocf" provider="heartbeat" type="apache"/>
    </resources>
    <constraints>
      <rsc_location id="here" rsc="ip" node="n1" score="50"/>
      <rsc_colocation id="with" rsc="web" with-rsc="ip" score="INFINITY"/>
      <rsc_order id="after" first="ip" then="web"/>
    </constraints>
  </configuration>
  <status>
    <node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member" expected="member"/>
    <node_state id="2" uname="n2" in_ccm="true" crmd="online" join="member" expected="member"/>
  </status>
</cib>"#;

fn simulate(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cib.xml");
    std::fs::write(&path, text).unwrap();
    Command::new(PROGRAM).arg(&path).args(more).current_dir(folder.path()).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_decision_is_one_document() {
    let decided: serde_json::Value = serde_json::from_str(&printed(&simulate(CIB, &[]))).unwrap();
    assert_eq!(decided["actions"][0]["op"], "start");
    assert_eq!(decided["actions"][0]["resource"], "ip");
    assert_eq!(decided["final"]["web"]["Started"][0], "n1");
}

#[test]
fn what_if_and_explain_tell_what_would_be_and_why() {
    let decided = printed(&simulate(CIB, &["--what-if", "standby=n1"]));
    let decided: serde_json::Value = serde_json::from_str(&decided).unwrap();
    assert_eq!(decided["final"]["ip"]["Started"][0], "n2");
    let text = printed(&simulate(CIB, &["--explain", "web"]));
    for part in [
        "web: stopped now, shall be started on n1",
        "n2: -infinity = -infinity (colocation with with ip)",
        "after start ip on n1: order after",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("ip: stopped now"), "{text}");
}

#[test]
fn a_cluster_comes_to_rest() {
    let text = printed(&simulate(CIB, &["--settle"]));
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(r#""web":{"Started":["n1"]}"#), "{text}");
}

#[test]
fn a_picture_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (cib, svg) = (folder.path().join("cib.xml"), folder.path().join("out.svg"));
    std::fs::write(&cib, CIB).unwrap();
    let done = Command::new(PROGRAM).arg(&cib).arg("--graph").arg(&svg).status().unwrap();
    assert!(done.success());
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(drawn.contains("start web n1") && drawn.contains("<line"), "{drawn}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let output = simulate("<cib>\n  <configuration>\n</cib>", &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 3"), "{said}");
    let output = simulate(CIB, &["--explain", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there are ip, web"));
}

#[test]
fn check_finds_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cib.xml");
    std::fs::write(&path, CIB.replace("node=\"n1\" score=\"50\"", "node=\"n1\" score=\"fifty\""))
        .unwrap();
    let output = Command::new(PROGRAM).arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("error: line 11") && said.contains("fifty"), "{said}");
}

/// The cluster of the guide.
fn guide() -> &'static str {
    const PAGE: &str = include_str!("../../docs/guide/scheduler.md");
    let (_, rest) = PAGE.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_cluster_of_the_guide_is_right_in_toml_json_and_xml() {
    let folder = tempfile::tempdir().unwrap();
    let toml = folder.path().join("cluster.toml");
    std::fs::write(&toml, guide()).unwrap();
    let run = |args: &[&str]| {
        printed(&Command::new(PROGRAM).args(args).current_dir(folder.path()).output().unwrap())
    };
    let findings = run(&["check", "cluster.toml"]);
    assert!(findings.lines().all(|line| line.starts_with("hint")), "{findings}");
    let decided = run(&["cluster.toml"]);
    assert!(decided.contains(r#""web":{"Started":["n1"]}"#), "{decided}");
    assert!(decided.contains(r#""db":{"#), "{decided}");
    let lost = run(&["cluster.toml", "--what-if", "node-down=n1"]);
    assert!(lost.contains(r#""node":"n1","op":"fence""#), "{lost}");

    // Another form, the same decision; what has no telling ending is looked at.
    std::fs::write(folder.path().join("json"), run(&["write", "cluster.toml", "--to", "json"]))
        .unwrap();
    assert_eq!(run(&["json"]), decided);
    let xml = run(&["write", "json", "--to", "xml"]);
    std::fs::write(folder.path().join("cib.xml"), &xml).unwrap();
    for line in xml_of_guide().lines().filter(|line| line.trim() != "…") {
        assert!(xml.contains(line), "{line}\nis not in\n{xml}");
    }
    std::fs::write(folder.path().join("toml"), run(&["write", "cib.xml", "--to", "toml"])).unwrap();
    assert_eq!(run(&["toml"]), decided);
}

fn xml_of_guide() -> &'static str {
    const PAGE: &str = include_str!("../../docs/guide/scheduler.md");
    let (_, rest) = PAGE.split_once("```xml\n").unwrap();
    rest.split_once("```").unwrap().0
}

/// Runs the comparator over the public decisions; what was reached must be kept.
#[test]
fn decisions_are_as_near_to_pacemakers_as_they_were() {
    let comparator = Path::new(CORPUS).join("compare.py");
    if !comparator.exists() {
        println!("skipped: there is no corpus of decisions at {CORPUS}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results.json");
    let output = Command::new("python3")
        .arg(&comparator)
        .args(["--quiet", "--timeout", "60", "--runner", PROGRAM, "--json"])
        .arg(&results)
        .output()
        .unwrap();
    let text = std::fs::read_to_string(&results).unwrap_or_else(|_| panic!("{output:?}"));
    let results: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for (tier, floor) in FLOOR {
        let passed = results
            .iter()
            .filter(|result| result["tier"] == tier)
            .filter(|result| result["actions"] == true && result["final"] == true)
            .count();
        assert!(passed >= floor, "tier {tier}: {passed} cases pass, {floor} did");
    }
}
