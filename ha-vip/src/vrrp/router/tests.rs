use std::net::Ipv4Addr;

use ha_core::laws;
use proptest::prelude::*;

use super::super::config::Vrid;
use super::super::effects::Packet;
use super::super::wire::Version;
use super::active::MAX_LINGER;
use super::*;

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const LOWER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const HIGHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3));
const T0: Instant = Instant::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(100);

fn config(priority: u8, preempt: bool) -> RouterConfig {
    RouterConfig::builder(51)
        .address("10.0.0.100/24".parse::<VirtualAddress>().expect("an address"))
        .priority(priority)
        .preempt(preempt)
        .advert_interval(INTERVAL)
        .build()
        .expect("a configuration")
}

fn advert(from: IpAddr, priority: u8) -> Input {
    let advert = Advert::new(
        Version::V3,
        Vrid::new(51).expect("not 0"),
        priority,
        Duration::from_millis(100),
        vec!["10.0.0.100".parse().expect("an address")],
    );
    let message = encode(&advert, from, GROUP_V4.into(), Checksum::PseudoHeader);
    Input::Packet(Packet { source: from, destination: GROUP_V4.into(), hop_limit: 255, message })
}

fn feed(router: &mut Router, at: Instant, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    router.handle(at, input, &mut out);
    out
}

fn tick(router: &mut Router) -> (Instant, Vec<Output>) {
    let (at, mut out) = (router.deadline().expect("a deadline"), Vec::new());
    router.tick(at, &mut out);
    (at, out)
}

fn started(priority: u8, preempt: bool) -> Router {
    let mut router = Router::new(config(priority, preempt), OWN);
    feed(&mut router, T0, Input::Start);
    router
}

fn active(priority: u8) -> (Router, Instant) {
    let mut router = started(priority, true);
    let (at, _) = tick(&mut router);
    assert_eq!(router.state(), StateName::Active);
    (router, at)
}

/// The priority of each sent advert, in order.
fn sent(out: &[Output]) -> Vec<u8> {
    let priority = |output: &Output| match output {
        Output::Send(_, message) => message.get(2).copied(),
        Output::Acquire | Output::Announce | Output::Event(_) | Output::Release => None,
    };
    out.iter().filter_map(priority).collect()
}

#[test]
fn backup_takes_over_after_active_down_interval_and_not_before() {
    let mut router = started(100, true);
    assert_eq!(router.state(), StateName::Backup);
    let (at, out) = tick(&mut router);
    assert_eq!(at, T0 + config(100, true).active_down_interval());
    assert_eq!(sent(&out), [100]);
    // The advert goes first, the announcement only once the address is there (§6.4.2 380-420).
    assert!(matches!(
        out[..],
        [Output::Event(_), Output::Send(..), Output::Acquire, Output::Announce]
    ));
}

#[test]
fn the_owner_is_active_at_once() {
    let mut router = Router::new(config(255, true), OWN);
    let out = feed(&mut router, T0, Input::Start);
    assert_eq!(router.state(), StateName::Active);
    assert_eq!(sent(&out), [255]);
}

#[test]
fn backup_stays_while_the_active_router_is_heard() {
    let mut router = started(100, true);
    for step in 1..50 {
        feed(&mut router, T0 + INTERVAL * step, advert(HIGHER, 150));
        assert_eq!(router.state(), StateName::Backup);
    }
}

#[test]
fn priority_0_shortens_the_wait_to_the_skew() {
    let mut router = started(100, true);
    feed(&mut router, T0, advert(HIGHER, 150));
    let stopped = T0 + Duration::from_millis(5);
    feed(&mut router, stopped, advert(HIGHER, 0));
    let (at, out) = tick(&mut router);
    assert_eq!(at, stopped + config(100, true).skew(Priority::DEFAULT, INTERVAL));
    assert!(out.contains(&Output::Event(RouterEvent::StateChanged {
        from: StateName::Backup,
        to: StateName::Active,
        reason: Reason::ActiveStopped,
    })));
}

