use std::num::NonZeroU8;

use ha_core::laws;
use proptest::prelude::*;

use super::super::auth::{Auth, Key, Method};
use super::*;

const MS: Duration = Duration::from_millis(1);

/// One end under test, and what a peer with discriminator 9 would say to it.
struct Bench {
    session: Session,
    now: Instant,
    out: Vec<Output>,
}

fn config() -> SessionConfig {
    SessionConfig::builder().multiplier(3).build().expect("a configuration")
}

fn says(state: State) -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state,
        poll: Poll::Neither,
        control_plane_independent: false,
        demand: false,
        detect_mult: NonZeroU8::new(3).expect("not 0"),
        my_discriminator: Discriminator::new(9).expect("not 0"),
        your_discriminator: Discriminator::new(1),
        desired_min_tx_us: 10_000,
        required_min_rx_us: 10_000,
        required_min_echo_rx_us: 0,
        authentication: None,
    }
}

impl Bench {
    fn of(config: SessionConfig) -> Self {
        let session = Session::new(config, Discriminator::new(1).expect("not 0"), 7);
        let mut bench = Self { session, now: Instant::from_secs(5), out: Vec::new() };
        bench.input(Input::Start);
        bench
    }

    fn up() -> Self {
        let mut bench = Self::of(config());
        bench.hear(&says(State::Down));
        bench.hear(&says(State::Up));
        assert_eq!(bench.session.state(), State::Up);
        // Its first poll is over, and so is what could be a late answer to it.
        bench.run_for(20 * MS);
        bench.hear(&ControlPacket { poll: Poll::Final, ..says(State::Up) });
        bench.hear(&says(State::Up));
        bench.sent();
        bench
    }

    fn input(&mut self, input: Input) {
        self.session.handle(self.now, input, &mut self.out);
    }

    fn hear(&mut self, control: &ControlPacket) {
        let message = wire::encode(control);
        self.input(Input::Packet(Packet { hop_limit: 255, message }));
    }

    /// Lets time pass with a tick at each deadline.
    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(deadline) = self.session.deadline().filter(|at| *at <= end) {
            self.now = deadline;
            self.session.tick(deadline, &mut self.out);
        }
        self.now = end;
    }

    /// Lets time pass while the program stands still.
    fn oversleep(&mut self, duration: Duration) {
        self.now += duration;
        self.session.tick(self.now, &mut self.out);
    }

    /// The packets sent since the last call; events are dropped.
    fn sent(&mut self) -> Vec<ControlPacket> {
        let outputs = std::mem::take(&mut self.out).into_iter();
        let messages = outputs.filter_map(|output| match output {
            Output::Send(message) => Some(wire::decode(&message).expect("valid")),
            Output::Event(_) => None,
        });
        messages.collect()
    }

    fn events(&mut self) -> Vec<SessionEvent> {
        let outputs = std::mem::take(&mut self.out).into_iter();
        let events = outputs.filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::Send(_) => None,
        });
        events.collect()
    }

    /// How often it sends within `duration` while it hears the peer.
    fn rate(&mut self, duration: Duration, peer: &ControlPacket) -> usize {
        self.sent();
        let end = self.now + duration;
        while self.now < end {
            self.hear(peer);
            self.run_for(5 * MS);
        }
        self.sent().len()
    }
}

#[test]
fn every_state_goes_where_the_rfc_says_for_every_state_of_the_peer() {
    use State::{AdminDown, Down, Init, Up};
    let table = [
        (Down, [(AdminDown, Down), (Down, Init), (Init, Up), (Up, Down)]),
        (Init, [(AdminDown, Down), (Down, Init), (Init, Up), (Up, Up)]),
        (Up, [(AdminDown, Down), (Down, Down), (Init, Up), (Up, Up)]),
        (
            AdminDown,
            [(AdminDown, AdminDown), (Down, AdminDown), (Init, AdminDown), (Up, AdminDown)],
        ),
    ];
    for (from, rows) in table {
        for (heard, to) in rows {
            let mut bench = Bench::of(config());
            match from {
                Down => {}
                Init => bench.hear(&says(Down)),
                Up => bench.hear(&says(Init)),
                AdminDown => bench.input(Input::Disable),
            }
            assert_eq!(bench.session.state(), from);
            bench.sent();
            bench.hear(&says(heard));
            assert_eq!(bench.session.state(), to, "{from} hears {heard}");
            let fell = to == Down && from != Down;
            assert_eq!(bench.session.diagnostic() == Diagnostic::NEIGHBOR_DOWN, fell);
            // A change is told at once.
            let told: Vec<State> = bench.sent().iter().map(|packet| packet.state).collect();
            assert_eq!(told, if from == to { vec![] } else { vec![to] }, "{from} hears {heard}");
        }
    }
}

