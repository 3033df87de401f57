//! The mesh in the simulator, and its messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::id::{Incarnation, NodeName, ViewId};
use ha_core::laws;
use ha_core::time::Instant;
use ha_membership::View;
use ha_membership::mesh::wire::{Entry, Message, Proposal};
use ha_membership::mesh::{Mesh, MeshConfig, MeshEvent, MeshInput, MeshOutput};
use ha_membership::quorum::VoteQuorum;
use ha_sim::{Builder, Chaos, Context, Node, NodeIndex, Violation, World, for_seeds};
use proptest::prelude::*;

use super::invariants::{
    no_two_quorate_parts, two_views_with_one_id_are_the_same, views_grow, whole_again_after_heal,
};
use super::name;

const MS: Duration = Duration::from_millis(1);
const PORT: u16 = 7946;

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(node).expect("few")], PORT))
}

fn config(me: usize, cluster: usize, life: u64, shared: bool) -> MeshConfig {
    let quorum = (0..cluster).fold(VoteQuorum::builder(), |b, index| {
        // The broken rule: everybody believes that its own vote is all that is needed.
        if shared || index == me { b.voter(name(index)) } else { b }
    });
    let mut builder = MeshConfig::lan(name(me))
        .incarnation(Incarnation::new(life * 1_000_000))
        .quorum(quorum.build().expect("valid"))
        .link(address(me));
    for seed in 0..2 {
        builder = builder.seed(address(seed));
    }
    builder.build().expect("valid")
}

type Members = Vec<(NodeName, Incarnation)>;

/// A datagram; the trace shows only its length.
#[derive(Clone)]
pub(crate) struct Packet(SocketAddr, Vec<u8>);

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.1.len())
    }
}

/// A host; `life` is on its disk.
#[derive(Debug)]
pub(crate) struct Host {
    cluster: usize,
    life: u64,
    votes: bool,
    pub(crate) views: Vec<(ViewId, Members)>,
    events: Vec<MeshEvent>,
}

impl Node for Host {
    type Machine = Mesh;
    type Message = Packet;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Mesh {
        self.life += 1;
        self.views.clear();
        let config = config(context.node().get(), self.cluster, self.life, self.votes);
        Mesh::new(config, context.now())
    }

    fn receive(&mut self, _: NodeIndex, Packet(from, bytes): Packet) -> Option<MeshInput> {
        Some(MeshInput::Heard(0, from, Message::decode(&bytes).expect("ours")))
    }

    fn perform(&mut self, output: MeshOutput, context: &mut Context<'_, Self>) {
        match output {
            MeshOutput::Event(event) => {
                context.note(format!("{event:?}"));
                self.events.push(event);
            }
            MeshOutput::Send { to, message, .. } => {
                let node = (0..self.cluster).find(|node| address(*node) == to).expect("a node");
                let from = address(context.node().get());
                context.send(NodeIndex::new(node), Packet(from, message.encode()));
            }
            MeshOutput::View(view) => {
                context.note(format!("{view:?}"));
                let life =
                    |(name, m): (&NodeName, &ha_membership::Member)| (name.clone(), m.incarnation);
                let members: Members = view.members().iter().map(life).collect();
                if self.views.last().is_none_or(|(id, _)| *id != view.id()) {
                    self.views.push((view.id(), members));
                }
            }
        }
    }
}

pub(crate) fn view(world: &World<Host>, node: usize) -> Option<&View> {
    world.machine(NodeIndex::new(node)).map(Mesh::view)
}

fn plain(seed: u64, cluster: usize, votes: bool) -> Builder<Host> {
    let host = |_| Host { cluster, life: 0, votes, views: Vec::new(), events: Vec::new() };
    World::builder(seed)
        .nodes((0..cluster).map(host))
        .clock_error_ppm(200)
        .clock_offset(Duration::from_hours(1))
        .invariant(views_grow())
        .invariant(two_views_with_one_id_are_the_same())
        .invariant(no_two_quorate_parts())
}

fn world(seed: u64, cluster: usize) -> World<Host> {
    plain(seed, cluster, true).build()
}

fn whole(seed: u64, cluster: usize) -> Result<World<Host>, Violation> {
    let mut world = world(seed, cluster);
    world.converges_within(Duration::from_secs(3), whole_again_after_heal)?;
    for node in 0..cluster {
        world.node_mut(NodeIndex::new(node)).expect("a host").events.clear();
    }
    Ok(world)
}

#[test]
fn after_any_chaos_all_agree_on_one_view_with_everybody() -> Result<(), Violation> {
    for_seeds(200, |seed| {
        let mut world = world(seed, 3 + usize::from(seed % 2 == 0) * 2);
        Chaos::harsh().run(&mut world, Duration::from_secs(30))?;
        world.converges_within(Duration::from_secs(5), whole_again_after_heal)?;
        Ok(())
    })?;
    Ok(())
}

#[test]
fn without_the_others_votes_two_parts_are_quorate_and_that_is_found_out() {
    let found = for_seeds(20, |seed| {
        let mut world = plain(seed, 3, false).build();
        Chaos::harsh().run(&mut world, Duration::from_secs(30))
    });
    let violation = found.expect_err("a majority of one's own is no majority");
    assert_eq!(violation.invariant, "no_two_quorate_parts");
}

fn events(world: &World<Host>, node: usize) -> &[MeshEvent] {
    world.node(NodeIndex::new(node)).map_or(&[], |host| &host.events)
}

