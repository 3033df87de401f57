//! Three routers and two clients in simulated disasters.
//!
//! | invariant | from |
//! |---|---|
//! | `someone_serves` | the guarantee *at least one*, RFC 9568 §6.1: `Active_Down_Interval` |
//! | one holder after the heal | RFC 9568 §6.4.3 |
//! | no client is left at the loser's MAC | what keepalived's users report most |

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Chaos, Context, Invariant, Node, NodeIndex, Violation, World, for_seeds};
use ha_vip::track::Standing;
use ha_vip::vrrp::wire::GROUP_V4;
use ha_vip::vrrp::{Destination, Input, Output, Packet, Priority, Router, RouterConfig, StateName};

const INTERVAL: Duration = Duration::from_millis(100);
const REFRESH: Duration = Duration::from_secs(5);
const ROUTERS: usize = 3;

#[derive(Debug, Clone)]
enum Message {
    Advert(Vec<u8>),
    /// An offer or a beat, to one of the kin.
    Word(Vec<u8>),
    Announcement,
}

/// What the routers of a world have in common.
#[derive(Debug, Clone, Copy)]
struct Setup {
    broken: Broken,
    preempt: bool,
    /// All are kin, with beats every 20 ms.
    kin: bool,
}

impl Setup {
    const fn plain(broken: Broken) -> Self {
        Self { broken, preempt: true, kin: false }
    }
}

/// A client knows one thing: whose link-layer address it has for the virtual address.
#[derive(Debug)]
enum Station {
    Router(Box<Router>),
    Client,
}

impl Machine for Station {
    type Input = Input;
    type Output = Output;
    const MAX_OUTPUTS: usize = Router::MAX_OUTPUTS;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        if let Self::Router(router) = self {
            router.handle(now, input, out);
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Self::Router(router) = self {
            router.tick(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Router(router) => router.deadline(),
            Self::Client => None,
        }
    }
}

/// A rule that a test breaks on purpose, to see that it would be missed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    /// The winner of a split does not announce again.
    NoAnnouncementAfterRival,
    /// Silence never makes a backup active.
    NoTakeover,
}

#[derive(Debug)]
struct Host {
    index: usize,
    priority: Option<u8>,
    setup: Setup,
    holds: bool,
    just_became_active: bool,
    neighbour: Option<NodeIndex>,
}

impl Host {
    fn ip(index: usize) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, u8::try_from(index + 1).expect("few hosts")).into()
    }
}

impl Node for Host {
    type Machine = Station;
    type Message = Message;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Station {
        let Some(priority) = self.priority else {
            return Station::Client;
        };
        let mut builder = RouterConfig::builder(51)
            .address("10.0.0.100/24".parse::<ha_vip::VirtualAddress>().expect("an address"))
            .priority(priority)
            .preempt(self.setup.preempt)
            .advert_interval(INTERVAL)
            .announce_refresh(REFRESH);
        if self.setup.kin {
            let others = (0..ROUTERS).filter(|other| *other != self.index);
            builder = others.fold(builder, |builder, other| builder.kin(Self::ip(other)));
            builder = builder.beat_interval(Duration::from_millis(20));
        }
        let config = builder.build().expect("a configuration");
        context.later(Duration::ZERO, Input::Start);
        Station::Router(Box::new(Router::new(config, Self::ip(self.index))))
    }

    fn receive(&mut self, from: NodeIndex, message: Message) -> Option<Input> {
        match message {
            Message::Advert(message) => Some(Input::Packet(Packet {
                source: Self::ip(from.get()),
                destination: GROUP_V4.into(),
                hop_limit: 255,
                message,
            })),
            Message::Word(message) => Some(Input::Packet(Packet {
                source: Self::ip(from.get()),
                destination: Self::ip(self.index),
                hop_limit: 255,
                message,
            })),
            Message::Announcement => {
                self.neighbour = Some(from);
                None
            }
        }
    }

    fn perform(&mut self, output: Output, context: &mut Context<'_, Self>) {
        match output {
            Output::Acquire => {
                self.holds = self.setup.broken != Broken::NoTakeover;
                self.just_became_active = true;
            }
            Output::Release => self.holds = false,
            Output::Announce => {
                if self.just_became_active || self.setup.broken != Broken::NoAnnouncementAfterRival
                {
                    context.multicast(Message::Announcement);
                }
                self.just_became_active = false;
            }
            Output::Send(Destination::Group, message) => {
                context.multicast(Message::Advert(message));
            }
            Output::Send(Destination::Peer(to) | Destination::Routed(to), message) => {
                let to = (0..ROUTERS).find(|index| Self::ip(*index) == to).expect("a router");
                context.send(NodeIndex::new(to), Message::Word(message));
            }
            Output::Event(event) => context.note(format!("{event:?}")),
        }
    }

