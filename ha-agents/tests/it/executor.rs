//! The executor with agents: orders in, results out.

use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{
    Action, Answer, Executor, ExecutorHandle, Input, Limits, Order, Output, Refused, Service,
};
use ha_agents::native::{Closures, Dummy, Process};
use ha_agents::{Check, OpContext, Outcome, Report};
use ha_core::effect::Effect;
use ha_core::id::{OpId, Term};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::block_on;

pub(super) fn order(op: u64, resource: &str, action: Action) -> Order {
    let context = OpContext::new(resource.parse().expect("a name"), OpId::new(op));
    Order { term: None, action, context }
}

pub(super) fn monitor(op: u64, resource: &str, every: Duration) -> Order {
    let order = order(op, resource, Action::Monitor(Check::STARTED));
    Order { context: order.context.every(every), ..order }
}

pub(super) fn fine() -> Answer {
    Answer::Report(Report::success())
}

/// Gives `input` to the machine and returns what came of it, in few words.
pub(super) fn told(executor: &mut Executor, millis: u64, input: Input) -> Vec<String> {
    let mut out = Vec::new();
    executor.handle(Instant::from_millis(millis), input, &mut out);
    said(out)
}

/// The outputs but the events, in few words.
pub(super) fn said(out: Vec<Output>) -> Vec<String> {
    let told = |output: &Output| !matches!(output, Output::Event(_));
    out.into_iter().filter(told).map(words).collect()
}

fn words(output: Output) -> String {
    match output {
        Output::Event(event) => format!("{event:?}"),
        Output::Run(order) => format!("run {}", order.op()),
        Output::Ended { op, answer: Answer::Cancelled, .. } => format!("cancelled {op}"),
        Output::Ended { op, failures, .. } => format!("ended {op} failures {failures}"),
        Output::Monitored { op, failures, .. } => format!("monitored {op} failures {failures}"),
        Output::Refused { op, why: Refused::Term { term } } => format!("refused {op} now {term}"),
        Output::Refused { op, why } => format!("refused {op}: {why:?}"),
        Output::Died { resource, failures, .. } => format!("died {resource} failures {failures}"),
    }
}

pub(super) fn submit(order: Order) -> Input {
    Input::Submit(order)
}

pub(super) fn done(op: u64) -> Input {
    Input::Done(OpId::new(op), fine())
}

#[test]
fn a_stop_goes_before_what_waits_but_after_a_demote() {
    let mut it = Executor::new(Limits::default());
    assert_eq!(told(&mut it, 0, submit(order(1, "a", Action::Start))), ["run 1"]);
    for (op, action) in [(2, Action::Promote), (3, Action::Demote), (4, Action::Notify)] {
        assert!(told(&mut it, 0, submit(order(op, "a", action))).is_empty());
    }
    let at_stop = told(&mut it, 0, submit(order(5, "a", Action::Stop)));
    assert_eq!(at_stop, ["cancelled 2", "cancelled 4"]);
    assert_eq!(told(&mut it, 0, done(1)), ["ended 1 failures 0", "run 3"]);
    assert_eq!(told(&mut it, 0, done(3)), ["ended 3 failures 0", "run 5"]);
    assert_eq!(told(&mut it, 0, done(5)), ["ended 5 failures 0"]);
    assert!(it.is_idle());
    let name = "a".parse().expect("a name");
    let history: Vec<u64> = it.history(&name).map(|past| past.op.get()).collect();
    assert_eq!(history, [1, 3, 5]);
}

#[test]
fn an_order_of_an_older_term_is_refused_and_nothing_of_it_happens() {
    let mut it = Executor::new(Limits::default());
    let of = |term, order| Order { term: Some(Term::new(term)), ..order };
    assert_eq!(told(&mut it, 0, submit(of(7, order(1, "a", Action::Start)))), ["run 1"]);
    let late = submit(of(6, order(2, "b", Action::Start)));
    assert_eq!(told(&mut it, 0, late), ["refused 2 now 7"]);
    // The node's own stop has no term and is always obeyed.
    assert_eq!(told(&mut it, 0, submit(order(3, "b", Action::Stop))), ["run 3"]);
    assert_eq!(told(&mut it, 0, submit(order(3, "b", Action::Stop))), ["refused 3: Known"]);
    assert_eq!((it.term(), it.stats().refused), (Term::new(7), 2));
}

#[test]
fn the_same_order_twice_runs_once_and_answers_both() {
    let mut it = Executor::new(Limits::default());
    told(&mut it, 0, submit(order(1, "a", Action::Start)));
    for op in 2..=4 {
        told(&mut it, 0, submit(order(op, "a", Action::Monitor(Check::PROBE))));
    }
    // The first is taken back: the others keep it alive.
    assert_eq!(told(&mut it, 0, Input::Cancel(OpId::new(2))), ["cancelled 2"]);
    assert_eq!(told(&mut it, 0, Input::Cancel(OpId::new(4))), ["cancelled 4"]);
    assert_eq!(told(&mut it, 0, done(1)), ["ended 1 failures 0", "run 3"]);
    assert_eq!(told(&mut it, 0, done(3)), ["ended 3 failures 0"]);
    assert_eq!((it.stats().merged, it.is_idle()), (2, true));
}

