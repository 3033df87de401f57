//! Three CARP hosts and two clients in simulated disasters.
//!
//! | invariant | from |
//! |---|---|
//! | `someone_serves` | the guarantee *at least one*: ucarp's dead interval |
//! | one holder after the heal | ucarp's order of preference |
//! | no client is left at the loser's MAC | what users of floating addresses report most |

use std::net::Ipv4Addr;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Chaos, Context, Invariant, Node, NodeIndex, Seeds, Violation, World, for_seeds};
use ha_vip::carp::{Host, HostConfig, Input, Output, Packet, StateName};

use crate::ucarp_model::Ucarp;

/// Between two adverts of the last host.
const INTERVAL: Duration = Duration::from_millis(120);
const REFRESH: Duration = Duration::from_secs(5);
const HOSTS: usize = 3;

#[derive(Debug, Clone)]
enum Message {
    Advert(Vec<u8>),
    Announcement,
}

/// A client knows one thing: whose link-layer address it has for the virtual address.
#[derive(Debug)]
enum Station {
    Host(Box<Host>),
    Ucarp(Box<Ucarp>),
    Client,
}

impl Machine for Station {
    type Input = Input;
    type Output = Output;
    const MAX_OUTPUTS: usize = Host::MAX_OUTPUTS;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match self {
            Self::Host(host) => host.handle(now, input, out),
            Self::Ucarp(ucarp) => ucarp.handle(now, input, out),
            Self::Client => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        match self {
            Self::Host(host) => host.tick(now, out),
            Self::Ucarp(ucarp) => ucarp.tick(now, out),
            Self::Client => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Host(host) => host.deadline(),
            Self::Ucarp(ucarp) => ucarp.deadline(),
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
    /// A master believes every advert that it has not heard before.
    NoProof,
    /// Silence never makes a backup master.
    NoTakeover,
}

#[derive(Debug)]
struct Computer {
    index: usize,
    advskew: Option<u8>,
    /// Whether a ucarp runs here rather than ours.
    is_ucarp: bool,
    broken: Broken,
    holds: bool,
    just_became_master: bool,
    neighbour: Option<NodeIndex>,
    /// Every advert that a client has heard, as an attacker would change it.
    recorded: Vec<Vec<u8>>,
}

impl Computer {
    fn ip(index: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, u8::try_from(index + 1).expect("few hosts"))
    }
}

impl Node for Computer {
    type Machine = Station;
    type Message = Message;

    fn start(&mut self, context: &mut Context<'_, Self>) -> Station {
        let Some(advskew) = self.advskew else {
            return Station::Client;
        };
        if self.is_ucarp {
            context.later(Duration::ZERO, Input::Start);
            let seed = context.rng().next_u64();
            return Station::Ucarp(Box::new(Ucarp::new(advskew, Self::ip(self.index), seed)));
        }
        let config = HostConfig::builder(42)
            .address("10.0.0.100/24".parse::<ha_vip::VirtualAddress>().expect("an address"))
            .password("love")
            .advbase(0)
            .advskew(advskew)
            .preempt(true)
            .require_proof(self.broken != Broken::NoProof)
            .announce_refresh(REFRESH)
            .build()
            .expect("a configuration");
        context.later(Duration::ZERO, Input::Start);
        let seed = context.rng().next_u64();
        Station::Host(Box::new(Host::new(config, Self::ip(self.index), seed)))
    }

