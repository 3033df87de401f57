use std::net::IpAddr;
use std::time::Duration;

use ha_core::laws;
use proptest::prelude::*;

use super::*;
use crate::address::VirtualAddress;
use crate::track::{Tracked, Weight};
use crate::vrrp::config::{Priority, RouterConfig};
use crate::vrrp::wire::{Advert, Checksum, GROUP_V4, Version, encode};

const INTERVAL: Duration = Duration::from_millis(100);
const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));
const T0: Instant = Instant::from_secs(1_000); // where the laws begin

const fn link(interface: u32) -> LinkId {
    LinkId { interface, ipv6: false }
}

fn address(vrid: u8) -> VirtualAddress {
    format!("10.0.{vrid}.100/24").parse().expect("an address")
}

fn config(vrid: u8, priority: u8) -> RouterConfig {
    let builder = RouterConfig::builder(vrid).address(address(vrid)).priority(priority);
    builder.advert_interval(INTERVAL).build().expect("a configuration")
}

fn add(host: &mut Host, vrid: u8, tracked: Vec<Tracked>) -> RouterId {
    let config = config(vrid, 100);
    let tally = Tally::new(config.priority(), tracked);
    host.add(Router::new(config, OWN), tally, &[link(u32::from(vrid))])
}

fn start(host: &mut Host, at: Instant) -> Vec<HostOutput> {
    let mut out = Vec::new();
    host.handle(at, HostInput::All(Input::Start), &mut out);
    out
}

/// Lets everything happen that is due up to `until`.
fn run(host: &mut Host, until: Instant) -> Vec<HostOutput> {
    let mut out = Vec::new();
    while let Some(at) = host.deadline().filter(|at| *at <= until) {
        host.tick(at, &mut out);
    }
    out
}

fn advert(vrid: u8, priority: u8) -> Vec<u8> {
    let number = Vrid::new(vrid).expect("not 0");
    let addresses = vec![address(vrid).ip()];
    let advert = Advert::new(Version::V3, number, priority, INTERVAL, addresses);
    encode(&advert, PEER, GROUP_V4.into(), Checksum::PseudoHeader)
}

fn hear(host: &mut Host, at: Instant, vrid: u8, priority: u8) -> Vec<HostOutput> {
    let message = advert(vrid, priority);
    let heard =
        Heard { source: PEER, destination: GROUP_V4.into(), hop_limit: 255, message: &message };
    let mut out = Vec::new();
    host.receive(at, link(u32::from(vrid)), heard, &mut out);
    out
}

fn states(host: &Host) -> Vec<StateName> {
    host.routers().map(|(_, router)| router.state()).collect()
}