#[test]
fn a_lower_active_router_is_preempted_only_with_preempt() {
    for (preempt, expected) in [(true, StateName::Active), (false, StateName::Backup)] {
        let mut router = started(150, preempt);
        let mut at = T0;
        for _ in 0..10 {
            at += INTERVAL;
            feed(&mut router, at, advert(HIGHER, 100));
        }
        assert_eq!(router.state(), expected, "preempt {preempt}");
    }
}

#[test]
fn active_yields_to_a_higher_priority_or_address_with_a_last_word() {
    for (from, priority, yields) in
        [(LOWER, 101, true), (HIGHER, 100, true), (LOWER, 100, false), (HIGHER, 99, false)]
    {
        let (mut router, at) = active(100);
        let out = feed(&mut router, at + INTERVAL / 3, advert(from, priority));
        let expected = if yields { StateName::Leaving } else { StateName::Active };
        assert_eq!(router.state(), expected, "{from} {priority}");
        // Either way the other one hears of us: as a loser's last word, or as an assertion.
        assert_eq!(sent(&out), [100]);
        assert_eq!(out.contains(&Output::Announce), !yields, "the winner announces again");
        if yields {
            // One that preempts may not have the address yet: it is served on for a moment.
            let (left, out) = tick(&mut router);
            assert_eq!((left, router.state()), (at + INTERVAL / 3 + MAX_LINGER, StateName::Backup));
            assert!(out.contains(&Output::Release));
        }
    }
}

#[test]
fn a_flood_of_rival_adverts_is_answered_at_most_twice_an_interval() {
    let (mut router, at) = active(100);
    let (mut answers, mut events) = (0, 0);
    for step in 1..1_000 {
        let out = feed(&mut router, at + Duration::from_micros(step * 100), advert(LOWER, 50));
        answers += sent(&out).len();
        events += out.iter().filter(|output| matches!(output, Output::Event(_))).count();
    }
    assert_eq!(events, 1, "the rival is told of once");
    assert!(answers <= 3, "{answers} answers in one interval");
}

#[test]
fn the_interval_of_the_active_router_is_learned() {
    let mut router = started(100, true);
    let slow = Advert::new(
        Version::V3,
        Vrid::new(51).expect("not 0"),
        150,
        Duration::from_secs(1),
        vec!["10.0.0.100".parse().expect("an address")],
    );
    let message = encode(&slow, HIGHER, GROUP_V4.into(), Checksum::MessageOnly);
    let packet = Packet { source: HIGHER, destination: GROUP_V4.into(), hop_limit: 255, message };
    feed(&mut router, T0, Input::Packet(packet));
    let expected = router.config.active_down(router.config.priority, Duration::from_secs(1));
    assert_eq!(router.deadline(), Some(T0 + expected));
    assert_eq!(router.checksum, Checksum::MessageOnly, "the peer's reading is mirrored");
}

#[test]
fn stopping_serves_on_until_the_successor_is_heard() {
    let (mut router, at) = active(150);
    let out = feed(&mut router, at, Input::Stop);
    assert_eq!((router.state(), sent(&out)), (StateName::Leaving, vec![0]));
    assert!(!out.contains(&Output::Release), "make before break");
    let heard = at + INTERVAL / 2;
    assert_eq!(feed(&mut router, heard, advert(LOWER, 100)), []);
    // The successor may not have the address yet: it is served on for a moment.
    let (left, out) = tick(&mut router);
    assert_eq!((left, router.state()), (heard + MAX_LINGER, StateName::Initialize));
    assert!(out.contains(&Output::Release));
    assert_eq!(router.deadline(), None);
}

#[test]
fn stopping_alone_lets_go_in_bounded_time() {
    let (mut router, at) = active(150);
    feed(&mut router, at, Input::Stop);
    let (gave_up, out) = tick(&mut router);
    assert!(gave_up <= at + 2 * INTERVAL);
    assert_eq!(router.state(), StateName::Initialize);
    assert!(out.contains(&Output::Release));
}

