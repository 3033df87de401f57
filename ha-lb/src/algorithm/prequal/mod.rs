//! Prequal: of some endpoints that were probed a moment ago, the fastest that is not crowded.
//!
//! # Source
//!
//! Wydrowski, Kleinberg, Rumble, Archer, "Load is not what you should balance: Introducing Prequal"
//! (NSDI 2024). A small pool holds the answers of the last probes: requests in flight and latency
//! of an endpoint. Those with more in flight than a quantile of all answers are *hot*. A pick takes
//! the fastest cold one, or the least crowded if all are hot. Each pick causes new probes, so the
//! pool is as fresh as there is work; answers are used a few times and removed when they are old or
//! bad.
//!
//! # Where answers come from
//!
//! - [`Prequal::new`] (`prequal` in flags): this program's own counters, see
//!   [`Balancer::measures_latency`]. Nothing is sent. Right for one balancer, or a few.
//! - [`Prequal::with_reports`]: the program asks its servers and [reports](Prequal::report) what
//!   they say; `driver::Driver` does that for it, and servers answer by a [`Meter`]. Right for many
//!   clients that share servers: only a server knows what all of them want from it.
//!
//! # What differs from the paper
//!
//! Endpoints have weights: requests in flight count for the weight. The pool has half as many places
//! as there are endpoints, but four at least, or it would hold nearly all of them. With fewer than two
//! answers a pick takes the less loaded of two drawn at random, where the paper takes any. By own
//! counters the fastest is the one of the least latency times requests in flight, as with
//! [`peak_ewma`](super::peak_ewma): a client cannot tell what a server's latency was with as many in
//! flight as it has now. Failures are not counted against an endpoint here: one that fails fast looks
//! fast, so eject such endpoints.

mod config;
#[cfg(feature = "tokio")]
pub mod driver;
mod meter;
mod probes;
mod reports;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ha_core::id::EndpointName;
use ha_core::time::Instant;

pub use self::config::{PrequalBuilder, PrequalConfig};
pub use self::meter::{Meter, Metered};

use self::probes::{Answer, Probe, Probes, Tick};
use self::reports::{Names, Reports};
use crate::algorithm::least_connections::Load;
use crate::algorithm::least_time::DECAY;
use crate::algorithm::random::{Alias, Drawn, Numbers};
use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// The fastest of the probed endpoints that are not crowded.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::algorithm::prequal::{Prequal, PrequalConfig};
/// use ha_lb::balancer::PickContext;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::pool::Pool;
///
/// let prequal = Arc::new(Prequal::with_reports(PrequalConfig::default()));
/// let list = parse_list("a=192.0.2.1:80,b=192.0.2.2:80,c=192.0.2.3:80,d=192.0.2.4:80")?;
/// let pool = Pool::builder(prequal.clone()).endpoints(list).build()?;
///
/// // What the servers said when they were asked.
/// let now = Instant::from_secs(100);
/// prequal.report(&"a".parse()?, 3, Duration::from_millis(90), now);
/// prequal.report(&"b".parse()?, 2, Duration::from_millis(40), now);
/// prequal.report(&"c".parse()?, 3, Duration::from_millis(5), now);
/// let pick = pool.pick(&PickContext::new().with_now(now))?;
/// assert_eq!(pick.name().as_str(), "c", "fast, and not crowded");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Prequal {
    config: PrequalConfig,
    numbers: Numbers,
    probing: Rate,
    removing: Rate,
    removals: AtomicU64,
    /// `None`: the answers are the counters of the pool.
    reports: Option<Reports>,
}

/// What belongs to a group of endpoints.
#[derive(Debug)]
pub(super) struct Table {
    alias: Alias,
    probes: Probes,
    /// The largest weight of the group.
    heaviest: u16,
    weights: Box<[u16]>,
    reuse: f64,
    names: Option<Names>,
}

impl Table {
    /// Requests in flight for the weight.
    fn for_weight(&self, index: u32, in_flight: u32) -> u32 {
        let weight = self.weights.get(index as usize).copied().unwrap_or(1).max(1);
        let scaled = u64::from(in_flight) * u64::from(self.heaviest) / u64::from(weight);
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }
}

impl Prequal {
    /// Takes the counters of the pool for answers, with the settings of the paper.
    #[must_use]
    pub fn new() -> Self {
        Self::build(PrequalConfig::default(), Numbers::Thread, false)
    }

