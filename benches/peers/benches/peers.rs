//! What a pick, a rebuild and a change of health cost in ha-lb, pingora-load-balancing and tower.
//!
//! - `pick/…/N`: choose one of N endpoints that are all healthy. Ours counts the connection up and down, and
//!   looks at health, limit and share; pingora's looks at health and counts nothing; tower's counts
//!   pending requests and needs `&mut`, so each thread needs a balancer of its own.
//! - `pick-all-cores/…/N`: the same, while every other core picks from the same balancer.
//! - `rebuild/…/N`: a list of N is taken over, one of whose endpoints is another than before.
//! - `health/…/N`: one endpoint goes out of use, or back.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use ha_core::health::Health;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::Endpoint;
use ha_lb::pick::Outcome;
use ha_lb::pool::Pool;
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, Random, RoundRobin,
};
use pingora_load_balancing::{Backend, LoadBalancer};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma, PendingRequests};

const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];

fn address(index: u32) -> String {
    format!("{}:80", Ipv4Addr::from(0x0a00_0000 + index))
}

fn key(number: &mut u32) -> [u8; 4] {
    *number = number.wrapping_add(0x9e37_79b9);
    number.to_be_bytes()
}

fn endpoints(range: impl Iterator<Item = u32>) -> Vec<Endpoint> {
    let endpoint = |index| format!("s{index}={}", address(index)).parse().expect("an endpoint");
    range.map(endpoint).collect()
}

fn pool(algorithm: &str, size: u32) -> Pool {
    let algorithm: Algorithm = algorithm.parse().expect("an algorithm");
    Pool::new(&algorithm, endpoints(0..size)).expect("unique names")
}

fn pick(pool: &Pool, number: &mut u32) {
    let key = key(number);
    let picked = pool.pick(&PickContext::new().with_hash_key(&key)).expect("all are healthy");
    black_box(picked).finish(Outcome::Completed);
}

fn pingora<S>(size: u32) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    let balancer = LoadBalancer::try_from_iter((0..size).map(address)).expect("addresses");
    balancer.update().now_or_never().expect("a static list").expect("taken over");
    balancer
}

/// A service that is always ready and answers at once.
#[derive(Clone)]
struct Instantly;

impl Service<()> for Instantly {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

fn call<S: Service<(), Response = ()>>(service: &mut S)
where
    S::Error: std::fmt::Debug,
{
    let mut context = Context::from_waker(Waker::noop());
    assert!(matches!(service.poll_ready(&mut context), Poll::Ready(Ok(()))));
    let answered = service.call(()).now_or_never().expect("at once");
    answered.expect("answered");
}

/// Ours, and what is nearest to it of the others.
const OURS: [&str; 7] = [
    "round-robin",
    "random,draws=1",
    "random",
    "least-connections",
    "peak-ewma",
    "hash,hash-type=nginx",
    "hash,hash-type=maglev",
];

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    for size in SIZES {
        for algorithm in OURS {
            let (pool, mut number) = (pool(algorithm, size), 0);
            group.bench_function(BenchmarkId::new(format!("ha-lb {algorithm}"), size), |bencher| {
                bencher.iter(|| pick(&pool, &mut number));
            });
        }
        let balancer = pingora::<RoundRobin>(size);
        group.bench_function(BenchmarkId::new("pingora RoundRobin", size), |bencher| {
            bencher.iter(|| black_box(balancer.select(b"", 256)));
        });
        let balancer = pingora::<Random>(size);
        group.bench_function(BenchmarkId::new("pingora Random", size), |bencher| {
            bencher.iter(|| black_box(balancer.select(b"", 256)));
        });
        let (balancer, mut number) = (pingora::<Consistent>(size), 0);
        group.bench_function(BenchmarkId::new("pingora Consistent", size), |bencher| {
            bencher.iter(|| black_box(balancer.select(&key(&mut number), 256)));
        });
        let services = (0..size)
            .map(|_| PendingRequests::new(Instantly, CompleteOnResponse::default()));
        let mut balance = Balance::new(ServiceList::new::<()>(services));
        group.bench_function(BenchmarkId::new("tower p2c PendingRequests", size), |bencher| {
            bencher.iter(|| call(&mut balance));
        });
        let (rtt, decay) = (Duration::from_millis(1), 10e9);
        let services = (0..size)
            .map(|_| PeakEwma::new(Instantly, rtt, decay, CompleteOnResponse::default()));
        let mut balance = Balance::new(ServiceList::new::<()>(services));
        group.bench_function(BenchmarkId::new("tower p2c PeakEwma", size), |bencher| {
            bencher.iter(|| call(&mut balance));
        });
    }
    group.finish();
}

