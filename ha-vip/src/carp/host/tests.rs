use ha_core::laws;
use proptest::prelude::*;

use super::*;
use crate::carp::config::{HostBuilder, Vhid};
use crate::carp::wire::Authenticator;

const T0: Instant = Instant::from_secs(100);
const SECOND: Duration = Duration::from_secs(1);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const LOWER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HIGHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

fn builder() -> HostBuilder {
    let address: crate::VirtualAddress = "10.0.0.100/24".parse().expect("an address");
    HostConfig::builder(42).address(address).password("love").advskew(100)
}

fn authenticator() -> Authenticator {
    builder().build().expect("a configuration").authenticator
}

fn started(edit: impl FnOnce(HostBuilder) -> HostBuilder) -> Host {
    let mut host = Host::new(edit(builder()).build().expect("a configuration"), OWN, 1);
    feed(&mut host, T0, Input::Start);
    host
}

/// A master, and the time at which it became one.
fn master(edit: impl FnOnce(HostBuilder) -> HostBuilder) -> (Host, Instant) {
    let mut host = started(edit);
    let (at, _) = tick(&mut host);
    assert_eq!(host.state(), StateName::Master);
    (host, at)
}

fn feed(host: &mut Host, now: Instant, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    host.handle(now, input, &mut out);
    out
}

fn tick(host: &mut Host) -> (Instant, Vec<Output>) {
    let deadline = host.deadline().expect("something is awaited");
    let mut out = Vec::new();
    host.tick(deadline, &mut out);
    (deadline, out)
}

fn advert(from: Ipv4Addr, (advbase, advskew): (u8, u8), counter: u64) -> Input {
    let vhid = Vhid::new(42).expect("not 0");
    let message = encode(&Advert::new(vhid, advbase, advskew, counter), &authenticator());
    Input::Packet(Packet { source: from, hop_limit: 255, message })
}

/// The adverts among the outputs.
fn sent(out: &[Output]) -> Vec<Advert> {
    let vhid = Vhid::new(42).expect("not 0");
    let adverts = out.iter().filter_map(|output| match output {
        Output::Send(message) => Some(decode(message, vhid, &authenticator()).expect("our own")),
        Output::Acquire | Output::Announce | Output::Event(_) | Output::Release => None,
    });
    adverts.collect()
}

/// A counter that proves that its sender has heard the host's last advert.
fn answer(out: &[Output]) -> u64 {
    sent(out).last().expect("an advert").counter.wrapping_add(1)
}

#[test]
fn a_backup_becomes_master_after_ucarps_dead_interval() {
    let mut host = started(|builder| builder);
    // 3 × (1 + 100/256) s, as measured with ucarp 1.5.2.
    assert_eq!(host.deadline().map(|at| at.since(T0).as_millis()), Some(4_171));
    let (_, out) = tick(&mut host);
    let one = sent(&out)[0];
    assert_eq!((one.advbase, one.advskew), (1, 100));
    assert_eq!(out[2..], [Output::Acquire, Output::Announce]);
}

#[test]
fn what_a_backup_does_with_an_advert_depends_on_who_is_preferred() {
    // Preempt or not, sender, advbase and advskew; takes over at once?
    let cases = [
        (false, HIGHER, (1, 50), false),
        (false, HIGHER, (1, 200), false),
        (true, HIGHER, (1, 50), false),
        (true, HIGHER, (1, 200), true),
        // Of two equal ones the lower source address is preferred.
        (true, LOWER, (1, 100), false),
        (true, HIGHER, (1, 100), true),
        (true, LOWER, (2, 0), true),
    ];
    for (preempt, from, theirs, takes_over) in cases {
        let mut host = started(|builder| builder.preempt(preempt));
        let later = T0 + SECOND;
        let out = feed(&mut host, later, advert(from, theirs, 7));
        let case = format!("preempt {preempt}, {theirs:?} from {from}");
        assert_eq!(host.state() == StateName::Master, takes_over, "{case}");
        if takes_over {
            assert_eq!(sent(&out)[0].counter, 8, "the sitting master hears its counter");
        } else {
            assert_eq!(host.deadline(), Some(later + host.config().dead_interval()), "{case}");
        }
    }
}

#[test]
fn after_a_goodbye_the_preferred_backup_goes_first() {
    let wait = |skew| {
        let mut host = started(|builder| builder.advskew(skew));
        feed(&mut host, T0, advert(HIGHER, (1, 0), 7));
        feed(&mut host, T0 + SECOND, advert(HIGHER, (255, 255), 8));
        let (at, out) = tick(&mut host);
        assert_eq!(host.state(), StateName::Master);
        assert_eq!(sent(&out)[0].counter, 9, "the leaving one hears its counter");
        at.since(T0 + SECOND)
    };
    assert!(wait(0) < wait(1) && wait(1) < wait(254));
    assert!(wait(254) < Duration::from_millis(60));
}

