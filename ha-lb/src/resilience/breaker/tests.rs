//! What users of a breaker see.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Instant = Instant::from_secs(1_000);
const MILLISECOND: Duration = Duration::from_millis(1);

fn breaker(build: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Breaker {
    let config = build(Config::builder().jitter_percent(0)).build().expect("in range");
    Breaker::new(config, 1)
}

/// Makes a call that must be admitted; gives what changed by it.
fn call(breaker: &Breaker, now: Instant, outcome: Outcome) -> Option<Change> {
    breaker.try_acquire(now).expect("admitted").finish(now, outcome)
}

fn phase(breaker: &Breaker, now: Instant) -> Phase {
    breaker.status(now).phase
}

#[test]
fn failures_in_a_row_open_it_and_a_success_in_between_does_not() {
    let breaker = breaker(|config| config.failures_in_a_row(3).failure_percent(0));
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure] {
        assert_eq!(call(&breaker, NOW, outcome), None);
    }
    assert_eq!(call(&breaker, NOW, Outcome::Ignored), None);
    assert_eq!(call(&breaker, NOW, Outcome::Failure), None);
    let reason = Reason::InARow { failures: 3 };
    let change = Change { from: Phase::Closed, to: Phase::Open, reason };
    assert_eq!(call(&breaker, NOW, Outcome::Failure), Some(change));
    let refused = breaker.try_acquire(NOW).expect_err("open");
    assert_eq!(refused, Rejected { reason, retry_at: Some(NOW + Duration::from_secs(5)) });
}

#[test]
fn a_share_of_failures_opens_it_once_there_are_enough_calls() {
    let breaker = breaker(|config| {
        config
            .failures_in_a_row(0)
            .failure_percent(30)
            .min_calls(10)
            .window(Duration::from_secs(10))
    });
    // Three of nine fail: a third, but too few calls.
    for outcome in [Outcome::Failure, Outcome::Success, Outcome::Success].repeat(3) {
        assert_eq!(call(&breaker, NOW, outcome), None);
    }
    let reason = Reason::Share { failures: 4, calls: 10 };
    let change = Change { from: Phase::Closed, to: Phase::Open, reason };
    assert_eq!(call(&breaker, NOW, Outcome::Failure), Some(change));
    assert_eq!(change.to_string(), "closed → open: 4 of 10 calls failed");
}

#[test]
fn failures_leave_the_window() {
    let breaker = breaker(|config| {
        config.failures_in_a_row(0).failure_percent(50).min_calls(2).window(Duration::from_secs(1))
    });
    assert_eq!(call(&breaker, NOW, Outcome::Failure), None);
    let later = NOW + Duration::from_millis(1_200);
    assert_eq!(call(&breaker, later, Outcome::Failure), None);
    assert_eq!(
        breaker.status(later).to_string(),
        "closed: 2 failures in a row, 1 of 1 calls failed in the last 1s"
    );
}

#[test]
fn trials_decide_and_open_times_grow_until_they_succeed() {
    let breaker =
        breaker(|config| config.failures_in_a_row(1).open_time(Duration::from_secs(1)).trials(2));
    let mut now = NOW;
    call(&breaker, now, Outcome::Failure);
    for seconds in [1, 2, 4] {
        let open = Duration::from_secs(seconds);
        assert!(breaker.try_acquire(now + open - MILLISECOND).is_err());
        now += open;
        let first = breaker.try_acquire(now).expect("a trial");
        let second = breaker.try_acquire(now).expect("a trial");
        assert!(first.is_trial());
        let refused = breaker.try_acquire(now).expect_err("both are under way");
        assert_eq!(refused.retry_at, None);
        assert_eq!(first.finish(now, Outcome::Success), None);
        let change = second.finish(now, Outcome::Failure).expect("it opens");
        assert_eq!((change.from, change.reason), (Phase::HalfOpen, Reason::Trial));
    }
    now += Duration::from_secs(8);
    assert_eq!(call(&breaker, now, Outcome::Success), None);
    let change = call(&breaker, now, Outcome::Success).expect("it closes");
    assert_eq!(change.to_string(), "half-open → closed (it was open: a trial failed)");
    // A relapse goes on where it was; after a good while it starts anew.
    now += Duration::from_secs(7);
    call(&breaker, now, Outcome::Failure);
    assert_eq!(breaker.status(now).retry_after, Some(Duration::from_secs(16)));
    now += Duration::from_secs(16);
    call(&breaker, now, Outcome::Success);
    call(&breaker, now, Outcome::Success);
    now += Duration::from_secs(16);
    call(&breaker, now, Outcome::Failure);
    assert_eq!(breaker.status(now).retry_after, Some(Duration::from_secs(1)));
}

#[test]
fn calls_of_a_time_that_is_over_have_no_say() {
    let breaker = breaker(|config| config.failures_in_a_row(1));
    let old = breaker.admit(NOW).expect("closed");
    let slow = breaker.admit(NOW).expect("closed");
    call(&breaker, NOW, Outcome::Failure);
    let later = NOW + Duration::from_secs(5);
    let trial = breaker.admit(later).expect("a trial");
    assert_eq!(breaker.report(later, old, Outcome::Success), None);
    assert_eq!(phase(&breaker, later), Phase::HalfOpen);
    breaker.report(later, trial, Outcome::Success).expect("it closes");
    assert_eq!(breaker.report(later, slow, Outcome::Failure), None);
    assert_eq!(phase(&breaker, later), Phase::Closed);
}

