//! Who is ejected, for how long, and who never is.

use std::time::Duration;

use proptest::prelude::*;

use super::super::ConfigBuilder;
use super::*;
use crate::random::{STEP, mix};

const START: Instant = Instant::from_secs(1_000);

/// What an endpoint does in an interval.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    good: u64,
    error_answers: u64,
    local_errors: u64,
    mean: Duration,
}

fn good(good: u64) -> Work {
    Work { good, ..Work::default() }
}

/// A detector with its endpoints, numbered from 0.
struct Bench {
    detector: Detector<usize>,
    now: Instant,
    totals: Vec<Totals>,
    health: Vec<Health>,
}

impl Bench {
    fn new(config: Config, hosts: usize) -> Self {
        let detector = Detector::new(config, START);
        let (totals, health) = (vec![Totals::default(); hosts], vec![Health::Unknown; hosts]);
        let mut bench = Self { detector, now: START, totals, health };
        bench.interval(&[]);
        bench
    }

    /// An interval in which the endpoints do this; those that are out do nothing.
    fn interval(&mut self, work: &[Work]) -> Vec<Verdict<usize>> {
        for (host, work) in work.iter().enumerate() {
            if matches!(self.detector.standing(&host), Some(Standing::Out { .. })) {
                continue;
            }
            let totals = &mut self.totals[host];
            totals.completed += work.good;
            totals.error_answers += work.error_answers;
            totals.failures += work.local_errors;
            let timed = work.good + work.error_answers;
            totals.timed += timed;
            totals.busy += work.mean * u32::try_from(timed).expect("small");
        }
        self.now = self.detector.deadline();
        let samples = self.totals.iter().zip(&self.health).map(|(totals, health)| Sample {
            totals: *totals,
            health: *health,
            usable: *health != Health::Unhealthy,
        });
        self.detector.sweep(self.now, samples.enumerate().collect::<Vec<_>>())
    }

    fn strike(&mut self, host: usize) -> Option<Verdict<usize>> {
        let cause = Cause::Run { detection: Detection::LocalErrors, errors: 5 };
        let usable = self.totals.len() - self.detector.ejected();
        self.detector.strike(self.now, &host, cause, usable)
    }

    fn is_out(&self, host: usize) -> bool {
        matches!(self.detector.standing(&host), Some(Standing::Out { .. }))
    }

    /// Intervals until the endpoint is back.
    fn intervals_out(&mut self, host: usize) -> usize {
        (1..1000)
            .find(|_| {
                self.interval(&[]);
                !self.is_out(host)
            })
            .expect("it comes back")
    }
}

fn config() -> ConfigBuilder {
    Config::builder()
}

#[test]
fn a_success_rate_far_below_the_others_is_ejected() {
    let mut bench = Bench::new(Config::default(), 10);
    let mut work = vec![Work { good: 200, error_answers: 2, ..Work::default() }; 10];
    work[3] = Work { good: 150, error_answers: 50, ..Work::default() };
    let verdicts = bench.interval(&work);
    let [Verdict::Eject { key: 3, cause, until }] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!(cause.to_string(), "75.0 % of answers good, on average 96.6 %");
    assert_eq!(until.since(bench.now), Duration::from_secs(30));
    // The same for connections, whatever the answers say.
    let mut bench = Bench::new(Config::default(), 10);
    work[3] = Work { good: 200, local_errors: 60, ..Work::default() };
    let verdicts = bench.interval(&work);
    assert!(matches!(verdicts[..], [Verdict::Eject { key: 3, .. }]), "{verdicts:?}");
}

#[test]
fn too_little_work_or_too_few_endpoints_prove_nothing() {
    for (hosts, volume, ejects) in
        [(10, 99, false), (10, 100, true), (5, 100, true), (4, 100, false)]
    {
        let mut bench = Bench::new(Config::default(), hosts);
        let mut work = vec![good(volume); hosts];
        work[0] = Work { good: 0, error_answers: volume, ..Work::default() };
        let ejected = bench.interval(&work).iter().any(|v| matches!(v, Verdict::Eject { .. }));
        assert_eq!(ejected, ejects, "{hosts} endpoints with {volume}");
    }
}

#[test]
fn without_the_guard_against_chance_equal_endpoints_are_ejected() {
    // 99 of 100 good, and one with 97: nothing special, but 2.9 deviations away.
    let mut work = vec![Work { good: 99, error_answers: 1, ..Work::default() }; 10];
    work[6] = Work { good: 97, error_answers: 3, ..Work::default() };
    let mut envoys = Bench::new(config().significance(0.0).build().expect("in range"), 10);
    assert!(matches!(envoys.interval(&work)[..], [Verdict::Eject { key: 6, .. }]));
    let mut ours = Bench::new(Config::default(), 10);
    assert_eq!(ours.interval(&work), []);
}