#[test]
fn monitors_never_take_the_room_of_stops() {
    let limits = Limits::builder().probes(1).actions(1).stops(1).build().expect("valid");
    let mut it = Executor::new(limits);
    for (op, resource) in [(1, "a"), (2, "b"), (3, "c")] {
        told(&mut it, 0, submit(order(op, resource, Action::Monitor(Check::PROBE))));
    }
    assert_eq!(it.in_flight().count(), 1, "one probe at a time");
    assert_eq!(told(&mut it, 0, submit(order(4, "d", Action::Start))), ["run 4"]);
    assert_eq!(told(&mut it, 0, submit(order(5, "c", Action::Stop))), ["cancelled 3", "run 5"]);
}

#[test]
fn monitors_keep_their_schedule_and_skip_what_they_miss() {
    let mut it = Executor::new(Limits::default());
    let every = Duration::from_millis(100);
    assert!(told(&mut it, 0, submit(monitor(1, "a", every))).is_empty());
    let first = it.deadline().expect("a first time");
    assert!(first <= Instant::ZERO + every);
    let mut out = Vec::new();
    it.tick(first, &mut out);
    assert_eq!(said(std::mem::take(&mut out)), ["run 1"]);
    // It takes three and a half intervals: three ticks are skipped, and the schedule is the same.
    it.tick(first + every * 7 / 2, &mut out);
    assert_eq!((said(std::mem::take(&mut out)).len(), it.stats().skipped), (0, 3));
    assert_eq!(it.deadline(), Some(first + every * 4));
    it.handle(first + every * 7 / 2, done(1), &mut out);
    assert_eq!(said(std::mem::take(&mut out)), ["monitored 1 failures 0"]);
    it.tick(first + every * 4, &mut out);
    it.handle(first + every * 4, done(1), &mut out);
    assert_eq!(said(std::mem::take(&mut out)), ["run 1"], "the same answer again is not told");
    let dead = || Answer::Report(Report::new(Outcome::NotRunning, ""));
    for turn in 5..7 {
        it.tick(first + every * turn, &mut out);
        it.handle(first + every * turn, Input::Done(OpId::FIRST, dead()), &mut out);
    }
    let heard = said(std::mem::take(&mut out));
    assert_eq!(heard, ["run 1", "monitored 1 failures 1", "run 1", "monitored 1 failures 2"]);
    it.handle(first + every * 6, submit(order(2, "a", Action::Stop)), &mut out);
    assert_eq!(said(out), ["cancelled 1", "run 2"]);
    assert_eq!(it.deadline(), None);
}

#[test]
fn five_hundred_monitors_do_not_fall_due_together() {
    let mut it = Executor::new(Limits::default());
    let mut times = Vec::new();
    for op in 1..=500 {
        let mut one = Executor::new(Limits::default());
        let order = monitor(op, &format!("resource-{op}"), Duration::from_secs(10));
        told(&mut one, 0, submit(order.clone()));
        times.extend(one.deadline());
        told(&mut it, 0, submit(order));
    }
    times.sort_unstable();
    let span = Duration::from_millis(50);
    let within = |at: &Instant| times.iter().filter(|t| **t >= *at && **t < *at + span).count();
    let most = times.iter().map(within).max().expect("times");
    assert!(most <= 500 / 20, "{most} in the same 50 ms");
}

#[test]
fn failures_expire_and_can_be_cleaned_up() {
    let limits = Limits::builder().failure_expiry(Duration::from_secs(10)).build();
    let mut it = Executor::new(limits.expect("valid"));
    let name = || "a".parse().expect("a name");
    for op in 1..=2 {
        told(&mut it, 1_000 * op, submit(order(op, "a", Action::Start)));
        let failed = Answer::Report(Report::new(Outcome::GenericError, "no"));
        let said = told(&mut it, 1_000 * op, Input::Done(OpId::new(op), failed));
        assert_eq!(said, [format!("ended {op} failures {op}")]);
    }
    assert_eq!(it.failures(Instant::from_secs(11), &name()), 2);
    assert_eq!(it.failures(Instant::from_secs(12), &name()), 0);
    let said = told(&mut it, 12_000, Input::Died(name(), "killed".to_owned()));
    assert_eq!(said, ["died a failures 1"]);
    told(&mut it, 12_000, Input::Cleanup(name()));
    assert_eq!(it.failures(Instant::from_secs(12), &name()), 0);
}

