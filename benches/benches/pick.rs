//! What a pick costs: each algorithm beside the naive way of doing it, in the same group.
//!
//! `pick/ALGORITHM/N` is a whole pick through the pool (snapshot, health, guard that counts up and
//! down); `least-connections-busy` is the worst case of its algorithm, a scan to the end.
//! `pick/naive-scan/N` reads the connections of N endpoints under a mutex, as a balancer without an
//! index does; `pick/atomic-index/N` is the floor: `fetch_add % N`, which knows neither health nor
//! weights and counts nothing.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::{Endpoint, Weight};
use ha_lb::pick::Outcome;
use ha_lb::pool::Pool;

const SIZES: [u16; 3] = [10, 1_000, 10_000];

const ALGORITHMS: [&str; 5] =
    ["round-robin", "least-connections", "random", "source", "source,hash-type=consistent"];

fn pool(algorithm: &str, size: u16, weights: u16) -> Option<Pool> {
    let endpoints = (0..size).map(|index| {
        let name = format!("s{index}").parse().ok()?;
        let weight = Weight::new(index % weights + 1).ok()?;
        Some(Endpoint::new(name, (Ipv4Addr::LOCALHOST, index + 1).into()).with_weight(weight))
    });
    Pool::new(&algorithm.parse::<Algorithm>().ok()?, endpoints.collect::<Option<_>>()?).ok()
}

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for size in SIZES {
        for algorithm in ALGORITHMS {
            let Some(pool) = pool(algorithm, size, 1) else { continue };
            let mut client = 0_u32;
            group.bench_function(BenchmarkId::new(algorithm, size), |bencher| {
                bencher.iter(|| {
                    client = client.wrapping_add(0x9e37_79b9);
                    let context = PickContext::new().with_client(IpAddr::V4(client.into()));
                    if let Ok(pick) = black_box(pool.pick(&context)) {
                        pick.finish(Outcome::Completed);
                    }
                });
            });
        }
        if let Some(pool) = pool("least-connections", size, 1) {
            // Every endpoint is busy, so that none ends the scan early: the worst case.
            let held: Vec<_> =
                (0..size).filter_map(|_| pool.pick(&PickContext::new()).ok()).collect();
            group.bench_function(BenchmarkId::new("least-connections-busy", size), |bencher| {
                bencher.iter(|| black_box(pool.pick(&PickContext::new())).map(drop));
            });
            drop(held);
        }
        let scanned = Mutex::new((0..size).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
        group.bench_function(BenchmarkId::new("naive-scan", size), |bencher| {
            bencher.iter(|| {
                let Ok(endpoints) = scanned.lock() else { return };
                let least = endpoints.iter().min_by_key(|held| held.load(Ordering::Relaxed));
                if let Some(least) = black_box(least) {
                    least.fetch_add(1, Ordering::Relaxed);
                    least.fetch_sub(1, Ordering::Relaxed);
                }
            });
        });
        let turn = AtomicUsize::new(0);
        group.bench_function(BenchmarkId::new("atomic-index", size), |bencher| {
            bencher.iter(|| {
                black_box(turn.fetch_add(1, Ordering::Relaxed) % usize::from(black_box(size)))
            });
        });
    }
    group.finish();
}

/// What a change of the list costs: the schedule or table of each algorithm is built anew.
fn updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10);
    for algorithm in ALGORITHMS {
        let Some(pool) = pool(algorithm, 1_000, 16) else { continue };
        let list: Vec<Endpoint> =
            pool.snapshot().iter().map(|(endpoint, _)| endpoint.clone()).collect();
        group.bench_function(BenchmarkId::new(algorithm, list.len()), |bencher| {
            bencher.iter(|| pool.update(black_box(list.clone())));
        });
    }
    if let Some(pool) = pool("round-robin", 1_000, 16) {
        // The baseline: what the caller does anyhow.
        group.bench_function(BenchmarkId::new("clone-of-the-list", 1_000), |bencher| {
            bencher.iter(|| {
                let snapshot = pool.snapshot();
                snapshot.iter().map(|(endpoint, _)| endpoint.clone()).collect::<Vec<_>>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, picks, updates);
criterion_main!(benches);
