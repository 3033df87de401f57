//! The runner of fencing requests with devices that behave as told, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_agents::fence::runner::{
    Answer, Ask, Call, CallError, CallId, Input, Outcome, Output, Report, Request, Runner,
};
use ha_agents::fence::topology::{DeviceRules, HostCheck, Target, Topology, TopologyBuilder};
use ha_agents::fence::{Evidence, FenceAction, Power};
use ha_core::effect::Effect;
use ha_core::id::{NodeName, OpId};
use ha_core::laws;
use ha_core::machine::Machine;
use ha_core::time::Instant;
use proptest::prelude::*;

use self::Behaviour::{Fails, Lies, ListsOthers, NeverOn, Works};

const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn n1() -> Target {
    Target::Node(node("n1"))
}

fn request(id: u64, action: FenceAction) -> Request {
    Request::new(OpId::new(id), node("n1"), action)
}

/// How a device behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    Works,
    /// It says that it did, and did not.
    Lies,
    Fails,
    Mute,
    /// It acts, and cannot tell the status.
    Blind,
    /// It fails the first time.
    FailsOnce,
    /// It fails to give power back.
    NeverOn,
    /// It lists other nodes.
    ListsOthers,
}

/// A runner and its devices.
#[derive(Debug)]
struct Scene {
    runner: Runner,
    now: Instant,
    devices: BTreeMap<String, (Behaviour, Power)>,
    pending: BTreeMap<CallId, (Instant, Call)>,
    log: Vec<String>,
    ended: Vec<Report>,
    refused: Vec<OpId>,
}

/// How long a device takes for an answer.
const LAG: Duration = Duration::from_millis(500);

