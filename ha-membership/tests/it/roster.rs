//! The roster in the simulator.

use std::time::Duration;

use ha_core::id::{Incarnation, ViewId};
use ha_core::laws;
use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_membership::quorum::VoteQuorum;
use ha_membership::roster::{
    Datagram, DatagramKind, Roster, RosterConfig, RosterInput, RosterOutput,
};
use ha_membership::{Change, Standing, View};
use ha_sim::{Chaos, Context, Node, NodeIndex, Violation, World, always, for_seeds};
use proptest::prelude::*;

use super::name;

const MS: Duration = Duration::from_millis(1);

fn config(me: usize, cluster: usize, incarnation: u64) -> RosterConfig {
    let builder = (0..cluster).fold(VoteQuorum::builder(), |b, index| b.voter(name(index)));
    let quorum = builder.build().expect("valid");
    let builder = RosterConfig::builder(name(me), quorum);
    builder.incarnation(Incarnation::new(incarnation)).build().expect("valid")
}

/// A host; `life` is on its disk.
#[derive(Debug)]
struct Host {
    cluster: usize,
    life: u64,
    views: Vec<View>,
}

impl Node for Host {
    type Machine = Roster;
    type Message = Datagram;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Roster {
        self.life += 1;
        self.views.clear();
        Roster::new(config(context.node().get(), self.cluster, self.life), context.now())
    }

    fn receive(&mut self, _: NodeIndex, datagram: Datagram) -> Option<RosterInput> {
        Some(RosterInput::Heard(datagram))
    }

    fn perform(&mut self, output: RosterOutput, context: &mut Context<'_, Self>) {
        match output {
            RosterOutput::Send(datagram) => context.multicast(datagram),
            RosterOutput::View(view) => {
                let empty = View::new(ViewId::new(0), [], false);
                for change in view.changes_since(self.views.last().unwrap_or(&empty)) {
                    context.note(change.to_string());
                }
                self.views.push(view);
            }
        }
    }
}

fn world(seed: u64, cluster: usize) -> World<Host> {
    World::builder(seed)
        .nodes((0..cluster).map(|_| Host { cluster, life: 0, views: Vec::new() }))
        .clock_error_ppm(200)
        .clock_offset(Duration::from_hours(1))
        .invariant(always("view_ids_grow", |world: &World<Host>, _| {
            let grows = |host: &Host| host.views.windows(2).all(|pair| pair[0].id() < pair[1].id());
            match world.nodes().find(|(_, host)| !grows(host)) {
                Some((index, _)) => Err(format!("on {index}")),
                None => Ok(()),
            }
        }))
        .build()
}

fn view(world: &World<Host>, node: usize) -> Option<&View> {
    world.machine(NodeIndex::new(node)).map(Roster::view)
}

/// Whether every node sees every node alive, in its present life, and is quorate.
fn whole(world: &World<Host>) -> bool {
    let lives: Vec<u64> = world.nodes().map(|(_, host)| host.life).collect();
    (0..lives.len()).all(|node| {
        view(world, node).is_some_and(|view| {
            view.is_quorate()
                && lives.iter().enumerate().all(|(index, life)| {
                    view.members().get(&name(index)).is_some_and(|member| {
                        member.standing == Standing::Alive && member.incarnation.get() == *life
                    })
                })
        })
    })
}

#[test]
fn after_any_chaos_everybody_sees_everybody() -> Result<(), Violation> {
    for_seeds(60, |seed| {
        let mut world = world(seed, 3 + usize::from(seed % 2 == 0) * 2);
        Chaos::harsh().run(&mut world, Duration::from_secs(30))?;
        world.converges_within(Duration::from_secs(1), whole)?;
        Ok(())
    })?;
    Ok(())
}

#[test]
fn a_dead_node_is_suspect_then_unreachable_and_gone_only_when_it_is_fenced() -> Result<(), Violation>
{
    let mut world = world(1, 3);
    world.converges_within(Duration::from_secs(1), whole)?;
    world.crash(NodeIndex::new(2));
    let stands = |world: &World<Host>, standing| {
        view(world, 0).is_some_and(|view| view.standing(&name(2)) == standing)
    };
    let took = world.converges_within(400 * MS, |w| stands(w, Some(Standing::Suspect)))?;
    assert!(took >= 190 * MS, "{took:?}");
    world.converges_within(800 * MS, |w| stands(w, Some(Standing::Unreachable)))?;
    world.run_for(Duration::from_hours(1))?;
    assert!(stands(&world, Some(Standing::Unreachable)), "silence proves nothing");
    assert!(view(&world, 0).is_some_and(View::is_quorate), "two of three");
    world.input(NodeIndex::new(0), RosterInput::Fenced(name(2)))?;
    assert!(stands(&world, None));
    world.restart(NodeIndex::new(2));
    world.converges_within(Duration::from_secs(1), |world| stands(world, Some(Standing::Alive)))?;
    Ok(())
}