/// A running executor, whose results are taken one by one.
pub(super) async fn with_service<F>(
    test: impl FnOnce(ExecutorHandle, tokio::sync::mpsc::Receiver<Output>) -> F,
) where
    F: Future<Output = ()>,
{
    let (service, results) = Service::new(Limits::default()).expect("a timer");
    let handle = service.handle();
    let task = service.spawn();
    test(handle.clone(), results).await;
    task.stop().await.expect("no panic").expect("an orderly end");
    handle.submit(order(99, "a", Action::Stop)).await.expect_err("it has ended");
}

#[test]
fn a_service_that_dies_is_told_by_its_death_and_runs_again() {
    block_on(with_service(|handle, mut results| async move {
        let process = Arc::new(Process::new("sleep").arg("1000"));
        handle.add("web".parse().expect("a name"), Arc::clone(&process) as _);
        let mut before = None;
        for op in [1, 2] {
            handle.submit(order(op, "web", Action::Start)).await.expect("it runs");
            let ended = results.recv().await.map(words);
            assert_eq!(ended, Some(format!("ended {op} failures {}", op - 1)));
            let id = process.id().await.expect("it runs");
            assert_ne!(before.replace(id), Some(id));
            std::process::Command::new("kill")
                .args(["-9", &id.to_string()])
                .status()
                .expect("kill");
            let died = results.recv().await.map(words);
            assert_eq!(died, Some(format!("died web failures {op}")), "no monitor was ordered");
        }
        handle.submit(order(3, "web", Action::Start)).await.expect("it runs");
        handle.submit(order(4, "web", Action::Stop)).await.expect("it runs");
        for expected in ["ended 3 failures 2", "ended 4 failures 2"] {
            assert_eq!(results.recv().await.map(words).as_deref(), Some(expected));
        }
    }));
}

#[test]
fn the_death_of_what_was_removed_is_no_news() {
    block_on(with_service(|handle, mut results| async move {
        let process = Arc::new(Process::new("sleep").arg("1000"));
        let mut deaths = process.deaths();
        handle.add("web".parse().expect("a name"), Arc::clone(&process) as _);
        handle.submit(order(1, "web", Action::Start)).await.expect("it runs");
        results.recv().await.expect("started");
        let id = process.id().await.expect("it runs");
        handle.remove("web".parse().expect("a name")).await.expect("it runs");
        // The executor has taken that when it answers.
        assert_eq!(handle.look(Executor::remembered).await, Ok(0));
        std::process::Command::new("kill").args(["-9", &id.to_string()]).status().expect("kill");
        assert!(deaths.next().await.is_some());
        handle.submit(order(2, "d", Action::Stop)).await.expect("it runs");
        assert_eq!(results.recv().await.map(words).as_deref(), Some("ended 2 failures 1"));
    }));
}

#[test]
fn every_order_has_one_end_also_where_the_agent_panics_or_is_not_there() {
    block_on(with_service(|handle, mut results| async move {
        handle.submit(order(1, "nobody", Action::Start)).await.expect("it runs");
        let Some(Output::Ended { answer: Answer::NoAnswer { effect, reason }, .. }) =
            results.recv().await
        else {
            panic!("no end");
        };
        assert_eq!(effect, Effect::None);
        assert!(reason.contains("no agent"), "{reason}");

        let wild = Closures::new(
            "wild",
            |_: OpContext| async { panic!("on purpose") },
            |_| async { Report::success() },
            |_, _| async { Report::success() },
        );
        handle.add("wild".parse().expect("a name"), Arc::new(wild));
        handle.submit(order(2, "wild", Action::Start)).await.expect("it runs");
        let Some(Output::Ended { answer: Answer::NoAnswer { effect, .. }, .. }) =
            results.recv().await
        else {
            panic!("no end");
        };
        assert_eq!(effect, Effect::Unknown);
        handle.submit(order(3, "wild", Action::Stop)).await.expect("it runs");
        assert_eq!(results.recv().await.map(words).as_deref(), Some("ended 3 failures 1"));
    }));
}

#[test]
fn a_recurring_monitor_tells_what_changes() {
    block_on(with_service(|handle, mut results| async move {
        let dummy = Arc::new(Dummy::new());
        handle.add("d".parse().expect("a name"), Arc::clone(&dummy) as _);
        handle.submit(order(1, "d", Action::Start)).await.expect("it runs");
        results.recv().await.expect("started");
        handle.submit(monitor(2, "d", Duration::from_millis(2))).await.expect("it runs");
        assert_eq!(results.recv().await.map(words).as_deref(), Some("monitored 2 failures 0"));
        dummy.fail_next("monitor", Outcome::NotRunning);
        assert_eq!(results.recv().await.map(words).as_deref(), Some("monitored 2 failures 1"));
        assert_eq!(results.recv().await.map(words).as_deref(), Some("monitored 2 failures 1"));
        handle.cancel(OpId::new(2)).await.expect("it runs");
        assert_eq!(results.recv().await.map(words).as_deref(), Some("cancelled 2"));
    }));
}
