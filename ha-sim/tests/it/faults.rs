//! Each fault does what it says.

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Context, Node, NodeIndex, Quality, World, always};

use super::beacon::{A, B, C, EVERY, Host, drain, three};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_faults_every_message_arrives_once_and_in_order() {
    let mut world = three(1).build();
    world.run_for(SECOND + Duration::from_millis(5)).unwrap();
    for (_, host) in world.nodes() {
        assert_eq!(host.sent, 100);
        assert_eq!(host.woken, [Instant::from_millis(3)]);
    }
    let host = world.node(A).unwrap();
    assert_eq!(host.heard_from(B), (1..=100).collect::<Vec<_>>());
    assert_eq!((world.stats().sent, world.stats().delivered), (600, 600));
    // Deadlines are met to the nanosecond; only the network takes time.
    let after = |index: usize| host.heard[index].0.since(Instant::from_millis(10));
    assert!(after(0) >= Duration::from_micros(50) && after(1) <= Duration::from_micros(500));
}

#[test]
fn a_partition_cuts_both_ways_also_what_is_on_the_way() {
    let slow = Quality::lan().latency(Duration::from_millis(4)..=Duration::from_millis(4));
    let mut world = three(2).network(slow).build();
    world.run_for(Duration::from_millis(11)).unwrap(); // number 1 is on the way
    world.partition(&[&[A, B], &[C]]);
    world.run_for(SECOND).unwrap();
    assert!(drain(&mut world, A, B) > 90 && drain(&mut world, B, A) > 90);
    for (to, from) in [(A, C), (C, A), (B, C), (C, B)] {
        assert_eq!(drain(&mut world, to, from), 0, "{from} reached {to}");
    }
    assert!(world.stats().cut_off > 300);
    world.heal();
    world.run_for(SECOND).unwrap();
    assert!(drain(&mut world, A, C) > 90 && drain(&mut world, C, B) > 90);
}

#[test]
fn a_one_way_cut_cuts_one_way() {
    let mut world = three(3).build();
    world.cut(A, B);
    world.run_for(SECOND).unwrap();
    assert_eq!(drain(&mut world, B, A), 0);
    assert!(drain(&mut world, A, B) > 90 && drain(&mut world, C, A) > 90);
    world.mend(A, B);
    world.run_for(SECOND).unwrap();
    assert!(drain(&mut world, B, A) > 90);
}

#[test]
fn loss_duplicates_and_reordering_come_at_about_their_rates() {
    let mut world = three(4).network(Quality::lan().loss(0.2)).build();
    world.run_for(10 * SECOND).unwrap();
    let stats = world.stats();
    assert!((1000..1400).contains(&stats.lost), "{stats:?}");

    let mut world = three(4).network(Quality::lan().duplicate(0.2)).build();
    world.run_for(10 * SECOND).unwrap();
    let stats = world.stats();
    assert!((1000..1400).contains(&stats.duplicated), "{stats:?}");
    assert!(stats.delivered > stats.sent);

    let quality = Quality::lan().latency(EVERY..=EVERY).reorder(0.2);
    let mut world = three(4).network(quality).build();
    world.run_for(10 * SECOND).unwrap();
    let numbers = world.node(A).unwrap().heard_from(B);
    assert!(numbers.windows(2).any(|pair| pair[0] > pair[1]), "nothing was overtaken");
}

#[test]
fn a_crash_loses_the_machine_and_what_is_on_the_way_and_a_restart_begins_anew() {
    let slow = Quality::lan().latency(Duration::from_millis(4)..=Duration::from_millis(4));
    let mut world = three(5).network(slow).build();
    world.run_for(Duration::from_millis(502)).unwrap();
    world.crash(B);
    assert!(world.machine(B).is_none() && !world.is_running(B));
    world.crash(B); // again is nothing
    world.restart(B); // at once: what was on the way to its former life is lost all the same
    world.run_for(Duration::from_millis(3)).unwrap();
    assert_eq!(world.stats().node_down, 2);
    world.run_for(SECOND).unwrap();
    let host = world.node(B).unwrap();
    assert_eq!((host.starts, host.woken.len()), (2, 2));
    assert_eq!(world.node(A).unwrap().heard_from(B)[..52].last(), Some(&2), "a new machine");
}

