use ha_core::laws;
use proptest::prelude::*;

use super::*;

const OURS: Mac = Mac::new([2, 0, 0, 0, 0, 1]);
const VIRTUAL: Mac = Mac::new([0, 0, 0x5e, 0, 1, 51]);
const THEIRS: Mac = Mac::new([2, 0, 0, 0, 0, 2]);
const SECOND: Duration = Duration::from_secs(1);
/// When the grace is over.
const T1: Instant = Instant::from_secs(101);

fn address() -> VirtualAddress {
    "10.0.0.100/24".parse().expect("an address")
}

fn builder() -> ConflictBuilder {
    ConflictConfig::builder(OURS)
        .address(address())
        .address("2001:db8::100/64".parse().expect("an address"))
        .also_ours(VIRTUAL)
}

fn holding(builder: ConflictBuilder) -> ConflictDetector {
    let mut detector = ConflictDetector::new(builder.build().expect("a configuration"));
    assert_eq!(feed(&mut detector, T1 - SECOND, ConflictInput::Held), []);
    detector
}

fn feed(
    detector: &mut ConflictDetector,
    now: Instant,
    input: ConflictInput,
) -> Vec<ConflictOutput> {
    let mut out = Vec::new();
    detector.handle(now, input, &mut out);
    out
}

fn claim(ip: &str, mac: Mac) -> ConflictInput {
    let ip = ip.parse().expect("an address");
    ConflictInput::Seen(Sighting { ip, mac, kind: SightingKind::Claim })
}

fn conflict(ip: &str, since: Instant) -> ConflictOutput {
    let address = ip.parse().expect("an address");
    let event = ConflictEvent::Conflict { address, ours: OURS, theirs: THEIRS, since };
    ConflictOutput::Event(event)
}

#[test]
fn a_rival_is_told_of_once_and_the_address_defended_once_in_the_interval() {
    let mut detector = holding(builder());
    let first = feed(&mut detector, T1, claim("10.0.0.100", THEIRS));
    assert_eq!(first, [conflict("10.0.0.100", T1), ConflictOutput::Defend(address())]);
    for second in 1..10 {
        let again = feed(&mut detector, T1 + SECOND * second, claim("10.0.0.100", THEIRS));
        assert_eq!(again, [], "after {second} s");
    }
    let later =
        feed(&mut detector, T1 + ConflictConfig::DEFEND_INTERVAL, claim("10.0.0.100", THEIRS));
    assert_eq!(later, [ConflictOutput::Defend(address())]);
}

#[test]
fn who_only_tells_does_not_defend() {
    let mut detector = holding(builder().policy(ConflictPolicy::Tell));
    let out = feed(&mut detector, T1, claim("2001:db8::100", THEIRS));
    assert_eq!(out, [conflict("2001:db8::100", T1)]);
}

#[test]
fn our_own_frames_questions_and_other_addresses_are_no_conflict() {
    let mut detector = holding(builder());
    let ip = address().ip();
    let probe = ConflictInput::Seen(Sighting { ip, mac: THEIRS, kind: SightingKind::Probe });
    for input in
        [claim("10.0.0.100", OURS), claim("10.0.0.100", VIRTUAL), claim("10.0.0.9", THEIRS), probe]
    {
        assert_eq!(feed(&mut detector, T1, input), [], "{input:?}");
    }
}

#[test]
fn an_address_that_is_elsewhere_by_design_is_no_conflict() {
    let config = builder().build().expect("a configuration");
    let mut detector = ConflictDetector::new(config);
    assert_eq!(feed(&mut detector, T1, claim("10.0.0.100", THEIRS)), [], "a backup");
    feed(&mut detector, T1, ConflictInput::Held);
    let early = T1 + SECOND / 2;
    assert_eq!(feed(&mut detector, early, claim("10.0.0.100", THEIRS)), [], "its last frames");
    let late = T1 + SECOND;
    assert_eq!(feed(&mut detector, late, claim("10.0.0.100", THEIRS)).len(), 2);
    let released = feed(&mut detector, late + SECOND, ConflictInput::Released);
    let [ConflictOutput::Event(ConflictEvent::Resolved { theirs: THEIRS, .. })] = released[..]
    else {
        panic!("{released:?}");
    };
}

#[test]
fn a_silent_rival_is_gone_after_the_time_that_was_set_and_its_conflict_has_a_length() {
    let mut detector = holding(builder());
    feed(&mut detector, T1, claim("10.0.0.100", THEIRS));
    feed(&mut detector, T1 + SECOND * 7, claim("10.0.0.100", THEIRS));
    let gone = detector.deadline().expect("its silence is awaited");
    assert_eq!(gone, T1 + SECOND * 67);
    let mut out = Vec::new();
    detector.tick(gone, &mut out);
    let (address, lasted) = (address().ip(), SECOND * 7);
    let event = ConflictEvent::Resolved { address, ours: OURS, theirs: THEIRS, lasted };
    assert_eq!(out, [ConflictOutput::Event(event)]);
    assert_eq!((detector.rivals(), detector.deadline()), (0, None));
    assert_eq!(feed(&mut detector, gone, claim("10.0.0.100", THEIRS)).len(), 2, "told of anew");
}

