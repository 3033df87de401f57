//! Agents that misbehave: the executor survives each with the right verdict, and nothing is left.
//!
//! Each script leaves the numbers of what it starts in files, so that what is left can be seen.
#![expect(clippy::panic, reason = "helpers of tests, too, may end a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{
    Action, Answer, Event, ExecutorHandle, Limits, News, OnFail, Order, Output, Service,
};
use ha_agents::ocf::Ocf;
use ha_agents::{Check, Diagnosis, OpContext, Outcome, Report};
use ha_core::driver::{Task, pause};
use ha_core::effect::Effect;
use ha_core::id::{OpId, ResourceName};
use tokio::sync::mpsc;

use super::ocf::script;
use super::{block_on, line_in, runs};

/// An executor with one hostile agent.
struct Rig {
    dir: tempfile::TempDir,
    handle: ExecutorHandle,
    results: mpsc::Receiver<Output>,
    events: ha_agents::executor::Events,
    task: Task<std::io::Result<()>>,
    ops: u64,
}

impl Rig {
    async fn new(body: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        script(dir.path(), "hostile", body);
        let agent = Ocf::builder("test", "hostile").root(dir.path());
        let agent = agent.grace(Duration::from_millis(100)).load().await.expect("an agent");
        let (service, results) = Service::new(Limits::default()).expect("a timer");
        let handle = service.handle();
        let events = handle.events().expect("it runs");
        let task = service.spawn();
        handle.add(name(), Arc::new(agent));
        Self { dir, handle, results, events, task, ops: 0 }
    }

    /// Runs one operation to its end.
    async fn run(&mut self, action: Action, limit: Duration) -> Answer {
        self.ops += 1;
        let context = OpContext::new(name(), OpId::new(self.ops)).timeout(limit);
        let context = context.parameter("file", "x");
        let order = Order { term: None, action, context };
        self.handle.submit(order).await.expect("it runs");
        match self.results.recv().await {
            Some(Output::Ended { answer, .. }) => answer,
            other => panic!("no end: {other:?}"),
        }
    }

    async fn report(&mut self, action: Action) -> Report {
        match self.run(action, Duration::from_mins(1)).await {
            Answer::Report(report) => report,
            other @ (Answer::Cancelled | Answer::NoAnswer { .. }) => panic!("{action}: {other:?}"),
        }
    }

    /// Runs an operation that has no answer in time; returns what was seen then.
    async fn late(&mut self, action: Action, limit: Duration) -> Diagnosis {
        let answer = self.run(action, limit).await;
        let Answer::NoAnswer { effect: Effect::Unknown, reason } = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.len() < 2_500, "{} {reason}", reason.len());
        let event = |event: &Event| matches!(event, Event::Diagnosed { .. });
        let Event::Diagnosed { diagnosis, .. } = self.event(event).await else {
            panic!("no diagnosis")
        };
        *diagnosis
    }

    /// The next event of a kind.
    async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            match self.events.next().await {
                Some(News::Event(event)) if wanted(&event) => return event,
                Some(News::Event(_) | News::Lost(_)) => {}
                None => panic!("the executor has ended"),
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The executor is as good as before, and nothing of the agent is left.
    async fn end_well(self) {
        let dir = self.dir.path().to_owned();
        self.task.stop().await.expect("no panic").expect("an orderly end");
        while let Some(left) = left(&dir) {
            // What was killed may not be reaped yet by the first process.
            assert!(!runs(&left) || !lives_long(&left).await, "process {left} is left");
        }
    }
}

fn name() -> ResourceName {
    "r1".parse().expect("a name")
}

/// A process of the agent: its environment has the root of the test.
fn left(root: &Path) -> Option<String> {
    let mark = format!("OCF_ROOT={}", root.display()).into_bytes();
    fs::read_dir("/proc").expect("proc").filter_map(Result::ok).find_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        pid.parse::<u32>().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(|it| it == mark).then_some(pid)
    })
}

async fn lives_long(pid: &str) -> bool {
    for _ in 0..1_000 {
        if !runs(pid) {
            return false;
        }
        pause(Duration::from_millis(2)).await.expect("a timer");
    }
    true
}

const SHORT: Duration = Duration::from_secs(2);
const PROBE: Action = Action::Monitor(Check::PROBE);