#[test]
fn a_master_that_will_be_silent_for_too_long_is_not_waited_for() {
    let mut host = started(|builder| builder);
    feed(&mut host, T0, advert(HIGHER, (1, 0), 7));
    feed(&mut host, T0 + SECOND, advert(HIGHER, (60, 0), 8));
    let (at, _) = tick(&mut host);
    assert!(host.state() == StateName::Master && at < T0 + 2 * SECOND);
}

#[test]
fn a_master_yields_to_a_preferred_host_that_answers_it_and_asserts_itself_otherwise() {
    let cases = [
        (HIGHER, (1, 50), true),
        (HIGHER, (1, 200), false),
        (LOWER, (1, 100), true),
        (HIGHER, (1, 100), false),
    ];
    for (from, theirs, yields) in cases {
        let mut host = started(|builder| builder);
        let (at, out) = tick(&mut host);
        let out = feed(&mut host, at, advert(from, theirs, answer(&out)));
        let case = format!("{theirs:?} from {from}");
        assert_eq!(host.state() == StateName::Leaving, yields, "{case}");
        // Either way the other one hears of us: as a loser's last word, or as an answer.
        assert_eq!(sent(&out).len(), 1, "{case}");
        assert_eq!(out.contains(&Output::Announce), !yields, "{case}: the winner announces");
        if yields {
            let (left, out) = tick(&mut host);
            assert_eq!((left, host.state()), (at + MAX_LINGER, StateName::Backup));
            assert!(out.contains(&Output::Release));
        }
    }
}

#[test]
fn a_recorded_advert_does_not_depose_the_master_however_often_it_is_sent() {
    let mut host = started(|builder| builder);
    // Heard by us before, or never: both were signed by a host with the password.
    feed(&mut host, T0, advert(HIGHER, (1, 0), 1_000));
    let (mut now, _) = tick(&mut host);
    let mut answers = 0;
    for copy in 0..600 {
        now += Duration::from_millis(50);
        let counter = if copy % 2 == 0 { 1_000 } else { 5_000 + copy };
        let out = feed(&mut host, now, advert(LOWER, (0, 1), counter));
        answers += sent(&out).len();
        assert_eq!(host.state(), StateName::Master);
    }
    assert_eq!(host.stats().rejected(Reject::Replay), 300);
    assert!(answers < 80, "{answers} adverts in 30 s");
}

#[test]
fn our_own_advert_sent_back_as_a_preferred_one_changes_nothing() {
    let mut host = started(|builder| builder);
    let (at, out) = tick(&mut host);
    let ours = sent(&out)[0].counter;
    feed(&mut host, at, advert(LOWER, (0, 1), ours));
    assert_eq!(host.state(), StateName::Master);
    assert_eq!(host.stats().rejected(Reject::Replay), 1);
}

#[test]
fn an_answer_counts_once() {
    let mut host = started(|builder| builder);
    let (at, out) = tick(&mut host);
    let theirs = answer(&out);
    // A worse host answers, as ucarp does; its advert is then sent again as a preferred one.
    feed(&mut host, at, advert(HIGHER, (1, 200), theirs));
    feed(&mut host, at + SECOND / 4, advert(HIGHER, (0, 1), theirs));
    assert_eq!(host.state(), StateName::Master);
}

#[test]
fn a_preferred_host_that_has_just_started_is_asked_and_then_believed() {
    let (mut host, at) = master(|builder| builder);
    let out = feed(&mut host, at + SECOND / 2, advert(LOWER, (1, 0), 0xdead_beef));
    assert_eq!(host.state(), StateName::Master);
    let unproven = Output::Event(HostEvent::Unproven { from: LOWER });
    assert!(out.contains(&unproven) && sent(&out).len() == 1, "it is asked at once: {out:?}");
    // ucarp goes on from the counter that it has heard, with its next advert.
    feed(&mut host, at + SECOND, advert(LOWER, (1, 0), answer(&out)));
    assert_eq!(host.state(), StateName::Leaving);
}

#[test]
fn without_proof_required_a_new_advert_is_enough_and_a_copy_is_not() {
    let (mut host, at) = master(|builder| builder.require_proof(false));
    feed(&mut host, at, advert(LOWER, (1, 0), 77));
    assert_eq!(host.state(), StateName::Leaving);
    tick(&mut host);
    tick(&mut host);
    assert_eq!(host.state(), StateName::Master, "the preferred host died");
    let now = host.now;
    feed(&mut host, now, advert(LOWER, (1, 0), 77));
    assert_eq!(host.state(), StateName::Master);
}

