//! Processes, closures and dummies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ha_agents::native::{Closures, Dummy, Process};
use ha_agents::{AgentError, Check, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::role::Role;

use super::{block_on, context, line_in, runs};

fn shell(script: &str) -> Process {
    Process::new("/bin/sh").arg("-c").arg(script)
}

async fn outcome(agent: &dyn ResourceAgent) -> Outcome {
    agent.monitor(&context(), Check::STARTED).await.expect("an answer").outcome
}

#[test]
fn starting_what_runs_and_stopping_what_is_stopped_is_a_success() {
    block_on(async {
        let agent = Process::new("sleep").arg("1000");
        assert_eq!(outcome(&agent).await, Outcome::NotRunning);
        assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        agent.start(&context()).await.expect("an answer");
        let id = agent.id().await;
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        assert_eq!(agent.id().await, id, "not a second one");
        agent.stop(&context()).await.expect("an answer");
        assert!(!runs(&id.expect("it ran").to_string()));
    });
}

#[test]
fn a_process_that_died_is_seen_with_its_end_and_started_again() {
    block_on(async {
        let agent = shell("exit 3");
        agent.start(&context()).await.expect("an answer");
        let report = loop {
            let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
            if report.outcome != Outcome::Success {
                break report;
            }
            pause(Duration::from_millis(2)).await.expect("a timer");
        };
        assert_eq!(report.outcome, Outcome::NotRunning);
        assert!(report.reason.contains("exit status: 3"), "{}", report.reason);
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
    });
}

#[test]
fn a_stop_ends_the_whole_group_also_one_that_ignores_sigterm() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (child, ready) = (dir.path().join("child"), dir.path().join("ready"));
        let agent = shell(
            "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > $CHILD; echo > $READY; wait; wait",
        )
        .env("CHILD", &child)
        .env("READY", &ready)
        .stop_grace(Duration::from_millis(50));
        agent.start(&context()).await.expect("an answer");
        line_in(&ready).await;
        let child = line_in(&child).await;
        let leader = agent.id().await.expect("it runs").to_string();
        assert!(runs(&child) && runs(&leader));
        assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        assert!(!runs(&leader) && !runs(&child), "left something behind");
        assert!(!std::path::Path::new(&format!("/proc/{leader}")).exists(), "left a zombie");
    });
}

#[test]
fn a_stop_lets_the_process_end_by_itself_first() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (ready, goodbye) = (dir.path().join("ready"), dir.path().join("goodbye"));
        let agent = shell(
            "trap 'echo done > $GOODBYE; exit' TERM; echo > $READY; while :; do sleep 0.01; done",
        )
        .env("READY", &ready)
        .env("GOODBYE", &goodbye);
        agent.start(&context()).await.expect("an answer");
        line_in(&ready).await;
        agent.stop(&context()).await.expect("an answer");
        assert_eq!(std::fs::read_to_string(goodbye).expect("it said goodbye"), "done\n");
    });
}

#[test]
fn dropping_the_agent_kills_the_group() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("child");
        let agent = shell("sleep 1000 & echo $! > $CHILD; wait").env("CHILD", &file);
        agent.start(&context()).await.expect("an answer");
        let child = line_in(&file).await;
        drop(agent);
        while runs(&child) {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
    });
}

#[test]
fn a_start_waits_until_it_serves() {
    block_on(async {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let agent = Process::new("sleep").arg("1000").ready_when(move || {
            let times = count.fetch_add(1, Ordering::SeqCst);
            async move { times >= 3 }
        });
        assert_eq!(agent.start(&context()).await.expect("an answer"), Report::success());
        assert!(asked.load(Ordering::SeqCst) >= 4);
    });
}

