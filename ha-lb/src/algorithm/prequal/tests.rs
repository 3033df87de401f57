//! What picks make of answers.

use std::collections::BTreeMap;

use super::*;
use crate::endpoint::{Endpoint, Weight, parse_list};
use crate::pick::Outcome;
use crate::pool::Pool;

const NOW: Instant = Instant::from_secs(500);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn list(count: usize) -> Vec<Endpoint> {
    let text: Vec<_> = (1..=count).map(|n| format!("s{n}=127.0.0.1:{n}")).collect();
    parse_list(&text.join(",")).expect("endpoints")
}

fn name(text: &str) -> EndpointName {
    text.parse().expect("a name")
}

fn pool(config: PrequalConfig, endpoints: Vec<Endpoint>) -> (Arc<Prequal>, Pool) {
    let prequal = Arc::new(Prequal::with_reports_and_seed(config, 7));
    let pool = Pool::builder(prequal.clone()).endpoints(endpoints).build();
    (prequal, pool.expect("unique names"))
}

/// Nothing is removed but by its last use.
fn lasting() -> PrequalConfig {
    PrequalConfig::builder().removals_per_pick(0.0).build().expect("in range")
}

fn pick_at(pool: &Pool, now: Instant) -> String {
    let pick = pool.pick(&PickContext::new().with_now(now)).expect("usable");
    pick.name().to_string()
}

#[test]
fn the_fastest_cold_one_is_picked_and_the_least_crowded_if_all_are_hot() {
    let (prequal, pool) = pool(lasting(), list(40));
    // The distribution: nearly all have about four in flight.
    for number in 1..=40 {
        prequal.report(&name(&format!("s{number}")), 4, ms(50), NOW);
    }
    let later = NOW + ms(1_500);
    prequal.report(&name("s1"), 90, ms(1), later);
    prequal.report(&name("s2"), 2, ms(20), later);
    prequal.report(&name("s3"), 1, ms(30), later);
    assert_eq!(pick_at(&pool, later), "s2", "s1 is the fastest and hot");
    let later = later + ms(1_500);
    prequal.report(&name("s4"), 80, ms(1), later);
    prequal.report(&name("s5"), 70, ms(90), later);
    assert_eq!(pick_at(&pool, later), "s5", "both are hot");
}

#[test]
fn an_answer_counts_for_a_second_and_without_two_the_less_loaded_is_taken() {
    let (prequal, pool) = pool(lasting(), list(40));
    prequal.report(&name("s1"), 0, ms(1), NOW);
    prequal.report(&name("s2"), 0, ms(2), NOW);
    assert_eq!(pick_at(&pool, NOW + ms(900)), "s1");
    let others = (0..50).filter(|_| pick_at(&pool, NOW + ms(1_100)) != "s1").count();
    assert!(others > 40, "{others} of 50");
}

#[test]
fn an_endpoint_that_is_down_or_was_tried_is_not_picked_by_its_answer() {
    let (prequal, pool) = pool(lasting(), list(40));
    for (number, latency) in [("s1", 1), ("s2", 2), ("s3", 3), ("s4", 4)] {
        prequal.report(&name(number), 0, ms(latency), NOW);
    }
    pool.set_health(&name("s1"), ha_core::health::Health::Unhealthy, "test");
    assert_eq!(pick_at(&pool, NOW), "s2");
    let tried = [Arc::clone(pool.snapshot().find(&name("s2")).expect("there").1)];
    let context = PickContext::new().with_now(NOW).with_excluded(&tried);
    assert_eq!(pool.pick(&context).expect("usable").name().as_str(), "s3");
}

#[test]
fn answers_outlive_an_update_of_the_list_and_belong_to_the_same_endpoint() {
    let (prequal, pool) = pool(lasting(), list(40));
    prequal.report(&name("s30"), 0, ms(1), NOW);
    prequal.report(&name("s2"), 0, ms(20), NOW);
    prequal.report(&name("s1"), 0, ms(5), NOW);
    let mut shorter = list(35);
    shorter.remove(0);
    shorter.reverse();
    pool.update(shorter).expect("unique names");
    assert_eq!(pick_at(&pool, NOW), "s30");
    assert!(!prequal.report(&name("s1"), 0, ms(1), NOW), "it has left");
    assert!(prequal.report(&name("s35"), 0, Duration::ZERO, NOW));
    assert_eq!(pick_at(&pool, NOW), "s35");
}

