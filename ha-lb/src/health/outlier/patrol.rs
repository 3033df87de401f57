//! A detector at work on a pool; whoever drives it gives the time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ha_core::id::EndpointName;
use ha_core::time::Instant;

use super::{Cause, Config, Detection, Detector, Sample, Standing, Verdict};
use crate::pool::Pool;
use crate::snapshot::Snapshot;
use crate::state::faults::{RunKind, Sentinel, Tripwire, Wake};
use crate::state::{EndpointState, Listener, Share, ShareSource};

/// An endpoint, as the watch on outliers sees it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: EndpointName,
    /// Whether it is in, out, or on its way back.
    pub standing: Standing,
    /// How often it was ejected, less one for each good interval since.
    pub times: u32,
    /// Why it was an outlier last; `None` if it never was.
    pub cause: Option<Cause>,
}

/// The address of an endpoint's state, which the beat keeps alive.
pub(super) type Key = usize;

#[derive(Debug)]
struct Beat {
    state: Arc<EndpointState>,
    tripwire: Arc<Tripwire>,
}

/// Watches a pool: takes counters to the detector, and acts on its verdicts.
pub(crate) struct Patrol {
    pool: Pool,
    detector: Detector<Key>,
    beats: BTreeMap<Key, Beat>,
    wake: Arc<Wake>,
    seen: Option<Arc<Snapshot>>,
}

impl fmt::Debug for Patrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patrol").field("detector", &self.detector).finish_non_exhaustive()
    }
}

impl Patrol {
    /// `wake` is called, by the thread that saw it, when a run of errors has reached a threshold.
    pub(crate) fn new(pool: Pool, config: Config, now: Instant, wake: Arc<Wake>) -> Self {
        let detector = Detector::new(config, now);
        let mut patrol = Self { pool, detector, beats: BTreeMap::new(), wake, seen: None };
        patrol.follow();
        patrol
    }

    /// When [`sweep`](Self::sweep) is due.
    pub(crate) const fn deadline(&self) -> Instant {
        self.detector.deadline()
    }

    /// Takes endpoints in that joined, and forgets those that left. Returns whether the list is another one.
    pub(crate) fn follow(&mut self) -> bool {
        let snapshot = self.pool.snapshot();
        if self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &snapshot)) {
            return false;
        }
        let mut before = std::mem::take(&mut self.beats);
        for (_, state) in snapshot.iter() {
            let key = Arc::as_ptr(state).addr();
            let beat = before.remove(&key).unwrap_or_else(|| self.begin(key, state));
            self.beats.insert(key, beat);
        }
        for (key, beat) in before {
            if self.detector.standing(&key) == Some(Standing::OnProbation) {
                // Another endpoint may have its name now.
                let name = beat.state.name();
                self.pool.set_share_by(ShareSource::Outliers, name, Share::WHOLE);
            }
            self.detector.leave(&key);
            beat.state.listen(Listener::Outliers, None);
        }
        self.seen = Some(snapshot);
        true
    }

    fn begin(&mut self, key: Key, state: &Arc<EndpointState>) -> Beat {
        let thresholds = self.detector.config().runs();
        let tripwire = Arc::new(Tripwire::new(thresholds, Arc::clone(&self.wake)));
        let sentinel: Box<dyn Sentinel> = Box::new(Arc::clone(&tripwire));
        state.listen(Listener::Outliers, Some(Arc::new(sentinel)));
        self.detector.join(key, &Sample::of(state));
        Beat { state: Arc::clone(state), tripwire }
    }

    /// The interval is over: compares, and acts. Returns what was done.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<(Arc<EndpointState>, Verdict<Key>)> {
        let samples = self.beats.iter().map(|(key, beat)| (*key, Sample::of(&beat.state)));
        let verdicts = self.detector.sweep(now, samples.collect::<Vec<_>>());
        self.act(verdicts)
    }

    /// Looks for runs of errors that have reached a threshold, and acts. Returns what was done.
    pub(crate) fn strike(&mut self, now: Instant) -> Vec<(Arc<EndpointState>, Verdict<Key>)> {
        let mut causes = Vec::new();
        let mut usable = 0;
        for (key, beat) in &self.beats {
            let is_in = !matches!(self.detector.standing(key), Some(Standing::Out { .. }));
            let counts = is_in && Sample::of(&beat.state).usable;
            usable += usize::from(counts);
            let tripped = beat.tripwire.take();
            let runs = beat.state.runs();
            for (kind, detection, errors) in [
                (RunKind::Local, Detection::LocalErrors, runs.local),
                (RunKind::Gateway, Detection::GatewayErrors, runs.gateway),
                (RunKind::Answers, Detection::ErrorAnswers, runs.answers),
            ] {
                // Good work may have come in between.
                if tripped.has(kind) && errors > 0 {
                    causes.push((*key, Cause::Run { detection, errors }, counts));
                }
            }
        }
        let mut verdicts = Vec::new();
        for (key, cause, counts) in causes {
            let verdict = self.detector.strike(now, &key, cause, usable);
            usable -= usize::from(counts && matches!(verdict, Some(Verdict::Eject { .. })));
            verdicts.extend(verdict);
        }
        self.act(verdicts)
    }

    fn act(&self, verdicts: Vec<Verdict<Key>>) -> Vec<(Arc<EndpointState>, Verdict<Key>)> {
        let mut done = Vec::new();
        for verdict in verdicts {
            if let Some(beat) = self.beats.get(verdict.key()) {
                self.carry_out(&beat.state, &verdict);
                done.push((Arc::clone(&beat.state), verdict));
            }
        }
        done
    }

    fn carry_out(&self, state: &Arc<EndpointState>, verdict: &Verdict<Key>) {
        let share = |share| self.pool.set_share_by(ShareSource::Outliers, state.name(), share);
        match verdict {
            Verdict::Eject { cause, .. } => {
                self.pool.set_ejected_of(state, true, &cause.to_string());
                share(Share::WHOLE);
            }
            Verdict::Spare { .. } => {}
            Verdict::Restore { on_probation, .. } => {
                if *on_probation {
                    share(self.detector.config().probe().0);
                }
                self.pool.set_ejected_of(state, false, "its time as an outlier is over");
            }
            Verdict::Prove { .. } => {
                share(Share::WHOLE);
            }
        }
    }

    /// What all endpoints are now, in the order of the list.
    #[cfg(feature = "tokio")]
    pub(crate) fn status(&self) -> Vec<Status> {
        let snapshot = self.pool.snapshot();
        let status = |state: &Arc<EndpointState>| {
            let host = self.detector.host(&Arc::as_ptr(state).addr())?;
            let (standing, times, cause) = (host.standing, host.times, host.cause);
            Some(Status { name: state.name().clone(), standing, times, cause })
        };
        snapshot.iter().filter_map(|(_, state)| status(state)).collect()
    }
}