#[test]
fn trials_that_are_dropped_or_never_end_make_place_for_others() {
    let breaker = breaker(|config| config.trial_time(Duration::from_secs(2)));
    breaker.trip(NOW).expect("closed");
    let later = NOW + Duration::from_secs(5);
    drop(breaker.try_acquire(later).expect("a trial"));
    let lost = breaker.admit(later).expect("the place is free again");
    assert!(breaker.try_acquire(later + Duration::from_secs(2) - MILLISECOND).is_err());
    let overdue = later + Duration::from_secs(2);
    let other = breaker.admit(overdue).expect("the first is overdue");
    assert_eq!(breaker.report(overdue, lost, Outcome::Failure), None);
    assert!(breaker.report(overdue, other, Outcome::Success).is_some());
}

#[test]
fn operators_can_open_and_close_it() {
    let breaker = Arc::new(breaker(|config| config));
    breaker.trip(NOW).expect("closed");
    assert_eq!(breaker.trip(NOW), None);
    let error = breaker.try_acquire_owned(NOW).expect_err("open").to_string();
    assert_eq!(error, "cannot call: the breaker is open until 1005.000000s: it was tripped");
    breaker.reset(NOW).expect("open");
    assert_eq!(breaker.reset(NOW), None);
    let permit = breaker.try_acquire_owned(NOW).expect("closed");
    drop(permit);
}

#[test]
fn jitter_lengthens_by_no_more_than_its_share_and_depends_on_the_seed() {
    let config = || Config::builder().jitter_percent(20).build().expect("in range");
    let times: Vec<_> = (0..100)
        .map(|seed| {
            let breaker = Breaker::new(config(), seed);
            breaker.trip(NOW).expect("closed");
            breaker.status(NOW).retry_after.expect("open")
        })
        .collect();
    let range = Duration::from_secs(5)..=Duration::from_secs(6);
    assert!(times.iter().all(|time| range.contains(time)), "{times:?}");
    let (least, most) = (times.iter().min(), times.iter().max());
    assert!(most > least.map(|least| *least + Duration::from_millis(900)).as_ref());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait(u64),
    Start,
    End(u8, Outcome),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(vec![Outcome::Success, Outcome::Failure, Outcome::Ignored]);
    prop_oneof![
        (0u64..3_000).prop_map(Step::Wait),
        Just(Step::Start),
        Just(Step::Start),
        (any::<u8>(), outcome.clone()).prop_map(|(which, outcome)| Step::End(which, outcome)),
        (any::<u8>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
    ]
}

proptest! {
    /// Nothing is admitted while it is open, no more than the trials while it is half-open, and
    /// it closes only by as many successful trials.
    #[test]
    fn it_never_admits_more_than_its_state_allows(
        in_a_row in 1u32..4, trials in 1u8..4, steps in prop::collection::vec(step(), 0..300),
    ) {
        let trial_time = Duration::from_millis(1_500);
        let breaker = breaker(|config| {
            config.failures_in_a_row(in_a_row).failure_percent(0).trials(trials)
                .trial_time(trial_time).open_time(Duration::from_secs(1))
        });
        let (mut now, mut running) = (NOW, Vec::new());
        let (mut open_until, mut successes, mut admitted, mut overdue) = (None, 0, 0, now);
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis),
                Step::Start => {
                    let before = phase(&breaker, now);
                    match breaker.admit(now) {
                        Ok(ticket) if ticket.is_trial() => {
                            prop_assert!(open_until.is_none_or(|until| until <= now));
                            if before == Phase::Open || admitted == trials && overdue <= now {
                                (admitted, successes, overdue) = (0, 0, now + trial_time);
                            }
                            admitted += 1;
                            prop_assert!(admitted <= trials);
                            running.push(ticket);
                        }
                        Ok(ticket) => {
                            prop_assert_eq!(before, Phase::Closed);
                            running.push(ticket);
                        }
                        Err(rejected) => {
                            prop_assert_ne!(before, Phase::Closed);
                            prop_assert!(rejected.retry_at.is_none_or(|at| at > now));
                        }
                    }
                }
                Step::End(which, outcome) if !running.is_empty() => {
                    let ticket = running.swap_remove(usize::from(which) % running.len());
                    let state = State::unpack(breaker.state.load(Ordering::SeqCst));
                    let counts = ticket.is_trial() && state.period() == ticket.0;
                    let change = breaker.report(now, ticket, outcome);
                    match (counts, outcome) {
                        (true, Outcome::Success) => successes += 1,
                        (true, Outcome::Ignored) => admitted -= 1,
                        _ => {}
                    }
                    match change.map(|change| change.to) {
                        Some(Phase::Open) => {
                            open_until = Some(now + Duration::from_secs(1));
                        }
                        Some(Phase::Closed) => {
                            prop_assert_eq!(successes, trials);
                            open_until = None;
                        }
                        Some(Phase::HalfOpen) | None => {}
                    }
                }
                Step::End(..) => {}
            }
        }
    }

    #[test]
    fn no_time_panics(times in prop::collection::vec((any::<u64>(), 0u8..3), 0..100)) {
        let breaker = breaker(|config| config.failures_in_a_row(1).trials(1));
        for (nanos, outcome) in times {
            let now = Instant::from_nanos(nanos);
            let outcome = match outcome {
                0 => Outcome::Success,
                1 => Outcome::Failure,
                _ => Outcome::Ignored,
            };
            if let Ok(permit) = breaker.try_acquire(now) {
                permit.finish(now, outcome);
            }
            let _line = breaker.status(now).to_string();
        }
    }
}