#[test]
fn each_ejection_is_longer_and_good_intervals_are_counted_off() {
    let mut bench = Bench::new(Config::default(), 10);
    let mut times = Vec::new();
    for _ in 0..12 {
        assert!(matches!(bench.strike(2), Some(Verdict::Eject { .. })));
        times.push(bench.intervals_out(2));
    }
    // It was in for no interval in between: 30 s more each time, up to 300 s.
    assert_eq!(times, [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 30, 30]);
    // Twelve times, less eleven intervals.
    for _ in 0..11 {
        bench.interval(&vec![good(10); 10]);
    }
    bench.strike(2);
    assert_eq!(bench.intervals_out(2), 6);
    for _ in 0..9 {
        bench.interval(&vec![good(10); 10]);
    }
    bench.strike(2);
    assert_eq!(bench.intervals_out(2), 3);
}

#[test]
fn who_comes_back_is_on_probation_unless_a_check_vouches_for_it() {
    let mut bench = Bench::new(Config::default(), 10);
    let work = vec![good(10); 10];
    bench.strike(0);
    bench.interval(&work);
    bench.interval(&work);
    let back = bench.interval(&work);
    assert_eq!(back, [Verdict::Restore { key: 0, on_probation: true }]);
    // Four are too few, five are enough.
    let mut few = work.clone();
    few[0] = good(4);
    assert_eq!(bench.interval(&few), []);
    few[0] = good(1);
    assert_eq!(bench.interval(&few), [Verdict::Prove { key: 0 }]);
    assert_eq!(bench.detector.standing(&0), Some(Standing::In));
    // One that fails again goes again.
    bench.strike(0);
    bench.intervals_out(0);
    let mut fails = work.clone();
    fails[0] = Work { good: 2, local_errors: 3, ..Work::default() };
    let verdicts = bench.interval(&fails);
    let [Verdict::Eject { key: 0, cause, .. }] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!(cause.to_string(), "3 of 5 failed after it came back");
    // One whose checks fail stays out until they pass, and needs no probation then.
    bench.health[0] = Health::Unhealthy;
    for _ in 0..40 {
        assert_eq!(bench.interval(&work), []);
    }
    bench.health[0] = Health::Healthy;
    assert_eq!(bench.interval(&work), [Verdict::Restore { key: 0, on_probation: false }]);
}

#[test]
fn some_detections_only_look_on() {
    let mut bench = Bench::new(config().success_rate(10.0).build().expect("in range"), 10);
    let mut work = vec![good(60); 10];
    work[1] = Work { good: 8, error_answers: 52, ..Work::default() };
    let verdicts = bench.interval(&work);
    let [Verdict::Spare { key: 1, cause, because: Spared::Observing }] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!(cause.to_string(), "86.7 % of answers failed");
    let eject = config().enforce(Detection::FailurePercentage, Enforce::Eject);
    let mut bench = Bench::new(eject.build().expect("in range"), 10);
    assert!(matches!(bench.interval(&work)[..], [Verdict::Eject { key: 1, .. }]));
    let off = config().enforce(Detection::FailurePercentage, Enforce::Off);
    let mut bench = Bench::new(off.build().expect("in range"), 10);
    assert_eq!(bench.interval(&work), []);
}

#[test]
fn who_is_slow_for_long_is_an_outlier() {
    let slow = config().enforce(Detection::Latency, Enforce::Eject).latency(4.0, 2);
    let mut bench = Bench::new(slow.build().expect("in range"), 6);
    let ms = Duration::from_millis;
    let mut work: Vec<_> = (10..16).map(|mean| Work { mean: ms(mean), ..good(100) }).collect();
    work[5].mean = ms(60);
    assert_eq!(bench.interval(&work), [], "one interval proves nothing");
    let verdicts = bench.interval(&work);
    let [Verdict::Eject { key: 5, cause, .. }] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!(cause.to_string(), "60.0 ms on average, the others 12.0 ms");
    // An interval with little work starts the count anew.
    let slow = config().enforce(Detection::Latency, Enforce::Eject).latency(4.0, 2);
    let mut bench = Bench::new(slow.build().expect("in range"), 6);
    let little = vec![Work { mean: ms(60), ..good(99) }; 6];
    for work in [&work, &little, &work] {
        assert_eq!(bench.interval(work), []);
    }
}

