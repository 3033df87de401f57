//! From a configuration's words to an agent that works.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;

use ha_agents::native::Dummy;
use ha_agents::registry::{Definition, Parameters, Registry};
use ha_agents::{Check, Outcome, ResourceAgent};
use ha_core::config::ConfigError;
use ha_core::id::ResourceName;

use super::{block_on, context, executable, line_in, runs};

fn given<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn r1() -> ResourceName {
    "r1".parse().expect("a name")
}

/// The problems that a check tells, by name.
async fn problems(registry: &Registry, agent: &str, pairs: &BTreeMap<String, String>) -> String {
    let error = registry.check(&r1(), agent, pairs).await.expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("r1") && text.contains(agent), "{text}");
    assert_eq!(error.outcome(), Outcome::NotConfigured);
    let wrong = error.source().and_then(|source| source.downcast_ref::<ConfigError>());
    let problems = wrong.expect("parameters are wrong").problems();
    let names: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    names.join(" ")
}

#[test]
fn a_process_is_made_from_its_parameters() {
    block_on(async {
        let registry = Registry::new();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("told");
        let script = "sh -c 'echo $WORD $PWD $$ > $FILE.new; mv $FILE.new $FILE; exec sleep 1000'";
        let file_text = file.display().to_string();
        let (program, args) = script.split_once(' ').expect("two parts");
        let parameters = given([
            ("program", program),
            ("args", args),
            ("directory", "/usr"),
            ("env.WORD", "two words"),
            ("env.FILE", &file_text),
            ("stop_grace", "500ms"),
        ]);
        let doubts = registry.check(&r1(), "native:process", &parameters).await.expect("right");
        assert!(doubts.is_empty() && !file.exists(), "a check starts nothing");
        let agent = registry.resolve(&r1(), "native:process", &parameters).await.expect("made");
        agent.start(&context()).await.expect("an answer");
        let told = line_in(&file).await;
        let pid = told.strip_prefix("two words /usr ").expect("as told");
        assert!(runs(pid));
        agent.stop(&context()).await.expect("an answer");
        assert!(!runs(pid));
    });
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    block_on(async {
        let registry = Registry::new();
        let wrong = given([
            ("args", "it's"),
            ("directory", "here"),
            ("stop_grace", "soon"),
            ("programme", "sleep"),
        ]);
        let told = problems(&registry, "native:process", &wrong).await;
        assert_eq!(told, "program args directory stop_grace programme");
        let wrong = given([("directory", "/"), ("kill_holders", "perhaps"), ("device", "x")]);
        let told = problems(&registry, "native:mount", &wrong).await;
        assert_eq!(told, "source directory kill_holders device");
        assert_eq!(problems(&registry, "native:dummy", &given([("a", "b")])).await, "a");
        // What may be a secret is not told.
        let wrong = given([("program", "x"), ("args", "-p 's3cret"), ("env.PASS=", "s3cret")]);
        assert_eq!(problems(&registry, "native:process", &wrong).await, "args env.PASS=");
        let error = registry.check(&r1(), "native:process", &wrong).await.expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        for agent in ["native:proces", "lbs:apache2", "ocf", "ocf:heartbeat"] {
            let error = registry.resolve(&r1(), agent, &given([])).await.expect_err("unknown");
            let text = error.to_string();
            for name in ["native:process, ", "lsb:NAME, ", "ocf:PROVIDER:TYPE"] {
                assert!(text.contains(name), "{name}: {text}");
            }
            assert_eq!(error.outcome(), Outcome::NotInstalled);
        }
    });
}

#[test]
fn users_agents_stand_beside_ours() {
    block_on(async {
        let mut registry = Registry::default();
        registry.register("native:address", |resource, given| {
            let mut parameters = Parameters::new(given);
            parameters.required("ip", "an address");
            if resource.as_str() == "r1" {
                parameters.refuse("ip", "another resource");
            }
            parameters.finish(Arc::new(Dummy::new()))
        });
        assert!(registry.names().any(|name| name == "native:address"));
        assert_eq!(problems(&registry, "native:address", &given([])).await, "ip ip");
        let r2 = "r2".parse().expect("a name");
        let parameters = given([("ip", "192.0.2.1")]);
        registry.resolve(&r2, "native:address", &parameters).await.expect("made");
    });
}

const SCRIPT: &str = r#"#!/bin/sh
case $1 in
meta-data) cat <<'END'
<resource-agent name="disk"><version>1.1</version><parameters>
<parameter name="device" required="1" unique="1"><content type="string"/></parameter>
<parameter name="bytes"><deprecated><replaced-with name="size"/></deprecated>
<content type="string"/></parameter>
<parameter name="size"><content type="integer"/></parameter>
<parameter name="force"><content type="boolean" default="no"/></parameter>
</parameters><actions><action name="start"/></actions></resource-agent>
END
echo >> "${0%/*}/asked";;
start) echo "$OCF_RESKEY_device $OCF_RESKEY_CRM_meta_fencing_token" > "${0%/*}/started";;
monitor) exit 7;;
esac
"#;

