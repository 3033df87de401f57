//! The scheduler: reading a CIB and deciding on it, by size and by kind of cluster.
//! Baseline: the parse of the XML alone, which no implementation can do without.

#![expect(clippy::expect_used, reason = "a bench may fail")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ha_benches::clusters::{Activity, Clusters, Shape};
use ha_core::time::WallTime;
use ha_crm::cib::Cib;
use ha_crm::scheduler::Scheduler;

/// Each cluster with its name.
fn measure(criterion: &mut Criterion, name: &str, clusters: &[(String, Clusters)]) {
    let mut group = criterion.benchmark_group(format!("scheduler/{name}"));
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (id, made) in clusters {
        let text = made.xml();
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        group.throughput(Throughput::Bytes(bytes));
        group.bench_with_input(BenchmarkId::new("parse", id), &text, |bencher, text| {
            bencher.iter(|| Cib::parse(black_box(text)).expect("a CIB"));
        });
        let (cib, _) = Cib::parse(&text).expect("a CIB");
        let now = cib.execution_date.unwrap_or(WallTime::from_micros(0));
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::new("decide", id), &cib, |bencher, cib| {
            bencher.iter(|| Scheduler::terse().decide(black_box(cib), now));
        });
    }
    group.finish();
}

fn sizes(criterion: &mut Criterion) {
    let mut clusters = Vec::new();
    for primitives in [125, 250, 500, 1000, 2000] {
        clusters.push((format!("16x{primitives}"), Clusters::new(16, primitives)));
    }
    let quiet = Clusters::new(16, 2000).activity(Activity::Running);
    clusters.push(("16x2000-quiet".to_owned(), quiet));
    clusters.push(("16x2000-lost".to_owned(), quiet.activity(Activity::Lost)));
    for (nodes, primitives) in [(100, 1000), (1000, 10_000)] {
        let made = Clusters::new(nodes, primitives).activity(Activity::Sparse);
        clusters.push((format!("{nodes}x{primitives}-sparse"), made));
    }
    measure(criterion, "sizes", &clusters);
}

fn shapes(criterion: &mut Criterion) {
    let clusters: Vec<(String, Clusters)> = Shape::ALL
        .iter()
        .map(|shape| (format!("{shape}-16x500"), Clusters::new(16, 500).shape(*shape)))
        .collect();
    measure(criterion, "shapes", &clusters);
}

criterion_group!(benches, sizes, shapes);
criterion_main!(benches);