#[test]
fn copies_do_not_keep_a_backup_from_taking_over() {
    let mut host = started(|builder| builder);
    let mut now = T0;
    for counter in 1_000..1_010 {
        feed(&mut host, now, advert(LOWER, (1, 0), counter));
        now += SECOND;
    }
    let dead = host.deadline();
    for old in 990..1_010 {
        // Before the sequence, or heard already.
        feed(&mut host, now, advert(LOWER, (1, 0), old));
    }
    assert_eq!(host.deadline(), dead);
    assert_eq!(host.stats().rejected(Reject::Replay), 10);
    assert_eq!(host.stats().rejected(Reject::Stale), 10);
    tick(&mut host);
    assert_eq!(host.state(), StateName::Master);
}

#[test]
fn a_flood_of_rival_adverts_is_answered_at_most_twice_an_interval() {
    let (mut host, at) = master(|builder| builder);
    let (mut answers, mut events) = (0, 0);
    for step in 1..1_000 {
        let now = at + Duration::from_millis(step);
        let out = feed(&mut host, now, advert(LOWER, (1, 200), step << 20));
        answers += sent(&out).len();
        events += out.iter().filter(|output| matches!(output, Output::Event(_))).count();
    }
    assert_eq!(events, 1, "the rival is told of once");
    assert!(answers <= 3, "{answers} answers in one interval");
}

#[test]
fn stopping_serves_on_until_the_successor_is_heard() {
    let (mut host, at) = master(|builder| builder);
    let out = feed(&mut host, at, Input::Stop);
    assert_eq!(host.state(), StateName::Leaving);
    assert!(sent(&out)[0].is_goodbye());
    assert!(!out.contains(&Output::Release), "make before break");
    // A copy is no successor.
    feed(&mut host, at, advert(LOWER, (1, 200), 5));
    let heard = at + SECOND / 2;
    assert_eq!(feed(&mut host, heard, advert(HIGHER, (1, 200), answer(&out))), []);
    let (left, out) = tick(&mut host);
    assert_eq!((left, host.state()), (heard + MAX_LINGER, StateName::Init));
    assert!(out.contains(&Output::Release));
    assert_eq!(host.deadline(), None);
}

#[test]
fn stopping_alone_lets_go_in_bounded_time() {
    let (mut host, at) = master(|builder| builder);
    feed(&mut host, at, Input::Stop);
    let (gave_up, out) = tick(&mut host);
    assert!(gave_up <= at + 2 * host.interval());
    assert_eq!(host.state(), StateName::Init);
    assert!(out.contains(&Output::Release));
}

#[test]
fn a_hand_over_without_successor_serves_on() {
    let (mut host, at) = master(|builder| builder);
    feed(&mut host, at, Input::HandOver);
    let (_, out) = tick(&mut host);
    assert_eq!(host.state(), StateName::Master);
    assert!(!out.contains(&Output::Release));
}

#[test]
fn after_a_hand_over_a_preempting_host_stays_back_until_resumed() {
    let (mut host, mut now) = master(|builder| builder.preempt(true));
    let out = feed(&mut host, now, Input::HandOver);
    let mut counter = answer(&out);
    feed(&mut host, now, advert(HIGHER, (1, 200), counter));
    tick(&mut host);
    for _ in 0..10 {
        now += SECOND;
        counter += 1;
        feed(&mut host, now, advert(HIGHER, (1, 200), counter));
        assert_eq!(host.state(), StateName::Backup);
    }
    feed(&mut host, now, Input::Resume);
    feed(&mut host, now + SECOND, advert(HIGHER, (1, 200), counter + 1));
    assert_eq!(host.state(), StateName::Master);
}

#[test]
fn a_demoted_host_advertises_less_often_and_a_preferred_one_preempts_it() {
    let (mut host, _) = master(|builder| builder);
    let now = host.now;
    feed(&mut host, now, Input::Demote(250));
    let (_, out) = tick(&mut host);
    assert!(out.contains(&Output::Announce));
    let (at, out) = loop {
        let (at, out) = tick(&mut host);
        if !sent(&out).is_empty() {
            break (at, out);
        }
    };
    assert_eq!(sent(&out)[0].advskew, 254, "255 would be a goodbye");
    feed(&mut host, at, advert(HIGHER, (1, 150), answer(&out)));
    assert_eq!(host.state(), StateName::Leaving);
}

#[test]
fn a_failed_address_lets_another_host_serve_and_is_tried_again() {
    let (mut host, at) = master(|builder| builder);
    let out = feed(&mut host, at, Input::AcquireFailed);
    assert_eq!(host.state(), StateName::Fault);
    assert!(sent(&out)[0].is_goodbye() && out.contains(&Output::Release));
    tick(&mut host);
    assert_eq!(host.state(), StateName::Backup);
}