/// Measures `pick` while all other cores do it, too.
fn beside_others(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    size: u32,
    pick: &(impl Fn(&mut u32) + Sync),
) {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 1..cores {
            let over = &over;
            scope.spawn(move || {
                let mut number = u32::try_from(thread).unwrap_or(1) << 20;
                while !over.load(Ordering::Relaxed) {
                    pick(&mut number);
                }
            });
        }
        let mut number = 0;
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter(|| pick(&mut number));
        });
        over.store(true, Ordering::Relaxed);
    });
}

fn crowded(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick-all-cores");
    for size in [10, 10_000] {
        for algorithm in OURS {
            let pool = pool(algorithm, size);
            let name = format!("ha-lb {algorithm}");
            beside_others(&mut group, &name, size, &|number| pick(&pool, number));
        }
        let balancer = pingora::<RoundRobin>(size);
        beside_others(&mut group, "pingora RoundRobin", size, &|_| {
            black_box(balancer.select(b"", 256));
        });
        let balancer = pingora::<Consistent>(size);
        beside_others(&mut group, "pingora Consistent", size, &|number| {
            black_box(balancer.select(&key(number), 256));
        });
    }
    group.finish();
}

fn rebuilds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rebuild");
    group.sample_size(20);
    for size in [1_000, 10_000] {
        for algorithm in ["round-robin", "hash,hash-type=nginx", "hash,hash-type=ketama", "hash,hash-type=maglev"] {
            let pool = pool(algorithm, size);
            // One endpoint is another one each time.
            let lists = [endpoints(0..size), endpoints((1..size).chain([size]))];
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(format!("ha-lb {algorithm}"), size), |bencher| {
                bencher.iter_batched(
                    || {
                        turn += 1;
                        lists[turn % 2].clone()
                    },
                    |list| pool.update(list),
                    criterion::BatchSize::PerIteration,
                );
            });
        }
        let backends: BTreeSet<Backend> =
            (0..size).map(|index| Backend::new(&address(index)).expect("an address")).collect();
        group.bench_function(BenchmarkId::new("pingora RoundRobin", size), |bencher| {
            bencher.iter(|| black_box(RoundRobin::build(&backends)));
        });
        group.bench_function(BenchmarkId::new("pingora Consistent", size), |bencher| {
            bencher.iter(|| black_box(Consistent::build(&backends)));
        });
    }
    group.finish();
}

fn health(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("health");
    for size in [1_000, 10_000] {
        for algorithm in ["round-robin", "source", "hash,hash-type=nginx", "hash,hash-type=maglev"] {
            let (pool, name) = (pool(algorithm, size), "s7".parse().expect("a name"));
            let mut up = true;
            group.bench_function(BenchmarkId::new(format!("ha-lb {algorithm}"), size), |bencher| {
                bencher.iter(|| {
                    up = !up;
                    let health = if up { Health::Healthy } else { Health::Unhealthy };
                    pool.set_health(&name, health, "bench")
                });
            });
        }
        let balancer = pingora::<RoundRobin>(size);
        let backend = Backend::new(&address(7)).expect("an address");
        let mut up = true;
        group.bench_function(BenchmarkId::new("pingora set_enable", size), |bencher| {
            bencher.iter(|| {
                up = !up;
                balancer.backends().set_enable(&backend, up);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, picks, crowded, rebuilds, health);
criterion_main!(benches);