#[test]
fn scripts_are_found_checked_and_told_their_token() {
    block_on(async {
        let root = tempfile::tempdir().expect("a directory");
        let folder = root.path().join("resource.d/test");
        std::fs::create_dir_all(&folder).expect("made");
        executable(&folder.join("disk"), SCRIPT);
        let mut registry = Registry::new();
        registry.ocf_root(root.path());

        let wrong = given([("sise", "10"), ("size", "x")]);
        assert_eq!(problems(&registry, "ocf:test:disk", &wrong).await, "size device sise");
        let right = given([("device", "/dev/x"), ("size", "1"), ("bytes", "8"), ("trace_ra", "1")]);
        let doubts = registry.check(&r1(), "ocf:test:disk", &right).await.expect("right");
        assert_eq!(doubts, ["parameter bytes is deprecated; use size instead"]);
        let agent = registry.resolve(&r1(), "ocf:test:disk", &right).await.expect("made");
        let asked = std::fs::read_to_string(folder.join("asked")).expect("asked");
        assert_eq!(asked.lines().count(), 1, "asked once for all resources");

        let start = context().parameter("device", "/dev/x").meta("fencing-token", "7");
        agent.start(&start).await.expect("an answer");
        assert_eq!(line_in(&folder.join("started")).await, "/dev/x 7");
        let report = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotRunning);

        let missing = registry.resolve(&r1(), "ocf:test:tape", &given([])).await;
        let missing = missing.expect_err("not installed");
        assert_eq!(missing.outcome(), Outcome::NotInstalled);
        let text = format!("{missing}: {}", missing.source().expect("a cause"));
        assert!(text.contains("r1") && text.contains("ocf:test:tape"), "{text}");
        assert!(text.contains("is not there; install it"), "{text}");
    });
}

/// Else a node that is told wrong parameters of a resource that runs takes it for stopped.
#[test]
fn scripts_and_units_are_looked_at_and_stopped_with_wrong_parameters_too() {
    block_on(async {
        let root = tempfile::tempdir().expect("a directory");
        let folder = root.path().join("resource.d/test");
        std::fs::create_dir_all(&folder).expect("made");
        executable(&folder.join("disk"), SCRIPT);
        let mut registry = Registry::new();
        registry.ocf_root(root.path());
        let wrong = given([("sise", "10"), ("size", "x")]);
        problems(&registry, "ocf:test:disk", &wrong).await;
        let agent = registry.resolve(&r1(), "ocf:test:disk", &wrong).await.expect("found");
        let mut context = context();
        context.parameters = wrong;
        let report = agent.monitor(&context, Check::PROBE).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotRunning, "the script itself was asked");
        let report = agent.stop(&context).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::Success);
        let report = agent.start(&context).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotConfigured);
        assert!(!folder.join("started").exists(), "nothing was started with them");

        let port = given([("port", "80")]);
        assert_eq!(problems(&registry, "systemd:web", &port).await, "port");
        registry.resolve(&r1(), "systemd:web", &port).await.expect("found");
    });
}

/// Metadata says boolean of what has more than two values.
#[test]
fn what_is_no_boolean_is_a_doubt_and_no_error() {
    block_on(async {
        let root = tempfile::tempdir().expect("a directory");
        let folder = root.path().join("resource.d/test");
        std::fs::create_dir_all(&folder).expect("made");
        executable(&folder.join("disk"), SCRIPT);
        let mut registry = Registry::new();
        registry.ocf_root(root.path());
        for (force, doubts) in [("safe", 1), ("On", 1), ("on", 0), ("no", 0), ("", 0)] {
            let parameters = given([("device", "/dev/x"), ("force", force)]);
            let told = registry.check(&r1(), "ocf:test:disk", &parameters).await.expect("allowed");
            assert_eq!(told.len(), doubts, "{force}: {told:?}");
            assert!(told.iter().all(|doubt| doubt.contains("parameter force")), "{told:?}");
        }
    });
}

/// Only an agent that is not there has not started anything.
#[test]
fn wrong_parameters_are_not_absence() {
    block_on(async {
        let root = tempfile::tempdir().expect("a directory");
        let mut registry = Registry::new();
        registry.ocf_root(root.path());
        for (agent, absent) in [
            ("native:proces", true),
            ("native:process", false),
            ("native:mount", false),
            ("lsb:none-of-that-name", true),
            ("lsb:../x", true),
            ("ocf:test:disk", true),
            ("ocf:../x:disk", true),
        ] {
            let wrong = given([("odd", "1")]);
            let error = registry.resolve(&r1(), agent, &wrong).await.expect_err("no agent");
            assert_eq!(error.is_absent(), absent, "{error}");
        }
        // One is there, but nobody knows what it does.
        let folder = root.path().join("resource.d/test");
        std::fs::create_dir_all(&folder).expect("made");
        executable(&folder.join("disk"), "#!/bin/sh\nexit 1\n");
        let error = registry.resolve(&r1(), "ocf:test:disk", &given([])).await.expect_err("broken");
        assert!(!error.is_absent(), "{error}");
    });
}

#[test]
fn resources_of_one_agent_differ_where_they_must() {
    block_on(async {
        let root = tempfile::tempdir().expect("a directory");
        let folder = root.path().join("resource.d/test");
        std::fs::create_dir_all(&folder).expect("made");
        executable(&folder.join("disk"), SCRIPT);
        let mut registry = Registry::new();
        registry.ocf_root(root.path());
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse().expect("a name"));
        let (one, other) = (given([("device", "/dev/x")]), given([("device", "/dev/y")]));
        let nothing = given([]);
        let disk = "ocf:test:disk";
        let definition = |resource, agent, parameters| Definition { resource, agent, parameters };
        let fine = [definition(&a, disk, &one), definition(&b, disk, &other)];
        assert_eq!(registry.check_all(&fine).await.expect("right"), Vec::<String>::new());
        let wrong = [
            definition(&a, disk, &one),
            definition(&b, disk, &one),
            definition(&c, "native:process", &nothing),
        ];
        let errors = registry.check_all(&wrong).await.expect_err("wrong");
        let told: Vec<String> = errors
            .iter()
            .map(|error| format!("{error}: {}", error.source().expect("a cause")))
            .collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("for c") && told[0].contains("program"), "{told:?}");
        assert!(told[1].contains("device: (the same in a and b)"), "{told:?}");
    });
}