#[test]
fn what_a_node_asked_for_later_dies_with_it() {
    let mut world = three(5).build();
    world.crash(A);
    world.run_for(SECOND).unwrap();
    assert!(world.node(A).unwrap().woken.is_empty());
}

#[test]
fn a_paused_node_is_silent_and_then_gets_its_buffer_in_a_burst() {
    let mut world = three(6).receive_buffer(20).build();
    world.run_for(SECOND).unwrap();
    let sent = world.node(C).unwrap().sent;
    drain(&mut world, C, A);
    drain(&mut world, C, B);
    world.pause(C);
    assert!(world.is_paused(C) && world.machine(C).is_some());
    world.run_for(5 * SECOND).unwrap();
    assert_eq!(world.node(C).unwrap().sent, sent);
    assert!(world.node(C).unwrap().heard.is_empty());
    world.resume(C);
    let host = world.node(C).unwrap();
    assert_eq!(host.heard.len(), 20, "as many as the buffer takes");
    assert!(host.heard.iter().all(|(at, ..)| *at == Instant::from_secs(6)), "its clock jumped");
    assert_eq!(host.sent, sent + 1, "one late tick, not five hundred");
    assert!(world.stats().buffer_full > 900);
    world.run_for(SECOND).unwrap();
    assert!(world.node(C).unwrap().sent >= sent + 100);
}

#[test]
fn a_crash_while_paused_loses_the_buffer() {
    let mut world = three(7).build();
    world.pause(C);
    world.run_for(SECOND).unwrap();
    world.crash(C);
    world.restart(C);
    assert!(world.is_running(C));
    assert!(world.node(C).unwrap().heard.is_empty());
    assert!(world.stats().node_down >= 190);
}

#[test]
fn clocks_run_at_their_own_rates_and_jump() {
    let mut world = three(8).build();
    world.set_clock_rate(A, 100_000); // a tenth too fast
    world.set_clock_rate(B, -100_000);
    world.run_for(10 * SECOND).unwrap();
    assert_eq!(world.local_time(A), Some(Instant::from_secs(11)));
    assert_eq!(world.local_time(B), Some(Instant::from_secs(9)));
    // Half a nanosecond lost to rounding at each deadline makes one tick of a thousand.
    let sent: Vec<u64> = world.nodes().map(|(_, host)| host.sent).collect();
    assert!((1099..=1100).contains(&sent[0]) && (899..=900).contains(&sent[1]), "{sent:?}");
    assert_eq!(sent[2], 1000);
    world.jump_clock(C, 100 * SECOND);
    assert_eq!(world.local_time(C), Some(Instant::from_secs(110)));
    world.run_for(Duration::from_nanos(1)).unwrap();
    assert_eq!(world.node(C).unwrap().sent, 1001, "what became due is done at once");
}

#[test]
fn every_node_draws_its_own_clock() {
    let world = three(9).clock_error_ppm(100).clock_offset(3600 * SECOND).build();
    let shown: Vec<_> = world.indices().into_iter().map(|n| world.local_time(n)).collect();
    assert!(shown[0] != shown[1] && shown[1] != shown[2]);
    assert!(shown.iter().all(|at| *at <= Some(Instant::from_secs(3600))));
}

#[test]
fn jitter_notices_deadlines_late_but_never_early() {
    let mut world = three(10).jitter(Duration::from_millis(5)).build();
    world.run_for(10 * SECOND).unwrap();
    let sent = world.node(A).unwrap().sent;
    assert!((670..1000).contains(&sent), "{sent}");
}

#[test]
fn recover_ends_every_fault() {
    let mut world = three(11).build();
    world.crash(A);
    world.pause(B);
    world.cut(C, A);
    world.partition(&[&[A], &[B]]);
    world.set_network(Quality::lan().loss(1.0));
    world.recover();
    world.run_for(SECOND).unwrap();
    assert!(world.indices().into_iter().all(|node| world.is_running(node)));
    for (to, from) in [(A, B), (A, C), (B, A), (B, C), (C, A), (C, B)] {
        assert!(drain(&mut world, to, from) > 90);
    }
}