#[test]
fn silence_for_the_detection_time_takes_the_session_down_and_not_before() {
    let mut bench = Bench::up();
    assert_eq!(bench.session.detection_time(), 30 * MS);
    bench.events();
    bench.run_for(Duration::from_nanos(29_999_999));
    assert_eq!(bench.session.state(), State::Up);
    bench.run_for(Duration::from_nanos(1));
    assert_eq!(bench.session.state(), State::Down);
    let diagnostic = Diagnostic::DETECTION_TIME_EXPIRED;
    let changed = SessionEvent::StateChanged {
        from: State::Up,
        to: State::Down,
        diagnostic,
        remote_diagnostic: Diagnostic::NONE,
    };
    assert_eq!(bench.events(), [changed]);
    assert_eq!(bench.session.remote_discriminator(), None, "the peer is forgotten");
    bench.run_for(Duration::from_secs(1));
    let last = bench.sent().pop().expect("it goes on sending");
    assert_eq!((last.state, last.diagnostic), (State::Down, diagnostic));
    assert_eq!(last.your_discriminator, None);
}

#[test]
fn the_detection_time_is_the_peers_multiplier_of_the_slower_interval() {
    for (tx_us, mult, expected) in [(10_000, 3, 30), (50_000, 3, 150), (1_000, 7, 70)] {
        let mut bench = Bench::up();
        let detect_mult = NonZeroU8::new(mult).expect("not 0");
        let peer = ControlPacket { desired_min_tx_us: tx_us, detect_mult, ..says(State::Up) };
        bench.hear(&peer);
        assert_eq!(bench.session.detection_time(), expected * MS);
    }
}

#[test]
fn packets_are_a_second_apart_until_the_session_is_up() {
    let mut bench = Bench::of(config());
    assert_eq!(bench.sent().len(), 1, "the first one at once");
    bench.run_for(Duration::from_mins(1));
    let sent = bench.sent();
    assert!((60..=80).contains(&sent.len()), "{} in a minute", sent.len());
    assert!(sent.iter().all(|packet| packet.desired_min_tx_us == 1_000_000));
    let mut bench = Bench::up();
    let rate = bench.rate(Duration::from_secs(1), &says(State::Up));
    assert!((100..=134).contains(&rate), "{rate} in a second");
    bench.hear(&says(State::Down));
    assert_eq!(bench.sent()[0].desired_min_tx_us, 1_000_000, "slow again");
}

#[test]
fn the_receiver_decides_how_fast_it_is_spoken_to() {
    let mut bench = Bench::up();
    let slow = ControlPacket { required_min_rx_us: 100_000, ..says(State::Up) };
    let rate = bench.rate(Duration::from_secs(1), &slow);
    assert!((10..=14).contains(&rate), "{rate}");
    // A faster receiver is served at once, not after the old interval (RFC 5880 §6.8.3).
    bench.hear(&says(State::Up));
    bench.run_for(10 * MS);
    assert!(!bench.sent().is_empty());
    let never = ControlPacket { required_min_rx_us: 0, ..says(State::Up) };
    bench.hear(&never);
    assert_eq!(bench.rate(Duration::from_secs(1), &never), 0);
    bench.hear(&ControlPacket { poll: Poll::Poll, ..never });
    assert_eq!(bench.sent().len(), 1, "a poll is answered all the same");
    bench.run_for(Duration::from_secs(3));
    assert!(!bench.sent().is_empty(), "a peer that is gone decides nothing");
}

#[test]
fn a_poll_is_answered_at_once_and_apart_from_the_schedule() {
    let mut bench = Bench::up();
    let planned = bench.session.periodic;
    bench.hear(&ControlPacket { poll: Poll::Poll, ..says(State::Up) });
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].poll, Poll::Final);
    assert_eq!(bench.session.periodic, planned);
}

