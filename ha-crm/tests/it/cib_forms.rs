//! What is read can be written again: as XML, TOML and JSON, with the same decision.

use std::fs;
use std::path::Path;
use std::process::Command;

use ha_core::time::WallTime;
use ha_crm::cib::Cib;
use ha_crm::scheduler::Scheduler;

/// Where a corpus of CIBs may lie; it does not come with the source.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/pacemaker-scheduler/cases");

/// A cluster with something of everything, in TOML.
const SHOWCASE: &str = include_str!("../data/showcase.toml");

/// All configurations at hand: the showcase, and the corpus where there is one.
fn all() -> Vec<(String, Cib)> {
    let (showcase, notes) = Cib::from_toml(SHOWCASE).expect("the showcase");
    assert_eq!(notes, []);
    let mut all = vec![("showcase".to_owned(), showcase)];
    let Ok(folder) = fs::read_dir(Path::new(CORPUS)) else {
        eprintln!("no corpus at {CORPUS}: the showcase must do");
        return all;
    };
    for entry in folder {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "xml") {
            let text = fs::read_to_string(&path).expect("text");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            all.push((name, Cib::parse(&text).expect("a CIB").0));
        }
    }
    all
}

/// All but the places.
fn content(cib: &Cib) -> String {
    cib.to_json().expect("JSON")
}

fn decides_the_same(name: &str, one: &Cib, other: &Cib) {
    let now = one.execution_date.unwrap_or(WallTime::from_micros(1_800_000_000_000_000));
    let scheduler = Scheduler::terse();
    assert_eq!(scheduler.decide(one, now), scheduler.decide(other, now), "{name}");
}

#[test]
fn xml_that_is_written_is_read_as_the_same() {
    for (name, cib) in all() {
        let written = cib.to_xml();
        let (again, notes) = Cib::parse(&written).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bad: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert!(bad.iter().all(|note| note.contains("is missing")), "{name}: {bad:#?}");
        let mut expected = cib.clone();
        expected.validate_with = again.validate_with.clone();
        expected.admin_epoch = again.admin_epoch;
        expected.epoch = again.epoch;
        expected.num_updates = again.num_updates;
        assert_eq!(content(&expected), content(&again), "{name}");
        assert_eq!(again.to_xml(), written, "{name}");
        decides_the_same(&name, &cib, &again);
    }
}

#[test]
fn toml_and_json_that_are_written_are_read_as_the_same() {
    for (name, cib) in all() {
        let json = content(&cib);
        let (again, _) = Cib::from_json(&json).unwrap_or_else(|e| panic!("{name}: {e}\n{json}"));
        decides_the_same(&name, &cib, &again);
        let settled = content(&again);
        let (twice, _) = Cib::from_json(&settled).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(settled, content(&twice), "{name}");
        let toml = cib.to_toml().unwrap_or_else(|e| panic!("{name}: {e}"));
        let (again, _) = Cib::from_toml(&toml).unwrap_or_else(|e| panic!("{name}: {e}\n{toml}"));
        decides_the_same(&name, &cib, &again);
        let (twice, _) = Cib::from_toml(&again.to_toml().expect("TOML")).expect("TOML");
        assert_eq!(content(&again), content(&twice), "{name}");
    }
}

/// Debian's checker accepts what is written of what it accepts.
#[test]
fn crm_verify_accepts_what_is_written() {
    let verify = |path: &Path| -> Option<bool> {
        let done = Command::new("crm_verify").arg("-x").arg(path).output().ok()?;
        Some(done.status.success())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let written = folder.path().join("cib.xml");
    let mut accepted = 0;
    for (name, cib) in all() {
        fs::write(&written, cib.to_xml()).expect("written");
        let Some(is_accepted) = verify(&written) else {
            assert!(std::env::var_os("HA_REQUIRE_ALL").is_none(), "crm_verify is not installed");
            println!("skipped: crm_verify is not installed");
            return;
        };
        if is_accepted {
            accepted += 1;
            continue;
        }
        let original = Path::new(CORPUS).join(format!("{name}.xml"));
        assert_eq!(verify(&original), Some(false), "{name} is accepted as it was");
    }
    assert!(accepted > 0, "not even the showcase");
}

#[test]
fn mistakes_in_toml_are_told_with_their_place() {
    let refused = |text: &str| Cib::from_toml(text).expect_err("refused").to_string();
    let said = refused("[[resources]]\nkind = \"primitive\"\nid = \"a\"\nclas = \"ocf\"\n");
    assert!(said.contains("line 1") && said.contains("unknown field `clas`"), "{said}");
    let said = refused("nodes = [{ id = \"1\", type = \"membre\" }]");
    assert!(said.contains("\"membre\": allowed is member, ping, remote"), "{said}");
    let said = refused("[[constraints.location]]\nid = \"l\"\nscore = \"INFINTY\"\n");
    assert!(said.contains("cannot read \"INFINTY\": allowed is a whole number"), "{said}");
    let rule = "rules = [{ conditions = [{ expresion = { attribute = \"x\" } }] }]";
    let said = refused(&format!("[[constraints.location]]\nid = \"l\"\nrsc = \"a\"\n{rule}\n"));
    assert!(said.contains("unknown field `expresion`"), "{said}");
    let said = refused("[options]\nx = \"a\\u0001b\"\n");
    assert!(said.contains("characters that XML cannot have"), "{said}");
    let said = Cib::from_json("{\"node\": []}").expect_err("refused").to_string();
    assert!(said.contains("unknown field `node`") && said.contains("line 1"), "{said}");
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_paths() {
    let text = r#"
        nodes = [{ id = "1", uname = "n1" }]
        [options]
        no-quorum-polcy = "stop"
        [[resources]]
        kind = "primitive"
        id = "db"
        class = "ocf"
        provider = "heartbeat"
        type = "pgsql"
        operations = [{ name = "monitor", interval = "10s", timeout = 0 }]
        [[constraints.location]]
        id = "l"
        rsc = "dp"
        node = "n1"
        score = 5
    "#;
    let (cib, notes) = Cib::from_toml(text).expect("it can be read");
    let findings = ha_crm::check::check(&cib, &notes);
    let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
    for part in [
        "warning: crm_config/cluster_property_set[@id='cib-bootstrap-options']/nvpair",
        "resources/primitive[@id='db']/operations/op[@id='db-monitor-10s']/@timeout",
        "error: constraints/rsc_location[@id='l']/@rsc",
    ] {
        assert!(said.iter().any(|one| one.contains(part)), "{part:?} is not in {said:#?}");
    }
}

#[test]
fn texts_are_escaped() {
    let text = "[options]\nodd = \"<&\\\"'>\\t\\n\\r ]]> é \\U0001F600\"\n";
    let (cib, _) = Cib::from_toml(text).expect("TOML");
    let (again, _) = Cib::parse(&cib.to_xml()).expect("XML");
    assert_eq!(again.options[0].get("odd"), Some("<&\"'>\t\n\r ]]> é \u{1f600}"));
}