#[test]
fn a_start_that_never_serves_is_a_failure_if_it_ends_and_unknown_if_it_goes_on() {
    block_on(async {
        let ends = shell("exit 1").ready_when(|| async { false });
        let report = ends.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);

        let hangs = Process::new("sleep").arg("1000").ready_when(|| async { false });
        let error = hangs.start(&context().timeout(Duration::from_millis(30))).await;
        let error = error.expect_err("no answer");
        assert!(matches!(error, AgentError::TimedOut { .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
        assert_eq!(outcome(&hangs).await, Outcome::GenericError, "it runs but does not serve");
        hangs.stop(&context()).await.expect("what a start left, a stop finds");
        assert_eq!(outcome(&hangs).await, Outcome::NotRunning);
    });
}

#[test]
fn what_cannot_be_executed_is_not_installed_or_not_permitted() {
    block_on(async {
        let plain = tempfile::NamedTempFile::new().expect("a file that is not executable");
        for (program, expected) in [
            ("/no/such/program".as_ref(), Outcome::NotInstalled),
            (plain.path(), Outcome::NoPermission),
        ] {
            let report = Process::new(program).start(&context()).await.expect("an answer");
            assert_eq!(report.outcome, expected, "{}", report.reason);
        }
    });
}

#[test]
fn the_environment_is_clean() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("env");
        let agent = shell("env > $FILE.new; mv $FILE.new $FILE; sleep 1000").env("FILE", &file);
        agent.start(&context()).await.expect("an answer");
        let env = line_in(&file).await;
        let allowed = ["PATH=", "FILE=", "HA_RESOURCE=r1", "PWD=", "_=", "SHLVL="];
        for line in env.lines() {
            assert!(allowed.iter().any(|name| line.starts_with(name)), "{line} came through");
        }
    });
}

#[test]
fn closures_that_take_too_long_are_unknown() {
    block_on(async {
        let agent = Closures::new(
            "job",
            |_| std::future::pending(),
            |_| async { Report::success() },
            |_, check: Check| async move { Report::new(Outcome::Degraded, format!("{check:?}")) },
        );
        let error = agent.start(&context().timeout(Duration::from_millis(5))).await;
        assert_eq!(error.expect_err("no answer").effect(), Effect::Unknown);
        assert_eq!(agent.stop(&context()).await.expect("an answer"), Report::success());
        assert_eq!(outcome(&agent).await, Outcome::Degraded);
        assert_eq!(agent.metadata().name, "job");
        let error = agent.promote(&context()).await.expect_err("unsupported");
        assert_eq!(error.effect(), Effect::None);
    });
}

#[test]
fn a_dummy_goes_through_all_roles_and_fails_when_told() {
    block_on(async {
        let dummy = Arc::new(Dummy::new());
        let agent: Box<dyn ResourceAgent> = Box::new(Arc::clone(&dummy));
        let early = agent.promote(&context()).await.expect("an answer");
        assert_eq!(early.outcome, Outcome::NotRunning);
        agent.start(&context()).await.expect("an answer");
        agent.promote(&context()).await.expect("an answer");
        assert_eq!(outcome(&agent).await, Outcome::RunningPromoted);
        agent.start(&context()).await.expect("starting what runs changes nothing");
        assert_eq!(dummy.role(), Role::Promoted);
        agent.demote(&context()).await.expect("an answer");
        assert_eq!(dummy.role(), Role::Unpromoted);
        dummy.fail_next("stop", Outcome::GenericError);
        let report = agent.stop(&context()).await.expect("an answer");
        assert_eq!((report.outcome, dummy.role()), (Outcome::GenericError, Role::Unpromoted));
        agent.stop(&context()).await.expect("an answer");
        assert_eq!(outcome(&agent).await, Outcome::NotRunning);
        assert_eq!(dummy.calls().first(), Some(&"promote"));
    });
}

#[test]
fn each_death_is_told_once_and_a_stop_is_none() {
    block_on(async {
        let agent = Process::new("sleep").arg("1000");
        let mut deaths = agent.deaths();
        let kill = async || {
            let id = agent.id().await.expect("it runs").to_string();
            let status = std::process::Command::new("kill").args(["-9", &id]).status();
            assert!(status.expect("kill").success());
        };
        agent.start(&context()).await.expect("an answer");
        kill().await;
        assert_eq!(deaths.next().await, Some(1), "seen without asking");
        agent.start(&context()).await.expect("an answer");
        kill().await;
        while outcome(&agent).await != Outcome::NotRunning {}
        assert_eq!(deaths.next().await, Some(2), "buried by a monitor before anybody looked");
        agent.start(&context()).await.expect("an answer");
        agent.stop(&context()).await.expect("an answer");
        agent.start(&context()).await.expect("an answer");
        kill().await;
        assert_eq!(deaths.next().await, Some(4), "the third was stopped");
        drop(agent);
        assert_eq!(deaths.next().await, None);
    });
}
