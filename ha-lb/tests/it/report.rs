//! Load reports in the heads of answers.

use std::time::Duration;

use ha_lb::l7;
use ha_lb::report::{Steering, WeightConfig};
use tokio::io::AsyncWriteExt;

use crate::support::{Running, Server, config, pool, read_message};

/// Answers with its name and this load.
async fn loaded(name: &'static str, metrics: &'static str) -> Server {
    Server::start(move |mut stream| async move {
        while read_message(&mut stream).await.is_some() {
            let len = name.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nendpoint-load-metrics: {metrics}\r\n\r\n\
                 {name}"
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn work_goes_where_it_costs_least() {
    let servers = [
        loaded("cheap", "TEXT cpu_utilization=0.2, rps_fractional=100").await,
        loaded("dear", r#"JSON {"cpu_utilization": 0.8, "rps_fractional": 100}"#).await,
        loaded("odd", "TEXT cpu_utilization=none").await,
    ];
    let pool = pool(&servers.each_ref().map(|server| server.address));
    let weights = WeightConfig::builder()
        .blackout(Duration::ZERO)
        .update_period(Duration::from_millis(100))
        .build()
        .expect("in range");
    let steering = Steering::new(pool.clone(), weights);
    let proxy = l7::Config::builder(config().build().expect("in range"));
    let proxy = Running::l7_with(proxy.load_reports(steering.reporter()), &pool);
    let mut changes = pool.changes();
    let task = steering.spawn();
    for _ in 0..3 {
        let answer = proxy.get("/").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(!answer.to_lowercase().contains("endpoint-load-metrics"), "{answer}");
    }
    let parts = || {
        let snapshot = pool.snapshot();
        snapshot.iter().map(|(_, state)| state.share().parts()).collect::<Vec<_>>()
    };
    // 500 and 125, and their mean of 312.5 for the one that says nothing of use.
    while parts() != [256, 64, 160] {
        changes.changed().await.expect("the pool lives");
    }
    // Nothing is left when nobody steers.
    task.stop().await.expect("no panic").expect("a timer");
    assert_eq!(parts(), [256; 3]);
}

#[tokio::test]
async fn without_a_reporter_the_header_is_passed_on() {
    let server = loaded("plain", "TEXT eps=1").await;
    let proxy = Running::l7(&pool(&[server.address]));
    let answer = proxy.get("/").await.to_lowercase();
    assert!(answer.contains("\r\nendpoint-load-metrics: text eps=1\r\n"), "{answer}");
}