#[test]
fn the_last_one_that_is_usable_stays() {
    let all = config().max_ejection_percent(100).build().expect("in range");
    let mut bench = Bench::new(all.clone(), 3);
    assert!(matches!(bench.strike(0), Some(Verdict::Eject { .. })));
    assert!(matches!(bench.strike(1), Some(Verdict::Eject { .. })));
    let spared = bench.strike(2);
    assert!(matches!(spared, Some(Verdict::Spare { because: Spared::LastOne, .. })), "{spared:?}");
    // Those that are unhealthy are nobody to fall back to.
    let mut bench = Bench::new(all, 8);
    bench.health[1..].fill(Health::Unhealthy);
    let mut work = vec![good(1_000); 8];
    work[0] = Work { error_answers: 1_000, ..Work::default() };
    let verdicts = bench.interval(&work);
    assert!(matches!(verdicts[..], [Verdict::Spare { key: 0, because: Spared::LastOne, .. }]));
    let none = config().max_ejection_percent(0).build().expect("in range");
    let mut bench = Bench::new(none, 3);
    assert!(matches!(bench.strike(0), Some(Verdict::Spare { because: Spared::Enough, .. })));
}

#[test]
fn every_wrong_setting_is_named() {
    let error = config()
        .interval(Duration::ZERO)
        .max_ejection(Duration::from_secs(1))
        .max_ejection_percent(101)
        .success_rate(f64::NAN)
        .failure_percentage(0)
        .latency(0.5, 0)
        .significance(-1.0)
        .build()
        .expect_err("all wrong");
    assert_eq!(error.problems().len(), 8, "{error}");
    assert!(error.to_string().contains("max_ejection: 1s is not allowed: base_ejection to 24 h"));
}

/// Failures of `volume`, each with this probability.
fn binomial(seed: &mut u64, volume: u64, probability: f64) -> u64 {
    let fails = |_: &u64| {
        *seed = seed.wrapping_add(STEP);
        let bits = u32::try_from(mix(*seed) >> 32).expect("32 bits");
        f64::from(bits) < probability * 4_294_967_296.0
    };
    (0..volume).filter(fails).count().try_into().expect("small")
}

fn step() -> impl Strategy<Value = (Vec<(u64, u64, u64)>, Option<usize>)> {
    let work = (0_u64..300, 0_u64..300, 0_u64..300);
    (prop::collection::vec(work, 12), prop::option::of(0_usize..12))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equal_endpoints_are_not_ejected_by_chance(
        seed: u64, hosts in 5_usize..30, volume in 100_u64..400, probability in 0.0_f64..0.4,
    ) {
        let mut bench = Bench::new(Config::default(), hosts);
        let mut seed = seed;
        for _ in 0..20 {
            let work: Vec<_> = (0..hosts).map(|_| {
                let failed = binomial(&mut seed, volume, probability);
                Work { good: volume - failed, error_answers: failed, ..Work::default() }
            }).collect();
            let verdicts = bench.interval(&work);
            prop_assert!(verdicts.is_empty(), "{:?}", verdicts);
        }
    }

    #[test]
    fn never_more_are_out_than_allowed_and_all_come_back(
        hosts in 1_usize..12, percent in 0_u8..=100,
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let loose = config()
            .max_ejection_percent(percent)
            .success_rate_minimum(1, 1)
            .failure_percentage_minimum(1, 1)
            .enforce(Detection::FailurePercentage, Enforce::Eject);
        let mut bench = Bench::new(loose.build().expect("in range"), hosts);
        let allowed = match percent {
            0 => 0,
            percent => (hosts * usize::from(percent) / 100).max(1),
        };
        let is_fine = |bench: &Bench| {
            let out = (0..hosts).filter(|host| bench.is_out(*host)).count();
            out == bench.detector.ejected() && out <= allowed && out < hosts
        };
        for (work, strike) in steps {
            let work: Vec<_> = work.into_iter().take(hosts).map(|(good, answers, local)| {
                Work { good, error_answers: answers, local_errors: local, ..Work::default() }
            }).collect();
            bench.interval(&work);
            prop_assert!(is_fine(&bench));
            if let Some(host) = strike.filter(|host| *host < hosts) {
                bench.strike(host);
                prop_assert!(is_fine(&bench));
            }
        }
        // The longest ejection is 300 s; after it everyone proves itself.
        for _ in 0..=30 + 2 {
            bench.interval(&vec![good(10); hosts]);
        }
        for host in 0..hosts {
            prop_assert_eq!(bench.detector.standing(&host), Some(Standing::In));
        }
    }
}
