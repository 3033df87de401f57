//! Agents that are tried out: those that keep the rules, and those that break them.

use ha_agents::native::Dummy;
use ha_agents::ocf::Ocf;
use ha_agents::trial::{self, Gravity, Trial};
use ha_agents::{Check, Outcome, ResourceAgent};

use super::ocf_real::{load, with};
use super::{block_on, context, executable};

/// What was found of this gravity, by what it is about.
fn about(trial: &Trial, gravity: Gravity) -> Vec<&str> {
    let of_it = trial.findings.iter().filter(|finding| finding.gravity == gravity);
    of_it.map(|finding| finding.about.as_str()).collect()
}

#[test]
fn agents_that_keep_the_rules_pass_and_are_left_stopped() {
    block_on(async {
        let dummy = Dummy::new();
        let trial = trial::run(&dummy, &context()).await;
        assert!(trial.is_passed(), "{:?}", trial.findings);
        let probe = dummy.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(probe.outcome, Outcome::NotRunning);
        for (provider, kind) in [("heartbeat", "Dummy"), ("pacemaker", "Stateful")] {
            let Some(agent) = load(provider, kind).await else { return };
            let dir = tempfile::tempdir().expect("a directory");
            let state = dir.path().join("state").display().to_string();
            let trial = trial::run_script(&agent, &with(&[("state", &state)])).await;
            assert!(trial.is_passed(), "{kind}: {:?}", trial.findings);
            assert!(!std::path::Path::new(&state).exists(), "{kind}");
        }
    });
}

/// It breaks one rule in each action.
const BROKEN: &str = r#"#!/bin/sh
state=${0%/*}/state
case $1 in
meta-data) cat <<END
<resource-agent name="broken"><version>1.1</version><parameters>
<parameter name="port" required="1"><shortdesc>x</shortdesc><content type="integer"/></parameter>
<parameter name="wait"><content type="integer" default="5s"/></parameter>
</parameters><actions><action name="start" timeout="20"/><action name="stop"/>
<action name="monitor" timeout="20"/><action name="meta-data" timeout="5"/>
<action name="validate-all" timeout="5"/><action name="promote" timeout="5"/></actions>
</resource-agent>
END
;;
validate-all) exit 0;;
start) [ ! -e "$state" ] || { echo "ocf-exit-reason:it runs already" >&2; exit 1; }; : > "$state";;
monitor) [ -e "$state" ] && exit 0; [ -e "$state.old" ] && exit 1; exit 7;;
stop) [ -n "$OCF_RESKEY_port" ] || exit 6; rm -f "$state"; : > "$state.old";;
*) exit 0;;
esac
"#;

#[test]
fn each_broken_rule_is_told_with_its_remedy() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("resource.d/test");
        std::fs::create_dir_all(&folder).expect("made");
        executable(&folder.join("broken"), BROKEN);
        let agent = Ocf::builder("test", "broken").root(dir.path()).load().await.expect("one");
        let context = context().parameter("port", "80");
        let trial = trial::run_script(&agent, &context).await;
        let errors = about(&trial, Gravity::Error);
        let expected = ["promote", "start while started", "probe after stop", "stop without port"];
        assert_eq!(errors, expected, "{:?}", trial.findings);
        let warnings = about(&trial, Gravity::Warning);
        for expected in ["stop", "parameter wait", "no-such-action", "validate without port"] {
            assert!(warnings.contains(&expected), "{expected}: {:?}", trial.findings);
        }
        assert_eq!(about(&trial, Gravity::Note).last(), Some(&"validate with a wrong port"));
        let twice = trial.findings.iter().find(|it| it.about == "start while started");
        let twice = twice.expect("found");
        assert!(twice.found.contains("it runs already"), "{twice:?}");
        assert!(twice.remedy.contains("return 0 for what runs"), "{twice:?}");
        let step = trial.steps.iter().find(|it| it.what == "probe after stop").expect("tried");
        assert!(!step.is_right && step.code == Some(1), "{step:?}");
    });
}

/// Debian's own agent says that it runs where its program is not even installed.
#[test]
fn a_real_agent_that_lies_is_found_out() {
    if ha_lab::find_program("ipsec").is_some() {
        return;
    }
    block_on(async {
        let Some(agent) = load("heartbeat", "ipsec").await else { return };
        let trial =
            trial::run_script(&agent, &with(&[("tunnel", "t1"), ("vip", "192.0.2.1")])).await;
        assert!(!trial.is_passed());
        assert!(about(&trial, Gravity::Error).contains(&"probe while stopped"), "{trial:?}");
    });
}
