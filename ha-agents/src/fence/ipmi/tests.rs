//! Sessions against a board without I/O, and against `ipmitool`.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::machine::Machine;
use ha_core::time::Instant;
use proptest::prelude::*;
use tokio::process::Command;

use super::board::{Board, Fault, serve, socket};
use super::crypto::CipherSuite;
use super::session::{Input, Login, Output, Session, SessionError};
use super::wire::{self, Request, Response};
use super::{Ipmi, RebootMethod};
use crate::fence::{FenceAgent, FenceError, Power};
use crate::secret::Secret;

const BOTH: [CipherSuite; 2] = [CipherSuite::Sha256, CipherSuite::Sha1];

fn login(password: &str) -> Login {
    Login {
        user: "admin".into(),
        password: Secret::new(password),
        board_key: None,
        privilege: 3,
        suites: BOTH.to_vec(),
        retransmit: Duration::from_secs(1),
        attempts: 4,
    }
}

fn status() -> Request {
    Request { function: 0, command: 1, data: Vec::new(), once: false }
}

fn control(control: u8, once: bool) -> Request {
    Request { function: 0, command: 2, data: vec![control], once }
}

/// A console and a board with a wire between them, and a clock.
struct Bench {
    session: Session,
    board: Board,
    now: Instant,
    rejected: Vec<&'static str>,
}

impl Bench {
    fn new(login: Login, board: Board) -> Self {
        let session = Session::new(login, [42; 32]);
        Self { session, board, now: Instant::from_secs(1), rejected: Vec::new() }
    }

    /// Asks; `lose` says of each datagram, counted, what becomes of it: what is delivered.
    fn ask(
        &mut self,
        request: Request,
        mut wire: impl FnMut(usize, Vec<u8>) -> Vec<Vec<u8>>,
    ) -> Result<Response, SessionError> {
        let (mut out, mut count) = (Vec::new(), 0);
        self.session.handle(self.now, Input::Ask(request), &mut out);
        loop {
            let mut answers = Vec::new();
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Send(packet) => {
                        for packet in wire(count, packet) {
                            if let Some(answer) = self.board.receive(&packet) {
                                answers.extend(wire(count + 1, answer));
                            }
                        }
                        count += 2;
                    }
                    Output::Answered(response) => return Ok(response),
                    Output::Failed(error) => return Err(error),
                    Output::Rejected(why) => self.rejected.push(why),
                }
            }
            if answers.is_empty() {
                self.now = self.session.deadline().expect("it waits for something");
                self.session.tick(self.now, &mut out);
            }
            for answer in answers {
                self.session.handle(self.now, Input::Received(answer), &mut out);
            }
        }
    }

    fn ask_plainly(&mut self, request: Request) -> Result<Response, SessionError> {
        self.ask(request, |_, packet| vec![packet])
    }

    fn waited(&self) -> Duration {
        self.now.since(Instant::from_secs(1))
    }
}

/// Recorded from `ipmi_sim`: with the same seed the console sends the same, and takes the answers.
#[test]
fn a_recorded_session_is_spoken_again() {
    let recorded = include_str!("../../../testdata/ipmi/ipmi_sim.txt");
    let bytes = |hex: &str| -> Vec<u8> {
        let digits: Vec<char> = hex.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16);
        digits.chunks(2).map(|pair| byte(pair).expect("a byte")).collect()
    };
    let side = |mark| recorded.lines().filter_map(move |line| line.strip_prefix(mark)).map(bytes);
    let (mut sent, mut answers) = (side("> "), side("< "));
    let mut session = Session::new(login("secret"), [42; 32]);
    let mut out = Vec::new();
    for (request, power) in [
        (status(), Some(1)),
        (control(0, false), None),
        (status(), Some(0)),
        (control(1, false), None),
    ] {
        session.handle(Instant::from_secs(1), Input::Ask(request), &mut out);
        let answer = loop {
            match out.as_slice() {
                [Output::Send(packet)] => assert_eq!(Some(packet), sent.next().as_ref()),
                [Output::Answered(answer)] => break answer.clone(),
                other => panic!("{other:?}"),
            }
            out.clear();
            let answer = Input::Received(answers.next().expect("recorded"));
            session.handle(Instant::from_secs(1), answer, &mut out);
        };
        out.clear();
        assert_eq!((answer.code, answer.data.first().map(|state| state & 1)), (0, power));
    }
    assert_eq!((sent.next(), answers.next()), (None, None));
}

