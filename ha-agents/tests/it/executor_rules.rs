//! The executor's rules that a user chooses: schedule, budgets under load, what counts, what is
//! remembered, and what is told to whoever watches.

use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{
    Action, Answer, Event, Executor, Input, Limits, LimitsBuilder, Load, Missed, News, OnFail,
    Order, Output, Past, Pressure, Schedule, Service,
};
use ha_agents::native::Dummy;
use ha_agents::{Check, Outcome, Report};
use ha_core::effect::Effect;
use ha_core::id::{OpId, ResourceName};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::block_on;
use super::executor::{done, monitor, order, said, submit, told, with_service};

fn with(limits: LimitsBuilder) -> Executor {
    Executor::new(limits.build().expect("valid"))
}

fn name(text: &str) -> ResourceName {
    text.parse().expect("a name")
}

fn failed(op: u64, outcome: Outcome) -> Input {
    Input::Done(OpId::new(op), Answer::Report(Report::new(outcome, "why")))
}

fn silent(op: u64) -> Input {
    let reason = "no answer in 20s".to_owned();
    Input::Done(OpId::new(op), Answer::NoAnswer { effect: Effect::Unknown, reason })
}

/// Lets the next tick of the only monitor come; returns when, and what came of it.
fn tick(it: &mut Executor) -> (Instant, Vec<String>) {
    let at = it.deadline().expect("a monitor");
    let mut out = Vec::new();
    it.tick(at, &mut out);
    (at, said(out))
}

#[test]
fn a_node_full_of_probes_goes_on_with_its_recurring_monitors() {
    let mut it = with(Limits::builder().probes(2).monitors(1));
    for op in 1..=10 {
        told(&mut it, 0, submit(order(op, &format!("p{op}"), Action::Monitor(Check::PROBE))));
    }
    assert_eq!(it.in_flight().count(), 2);
    told(&mut it, 0, submit(monitor(20, "m", Duration::from_millis(100))));
    assert_eq!(tick(&mut it).1, ["run 20"]);
}

#[test]
fn after_the_end_the_period_is_interval_and_run_and_on_a_fixed_schedule_the_interval() {
    let every = Duration::from_millis(100);
    let run = Duration::from_millis(30);
    for (schedule, period) in
        [(Schedule::AfterEnd, every + run), (Schedule::Fixed(Missed::Skip), every)]
    {
        let mut it = with(Limits::builder().schedule(schedule));
        told(&mut it, 0, submit(monitor(1, "a", every)));
        let mut times = Vec::new();
        for _ in 0..100 {
            let (at, said) = tick(&mut it);
            assert_eq!(said, ["run 1"]);
            times.push(at);
            it.handle(at + run, done(1), &mut Vec::new());
        }
        for pair in times.windows(2) {
            assert_eq!(pair[1].since(pair[0]), period, "{schedule:?}");
        }
    }
}

#[test]
fn a_missed_tick_is_made_up_for_once_if_asked() {
    let every = Duration::from_millis(100);
    let mut it = with(Limits::builder().schedule(Schedule::Fixed(Missed::CatchUp)));
    told(&mut it, 0, submit(monitor(1, "a", every)));
    let (first, _) = tick(&mut it);
    // Two ticks come while it is at work.
    assert!(tick(&mut it).1.is_empty());
    assert!(tick(&mut it).1.is_empty());
    assert_eq!(it.stats().skipped, 1, "one of the two is owed");
    let mut out = Vec::new();
    it.handle(first + every * 5 / 2, done(1), &mut out);
    assert_eq!(said(std::mem::take(&mut out)), ["monitored 1 failures 0", "run 1"]);
    it.handle(first + every * 11 / 4, done(1), &mut out);
    assert_eq!((said(out).len(), it.deadline()), (0, Some(first + every * 3)), "in step again");
}

#[test]
fn a_busy_node_runs_less_at_once_but_stops_as_ever() {
    let limits = Limits::builder().actions(8).probes(8).stops(8).load_threshold(80);
    let mut it = with(limits);
    let mut out = Vec::new();
    it.handle(Instant::ZERO, Input::Load(Load::new(300, 2)), &mut out);
    let pressure = Pressure::High;
    assert_eq!(out, [Output::Event(Event::Pressure { pressure })]);
    for op in 1..=24 {
        let action = [Action::Start, Action::Stop, Action::Monitor(Check::PROBE)];
        told(&mut it, 0, submit(order(op, &format!("r{op}"), action[(op % 3) as usize])));
    }
    let running = |it: &Executor, action: Action| {
        it.in_flight().filter(|running| running.order.action == action).count()
    };
    let probe = Action::Monitor(Check::PROBE);
    let at_work = |it: &Executor| [Action::Start, probe, Action::Stop].map(|one| running(it, one));
    assert_eq!(at_work(&it), [2, 2, 8]);
    told(&mut it, 1, Input::Load(Load::new(100, 2)));
    assert_eq!(at_work(&it), [8, 8, 8], "the rest begins as soon as the load is gone");
}

