//! Two ends of a BFD session in simulated disasters.
//!
//! | invariant | from |
//! |---|---|
//! | `up_means_heard` | RFC 5880 §6.8.4: silence for the detection time is a failure |
//! | both are up after the heal | RFC 5880 §6.2, the three-way handshake |
//! | no failure where there is none | what every user of a fast detector asks for |

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;
use ha_sim::{Chaos, Context, Invariant, Node, NodeIndex, Violation, World, for_seeds};
use ha_vip::bfd::auth::{Auth, Key, Method};
use ha_vip::bfd::wire::{Discriminator, State};
use ha_vip::bfd::{Input, Intervals, Output, Packet, Role, Session, SessionConfig};

const ENDS: [NodeIndex; 2] = [NodeIndex::new(0), NodeIndex::new(1)];
const DETECTION: Duration = Duration::from_millis(30);
/// The slowest packet of a bad network, and the clocks' errors.
const SLACK: Duration = Duration::from_secs(1);

/// A rule that a test breaks on purpose, to see that it would be missed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    /// What was heard last is taken for new when nothing else is heard.
    OldNewsIsNews,
    /// A change of state is told to nobody but the other end's detection timer.
    SilentWhenDown,
}

/// A session that can be broken.
#[derive(Debug)]
struct End {
    session: Session,
    broken: Broken,
    last: Option<Packet>,
}

impl Machine for End {
    type Input = Input;
    type Output = Output;
    const MAX_OUTPUTS: usize = 2 * Session::MAX_OUTPUTS;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        if let Input::Packet(packet) = &input {
            self.last = Some(packet.clone());
        }
        self.session.handle(now, input, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(packet) = self.last.clone().filter(|_| self.broken == Broken::OldNewsIsNews) {
            self.session.handle(now, Input::Packet(packet), out);
        }
        self.session.tick(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }
}

#[derive(Debug)]
struct Host {
    config: SessionConfig,
    broken: Broken,
    went_down: usize,
}

impl Node for Host {
    type Machine = End;
    type Message = Vec<u8>;

    fn start(&mut self, context: &mut Context<'_, Self>) -> End {
        // Each life has a number of its own.
        let number = u32::try_from(context.rng().below(u64::from(u32::MAX))).expect("32 bits");
        let discriminator = Discriminator::new(number.max(1)).expect("not 0");
        let session = Session::new(self.config.clone(), discriminator, context.rng().next_u64());
        context.later(Duration::ZERO, Input::Start);
        End { session, broken: self.broken, last: None }
    }

    fn receive(&mut self, _: NodeIndex, message: Vec<u8>) -> Option<Input> {
        Some(Input::Packet(Packet { hop_limit: 255, message }))
    }

    fn perform(&mut self, output: Output, context: &mut Context<'_, Self>) {
        match output {
            Output::Send(message) => {
                // The two bits of the state: 1 is Down.
                let down = message.get(1).is_some_and(|flags| flags >> 6 == 1);
                if !(down && self.broken == Broken::SilentWhenDown) {
                    context.multicast(message);
                }
            }
            Output::Event(event) => {
                self.went_down += usize::from(format!("{event:?}").contains("from: Up"));
                context.note(format!("{event:?}"));
            }
        }
    }
}

fn other(end: NodeIndex) -> NodeIndex {
    if end == ENDS[0] { ENDS[1] } else { ENDS[0] }
}

fn state(world: &World<Host>, end: NodeIndex) -> Option<State> {
    world.machine(end).map(|end| end.session.state())
}

fn both(world: &World<Host>, wanted: State) -> bool {
    ENDS.iter().all(|end| state(world, *end) == Some(wanted))
}

/// Whoever is up has heard the other end within the detection time.
#[derive(Debug)]
struct UpMeansHeard {
    /// When each end could last hear the other one, or could not do anything at all.
    excused: [Instant; 2],
    ran: [bool; 2],
    looked_at: Instant,
}

impl Invariant<Host> for UpMeansHeard {
    fn name(&self) -> &'static str {
        "up_means_heard"
    }

