//! Fencing by a switch in memory and by real programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_agents::fence::{
    Failure, FenceAction, FenceAgent, FenceCommand, FenceError, Power, PowerSwitch,
};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::NodeName;

use super::{block_on, executable, line_in, runs};

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

/// A fence agent as a script: knows on, off, status, list, monitor; power is a file.
fn script(dir: &Path, extra: &str) -> PathBuf {
    let path = dir.join("fence_test");
    let text = format!(
        r#"#!/bin/sh
while read -r line; do
    echo "$line" >> {dir}/input
    case "$line" in
        action=*) action=${{line#action=}} ;;
        port=*) port=${{line#port=}} ;;
    esac
done
echo end >> {dir}/input
{extra}
case "$action" in
    off|on) echo "$action" > "{dir}/power-$port" ;;
    status) [ "$(cat "{dir}/power-$port")" = on ] || exit 2 ;;
    list) printf 'plug7,alias\nn2\n!bad,\n' ;;
    monitor) ;;
    *) echo "unknown action $action" >&2; exit 1 ;;
esac
"#,
        dir = dir.display(),
    );
    executable(&path, &text);
    path
}

#[test]
fn a_program_gets_its_parameters_on_stdin_and_answers_by_its_code() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let agent = FenceCommand::builder("pdu", script(dir.path(), ""))
            .parameter("password", "it's $(secret)")
            .plug(node("n1"), "plug7")
            .build()
            .expect("valid");
        assert!(!format!("{agent:?}").contains("secret"));
        agent.on(&node("n1")).await.expect("done");
        let input = fs::read_to_string(dir.path().join("input")).expect("what it was told");
        assert_eq!(input, "action=on\nport=plug7\npassword=it's $(secret)\nend\n");
        assert_eq!(agent.status(&node("n1")).await.expect("an answer"), Power::On);
        agent.off(&node("n1")).await.expect("done");
        assert_eq!(agent.status(&node("n1")).await.expect("an answer"), Power::Off);
        assert_eq!(agent.list().await.expect("an answer"), [node("n1"), node("n2")]);
        agent.monitor().await.expect("it answers");
        let error = agent.reboot(&node("n1")).await.expect_err("the script does not know it");
        assert!(error.to_string().contains("unknown action reboot"), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
    });
}

#[test]
fn an_interpreter_that_cannot_run_its_script_does_not_say_off() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let agent = |extra| FenceCommand::builder("pdu", script(dir.path(), extra)).build();
        // What a shell does with a script that it cannot read ends with 2 as well.
        let broken = agent("echo 'cannot open its library' >&2; exit 2").expect("valid");
        let error = broken.status(&node("n1")).await.expect_err("nothing is known");
        assert!(error.to_string().contains("cannot open its library"), "{error}");
        let chatty = agent("echo 'certificate expired' >&2; echo 'Status: OFF'; exit 2");
        let status = chatty.expect("valid").status(&node("n1")).await;
        assert_eq!(status.expect("it says off"), Power::Off);
        let brief = agent("exit 2").expect("valid");
        assert_eq!(brief.status(&node("n1")).await.expect("an answer"), Power::Off);
    });
}

#[test]
fn what_only_holds_others_back_fences_nothing() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fence_heuristics_ping");
        executable(&path, "#!/bin/sh\nexit 0\n");
        let agent = FenceCommand::builder("ping", path).build().expect("valid");
        for action in [FenceAction::Off, FenceAction::Reboot] {
            let error = agent.perform(&node("n1"), action).await.expect_err("it cannot");
            assert_eq!(error.effect(), Effect::None, "{error}");
            assert!(error.to_string().contains("fences nothing"), "{error}");
        }
    });
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children_and_the_effect_is_unknown() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let child = dir.path().join("child");
        let hang = format!("sleep 1000 & echo $! > {}; wait", child.display());
        // Long enough that the script has come to its hang, even on a busy machine.
        let agent = FenceCommand::builder("pdu", script(dir.path(), &hang))
            .timeout(Duration::from_secs(3))
            .build()
            .expect("valid");
        let n1 = node("n1");
        let (error, child) = tokio::join!(agent.off(&n1), line_in(&child));
        let error = error.expect_err("no answer");
        assert!(matches!(error, FenceError::NoAnswer { .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
        while runs(&child) {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
    });
}

#[test]
fn a_program_that_is_not_there_has_done_nothing() {
    block_on(async {
        let agent = FenceCommand::builder("pdu", "/no/such/agent").build().expect("valid");
        let error = agent.off(&node("n1")).await.expect_err("not there");
        assert_eq!(error.effect(), Effect::None, "{error}");
    });
}

#[test]
fn a_program_that_talks_without_end_or_does_not_listen_is_borne() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let talk = "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero";
        let agent = FenceCommand::builder("pdu", script(dir.path(), talk)).build().expect("valid");
        agent.off(&node("n1")).await.expect("done");
        let deaf = FenceCommand::builder("pdu", "true").build().expect("valid");
        deaf.off(&node("n1")).await.expect("done");
    });
}

