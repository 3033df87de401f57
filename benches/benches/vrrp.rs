//! VRRP: reading, writing and authenticating an advert, and what a backup router does with it.
//! Baseline: the copy of the packet alone, which no implementation can do without.

#![expect(clippy::expect_used, reason = "a bench may fail")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_vip::VirtualAddress;
use ha_vip::vrrp::auth::{Authenticator, HmacConfig};
use ha_vip::vrrp::wire::{
    Advert, Checksum, GROUP_V4, GROUP_V6, Password, Version, decode, encode, encode_into,
};
use ha_vip::vrrp::{Input, Output, Packet, Router, RouterConfig, Vrid};

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
    let message = out.into_iter().find_map(|output| {
        if let Output::Send(_, message) = output { Some(message) } else { None }
    });
    let message = message.expect("an active router advertises");
    Packet { source, destination: GROUP_V4.into(), hop_limit: 255, message }
}

fn vrrp(criterion: &mut Criterion) {
    let (ours, theirs): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let packet = advert(theirs, 200);
    let mut group = criterion.benchmark_group("vrrp");
    group.throughput(Throughput::Elements(1));
    group.bench_function("baseline/copy", |bencher| bencher.iter(|| black_box(&packet).clone()));
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

fn wire(criterion: &mut Criterion) {
    let vrid = Vrid::new(51).expect("not 0");
    let new =
        |version, addresses| Advert::new(version, vrid, 200, Duration::from_secs(1), addresses);
    let ipv4 = |count: u8| (1..=count).map(|n| IpAddr::from([10, 0, 1, n])).collect();
    let mut with_password = new(Version::V2, ipv4(1));
    with_password.password = Password::new("secret12");
    let adverts: [(&str, Advert, IpAddr); 5] = [
        ("v3/1", new(Version::V3, ipv4(1)), [10, 0, 0, 2].into()),
        ("v3/20", new(Version::V3, ipv4(20)), [10, 0, 0, 2].into()),
        ("v3/255", new(Version::V3, ipv4(255)), [10, 0, 0, 2].into()),
        (
            "v3-ipv6/1",
            new(Version::V3, vec!["fe80::100".parse().expect("ip")]),
            "fe80::2".parse().expect("ip"),
        ),
        ("v2-password/1", with_password, [10, 0, 0, 2].into()),
    ];
    let mut group = criterion.benchmark_group("vrrp-wire");
    group.throughput(Throughput::Elements(1));
    for (name, advert, source) in adverts {
        let to = if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() };
        let message = encode(&advert, source, to, Checksum::PseudoHeader);
        group.bench_function(format!("baseline-copy/{name}"), |bencher| {
            bencher.iter(|| black_box(&message).clone());
        });
        group.bench_function(format!("decode/{name}"), |bencher| {
            bencher.iter(|| {
                let read = decode(black_box(&message), black_box(source), black_box(to));
                read.map(|view| (view.priority(), view.interval())).expect("our own")
            });
        });
        group.bench_function(format!("encode/{name}"), |bencher| {
            let mut buffer = Vec::new();
            bencher.iter(|| {
                encode_into(&mut buffer, black_box(&advert), source, to, Checksum::PseudoHeader);
                black_box(&buffer);
            });
        });
        hmac(&mut group, name, &message, (source, to));
    }
    group.finish();
}

fn hmac(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    message: &[u8],
    (source, to): (IpAddr, IpAddr),
) {
    let config = HmacConfig::builder().key(1, [7; 32]).build().expect("a configuration");
    let wall = Duration::from_hours(500_000);
    let mut signer = Authenticator::new(config.clone());
    let mut buffer = Vec::new();
    group.bench_function(format!("sign/{name}"), |bencher| {
        bencher.iter(|| {
            buffer.clear();
            buffer.extend_from_slice(black_box(message));
            signer.sign(&mut buffer, source, wall);
        });
    });
    // A new verifier each time would dominate: one that has heard a later message checks the
    // HMAC all the same before it refuses.
    let mut verifier = Authenticator::new(config);
    let view = decode(&buffer, source, to).expect("our own");
    verifier.verify(&view, source, wall).expect("signed");
    group.bench_function(format!("decode-and-verify/{name}"), |bencher| {
        bencher.iter(|| {
            let view = decode(black_box(&buffer), source, to).expect("our own");
            verifier.verify(&view, source, wall).expect_err("heard before")
        });
    });
}

criterion_group!(benches, vrrp, wire);
criterion_main!(benches);
