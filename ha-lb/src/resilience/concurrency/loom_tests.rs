//! Permits and windows under loom, see `atomics.rs` for the command.

use loom::sync::Arc;

use super::*;

/// Counts how often it was asked, and for how many calls.
#[derive(Debug)]
struct Counting(Arc<Mutex<Vec<u32>>>);

impl LimitAlgorithm for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn next(&mut self, current: f64, sample: &Sample) -> f64 {
        self.0.lock().unwrap().push(sample.successes);
        current
    }

    fn explain(&self) -> String {
        String::new()
    }
}

#[test]
fn loom_no_more_calls_than_the_limit_and_no_call_seen_twice() {
    loom::model(|| {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let limit = AdaptiveLimit::builder(Counting(Arc::clone(&samples)))
            .min(1)
            .max(1)
            .min_calls(1)
            .window(Duration::from_millis(1))
            .build()
            .unwrap();
        limit.seen.ends.store(1, Ordering::Relaxed);
        let limit = Arc::new(limit);
        let call = |limit: &AdaptiveLimit| {
            let now = Instant::from_secs(1);
            let Ok(permit) = limit.try_acquire(now) else { return 0 };
            assert!(limit.in_flight() <= 1);
            permit.finish(now, Outcome::Success);
            1
        };
        let other = Arc::clone(&limit);
        let thread = loom::thread::spawn(move || call(&other));
        let calls = call(&limit) + thread.join().unwrap();
        let seen: u32 = samples.lock().unwrap().iter().sum();
        let left = limit.seen.successes.load(Ordering::Relaxed);
        assert_eq!(seen + left, calls);
        assert_eq!(limit.in_flight(), 0);
    });
}