#[test]
fn a_board_is_asked_by_the_best_suite_that_it_has() {
    for suites in [&BOTH[..], &BOTH[..1], &BOTH[1..]] {
        let mut bench = Bench::new(login("secret"), Board::new(suites, "secret"));
        let answer = bench.ask_plainly(status()).expect("an answer");
        assert_eq!((answer.code, answer.data[0] & 1), (0, 1));
        assert_eq!(bench.ask_plainly(control(0, false)).expect("an answer").code, 0);
        assert_eq!(bench.ask_plainly(status()).expect("an answer").data[0] & 1, 0);
        assert_eq!(bench.board.logins, 1, "one session for all questions");
        assert_eq!(bench.waited(), Duration::ZERO, "the suite is found without a timeout");
        let mut out = Vec::new();
        bench.session.handle(bench.now, Input::Close, &mut out);
        let [Output::Send(packet)] = out.as_slice() else { panic!("{out:?}") };
        bench.board.receive(packet);
        assert!(!bench.board.has_session(), "the board's session is given back");
    }
}

#[test]
fn a_board_that_does_not_answer_to_a_suite_costs_two_timeouts() {
    let mut board = Board::new(&BOTH[1..], "secret");
    board.fault = Fault::Mute;
    let mut bench = Bench::new(login("secret"), board);
    bench.ask_plainly(status()).expect("an answer");
    assert_eq!(bench.waited(), Duration::from_secs(2));
}

#[test]
fn what_keeps_us_out_is_told_apart() {
    let error = |login: Login, board: Board| {
        let mut bench = Bench::new(login, board);
        let error = bench.ask_plainly(status()).expect_err("we are kept out");
        assert!(bench.board.done.is_empty() && !bench.board.has_session());
        error
    };
    let board = || Board::new(&BOTH, "secret");
    assert_eq!(error(login("wrong"), board()), SessionError::Password);
    let stranger = Login { user: "stranger".into(), ..login("secret") };
    assert_eq!(error(stranger, board()), SessionError::User);
    let only = Login { suites: vec![CipherSuite::Sha256], ..login("secret") };
    let refused = error(only, Board::new(&BOTH[1..], "secret"));
    assert_eq!(refused, SessionError::NoSuite("17".into()));
    let mut strict = board();
    strict.fault = Fault::Role;
    assert_eq!(error(login("secret"), strict), SessionError::Privilege);
    let mut full = board();
    full.fault = Fault::Full(u32::MAX);
    assert_eq!(error(login("secret"), full), SessionError::Busy);
    let mut bench = Bench::new(login("secret"), board());
    let silent = bench.ask(status(), |_, _| Vec::new()).expect_err("nobody answers");
    assert_eq!((silent, bench.waited()), (SessionError::Unreachable, Duration::from_secs(4)));
}

#[test]
fn an_impostor_gets_nothing_to_guess_the_password_from() {
    // It knows the user, not the password; RAKP 3 with our code would let it try passwords.
    let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "guess"));
    let mut proofs = Vec::new();
    let end = bench.ask(status(), |count, packet| {
        if count % 2 == 0 && packet[5] == wire::payload::RAKP_3 {
            proofs.push(packet[16..].to_vec());
        }
        vec![packet]
    });
    assert_eq!(end, Err(SessionError::Password));
    let [proof] = proofs.as_slice() else { panic!("one refusal: {proofs:?}") };
    assert_eq!((proof.len(), proof[1]), (8, 0x0f), "the session's number and a refusal");
    let shown = format!("{:?}", bench.session);
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn the_boards_key_is_needed_where_it_has_one() {
    for suite in BOTH {
        let board = || Board::new(&[suite], "secret").with_key(Some("k of g"));
        let with = |key: Option<&str>| {
            let login = Login { board_key: key.map(Secret::new), ..login("secret") };
            Bench::new(login, board()).ask_plainly(status()).map(|answer| answer.code)
        };
        assert_eq!(with(Some("k of g")), Ok(0));
        assert_eq!(with(Some("other")), Err(SessionError::BoardKey));
        assert_eq!(with(None), Err(SessionError::BoardKey));
    }
}