#[test]
fn an_overslept_master_announces_again() {
    let (mut host, at) = master(|builder| builder);
    let mut out = Vec::new();
    host.tick(at + Duration::from_mins(1), &mut out);
    out.clear();
    host.tick(at + Duration::from_mins(2), &mut out);
    assert!(out.contains(&Output::Announce));
}

#[test]
fn an_overslept_backup_reads_what_waits_before_it_takes_over() {
    let mut host = started(|builder| builder);
    let later = T0 + Duration::from_mins(1);
    let out = feed(&mut host, later, advert(LOWER, (1, 0), 7));
    assert_eq!((out, host.state()), (vec![], StateName::Backup));
    let mut silent = started(|builder| builder);
    silent.tick(later, &mut Vec::new());
    let (at, _) = tick(&mut silent);
    assert!(silent.state() == StateName::Master && at < later + SECOND);
}

#[test]
fn bad_packets_are_counted_by_reason_and_change_nothing() {
    type Edit = fn(&mut Packet);
    let (mut host, at) = master(|builder| builder);
    let cases: [(Reject, Edit); 9] = [
        (Reject::AuthLength, |p| p.message[3] = 8),
        (Reject::Checksum, |p| p.message[2] ^= 1),
        (Reject::Digest, |p| {
            let other = Authenticator::new(b"hate", &[[10, 0, 0, 100].into()]).expect("ok");
            let vhid = Vhid::new(42).expect("not 0");
            p.message = encode(&Advert::new(vhid, 1, 0, 9), &other);
        }),
        (Reject::HopLimit, |p| p.hop_limit = 254),
        (Reject::Length, |p| p.message.truncate(35)),
        (Reject::OwnReflection, |p| p.source = OWN),
        (Reject::Type, |p| p.message[0] = 0x22),
        (Reject::Version, |p| p.message[0] = 0x31),
        (Reject::Vhid, |p| p.message[1] = 43),
    ];
    for (why, edit) in cases {
        let Input::Packet(mut packet) = advert(LOWER, (1, 0), 9) else { unreachable!() };
        edit(&mut packet);
        let out = feed(&mut host, at, Input::Packet(packet));
        assert_eq!(host.stats().rejected(why), 1, "{why}");
        assert_eq!(out.len(), 1, "one event and no effect: {out:?}");
        assert_eq!(host.state(), StateName::Master);
    }
}

fn inputs() -> impl Strategy<Value = Input> {
    let skew = prop_oneof![Just(50u8), Just(100), Just(200), Just(255)];
    let base = prop_oneof![5 => Just(1u8), 1 => any::<u8>()];
    prop_oneof![
        1 => Just(Input::Start),
        1 => Just(Input::Stop),
        1 => Just(Input::HandOver),
        1 => Just(Input::Resume),
        1 => Just(Input::AcquireFailed),
        1 => any::<u8>().prop_map(Input::Demote),
        6 => (any::<bool>(), base, skew, any::<u16>()).prop_map(|(low, base, skew, counter)| {
            advert(if low { LOWER } else { HIGHER }, (base, skew), counter.into())
        }),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|message| {
            Input::Packet(Packet { source: LOWER, hop_limit: 255, message })
        }),
    ]
}

fn schedules() -> impl Strategy<Value = Vec<(Duration, Option<Input>)>> {
    let wait = (0u64..4_000_000).prop_map(Duration::from_micros);
    prop::collection::vec((wait, prop::option::of(inputs())), 0..60)
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(
        base in 0u8..3, skew in 1u8..255, preempt: bool, proof: bool, schedule in schedules(),
    ) {
        let config = builder().advbase(base).advskew(skew).preempt(preempt).require_proof(proof);
        let config = config.build().expect("a configuration");
        laws::check(|| Host::new(config.clone(), OWN, 1), &schedule)?;
    }

    #[test]
    fn effects_follow_the_state(preempt: bool, proof: bool, schedule in schedules()) {
        let config = builder().preempt(preempt).require_proof(proof).build().expect("ok");
        let mut host = Host::new(config, OWN, 1);
        let (mut now, mut held, mut out) = (T0, false, Vec::new());
        for (wait, input) in schedule {
            now += wait;
            host.tick(now, &mut out);
            if let Some(input) = input {
                host.handle(now, input, &mut out);
            }
            for output in out.drain(..) {
                match output {
                    Output::Acquire => held = true,
                    Output::Release => held = false,
                    Output::Announce => prop_assert!(held, "announced without the address"),
                    Output::Event(_) | Output::Send(_) => {}
                }
            }
            prop_assert_eq!(held, host.state().holds());
        }
    }
}