#[test]
fn inputs_reach_a_node_now_or_when_it_goes_on_or_never() {
    use super::beacon::Input;
    let mut world = three(12).build();
    world.run_for(SECOND).unwrap();
    world.input(A, Input::Wake).unwrap();
    assert_eq!(world.node(A).unwrap().woken.len(), 2);
    world.pause(A);
    world.input(A, Input::Wake).unwrap();
    assert_eq!(world.node(A).unwrap().woken.len(), 2);
    world.resume(A);
    assert_eq!(world.node(A).unwrap().woken.len(), 3);
    world.crash(A);
    world.input(A, Input::Wake).unwrap();
    world.input(NodeIndex::new(99), Input::Wake).unwrap();
    assert_eq!(world.node(A).unwrap().woken.len(), 3);
}

#[test]
fn convergence_says_how_long_it_took_or_that_it_did_not_come() {
    let mut world = three(13).build();
    let took = world.converges_within(SECOND, |world| world.node(A).unwrap().sent == 7).unwrap();
    assert_eq!(took, Duration::from_millis(70));
    let never = world.converges_within(SECOND, |_| false).unwrap_err();
    assert_eq!((never.invariant.as_str(), never.at), ("converges", Instant::from_millis(1070)));
}

#[test]
fn a_violation_stops_the_world_and_tells_how_to_replay_it() {
    let mut world = three(14)
        .invariant(always("nobody_sends_fifty", |world: &World<Host>, _| {
            match world.nodes().find(|(_, host)| host.sent >= 50) {
                None => Ok(()),
                Some((index, _)) => Err(format!("{index} did")),
            }
        }))
        .build();
    let violation = world.run_for(SECOND).unwrap_err();
    assert_eq!(violation.at, Instant::from_millis(500));
    let text = violation.to_string();
    for part in ["nobody_sends_fifty", "n0 did", "HA_SEED=14 cargo test -p ha-sim", "n0 tick"] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    assert_eq!(world.run_for(SECOND).unwrap_err(), violation);
    assert_eq!(world.now(), Instant::from_millis(500));
}

/// A machine that wants to be ticked now, for ever.
#[derive(Debug)]
struct Busy(Instant);

impl Machine for Busy {
    type Input = ();
    type Output = ();
    fn handle(&mut self, _: Instant, (): (), _: &mut Vec<()>) {}
    fn tick(&mut self, now: Instant, _: &mut Vec<()>) {
        if self.0 <= now {
            self.0 = now;
        }
    }
    fn deadline(&self) -> Option<Instant> {
        Some(self.0)
    }
}

/// Answers every message with one.
#[derive(Debug)]
struct Chatter {
    busy: bool,
}

impl Node for Chatter {
    type Machine = Busy;
    type Message = ();
    fn start(&mut self, context: &mut Context<'_, Self>) -> Busy {
        let peer = NodeIndex::new(1 - context.node().get());
        context.send(peer, ());
        Busy(if self.busy { context.now() + Duration::from_secs(1) } else { Instant::MAX })
    }
    fn receive(&mut self, _: NodeIndex, (): ()) -> Option<()> {
        None
    }
    fn perform(&mut self, (): (), _: &mut Context<'_, Self>) {}
}

#[test]
fn a_machine_that_breaks_a_law_is_a_violation_not_a_hang() {
    let nodes = || [Chatter { busy: true }, Chatter { busy: false }];
    let mut world = World::builder(15).nodes(nodes()).build();
    let violation = world.run_for(60 * SECOND).unwrap_err();
    assert_eq!(violation.invariant, "laws_of_machines");
    assert!(violation.what.contains("law 1"), "{violation}");

    let mut world = World::builder(15).nodes(nodes()).max_events(1).build();
    assert_eq!(world.run_for(SECOND).unwrap_err().invariant, "ends");
}