#[test]
fn a_session_that_is_full_for_a_moment_is_waited_for() {
    let mut board = Board::new(&BOTH, "secret");
    board.fault = Fault::Full(3);
    let mut bench = Bench::new(login("secret"), board);
    bench.ask_plainly(status()).expect("let in at last");
}

#[test]
fn a_session_that_the_board_forgot_is_opened_again() {
    let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "secret"));
    bench.ask_plainly(status()).expect("an answer");
    bench.board.fault = Fault::Forgets;
    bench.ask_plainly(status()).expect_err("it forgets each session before it answers");
    assert_eq!(bench.board.logins, 1 + 2, "two more were opened");
    bench.board.fault = Fault::None;
    bench.ask_plainly(status()).expect("an answer");
}

#[test]
fn a_power_cycle_is_never_done_twice() {
    let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "secret"));
    bench.ask_plainly(status()).expect("an answer");
    // The board has it, and its answers are lost.
    let mut packets = Vec::new();
    let end = bench.ask(control(2, true), |count, packet| {
        if count % 2 == 1 {
            return Vec::new();
        }
        let is_new = packets.is_empty();
        packets.push(packet.clone());
        if is_new { vec![packet] } else { Vec::new() }
    });
    assert_eq!(end, Err(SessionError::Lost));
    assert_eq!(packets.len(), 4);
    packets.dedup();
    assert_eq!(packets.len(), 1, "the board drops what has the number of a packet that it had");
    assert_eq!((bench.board.logins, bench.board.done.as_slice()), (1, &[2][..]));
}

#[test]
fn answers_of_strangers_and_old_ones_are_dropped() {
    let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "secret"));
    let mut seen = Vec::new();
    // Every answer comes twice, after a copy with one bit turned, and after all older ones.
    let answer = bench.ask(status(), |count, packet| {
        if count % 2 == 0 {
            return vec![packet];
        }
        let mut turned = packet.clone();
        *turned.last_mut().expect("bytes") ^= 1;
        let mut all: Vec<Vec<u8>> = seen.clone();
        seen.push(packet.clone());
        // A turned handshake message would end the login, as it may: it is not signed yet.
        all.extend([packet.clone(), packet]);
        if count > 9 {
            all.insert(0, turned);
        }
        all
    });
    assert_eq!(answer.expect("an answer").code, 0);
    let mut board_off = Vec::new();
    bench.board.is_on = false;
    bench
        .ask(status(), |count, packet| {
            if count % 2 == 1 {
                board_off.push(packet.clone());
            }
            vec![packet]
        })
        .expect("an answer");
    bench.board.is_on = true;
    // What said "off" a moment ago says nothing any more.
    let answer = bench.ask(status(), |count, packet| {
        if count % 2 == 0 { vec![packet] } else { vec![board_off[0].clone(), packet] }
    });
    assert_eq!(answer.expect("an answer").data[0] & 1, 1);
    for why in
        ["a second time, or far too late", "not genuine", "not an answer to the last message"]
    {
        assert!(bench.rejected.contains(&why), "{why}: {:?}", bench.rejected);
    }
}

