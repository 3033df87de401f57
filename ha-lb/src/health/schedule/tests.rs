//! The pace, the time limit and what a check starts from.

use ha_core::laws;
use proptest::prelude::*;

use super::*;

const START: Instant = Instant::from_secs(1_000);

fn pace() -> Pace {
    Pace::builder()
        .interval(Duration::from_millis(200))
        .fast_interval(Duration::from_millis(50))
        .down_interval(Duration::from_millis(400))
        .timeout(Duration::from_millis(100))
        .build()
        .expect("in range")
}

/// Runs checks that end at once with the results; returns how long after the one before each
/// was started, and the changes.
fn run(results: &[bool]) -> (Vec<u64>, Vec<Health>) {
    let mut schedule = Schedule::new(pace(), Health::Unknown, START, 1);
    let (mut out, mut pauses, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = START;
    for passed in results {
        let now = schedule.deadline().expect("a check is due");
        schedule.tick(now, &mut out);
        let Some(Output::Check(op)) = out.pop() else { panic!("no check at {now}") };
        pauses.push(u64::try_from(now.since(last).as_millis()).expect("small"));
        last = now;
        let result =
            if *passed { Ok(Passed::because("ok")) } else { Err(Failed::because("refused")) };
        schedule.handle(now, Input::Done(op, result), &mut out);
        for output in out.drain(..) {
            if let Output::Changed { to, .. } = output {
                changes.push(to);
            }
        }
    }
    (pauses, changes)
}

#[test]
fn the_pace_follows_the_health() {
    let results = [true, true, false, true, false, false, false, false, true, true, true];
    let (pauses, changes) = run(&results);
    assert_eq!(pauses, [0, 200, 200, 50, 200, 50, 50, 400, 400, 50, 200]);
    assert_eq!(changes, [Health::Healthy, Health::Unhealthy, Health::Healthy]);
}

#[test]
fn a_check_that_hangs_is_cancelled_and_counts_as_failed() {
    let mut schedule = Schedule::new(pace(), Health::Unknown, START, 1);
    let mut out = Vec::new();
    schedule.tick(START + Duration::from_millis(1), &mut out);
    assert_eq!(out, [Output::Check(OpId::FIRST)]);
    out.clear();
    schedule.tick(START + Duration::from_millis(101), &mut out);
    let reason = "no answer within 100ms".to_owned();
    let changed = Output::Changed { from: Health::Unknown, to: Health::Unhealthy, reason };
    assert_eq!(out, [Output::Cancel(OpId::FIRST), changed]);
    out.clear();
    // Its result comes too late to count.
    let late = Input::Done(OpId::FIRST, Ok(Passed::because("late")));
    schedule.handle(START + Duration::from_millis(102), late, &mut out);
    assert_eq!((out.as_slice(), schedule.health()), (&[][..], Health::Unhealthy));
}

/// A schedule at work: it answers checks as told and says what has changed.
struct Bench {
    schedule: Schedule,
    now: Instant,
    out: Vec<Output>,
}

impl Bench {
    fn new(pace: Pace) -> Self {
        let schedule = Schedule::new(pace, Health::Unknown, START, 1);
        Self { schedule, now: START, out: Vec::new() }
    }

    /// Makes the next check, which ends at once; returns how long it was waited for.
    fn check(&mut self, passed: bool) -> Duration {
        let due = self.schedule.deadline().expect("a check is due");
        let waited = due.since(self.now);
        self.now = due;
        self.schedule.tick(due, &mut self.out);
        let Some(Output::Check(op)) = self.out.pop() else { panic!("no check at {due}") };
        let result =
            if passed { Ok(Passed::because("ok")) } else { Err(Failed::because("refused")) };
        self.schedule.handle(due, Input::Done(op, result), &mut self.out);
        waited
    }

    fn observe(&mut self, how: OnError) {
        let failed = Failed::because("10 errors in a row");
        self.schedule.handle(self.now, Input::Observed(how, failed), &mut self.out);
    }

    /// The changes since the last call.
    fn changes(&mut self) -> Vec<(Health, String)> {
        let change = |output| match output {
            Output::Changed { to, reason, .. } => Some((to, reason)),
            Output::Cancel(_) | Output::Check(_) => None,
        };
        self.out.drain(..).filter_map(change).collect()
    }
}

/// Rise 2, fall 3.
fn starting(init_state: InitState) -> Bench {
    let mut pace = pace();
    pace.init_state = init_state;
    Bench::new(pace)
}

#[test]
fn an_endpoint_starts_as_it_was_told_to() {
    use Health::{Healthy, Unhealthy, Unknown};
    for (init_state, begins, turning, checks) in [
        (InitState::FullyUp, Healthy, false, 3),
        (InitState::Up, Healthy, false, 1),
        (InitState::Down, Unhealthy, true, 1),
        (InitState::FullyDown, Unhealthy, true, 2),
        (InitState::FirstCheck, Unknown, true, 1),
        (InitState::FirstCheck, Unknown, false, 1),
    ] {
        let mut bench = starting(init_state);
        assert_eq!(bench.schedule.health(), begins, "{init_state}");
        let turned = (1..=checks).filter(|_| {
            bench.check(turning);
            !bench.changes().is_empty()
        });
        assert_eq!(turned.collect::<Vec<_>>(), [checks], "{init_state} with {turning}");
        let expected = if turning { Healthy } else { Unhealthy };
        assert_eq!(bench.schedule.health(), expected, "{init_state}");
        assert_eq!(init_state.to_string().parse(), Ok(init_state));
    }
    // A check that agrees with the start makes it an ordinary one.
    let mut bench = starting(InitState::Up);
    bench.check(true);
    bench.check(false);
    assert_eq!(bench.schedule.health(), Healthy);
    assert!("UP".parse::<InitState>().is_err());
}

#[test]
fn after_maintenance_an_endpoint_starts_anew() {
    for (init_state, expected) in [
        (InitState::FirstCheck, Health::Healthy),
        (InitState::Up, Health::Healthy),
        (InitState::Down, Health::Unhealthy),
    ] {
        let mut bench = starting(init_state);
        bench.check(true);
        bench.schedule.handle(bench.now, Input::Pause, &mut bench.out);
        bench.changes();
        bench.schedule.handle(bench.now, Input::Resume, &mut bench.out);
        assert_eq!(bench.schedule.health(), expected);
        let told: Vec<_> = bench.changes();
        let down = (Health::Unhealthy, "not checked yet, init-state down".to_owned());
        assert_eq!(told, if expected == Health::Unhealthy { vec![down] } else { Vec::new() });
    }
}

#[test]
fn what_is_known_already_is_not_started_anew() {
    let mut pace = pace();
    pace.init_state = InitState::FullyDown;
    let schedule = Schedule::new(pace, Health::Healthy, START, 1);
    assert_eq!(schedule.health(), Health::Healthy);
}

#[test]
fn errors_of_the_work_itself_bring_the_next_check_forward() {
    use Health::Unhealthy;
    // How many failed checks in a row it then takes, of three.
    for (how, more) in [
        (OnError::FastInterval, 3),
        (OnError::FailCheck, 2),
        (OnError::SuddenDeath, 1),
        (OnError::MarkDown, 0),
    ] {
        let mut bench = starting(InitState::FirstCheck);
        bench.check(true);
        bench.changes();
        bench.observe(how);
        let mut failed = 0;
        let mut changes = bench.changes();
        while changes.is_empty() {
            let waited = bench.check(false);
            assert_eq!(waited, Duration::from_millis(50), "{how:?}");
            failed += 1;
            changes = bench.changes();
        }
        let reason = if more == 0 { "10 errors in a row" } else { "refused" };
        assert_eq!((failed, changes), (more, vec![(Unhealthy, reason.to_owned())]), "{how:?}");
        // It is out already.
        bench.observe(OnError::MarkDown);
        assert_eq!(bench.changes(), []);
    }
}

#[test]
fn first_checks_of_many_are_spread() {
    let explicit = Pace::builder().start_spread(Duration::from_secs(9)).build().expect("in range");
    assert_eq!(explicit.start_spread(1), Duration::from_secs(9));
    let default = Pace::default();
    assert_eq!(default.start_spread(100), Duration::ZERO);
    assert_eq!(default.start_spread(101), Duration::from_secs(2));
    let delay = Duration::from_millis(700);
    let late = Schedule::new(pace(), Health::Unknown, START, 1).starting_after(delay);
    let due = late.deadline().expect("due");
    assert_eq!(due.since(START).as_millis(), 700);
    let error = Pace::builder().start_spread(Duration::from_hours(25)).build();
    assert!(error.expect_err("too long").to_string().contains("start_spread: 90000s"));
}

#[test]
fn every_wrong_setting_is_named() {
    let error = Pace::builder().interval(Duration::ZERO).rise(0).fall(1001).spread_percent(51);
    let error = error.build().expect_err("all wrong").to_string();
    for path in ["interval: 0ns", "timeout: 0ns", "rise: 0", "fall: 1001", "spread_percent: 51"] {
        assert!(error.contains(path), "{path} is missing in {error}");
    }
}

fn init_state() -> impl Strategy<Value = InitState> {
    let all = [
        InitState::FirstCheck,
        InitState::FullyUp,
        InitState::Up,
        InitState::Down,
        InitState::FullyDown,
    ];
    prop::sample::select(all.to_vec())
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => (1_u64..20, any::<bool>()).prop_map(|(op, passed)| {
            let result =
                if passed { Ok(Passed::because("")) } else { Err(Failed::because("")) };
            Input::Done(OpId::new(op), result)
        }),
        1 => any::<u8>().prop_map(|how| {
            let how = match how % 4 {
                0 => OnError::FastInterval,
                1 => OnError::FailCheck,
                2 => OnError::SuddenDeath,
                _ => OnError::MarkDown,
            };
            Input::Observed(how, Failed::because("errors"))
        }),
        1 => Just(Input::Pause),
        1 => Just(Input::Resume),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(
        steps in prop::collection::vec((0_u64..500, prop::option::of(input())), 0..60),
        spread in 0_u8..=50, seed: u64, init_state in init_state(),
    ) {
        let mut pace = pace();
        (pace.spread_percent, pace.init_state) = (spread, init_state);
        let steps: Vec<_> = steps
            .into_iter()
            .map(|(wait, input)| (Duration::from_millis(wait), input))
            .collect();
        let new = || Schedule::new(pace.clone(), Health::Unknown, START, seed);
        prop_assert_eq!(laws::check(new, &steps), Ok(()));
    }
}