#[test]
fn every_ipv4_address_is_asked_for_once_in_the_interval() {
    let other: VirtualAddress = "10.0.0.101/24".parse().expect("an address");
    let mut detector = holding(builder().address(other).look_every(SECOND * 10));
    let (mut asked, mut out) = (Vec::new(), Vec::new());
    let start = detector.now;
    while let Some(at) = detector.deadline().filter(|at| at.since(start) <= SECOND * 20) {
        detector.tick(at, &mut out);
        asked.extend(out.drain(..).map(|output| (at.since(start).as_secs(), output)));
    }
    let [one, two] = [address(), other].map(ConflictOutput::Look);
    assert_eq!(asked, [(5, one), (10, two), (15, one), (20, two)]);
    feed(&mut detector, start + SECOND * 21, ConflictInput::Released);
    assert_eq!(detector.deadline(), None, "what is not held is not asked for");
}

#[test]
fn an_arp_storm_changes_nothing_and_costs_no_memory() {
    let mut detector = holding(builder());
    let (mut told, mut defended, mut out) = (0, 0, Vec::new());
    let storm = 200_000_u32;
    for packet in 0..storm {
        let [_, a, b, c] = packet.to_be_bytes();
        let mac = Mac::new([2, 9, 0, a, b, c]);
        // One second of a storm: every packet from another host, half of them claim our address.
        let ip = if packet % 2 == 0 { "10.0.0.100" } else { "10.0.7.7" };
        detector.handle(T1 + Duration::from_micros(5) * packet, claim(ip, mac), &mut out);
        for output in out.drain(..) {
            match output {
                ConflictOutput::Event(_) => told += 1,
                ConflictOutput::Defend(_) => defended += 1,
                ConflictOutput::Look(_) => {}
            }
        }
    }
    assert_eq!(defended, 1, "the network is not flooded");
    assert_eq!((told, detector.rivals()), (MAX_RIVALS, MAX_RIVALS));
    let counted = detector.stats();
    assert_eq!(counted.claims, u64::from(storm / 2));
    assert_eq!(counted.forgotten, u64::from(storm / 2) - MAX_RIVALS as u64);
    // The storm is over: everything is as before.
    let over = T1 + Duration::from_mins(5);
    detector.tick(over, &mut out);
    assert_eq!((out.len(), detector.rivals()), (MAX_RIVALS, 0));
    assert_eq!(feed(&mut detector, over, claim("10.0.0.100", THEIRS)).len(), 2);
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() {
    let error = ConflictConfig::builder(Mac::BROADCAST)
        .policy(ConflictPolicy::Defend(Duration::ZERO))
        .grace(SECOND * 61)
        .resolve_after(Duration::ZERO)
        .look_every(Duration::ZERO)
        .build()
        .expect_err("all wrong");
    let paths: Vec<&str> = error.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["policy", "grace", "resolve_after", "look_every", "address", "mac"]);
}

fn inputs() -> impl Strategy<Value = ConflictInput> {
    let kinds = prop_oneof![4 => Just(SightingKind::Claim), 1 => Just(SightingKind::Probe)];
    let ips = prop_oneof![Just("10.0.0.100"), Just("2001:db8::100"), Just("10.0.0.1")];
    prop_oneof![
        1 => Just(ConflictInput::Held),
        1 => Just(ConflictInput::Released),
        20 => (ips, any::<u8>(), kinds).prop_map(|(ip, last, kind)| {
            let (ip, mac) = (ip.parse().expect("an address"), Mac::new([2, 0, 0, 0, 0, last]));
            ConflictInput::Seen(Sighting { ip, mac, kind })
        }),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(
        look in prop::option::of(1u64..60), defend in prop::option::of(100u64..20_000),
        schedule in prop::collection::vec(
            ((0u64..20_000).prop_map(Duration::from_millis), prop::option::of(inputs())), 0..120),
    ) {
        let policy = defend.map_or(ConflictPolicy::Tell, |every| {
            ConflictPolicy::Defend(Duration::from_millis(every))
        });
        let builder = builder().policy(policy);
        let builder = look.map_or(builder.clone(), |s| builder.look_every(Duration::from_secs(s)));
        let config = builder.build().expect("a configuration");
        laws::check(|| ConflictDetector::new(config.clone()), &schedule)?;
    }

    #[test]
    fn each_conflict_is_resolved_once_and_never_without_one(
        schedule in prop::collection::vec(
            ((0u64..20_000).prop_map(Duration::from_millis), inputs()), 0..200),
    ) {
        let mut detector = ConflictDetector::new(builder().build().expect("a configuration"));
        let (mut now, mut open, mut out) = (T1, BTreeSet::new(), Vec::new());
        for (wait, input) in schedule {
            now += wait;
            detector.handle(now, input, &mut out);
            for output in out.drain(..) {
                match output {
                    ConflictOutput::Event(ConflictEvent::Conflict { address, theirs, .. }) => {
                        prop_assert!(open.insert((address, theirs)));
                    }
                    ConflictOutput::Event(ConflictEvent::Resolved { address, theirs, .. }) => {
                        prop_assert!(open.remove(&(address, theirs)));
                    }
                    ConflictOutput::Defend(_) | ConflictOutput::Look(_) => {}
                }
            }
            prop_assert_eq!(open.len(), detector.rivals());
        }
    }
}
