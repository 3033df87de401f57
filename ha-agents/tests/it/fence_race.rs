//! Two nodes that have lost each other, and fence: delays decide who survives.

use std::time::Duration;

use ha_agents::fence::runner::{Answer, Ask, Input, Output, Request, Runner, priority_delay};
use ha_agents::fence::topology::{DeviceRules, Topology};
use ha_agents::fence::{Evidence, FenceAction, Power};
use ha_core::id::{NodeName, OpId};
use ha_core::machine::Machine;
use ha_core::time::Instant;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
/// How long a device takes at most from the order to the cut.
const CUT: Duration = Duration::from_secs(3);

fn name(node: usize) -> NodeName {
    format!("n{node}").parse().expect("a name")
}

/// How a pair is set up; index 0 is about fencing n0.
struct Pair {
    rules: [DeviceRules; 2],
    /// The delay that each node asks for.
    asked: [Duration; 2],
}

enum Happens {
    Order { node: usize },
    Cut { victim: usize },
}

/// Plays a split: node `i` fences node `1 - i`. Returns who is alive in the end.
fn split(pair: &Pair, seed: u64, noticed: [Duration; 2], lag: [Duration; 2]) -> [bool; 2] {
    let boards = || {
        Topology::builder()
            .device("board-0", pair.rules[0].clone().host(name(0), name(0)))
            .device("board-1", pair.rules[1].clone().host(name(1), name(1)))
            .build()
            .expect("valid")
    };
    // Each node its own seed, as it should be.
    let mut runners = [Runner::new(boards(), seed), Runner::new(boards(), !seed)];
    let mut alive = [true; 2];
    let mut queue: Vec<(Instant, Happens)> =
        (0..2).map(|node| (Instant::ZERO + noticed[node], Happens::Order { node })).collect();
    loop {
        let ticks = (0..2).filter(|&node| alive[node]);
        let tick = ticks.filter_map(|node| Some((runners[node].deadline()?, node))).min();
        let next = (0..queue.len()).min_by_key(|&at| queue[at].0);
        let mut out = Vec::new();
        let (now, node) = match (next, tick) {
            (None, None) => return alive,
            (Some(at), tick) if tick.is_none_or(|(tick, _)| queue[at].0 <= tick) => {
                let (now, happens) = queue.remove(at);
                match happens {
                    Happens::Order { node } if alive[node] => {
                        let request =
                            Request::new(OpId::FIRST, name(1 - node), FenceAction::Reboot);
                        let request = request.delay(pair.asked[node]);
                        runners[node].handle(now, Input::Submit(request), &mut out);
                        (now, node)
                    }
                    Happens::Order { .. } => continue,
                    // The board cuts, whatever has become of who gave the order.
                    Happens::Cut { victim } => {
                        alive[victim] = false;
                        runners[1 - victim] = Runner::new(boards(), seed); // its order is done
                        continue;
                    }
                }
            }
            (_, Some((now, node))) => {
                runners[node].tick(now, &mut out);
                (now, node)
            }
            (Some(_), None) => unreachable!("covered above"),
        };
        for output in out {
            if let Output::Call(call) = output {
                assert_eq!(call.ask, Ask::Act(FenceAction::Reboot));
                assert_eq!(call.plug, name(1 - node));
                queue.push((now + lag[node], Happens::Cut { victim: 1 - node }));
            }
        }
    }
}

fn times() -> impl Strategy<Value = [Duration; 2]> {
    (0..=3_000u64, 0..=3_000u64).prop_map(|(a, b)| [a, b].map(Duration::from_millis))
}