#[test]
fn parameters_that_would_become_other_parameters_are_refused_all_at_once() {
    let error = FenceCommand::builder("pdu", "fence_test")
        .parameter("password", "x\naction=on")
        .parameter("action", "on")
        .parameter("a=b", "c")
        .plug(node("n1"), "1\nport=2")
        .timeout(Duration::ZERO)
        .build()
        .expect_err("five mistakes");
    assert_eq!(error.problems().len(), 5, "{error}");
    assert!(!error.to_string().contains("action=on"), "no values: they may be secrets");
}

#[test]
fn a_switch_in_memory_fails_as_told() {
    block_on(async {
        let n1 = node("n1");
        let switch: Box<dyn FenceAgent> = Box::new(PowerSwitch::new("pdu", [n1.clone()]));
        switch.reboot(&n1).await.expect("done");
        assert_eq!(switch.list().await.expect("an answer"), std::slice::from_ref(&n1));
        let unknown = switch.off(&node("n9")).await.expect_err("not on this switch");
        assert_eq!(unknown.effect(), Effect::None);

        let switch = PowerSwitch::new("pdu", [n1.clone()]);
        for (failure, power) in [
            (Failure::Refuses, Power::On),
            (Failure::QuestionLost, Power::On),
            (Failure::AnswerLost, Power::Off),
        ] {
            switch.fail(&n1, failure);
            let error = switch.off(&n1).await.expect_err("told to fail");
            assert_eq!(error.effect(), Effect::Unknown, "{failure:?}");
            assert_eq!(switch.status(&n1).await.expect("an answer"), power, "{failure:?}");
        }
        switch.mend(&n1);
        switch.on(&n1).await.expect("done");
        assert_eq!(switch.log(), [("off", n1.clone()), ("on", n1)]);
    });
}

/// The real `fence_dummy` of Debian's package fence-agents.
#[test]
fn the_real_fence_dummy_is_spoken_to() {
    let Some(program) = ha_lab::find_program("fence_dummy") else {
        return ha_lab::skip("fence_dummy is not here; install it (Debian: fence-agents)");
    };
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("status").display().to_string();
        let n1 = node("n1");
        let agent = FenceCommand::builder("dummy", program.clone())
            .parameter("status_file", &file)
            .build()
            .expect("valid");
        agent.monitor().await.expect("it answers");
        agent.on(&n1).await.expect("on");
        assert_eq!(agent.status(&n1).await.expect("an answer"), Power::On);
        agent.off(&n1).await.expect("off");
        assert_eq!(agent.status(&n1).await.expect("an answer"), Power::Off);
        agent.off(&n1).await.expect("off, though it was off already");
        agent.reboot(&n1).await.expect("rebooted");
        assert_eq!(agent.status(&n1).await.expect("an answer"), Power::On);
        let error = agent.list().await.expect_err("fence_dummy cannot list");
        assert_eq!(error.effect(), Effect::Unknown, "{error}");

        let metadata = agent.metadata().await.expect("metadata");
        assert_eq!(metadata.name, "fence_dummy");
        assert!(metadata.knows("off") && metadata.parameter("status_file").is_some());

        let fails = FenceCommand::builder("dummy", program)
            .parameter("status_file", &file)
            .parameter("type", "fail")
            .parameter("power_timeout", "1")
            .build()
            .expect("valid");
        let error = fails.off(&n1).await.expect_err("told to fail");
        assert!(matches!(error, FenceError::Failed { .. }), "{error}");
    });
}