#[test]
fn coming_up_polls_until_it_is_answered() {
    let mut bench = Bench::of(config());
    bench.hear(&says(State::Down));
    bench.sent();
    bench.hear(&says(State::Up));
    bench.run_for(25 * MS);
    let sent = bench.sent();
    assert!(sent.len() >= 3 && sent.iter().all(|packet| packet.poll == Poll::Poll), "{sent:?}");
    assert!(sent.iter().all(|packet| packet.desired_min_tx_us == 10_000));
    bench.hear(&ControlPacket { poll: Poll::Final, ..says(State::Up) });
    bench.run_for(10 * MS);
    let sent = bench.sent();
    assert!(!sent.is_empty() && sent.iter().all(|packet| packet.poll == Poll::Neither), "{sent:?}");
}

fn intervals(tx: u64, rx: u64) -> Input {
    let intervals = Intervals::new(Duration::from_millis(tx), Duration::from_millis(rx));
    Input::Intervals(intervals.expect("allowed"))
}

#[test]
fn slower_sending_and_sooner_detection_wait_for_the_answer() {
    let mut bench = Bench::up();
    let fast = ControlPacket { desired_min_tx_us: 1_000, ..says(State::Up) };
    bench.hear(&fast);
    bench.input(intervals(50, 2));
    assert_eq!(bench.session.transmit_interval(), 10 * MS);
    assert_eq!(bench.session.detection_time(), 30 * MS);
    bench.run_for(10 * MS);
    let asked = bench.sent();
    assert_eq!(asked.len(), 1, "no packet besides the periodic ones: {asked:?}");
    assert_eq!((asked[0].desired_min_tx_us, asked[0].required_min_rx_us), (50_000, 2_000));
    assert_eq!(asked[0].poll, Poll::Poll);
    bench.hear(&fast);
    assert_eq!(bench.session.transmit_interval(), 10 * MS, "an old packet is no answer");
    bench.hear(&ControlPacket { poll: Poll::Final, ..fast });
    assert_eq!(bench.session.transmit_interval(), 50 * MS);
    assert_eq!(bench.session.detection_time(), 6 * MS);
    let (transmit, detection) = (50 * MS, 6 * MS);
    assert!(bench.events().contains(&SessionEvent::Agreed { transmit, detection }));
}

#[test]
fn faster_sending_and_later_detection_hold_at_once() {
    let mut bench = Bench::up();
    bench.hear(&ControlPacket { required_min_rx_us: 1_000, ..says(State::Up) });
    bench.input(intervals(1, 50));
    assert_eq!(bench.session.transmit_interval(), MS);
    assert_eq!(bench.session.detection_time(), 150 * MS);
}

#[test]
fn a_second_change_waits_until_the_first_one_is_surely_known() {
    let mut bench = Bench::up();
    bench.input(intervals(20, 10));
    bench.run_for(10 * MS);
    bench.input(intervals(40, 10));
    bench.hear(&says(State::Up));
    bench.run_for(10 * MS);
    assert!(bench.sent().iter().all(|packet| packet.desired_min_tx_us == 20_000));
    let answer = ControlPacket { poll: Poll::Final, ..says(State::Up) };
    bench.hear(&answer);
    bench.hear(&answer);
    bench.run_for(20 * MS);
    assert!(bench.sent().iter().all(|packet| packet.desired_min_tx_us == 20_000));
    bench.hear(&says(State::Up));
    bench.run_for(20 * MS);
    let asked = bench.sent().pop().expect("periodic");
    assert_eq!((asked.desired_min_tx_us, asked.poll), (40_000, Poll::Poll));
    bench.hear(&answer);
    assert_eq!(bench.session.transmit_interval(), 40 * MS);
}

#[test]
fn a_peer_that_demands_silence_gets_only_polls_and_answers() {
    let mut bench = Bench::up();
    let demands = ControlPacket { demand: true, ..says(State::Up) };
    assert_eq!(bench.rate(Duration::from_secs(1), &demands), 0);
    bench.hear(&ControlPacket { poll: Poll::Poll, ..demands.clone() });
    assert_eq!(bench.sent().len(), 1, "the answer");
    bench.input(intervals(20, 10));
    bench.hear(&demands);
    assert!(bench.sent().iter().any(|packet| packet.poll == Poll::Poll), "a change is polled");
    bench.hear(&ControlPacket { poll: Poll::Final, ..demands.clone() });
    assert_eq!(bench.rate(Duration::from_secs(1), &demands), 0);
    let renumbered =
        ControlPacket { my_discriminator: Discriminator::new(10).expect("not 0"), ..demands };
    bench.hear(&renumbered);
    let news = bench.sent().pop().expect("what it would say next is new");
    assert_eq!((news.poll, news.your_discriminator), (Poll::Poll, Discriminator::new(10)));
    bench.hear(&says(State::Up));
    let rate = bench.rate(Duration::from_secs(1), &says(State::Up));
    assert!(rate >= 50, "without the demand it speaks again: {rate}");
    // Its silence is a failure all the same: it is not us who demanded silence.
    bench.run_for(30 * MS);
    assert_eq!(bench.session.state(), State::Down);
}