proptest! {
    /// n0's board waits: so long as the delay is longer than the difference in noticing and the
    /// time of a cut, n0 survives alone, whatever happens.
    #[test]
    fn a_fixed_delay_decides_every_race(seed: u64, noticed in times(), lag in times()) {
        let delay = CUT + 3 * SECOND + SECOND;
        let rules = [DeviceRules::new().delay_base(delay), DeviceRules::new()];
        let pair = Pair { rules, asked: [Duration::ZERO; 2] };
        prop_assert_eq!(split(&pair, seed, noticed, lag), [true, false]);
    }

    /// The node with the more important resources survives: the other one waits with fencing it.
    #[test]
    fn a_delay_by_priority_decides_every_race(
        seed: u64,
        noticed in times(),
        lag in times(),
        priorities in (0..1000i64, 0..1000i64).prop_filter("a difference", |(a, b)| a != b),
    ) {
        let delay = CUT + 3 * SECOND + SECOND;
        let (a, b) = priorities;
        let asked = [priority_delay(delay, a, b), priority_delay(delay, b, a)];
        let pair = Pair { rules: [DeviceRules::new(), DeviceRules::new()], asked };
        prop_assert_eq!(split(&pair, seed, noticed, lag), [a > b, b > a]);
    }
}

/// That the rule is what saves them: without delays both die.
#[test]
fn without_delays_both_nodes_die() {
    let rules = [DeviceRules::new(), DeviceRules::new()];
    let pair = Pair { rules, asked: [Duration::ZERO; 2] };
    assert_eq!(split(&pair, 1, [Duration::ZERO, SECOND], [CUT, CUT]), [false, false]);
    // Also with a delay that is shorter than a cut takes.
    let rules = [DeviceRules::new().delay_base(SECOND), DeviceRules::new()];
    let pair = Pair { rules, asked: [Duration::ZERO; 2] };
    assert_eq!(split(&pair, 1, [Duration::ZERO; 2], [CUT, CUT]), [false, false]);
}

/// Random delays leave it to chance, and mostly one survives: more often the longer they may be.
#[test]
fn random_delays_mostly_leave_one() {
    let survivors = |most: Duration| {
        let rules = [DeviceRules::new().delay_max(most), DeviceRules::new().delay_max(most)];
        let pair = Pair { rules, asked: [Duration::ZERO; 2] };
        let ends: Vec<_> =
            (0..1000).map(|seed| split(&pair, seed, [Duration::ZERO; 2], [SECOND; 2])).collect();
        assert!(!ends.contains(&[true, true]), "somebody is fenced");
        ends.iter().filter(|end| **end != [false, false]).count()
    };
    let (short, long) = (survivors(2 * SECOND), survivors(30 * SECOND));
    // Drawn from 0 to T by both, the distance is at least 1 s with chance (1 - 1/T)^2.
    assert!((150..350).contains(&short), "{short} of 1000; 250 are to be expected");
    assert!((880..980).contains(&long), "{long} of 1000; 934 are to be expected");
}

/// An answer to nobody's question changes nothing.
#[test]
fn answers_out_of_place_are_borne() {
    let topology = Topology::builder().device("pdu", DeviceRules::new());
    let mut runner = Runner::new(topology.build().expect("valid"), 1);
    let mut out = Vec::new();
    let request = Request::new(OpId::FIRST, name(1), FenceAction::Off);
    runner.handle(Instant::ZERO, Input::Submit(request), &mut out);
    let Some(Output::Call(call)) = out.pop() else { unreachable!("it is asked") };
    runner.handle(Instant::ZERO, Input::Done(call.id, Ok(Answer::Nodes(Vec::new()))), &mut out);
    let Some(Output::Call(again)) = out.pop() else { unreachable!("a second attempt") };
    runner.handle(Instant::ZERO, Input::Done(call.id, Ok(Answer::Power(Power::Off))), &mut out);
    assert!(out.is_empty(), "the first call is over");
    let done = Ok(Answer::Done(Evidence::Acknowledged));
    runner.handle(Instant::ZERO, Input::Done(again.id, done), &mut out);
    assert!(matches!(out.as_slice(), [Output::Call(call)] if call.ask == Ask::Status));
}