#[test]
fn a_hand_over_without_successor_serves_on() {
    let (mut router, at) = active(150);
    feed(&mut router, at, Input::HandOver);
    let (_, out) = tick(&mut router);
    assert_eq!(router.state(), StateName::Active);
    assert!(!out.contains(&Output::Release));
}

#[test]
fn after_a_hand_over_a_higher_router_stays_back_until_resumed() {
    let (mut router, at) = active(150);
    feed(&mut router, at, Input::HandOver);
    let mut now = at;
    feed(&mut router, now, advert(LOWER, 100));
    tick(&mut router);
    for _ in 0..20 {
        now += INTERVAL;
        feed(&mut router, now, advert(LOWER, 100));
        assert_eq!(router.state(), StateName::Backup);
    }
    feed(&mut router, now, Input::Resume);
    for _ in 0..5 {
        now += INTERVAL;
        feed(&mut router, now, advert(LOWER, 100));
    }
    assert_eq!(router.state(), StateName::Active);
}

#[test]
fn a_router_that_stands_back_still_serves_when_the_other_dies() {
    let (mut router, at) = active(150);
    feed(&mut router, at, Input::HandOver);
    feed(&mut router, at + INTERVAL, advert(LOWER, 100));
    tick(&mut router);
    assert_eq!(router.state(), StateName::Backup);
    tick(&mut router);
    assert_eq!(router.state(), StateName::Active);
}

#[test]
fn a_failed_address_lets_another_router_serve_and_is_tried_again() {
    let (mut router, at) = active(100);
    let out = feed(&mut router, at, Input::AcquireFailed);
    assert_eq!((router.state(), sent(&out)), (StateName::Fault, vec![0]));
    assert!(out.contains(&Output::Release));
    tick(&mut router);
    assert_eq!(router.state(), StateName::Backup);
}

#[test]
fn an_overslept_active_router_announces_again() {
    let (mut router, at) = active(100);
    let mut out = Vec::new();
    router.tick(at + Duration::from_mins(1), &mut out);
    out.clear();
    router.tick(at + Duration::from_mins(2), &mut out);
    assert!(out.contains(&Output::Announce));
}

#[test]
fn bad_packets_are_counted_by_reason_and_change_nothing() {
    let (mut router, at) = active(100);
    let good = |router: &mut Router, edit: fn(&mut Packet)| {
        let Input::Packet(mut packet) = advert(HIGHER, 200) else { unreachable!() };
        edit(&mut packet);
        feed(router, at, Input::Packet(packet))
    };
    let cases: [(Reject, Edit); 9] = [
        (Reject::AddressCount, |p| p.message[3] = 9),
        (Reject::Checksum, |p| p.message[7] ^= 1),
        (Reject::HopLimit, |p| p.hop_limit = 254),
        (Reject::Interval, |p| p.message[4..6].fill(0)),
        (Reject::Length, |p| p.message.truncate(7)),
        (Reject::OwnReflection, |p| p.source = OWN),
        (Reject::Type, |p| p.message[0] = 0x32),
        (Reject::Version, |p| p.message[0] = 0x11),
        (Reject::Vrid, |p| {
            let Input::Packet(other) = advert_of_52() else { unreachable!() };
            p.message = other.message;
        }),
    ];
    for (why, edit) in cases {
        let out = good(&mut router, edit);
        assert_eq!(router.stats().rejected(why), 1, "{why}");
        assert_eq!(out.len(), 1, "one event and no effect: {out:?}");
        assert_eq!(router.state(), StateName::Active);
    }
}

type Edit = fn(&mut Packet);

fn advert_of_52() -> Input {
    let advert = Advert::new(
        Version::V3,
        Vrid::new(52).expect("not 0"),
        200,
        Duration::from_millis(100),
        vec!["10.0.0.100".parse().expect("an address")],
    );
    let message = encode(&advert, HIGHER, GROUP_V4.into(), Checksum::PseudoHeader);
    Input::Packet(Packet { source: HIGHER, destination: GROUP_V4.into(), hop_limit: 255, message })
}