#[test]
fn suites_that_were_not_asked_for_are_not_taken() {
    // Who changes the answer to "no authentication, no integrity, no encryption" gets nowhere.
    let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "secret"));
    let end = bench.ask(status(), |count, mut packet| {
        if count % 2 == 1 && packet[5] == wire::payload::OPEN_RESPONSE {
            for algorithm in [32, 40, 48].map(|at: usize| at) {
                packet[algorithm] = 0;
            }
        }
        vec![packet]
    });
    assert_eq!(end, Err(SessionError::Lost));
    assert_eq!(bench.board.logins, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn packets_that_are_lost_are_sent_again(losses: Vec<bool>, suite in 0_usize..2) {
        let mut bench = Bench::new(login("secret"), Board::new(&BOTH[suite..], "secret"));
        for request in [control(0, false), status()] {
            let mut run = 0;
            // Of each four datagrams in a row at least one comes through.
            let answer = bench.ask(request, |count, packet| {
                let is_lost = run < 3 && losses.get(count).copied().unwrap_or(false);
                run = if is_lost { run + 1 } else { 0 };
                if is_lost { Vec::new() } else { vec![packet] }
            });
            // What came through too late may end a handshake, but nothing is believed wrongly.
            if let Ok(answer) = answer {
                prop_assert_eq!(answer.code, 0);
                if answer.command == 1 && bench.board.done == [0] {
                    prop_assert_eq!(answer.data[0] & 1, 0);
                }
            }
        }
    }

    #[test]
    fn no_datagram_is_believed_or_does_harm(
        datagrams in prop::collection::vec((0_usize..12, prop::collection::vec(any::<u8>(), 0..80)), 1..20),
        headed: bool,
    ) {
        let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "secret"));
        let mut sent = Vec::new();
        bench.ask(status(), |_, packet| { sent.push(packet.clone()); vec![packet] }).expect("an answer");
        let mut out = Vec::new();
        bench.session.handle(bench.now, Input::Ask(status()), &mut out);
        out.clear();
        for (like, tail) in datagrams {
            // As the wire had it, cut and continued with anything; or nothing but noise.
            let mut datagram = sent[like % sent.len()].clone();
            datagram.truncate(if headed { 16 } else { 0 });
            datagram.extend(tail);
            let _may_be_a_packet = wire::decode(&datagram, 12);
            let _may_be_a_response = wire::decode_response(&datagram);
            bench.session.handle(bench.now, Input::Received(datagram), &mut out);
        }
        prop_assert!(out.iter().all(|output| matches!(output, Output::Rejected(_))), "{:?}", out);
    }

    #[test]
    fn the_laws_of_machines_hold(inputs in schedule()) {
        let new = || Session::new(login("secret"), [1; 32]);
        prop_assert_eq!(ha_core::laws::check(new, &inputs), Ok(()));
    }
}