    /// As [`new`](Self::new), with a seed that makes the draws repeatable.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self::build(PrequalConfig::default(), Numbers::seeded(seed), false)
    }

    /// Takes the counters of the pool for answers, with other settings.
    #[must_use]
    pub fn with_config(config: PrequalConfig) -> Self {
        Self::build(config, Numbers::Thread, false)
    }

    /// Waits for answers to be [reported](Self::report).
    ///
    /// For one pool: answers go to endpoints by their names.
    #[must_use]
    pub fn with_reports(config: PrequalConfig) -> Self {
        Self::build(config, Numbers::Thread, true)
    }

    pub(crate) fn with_reports_and_seed(config: PrequalConfig, seed: u64) -> Self {
        Self::build(config, Numbers::seeded(seed), true)
    }

    fn build(config: PrequalConfig, numbers: Numbers, reported: bool) -> Self {
        Self {
            probing: Rate::new(config.probes_per_pick()),
            removing: Rate::new(config.removals_per_pick()),
            removals: AtomicU64::new(0),
            numbers,
            config,
            reports: reported.then(Reports::default),
        }
    }

    /// Takes an answer in: how many requests the endpoint has in flight, of all its clients, and
    /// how long one takes now: what its [`Meter`] says.
    ///
    /// Takes no lock. Returns whether the endpoint is in the pool and takes work there by reports;
    /// of one that has left nothing is kept.
    pub fn report(
        &self,
        endpoint: &EndpointName,
        in_flight: u32,
        latency: Duration,
        now: Instant,
    ) -> bool {
        let Some(reports) = &self.reports else { return false };
        let mut known = false;
        for table in reports.tables() {
            let Some(index) = table.names.as_ref().and_then(|names| names.find(endpoint)) else {
                continue;
            };
            let answer = Answer {
                index,
                in_flight: table.for_weight(index, in_flight),
                latency: latency.as_secs_f32(),
                uses: self.uses(&table),
            };
            table.probes.insert(answer, Tick::of(now));
            known = true;
        }
        known
    }

    /// How many probes picks have asked for since this was called last; whoever probes without
    /// [`driver::Driver`] calls it from time to time and sends as many, to endpoints at random.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.reports.as_ref().map_or(0, Reports::take_wanted)
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &PrequalConfig {
        &self.config
    }

    /// How often the next answer may be used; the fraction is settled by chance.
    fn uses(&self, table: &Table) -> u8 {
        let number = u32::try_from(self.numbers.take() >> 32).unwrap_or_default();
        let uses = (table.reuse + f64::from(number) / 4_294_967_296.0).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 16")]
        let uses = uses.clamp(1.0, 255.0) as u8;
        uses
    }

    fn table(&self, endpoints: &Endpoints) -> Arc<Table> {
        let weights: Box<[u16]> = endpoints.indices().map(|at| endpoints.weight(at)).collect();
        let room = self.config.room_for(endpoints.len());
        let max_age = Tick::span(self.config.max_age());
        Arc::new(Table {
            alias: Alias::new(endpoints),
            probes: Probes::new(room, max_age, self.config.per_mille()),
            heaviest: weights.iter().copied().max().unwrap_or(1),
            weights,
            reuse: self.config.reuse(room, endpoints.len()),
            names: self.reports.is_some().then(|| Names::of(endpoints)),
        })
    }

    fn remove(&self, table: &Table, now: Tick) {
        for _ in 0..self.removing.take() {
            if self.removals.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                table.probes.remove_worst();
            } else {
                table.probes.remove_oldest(now);
            }
        }
    }

    /// Asks for probes, or makes them where the answers are our own counters.
    fn probe(&self, table: &Table, endpoints: &Endpoints, context: &PickContext<'_>, now: Instant) {
        let wanted = self.probing.take();
        if let Some(reports) = &self.reports {
            reports.want(wanted);
            return;
        }
        let drawn = Drawn::with_table(endpoints, context, &self.numbers, &table.alias);
        for index in drawn.take(usize::try_from(wanted).unwrap_or_default()) {
            let Some(state) = endpoints.state(index) else { continue };
            let Ok(at) = u32::try_from(index.get()) else { continue };
            let answer = Answer {
                index: at,
                in_flight: table.for_weight(at, state.connections()),
                latency: match state.latency(now, DECAY) {
                    Some(latency) => latency.as_secs_f32(),
                    // Unknown: free for one, to be measured; then as if it took a minute.
                    None if state.connections() == 0 => 0.0,
                    None => 60.0,
                },
                uses: self.uses(table),
            };
            table.probes.insert(answer, Tick::of(now));
        }
    }

    /// The answer that a pick goes by; `None` if fewer than two can be used.
    fn choose(
        &self,
        table: &Table,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
        now: Tick,
    ) -> Option<Probe> {
        let hot_above = table.probes.hot_above();
        let (mut usable, mut best) = (0, None);
        for probe in table.probes.iter(now) {
            let index = EndpointIndex::new(probe.answer.index);
            // Own probes went to endpoints by their part of the share already.
            let admitted = match &self.reports {
                Some(_) => endpoints.accepts(index, context, self.numbers.take() >> 32),
                None => endpoints.admits(index, context),
            };
            if !admitted {
                continue;
            }
            usable += 1;
            if best.as_ref().is_none_or(|best| self.is_better(&probe, best, hot_above)) {
                best = Some(probe);
            }
        }
        best.filter(|_| usable >= 2)
    }

    /// The rule of hot and cold: cold before hot, the fastest of the cold, the least crowded of the
    /// hot.
    fn is_better(&self, one: &Probe, other: &Probe, hot_above: u32) -> bool {
        let (one, other) = (&one.answer, &other.answer);
        match (one.in_flight > hot_above, other.in_flight > hot_above) {
            (false, true) => true,
            (true, false) => false,
            (true, true) => one.in_flight < other.in_flight,
            (false, false) => {
                let (first, second) = (self.wait(one), self.wait(other));
                first < second || (first <= second && one.in_flight < other.in_flight)
            }
        }
    }

    /// How long a request would take there, in seconds.
    fn wait(&self, answer: &Answer) -> f32 {
        if self.reports.is_some() {
            // The server has taken into account how many it is working on.
            return answer.latency;
        }
        #[expect(clippy::cast_precision_loss, reason = "to compare by")]
        let crowd = answer.in_flight as f32 + 1.0;
        answer.latency * crowd
    }

    /// The less loaded of two.
    fn of_two(
        &self,
        table: &Table,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
    ) -> Option<EndpointIndex> {
        let mut drawn = Drawn::with_table(endpoints, context, &self.numbers, &table.alias);
        let first = drawn.next();
        let (Some(one), Some(other)) = (first, drawn.next()) else {
            return first.or_else(|| endpoints.scan(self.numbers.take(), context));
        };
        let is_below = Load::of(endpoints, other).is_below(Load::of(endpoints, one));
        Some(if is_below { other } else { one })
    }
}