#[test]
fn requests_in_flight_count_for_the_weight() {
    let by_load = PrequalConfig::builder().removals_per_pick(0.0).hot_quantile(0.0).build();
    let mut endpoints = list(40);
    endpoints[0] = endpoints[0].clone().with_weight(Weight::new(100).expect("in range"));
    let (prequal, pool) = pool(by_load.expect("in range"), endpoints);
    // Some with nothing to do make everything else hot.
    (0..20).for_each(|_| assert!(prequal.report(&name("s9"), 0, ms(1), NOW)));
    let later = NOW + ms(2_000);
    prequal.report(&name("s1"), 90, ms(1), later);
    prequal.report(&name("s2"), 1, ms(1), later);
    assert_eq!(pick_at(&pool, later), "s1", "90 for a hundredfold weight is less than 1");
}

#[test]
fn picks_ask_for_probes_by_the_fraction_and_nobody_counts_for_ever() {
    let config = PrequalConfig::builder().probes_per_pick(1.25).build().expect("in range");
    let (prequal, pool) = pool(config, list(4));
    let wanted: Vec<u32> = (0..8)
        .map(|_| {
            pick_at(&pool, NOW);
            prequal.wanted()
        })
        .collect();
    assert_eq!(wanted, [1, 1, 1, 2, 1, 1, 1, 2]);
    let prequal = Prequal::new();
    assert_eq!(prequal.wanted(), 0);
    assert!(!prequal.report(&name("s1"), 0, ms(1), NOW), "it goes by its own counters");
}

#[test]
fn without_probes_work_goes_where_own_counters_say_it_is_fast() {
    let prequal = Prequal::with_seed(3);
    let pool = Pool::builder(Arc::new(prequal)).endpoints(list(10)).build().expect("unique");
    let mut counts = BTreeMap::new();
    for step in 0..3_000 {
        let now = NOW + ms(step);
        let pick = pool.pick(&PickContext::new().with_now(now)).expect("usable");
        *counts.entry(pick.name().to_string()).or_insert(0) += 1;
        let took = if pick.name().as_str() == "s1" { 200 } else { 3 };
        pick.finish_after(Outcome::Completed, ms(took), now);
    }
    assert!(counts.get("s1").is_none_or(|count| *count < 30), "{counts:?}");
    let why = pool.explain(&PickContext::new().with_now(NOW + ms(3_000))).to_string();
    assert!(why.contains("probes") && why.contains("hot"), "{why}");
}

#[cfg(feature = "tokio")]
mod driven {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::super::driver::{Driver, Prober, ServerLoad};
    use super::*;
    use crate::health::Failed;

    /// The second one is the best, the third never answers, the others are slow.
    #[derive(Debug, Clone, Default)]
    struct Servers(Arc<AtomicU32>);

    #[async_trait]
    impl Prober for Servers {
        async fn probe(&self, endpoint: &Endpoint) -> Result<ServerLoad, Failed> {
            self.0.fetch_add(1, Ordering::SeqCst);
            match endpoint.name().as_str() {
                "s2" => Ok(ServerLoad::new(1, ms(1))),
                "s3" => std::future::pending().await,
                "s4" => Err(Failed::because("refused")),
                _ => Ok(ServerLoad::new(9, ms(900))),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_driver_probes_for_picks_and_reports_to_them() {
        let prequal = Arc::new(Prequal::with_reports(PrequalConfig::default()));
        let pool = Pool::builder(prequal.clone()).endpoints(list(6)).build().expect("unique");
        let servers = Servers::default();
        let driver = Driver::new(prequal, pool.clone(), servers.clone()).with_max_in_flight(4);
        let task = driver.spawn();
        let mut counts = BTreeMap::new();
        for _ in 0..400 {
            let pick = pool.pick(&PickContext::new()).expect("usable");
            *counts.entry(pick.name().to_string()).or_insert(0) += 1;
            drop(pick);
            // Those that never answer end in time, too: the paused clock goes on when all wait.
            tokio::time::advance(ms(30)).await;
            tokio::task::yield_now().await;
        }
        task.stop().await.expect("no panic");
        assert!(counts["s2"] > 130, "{counts:?}");
        assert!(servers.0.load(Ordering::SeqCst) > 300);
    }
}
