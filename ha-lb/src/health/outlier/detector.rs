//! Who is an outlier, decided without I/O.

use std::collections::BTreeMap;

use ha_core::health::Health;
use ha_core::time::Instant;

use super::config::Rate;
use super::sample::{Delta, Sample};
use super::{Cause, Config, Detection, Enforce, Origin};
use crate::state::Totals;

/// What is to be done with an endpoint.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores one loses an action")]
pub enum Verdict<K> {
    /// Take it out.
    Eject {
        /// Which.
        key: K,
        /// Why.
        cause: Cause,
        /// It comes back at the first interval after this.
        until: Instant,
    },
    /// An outlier is left in; say so.
    Spare {
        /// Which.
        key: K,
        /// Why it is an outlier.
        cause: Cause,
        /// Why it is left in.
        because: Spared,
    },
    /// Put it back.
    Restore {
        /// Which.
        key: K,
        /// With a small share, until it has proven itself.
        on_probation: bool,
    },
    /// It has proven itself: give it all of its share.
    Prove {
        /// Which.
        key: K,
    },
}

impl<K> Verdict<K> {
    /// Which endpoint it is about.
    #[must_use]
    pub const fn key(&self) -> &K {
        match self {
            Self::Eject { key, .. }
            | Self::Spare { key, .. }
            | Self::Restore { key, .. }
            | Self::Prove { key } => key,
        }
    }
}

/// Why an outlier is left in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the three reasons there are")]
pub enum Spared {
    /// Its detection only observes.
    Observing,
    /// As many are out as may be.
    Enough,
    /// Nothing else is usable.
    LastOne,
}

impl std::fmt::Display for Spared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Observing => "this is only observed",
            Self::Enough => "as many are out as may be",
            Self::LastOne => "nothing else is usable",
        })
    }
}

/// What an endpoint is, in the eyes of the detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "in, out, or on its way back")]
pub enum Standing {
    /// One of many.
    #[default]
    In,
    /// Out, until the first interval after this time.
    Out {
        /// The time.
        until: Instant,
    },
    /// Back with a small share.
    OnProbation,
}

/// An endpoint, as far as it is remembered.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// At the last interval; `None` if there was none since it joined or came back.
    before: Option<Totals>,
    pub(super) standing: Standing,
    /// When it came back, on probation.
    back: Totals,
    /// How often it was ejected, less one for each good interval since.
    pub(super) times: u32,
    /// Intervals in a row in which it was slow.
    slow: u32,
    /// The last cause.
    pub(super) cause: Option<Cause>,
}

/// Finds outliers by their work; `K` names endpoints.
///
/// It is given the counters of all endpoints once per [interval](Config::interval), and runs of errors
/// at once. It never has more out than [`Config::allowed`] says.
///
/// ```
/// use ha_core::time::Instant;
/// use ha_lb::health::outlier::{Cause, Config, Detection, Detector, Sample, Verdict};
/// # use ha_lb::{algorithm::Algorithm, endpoint::parse_list, pool::Pool};
/// # let pool = Pool::new(&Algorithm::RoundRobin, parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)?;
///
/// let start = Instant::from_secs(100);
/// let mut detector = Detector::new(Config::default(), start);
/// let samples = || {
///     let snapshot = pool.snapshot();
///     let samples = snapshot.iter().map(|(_, state)| Sample::of(state));
///     samples.enumerate().collect::<Vec<_>>()
/// };
/// detector.sweep(start, samples());
/// let cause = Cause::Run { detection: Detection::LocalErrors, errors: 5 };
/// let verdict = detector.strike(start, &0, cause, 2);
/// assert!(matches!(verdict, Some(Verdict::Eject { key: 0, .. })));
/// // One of two is out: no more.
/// assert!(matches!(detector.strike(start, &1, cause, 1), Some(Verdict::Spare { .. })));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Detector<K> {
    config: Config,
    hosts: BTreeMap<K, Host>,
    out: usize,
    next: Instant,
}