#[test]
fn other_addresses_are_told_once_and_do_not_make_two_routers_active() {
    let mut router = started(100, true);
    let mut other = Advert::new(
        Version::V3,
        Vrid::new(51).expect("not 0"),
        150,
        Duration::from_millis(100),
        vec!["10.0.0.100".parse().expect("ip"), "10.0.0.101".parse().expect("ip")],
    );
    let packet = |advert: &Advert| {
        let message = encode(advert, HIGHER, GROUP_V4.into(), Checksum::PseudoHeader);
        Input::Packet(Packet {
            source: HIGHER,
            destination: GROUP_V4.into(),
            hop_limit: 255,
            message,
        })
    };
    let mut told = 0;
    for step in 1..20 {
        let out = feed(&mut router, T0 + INTERVAL * step, packet(&other));
        let differ = |o: &&Output| matches!(o, Output::Event(RouterEvent::AddressesDiffer { .. }));
        told += out.iter().filter(differ).count();
        assert_eq!(router.state(), StateName::Backup);
    }
    assert_eq!(told, 1);
    other.addresses.pop();
    assert_eq!(feed(&mut router, T0 + INTERVAL * 20, packet(&other)), []);
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        1 => Just(Input::Start),
        1 => Just(Input::Stop),
        1 => Just(Input::HandOver),
        1 => Just(Input::Resume),
        1 => Just(Input::AcquireFailed),
        4 => (any::<bool>(), any::<u8>()).prop_map(|(low, p)| advert(if low { LOWER } else { HIGHER }, p)),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|message| Input::Packet(Packet {
            source: LOWER, destination: GROUP_V4.into(), hop_limit: 255, message,
        })),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(
        priority in 1u8..,
        preempt: bool,
        schedule in prop::collection::vec(
            ((0u64..400_000).prop_map(Duration::from_micros), prop::option::of(inputs())), 0..60),
    ) {
        laws::check(|| Router::new(config(priority, preempt), OWN), &schedule)?;
    }

    #[test]
    fn effects_follow_the_state(
        priority in 1u8..,
        schedule in prop::collection::vec(((0u64..400_000).prop_map(Duration::from_micros), inputs()), 0..60),
    ) {
        let mut router = Router::new(config(priority, true), OWN);
        let (mut now, mut held, mut out) = (T0, false, Vec::new());
        for (wait, input) in schedule {
            now += wait;
            router.handle(now, input, &mut out);
            for output in out.drain(..) {
                match output {
                    Output::Acquire => held = true,
                    Output::Release => held = false,
                    Output::Announce => prop_assert!(held, "announced without the address"),
                    Output::Event(_) | Output::Send(..) => {}
                }
            }
            prop_assert_eq!(held, router.state().holds());
        }
    }
}

fn heard(out: &[Output], wanted: Destination) -> Vec<Vec<u8>> {
    let to = |output: &Output| match output {
        Output::Send(destination, message) if *destination == wanted => Some(message.clone()),
        Output::Send(..)
        | Output::Acquire
        | Output::Announce
        | Output::Event(_)
        | Output::Release => None,
    };
    out.iter().filter_map(to).collect()
}

fn packet_from(source: IpAddr, message: Vec<u8>) -> Input {
    Input::Packet(Packet { source, destination: OWN, hop_limit: 255, message })
}

fn with_kin(priority: u8, own: IpAddr, kin: IpAddr) -> Router {
    let config = RouterConfig::builder(51)
        .address("10.0.0.100/24".parse::<VirtualAddress>().expect("an address"))
        .priority(priority)
        .advert_interval(INTERVAL)
        .kin(kin)
        .beat_interval(Duration::from_millis(3))
        .build()
        .expect("a configuration");
    let mut router = Router::new(config, own);
    feed(&mut router, T0, Input::Start);
    router
}