    fn crashed(&mut self) {
        // A reboot takes the address off the interface, and a client forgets its neighbours.
        self.holds = false;
        self.neighbour = None;
    }
}

/// Without a holder for longer than a take-over takes, while some router runs all the time and
/// is not told by its trackers to leave it.
#[derive(Debug)]
struct SomeoneServes {
    vacant_since: Option<Instant>,
    running: [bool; ROUTERS],
}

impl Invariant<Host> for SomeoneServes {
    fn name(&self) -> &'static str {
        "someone_serves"
    }

    fn check(&mut self, world: &World<Host>, now: Instant) -> Result<(), String> {
        // Three adverts and the skew, by a clock that may be slow; adverts on their way when the
        // holder died; and a second round where a yielding and a dying router met.
        const LIMIT: Duration = Duration::from_secs(1);
        let running: [bool; ROUTERS] = std::array::from_fn(|index| {
            let node = NodeIndex::new(index);
            let faulty = match world.machine(node) {
                Some(Station::Router(router)) => router.state() == StateName::Fault,
                Some(Station::Client) | None => false,
            };
            world.is_running(node) && !world.is_paused(node) && !faulty
        });
        let held = world.nodes().any(|(node, host)| host.holds && world.is_running(node));
        // Whoever runs now must have run for the whole time to be held to account.
        if held || running != self.running || running.iter().all(|runs| !runs) {
            self.vacant_since = (!held).then_some(now);
        }
        self.running = running;
        let since = *self.vacant_since.get_or_insert(now);
        if held {
            self.vacant_since = None;
        } else if now.since(since) > LIMIT {
            return Err(format!("nobody has served since {since}"));
        }
        Ok(())
    }
}

fn world(seed: u64, setup: Setup) -> World<Host> {
    let host = |index: usize, priority| Host {
        index,
        priority,
        setup,
        holds: false,
        just_became_active: false,
        neighbour: None,
    };
    let routers = [200, 150, 150].into_iter().enumerate();
    World::builder(seed)
        .nodes(routers.map(|(index, priority)| host(index, Some(priority))))
        .nodes((ROUTERS..ROUTERS + 2).map(|index| host(index, None)))
        .invariant(SomeoneServes { vacant_since: None, running: [true; ROUTERS] })
        .build()
}

fn only_the_first_holds(world: &World<Host>) -> bool {
    world.nodes().take(ROUTERS).enumerate().all(|(index, (_, host))| host.holds == (index == 0))
}

fn clients_know_the_holder(world: &World<Host>) -> bool {
    world.nodes().skip(ROUTERS).all(|(_, host)| host.neighbour == Some(NodeIndex::new(0)))
}

fn disaster(seed: u64, broken: Broken, patience: Duration) -> Result<(), Violation> {
    let mut world = world(seed, Setup::plain(broken));
    world.run_for(Duration::from_secs(2))?;
    Chaos::harsh().run(&mut world, Duration::from_secs(30))?;
    world.converges_within(Duration::from_secs(2), only_the_first_holds)?;
    world.converges_within(patience, clients_know_the_holder)?;
    // And it stays so.
    world.run_for(Duration::from_secs(10))?;
    if only_the_first_holds(&world) && clients_know_the_holder(&world) {
        return Ok(());
    }
    Err(world.violation("stays", "the holder changed without a reason"))
}

#[test]
fn after_any_disaster_one_router_holds_and_every_client_knows_it() -> Result<(), Violation> {
    for_seeds(200, |seed| disaster(seed, Broken::Nothing, REFRESH + INTERVAL))?;
    Ok(())
}

/// A split between the routers only: each side goes on announcing to the clients. After the heal
/// every client is at the winner within two adverts, without waiting for a refresh.
fn split(seed: u64, broken: Broken) -> Result<(), Violation> {
    let mut world = world(seed, Setup::plain(broken));
    world.run_for(Duration::from_secs(10))?;
    let [first, second] = [0, 1].map(NodeIndex::new);
    world.cut(first, second);
    world.cut(second, first);
    world.cut(first, NodeIndex::new(2));
    world.cut(NodeIndex::new(2), first);
    world.run_for(Duration::from_millis(200 + seed * 37 % 1_500))?;
    world.heal();
    world.converges_within(2 * INTERVAL, |world| {
        only_the_first_holds(world) && clients_know_the_holder(world)
    })?;
    Ok(())
}

