//! VRRP: reading an advert, and what a backup router does with it. Baseline: the copy of the
//! packet alone, which no implementation can do without.

#![expect(clippy::expect_used, reason = "a bench may fail")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_vip::VirtualAddress;
use ha_vip::vrrp::wire::{Checksum, GROUP_V4, decode, encode};
use ha_vip::vrrp::{Input, Output, Packet, Router, RouterConfig};

fn config(priority: u8) -> RouterConfig {
    let address: VirtualAddress = "10.0.0.100/24".parse().expect("an address");
    let builder = RouterConfig::builder(51).address(address).priority(priority);
    builder.advert_interval(Duration::from_millis(10)).build().expect("a configuration")
}

/// The advert that an active router with `priority` sends.
fn advert(source: IpAddr, priority: u8) -> Packet {
    let mut router = Router::new(config(priority), source);
    let mut out = Vec::new();
    router.handle(Instant::ZERO, Input::Start, &mut out);
    router.tick(router.deadline().expect("a backup waits"), &mut out);
    let message = out
        .into_iter()
        .find_map(|output| if let Output::Send(message) = output { Some(message) } else { None });
    let message = message.expect("an active router advertises");
    Packet { source, destination: GROUP_V4.into(), hop_limit: 255, message }
}

fn vrrp(criterion: &mut Criterion) {
    let (ours, theirs): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let packet = advert(theirs, 200);
    let mut group = criterion.benchmark_group("vrrp");
    group.throughput(Throughput::Elements(1));
    group.bench_function("baseline/copy", |bencher| bencher.iter(|| black_box(&packet).clone()));
    group.bench_function("decode/1", |bencher| {
        bencher.iter(|| decode(black_box(&packet.message), theirs, GROUP_V4.into()));
    });
    let (read, _) = decode(&packet.message, theirs, GROUP_V4.into()).expect("our own");
    group.bench_function("encode/1", |bencher| {
        bencher.iter(|| encode(black_box(&read), theirs, GROUP_V4.into(), Checksum::PseudoHeader));
    });
    group.bench_function("backup/1", |bencher| {
        let mut router = Router::new(config(100), ours);
        let (mut now, mut out) = (Instant::ZERO, Vec::new());
        router.handle(now, Input::Start, &mut out);
        bencher.iter(|| {
            now += Duration::from_millis(10);
            router.handle(now, Input::Packet(black_box(&packet).clone()), &mut out);
            out.clear();
        });
    });
    group.finish();
}

criterion_group!(benches, vrrp);
criterion_main!(benches);