/// A backup at [`OWN`] and its active kin at [`HIGHER`], who know of each other.
fn acquainted() -> (Router, Router, Instant) {
    let mut theirs = with_kin(150, HIGHER, OWN);
    let mut ours = with_kin(100, OWN, HIGHER);
    let (at, out) = tick(&mut theirs);
    let advert = heard(&out, Destination::Group).pop().expect("an advert");
    let out = feed(&mut ours, at, advert_bytes(HIGHER, advert));
    let offer = heard(&out, Destination::Peer(HIGHER)).pop().expect("an offer");
    let input = Packet { source: OWN, destination: HIGHER, hop_limit: 255, message: offer };
    feed(&mut theirs, at, Input::Packet(input));
    (ours, theirs, at)
}

fn advert_bytes(source: IpAddr, message: Vec<u8>) -> Input {
    Input::Packet(Packet { source, destination: GROUP_V4.into(), hop_limit: 255, message })
}

#[test]
fn kin_is_told_that_it_is_the_heir_and_takes_over_without_a_skew() {
    let (mut ours, mut theirs, at) = acquainted();
    let out = feed(&mut theirs, at, Input::Stop);
    let word = heard(&out, Destination::Peer(OWN)).pop().expect("a word to the heir");
    let out = feed(&mut ours, at, packet_from(HIGHER, word));
    assert_eq!((ours.state(), sent(&out)), (StateName::Active, vec![100]));
}

#[test]
fn a_backup_that_gets_beats_takes_over_after_three_silent_ones() {
    let (mut ours, mut theirs, mut at) = acquainted();
    for _ in 0..20 {
        let (next, out) = tick(&mut theirs);
        at = next;
        for beat in heard(&out, Destination::Peer(OWN)) {
            feed(&mut ours, at, packet_from(HIGHER, beat));
        }
    }
    assert_eq!(ours.state(), StateName::Backup);
    let (gone, _) = tick(&mut ours);
    assert_eq!(ours.state(), StateName::Active);
    assert!(gone.since(at) < Duration::from_millis(15), "{:?}", gone.since(at));
}

#[test]
fn nothing_of_the_extension_goes_to_who_was_not_named() {
    let mut router = with_kin(100, OWN, HIGHER);
    let out = feed(&mut router, T0, advert(LOWER, 150));
    assert!(heard(&out, Destination::Peer(LOWER)).is_empty(), "no offer to a stranger");
    let beat = extension::Beat::new(Vrid::new(51).expect("not 0"), 0, INTERVAL, 1);
    let beat = extension::encode(extension::Message::Beat(beat), LOWER, OWN);
    feed(&mut router, T0, packet_from(LOWER, beat));
    assert_eq!(router.stats().rejected(Reject::Source), 1);
    assert_eq!(router.state(), StateName::Backup, "and no say for one");
}

#[test]
fn a_lost_peer_is_not_waited_for() {
    let mut router = started(100, true);
    feed(&mut router, T0, advert(HIGHER, 150));
    feed(&mut router, T0, Input::PeerLost(LOWER));
    assert_eq!(router.state(), StateName::Backup, "that was somebody else");
    let out = feed(&mut router, T0, Input::PeerLost(HIGHER));
    assert_eq!((router.state(), sent(&out)), (StateName::Active, vec![100]));
}

#[test]
fn one_that_has_overslept_listens_once_more_and_reads_what_waits_first() {
    let mut router = started(100, true);
    let late = T0 + Duration::from_secs(5);
    let mut out = Vec::new();
    router.tick(late, &mut out);
    assert_eq!((router.state(), out.len()), (StateName::Backup, 0));
    feed(&mut router, late, advert(HIGHER, 150));
    let (at, _) = tick(&mut router);
    assert_eq!(at, late + config(100, true).active_down_interval());
    // Nobody is there: then it takes over within two intervals of waking up.
    let mut router = started(100, true);
    router.tick(late, &mut out);
    let (at, _) = tick(&mut router);
    assert_eq!(router.state(), StateName::Active);
    assert!(at <= late + 2 * INTERVAL);
}

