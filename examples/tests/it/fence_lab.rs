//! The laboratory's fence agent, asked as a cluster asks Debian's.

use std::process::Command;
use std::time::Duration;

use ha_agents::fence::{FenceAgent, FenceCommand, FenceCommandBuilder, FenceError, Power};
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use ha_lab::switch::{PowerSwitch, SwitchFailure};
use ha_lab::{Host, Lab};
use tempfile::TempDir;

use crate::rig::PATIENCE;

struct Stage {
    _lab: Lab,
    a: Host,
    switch: PowerSwitch,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new().expect("a lab");
        let a = lab.host("a").expect("a host");
        let folder = tempfile::tempdir().expect("a folder");
        let switch = PowerSwitch::new(&lab, folder.path().join("switch")).expect("a switch");
        switch.plug(&a, |a| drop(daemon(a)));
        Self { _lab: lab, a, switch, folder }
    }

    fn agent(&self) -> FenceCommandBuilder {
        let socket = self.folder.path().join("switch").display().to_string();
        FenceCommand::builder("switch", env!("CARGO_BIN_EXE_fence_lab"))
            .parameter("socket", socket)
            .timeout(PATIENCE)
    }
}

fn daemon(host: &Host) -> ha_lab::Process {
    host.spawn(Command::new("sleep").arg("1000")).expect("started")
}

fn run(test: impl AsyncFnOnce(Stage, NodeName)) {
    ha_lab::run_test(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let n1 = NodeName::new("n1").expect("a name");
        runtime.expect("a runtime").block_on(test(Stage::new(), n1));
    });
}

#[test]
fn a_host_is_fenced_by_its_fence_agent() {
    run(async |stage, n1| {
        let agent = stage.agent().plug(n1.clone(), "a").build().expect("valid");
        let process = daemon(&stage.a);
        agent.monitor().await.expect("the switch answers");
        assert_eq!(agent.list().await.expect("told"), std::slice::from_ref(&n1));
        assert_eq!(agent.status(&n1).await.expect("told"), Power::On);
        agent.off(&n1).await.expect("confirmed");
        assert!(process.status().is_some() && stage.a.is_off(), "dead when confirmed");
        assert_eq!(agent.status(&n1).await.expect("told"), Power::Off);
        agent.on(&n1).await.expect("on");
        assert_eq!(stage.a.processes().len(), 1, "its programs were started again");
        agent.reboot(&n1).await.expect("confirmed");
        assert_eq!(stage.a.processes().len(), 1);
        let metadata = agent.metadata().await.expect("metadata");
        assert!(metadata.knows("off") && metadata.parameter("socket").is_some());
    });
}

#[test]
fn a_slow_switch_is_no_answer_and_a_refusal_a_failure() {
    run(async |stage, n1| {
        let agent = |limit| stage.agent().plug(n1.clone(), "a").timeout(limit).build();
        stage.switch.fail(SwitchFailure::Refuses);
        let error = agent(PATIENCE).expect("valid").off(&n1).await.expect_err("refused");
        assert!(matches!(error, FenceError::Failed { .. }), "{error}");
        assert!(error.to_string().contains("told to refuse"), "{error}");
        stage.switch.mend();
        stage.switch.delay(Duration::from_hours(1));
        let limit = Duration::from_millis(300);
        let error = agent(limit).expect("valid").off(&n1).await.expect_err("too slow");
        assert!(matches!(error, FenceError::NoAnswer { .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(!stage.a.is_off());
        stage.switch.delay(Duration::ZERO);
        let nobody = NodeName::new("n9").expect("a name");
        let error = agent(PATIENCE).expect("valid").off(&nobody).await.expect_err("no plug");
        assert!(error.to_string().contains("no plug of that name"), "{error}");
        let error = agent(PATIENCE).expect("valid").status(&nobody).await.expect_err("no plug");
        assert!(matches!(error, FenceError::Failed { .. }), "not taken for off: {error}");
    });
}

/// The agent's own time limit, before the caller's.
#[test]
fn a_hanging_switch_ends_the_agent_by_itself() {
    run(async |stage, n1| {
        stage.switch.fail(SwitchFailure::Hangs);
        let agent = stage.agent().plug(n1.clone(), "a").parameter("timeout", "1").build();
        let error = agent.expect("valid").off(&n1).await.expect_err("no answer");
        assert!(error.to_string().contains("cannot tell whether off a was done"), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
    });
}