#[test]
fn slow_is_not_dead_until_it_is_so_three_times_in_a_row() {
    let mut it = with(Limits::builder().silent_monitors(3));
    told(&mut it, 0, submit(monitor(1, "a", Duration::from_millis(100))));
    let mut one = |input: Input| {
        let (at, _) = tick(&mut it);
        let mut out = Vec::new();
        it.handle(at, input, &mut out);
        said(out)
    };
    assert!(one(silent(1)).is_empty() && one(silent(1)).is_empty());
    assert_eq!(one(done(1)), ["monitored 1 failures 0"], "it was only slow");
    assert!(one(silent(1)).is_empty() && one(silent(1)).is_empty());
    assert_eq!(one(silent(1)), ["monitored 1 failures 1"], "three in a row");
    assert_eq!(one(done(1)), ["monitored 1 failures 1"]);
    // An answer that says that it is dead counts at once.
    assert_eq!(one(failed(1, Outcome::NotRunning)), ["monitored 1 failures 2"]);
    assert_eq!((it.stats().tolerated, it.stats().failed), (4, 2));
    assert_eq!(it.history(&name("a")).filter(|past| past.recovery.is_some()).count(), 2);
}

#[test]
fn only_failures_within_the_window_count() {
    let mut it = with(Limits::builder().failure_window(Duration::from_secs(10)));
    let mut counts = Vec::new();
    for (op, second) in [(1, 0), (2, 6), (3, 12), (4, 30)] {
        let at = second * 1_000;
        told(&mut it, at, submit(order(op, "a", Action::Start)));
        counts.extend(told(&mut it, at, failed(op, Outcome::GenericError)));
    }
    let expected =
        ["ended 1 failures 1", "ended 2 failures 2", "ended 3 failures 2", "ended 4 failures 1"];
    assert_eq!(counts, expected);
}

/// Runs one operation to its end and returns what its failure asks for.
fn recovery(it: &mut Executor, order: Order, outcome: Outcome) -> Option<OnFail> {
    let (op, resource) = (order.op().get(), order.resource().clone());
    told(it, 0, submit(order));
    let mut out = Vec::new();
    it.handle(Instant::ZERO, failed(op, outcome), &mut out);
    let told = out.iter().find_map(|output| {
        let Output::Event(Event::Failed { recovery, .. }) = output else { return None };
        Some(recovery.clone())
    });
    let remembered = it.history(&resource).last().and_then(|past| past.recovery.clone());
    assert_eq!(told, remembered, "what is told is what is remembered");
    told.map(|recovery| {
        assert!(recovery.reason.contains("why"), "{recovery:?}");
        recovery.what
    })
}

#[test]
fn a_stop_that_fails_where_it_never_could_run_does_not_fence() {
    for (probe, expected) in [
        (Outcome::NotInstalled, OnFail::Ignore),
        (Outcome::NotConfigured, OnFail::Block),
        (Outcome::NotRunning, OnFail::Fence),
    ] {
        let mut it = Executor::new(Limits::default());
        recovery(&mut it, order(1, "a", Action::Monitor(Check::PROBE)), probe);
        assert_eq!(it.past(&name("a")), Past { started: false, probe: Some(probe) });
        let stop = |it: &mut Executor, op| {
            recovery(it, order(op, "a", Action::Stop), Outcome::NotInstalled)
        };
        assert_eq!(stop(&mut it, 2), Some(expected), "{probe}");

        // As soon as a start was run here, whatever came of it, a failed stop is dangerous.
        recovery(&mut it, order(3, "a", Action::Start), Outcome::GenericError);
        assert_eq!(stop(&mut it, 4), Some(OnFail::Fence));
        assert_eq!(recovery(&mut it, order(5, "a", Action::Stop), Outcome::Success), None);
        assert_eq!(stop(&mut it, 6), Some(expected), "it was stopped since");

        // Something was seen running here: who started it does not matter.
        let seen = order(7, "a", Action::Monitor(Check::STARTED));
        assert_eq!(recovery(&mut it, seen, Outcome::Success), None);
        assert_eq!(stop(&mut it, 8), Some(OnFail::Fence));
    }
}

