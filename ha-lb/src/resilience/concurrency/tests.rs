//! What users of a limit see.

use proptest::prelude::*;

use super::*;

const NOW: Instant = Instant::from_secs(100);

/// A server that works on `capacity` calls at once, 10 ms each, and lets the others wait; `callers`
/// call again as soon as they were answered or refused. Returns the limits after each window.
fn limits(limit: &AdaptiveLimit, capacity: u32, callers: u32, windows: u32) -> Vec<u32> {
    let mut now = NOW;
    let mut seen = Vec::new();
    for _ in 0..windows {
        for _ in 0..100 {
            let permits: Vec<_> = (0..callers).map_while(|_| limit.try_acquire(now).ok()).collect();
            let load = u32::try_from(permits.len()).expect("few").max(capacity);
            now += Duration::from_millis(10) * load / capacity;
            for permit in permits {
                permit.finish(now, Outcome::Success);
            }
        }
        seen.push(limit.limit());
    }
    seen
}

#[test]
fn gradient_grows_until_latency_rises_and_hardly_from_there_on() {
    let limit = AdaptiveLimit::builder(Gradient2::default())
        .min(5)
        .max(1000)
        .initial(10)
        .window(Duration::from_millis(100))
        .build()
        .expect("in range");
    let seen = limits(&limit, 50, 2000, 20);
    // Eight a second while latency is as it was; at 75 calls it is half as long again.
    assert!(seen[5] >= seen[0] + 38, "{seen:?}");
    assert!(seen[10..].windows(2).all(|two| two[1] <= two[0] + 5), "{seen:?}");
    assert!((60..=150).contains(&limit.limit()), "{}", limit.status());
}

#[test]
fn nobody_calls_and_the_limit_stays() {
    let limit = AdaptiveLimit::builder(Aimd::default())
        .window(Duration::from_millis(1))
        .build()
        .expect("in range");
    assert!(limits(&limit, 50, 3, 50).iter().all(|limit| *limit == 20));
    assert_eq!(
        limit.status().to_string(),
        "aimd: 0 of 20 calls, 0 refused: less than half of it was used"
    );
}

#[test]
fn aimd_backs_off_once_a_window_and_bears_stray_failures() {
    let limit = AdaptiveLimit::builder(Aimd::default())
        .min(1)
        .max(500)
        .initial(100)
        .window(Duration::from_millis(100))
        .build()
        .expect("in range");
    let mut now = NOW;
    let mut round = |failures: usize| {
        let permits: Vec<_> = (0..100).map_while(|_| limit.try_acquire(now).ok()).collect();
        now += Duration::from_millis(100);
        for (index, permit) in permits.into_iter().enumerate() {
            let outcome = if index < failures { Outcome::Failure } else { Outcome::Success };
            permit.finish(now, outcome);
        }
        limit.limit()
    };
    round(0);
    assert_eq!([round(0), round(4)], [101, 102]);
    // What a window has seen shows when the next one begins.
    let shrunk: Vec<_> = (0..4).map(|_| round(50)).collect();
    assert_eq!(shrunk, [103, 92, 83, 75]);
}

#[test]
fn permits_in_use_stay_counted_when_the_limit_shrinks() {
    #[derive(Debug)]
    struct One;
    impl LimitAlgorithm for One {
        fn name(&self) -> &'static str {
            "one"
        }
        fn next(&mut self, _: f64, _: &Sample) -> f64 {
            1.0
        }
        fn explain(&self) -> String {
            String::new()
        }
    }
    let limit = AdaptiveLimit::builder(One)
        .min(1)
        .initial(4)
        .min_calls(1)
        .window(Duration::from_millis(1))
        .build()
        .expect("in range");
    let limit = Arc::new(limit);
    let mut permits: Vec<_> =
        (0..4).map(|_| limit.try_acquire_owned(NOW).expect("four are allowed")).collect();
    let later = NOW + Duration::from_secs(1);
    permits.pop().expect("four").finish(NOW, Outcome::Success);
    permits.pop().expect("three").finish(later, Outcome::Success);
    assert_eq!((limit.limit(), limit.in_flight()), (1, 2));
    let error = limit.try_acquire(later).expect_err("two are more than one");
    assert_eq!((error.in_flight, error.limit), (2, 1));
    drop(permits);
    assert!(limit.try_acquire(later).is_ok());
}

#[test]
fn every_wrong_setting_is_named() {
    let error = AdaptiveLimit::builder(Vegas::default())
        .min(0)
        .window(Duration::ZERO)
        .min_calls(0)
        .build()
        .expect_err("three are wrong");
    let paths: Vec<_> = error.problems().iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["min", "window", "min_calls"]);
    assert!(AdaptiveLimit::builder(Aimd::default()).min(9).max(8).build().is_err());
}

#[test]
fn threads_never_have_more_calls_under_way_than_the_limit() {
    let limit = AdaptiveLimit::builder(Aimd::default()).min(1).max(3).initial(3);
    let limit = limit.build().expect("in range");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..2_000 {
                    let Ok(permit) = limit.try_acquire(NOW) else { continue };
                    assert!(limit.in_flight() <= 3);
                    permit.finish(NOW + Duration::from_millis(turn), Outcome::Success);
                }
            });
        }
    });
    assert_eq!(limit.in_flight(), 0);
}

fn algorithm(which: u8) -> Box<dyn LimitAlgorithm> {
    match which {
        0 => Box::new(Aimd::default()),
        1 => Box::new(Gradient2::default()),
        _ => Box::new(Vegas::default()),
    }
}

proptest! {
    #[test]
    fn the_limit_stays_in_its_bounds_and_calls_within_the_limit(
        which in 0u8..3, min in 1u32..10, more in 0u32..50,
        steps in prop::collection::vec((any::<u64>(), 0u8..5), 0..300),
    ) {
        let max = min + more;
        let limit = AdaptiveLimit::builder(algorithm(which))
            .min(min)
            .max(max)
            .initial(7)
            .min_calls(2)
            .window(Duration::from_millis(1))
            .build()
            .expect("in range");
        let mut permits = Vec::new();
        for (nanos, step) in steps {
            let now = Instant::from_nanos(nanos);
            match step {
                0 | 1 => {
                    let before = (limit.in_flight(), limit.limit());
                    match limit.try_acquire(now) {
                        Ok(permit) => {
                            prop_assert!(before.0 < before.1);
                            permits.push(permit);
                        }
                        Err(_) => prop_assert!(before.0 >= before.1),
                    }
                }
                2 => permits.pop().into_iter().for_each(|p| p.finish(now, Outcome::Success)),
                3 => permits.pop().into_iter().for_each(|p| p.finish(now, Outcome::Failure)),
                _ => drop(permits.pop()),
            }
            prop_assert!((min..=max).contains(&limit.limit()));
            prop_assert_eq!(Ok(limit.in_flight()), u32::try_from(permits.len()));
            let _line = limit.status().to_string();
        }
    }
}