#[test]
fn the_passive_role_is_silent_until_it_hears_the_peer_and_after_it_lost_it() {
    let config = SessionConfig::builder().role(Role::Passive).build().expect("a configuration");
    let mut bench = Bench::of(config);
    bench.run_for(Duration::from_secs(10));
    assert_eq!(bench.sent(), []);
    bench.hear(&ControlPacket { your_discriminator: None, ..says(State::Down) });
    let first = bench.sent();
    assert_eq!((first.len(), first[0].state), (1, State::Init));
    bench.hear(&says(State::Up));
    assert_eq!(bench.session.state(), State::Up);
    bench.run_for(30 * MS);
    assert_eq!(bench.session.state(), State::Down);
    bench.sent();
    bench.run_for(Duration::from_secs(10));
    assert_eq!(bench.sent(), []);
}

#[test]
fn stopping_says_admin_down_once_and_then_nothing() {
    let mut bench = Bench::up();
    bench.input(Input::Stop);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    let expected = (State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN);
    assert_eq!((sent[0].state, sent[0].diagnostic), expected);
    bench.hear(&ControlPacket { poll: Poll::Poll, ..says(State::Up) });
    bench.run_for(Duration::from_mins(1));
    assert_eq!((bench.sent(), bench.session.deadline()), (vec![], None));
    bench.input(Input::Start);
    assert_eq!(bench.sent().len(), 1, "and it can be started again");
}

#[test]
fn a_disabled_session_says_so_until_it_is_enabled() {
    let mut bench = Bench::up();
    bench.input(Input::Disable);
    for _ in 0..50 {
        bench.hear(&ControlPacket { poll: Poll::Poll, ..says(State::Down) });
        bench.run_for(100 * MS);
    }
    assert_eq!(bench.session.state(), State::AdminDown);
    let sent = bench.sent();
    assert!((5..=9).contains(&sent.len()), "{} in 5 s", sent.len());
    assert!(sent.iter().all(|packet| packet.state == State::AdminDown));
    assert!(sent.iter().all(|packet| packet.poll != Poll::Final), "packets are discarded");
    bench.input(Input::Enable);
    assert_eq!(bench.session.state(), State::Down);
    bench.hear(&says(State::Down));
    bench.hear(&says(State::Init));
    assert_eq!(bench.session.state(), State::Up);
}

#[test]
fn a_peer_that_was_started_again_is_noticed_by_its_first_word() {
    let mut bench = Bench::up();
    let my_discriminator = Discriminator::new(77).expect("not 0");
    let reborn = ControlPacket { my_discriminator, your_discriminator: None, ..says(State::Down) };
    bench.hear(&reborn);
    assert_eq!(bench.session.state(), State::Down);
    assert_eq!(bench.sent()[0].your_discriminator, Some(my_discriminator));
}

#[test]
fn a_packet_in_hand_counts_before_a_timer_that_ran_out_meanwhile() {
    let mut bench = Bench::up();
    bench.now += 31 * MS;
    bench.hear(&says(State::Up));
    assert_eq!(bench.session.state(), State::Up);
    // What the peer says now decides, however long this end stood still.
    bench.now += Duration::from_secs(10);
    bench.hear(&says(State::Up));
    assert_eq!(bench.session.state(), State::Up);
    bench.hear(&says(State::Down));
    assert_eq!(bench.session.state(), State::Down);
}

#[test]
fn after_standing_still_the_peer_has_two_intervals_more_to_be_heard_and_only_once() {
    let mut bench = Bench::up();
    bench.oversleep(Duration::from_secs(3));
    assert_eq!((bench.session.state(), bench.session.stats().oversleeps), (State::Up, 1));
    bench.run_for(19 * MS);
    bench.hear(&says(State::Up));
    assert_eq!(bench.session.state(), State::Up, "it lives");
    bench.oversleep(Duration::from_secs(3));
    bench.run_for(20 * MS);
    assert_eq!(bench.session.state(), State::Down, "it does not");

    let mut bench = Bench::up();
    bench.oversleep(Duration::from_secs(3));
    bench.oversleep(Duration::from_secs(3));
    assert_eq!(bench.session.state(), State::Down, "no third chance");

    let mut bench = Bench::up();
    bench.oversleep(40 * MS);
    assert_eq!(bench.session.state(), State::Down, "late by no more than an interval");
}