impl Scene {
    fn new<const N: usize>(topology: TopologyBuilder, devices: [(&str, Behaviour); N]) -> Self {
        let devices = devices.map(|(name, behaviour)| (name.to_owned(), (behaviour, Power::On)));
        Self {
            runner: Runner::new(topology.build().expect("valid"), 3),
            now: Instant::ZERO,
            devices: BTreeMap::from(devices),
            pending: BTreeMap::new(),
            log: Vec::new(),
            ended: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn give(&mut self, input: Input) {
        let mut out = Vec::new();
        self.runner.handle(self.now, input, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Call(call) => {
                    let at = self.now.as_secs_f64();
                    self.log.push(format!("{at} {} {}", call.device, call.ask.as_str()));
                    self.pending.insert(call.id, (self.now + LAG, call));
                }
                Output::Abort(id) => {
                    self.log.push(format!("{} abort", self.now.as_secs_f64()));
                    self.pending.remove(&id);
                }
                Output::Ended(report) => self.ended.push(report),
                Output::Refused(id) => self.refused.push(id),
            }
        }
    }

    /// Goes on until everything has ended.
    fn run(&mut self) {
        while !self.step() {}
    }

    /// Goes on to the next thing that happens; true if nothing more does.
    fn step(&mut self) -> bool {
        let answers = self.pending.iter().filter(|(_, (_, call))| self.hears(call));
        let next = answers.map(|(id, (at, _))| (*at, *id)).min();
        let tick = self.runner.deadline();
        match (next, tick) {
            (None, None) => return true,
            (Some((at, id)), tick) if tick.is_none_or(|tick| at <= tick) => {
                self.now = at;
                let (_, call) = self.pending.remove(&id).expect("it is pending");
                let result = self.answer(&call);
                self.give(Input::Done(id, result));
            }
            (_, Some(tick)) => {
                self.now = tick;
                let mut out = Vec::new();
                self.runner.tick(tick, &mut out);
                self.take(out);
            }
            (Some(_), None) => unreachable!("covered above"),
        }
        false
    }

    fn hears(&self, call: &Call) -> bool {
        self.devices[&call.device].0 != Behaviour::Mute
    }

    fn answer(&mut self, call: &Call) -> Result<Answer, CallError> {
        let (behaviour, power) = self.devices.get_mut(&call.device).expect("a device");
        let error = || CallError { why: format!("{} fails", call.device), effect: Effect::Unknown };
        match (call.ask, *behaviour) {
            (Ask::List, ListsOthers) => Ok(Answer::Nodes(vec![node("n7")])),
            (Ask::List, _) => Ok(Answer::Nodes(vec![node("n1")])),
            (_, Fails) | (Ask::Status, Behaviour::Blind) | (Ask::Act(FenceAction::On), NeverOn) => {
                Err(error())
            }
            (Ask::Act(_), Behaviour::FailsOnce) => {
                *behaviour = Works;
                Err(error())
            }
            (Ask::Act(_), Lies) => Ok(Answer::Done(Evidence::Acknowledged)),
            (Ask::Act(action), _) => {
                *power = if action == FenceAction::Off { Power::Off } else { Power::On };
                Ok(Answer::Done(Evidence::Acknowledged))
            }
            (Ask::Status, _) => Ok(Answer::Power(*power)),
        }
    }

    fn fence(&mut self, request: Request) -> Report {
        self.give(Input::Submit(request));
        self.run();
        self.ended.pop().expect("it has ended")
    }
}

fn done(evidence: Evidence, devices: &[&str]) -> Outcome {
    Outcome::Done { evidence, devices: devices.iter().map(|&name| name.to_owned()).collect() }
}

fn two_levels() -> TopologyBuilder {
    Topology::builder()
        .device("board", DeviceRules::new())
        .device("left", DeviceRules::new())
        .device("right", DeviceRules::new())
        .level(n1(), 1, ["board"])
        .level(n1(), 2, ["left", "right"])
}

#[test]
fn the_second_level_is_tried_when_the_first_has_failed_twice() {
    let mut scene = Scene::new(two_levels(), [("board", Fails), ("left", Works), ("right", Works)]);
    let report = scene.fence(request(1, FenceAction::Reboot));
    assert_eq!(report.outcome, done(Evidence::VerifiedOff, &["left", "right"]));
    // All are off, and seen to be, before the first is on again.
    assert_eq!(
        scene.log,
        [
            "0 board reboot",
            "0.5 board reboot",
            "1 left off",
            "1.5 left status",
            "2 right off",
            "2.5 right status",
            "3 left on",
            "3.5 right on"
        ]
    );
    assert_eq!(scene.runner.history().next(), Some(&report));
}

#[test]
fn that_a_supply_does_not_come_on_again_is_no_failure_of_the_fencing() {
    let devices = [("board", Fails), ("left", NeverOn), ("right", Works)];
    let mut scene = Scene::new(two_levels(), devices);
    let report = scene.fence(request(1, FenceAction::Reboot));
    assert_eq!(report.outcome, done(Evidence::VerifiedOff, &["left", "right"]));
    assert!(report.steps.iter().any(|step| step.ask == "on" && step.result.is_err()));
}

#[test]
fn one_supply_that_stays_on_fails_the_level_and_the_node_is_not_fenced() {
    for (right, words) in [(Fails, "right fails"), (Lies, "right says that it is on")] {
        let devices = [("board", Fails), ("left", Works), ("right", right)];
        let mut scene = Scene::new(two_levels(), devices);
        let report = scene.fence(request(1, FenceAction::Reboot));
        assert_eq!(report.outcome, Outcome::Failed { effect: Effect::Unknown });
        assert!(report.to_string().contains(words), "{report}");
        assert!(!scene.log.iter().any(|line| line.ends_with(" on")), "{:?}", scene.log);
    }
}

/// Without the question for the status the lie would be believed.
#[test]
fn an_off_is_worth_what_is_seen_of_it() {
    for (behaviour, verifies, outcome) in [
        (Works, true, done(Evidence::VerifiedOff, &["pdu"])),
        (Works, false, done(Evidence::Acknowledged, &["pdu"])),
        (Behaviour::Blind, true, done(Evidence::Acknowledged, &["pdu"])),
        (Lies, true, Outcome::Failed { effect: Effect::Unknown }),
        (Lies, false, done(Evidence::Acknowledged, &["pdu"])),
    ] {
        let topology = Topology::builder().device("pdu", DeviceRules::new().verifies(verifies));
        let mut scene = Scene::new(topology, [("pdu", behaviour)]);
        let report = scene.fence(request(1, FenceAction::Off));
        assert_eq!(report.outcome, outcome, "{behaviour:?} {verifies}");
    }
}

#[test]
fn a_second_attempt_needs_its_share_of_the_time() {
    let mute = DeviceRules::new().timeout(FenceAction::Off, 10 * SECOND);
    for (share, calls) in [(30, 2), (50, 2), (51, 1), (100, 1)] {
        let topology = Topology::builder().device("pdu", mute.clone()).retry_share(share);
        let mut scene = Scene::new(topology, [("pdu", Behaviour::Mute)]);
        let report = scene.fence(request(1, FenceAction::Off).timeout(20 * SECOND));
        assert_eq!(report.outcome, Outcome::Failed { effect: Effect::Unknown });
        let asked = scene.log.iter().filter(|line| line.ends_with("off")).count();
        assert_eq!(asked, calls, "a share of {share} %: {:?}", scene.log);
        assert!(report.ended <= Instant::from_secs(20), "{report:?}");
    }
    let topology = Topology::builder().device("pdu", DeviceRules::new());
    let mut scene = Scene::new(topology, [("pdu", Behaviour::FailsOnce)]);
    assert!(scene.fence(request(1, FenceAction::Off)).outcome.is_done());
}

#[test]
fn delays_add_up_and_count_once() {
    let rules = DeviceRules::new().delay_base(2 * SECOND).delay_base_of(node("n1"), 5 * SECOND);
    let topology = Topology::builder().device("pdu", rules);
    let mut scene = Scene::new(topology, [("pdu", Behaviour::FailsOnce)]);
    scene.fence(request(1, FenceAction::Reboot).delay(3 * SECOND));
    assert_eq!(scene.log, ["8 pdu reboot", "8.5 pdu reboot"]);

    let rules = DeviceRules::new().delay_base(SECOND).delay_max(4 * SECOND);
    let mut seen = Vec::new();
    for seed in 0..50 {
        let topology = Topology::builder().device("pdu", rules.clone()).build().expect("valid");
        let mut runner = Runner::new(topology, seed);
        runner.handle(Instant::ZERO, Input::Submit(request(1, FenceAction::Off)), &mut Vec::new());
        let until = runner.deadline().expect("it waits");
        assert!((Instant::from_secs(1)..=Instant::from_secs(4)).contains(&until), "{until}");
        seen.push(until);
    }
    seen.sort_unstable();
    assert!(seen[0] < Instant::from_secs(2) && seen[49] > Instant::from_secs(3), "{seen:?}");
}

#[test]
fn a_device_that_does_not_list_the_node_is_left_out_and_its_list_is_kept() {
    let dynamic = DeviceRules::new().check(HostCheck::DynamicList);
    let topology = Topology::builder()
        .device("a", dynamic.clone())
        .device("b", dynamic)
        .device("c", DeviceRules::new().check(HostCheck::Status));
    let devices = [("a", ListsOthers), ("b", Fails), ("c", Works)];
    let mut scene = Scene::new(topology, devices);
    let report = scene.fence(request(1, FenceAction::Off));
    assert_eq!(report.outcome, done(Evidence::VerifiedOff, &["c"]));
    let first = ["0 a list", "0.5 b list", "1 b off", "1.5 b off", "2 b status", "2.5 c status"];
    assert_eq!(scene.log[..6], first);
    scene.log.clear();
    scene.fence(request(2, FenceAction::Off));
    assert_eq!(scene.log[0], "4 b off", "the lists are known: {:?}", scene.log);
    scene.now += 61 * SECOND;
    scene.log.clear();
    scene.fence(request(3, FenceAction::Off));
    assert_eq!(scene.log[0], "68 a list", "they are old: {:?}", scene.log);
}

#[test]
fn same_requests_are_one_and_others_for_the_node_wait() {
    let topology = Topology::builder().device("pdu", DeviceRules::new());
    let mut scene = Scene::new(topology, [("pdu", Works)]);
    scene.give(Input::Submit(request(1, FenceAction::Reboot)));
    scene.give(Input::Submit(request(2, FenceAction::Reboot)));
    scene.give(Input::Submit(request(3, FenceAction::Off)));
    scene.give(Input::Submit(request(1, FenceAction::Off)));
    assert_eq!(scene.refused, [OpId::new(1)], "its id is in use");
    scene.run();
    assert_eq!(scene.log, ["0 pdu reboot", "0.5 pdu off", "1 pdu status"]);
    assert_eq!(scene.ended[0].requests, [OpId::new(1), OpId::new(2)]);
    assert_eq!(scene.ended[1].requests, [OpId::new(3)]);
}

#[test]
fn an_off_of_before_is_none_for_who_asks_later() {
    let off = |id| Input::Submit(request(id, FenceAction::Off));
    let topology = Topology::builder().device("pdu", DeviceRules::new());
    let mut scene = Scene::new(topology, [("pdu", Works)]);
    scene.give(off(1));
    scene.give(Input::Submit(request(2, FenceAction::On)));
    // Were it the first one's, the node would be on when it ends.
    scene.give(off(3));
    scene.run();
    let asked = ["0 pdu off", "0.5 pdu status", "1 pdu on", "1.5 pdu off", "2 pdu status"];
    assert_eq!(scene.log, asked);
    assert_eq!(scene.ended[2].requests, [OpId::new(3)]);

    let topology = two_levels();
    let mut scene = Scene::new(topology, [("board", Fails), ("left", Works), ("right", Works)]);
    scene.give(off(1));
    // The left supply is known to be off, and the right one is asked.
    while !scene.log.iter().any(|line| line.ends_with("right off")) {
        assert!(!scene.step(), "{:?}", scene.log);
    }
    // Meanwhile somebody may have given the left one power again.
    scene.give(off(2));
    scene.run();
    assert_eq!(scene.ended.len(), 2, "{:?}", scene.ended);
    assert_eq!(scene.log.iter().filter(|line| line.ends_with("left off")).count(), 2);
}

#[test]
fn a_cancelled_request_says_whether_it_may_have_happened() {
    let topology = || Topology::builder().device("pdu", DeviceRules::new().delay_base(SECOND));
    let mut scene = Scene::new(topology(), [("pdu", Works)]);
    scene.give(Input::Submit(request(1, FenceAction::Off)));
    scene.give(Input::Submit(request(2, FenceAction::Off)));
    scene.give(Input::Cancel(OpId::new(1)));
    assert_eq!(scene.ended[0].outcome, Outcome::Cancelled { effect: Effect::None });
    scene.run();
    assert!(scene.ended[1].outcome.is_done(), "the other one goes on");

    let mut scene = Scene::new(topology(), [("pdu", Behaviour::Mute)]);
    scene.give(Input::Submit(request(1, FenceAction::Off)));
    scene.step();
    scene.give(Input::Cancel(OpId::new(1)));
    assert_eq!(scene.ended[0].outcome, Outcome::Cancelled { effect: Effect::Unknown });
    assert_eq!(scene.log.last().map(String::as_str), Some("1 abort"));
    assert!(scene.step(), "nothing is left");
}

#[test]
fn a_device_gets_no_more_at_once_than_it_bears() {
    for (limit, expected) in [(Some(1), 1), (Some(2), 2), (None, 4)] {
        let rules = DeviceRules::new().action_limit(limit).verifies(false);
        let topology = Topology::builder().device("pdu", rules);
        let mut scene = Scene::new(topology, [("pdu", Works)]);
        for id in 1..=4 {
            let target = node(&format!("n{id}"));
            scene.give(Input::Submit(Request::new(OpId::new(id), target, FenceAction::Off)));
        }
        assert_eq!(scene.pending.len(), expected, "{limit:?}");
        scene.run();
        assert!(scene.ended.iter().all(|report| report.outcome.is_done()));
        assert_eq!(scene.ended.len(), 4);
    }
}

#[test]
fn a_node_that_joins_is_switched_on_by_the_devices_that_unfence() {
    let fabric = || DeviceRules::new().unfences(true);
    let topology = || {
        Topology::builder()
            .device("power", DeviceRules::new())
            .device("switch-a", fabric())
            .device("switch-b", fabric().check(HostCheck::DynamicList))
    };
    let joins = || Request::unfence(OpId::FIRST, node("n1"));
    let devices = [("power", Works), ("switch-a", Works), ("switch-b", ListsOthers)];
    let mut scene = Scene::new(topology(), devices);
    let report = scene.fence(joins());
    assert!(report.outcome.is_done(), "{report}");
    assert_eq!(scene.log, ["0 switch-b list", "0.5 switch-a on"]);

    let devices = [("power", Works), ("switch-a", Works), ("switch-b", Fails)];
    let report = Scene::new(topology(), devices).fence(joins());
    assert_eq!(report.outcome, Outcome::Failed { effect: Effect::None }, "all must succeed");

    let none = Topology::builder().device("power", DeviceRules::new());
    let report = Scene::new(none, [("power", Works)]).fence(joins());
    assert_eq!(report.to_string(), "on of n1: nothing to do");
}

#[test]
fn without_a_device_it_fails_at_once_and_nothing_has_happened() {
    let other = DeviceRules::new().host(node("n2"), node("2"));
    let report = Scene::new(Topology::builder().device("pdu", other), [])
        .fence(request(1, FenceAction::Off));
    assert_eq!(report.outcome, Outcome::Failed { effect: Effect::None });
    assert!(report.to_string().contains("no device can fence it"), "{report}");
}

#[test]
fn a_reboot_may_be_an_off_and_plugs_have_names_of_their_own() {
    let rules =
        DeviceRules::new().reboot_action(FenceAction::Off).host(node("n1"), node("outlet-7"));
    let mut scene = Scene::new(Topology::builder().device("pdu", rules), [("pdu", Works)]);
    scene.give(Input::Submit(request(1, FenceAction::Reboot)));
    let (_, call) = scene.pending.values().next().expect("a call");
    assert_eq!((call.ask, &call.plug), (Ask::Act(FenceAction::Off), &node("outlet-7")));
    scene.run();
    assert_eq!(scene.ended[0].outcome, done(Evidence::VerifiedOff, &["pdu"]));
}

#[derive(Debug, Clone)]
enum Given {
    Submit { id: u64, node: usize, action: FenceAction, unfence: bool, timeout: u64 },
    Cancel(u64),
    Answer { call: usize, answer: Result<Answer, CallError> },
}

fn given() -> impl Strategy<Value = Given> {
    let action = prop::sample::select(vec![FenceAction::Off, FenceAction::On, FenceAction::Reboot]);
    let error = prop::sample::select(vec![Effect::None, Effect::Unknown])
        .prop_map(|effect| Err(CallError { why: "no".to_owned(), effect }));
    let answer = prop_oneof![
        2 => Just(Ok(Answer::Done(Evidence::AssumedAfterTimeout))),
        1 => Just(Ok(Answer::Power(Power::On))),
        1 => Just(Ok(Answer::Power(Power::Off))),
        1 => Just(Ok(Answer::Nodes(vec![node("n0"), node("n1")]))),
        2 => error,
    ];
    prop_oneof![
        3 => (0..20u64, 0..3usize, action, any::<bool>(), 0..30u64).prop_map(
            |(id, node, action, unfence, timeout)| Given::Submit { id, node, action, unfence, timeout }
        ),
        1 => (0..20u64).prop_map(Given::Cancel),
        6 => (0..4usize, answer).prop_map(|(call, answer)| Given::Answer { call, answer }),
    ]
}

fn fleet() -> Topology {
    let rules = DeviceRules::new().timeout(FenceAction::Off, 7 * SECOND);
    Topology::builder()
        .device("a", rules.clone().delay_max(3 * SECOND))
        .device("b", rules.clone().check(HostCheck::DynamicList).list_expiry(Duration::ZERO))
        .device("c", rules.clone().check(HostCheck::Status).action_limit(None).unfences(true))
        .device("d", rules.host(node("n0"), node("zero")).unfences(true))
        .level(Target::Node(node("n0")), 1, ["a", "d"])
        .level(Target::Node(node("n0")), 2, ["b", "c"])
        .level(Target::Pattern("1$".to_owned()), 1, ["a", "b"])
        .build()
        .expect("valid")
}

fn submitted(id: u64, at: usize, action: FenceAction, unfence: bool, timeout: u64) -> Request {
    let target = node(&format!("n{at}"));
    let request = if unfence {
        Request::unfence(OpId::new(id), target)
    } else {
        Request::new(OpId::new(id), target, action)
    };
    request.timeout(Duration::from_secs(timeout))
}

/// Runs a runner and checks after each step: every request has one end, no device has two calls,
/// no node is acted on twice at once, and what ends as done was answered so.
fn play(steps: &[(u64, Given)]) {
    let (mut runner, mut now) = (Runner::new(fleet(), 9), Instant::ZERO);
    let mut calls: BTreeMap<CallId, Call> = BTreeMap::new();
    let mut open: Vec<OpId> = Vec::new();
    for (wait, given) in steps {
        let mut out = Vec::new();
        now += Duration::from_millis(*wait);
        runner.tick(now, &mut out);
        let mut take = |out: &mut Vec<Output>, open: &mut Vec<OpId>| {
            for output in out.drain(..) {
                match output {
                    Output::Call(call) => {
                        assert!(!call.limit.is_zero(), "{call:?}");
                        let shared = calls.values().any(|other| other.device == call.device);
                        assert!(!shared || call.device == "c", "two calls of {}", call.device);
                        calls.insert(call.id, call);
                    }
                    Output::Abort(id) => assert!(calls.remove(&id).is_some(), "{id}"),
                    Output::Ended(report) => {
                        for id in report.requests {
                            let at = open.iter().position(|other| *other == id);
                            open.remove(at.expect("an open request"));
                        }
                    }
                    Output::Refused(_) => {}
                }
            }
            calls.clone()
        };
        let known = take(&mut out, &mut open);
        match given.clone() {
            Given::Submit { id, node, action, unfence, timeout } => {
                let request = submitted(id, node, action, unfence, timeout);
                let refused = open.contains(&OpId::new(id));
                if !refused {
                    open.push(OpId::new(id));
                }
                runner.handle(now, Input::Submit(request), &mut out);
                assert_eq!(refused, out.contains(&Output::Refused(OpId::new(id))));
            }
            Given::Cancel(id) => runner.handle(now, Input::Cancel(OpId::new(id)), &mut out),
            Given::Answer { call, answer } => {
                if let Some((&id, _)) = known.iter().nth(call % known.len().max(1)) {
                    runner.handle(now, Input::Done(id, answer), &mut out);
                    calls.remove(&id);
                }
            }
        }
        for output in out {
            match output {
                Output::Call(call) => drop(calls.insert(call.id, call)),
                Output::Abort(id) => assert!(calls.remove(&id).is_some(), "{id}"),
                Output::Ended(report) => open.retain(|id| !report.requests.contains(id)),
                Output::Refused(_) => {}
            }
        }
    }
    // Nobody answers any more: all ends by the deadlines.
    while let Some(deadline) = runner.deadline() {
        let mut out = Vec::new();
        runner.tick(deadline, &mut out);
        for output in out {
            if let Output::Ended(report) = output {
                open.retain(|id| !report.requests.contains(id));
            }
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
}

proptest! {
    #[test]
    fn every_request_ends_once_and_devices_are_not_overrun(
        steps in prop::collection::vec((0..4_000u64, given()), 0..60),
    ) {
        play(&steps);
    }

    #[test]
    fn the_runner_is_a_lawful_machine(
        steps in prop::collection::vec((0..4_000u64, given()), 0..60),
    ) {
        // The numbers of calls are counted up, so guessed ones are sometimes right.
        let mut first = Runner::new(fleet(), 9);
        let (mut now, mut calls, mut schedule) = (Instant::ZERO, Vec::new(), Vec::new());
        for (wait, given) in steps {
            now += Duration::from_millis(wait);
            let input = match given {
                Given::Submit { id, node, action, unfence, timeout } => {
                    Some(Input::Submit(submitted(id, node, action, unfence, timeout)))
                }
                Given::Cancel(id) => Some(Input::Cancel(OpId::new(id))),
                Given::Answer { call, answer } => {
                    let known = calls.len();
                    calls.get(call % known.max(1)).map(|&id| Input::Done(id, answer))
                }
            };
            if let Some(input) = &input {
                let mut out = Vec::new();
                first.handle(now, input.clone(), &mut out);
                for output in out {
                    if let Output::Call(call) = output {
                        calls.insert(0, call.id);
                    }
                }
            }
            schedule.push((Duration::from_millis(wait), input));
        }
        laws::check(|| Runner::new(fleet(), 9), &schedule).expect("lawful");
    }
}
