//! Waiting for a full pool.
#![expect(clippy::disallowed_methods, reason = "a test spawns those who wait")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ha_core::health::Health;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::{Endpoint, parse_list};
use ha_lb::pick::{Outcome, PickError};
use ha_lb::pool::Pool;
use ha_lb::queue::QueueConfig;

/// Endpoints with room for one each.
fn list(text: &str) -> Vec<Endpoint> {
    let list = parse_list(text).expect("a list");
    list.into_iter().map(|endpoint| endpoint.with_max_connections(1)).collect()
}

/// Two endpoints with room for one each, and a queue.
fn pool(algorithm: &str, queue: QueueConfig) -> Pool {
    let list = list("a=127.0.0.1:1,b=127.0.0.1:2");
    let algorithm: Algorithm = algorithm.parse().expect("an algorithm");
    Pool::builder(algorithm.balancer()).endpoints(list).queue(queue).build().expect("a pool")
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn they_are_served_by_priority_and_then_by_arrival() {
    let pool = pool("round-robin", QueueConfig::new(Duration::from_mins(1)));
    let context = PickContext::new();
    let (one, other) = (pool.pick(&context).expect("room"), pool.pick(&context).expect("room"));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (name, priority) in [("first", 5), ("second", 5), ("urgent", 0), ("third", 5)] {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        let before = pool.queue_len();
        let waiting = pool.clone();
        tasks.push(tokio::spawn(async move {
            let pick = pool.acquire(&PickContext::new(), priority).await.expect("room in the end");
            order.lock().expect("no panic").push(name);
            pick.finish(Outcome::Completed);
        }));
        until(|| waiting.queue_len() > before).await;
    }
    drop(one);
    for task in tasks {
        task.await.expect("no panic");
    }
    drop(other);
    assert_eq!(*order.lock().expect("no panic"), ["urgent", "first", "second", "third"]);
    assert_eq!(pool.queue_len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_number_and_time() {
    let pool = pool("least-connections", QueueConfig::new(Duration::from_secs(5)).with_max_len(1));
    let context = PickContext::new();
    let held = [pool.pick(&context).expect("room"), pool.pick(&context).expect("room")];
    assert_eq!(pool.pick(&context).expect_err("no room"), PickError::AllFull);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&PickContext::new(), 0).await.map(drop) }
    });
    until(|| pool.queue_len() == 1).await;
    assert_eq!(pool.acquire(&context, 0).await.expect_err("one waits"), PickError::QueueFull);
    assert_eq!(waiting.await.expect("no panic"), Err(PickError::QueueTimeout));
    assert_eq!(pool.queue_len(), 0);
    drop(held);
    assert!(pool.acquire(&context, 0).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn room_that_comes_by_other_ways_is_seen() {
    let pool = pool("random", QueueConfig::new(Duration::from_hours(1)));
    let a = "a".parse().expect("a name");
    pool.set_health(&a, Health::Unhealthy, "test");
    let held = pool.pick(&PickContext::new()).expect("room");
    for change in 0..2 {
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire(&PickContext::new(), 0).await }
        });
        until(|| pool.queue_len() == 1).await;
        if change == 0 {
            pool.set_health(&a, Health::Healthy, "test");
        } else {
            pool.update(list("b=127.0.0.1:2,c=127.0.0.1:3")).expect("unique names");
        }
        let pick = waiting.await.expect("no panic").expect("room");
        assert_ne!(pick.name(), held.name());
        std::mem::forget(pick);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_forgotten_when_many_come_and_some_go_away() {
    for algorithm in ["round-robin", "least-connections"] {
        let queue = QueueConfig::new(Duration::from_mins(2)).with_max_len(10_000);
        let pool = pool(algorithm, queue);
        let served = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..600_u32)
            .map(|number| {
                let (pool, served) = (pool.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let context = PickContext::new();
                    let mut acquire =
                        std::pin::pin!(pool.acquire(&context, u8::from(number % 3 == 0)));
                    if number % 4 == 0 {
                        // It looks once or twice, and goes away.
                        let patience = Duration::from_micros(u64::from(number % 50) * 20);
                        if tokio::time::timeout(patience, &mut acquire).await.is_err() {
                            return;
                        }
                        served.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let pick = acquire.await.expect("its turn comes");
                    tokio::task::yield_now().await;
                    pick.finish(Outcome::Completed);
                    served.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic, and no timeout");
        }
        assert!(served.load(Ordering::SeqCst) >= 450);
        assert_eq!(pool.queue_len(), 0);
        assert!(pool.snapshot().iter().all(|(_, state)| state.connections() == 0));
    }
}