/// Questions, ends and what a board may have said, at any time.
fn schedule() -> impl Strategy<Value = Vec<(Duration, Option<Input>)>> {
    let mut bench = Bench::new(login("secret"), Board::new(&BOTH, "secret"));
    // The seed of the laws' machine is another: its handshake goes as far as RAKP 2.
    bench.session = Session::new(login("secret"), [1; 32]);
    let mut sent = Vec::new();
    let said = bench.ask(status(), |count, packet| {
        if count % 2 == 1 {
            sent.push(packet.clone());
        }
        vec![packet]
    });
    assert!(said.is_ok());
    let received = prop::sample::select(sent).prop_map(Input::Received);
    let input = prop_oneof![
        4 => received,
        2 => Just(Input::Ask(status())),
        1 => Just(Input::Ask(control(2, true))),
        1 => Just(Input::Close),
    ];
    let step = (0_u64..3000).prop_map(Duration::from_millis);
    prop::collection::vec((step, prop::option::weighted(0.8, input)), 0..60)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// Runs `test` beside a board on a socket.
fn beside(board: Board, test: impl AsyncFnOnce(u16, Arc<Mutex<Board>>)) {
    run(async {
        let (socket, address) = socket().await;
        let board = Arc::new(Mutex::new(board));
        tokio::select! {
            () = serve(socket, Arc::clone(&board)) => {}
            () = test(address.port(), Arc::clone(&board)) => {}
        }
    });
}

fn agent(port: u16) -> super::IpmiBuilder {
    let n1 = "n1".parse().expect("a name");
    Ipmi::builder("board-n1", n1, "127.0.0.1")
        .port(port)
        .login("admin", "secret")
        .retransmit(Duration::from_millis(200), 4)
        .poll(Duration::from_millis(5))
}

#[test]
fn a_board_that_says_it_is_off_and_is_not_is_found_out() {
    let mut board = Board::new(&BOTH, "secret");
    board.fault = Fault::Stuck;
    beside(board, async |port, board| {
        let n1 = "n1".parse().expect("a name");
        let agent = agent(port).timeout(Duration::from_secs(2)).build().expect("valid");
        let error = agent.off(&n1).await.expect_err("it is still on");
        assert!(matches!(error, FenceError::NoAnswer { .. }), "{error}");
        agent.reboot(&n1).await.expect_err("it was never off");
        assert!(board.lock().expect("no panic").is_on);
    });
}

#[test]
fn a_reboot_is_confirmed_even_if_power_does_not_come_back() {
    beside(Board::new(&BOTH, "secret"), async |port, board| {
        let n1 = "n1".parse().expect("a name");
        let agent = agent(port).build().expect("valid");
        agent.reboot(&n1).await.expect("rebooted");
        assert_eq!(board.lock().expect("no panic").done, [0, 1]);
        board.lock().expect("no panic").done.clear();
        board.lock().expect("no panic").is_on = false;
        board.lock().expect("no panic").fault = Fault::Stuck;
        let short = self::agent(port).timeout(Duration::from_secs(2)).build().expect("valid");
        short.reboot(&n1).await.expect("it was off, that is what counts");
    });
}

#[test]
fn a_busy_board_is_asked_again_and_a_cycle_is_seen() {
    let mut board = Board::new(&BOTH[1..], "secret");
    board.fault = Fault::Busy(1);
    beside(board, async |port, board| {
        let n1 = "n1".parse().expect("a name");
        agent(port).build().expect("valid").off(&n1).await.expect("off after a while");
        assert_eq!(board.lock().expect("no panic").done, [0]);
        let cycling = agent(port).reboot_method(RebootMethod::Cycle).build().expect("valid");
        cycling.reboot(&n1).await.expect("on again");
        assert_eq!(board.lock().expect("no panic").done, [0, 1], "what is off is not cycled");
        cycling.reboot(&n1).await.expect("seen off, then on");
        assert_eq!(board.lock().expect("no panic").done, [0, 1, 2]);
        assert_eq!(cycling.status(&n1).await.expect("an answer"), Power::On);
        // It logs out without waiting for an answer.
        while board.lock().expect("no panic").has_session() {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
    });
}

/// The board of these tests, and with it the codes and keys of both suites, against a console that
/// is not ours: Debian's ipmitool.
#[test]
fn ipmitool_agrees_with_the_board_of_these_tests() {
    let Some(program) = ha_lab::find_program("ipmitool") else {
        return ha_lab::skip("ipmitool is not here; install it (Debian: ipmitool)");
    };
    for (suite, key) in [("3", None), ("17", None), ("17", Some("k of g")), ("3", Some("key"))] {
        let board = Board::new(&BOTH, "secret").with_key(key);
        beside(board, async |port, board| {
            let mut command = Command::new(&program);
            command.args(["-I", "lanplus", "-H", "127.0.0.1", "-U", "admin", "-P", "secret"]);
            command.args(["-C", suite, "-p", &port.to_string()]);
            command.args(key.iter().flat_map(|key| ["-k", key]));
            command.args(["chassis", "power", "off"]).stdin(Stdio::null());
            let said = command.output().await.expect("it runs");
            assert!(said.status.success(), "suite {suite}, {key:?}: {said:?}");
            assert_eq!(board.lock().expect("no panic").done, [0]);
        });
    }
}
