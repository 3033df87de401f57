//! What the executor tells the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ha_agents::Outcome;
use ha_agents::executor::Action;
use ha_agents::native::Dummy;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

use super::block_on;
use super::executor::{order, with_service};

/// Remembers the counters.
#[derive(Default)]
struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(counters.entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn operations_and_failures_are_counted_by_what_and_how() {
    let counters = Counters::default();
    with_local_recorder(&counters, || {
        block_on(with_service(|handle, mut results| async move {
            let dummy = Arc::new(Dummy::new());
            handle.add("d".parse().expect("a name"), Arc::clone(&dummy) as _);
            dummy.fail_next("stop", Outcome::GenericError);
            for (op, action) in [(1, Action::Start), (2, Action::Stop), (3, Action::Stop)] {
                handle.submit(order(op, "d", action)).await.expect("it runs");
                results.recv().await.expect("its end");
            }
        }));
    });
    let counters = counters.0.lock().unwrap_or_else(PoisonError::into_inner);
    let counted: BTreeMap<&str, u64> = counters
        .iter()
        .map(|(name, count)| (name.as_str(), count.load(Ordering::Relaxed)))
        .collect();
    let expected = BTreeMap::from([
        ("ha_executor_failures_total resource=d action=stop recovery=fence", 1),
        ("ha_executor_operations_total action=start outcome=ok", 1),
        ("ha_executor_operations_total action=stop outcome=error", 1),
        ("ha_executor_operations_total action=stop outcome=ok", 1),
    ]);
    assert_eq!(counted, expected);
}
