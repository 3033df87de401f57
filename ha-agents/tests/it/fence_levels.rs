//! Fencing levels with real agents.

use std::sync::Arc;
use std::time::Duration;

use ha_agents::fence::runner::{FencerService, MissingAgents, Outcome, Request};
use ha_agents::fence::topology::{DeviceRules, Target, Topology};
use ha_agents::fence::{
    Evidence, Failure, FenceAction, FenceAgent, FenceCommand, Power, PowerSwitch,
};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::{NodeName, OpId};

use super::{block_on, executable, line_in, runs};

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn levels() -> Topology {
    let builder = Topology::builder()
        .device("first", DeviceRules::new().attempts(1))
        .device("second", DeviceRules::new())
        .level(Target::Node(node("n1")), 1, ["first"])
        .level(Target::Node(node("n1")), 2, ["second"]);
    builder.build().expect("valid")
}

/// The real `fence_dummy` of Debian's package fence-agents: one that is told to fail, then one
/// that works and is seen to be off.
#[test]
fn the_real_fence_dummy_fails_at_level_1_and_level_2_fences() {
    let Some(program) = ha_lab::find_program("fence_dummy") else {
        return ha_lab::skip("fence_dummy is not here; install it (Debian: fence-agents)");
    };
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("status");
        std::fs::write(&file, "on").expect("a state");
        let dummy = |name: &str| {
            FenceCommand::builder(name, program.clone())
                .parameter("status_file", file.display().to_string())
                .parameter("power_timeout", "1")
        };
        let first = dummy("first").parameter("type", "fail").build().expect("valid");
        let second = dummy("second").build().expect("valid");
        assert_eq!(second.evidence(), Evidence::Acknowledged, "it has no power to look at");
        let agents: [Arc<dyn FenceAgent>; 2] = [Arc::new(first), Arc::new(second)];
        let service = FencerService::new(levels(), agents, 1).expect("complete");
        let fencer = service.handle();
        let task = service.spawn();
        let request = Request::new(OpId::FIRST, node("n1"), FenceAction::Off);
        let report = fencer.fence(request).await.expect("an answer");
        let (evidence, devices) = (Evidence::VerifiedOff, vec!["second".to_owned()]);
        assert_eq!(report.outcome, Outcome::Done { evidence, devices }, "{report:?}");
        let told: Vec<_> = report
            .steps
            .iter()
            .map(|step| (step.level, step.device.as_str(), step.ask, step.result.is_ok()))
            .collect();
        assert_eq!(
            told,
            [
                (1, "first", "off", false),
                (1, "first", "status", true),
                (2, "second", "off", true),
                (2, "second", "status", true)
            ]
        );
        assert_eq!(fencer.history().await.expect("an answer"), [report]);
        task.stop().await.expect("no panic").expect("no error");
    });
}

#[test]
fn a_cancelled_agent_is_killed_and_a_stop_waits_for_what_is_under_way() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (script, child) = (dir.path().join("fence_hang"), dir.path().join("child"));
        executable(&script, &format!("#!/bin/sh\necho $$ > {}\nsleep 1000\n", child.display()));
        let hang = FenceCommand::builder("first", &script).build().expect("valid");
        let switch = PowerSwitch::new("second", [node("n1"), node("n2")]);
        let switch = Arc::new(switch);
        let agents: [Arc<dyn FenceAgent>; 2] = [Arc::new(hang), Arc::<PowerSwitch>::clone(&switch)];
        let service = FencerService::new(levels(), agents, 1).expect("complete");
        let fencer = service.handle();
        let task = service.spawn();
        let request = Request::new(OpId::FIRST, node("n1"), FenceAction::Off);
        let (report, child) = tokio::join!(fencer.fence(request), async {
            let child = line_in(&child).await;
            fencer.cancel(OpId::FIRST).await.expect("it runs");
            child
        });
        let report = report.expect("an answer");
        assert_eq!(report.outcome, Outcome::Cancelled { effect: Effect::Unknown });
        while runs(&child) {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
        assert_eq!(switch.status(&node("n1")).await.expect("an answer"), Power::On);
        task.stop().await.expect("no panic").expect("no error");
        let request = Request::new(OpId::FIRST, node("n1"), FenceAction::Off);
        fencer.fence(request).await.expect_err("it has ended");
    });
}

/// Whether an order whose answer is lost was carried out is what the status says.
#[test]
fn a_lost_answer_is_a_fencing_if_the_node_is_off() {
    block_on(async {
        let n1 = node("n1");
        let switch = Arc::new(PowerSwitch::new("pdu", [n1.clone()]));
        let topology = Topology::builder().device("pdu", DeviceRules::new()).build();
        let agents: [Arc<dyn FenceAgent>; 1] = [Arc::<PowerSwitch>::clone(&switch)];
        let service = FencerService::new(topology.expect("valid"), agents, 1).expect("complete");
        let fencer = service.handle();
        let task = service.spawn();
        let fence = |id| fencer.fence(Request::new(OpId::new(id), node("n1"), FenceAction::Off));
        for (id, failure) in [(1, Failure::QuestionLost), (2, Failure::Refuses)] {
            switch.fail(&n1, failure);
            let report = fence(id).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::Failed { effect: Effect::Unknown }, "{failure:?}");
        }
        switch.fail(&n1, Failure::AnswerLost);
        let report = fence(3).await.expect("an answer");
        let (evidence, devices) = (Evidence::VerifiedOff, vec!["pdu".to_owned()]);
        assert_eq!(report.outcome, Outcome::Done { evidence, devices });
        task.stop().await.expect("no panic").expect("no error");
    });
}

#[test]
fn devices_without_an_agent_are_named_all_at_once() {
    block_on(async {
        let error = FencerService::new(levels(), [], 1).expect_err("two are missing");
        let MissingAgents::Devices(devices) = error else { unreachable!("{error}") };
        assert_eq!(devices, ["first", "second"]);
    });
}

#[test]
fn an_agent_is_asked_by_its_own_names_of_actions() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (script, told) = (dir.path().join("fence_named"), dir.path().join("told"));
        executable(&script, &format!("#!/bin/sh\nhead -n 1 >> {}\n", told.display()));
        let agent = FenceCommand::builder("named", &script)
            .action_name(FenceAction::Reboot, "off")
            .action_name(FenceAction::On, "enable")
            .build()
            .expect("valid");
        let n1 = node("n1");
        for action in [FenceAction::Reboot, FenceAction::On, FenceAction::Off] {
            let evidence = agent.perform(&n1, action).await.expect("done");
            assert_eq!(evidence, Evidence::VerifiedOff, "as the fence agent API has it");
        }
        let told = std::fs::read_to_string(told).expect("what it was told");
        assert_eq!(told, "action=off\naction=enable\naction=off\n");
        let error = FenceCommand::builder("named", &script)
            .action_name(FenceAction::Off, "off\nport=other")
            .build()
            .expect_err("two lines");
        assert!(error.to_string().contains("an action's name of one line"), "{error}");
    });
}