    fn check(&mut self, world: &World<Host>, now: Instant) -> Result<(), String> {
        // An end that is up and runs sends every 10 ms, so after a gap neither did.
        let gap = now.since(self.looked_at) > Duration::from_millis(100);
        self.looked_at = now;
        let ends = ENDS.into_iter().zip(&mut self.excused).zip(&mut self.ran);
        for ((end, excused), ran) in ends {
            let from = other(end);
            let hears = world.is_running(from) && world.connects(from, end);
            // Whoever goes on after a pause first reads what has queued up.
            let ran_before = std::mem::replace(ran, world.is_running(end));
            if hears || gap || !ran_before || !*ran {
                *excused = now;
            }
            let Some(session) = world.machine(end).map(|end| &end.session) else { continue };
            // Twice, as the peer gets a second chance after a pause.
            let limit = 2 * session.detection_time() + SLACK;
            if session.state() == State::Up && now.since(*excused) > limit {
                return Err(format!("{end} is up and has not heard {from} since {excused}"));
            }
        }
        Ok(())
    }
}

fn config() -> ha_vip::bfd::SessionBuilder {
    SessionConfig::builder().multiplier(3)
}

fn world(seed: u64, config: &SessionConfig, broken: Broken) -> World<Host> {
    let host = |role: Option<SessionConfig>| Host {
        config: role.unwrap_or_else(|| config.clone()),
        broken,
        went_down: 0,
    };
    // Some pairs have a passive end.
    let passive = self::config().role(Role::Passive).build().expect("a configuration");
    let second = (seed.is_multiple_of(3) && config.auth().is_none()).then_some(passive);
    World::builder(seed)
        .nodes([host(None), host(second)])
        .invariant(UpMeansHeard {
            excused: [Instant::ZERO; 2],
            ran: [true; 2],
            looked_at: Instant::ZERO,
        })
        .build()
}

fn plain() -> SessionConfig {
    config().build().expect("a configuration")
}

fn signed() -> SessionConfig {
    let auth = Auth::new(Method::MeticulousKeyedSha1, Key::new(1, *b"secret"));
    config().auth(auth).build().expect("a configuration")
}

/// An undisturbed pair that is up and has agreed on the fast rate.
fn up(seed: u64, broken: Broken) -> Result<World<Host>, Violation> {
    let mut world = world(seed, &plain(), broken);
    world.converges_within(Duration::from_secs(3), |world| both(world, State::Up))?;
    world.run_for(Duration::from_millis(100))?;
    Ok(world)
}

fn disaster(
    seed: u64,
    config: &SessionConfig,
    broken: Broken,
    patience: Duration,
) -> Result<(), Violation> {
    let mut world = world(seed, config, broken);
    world.run_for(Duration::from_secs(2))?;
    Chaos::harsh().run(&mut world, Duration::from_secs(30))?;
    world.converges_within(patience, |world| both(world, State::Up))?;
    // What was on its way when the chaos ended has arrived; then nothing goes down any more.
    world.run_for(Duration::from_secs(1))?;
    world.converges_within(patience, |world| both(world, State::Up))?;
    let before: Vec<usize> = world.nodes().map(|(_, host)| host.went_down).collect();
    world.run_for(Duration::from_secs(10))?;
    let after: Vec<usize> = world.nodes().map(|(_, host)| host.went_down).collect();
    if before == after && both(&world, State::Up) {
        return Ok(());
    }
    Err(world.violation("stays", "a session went down without a reason"))
}

#[test]
fn after_any_disaster_both_ends_are_up_and_stay_up() -> Result<(), Violation> {
    for_seeds(200, |seed| disaster(seed, &plain(), Broken::Nothing, Duration::from_secs(3)))?;
    Ok(())
}

#[test]
fn after_any_disaster_authenticated_ends_find_each_other_again() -> Result<(), Violation> {
    // Twice the detection time at the slow rate until a restarted peer is believed.
    for_seeds(100, |seed| disaster(seed, &signed(), Broken::Nothing, Duration::from_secs(10)))?;
    Ok(())
}