#[test]
fn a_dead_member_is_suspect_then_failed_and_joins_again() -> Result<(), Violation> {
    let mut world = whole(1, 3)?;
    world.crash(NodeIndex::new(0));
    world.converges_within(Duration::from_secs(1), |w| {
        [1, 2].iter().all(|n| events(w, *n).contains(&MeshEvent::Failed(name(0))))
    })?;
    assert_eq!(events(&world, 1).first(), Some(&MeshEvent::Suspected(name(0))));
    assert_eq!(view(&world, 1).map(View::id), view(&world, 2).map(View::id));
    world.restart(NodeIndex::new(0));
    world.converges_within(Duration::from_secs(2), whole_again_after_heal)?;
    assert!(events(&world, 2).contains(&MeshEvent::Joined(name(0))));
    Ok(())
}

#[test]
fn one_that_leaves_is_gone_at_once_and_has_not_failed() -> Result<(), Violation> {
    let mut world = whole(2, 3)?;
    world.input(NodeIndex::new(1), MeshInput::Leave)?;
    world.run_for(50 * MS)?;
    for node in [0, 2] {
        assert_eq!(events(&world, node), [MeshEvent::Left(name(1))]);
        assert_eq!(view(&world, node).map(|view| view.members().len()), Some(2));
    }
    assert!(view(&world, 1).is_some_and(|view| view.members().is_empty() && !view.is_quorate()));
    world.run_for(Duration::from_secs(5))?;
    assert_eq!(events(&world, 0).len(), 1, "nothing brings it back: {:?}", events(&world, 0));
    Ok(())
}

#[test]
fn a_broken_link_between_two_makes_them_unreachable_and_nobody_fails() -> Result<(), Violation> {
    let mut world = whole(3, 3)?;
    let [a, b] = [0, 1].map(NodeIndex::new);
    world.cut(a, b);
    world.cut(b, a);
    world.run_for(Duration::from_secs(10))?;
    assert!(events(&world, 0).contains(&MeshEvent::Unreachable(name(1))));
    for node in 0..3 {
        let failed = |event: &MeshEvent| matches!(event, MeshEvent::Failed(_));
        assert!(!events(&world, node).iter().any(failed), "{:?}", events(&world, node));
        assert!(view(&world, node).is_some_and(View::is_quorate));
    }
    world.heal();
    world.converges_within(Duration::from_secs(2), whole_again_after_heal)?;
    Ok(())
}

#[test]
fn a_deaf_member_is_out_once_and_stays_out() -> Result<(), Violation> {
    let mut world = whole(4, 5)?;
    let deaf = NodeIndex::new(2);
    for other in [0, 1, 3, 4].map(NodeIndex::new) {
        world.cut(other, deaf);
    }
    world.run_for(Duration::from_secs(20))?;
    for node in [0, 1, 3, 4] {
        let failed = events(&world, node).iter().filter(|e| matches!(e, MeshEvent::Failed(_)));
        assert_eq!(failed.collect::<Vec<_>>(), [&MeshEvent::Failed(name(2))]);
        assert_eq!(view(&world, node).map(|view| view.members().len()), Some(4));
    }
    assert!(view(&world, 2).is_some_and(|view| !view.is_quorate()), "it knows it, too");
    world.heal();
    world.converges_within(Duration::from_secs(5), whole_again_after_heal)?;
    Ok(())
}

fn names() -> impl Strategy<Value = NodeName> {
    (0usize..5).prop_map(name)
}

fn members() -> impl Strategy<Value = Arc<[(NodeName, Incarnation)]>> {
    let members = prop::collection::btree_map(names(), 1u64..4, 0..4);
    members.prop_map(|map| map.into_iter().map(|(n, life)| (n, Incarnation::new(life))).collect())
}

prop_compose! {
    fn entries()(
        name in names(), life in 1u64..4, flags in 0u8..8, heard: u64, vouched: u64,
        agreed in 0u64..9, addresses in prop::collection::vec(any::<SocketAddr>(), 0..3),
    ) -> Entry {
        let addresses = addresses.into_iter().map(|a| SocketAddr::new(a.ip(), a.port())).collect();
        Entry {
            name, incarnation: Incarnation::new(life), gone: flags & 1 != 0, left: flags & 2 != 0,
            hears: flags & 4 != 0, heard, vouched, agreed: ViewId::new(agreed << 20), addresses,
        }
    }
}

prop_compose! {
    fn messages()(
        from in names(), life in 1u64..4, sent: u64, leaves in prop::bool::weighted(0.1),
        ids in (0u64..9, 0u64..9), members in members(),
        roster in prop::collection::vec(entries(), 0..4),
    ) -> Message {
        Message {
            from, incarnation: Incarnation::new(life), sent, leaves, addresses: vec![address(1)],
            installed: ViewId::new(ids.0 << 20),
            agreed: Proposal { id: ViewId::new(ids.1 << 20), members }, roster,
        }
    }
}

fn schedule() -> impl Strategy<Value = Vec<laws::Step<MeshInput>>> {
    let heard = (0usize..3, messages()).prop_map(|(l, m)| MeshInput::Heard(l, address(1), m));
    let fenced = names().prop_map(MeshInput::Fenced);
    let input = prop_oneof![20 => heard, 2 => fenced, 1 => Just(MeshInput::Leave)];
    let step = (0u64..600, prop::option::weighted(0.8, input));
    prop::collection::vec(step.prop_map(|(ms, input)| (Duration::from_millis(ms), input)), 0..40)
}

proptest! {
    #[test]
    fn the_laws_of_machines_hold(schedule in schedule()) {
        let new = || Mesh::new(config(0, 3, 1, true), Instant::from_secs(1_000));
        prop_assert_eq!(laws::check(new, &schedule), Ok(()));
    }

    #[test]
    fn messages_round_trip(message in messages()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>, message in messages(), cut: usize) {
        let _any = Message::decode(&bytes);
        let whole = message.encode();
        let cut = whole.get(..cut % whole.len()).expect("shorter");
        prop_assert!(Message::decode(cut).is_err());
    }
}