impl Drop for Patrol {
    /// Nobody would bring back those that are out.
    fn drop(&mut self) {
        for (key, beat) in &self.beats {
            beat.state.listen(Listener::Outliers, None);
            match self.detector.standing(key) {
                Some(Standing::Out { .. }) => {
                    self.pool.set_ejected_of(&beat.state, false, "outliers are no longer watched");
                }
                Some(Standing::OnProbation) => {
                    let name = beat.state.name();
                    self.pool.set_share_by(ShareSource::Outliers, name, Share::WHOLE);
                }
                Some(Standing::In) | None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::Enforce;
    use super::*;
    use crate::algorithm::Algorithm;
    use crate::balancer::PickContext;
    use crate::endpoint::parse_list;
    use crate::pick::Outcome;

    const START: Instant = Instant::from_secs(1_000);

    fn pool(endpoints: usize) -> Pool {
        let list: Vec<_> = (1..=endpoints).map(|n| format!("s{n}=192.0.2.{n}:80")).collect();
        let builder = Pool::builder(Algorithm::RoundRobin.balancer());
        let builder = builder.measure_latency(Duration::from_secs(10));
        builder.endpoints(parse_list(&list.join(",")).expect("a list")).build().expect("unique")
    }

    fn work(pool: &Pool, now: Instant, times: usize, how: impl Fn(&str) -> (Outcome, Duration)) {
        for _ in 0..times {
            let pick = pool.pick(&PickContext::new().with_now(now)).expect("usable");
            let (outcome, took) = how(pick.name().as_str());
            pick.finish_after(outcome, took, now);
        }
    }

    #[test]
    fn a_slow_endpoint_is_found_by_the_times_of_its_work() {
        let pool = pool(6);
        let config = Config::builder().enforce(Detection::Latency, Enforce::Eject).latency(5.0, 2);
        let config = config.build().expect("in range");
        let mut patrol = Patrol::new(pool.clone(), config, START, Arc::new(|| ()));
        for interval in 1..=2 {
            let now = patrol.deadline();
            work(&pool, now, 600, |name| {
                let ms = if name == "s4" { 120 } else { 20 };
                (Outcome::Completed, Duration::from_millis(ms))
            });
            assert_eq!(patrol.sweep(now).len(), usize::from(interval == 2));
        }
        let snapshot = pool.snapshot();
        let ejected = snapshot.iter().filter(|(_, state)| state.is_ejected());
        let ejected: Vec<_> = ejected.map(|(_, state)| state.reason().to_string()).collect();
        assert_eq!(ejected, ["120.0 ms on average, the others 20.0 ms"]);
    }

    #[test]
    fn good_work_wakes_nobody_and_errors_only_at_the_threshold() {
        let pool = pool(3);
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut patrol = Patrol::new(pool.clone(), Config::default(), START, wake);
        let count = || woken.load(Ordering::Relaxed);
        let outcome = |fails: Outcome| {
            move |name: &str| {
                (if name == "s1" { fails } else { Outcome::Completed }, Duration::from_millis(1))
            }
        };
        work(&pool, START, 12, outcome(Outcome::ErrorAnswer));
        assert_eq!(count(), 0, "four in a row");
        // Good work ends the run.
        work(&pool, START, 3, outcome(Outcome::Completed));
        work(&pool, START, 12, outcome(Outcome::ErrorAnswer));
        assert_eq!(count(), 0);
        work(&pool, START, 3, outcome(Outcome::ErrorAnswer));
        assert_eq!(count(), 1);
        assert_eq!(patrol.strike(START).len(), 1);
        assert_eq!(patrol.strike(START).len(), 0);
        // Nobody listens any more, and nobody is out.
        drop(patrol);
        work(&pool, START, 60, outcome(Outcome::ErrorAnswer));
        assert_eq!(count(), 1);
    }
}