#[test]
fn false_success_is_believed_of_the_start_and_seen_by_the_monitor() {
    block_on(async {
        let mut rig = Rig::new("[ $1 != monitor ] || exit 7").await;
        assert_eq!(rig.report(Action::Start).await.outcome, Outcome::Success);
        let report = rig.report(Action::Monitor(Check::STARTED)).await;
        assert_eq!(report.outcome, Outcome::NotRunning);
        let failed = rig.event(|event| matches!(event, Event::Failed { .. })).await;
        let Event::Failed { recovery, .. } = failed else { panic!("{failed:?}") };
        assert_eq!(recovery.what, OnFail::Restart);
        rig.end_well().await;
    });
}

#[test]
fn a_stop_that_fails_for_a_bad_parameter_fences_only_what_may_run() {
    block_on(async {
        let body = r#"case $1 in
            monitor|stop) echo "ocf-exit-reason:bad parameter" >&2; exit 6;;
            start) exit 1;;
        esac"#;
        let mut rig = Rig::new(body).await;
        let decided = async |rig: &mut Rig| {
            let failed =
                |event: &Event| matches!(event, Event::Failed { action: Action::Stop, .. });
            let event = rig.event(failed).await;
            let Event::Failed { recovery, .. } = event else { panic!("{event:?}") };
            assert!(recovery.reason.contains("bad parameter"), "{recovery:?}");
            recovery
        };
        assert_eq!(rig.report(PROBE).await.outcome, Outcome::NotConfigured);
        assert_eq!(rig.report(Action::Stop).await.outcome, Outcome::NotConfigured);
        let recovery = decided(&mut rig).await;
        assert_eq!(recovery.what, OnFail::Block);
        assert!(recovery.reason.contains("nothing of it was started here"), "{recovery:?}");
        // A start was tried: now it may run.
        assert_eq!(rig.report(Action::Start).await.outcome, Outcome::GenericError);
        rig.report(Action::Stop).await;
        assert_eq!(decided(&mut rig).await.what, OnFail::Fence);
        rig.end_well().await;
    });
}

#[test]
fn endless_output_takes_no_memory_and_ends_with_its_time() {
    block_on(async {
        let mut rig = Rig::new("yes 'I am fine' & yes 'I am not' >&2").await;
        let before = memory();
        let diagnosis = rig.late(Action::Start, SHORT).await;
        let grown = memory().saturating_sub(before);
        // Other tests run in this process; all of the output would be gigabytes.
        assert!(grown < 512 * 1024, "{grown} KiB");
        let (last, before) = diagnosis.output.split_last().expect("lines");
        assert!("I am fine".starts_with(last.as_str()), "perhaps cut short: {last}");
        assert!(before.iter().skip(1).all(|line| line == "I am fine"), "{before:?}");
        assert!(diagnosis.output.len() <= 20 && diagnosis.errors.len() <= 20);
        rig.end_well().await;
    });
}

/// What this process has in memory, in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn who_ignores_sigterm_is_killed_with_its_children() {
    block_on(async {
        let body = r#"trap '' TERM INT HUP
            (trap '' TERM; while :; do sleep 1000; done) & echo $! > "$dir/child"
            while :; do sleep 1000; done"#;
        let mut rig = Rig::new(body).await;
        let diagnosis = rig.late(Action::Stop, SHORT).await;
        let child = line_in(&rig.file("child")).await;
        assert!(diagnosis.processes.iter().any(|it| it.pid.to_string() == child));
        assert!(!runs(&child));
        rig.end_well().await;
    });
}

#[test]
fn a_double_fork_into_a_session_of_its_own_does_not_hide_what_a_monitor_has_left() {
    block_on(async {
        let body = r#"(setsid sh -c 'trap "" TERM; echo $$ > "$1/hidden"; while :; do sleep 1000; done' \
                x "$dir" </dev/null >/dev/null 2>&1 &)
            sleep 1000"#;
        let mut rig = Rig::new(body).await;
        let diagnosis = rig.late(PROBE, SHORT).await;
        let hidden = line_in(&rig.file("hidden")).await;
        assert!(diagnosis.processes.iter().any(|it| it.pid.to_string() == hidden));
        assert!(!lives_long(&hidden).await, "it got away");
        rig.end_well().await;
    });
}

#[test]
fn who_closes_its_output_is_waited_for_all_the_same() {
    block_on(async {
        let body = r"exec >&- 2>&-
            case $1 in start) sleep 0.2; exit 5;; *) sleep 1000;; esac";
        let mut rig = Rig::new(body).await;
        let report = rig.report(Action::Start).await;
        assert_eq!((report.outcome, report.code), (Outcome::NotInstalled, Some(5)));
        rig.late(Action::Stop, SHORT).await;
        rig.end_well().await;
    });
}