#[test]
fn a_newcomer_that_does_not_preempt_yields_to_whoever_served_already() {
    let mut router = started(200, false);
    let (at, _) = tick(&mut router);
    let out = feed(&mut router, at + INTERVAL / 4, advert(LOWER, 100));
    assert_eq!((router.state(), sent(&out)), (StateName::Leaving, vec![0]));
    feed(&mut router, at + INTERVAL / 2, advert(LOWER, 100));
    tick(&mut router);
    assert_eq!(router.state(), StateName::Backup);
    // With preemption it stays.
    let mut router = started(200, true);
    let (at, _) = tick(&mut router);
    feed(&mut router, at + INTERVAL / 4, advert(LOWER, 100));
    assert_eq!(router.state(), StateName::Active);
}

#[test]
fn an_unproven_link_holds_back_until_it_speaks_or_patience_ends() {
    for speaks in [true, false] {
        let mut router = Router::new(config(100, true), OWN);
        feed(&mut router, T0, Input::LinkUnproven);
        feed(&mut router, T0, Input::Start);
        let (_, out) = tick(&mut router);
        let held = RouterEvent::HeldBack { by: crate::vrrp::HeldBack::Link };
        assert_eq!(out, [Output::Event(held)]);
        if speaks {
            feed(&mut router, T0 + Duration::from_secs(1), Input::LinkProven);
        } else {
            let (at, _) = tick(&mut router);
            assert_eq!(at, T0 + config(100, true).startup_patience);
        }
        assert_eq!(router.state(), StateName::Active, "speaks {speaks}");
    }
}

#[test]
fn preemption_waits_for_its_delay() {
    let address: VirtualAddress = "10.0.0.100/24".parse().expect("an address");
    let delay = Duration::from_secs(2);
    let builder = RouterConfig::builder(51).address(address).priority(200).preempt_delay(delay);
    let config = builder.advert_interval(INTERVAL).build().expect("a configuration");
    let mut router = Router::new(config, OWN);
    feed(&mut router, T0, Input::Start);
    let mut at = T0;
    while router.state() == StateName::Backup {
        at += INTERVAL;
        feed(&mut router, at, advert(LOWER, 100));
        assert!(at < T0 + delay + 6 * INTERVAL, "it never preempts");
    }
    assert!(at >= T0 + delay, "{at}");
}

#[test]
fn a_goodbye_of_a_loser_does_not_end_the_active_routers_life() {
    let mut router = started(100, true);
    feed(&mut router, T0, advert(HIGHER, 150));
    let before = router.deadline();
    feed(&mut router, T0, advert(LOWER, 0));
    assert_eq!(router.deadline(), before, "the one that serves is another");
}

#[test]
fn version_2_speaks_seconds_and_passwords() {
    let address: VirtualAddress = "10.0.0.100/24".parse().expect("an address");
    let builder = RouterConfig::builder(51).address(address).version(Version::V2);
    let config = builder.password("secret12").build().expect("a configuration");
    let mut router = Router::new(config, OWN);
    feed(&mut router, T0, Input::Start);
    let (at, out) = tick(&mut router);
    assert_eq!(at, T0 + Duration::from_micros(3_609_375));
    let message = heard(&out, Destination::Group).pop().expect("an advert");
    assert_eq!((message[0], &message[12..20]), (0x21, &b"secret12"[..]));
    feed(&mut router, at, advert(HIGHER, 200));
    assert_eq!(router.stats().rejected(Reject::Version), 1);
}

#[test]
fn unicast_peers_get_an_advert_each_and_others_have_no_say() {
    let address: VirtualAddress = "10.0.0.100/24".parse().expect("an address");
    let builder = RouterConfig::builder(51).address(address).advert_interval(INTERVAL);
    let config = builder.unicast_peer(HIGHER).build().expect("a configuration");
    let mut router = Router::new(config, OWN);
    feed(&mut router, T0, Input::Start);
    let (at, out) = tick(&mut router);
    assert_eq!(heard(&out, Destination::Peer(HIGHER)).len(), 1);
    assert!(heard(&out, Destination::Group).is_empty());
    feed(&mut router, at, advert(LOWER, 200));
    assert_eq!(router.stats().rejected(Reject::Source), 1);
    assert_eq!(router.state(), StateName::Active);
}
