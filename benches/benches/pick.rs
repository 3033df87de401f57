//! What a pick costs: each algorithm beside the naive way of doing it, in the same group.
//!
//! - `choice/ALGORITHM/N`: what the algorithm itself takes to choose among N endpoints, by health and weight;
//!   `choice/fixed/N` chooses nothing, so it is what the others have on top of their own work;
//! - `pick/ALGORITHM/N`: a whole pick through the pool (snapshot, choice, guard that counts up and down);
//! - `pick-all-cores/ALGORITHM/N`: the same, while every other core picks from the same pool;
//! - `health/N`: a change of one endpoint's health, with the table of each algorithm in place;
//! - `update/ALGORITHM/N`: a new list, for which schedule or table is built anew.
//!
//! `naive-scan` reads the connections of N endpoints under a mutex, as a balancer without an index
//! does; `atomic-index` is the floor: `fetch_add % N`, which knows neither health nor weights and
//! counts nothing.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ha_core::health::Health;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::{Balancer, PickContext};
use ha_lb::endpoint::{Endpoint, Weight};
use ha_lb::pick::Outcome;
use ha_lb::pool::Pool;
use ha_lb::snapshot::{EndpointIndex, Endpoints};

const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

const ALGORITHMS: [&str; 13] = [
    "round-robin",
    "random,draws=1",
    "random",
    "least-connections",
    "least-time",
    "peak-ewma",
    "source",
    "hash,hash-type=consistent",
    "hash,hash-type=ketama",
    "hash,hash-type=nginx",
    "hash,hash-type=maglev",
    "hash,hash-type=multi-probe",
    "hash,hash-type=jump",
];

fn pool(algorithm: &str, size: u32, weights: u32) -> Option<Pool> {
    let endpoints = (0..size).map(|index| {
        let name = format!("s{index}").parse().ok()?;
        let weight = Weight::new(u16::try_from(index % weights + 1).ok()?).ok()?;
        let ip = Ipv4Addr::from(0x0a00_0000 + index);
        Some(Endpoint::new(name, (ip, 80).into()).with_weight(weight))
    });
    Pool::new(&algorithm.parse::<Algorithm>().ok()?, endpoints.collect::<Option<_>>()?).ok()
}

/// Always the first endpoint: what calling any balancer costs, and making a context for it.
#[derive(Debug)]
struct Fixed;

impl Balancer for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    fn pick(&self, _: &Endpoints, _: &PickContext<'_>) -> Option<EndpointIndex> {
        Some(EndpointIndex::new(0))
    }
}

/// A key and a client, other ones each time.
struct Clients(u32);

impl Clients {
    fn next(&mut self) -> (IpAddr, [u8; 4]) {
        self.0 = self.0.wrapping_add(0x9e37_79b9);
        (IpAddr::V4(self.0.into()), self.0.to_be_bytes())
    }
}

fn pick(pool: &Pool, clients: &mut Clients) {
    let (client, key) = clients.next();
    let context = PickContext::new().with_client(client).with_hash_key(&key);
    if let Ok(pick) = black_box(pool.pick(&context)) {
        pick.finish(Outcome::Completed);
    }
}

fn choices(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choice");
    for size in SIZES {
        let Some(pool) = pool("round-robin", size, 1) else { continue };
        let (balancer, snapshot) =
            (black_box(Arc::new(Fixed) as Arc<dyn Balancer>), pool.snapshot());
        let Some(endpoints) = snapshot.groups().first() else { continue };
        let mut clients = Clients(0);
        group.bench_function(BenchmarkId::new("fixed", size), |bencher| {
            bencher.iter(|| {
                let (client, key) = clients.next();
                let context = PickContext::new().with_client(client).with_hash_key(&key);
                black_box(balancer.pick(endpoints, &context))
            });
        });
    }
    for (size, algorithm) in SIZES.into_iter().flat_map(|size| ALGORITHMS.map(|a| (size, a))) {
        let (Some(pool), Ok(parsed)) = (pool(algorithm, size, 1), algorithm.parse::<Algorithm>())
        else {
            continue;
        };
        // Another value of the same algorithm picks from what the pool has prepared.
        let (balancer, snapshot) = (parsed.balancer(), pool.snapshot());
        let Some(endpoints) = snapshot.groups().first() else { continue };
        let mut clients = Clients(0);
        group.bench_function(BenchmarkId::new(algorithm, size), |bencher| {
            bencher.iter(|| {
                let (client, key) = clients.next();
                let context = PickContext::new().with_client(client).with_hash_key(&key);
                black_box(balancer.pick(endpoints, &context))
            });
        });
    }
    group.finish();
}

