//! The state's changes under loom, see `atomics.rs` for the command.

use loom::sync::Arc;

use super::*;

fn breaker(trials: u8) -> Breaker {
    let config = Config::builder()
        .failures_in_a_row(1)
        .failure_percent(0)
        .jitter_percent(0)
        .trials(trials)
        .build()
        .unwrap();
    let mut breaker = Breaker::new(config, 0);
    breaker.successes = Counter::new(0);
    breaker.failures = Counter::new(0);
    breaker
}

#[test]
fn loom_two_threads_do_not_both_get_the_only_trial() {
    loom::model(|| {
        let breaker = Arc::new(breaker(1));
        breaker.trip(Instant::ZERO);
        let later = Instant::from_secs(5);
        let other = Arc::clone(&breaker);
        let thread = loom::thread::spawn(move || other.admit(later).is_ok());
        let mine = breaker.admit(later).is_ok();
        assert!(mine ^ thread.join().unwrap());
    });
}

#[test]
fn loom_a_success_and_a_failure_of_two_trials_open_it() {
    loom::model(|| {
        let breaker = Arc::new(breaker(2));
        breaker.trip(Instant::ZERO);
        let later = Instant::from_secs(5);
        let (good, bad) = (breaker.admit(later).unwrap(), breaker.admit(later).unwrap());
        let other = Arc::clone(&breaker);
        let thread = loom::thread::spawn(move || other.report(later, good, Outcome::Success));
        let opened = breaker.report(later, bad, Outcome::Failure);
        assert_eq!(thread.join().unwrap(), None);
        assert!(opened.is_some());
        assert_eq!(breaker.status(later).phase, Phase::Open);
    });
}

#[test]
fn loom_it_is_opened_once() {
    loom::model(|| {
        let breaker = Arc::new(breaker(1));
        let (one, two) =
            (breaker.admit(Instant::ZERO).unwrap(), breaker.admit(Instant::ZERO).unwrap());
        let other = Arc::clone(&breaker);
        let thread =
            loom::thread::spawn(move || other.report(Instant::ZERO, one, Outcome::Failure));
        let mine = breaker.report(Instant::ZERO, two, Outcome::Failure);
        let theirs = thread.join().unwrap();
        assert!(mine.is_some() ^ theirs.is_some());
        assert_eq!(breaker.status(Instant::ZERO).openings, 1);
    });
}