#[test]
fn the_policy_of_an_operation_is_its_meta_attribute() {
    let mut it = Executor::new(Limits::default());
    let with_policy = |op, policy: &str| {
        let order = order(op, "a", Action::Start);
        Order { context: order.context.meta("on-fail", policy), ..order }
    };
    for (op, policy) in (1..).zip(OnFail::ALL) {
        let asked = recovery(&mut it, with_policy(op, &policy.to_string()), Outcome::GenericError);
        let expected = if policy == OnFail::Demote { OnFail::Restart } else { policy };
        assert_eq!(asked, Some(expected));
    }
    let unknown = recovery(&mut it, with_policy(99, "pray"), Outcome::GenericError);
    assert_eq!(unknown, Some(OnFail::Restart), "the default");
}

#[test]
fn what_is_forgotten_leaves_nothing_and_what_is_at_work_ends_first() {
    let mut it = Executor::new(Limits::default());
    told(&mut it, 0, submit(order(1, "a", Action::Start)));
    told(&mut it, 0, submit(monitor(2, "a", Duration::from_secs(1))));
    assert_eq!(told(&mut it, 0, Input::Forget(name("a"))), ["cancelled 2"]);
    assert_eq!(it.remembered(), 1, "an operation is at work");
    assert_eq!(told(&mut it, 0, failed(1, Outcome::GenericError)), ["ended 1 failures 1"]);
    assert_eq!((it.remembered(), it.failures(Instant::ZERO, &name("a"))), (0, 0));
    assert!(it.is_idle());
    // A new order before the end keeps it.
    told(&mut it, 0, submit(order(3, "a", Action::Start)));
    told(&mut it, 0, Input::Forget(name("a")));
    told(&mut it, 0, submit(order(4, "a", Action::Stop)));
    told(&mut it, 0, done(3));
    told(&mut it, 0, done(4));
    assert_eq!((it.remembered(), it.history(&name("a")).count()), (1, 2));
}

#[test]
fn ever_new_names_do_not_fill_the_memory() {
    let mut it = Executor::new(Limits::default());
    told(&mut it, 0, submit(order(1, "kept", Action::Start)));
    told(&mut it, 0, done(1));
    for op in 2..9_000 {
        told(&mut it, op, submit(order(op, &format!("r{op}"), Action::Monitor(Check::PROBE))));
        told(&mut it, op, failed(op, Outcome::NotRunning));
    }
    assert!(it.remembered() <= 8_192, "{}", it.remembered());
    assert!(it.past(&name("kept")).started, "of what was started it knows");
    assert!(it.stats().forgotten > 800);
}

#[test]
fn whoever_watches_is_told_and_one_who_is_slow_learns_how_much_was_lost() {
    block_on(with_service(|handle, mut results| async move {
        let mut events = handle.events().expect("it runs");
        let dummy = Arc::new(Dummy::new());
        handle.add(name("d"), Arc::clone(&dummy) as _);
        dummy.fail_next("stop", Outcome::GenericError);
        for (op, action) in [(1, Action::Start), (2, Action::Stop)] {
            handle.submit(order(op, "d", action)).await.expect("it runs");
            results.recv().await.expect("its end");
        }
        let mut kinds = Vec::new();
        while kinds.last() != Some(&"failed") {
            kinds.push(match events.next().await.expect("it runs") {
                News::Event(Event::Began { .. }) => "began",
                News::Event(Event::Finished { .. }) => "finished",
                News::Event(Event::Failed { recovery, failures: 1, .. }) => {
                    assert_eq!(recovery.what, OnFail::Fence);
                    "failed"
                }
                other @ (News::Event(_) | News::Lost(_)) => panic!("{other:?}"),
            });
        }
        assert_eq!(kinds, ["began", "finished", "began", "finished", "failed"]);
        let known = handle.look(move |it| it.history(&name("d")).count()).await;
        assert_eq!(known, Ok(2));

        for op in 10..1_210 {
            handle.submit(order(op, "d", Action::Start)).await.expect("it runs");
            results.recv().await.expect("its end");
        }
        let Some(News::Lost(lost)) = events.next().await else { panic!("nothing lost") };
        assert_eq!(lost, 2 * 1_200 - 1_024);

        handle.remove(name("d")).await.expect("it runs");
        assert_eq!(handle.look(|it| (it.remembered(), it.stats().forgotten)).await, Ok((0, 1)));
    }));
}

#[test]
fn an_executor_ends_also_where_nobody_reads_its_results() {
    block_on(async {
        let (service, results) = Service::new(Limits::default()).expect("a timer");
        let handle = service.handle();
        let task = service.spawn();
        handle.add(name("d"), Arc::new(Dummy::new()));
        for op in 0..200 {
            let every = Duration::from_hours(1);
            handle.submit(monitor(op, "d", every)).await.expect("it runs");
        }
        task.stop().await.expect("no panic").expect("an orderly end");
        drop(results);
    });
}