impl<K: Ord + Clone> Detector<K> {
    /// A detector that knows nobody yet; the first interval ends one interval after `now`.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let next = now + config.interval();
        Self { config, hosts: BTreeMap::new(), out: 0, next }
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// When the interval ends, and [`sweep`](Self::sweep) is due.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next
    }

    /// How many are out.
    #[must_use]
    pub const fn ejected(&self) -> usize {
        self.out
    }

    /// What an endpoint is; `None` if it is unknown.
    #[must_use]
    pub fn standing(&self, key: &K) -> Option<Standing> {
        self.hosts.get(key).map(|host| host.standing)
    }

    #[cfg(feature = "tokio")]
    pub(super) fn host(&self, key: &K) -> Option<&Host> {
        self.hosts.get(key)
    }

    /// An endpoint joins before the interval ends.
    pub fn join(&mut self, key: K, sample: &Sample) {
        let before = Some(sample.totals);
        self.hosts.entry(key).or_insert_with(|| Host { before, ..Host::default() });
    }

    /// An endpoint has left.
    pub fn leave(&mut self, key: &K) {
        if let Some(host) = self.hosts.remove(key) {
            self.out -= usize::from(matches!(host.standing, Standing::Out { .. }));
        }
    }

    /// The interval ends: compares what all endpoints have done in it. Those that are not among the
    /// samples have left, those that are new join.
    pub fn sweep(
        &mut self,
        now: Instant,
        samples: impl IntoIterator<Item = (K, Sample)>,
    ) -> Vec<Verdict<K>> {
        self.next = now + self.config.interval();
        let samples: BTreeMap<K, Sample> = samples.into_iter().collect();
        let gone: Vec<K> =
            self.hosts.keys().filter(|key| !samples.contains_key(key)).cloned().collect();
        for key in &gone {
            self.leave(key);
        }
        let mut deltas = BTreeMap::new();
        for (key, sample) in &samples {
            let host = self.hosts.entry(key.clone()).or_default();
            let before = host.before.replace(sample.totals);
            if let (Some(before), Standing::In | Standing::OnProbation) = (before, host.standing) {
                deltas.insert(key.clone(), Delta::between(&before, &sample.totals));
            }
        }
        let mut verdicts = self.restore(now, &samples);
        let mut causes = self.outliers(&deltas);
        causes.extend(self.relapsed(&samples));
        for (key, host) in &mut self.hosts {
            let is_in = matches!(host.standing, Standing::In | Standing::OnProbation);
            if is_in && deltas.contains_key(key) && !causes.contains_key(key) {
                host.times = host.times.saturating_sub(1);
            }
        }
        verdicts.extend(self.prove(&samples, &causes));
        let is_in = |key: &K| !matches!(self.standing(key), Some(Standing::Out { .. }));
        let mut usable = samples.iter().filter(|(key, sample)| sample.usable && is_in(key)).count();
        for (key, cause) in causes {
            let verdict = self.strike(now, &key, cause, usable);
            if matches!(verdict, Some(Verdict::Eject { .. })) {
                let was_usable = samples.get(&key).is_some_and(|sample| sample.usable);
                usable -= usize::from(was_usable);
            }
            verdicts.extend(verdict);
        }
        verdicts
    }

    /// An endpoint is an outlier, as a run of errors shows at once. `usable` is how many take work
    /// now, this one included.
    pub fn strike(
        &mut self,
        now: Instant,
        key: &K,
        cause: Cause,
        usable: usize,
    ) -> Option<Verdict<K>> {
        let allowed = self.config.allowed(self.hosts.len());
        let host = self.hosts.get_mut(key)?;
        if matches!(host.standing, Standing::Out { .. }) {
            return None;
        }
        host.cause = Some(cause);
        let because = match self.config.enforced(cause.detection()) {
            Enforce::Off => return None,
            Enforce::Observe => Some(Spared::Observing),
            Enforce::Eject if self.out >= allowed => Some(Spared::Enough),
            Enforce::Eject if usable <= 1 => Some(Spared::LastOne),
            Enforce::Eject => None,
        };
        let key = key.clone();
        if let Some(because) = because {
            return Some(Verdict::Spare { key, cause, because });
        }
        host.times = host.times.saturating_add(1);
        host.slow = 0;
        let until = now + self.config.ejection(host.times);
        host.standing = Standing::Out { until };
        self.out += 1;
        Some(Verdict::Eject { key, cause, until })
    }

    /// Puts back those whose time is over. One whose checks fail stays out until they pass.
    fn restore(&mut self, now: Instant, samples: &BTreeMap<K, Sample>) -> Vec<Verdict<K>> {
        let mut verdicts = Vec::new();
        for (key, host) in &mut self.hosts {
            let health = samples.get(key).map(|sample| sample.health);
            let over = matches!(host.standing, Standing::Out { until } if until <= now);
            if !over || health == Some(Health::Unhealthy) {
                continue;
            }
            let on_probation = health != Some(Health::Healthy);
            host.standing = if on_probation { Standing::OnProbation } else { Standing::In };
            host.back = samples.get(key).map(|sample| sample.totals).unwrap_or_default();
            self.out -= 1;
            verdicts.push(Verdict::Restore { key: key.clone(), on_probation });
        }
        verdicts
    }

    /// Those on probation that have done enough, and well.
    fn prove(
        &mut self,
        samples: &BTreeMap<K, Sample>,
        causes: &BTreeMap<K, Cause>,
    ) -> Vec<Verdict<K>> {
        let (_, successes) = self.config.probe();
        let mut verdicts = Vec::new();
        for (key, host) in &mut self.hosts {
            let Some(sample) = samples.get(key) else { continue };
            let delta = Delta::between(&host.back, &sample.totals);
            let well = delta.completed >= successes && !causes.contains_key(key);
            if well && host.standing == Standing::OnProbation {
                host.standing = Standing::In;
                verdicts.push(Verdict::Prove { key: key.clone() });
            }
        }
        verdicts
    }

    /// Those on probation of whose work at least half has failed.
    fn relapsed(&self, samples: &BTreeMap<K, Sample>) -> Vec<(K, Cause)> {
        let (_, successes) = self.config.probe();
        let mut found = Vec::new();
        for (key, host) in &self.hosts {
            let (Standing::OnProbation, Some(cause)) = (host.standing, host.cause) else {
                continue;
            };
            let Some(sample) = samples.get(key) else { continue };
            let delta = Delta::between(&host.back, &sample.totals);
            let (errors, of) = (delta.errors(), delta.errors() + delta.completed);
            if errors > 0 && of >= successes && errors * 2 >= of {
                let detection = cause.detection();
                found.push((key.clone(), Cause::Probation { detection, errors, of }));
            }
        }
        found
    }

    /// Everyone who is an outlier in this interval, with the first cause that was found.
    fn outliers(&mut self, deltas: &BTreeMap<K, Delta>) -> BTreeMap<K, Cause> {
        let mut found = BTreeMap::new();
        for origin in [Origin::Answers, Origin::Local] {
            for (key, cause) in low_success(&self.config, origin, deltas) {
                found.entry(key).or_insert(cause);
            }
            let rate = self.config.failure_percentage();
            for (key, cause) in mostly_failures(&rate, origin, deltas) {
                found.entry(key).or_insert(cause);
            }
        }
        for (key, cause) in self.slow(deltas) {
            found.entry(key).or_insert(cause);
        }
        let config = &self.config;
        found.retain(|_, cause| config.enforced(cause.detection()) != Enforce::Off);
        found
    }

    /// Those whose mean time is many times the median of the others', for long enough.
    fn slow(&mut self, deltas: &BTreeMap<K, Delta>) -> Vec<(K, Cause)> {
        if self.config.enforced(Detection::Latency) == Enforce::Off {
            return Vec::new();
        }
        let (rate, intervals) = self.config.latency();
        let mut means: Vec<_> = deltas
            .iter()
            .filter(|(_, delta)| delta.timed >= rate.min_volume.max(1))
            .filter_map(|(key, delta)| Some((delta.mean()?, key)))
            .collect();
        means.sort_unstable_by_key(|(mean, _)| *mean);
        let enough = means.len() >= rate.min_hosts.max(2);
        let places: BTreeMap<&K, usize> =
            means.iter().enumerate().map(|(place, (_, key))| (*key, place)).collect();
        let mut found = Vec::new();
        for (key, host) in &mut self.hosts {
            let place = places.get(key).copied();
            let Some(place) = place.filter(|_| enough) else {
                host.slow = 0;
                continue;
            };
            // The lower median of the others.
            let middle = (means.len() - 2) / 2;
            let middle = if place <= middle { middle + 1 } else { middle };
            let (Some((own, _)), Some((median, _))) = (means.get(place), means.get(middle)) else {
                continue;
            };
            let bound = median.as_secs_f64() * rate.bound;
            host.slow = if own.as_secs_f64() > bound { host.slow + 1 } else { 0 };
            if host.slow >= intervals {
                let cause = Cause::Latency { mean: *own, median: *median };
                found.push((key.clone(), cause));
            }
        }
        found
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates")]
fn rate(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// Those with enough work, with how much of it there was and how much failed.
fn busy<'a, K>(
    rate: &Rate,
    origin: Origin,
    deltas: &'a BTreeMap<K, Delta>,
) -> Vec<(&'a K, u64, u64)> {
    let volumes = deltas.iter().map(|(key, delta)| {
        let (volume, failed) = delta.volume(origin);
        (key, volume, failed)
    });
    let busy: Vec<_> = volumes.filter(|(_, volume, _)| *volume >= rate.min_volume.max(1)).collect();
    if busy.len() >= rate.min_hosts { busy } else { Vec::new() }
}

/// Those whose success rate is further below the mean than the bound, and not by chance.
fn low_success<K: Clone>(
    config: &Config,
    origin: Origin,
    deltas: &BTreeMap<K, Delta>,
) -> Vec<(K, Cause)> {
    let bound = config.success_rate();
    let hosts = busy(&bound, origin, deltas);
    let count = rate(u64::try_from(hosts.len()).unwrap_or(u64::MAX), 1).max(1.0);
    let success = |(_, volume, failed): &(&K, u64, u64)| 1.0 - rate(*failed, *volume);
    let mean = hosts.iter().map(success).sum::<f64>() / count;
    let variance = hosts.iter().map(|host| (success(host) - mean).powi(2)).sum::<f64>() / count;
    let least = bound.bound.mul_add(-variance.sqrt(), mean);
    let volumes: u64 = hosts.iter().map(|(_, volume, _)| volume).sum();
    let failures: u64 = hosts.iter().map(|(_, _, failed)| failed).sum();
    let is_outlier = |host: &&(&K, u64, u64)| {
        let (_, volume, failed) = **host;
        // What the others show; with one failure more, as nobody is perfect for ever.
        let usual = rate(failures - failed + 1, volumes - volume + 2);
        success(host) < least && odds_against(failed, volume, usual) >= config.significance()
    };
    let cause = |host: &(&K, u64, u64)| {
        (host.0.clone(), Cause::SuccessRate { origin, rate: success(host), mean })
    };
    hosts.iter().filter(is_outlier).map(cause).collect()
}

fn mostly_failures<K: Clone>(
    bound: &Rate,
    origin: Origin,
    deltas: &BTreeMap<K, Delta>,
) -> Vec<(K, Cause)> {
    let hosts = busy(bound, origin, deltas).into_iter();
    let hosts = hosts.map(|(key, volume, failed)| (key, rate(failed, volume) * 100.0));
    let hosts = hosts.filter(|(_, percent)| *percent >= bound.bound);
    hosts
        .map(|(key, percent)| (key.clone(), Cause::FailurePercentage { origin, percent }))
        .collect()
}

/// How unlikely it is that of `volume` at least so many fail if each does with probability `usual`:
/// the Chernoff bound is e to the minus this.
///
/// # Source
///
/// Chernoff (1952), Hoeffding (1963): P ≤ exp(−n·D(k/n ‖ p)), with the relative entropy D.
fn odds_against(failed: u64, volume: u64, usual: f64) -> f64 {
    let part = rate(failed, volume);
    if part <= usual {
        return 0.0;
    }
    let term = |own: f64, other: f64| if own > 0.0 { own * (own / other).ln() } else { 0.0 };
    let entropy = term(part, usual) + term(1.0 - part, 1.0 - usual);
    rate(volume, 1) * entropy
}

#[cfg(test)]
mod tests;
