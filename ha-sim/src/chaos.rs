//! Random schedules of faults.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::time::Instant;

use crate::invariant::Violation;
use crate::network::Quality;
use crate::node::{Node, NodeIndex};
use crate::world::World;

/// A profile of random faults; which come when follows from the world's seed.
///
/// A test has two phases. In the first, chaos: faults come and go, and the invariants must hold.
/// In the second everything is whole again and must work within a stated time:
///
/// ```no_run
/// # use std::time::Duration;
/// # use ha_sim::{Chaos, Node, Violation, World};
/// # fn f<N: Node>(mut world: World<N>, all_agree: fn(&World<N>) -> bool) -> Result<(), Violation> {
/// Chaos::harsh().run(&mut world, Duration::from_mins(1))?; // ends with World::recover
/// world.converges_within(Duration::from_secs(5), all_agree)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Chaos {
    every: Duration,
    longest: Duration,
    max_down: usize,
    kinds: Vec<Kind>,
    bad_network: Quality,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The network gets worse for a while.
    BadNetwork,
    /// A clock runs at another rate from then on, up to 200 ppm wrong.
    ClockRate,
    /// A node loses power, and is started again later.
    Crash,
    /// One direction between two nodes is cut for a while.
    OneWay,
    /// The nodes are split in two groups for a while.
    Partition,
    /// A node is frozen for a while.
    Pause,
}

impl Chaos {
    /// A fault every 5 s on average, each up to 2 s long, at most one node down at a time.
    #[must_use]
    pub fn gentle() -> Self {
        Self {
            every: Duration::from_secs(5),
            longest: Duration::from_secs(2),
            max_down: 1,
            kinds: vec![Kind::Crash, Kind::Pause, Kind::Partition, Kind::BadNetwork],
            bad_network: Quality::lan().loss(0.05),
        }
    }

    /// A fault of any kind every second on average, each up to 5 s long, any number at a time.
    #[must_use]
    pub fn harsh() -> Self {
        Self {
            every: Duration::from_secs(1),
            longest: Duration::from_secs(5),
            max_down: usize::MAX,
            kinds: vec![
                Kind::BadNetwork,
                Kind::ClockRate,
                Kind::Crash,
                Kind::OneWay,
                Kind::Partition,
                Kind::Pause,
            ],
            bad_network: Quality::wan().loss(0.3).duplicate(0.1).reorder(0.2),
        }
    }

    /// Sets the mean time between two faults.
    #[must_use]
    pub const fn every(mut self, mean: Duration) -> Self {
        self.every = mean;
        self
    }

    /// Sets how long a fault lasts at most.
    #[must_use]
    pub const fn longest(mut self, duration: Duration) -> Self {
        self.longest = duration;
        self
    }

    /// Sets how many nodes may be down or paused at a time.
    #[must_use]
    pub const fn max_down(mut self, nodes: usize) -> Self {
        self.max_down = nodes;
        self
    }

    /// Sets which faults come; one that is named twice comes twice as often.
    #[must_use]
    pub fn kinds(mut self, kinds: &[Kind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Sets what [`Kind::BadNetwork`] makes of the network.
    #[must_use]
    pub fn bad_network(mut self, quality: Quality) -> Self {
        self.bad_network = quality;
        self
    }

    /// Lets faults come and go for `duration`, then ends them all with [`World::recover`].
    ///
    /// # Errors
    ///
    /// As [`World::run_until`]; the faults are then left as they were.
    pub fn run<N: Node>(&self, world: &mut World<N>, duration: Duration) -> Result<(), Violation> {
        self.run_with(world, duration, duration.max(Duration::from_micros(1)), |_| Ok(()))
    }

    /// As [`run`](Self::run), and calls `also` whenever `every` has passed: for what is outside of
    /// all nodes and acts on the world, such as a power switch or a modelled store.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); also what `also` finds.
    pub fn run_with<N: Node>(
        &self,
        world: &mut World<N>,
        duration: Duration,
        every: Duration,
        mut also: impl FnMut(&mut World<N>) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let every = every.max(Duration::from_micros(1));
        let mut slice = world.now() + every;
        let end = world.now() + duration;
        let mut ends: BTreeMap<(Instant, u64), End> = BTreeMap::new();
        let mut number = 0;
        let mut next = world.now() + self.wait(world);
        loop {
            let first_end = ends.first_key_value().map(|((at, _), _)| *at);
            let at = first_end.map_or(next, |first| first.min(next)).min(end).min(slice);
            world.run_until(at)?;
            if slice <= at {
                slice = at + every;
                also(world)?;
            }
            if at == end {
                world.recover();
                return Ok(());
            }
            if first_end.is_some_and(|first| first <= at) {
                if let Some((_, over)) = ends.pop_first() {
                    over.apply(world);
                }
                continue;
            }
            if at < next {
                continue;
            }
            next = at + self.wait(world);
            let lasts = world.chaos_rng().between(Duration::ZERO, self.longest);
            if let Some(over) = self.strike(world) {
                number += 1;
                ends.insert((at + lasts, number), over);
            }
        }
    }

    fn wait<N: Node>(&self, world: &mut World<N>) -> Duration {
        // At least a microsecond, so that a mean of zero still lets time pass.
        let low = Duration::from_micros(1);
        world.chaos_rng().between(low, self.every.saturating_mul(2))
    }

    /// Does one fault; `Some` says what ends it.
    fn strike<N: Node>(&self, world: &mut World<N>) -> Option<End> {
        let kind = *world.chaos_rng().pick(&self.kinds)?;
        let nodes = world.indices();
        let node = *world.chaos_rng().pick(&nodes)?;
        let other = *world.chaos_rng().pick(&nodes)?;
        let down = nodes.iter().filter(|node| !world.is_running(**node)).count();
        match kind {
            Kind::BadNetwork => {
                world.set_network(self.bad_network.clone());
                Some(End::GoodNetwork)
            }
            Kind::ClockRate => {
                let drawn = i32::try_from(world.chaos_rng().below(401)).unwrap_or_default();
                world.set_clock_rate(node, drawn - 200);
                None
            }
            Kind::Crash if down < self.max_down => {
                world.crash(node);
                Some(End::Restart(node))
            }
            Kind::Pause if down < self.max_down => {
                world.pause(node);
                Some(End::Resume(node))
            }
            Kind::OneWay if node != other => {
                world.cut(node, other);
                Some(End::Mend(node, other))
            }
            Kind::Partition => {
                let rng = world.chaos_rng();
                let side: Vec<_> = nodes.iter().copied().filter(|_| rng.chance(0.5)).collect();
                world.partition(&[&side]);
                Some(End::Unpartition)
            }
            Kind::Crash | Kind::OneWay | Kind::Pause => None,
        }
    }
}

/// What ends a fault.
#[derive(Debug, Clone, Copy)]
enum End {
    GoodNetwork,
    Mend(NodeIndex, NodeIndex),
    Restart(NodeIndex),
    Resume(NodeIndex),
    Unpartition,
}

impl End {
    fn apply<N: Node>(self, world: &mut World<N>) {
        match self {
            Self::GoodNetwork => world.restore_network(),
            Self::Mend(from, to) => world.mend(from, to),
            Self::Restart(node) => world.restart(node),
            Self::Resume(node) => world.resume(node),
            Self::Unpartition => world.unpartition(),
        }
    }
}