#[test]
fn bad_packets_are_counted_by_reason_and_change_nothing() {
    let mut bench = Bench::up();
    let good = wire::encode(&says(State::Down));
    let mut refuse = |hop_limit, message: Vec<u8>, why| {
        bench.input(Input::Packet(Packet { hop_limit, message }));
        assert!(bench.events().contains(&SessionEvent::Rejected { why }), "{why}");
        assert_eq!(bench.session.stats().rejected(why), 1, "{why}");
        assert_eq!(bench.session.state(), State::Up);
    };
    refuse(254, good.clone(), Reject::HopLimit);
    refuse(255, good[..20].to_vec(), Reject::Length);
    let stranger = ControlPacket { your_discriminator: Discriminator::new(3), ..says(State::Down) };
    refuse(255, wire::encode(&stranger), Reject::NoSession);
    let auth = Auth::new(Method::KeyedSha1, Key::new(1, *b"k"));
    let signed = Sequence::new(1).sign(&auth, says(State::Down));
    refuse(255, signed, Reject::AuthMethod);
}

#[test]
fn a_restarted_peer_is_believed_again_after_twice_the_detection_time() {
    let auth = Auth::new(Method::MeticulousKeyedSha1, Key::new(1, *b"key"));
    let config = SessionConfig::builder().auth(auth.clone()).build().expect("a configuration");
    let mut bench = Bench::of(config);
    let mut peer = Sequence::new(1_000_000);
    let hear = |bench: &mut Bench, peer: &mut Sequence, state| {
        let message = peer.sign(&auth, says(state));
        bench.input(Input::Packet(Packet { hop_limit: 255, message }));
        bench.session.state()
    };
    hear(&mut bench, &mut peer, State::Down);
    assert_eq!(hear(&mut bench, &mut peer, State::Up), State::Up);
    let mut reborn = Sequence::new(5);
    assert_eq!(hear(&mut bench, &mut reborn, State::Down), State::Up, "could be a replay");
    bench.run_for(59 * MS);
    assert_eq!(hear(&mut bench, &mut reborn, State::Down), State::Down, "by silence");
    bench.run_for(MS);
    assert_eq!(hear(&mut bench, &mut reborn, State::Down), State::Init);
    assert_eq!(bench.session.stats().rejected(Reject::AuthSequence), 2);
}

fn inputs() -> impl Strategy<Value = Input> {
    let control = wire::tests::packets().prop_map(|mut control| {
        control.authentication = None;
        control.my_discriminator = Discriminator::new(9).expect("not 0");
        control.your_discriminator = control.your_discriminator.and(Discriminator::new(1));
        control.desired_min_tx_us %= 100_000;
        control.required_min_rx_us %= 100_000;
        Input::Packet(Packet { hop_limit: 255, message: wire::encode(&control) })
    });
    let bytes = (250_u8.., prop::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(hop_limit, message)| Input::Packet(Packet { hop_limit, message }));
    prop_oneof![
        12 => control,
        1 => bytes,
        1 => (1_u64..100, 1_u64..100).prop_map(|(tx, rx)| intervals(tx, rx)),
        1 => Just(Input::Disable),
        2 => Just(Input::Enable),
        1 => Just(Input::Stop),
        3 => Just(Input::Start),
    ]
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(
        schedule in prop::collection::vec((0_u64..200_000, prop::option::of(inputs())), 1..60),
        passive: bool,
        signs: bool,
        seed: u64,
    ) {
        let mut schedule: Vec<_> = schedule
            .into_iter()
            .map(|(micros, input)| (Duration::from_micros(micros), input))
            .collect();
        schedule.insert(0, (Duration::ZERO, Some(Input::Start)));
        let new = || {
            let role = if passive { Role::Passive } else { Role::Active };
            let builder = SessionConfig::builder().role(role).multiplier(1);
            let auth = Auth::new(Method::MeticulousKeyedMd5, Key::new(1, *b"key"));
            let builder = if signs { builder.auth(auth) } else { builder };
            let config = builder.build().expect("a configuration");
            Session::new(config, Discriminator::new(1).expect("not 0"), seed)
        };
        prop_assert_eq!(laws::check(new, &schedule), Ok(()));
    }
}