#[test]
fn a_session_that_takes_old_news_for_new_is_found_out() {
    let broken = Broken::OldNewsIsNews;
    let found = for_seeds(50, |seed| disaster(seed, &plain(), broken, Duration::from_secs(3)));
    let violation = found.expect_err("it stays up alone");
    assert!(violation.to_string().contains("up_means_heard"), "{violation}");
}

/// A cut of both directions, or of one, takes both ends down within the detection time.
fn cut(seed: u64, broken: Broken) -> Result<(), Violation> {
    let mut world = up(seed, broken)?;
    world.cut(ENDS[0], ENDS[1]);
    if seed.is_multiple_of(2) {
        world.cut(ENDS[1], ENDS[0]);
    }
    // A passive end that lost its peer may not speak, so the other one sees its silence.
    let passive = world.node(ENDS[1]).is_some_and(|host| host.config.role() == Role::Passive);
    let limit = DETECTION * if passive { 2 } else { 1 } + Duration::from_millis(2);
    let down = |world: &World<Host>| ENDS.iter().all(|end| state(world, *end) != Some(State::Up));
    world.converges_within(limit, down)?;
    world.run_for(Duration::from_secs(5))?;
    if !down(&world) {
        return Err(world.violation("stays down", "up over a path that works one way only"));
    }
    world.heal();
    world.converges_within(Duration::from_secs(3), |world| both(world, State::Up))?;
    Ok(())
}

#[test]
fn a_cut_takes_both_ends_down_within_the_detection_time() -> Result<(), Violation> {
    for_seeds(200, |seed| cut(seed, Broken::Nothing))?;
    Ok(())
}

#[test]
fn an_end_that_does_not_tell_that_it_is_down_is_found_out() {
    let found = for_seeds(50, |seed| cut(seed, Broken::SilentWhenDown));
    let violation = found.expect_err("the other end does not know");
    assert!(violation.to_string().contains("converges"), "{violation}");
}

#[test]
fn neither_a_short_pause_nor_a_jump_of_the_clock_is_a_failure() -> Result<(), Violation> {
    for_seeds(200, |seed| {
        let mut world = up(seed, Broken::Nothing)?;
        world.pause(ENDS[0]);
        // The peer waits for 30 ms, and the last packet may be 10 ms old.
        world.run_for(Duration::from_millis(seed % 19))?;
        world.resume(ENDS[0]);
        world.run_for(Duration::from_secs(1))?;
        // A suspend that is too short for the peer to notice, but not by the clock.
        world.jump_clock(ENDS[1], Duration::from_secs(10));
        world.run_for(Duration::from_secs(1))?;
        if world.nodes().any(|(_, host)| host.went_down > 0) {
            return Err(world.violation("no_false_alarm", "a session went down"));
        }
        Ok(())
    })?;
    Ok(())
}

#[test]
fn intervals_change_in_any_order_without_a_failure() -> Result<(), Violation> {
    for_seeds(200, |seed| {
        let mut world = up(seed, Broken::Nothing)?;
        let intervals = [(10, 100), (100, 10), (1, 1), (500, 2), (2, 500), (10, 10)];
        for step in 0..20_usize {
            let seed = usize::try_from(seed).expect("small");
            let (tx, rx) = intervals[(seed * 7 + step * step) % intervals.len()];
            let new = Intervals::new(Duration::from_millis(tx), Duration::from_millis(rx));
            let new = new.expect("allowed");
            world.input(ENDS[(seed + step) % 2], Input::Intervals(new))?;
            world.run_for(Duration::from_millis(u64::from(step % 2 == 0) * 700))?;
        }
        world.run_for(Duration::from_secs(3))?;
        if world.nodes().any(|(_, host)| host.went_down > 0) {
            return Err(world.violation("no_false_alarm", "a change of intervals is a failure"));
        }
        Ok(())
    })?;
    Ok(())
}
