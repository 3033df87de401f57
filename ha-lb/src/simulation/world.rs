//! Events in simulated time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ha_core::config::ConfigError;
use ha_core::id::EndpointName;
use ha_core::time::Instant;

use super::report::{Ended, Report};
use super::{Server, Service, Simulation};
use crate::algorithm::prequal::{Meter, Metered, Prequal};
use crate::balancer::{Balancer, PickContext};
use crate::health::outlier::{Config, Patrol};
use crate::pick::{Outcome, Pick};
use crate::pool::Pool;
use crate::random::{STEP, below, mix};
use crate::state::faults::Wake;

/// A request that is being worked on or waits.
struct Request {
    pick: Pick,
    metered: Metered,
    arrived: Instant,
    work: Duration,
    fails: bool,
    counts: bool,
}

/// A server as it is now.
#[derive(Default)]
struct Desk {
    busy: u16,
    waiting: VecDeque<Request>,
    most: usize,
    served: u64,
    meter: Meter,
}

impl Desk {
    fn load(&self) -> usize {
        self.waiting.len() + usize::from(self.busy)
    }
}

/// How each client balances, and to whom servers say how loaded they are, if anyone asks.
pub(super) type Balancing = (Arc<dyn Balancer>, Option<Arc<Prequal>>);

/// What happens at a time; those of the same time in the order in which they were made.
type When = Reverse<(Instant, u64, usize)>;

struct World<'a> {
    simulation: &'a Simulation,
    numbers: Numbers,
    pools: Vec<(Pool, Option<Arc<Prequal>>)>,
    /// Those that eject outliers, if clients do.
    patrols: Vec<Patrol>,
    /// Whether a run of errors has reached a threshold.
    struck: Arc<AtomicBool>,
    desks: Vec<Desk>,
    /// Ends of work: the slot of the request.
    ends: BinaryHeap<When>,
    working: Vec<Option<(usize, Request)>>,
    free: Vec<usize>,
    made: u64,
    ended: Vec<Ended>,
    refused: u64,
}

/// Random numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Between 0 and 1, neither of them.
    fn part(&mut self) -> f64 {
        let bits = u32::try_from(self.next() >> 32).unwrap_or_default();
        (f64::from(bits) + 0.5) / 4_294_967_296.0
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.part().ln() * mean
    }

    /// Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.part().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.part()).cos()
    }

    fn service(&mut self, server: &Server) -> Duration {
        let ms = match server.service {
            Service::Constant { ms } => ms,
            Service::Exponential { mean_ms } => self.exponential(mean_ms),
            Service::LogNormal { median_ms, sigma } => median_ms * (self.normal() * sigma).exp(),
        };
        millis(ms * server.slowed)
    }
}

/// A time that makes sense, whatever was given: up to an hour.
fn millis(ms: f64) -> Duration {
    let ms = if ms.is_nan() { 0.0 } else { ms.clamp(0.0, 3_600_000.0) };
    Duration::from_secs_f64(ms / 1e3)
}

/// Sends the probes that a client's picks have asked for; they take no time.
fn probe(prequal: &Prequal, desks: &[Desk], numbers: &mut Numbers, now: Instant) {
    for _ in 0..prequal.wanted() {
        let place = below(numbers.next(), desks.len());
        let Some(desk) = desks.get(place) else { continue };
        let Ok(name) = format!("s{}", place + 1).parse::<EndpointName>() else { continue };
        prequal.report(&name, desk.meter.in_flight(), desk.meter.latency(), now);
    }
}