#[test]
fn thousands_of_children_end_with_their_agent() {
    // 10,000 where all is asked for and the machine has room for so many beside the other tests.
    let all = std::env::var("HA_REQUIRE_ALL").is_ok_and(|value| value == "1");
    let (wanted, limit) = if all { (10_000, 60) } else { (2_000, 15) };
    let most = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.trim().parse::<u32>().unwrap_or(10_000)
    };
    let room = most("/proc/sys/kernel/pid_max").min(most("/proc/sys/kernel/threads-max"));
    let children = room.min(4 * wanted) / 4;
    block_on(async {
        let body = format!(
            r#"trap '' TERM; i=0
            while [ $i -lt {children} ]; do sleep 1000 & i=$((i+1)); done
            echo all >> "$dir/all"; echo there >&2; wait"#
        );
        let mut rig = Rig::new(&body).await;
        let diagnosis = rig.late(Action::Start, Duration::from_secs(limit)).await;
        assert!(rig.file("all").exists(), "the machine was too slow to start them");
        assert_eq!(diagnosis.errors.last().map(String::as_str), Some("there"));
        let seen = diagnosis.processes.len() + diagnosis.more;
        assert!(seen >= children as usize, "{seen}");
        rig.end_well().await;
    });
}

#[test]
fn hundreds_that_have_left_the_group_are_found() {
    block_on(async {
        // More than a diagnosis names; each in a group of its own, deaf to SIGTERM.
        let body = r#"exec bash -c 'set -m; trap "" TERM
            for i in $(seq 200); do sleep 1000 & done
            echo all > "$1/all"; wait' x "$dir""#;
        let mut rig = Rig::new(body).await;
        let mut diagnosis = rig.late(Action::Start, Duration::from_secs(5)).await;
        assert!(rig.file("all").exists(), "the machine was too slow to start them");
        // A look at the processes is given up after a second, on a machine that is busy with others.
        for _ in 0..4 {
            if diagnosis.processes.is_empty() {
                diagnosis = rig.late(Action::Start, Duration::from_secs(5)).await;
            }
        }
        assert!(diagnosis.processes.len() == 32 && diagnosis.more >= 160, "{}", diagnosis.more);
        rig.end_well().await;
    });
}

#[test]
fn bytes_that_are_no_text_are_taken_as_they_are() {
    block_on(async {
        let body = r"printf 'ocf-exit-reason:caf\351 \377\376\n' >&2
            printf '\200\201\000\033[2J'; exit 1";
        let mut rig = Rig::new(body).await;
        let report = rig.report(Action::Start).await;
        assert_eq!(report.outcome, Outcome::GenericError);
        assert_eq!(report.reason, "caf\u{fffd} \u{fffd}\u{fffd}");
        let run = report.run.expect("details");
        assert!(run.output.contains('\0') && run.output.contains("\u{fffd}"), "{:?}", run.output);
        rig.end_well().await;
    });
}

#[test]
fn codes_that_the_standard_does_not_know_are_errors_and_kept() {
    block_on(async {
        let mut rig = Rig::new(
            r"case $1 in
            start) exit 300;; # 44 to the kernel
            stop) exit 255;;
            promote) exit 10;;
            monitor) kill -SEGV $$;;
            validate-all) exit 128;;
        esac",
        )
        .await;
        for (action, code) in [
            (Action::Start, Some(44)),
            (Action::Stop, Some(255)),
            (Action::Promote, Some(10)),
            (PROBE, None),
            (Action::Validate, Some(128)),
        ] {
            let report = rig.report(action).await;
            assert_eq!((report.outcome, report.code), (Outcome::GenericError, code), "{action}");
            assert!(!report.reason.is_empty(), "{action}");
        }
        rig.end_well().await;
    });
}

#[test]
fn an_agent_that_vanishes_is_not_installed() {
    block_on(async {
        let mut rig = Rig::new("rm -f \"$0\"").await;
        assert_eq!(rig.report(Action::Start).await.outcome, Outcome::Success);
        let report = rig.report(PROBE).await;
        assert_eq!(report.outcome, Outcome::NotInstalled, "{}", report.reason);
        rig.end_well().await;
    });
}