#[test]
fn each_packet_finds_the_router_of_its_number_and_link() {
    let mut host = Host::new();
    let ids = [1, 2].map(|vrid| add(&mut host, vrid, Vec::new()));
    start(&mut host, T0);
    hear(&mut host, T0, 2, 200);
    let received = ids.map(|id| host.router(id).map_or(0, |router| router.stats().received));
    assert_eq!(received, [0, 1]);
    // The number of a router here, but on a link where it is not.
    let message = advert(2, 200);
    let heard =
        Heard { source: PEER, destination: GROUP_V4.into(), hop_limit: 255, message: &message };
    let mut out = Vec::new();
    host.receive(T0, link(7), heard, &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_router_waits_for_its_trackers_and_takes_over_once_they_have_spoken() {
    let mut host = Host::new();
    add(&mut host, 1, vec![Tracked::new("eth0")]);
    start(&mut host, T0);
    let out = run(&mut host, T0 + 20 * INTERVAL);
    assert_eq!(states(&host), [StateName::Backup], "{out:?}");
    assert!(out.iter().any(|(_, output)| matches!(
        output,
        Output::Event(RouterEvent::HeldBack { by: crate::vrrp::HeldBack::Trackers })
    )));
    let mut out = Vec::new();
    let up = HostInput::Verdict("eth0".to_owned(), Verdict::Up);
    host.handle(T0 + 21 * INTERVAL, up, &mut out);
    assert_eq!(states(&host), [StateName::Active]);
}

#[test]
fn a_tracker_without_weight_is_a_fault_and_one_with_weight_changes_the_priority() {
    let mut host = Host::new();
    let weight = Weight::new(-30).expect("in range");
    let id = add(&mut host, 1, vec![Tracked::new("eth0"), Tracked::new("app").weight(weight)]);
    let verdict = |host: &mut Host, name: &str, verdict| {
        let mut out = Vec::new();
        host.handle(T0, HostInput::Verdict(name.to_owned(), verdict), &mut out);
        out
    };
    verdict(&mut host, "eth0", Verdict::Up);
    verdict(&mut host, "app", Verdict::Down);
    start(&mut host, T0);
    assert_eq!(host.router(id).map(|router| router.priority().get()), Some(70));
    run(&mut host, T0 + 5 * INTERVAL);
    assert_eq!(states(&host), [StateName::Active]);
    let out = verdict(&mut host, "eth0", Verdict::Down);
    assert_eq!(states(&host), [StateName::Fault]);
    let goodbye = |output: &Output| matches!(output, Output::Send(_, m) if m.get(2) == Some(&0));
    assert!(out.iter().any(|(_, output)| goodbye(output)), "the others need not wait");
    assert!(out.iter().any(|(_, output)| *output == Output::Release));
    verdict(&mut host, "eth0", Verdict::Up);
    assert_eq!(states(&host), [StateName::Backup]);
}

#[test]
fn the_owner_serves_as_soon_as_its_trackers_have_spoken() {
    let mut host = Host::new();
    let config = config(1, 255);
    let tally = Tally::new(config.priority(), vec![Tracked::new("eth0")]);
    host.add(Router::new(config, OWN), tally, &[link(1)]);
    start(&mut host, T0);
    assert_eq!(states(&host), [StateName::Backup]);
    let mut out = Vec::new();
    host.handle(T0, HostInput::Verdict("eth0".to_owned(), Verdict::Up), &mut out);
    assert_eq!(states(&host), [StateName::Active]);
}

fn grouped() -> (Host, [RouterId; 2]) {
    let mut host = Host::new();
    let ids = [1, 2].map(|vrid| add(&mut host, vrid, vec![Tracked::new(format!("eth{vrid}"))]));
    host.group(&ids);
    let mut out = Vec::new();
    for name in ["eth1", "eth2"] {
        host.handle(T0, HostInput::Verdict(name.to_owned(), Verdict::Up), &mut out);
    }
    start(&mut host, T0);
    (host, ids)
}

#[test]
fn a_group_takes_over_only_when_no_member_hears_its_active_router() {
    let (mut host, _) = grouped();
    let mut at = T0;
    for _ in 0..10 {
        at += INTERVAL;
        run(&mut host, at);
        hear(&mut host, at, 2, 200);
    }
    assert_eq!(states(&host), [StateName::Backup; 2], "half a group serves nobody");
    run(&mut host, at + 5 * INTERVAL);
    assert_eq!(states(&host), [StateName::Active; 2]);
}

#[test]
fn a_group_yields_and_fails_as_a_whole() {
    let (mut host, _) = grouped();
    let at = T0 + 5 * INTERVAL;
    run(&mut host, at);
    assert_eq!(states(&host), [StateName::Active; 2]);
    hear(&mut host, at, 1, 200);
    assert_eq!(states(&host), [StateName::Leaving; 2]);
    run(&mut host, at + 2 * INTERVAL);
    assert_eq!(states(&host), [StateName::Backup; 2]);
    let mut out = Vec::new();
    host.handle(at, HostInput::Verdict("eth2".to_owned(), Verdict::Down), &mut out);
    assert_eq!(states(&host), [StateName::Fault; 2]);
    host.handle(at, HostInput::Verdict("eth2".to_owned(), Verdict::Up), &mut out);
    assert_eq!(states(&host), [StateName::Backup; 2]);
}

#[test]
fn a_thousand_routers_take_over_within_two_slots_of_one_another() {
    let mut host = Host::new();
    for network in 0..4 {
        for vrid in 1..=250 {
            let tally = Tally::new(Priority::DEFAULT, Vec::new());
            host.add(Router::new(config(vrid, 100), OWN), tally, &[link(network)]);
        }
    }
    start(&mut host, T0);
    run(&mut host, T0 + config(1, 100).active_down_interval());
    assert!(states(&host).iter().all(|state| *state == StateName::Active));
    // From then on they share their wake-ups.
    let (mut wakes, mut out) = (0, Vec::new());
    let from = T0 + 20 * INTERVAL;
    run(&mut host, from);
    while let Some(at) = host.deadline().filter(|at| *at <= from + INTERVAL) {
        host.tick(at, &mut out);
        wakes += 1;
    }
    assert!(wakes <= 3, "{wakes} wake-ups for {} outputs", out.len());
}

fn inputs() -> impl Strategy<Value = HostInput> {
    let verdicts = prop_oneof![Just(Verdict::Up), Just(Verdict::Down), Just(Verdict::Unknown)];
    let names = prop_oneof![Just("eth1"), Just("eth2")];
    let packet = (1u8..=2, any::<u8>()).prop_map(|(vrid, priority)| {
        let message = advert(vrid, priority);
        let packet = crate::vrrp::Packet {
            source: PEER,
            destination: GROUP_V4.into(),
            hop_limit: 255,
            message,
        };
        HostInput::Router(RouterId(usize::from(vrid) - 1), Input::Packet(packet))
    });
    prop_oneof![
        1 => Just(HostInput::All(Input::Start)),
        1 => Just(HostInput::All(Input::Stop)),
        1 => (0usize..2).prop_map(|id| HostInput::Router(RouterId(id), Input::HandOver)),
        1 => (0usize..2).prop_map(|id| HostInput::Router(RouterId(id), Input::AcquireFailed)),
        2 => (names, verdicts).prop_map(|(name, v)| HostInput::Verdict(name.to_owned(), v)),
        6 => packet,
    ]
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(
        schedule in prop::collection::vec(
            ((0u64..400_000).prop_map(Duration::from_micros), prop::option::of(inputs())), 0..60),
    ) {
        laws::check(|| grouped().0, &schedule)?;
    }
}