/// Runs a simulation.
pub(super) fn run(
    simulation: &Simulation,
    name: String,
    balancing: impl Fn(u64) -> Balancing,
) -> Result<Report, ConfigError> {
    let pool = |client| {
        let (balancer, asking) = balancing(simulation.balancer_seed(client));
        let pool = Pool::builder(balancer).endpoints(simulation.endpoints()?).build()?;
        Ok((pool, asking))
    };
    let pools = (0..simulation.clients).map(pool).collect::<Result<Vec<_>, ConfigError>>()?;
    let desks = simulation.servers.iter().map(|_| Desk::default()).collect();
    let struck = Arc::new(AtomicBool::new(false));
    let wake = Arc::clone(&struck);
    let wake: Arc<Wake> = Arc::new(move || wake.store(true, Ordering::Relaxed));
    let patrol = |((pool, _), config): (&(Pool, _), &Config)| {
        Patrol::new(pool.clone(), config.clone(), Instant::ZERO, Arc::clone(&wake))
    };
    let configs = std::iter::repeat(simulation.outliers.as_ref()).map_while(|config| config);
    let patrols = pools.iter().zip(configs).map(patrol).collect();
    let mut world = World {
        simulation,
        numbers: Numbers(simulation.seed),
        pools,
        patrols,
        struck,
        desks,
        ends: BinaryHeap::new(),
        working: Vec::new(),
        free: Vec::new(),
        made: 0,
        ended: Vec::new(),
        refused: 0,
    };
    let capacity: f64 = simulation.servers.iter().map(Server::capacity).sum();
    let between = 1e3 / (capacity * simulation.load).max(1e-9);
    let mut now = Instant::ZERO;
    for nth in 0..simulation.requests {
        now += millis(world.numbers.exponential(between));
        world.end_until(now);
        world.watch(now);
        world.arrive(now, nth >= simulation.requests / 10);
    }
    world.end_until(Instant::from_nanos(u64::MAX));
    let most = world.desks.iter().map(|desk| desk.most).max().unwrap_or_default();
    let served = world.desks.iter().map(|desk| desk.served).collect();
    Ok(Report::new(name, &mut world.ended, most, served, world.refused))
}

impl World<'_> {
    fn arrive(&mut self, now: Instant, counts: bool) {
        let client = below(self.numbers.next(), self.pools.len());
        let address = u32::try_from(self.numbers.next() >> 32).unwrap_or_default();
        let address = IpAddr::V4(Ipv4Addr::from(address));
        let key = self.numbers.next().to_be_bytes();
        let Some((pool, asking)) = self.pools.get(client) else { return };
        let context = PickContext::new().with_client(address).with_hash_key(&key).with_now(now);
        let Ok(pick) = pool.pick(&context) else {
            self.refused += u64::from(counts);
            return;
        };
        if let Some(prequal) = asking {
            probe(prequal, &self.desks, &mut self.numbers, now);
        }
        // Names are s1, s2 and so on.
        let number = pick.name().as_str().get(1..).and_then(|number| number.parse().ok());
        let place = number.unwrap_or(1_usize).saturating_sub(1);
        let Some(server) = self.simulation.servers.get(place) else { return };
        let fails = self.numbers.part() < server.failing;
        let work = self.numbers.service(server);
        let work = if fails { Duration::ZERO } else { work };
        let Some(desk) = self.desks.get_mut(place) else { return };
        let metered = desk.meter.begin(now);
        let request = Request { pick, metered, arrived: now, work, fails, counts };
        desk.served += u64::from(counts);
        if desk.busy < server.workers {
            desk.busy += 1;
            self.work(now, place, request);
        } else {
            desk.waiting.push_back(request);
        }
        if let Some(desk) = self.desks.get_mut(place) {
            desk.most = desk.most.max(desk.load());
        }
    }

    /// Lets the watches on outliers do what is due.
    fn watch(&mut self, now: Instant) {
        if self.struck.swap(false, Ordering::Relaxed) {
            self.patrols.iter_mut().for_each(|patrol| drop(patrol.strike(now)));
        }
        for patrol in &mut self.patrols {
            if patrol.deadline() <= now {
                drop(patrol.sweep(now));
            }
        }
    }

    fn work(&mut self, now: Instant, place: usize, request: Request) {
        let at = now + request.work;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.working.push(None);
            self.working.len() - 1
        });
        if let Some(entry) = self.working.get_mut(slot) {
            *entry = Some((place, request));
        }
        self.made += 1;
        self.ends.push(Reverse((at, self.made, slot)));
    }

    fn end_until(&mut self, now: Instant) {
        while let Some(Reverse((at, _, slot))) = self.ends.peek().copied() {
            if at > now {
                return;
            }
            self.ends.pop();
            self.free.push(slot);
            let Some((place, request)) = self.working.get_mut(slot).and_then(Option::take) else {
                continue;
            };
            let Request { pick, metered, arrived, fails, counts, .. } = request;
            let took = at.since(arrived);
            let outcome = if fails { Outcome::Failed } else { Outcome::Completed };
            pick.finish_after(outcome, took, at);
            if counts {
                self.ended.push(Ended { took, failed: fails });
            }
            let Some(desk) = self.desks.get_mut(place) else { continue };
            desk.meter.end(metered, at);
            match desk.waiting.pop_front() {
                Some(next) => self.work(at, place, next),
                None => desk.busy = desk.busy.saturating_sub(1),
            }
        }
    }
}