/// Picks in all other cores until it is dropped.
struct Crowd<'a>(&'a AtomicBool);

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn crowded(criterion: &mut Criterion) {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut group = criterion.benchmark_group("pick-all-cores");
    for (size, algorithm) in [10, 10_000].into_iter().flat_map(|n| ALGORITHMS.map(|a| (n, a))) {
        let Some(pool) = pool(algorithm, size, 1) else { continue };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 1..cores {
                let (pool, over) = (&pool, &over);
                scope.spawn(move || {
                    let mut clients = Clients(u32::try_from(thread).unwrap_or_default() << 20);
                    while !over.load(Ordering::Relaxed) {
                        pick(pool, &mut clients);
                    }
                });
            }
            let _crowd = Crowd(&over);
            let mut clients = Clients(0);
            group.bench_function(BenchmarkId::new(algorithm, size), |bencher| {
                bencher.iter(|| pick(&pool, &mut clients));
            });
        });
    }
    group.finish();
}

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for size in SIZES {
        for algorithm in ALGORITHMS {
            let Some(pool) = pool(algorithm, size, 1) else { continue };
            let mut clients = Clients(0);
            group.bench_function(BenchmarkId::new(algorithm, size), |bencher| {
                bencher.iter(|| pick(&pool, &mut clients));
            });
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
                black_box(turn.fetch_add(1, Ordering::Relaxed) % black_box(size) as usize)
            });
        });
    }
    group.finish();
}

/// What a change of one endpoint's health costs whoever tells of it.
fn health(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("health");
    for (size, algorithm) in [1_000, 10_000].into_iter().flat_map(|n| ALGORITHMS.map(|a| (n, a))) {
        let (Some(pool), Ok(name)) = (pool(algorithm, size, 1), "s7".parse()) else { continue };
        let mut health = Health::Healthy;
        group.bench_function(BenchmarkId::new(algorithm, size), |bencher| {
            bencher.iter(|| {
                health = match health {
                    Health::Healthy => Health::Unhealthy,
                    Health::Unhealthy | Health::Unknown => Health::Healthy,
                };
                pool.set_health(&name, health, "bench")
            });
        });
    }
    group.finish();
}

/// What a change of the list costs: the schedule or table of each algorithm is built anew.
fn updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10);
    for (size, weights) in [(1_000, 16), (10_000, 1)] {
        for algorithm in ALGORITHMS {
            let Some(pool) = pool(algorithm, size, weights) else { continue };
            let list: Vec<Endpoint> =
                pool.snapshot().iter().map(|(endpoint, _)| endpoint.clone()).collect();
            group.bench_function(BenchmarkId::new(algorithm, list.len()), |bencher| {
                bencher.iter(|| pool.update(black_box(list.clone())));
            });
        }
        if let Some(pool) = pool("round-robin", size, weights) {
            // The baseline: what the caller does anyhow.
            group.bench_function(BenchmarkId::new("clone-of-the-list", size), |bencher| {
                bencher.iter(|| {
                    let snapshot = pool.snapshot();
                    snapshot.iter().map(|(endpoint, _)| endpoint.clone()).collect::<Vec<_>>()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, choices, picks, crowded, health, updates);
criterion_main!(benches);