    fn receive(&mut self, from: NodeIndex, message: Message) -> Option<Input> {
        match message {
            Message::Advert(message) if self.advskew.is_none() => {
                self.recorded.push(rewritten(message));
                None
            }
            Message::Advert(message) => Some(Input::Packet(Packet {
                source: Self::ip(from.get()),
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
                self.holds = self.broken != Broken::NoTakeover;
                self.just_became_master = true;
            }
            Output::Release => self.holds = false,
            Output::Announce => {
                if self.just_became_master || self.broken != Broken::NoAnnouncementAfterRival {
                    context.multicast(Message::Announcement);
                }
                self.just_became_master = false;
            }
            Output::Send(message) => context.multicast(Message::Advert(message)),
            Output::Event(event) => context.note(format!("{event:?}")),
        }
    }

    fn crashed(&mut self) {
        // A reboot takes the address off the interface, and a client forgets its neighbours.
        self.holds = false;
        self.neighbour = None;
    }
}

/// Without a holder for longer than a take-over takes, while some host runs all the time.
#[derive(Debug)]
struct SomeoneServes {
    vacant_since: Option<Instant>,
    running: [bool; HOSTS],
}

impl Invariant<Computer> for SomeoneServes {
    fn name(&self) -> &'static str {
        "someone_serves"
    }

    fn check(&mut self, world: &World<Computer>, now: Instant) -> Result<(), String> {
        // Three intervals, by a clock that may be slow; adverts on their way when the
        // holder died; and a second round where a yielding and a dying router met.
        const LIMIT: Duration = Duration::from_secs(1);
        let running: [bool; HOSTS] = std::array::from_fn(|index| {
            let node = NodeIndex::new(index);
            world.is_running(node) && !world.is_paused(node)
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

fn world(seed: u64, broken: Broken) -> World<Computer> {
    mixed_world(seed, broken, &[])
}

/// The hosts with these numbers are ucarps.
fn mixed_world(seed: u64, broken: Broken, ucarps: &[usize]) -> World<Computer> {
    let host = |index: usize, advskew| Computer {
        index,
        advskew,
        is_ucarp: ucarps.contains(&index),
        broken,
        holds: false,
        just_became_master: false,
        neighbour: None,
        recorded: Vec::new(),
    };
    let hosts = [20, 30, 30].into_iter().enumerate();
    World::builder(seed)
        .nodes(hosts.map(|(index, advskew)| host(index, Some(advskew))))
        .nodes((HOSTS..HOSTS + 2).map(|index| host(index, None)))
        .invariant(SomeoneServes { vacant_since: None, running: [true; HOSTS] })
        .build()
}

fn only_the_first_holds(world: &World<Computer>) -> bool {
    world.nodes().take(HOSTS).enumerate().all(|(index, (_, host))| host.holds == (index == 0))
}

fn clients_know_the_holder(world: &World<Computer>) -> bool {
    world.nodes().skip(HOSTS).all(|(_, host)| host.neighbour == Some(NodeIndex::new(0)))
}

fn disaster(seed: u64, broken: Broken, patience: Duration) -> Result<(), Violation> {
    let mut world = world(seed, broken);
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
fn after_any_disaster_one_host_holds_and_every_client_knows_it() -> Result<(), Violation> {
    for_seeds(200, |seed| disaster(seed, Broken::Nothing, REFRESH + INTERVAL))?;
    Ok(())
}

/// The same with ucarps among the hosts: whoever they are, one host holds in the end.
fn mixed_disaster(seed: u64, ucarps: &[usize]) -> Result<(), Violation> {
    let mut world = mixed_world(seed, Broken::Nothing, ucarps);
    world.run_for(Duration::from_secs(2))?;
    Chaos::harsh().run(&mut world, Duration::from_secs(30))?;
    world.converges_within(Duration::from_secs(3), only_the_first_holds)?;
    if !ucarps.contains(&0) {
        // A ucarp does not announce again by itself.
        world.converges_within(REFRESH + INTERVAL, clients_know_the_holder)?;
    }
    world.run_for(Duration::from_secs(10))?;
    if only_the_first_holds(&world) {
        return Ok(());
    }
    Err(world.violation("stays", "the holder changed without a reason"))
}

#[test]
fn after_any_disaster_with_ucarps_among_the_hosts_one_host_holds() -> Result<(), Violation> {
    for ucarps in [&[0][..], &[1], &[0, 1], &[1, 2]] {
        // 524: two backups with sequences far apart deposed each other for ever.
        let seeds = Seeds::new(60).regressions(&[524]);
        seeds.run(|seed| mixed_disaster(seed, ucarps))?;
    }
    Ok(())
}

/// A split between the hosts only: each side goes on announcing to the clients. After the heal
/// every client is at the winner within two adverts, without waiting for a refresh.
fn split(seed: u64, broken: Broken) -> Result<(), Violation> {
    let mut world = world(seed, broken);
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
        let mut world = world(seed, Broken::Nothing);
        world.run_for(Duration::from_secs(3))?;
        world.input(NodeIndex::new(0), Input::HandOver)?;
        let successor = |world: &World<Computer>| {
            let state = |index| match world.machine(NodeIndex::new(index)) {
                Some(Station::Host(host)) => host.state(),
                Some(Station::Client | Station::Ucarp(_)) | None => StateName::Init,
            };
            state(0) == StateName::Backup && (state(1).holds() || state(2).holds())
        };
        let vacant = |world: &World<Computer>| world.nodes().all(|(_, host)| !host.holds);
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

/// An advert as an attacker sends it again: as one of the most preferred host. The HMAC does not
/// cover that, and the checksum is anybody's to compute.
fn rewritten(mut message: Vec<u8>) -> Vec<u8> {
    (message[2], message[5]) = (1, 0);
    message[6..8].fill(0);
    let words = message.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("16 bits");
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// The last client records every advert and sends all of them again, over and over, while the
/// first host crashes, forgets what it had heard, and comes back.
fn repeated_adverts(seed: u64, broken: Broken) -> Result<(), Violation> {
    let mut world = world(seed, broken);
    let attacker = NodeIndex::new(HOSTS + 1);
    let first = NodeIndex::new(0);
    let attack = |world: &mut World<Computer>, rounds: usize| -> Result<(), Violation> {
        for round in 0..rounds {
            let recorded = world.node(attacker).map_or(&[][..], |node| &node.recorded);
            let count = recorded.len().max(1);
            let Some(copy) = recorded.get(round * 7 % count).cloned() else { continue };
            for host in 0..HOSTS {
                let source = Computer::ip(attacker.get());
                let packet = Packet { source, hop_limit: 255, message: copy.clone() };
                if world.is_running(NodeIndex::new(host)) {
                    world.input(NodeIndex::new(host), Input::Packet(packet))?;
                }
            }
            world.run_for(Duration::from_millis(10))?;
        }
        Ok(())
    };
    world.run_for(Duration::from_secs(3))?;
    attack(&mut world, 300)?;
    if !only_the_first_holds(&world) {
        return Err(world.violation("not_deposed", "a copy deposed the master"));
    }
    world.crash(first);
    attack(&mut world, 100)?;
    if world.nodes().all(|(_, host)| !host.holds) {
        return Err(world.violation("taken_over", "copies kept the backups waiting"));
    }
    world.restart(first);
    attack(&mut world, 300)?;
    if !only_the_first_holds(&world) {
        return Err(world.violation("accepted_again", "the restarted host is not master"));
    }
    Ok(())
}

#[test]
fn whoever_repeats_every_advert_neither_deposes_the_master_nor_keeps_backups_waiting()
-> Result<(), Violation> {
    for_seeds(100, |seed| repeated_adverts(seed, Broken::Nothing))?;
    Ok(())
}

#[test]
fn a_host_that_believes_adverts_without_proof_is_found_out() {
    let found = for_seeds(100, |seed| repeated_adverts(seed, Broken::NoProof));
    let violation = found.expect_err("the restarted host is deposed");
    assert!(violation.to_string().contains("accepted_again"), "{violation}");
}