#[test]
fn one_that_leaves_is_gone_at_once_and_its_late_heartbeats_do_not_bring_it_back()
-> Result<(), Violation> {
    let mut world = world(2, 3);
    world.converges_within(Duration::from_secs(1), whole)?;
    world.input(NodeIndex::new(2), RosterInput::Leave)?;
    world.run_for(2 * MS)?;
    assert_eq!(view(&world, 0).and_then(|view| view.standing(&name(2))), None);
    assert!(view(&world, 2).is_some_and(|view| view.members().is_empty() && !view.is_quorate()));
    let (from, incarnation) = (name(2), Incarnation::FIRST);
    let late = Datagram { from, incarnation, kind: DatagramKind::Heartbeat };
    world.input(NodeIndex::new(0), RosterInput::Heard(late))?;
    assert_eq!(view(&world, 0).and_then(|view| view.standing(&name(2))), None);
    let stats = world.machine(NodeIndex::new(0)).map(Roster::stats);
    assert_eq!(stats.map(|stats| stats.stale), Some(1));
    Ok(())
}

#[test]
fn a_restart_that_nobody_noticed_is_told() -> Result<(), Violation> {
    let mut world = world(3, 3);
    world.converges_within(Duration::from_secs(1), whole)?;
    world.crash(NodeIndex::new(1));
    world.restart(NodeIndex::new(1));
    world.converges_within(Duration::from_secs(1), whole)?;
    let views = &world.node(NodeIndex::new(0)).expect("a host").views;
    let changes: Vec<_> = views.windows(2).flat_map(|p| p[1].changes_since(&p[0])).collect();
    assert!(changes.contains(&Change::Restarted(name(1))), "{changes:?}");
    Ok(())
}

#[test]
fn the_part_with_the_majority_stays_quorate_and_the_other_does_not() -> Result<(), Violation> {
    let mut world = world(4, 5);
    world.converges_within(Duration::from_secs(1), whole)?;
    let [a, b] = [0, 1].map(NodeIndex::new);
    world.partition(&[&[a, b]]);
    let quorate = |w: &World<Host>, node| view(w, node).is_some_and(View::is_quorate);
    world.converges_within(Duration::from_secs(2), |w| !quorate(w, 0) && !quorate(w, 1))?;
    assert!(quorate(&world, 2) && quorate(&world, 3) && quorate(&world, 4));
    world.heal();
    world.converges_within(Duration::from_secs(1), whole)?;
    Ok(())
}

fn inputs() -> impl Strategy<Value = Vec<laws::Step<RosterInput>>> {
    let datagram = (0usize..5, 1u64..4, any::<bool>()).prop_map(|(from, life, bye)| {
        let kind = if bye { DatagramKind::Goodbye } else { DatagramKind::Heartbeat };
        RosterInput::Heard(Datagram { from: name(from), incarnation: Incarnation::new(life), kind })
    });
    let fenced = (0usize..5).prop_map(|node| RosterInput::Fenced(name(node)));
    let input = prop_oneof![20 => datagram, 3 => fenced, 1 => Just(RosterInput::Leave)];
    let step = (0u64..600, prop::option::weighted(0.8, input));
    prop::collection::vec(step.prop_map(|(ms, input)| (Duration::from_millis(ms), input)), 0..60)
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(schedule in inputs()) {
        let new = || Roster::new(config(0, 3, 1), Instant::from_secs(1_000));
        prop_assert_eq!(laws::check(new, &schedule), Ok(()));
    }

    #[test]
    fn whatever_is_heard_only_configured_nodes_are_members(schedule in inputs()) {
        let mut roster = Roster::new(config(0, 3, 1), Instant::ZERO);
        let (mut out, mut now) = (Vec::new(), Instant::ZERO);
        for (wait, input) in schedule {
            now += wait;
            match input {
                Some(input) => roster.handle(now, input, &mut out),
                None => roster.tick(now, &mut out),
            }
            prop_assert!(roster.view().members().keys().all(|n| (0..3).map(name).any(|m| m == *n)));
        }
    }
}

#[test]
fn wrong_settings_are_told_all_at_once() {
    let quorum = VoteQuorum::builder().voter(name(0)).build().expect("valid");
    let error = RosterConfig::builder(name(1), quorum)
        .interval(Duration::ZERO)
        .suspect_after(MS)
        .dead_after(MS)
        .build()
        .expect_err("three mistakes");
    assert_eq!(error.problems().len(), 3, "{error}");
}