#[test]
fn after_a_split_no_client_stays_with_the_loser() -> Result<(), Violation> {
    for_seeds(200, |seed| split(seed, Broken::Nothing))?;
    Ok(())
}

#[test]
fn a_winner_that_does_not_announce_again_is_found_out() {
    let found = for_seeds(200, |seed| split(seed, Broken::NoAnnouncementAfterRival));
    let violation = found.expect_err("clients stay with the loser");
    assert!(violation.to_string().contains("converges"), "{violation}");
}

#[test]
fn a_backup_that_never_takes_over_is_found_out() {
    let found = for_seeds(200, |seed| disaster(seed, Broken::NoTakeover, REFRESH));
    let violation = found.expect_err("nobody serves");
    assert!(violation.to_string().contains("someone_serves"), "{violation}");
}

#[test]
fn a_hand_over_has_no_moment_without_a_holder() -> Result<(), Violation> {
    for_seeds(100, |seed| {
        let mut world = world(seed, Setup::plain(Broken::Nothing));
        world.run_for(Duration::from_secs(3))?;
        world.input(NodeIndex::new(0), Input::HandOver)?;
        let successor = |world: &World<Host>| {
            let state = |index| match world.machine(NodeIndex::new(index)) {
                Some(Station::Router(router)) => router.state(),
                Some(Station::Client) | None => StateName::Initialize,
            };
            state(0) == StateName::Backup && (state(1).holds() || state(2).holds())
        };
        let vacant = |world: &World<Host>| world.nodes().all(|(_, host)| !host.holds);
        let mut gap = false;
        world.converges_within(2 * INTERVAL, |world| {
            gap |= vacant(world);
            successor(world)
        })?;
        if gap {
            return Err(world.violation("no_gap", "nobody held the address"));
        }
        Ok(())
    })?;
    Ok(())
}

/// The one router that holds the address, if exactly one does.
fn sole_holder(world: &World<Host>) -> Option<NodeIndex> {
    let mut holders = world.nodes().take(ROUTERS).filter(|(_, host)| host.holds);
    let (holder, _) = holders.next()?;
    holders.next().is_none().then_some(holder)
}

/// Disasters while trackers change the priorities again and again. Afterwards exactly one serves,
/// every client is with it, and it stays so.
fn tracked_disaster(seed: u64, setup: Setup) -> Result<(), Violation> {
    let mut world = world(seed, setup);
    world.run_for(Duration::from_secs(2))?;
    for round in 0..10 {
        Chaos::harsh().run(&mut world, Duration::from_secs(2))?;
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(round * 7);
        let node = NodeIndex::new(usize::try_from(mixed % 3).expect("small"));
        let standing = match (mixed >> 8) % 4 {
            0 => Standing::Fault,
            _ => Standing::Priority(
                Priority::new(u8::try_from(mixed >> 16 & 0xfe).expect("a byte") | 1)
                    .expect("not 0"),
            ),
        };
        if world.is_running(node) && !world.is_paused(node) {
            world.input(node, Input::Standing(standing))?;
        }
    }
    for index in 0..ROUTERS {
        let priority = Priority::new([200, 150, 150][index]).expect("not 0");
        world.input(NodeIndex::new(index), Input::Standing(Standing::Priority(priority)))?;
    }
    let settled = |world: &World<Host>| {
        let holder = sole_holder(world);
        let clients = world.nodes().skip(ROUTERS);
        holder.is_some() && clients.into_iter().all(|(_, host)| host.neighbour == holder)
    };
    world.converges_within(Duration::from_secs(2) + REFRESH, settled)?;
    // One may be served by a router that is about to be preempted; that takes some adverts.
    world.run_for(Duration::from_secs(2))?;
    let holder = sole_holder(&world);
    world.run_for(Duration::from_secs(10))?;
    if settled(&world) && sole_holder(&world) == holder {
        return Ok(());
    }
    Err(world.violation("stays", "the holder changed without a reason"))
}

#[test]
fn after_any_disaster_with_changing_priorities_one_router_serves() -> Result<(), Violation> {
    for (preempt, kin) in [(true, false), (false, false), (true, true), (false, true)] {
        let setup = Setup { broken: Broken::Nothing, preempt, kin };
        for_seeds(100, |seed| tracked_disaster(seed, setup))?;
    }
    Ok(())
}