impl Default for Prequal {
    fn default() -> Self {
        Self::new()
    }
}

impl Balancer for Prequal {
    fn name(&self) -> &'static str {
        "prequal"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let table = endpoints.prepared(|_: &Arc<Table>| true, || self.table(endpoints));
        let now = context.now();
        let tick = Tick::of(now);
        self.probe(&table, endpoints, context, now);
        let chosen = self.choose(&table, endpoints, context, tick);
        if let Some(probe) = &chosen {
            table.probes.used(probe, table.for_weight(probe.answer.index, 1));
        }
        self.remove(&table, tick);
        match chosen {
            Some(probe) => Some(EndpointIndex::new(probe.answer.index)),
            None => self.of_two(&table, endpoints, context),
        }
    }

    fn prepare(&self, endpoints: &Endpoints) {
        let table = endpoints.prepared(|_: &Arc<Table>| true, || self.table(endpoints));
        if let Some(reports) = &self.reports {
            reports.keep(&table);
        }
    }

    fn measures_latency(&self) -> Option<Duration> {
        self.reports.is_none().then_some(DECAY)
    }

    fn explain(
        &self,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
        picked: EndpointIndex,
    ) -> String {
        let table = endpoints.prepared(|_: &Arc<Table>| true, || self.table(endpoints));
        let probes: Vec<Probe> = table.probes.iter(Tick::of(context.now())).collect();
        let limit = table.probes.hot_above();
        let hot = probes.iter().filter(|probe| probe.answer.in_flight > limit).count();
        let connections = endpoints.state(picked).map_or(0, |state| state.connections());
        format!("by {} probes, {hot} of them hot: {connections} connections of ours", probes.len())
    }
}

/// So many of something for each pick, also if that is not a whole number: the fractions add up.
#[derive(Debug)]
struct Rate {
    /// In parts of 2^32.
    each: u64,
    sum: AtomicU64,
}

impl Rate {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 16 each")]
    fn new(each: f64) -> Self {
        Self { each: (each.clamp(0.0, 16.0) * 4_294_967_296.0) as u64, sum: AtomicU64::new(0) }
    }

    fn take(&self) -> u32 {
        let before = self.sum.fetch_add(self.each, Ordering::Relaxed);
        let after = before.wrapping_add(self.each);
        u32::try_from((after >> 32).wrapping_sub(before >> 32) & 0xffff_ffff).unwrap_or_default()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
