//! When to check an endpoint, and what the results make of its health; without I/O.
//!
//! ```text
//!            due                    result, or the time limit
//!  Waiting ───────▶ Check ▶ Running ─────────────────────────▶ Waiting
//!                                    (Changed, if rise or fall is reached)
//! ```

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::health::{Health, Hysteresis, RiseFall};
use ha_core::id::OpId;
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::{Failed, Passed};

/// How often to check, for how long to wait, and how many results turn the health.
///
/// The defaults are HAProxy's: every 2 s (`inter`), rise 2, fall 3.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::health::schedule::Pace;
///
/// let pace = Pace::builder().interval(Duration::from_millis(100)).rise(1).fall(2).build()?;
/// assert_eq!(pace.timeout(), Duration::from_millis(100)); // the interval, if not set
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    interval: Duration,
    fast_interval: Duration,
    down_interval: Duration,
    timeout: Duration,
    thresholds: RiseFall,
    spread_percent: u8,
}

/// Makes a [`Pace`]; see there.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct PaceBuilder {
    interval: Duration,
    fast_interval: Option<Duration>,
    down_interval: Option<Duration>,
    timeout: Option<Duration>,
    rise: u32,
    fall: u32,
    spread_percent: u8,
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_hours(24);

impl PaceBuilder {
    /// Sets the time from the start of one check to the start of the next.
    ///
    /// 1 ms to 24 h; default 2 s (HAProxy's `inter`). A failure is seen after about `fall` times
    /// this.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the interval while the last check spoke against the health: make sure soon.
    ///
    /// 1 ms to 24 h; default: the interval (HAProxy's `fastinter`).
    pub const fn fast_interval(mut self, interval: Duration) -> Self {
        self.fast_interval = Some(interval);
        self
    }

    /// Sets the interval while the endpoint is unhealthy.
    ///
    /// 1 ms to 24 h; default: the interval (HAProxy's `downinter`).
    pub const fn down_interval(mut self, interval: Duration) -> Self {
        self.down_interval = Some(interval);
        self
    }

    /// Sets how long a check may take before it counts as failed.
    ///
    /// 1 ms to 24 h; default: the interval (HAProxy's `timeout check`, which defaults so too).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how many passed checks in a row bring an endpoint back; 1 to 1000, default 2.
    pub const fn rise(mut self, checks: u32) -> Self {
        self.rise = checks;
        self
    }

    /// Sets how many failed checks in a row take an endpoint out; 1 to 1000, default 3.
    pub const fn fall(mut self, checks: u32) -> Self {
        self.fall = checks;
        self
    }

    /// Sets by how much an interval varies at random, so that checks do not run in step.
    ///
    /// Percent to either side, 0 to 50; default 0 (HAProxy's `spread-checks`; it advises 2 to 5).
    pub const fn spread_percent(mut self, percent: u8) -> Self {
        self.spread_percent = percent;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Pace, ConfigError> {
        let pace = Pace {
            interval: self.interval,
            fast_interval: self.fast_interval.unwrap_or(self.interval),
            down_interval: self.down_interval.unwrap_or(self.interval),
            timeout: self.timeout.unwrap_or(self.interval),
            thresholds: RiseFall::new(self.rise, self.fall),
            spread_percent: self.spread_percent,
        };
        let mut problems = Problems::new();
        for (path, duration) in [
            ("interval", pace.interval),
            ("fast_interval", pace.fast_interval),
            ("down_interval", pace.down_interval),
            ("timeout", pace.timeout),
        ] {
            if !(SHORTEST..=LONGEST).contains(&duration) {
                problems.add(path, format!("{duration:?}"), "1 ms to 24 h");
            }
        }
        for (path, checks) in [("rise", self.rise), ("fall", self.fall)] {
            if !(1..=1000).contains(&checks) {
                problems.add(path, checks, "1 to 1000");
            }
        }
        if self.spread_percent > 50 {
            problems.add("spread_percent", self.spread_percent, "0 to 50");
        }
        problems.into_result(pace)
    }
}

impl Default for Pace {
    fn default() -> Self {
        let interval = Duration::from_secs(2);
        Self {
            interval,
            fast_interval: interval,
            down_interval: interval,
            timeout: interval,
            thresholds: RiseFall::default(),
            spread_percent: 0,
        }
    }
}

impl Pace {
    /// Starts with HAProxy's defaults.
    pub const fn builder() -> PaceBuilder {
        PaceBuilder {
            interval: Duration::from_secs(2),
            fast_interval: None,
            down_interval: None,
            timeout: None,
            rise: 2,
            fall: 3,
            spread_percent: 0,
        }
    }

    /// The time from the start of one check to the start of the next.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How long a check may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many checks in a row turn the health.
    #[must_use]
    pub const fn thresholds(&self) -> RiseFall {
        self.thresholds
    }
}

/// What can happen to a [`Schedule`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// The check with this number ended. A number other than the running check's is ignored.
    Done(OpId, Result<Passed, Failed>),
    /// Stop checking: the endpoint is in maintenance.
    Pause,
    /// Check again, from now on.
    Resume,
}

/// What a [`Schedule`] wants done, and says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores one loses an action")]
pub enum Output {
    /// Give the running check up.
    Cancel(OpId),
    /// The health changed.
    Changed {
        /// Before.
        from: Health,
        /// After.
        to: Health,
        /// What the last check saw.
        reason: String,
    },
    /// Make a check.
    Check(OpId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Paused,
    Running { op: OpId, started: Instant, expires: Instant },
    Waiting { due: Instant },
}

/// The schedule of one endpoint's checks, with its hysteresis.
///
/// The first check is due at once and decides the health (HAProxy's `init-state`); later ones
/// follow [`Pace`].
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    health: Hysteresis,
    state: State,
    next_op: OpId,
    last: Instant,
    rng: u64,
}

impl Schedule {
    /// A schedule that starts at `now` from the health that is known; `seed` feeds the spread.
    #[must_use]
    pub const fn new(pace: Pace, known: Health, now: Instant, seed: u64) -> Self {
        let health = Hysteresis::new(known, pace.thresholds);
        let due = Instant::from_nanos(now.as_nanos().saturating_add(1));
        Self {
            pace,
            health,
            state: State::Waiting { due },
            next_op: OpId::FIRST,
            last: now,
            rng: seed,
        }
    }

    /// The health as far as the checks have shown.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health.health()
    }

    fn settle(&mut self, passed: bool, reason: &str, started: Instant, out: &mut Vec<Output>) {
        let from = self.health.health();
        if let Some(to) = self.health.observe(passed) {
            out.push(Output::Changed { from, to, reason: reason.to_owned() });
        }
        let interval = if self.health.is_wavering() {
            self.pace.fast_interval
        } else if self.health.health() == Health::Unhealthy {
            self.pace.down_interval
        } else {
            self.pace.interval
        };
        // From start to start, so that slow checks do not slow the pace; but never at once.
        let due = (started + self.spread(interval)).max(self.last + SHORTEST);
        self.state = State::Waiting { due };
    }

    /// `interval`, up to `spread_percent` shorter or longer.
    fn spread(&mut self, interval: Duration) -> Duration {
        if self.pace.spread_percent == 0 {
            return interval;
        }
        // splitmix64 (Steele, Lea, Flood 2014).
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.rng ^ (self.rng >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let spread = u64::from(self.pace.spread_percent) * 100;
        // Parts of 10,000, from 100 % − spread to 100 % + spread.
        let share = 10_000 - spread + (z ^ (z >> 31)) % (2 * spread + 1);
        interval * u32::try_from(share).unwrap_or(10_000) / 10_000
    }

    fn fire(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Waiting { due } if due <= self.last => {
                let op = self.next_op;
                self.next_op = op.next();
                let expires = self.last + self.pace.timeout;
                self.state = State::Running { op, started: self.last, expires };
                out.push(Output::Check(op));
            }
            State::Running { op, started, expires } if expires <= self.last => {
                out.push(Output::Cancel(op));
                let reason = format!("no answer within {:?}", self.pace.timeout);
                self.settle(false, &reason, started, out);
            }
            State::Paused | State::Running { .. } | State::Waiting { .. } => {}
        }
    }
}

impl Machine for Schedule {
    type Input = Input;
    type Output = Output;
    /// At most a time-out (`Cancel`, `Changed`) and the change of one result.
    const MAX_OUTPUTS: usize = 3;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match (self.state, input) {
            (State::Running { op, started, .. }, Input::Done(done, result)) if op == done => {
                match result {
                    Ok(passed) => self.settle(true, passed.reason(), started, out),
                    Err(failed) => self.settle(false, failed.reason(), started, out),
                }
            }
            (State::Running { op, .. }, Input::Pause) => {
                out.push(Output::Cancel(op));
                self.state = State::Paused;
            }
            (State::Waiting { .. }, Input::Pause) => self.state = State::Paused,
            (State::Paused, Input::Resume) => {
                self.state = State::Waiting { due: self.last + SHORTEST };
            }
            // A result that came too late, or nothing to change.
            (_, Input::Done(..))
            | (State::Paused, Input::Pause)
            | (State::Running { .. } | State::Waiting { .. }, Input::Resume) => {}
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.last = self.last.max(now);
        self.fire(out);
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Paused => None,
            State::Running { expires, .. } => Some(expires),
            State::Waiting { due } => Some(due),
        }
    }
}

#[cfg(test)]
mod tests {
    use ha_core::laws;
    use proptest::prelude::*;

    use super::*;

    const START: Instant = Instant::from_secs(1_000);

    fn pace() -> Pace {
        Pace::builder()
            .interval(Duration::from_millis(200))
            .fast_interval(Duration::from_millis(50))
            .down_interval(Duration::from_millis(400))
            .timeout(Duration::from_millis(100))
            .build()
            .expect("in range")
    }

    /// Runs checks that end at once with the results; returns how long after the one before each
    /// was started, and the changes.
    fn run(results: &[bool]) -> (Vec<u64>, Vec<Health>) {
        let mut schedule = Schedule::new(pace(), Health::Unknown, START, 1);
        let (mut out, mut pauses, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = START;
        for passed in results {
            let now = schedule.deadline().expect("a check is due");
            schedule.tick(now, &mut out);
            let Some(Output::Check(op)) = out.pop() else { panic!("no check at {now}") };
            pauses.push(u64::try_from(now.since(last).as_millis()).expect("small"));
            last = now;
            let result =
                if *passed { Ok(Passed::because("ok")) } else { Err(Failed::because("refused")) };
            schedule.handle(now, Input::Done(op, result), &mut out);
            for output in out.drain(..) {
                if let Output::Changed { to, .. } = output {
                    changes.push(to);
                }
            }
        }
        (pauses, changes)
    }

    #[test]
    fn the_pace_follows_the_health() {
        let results = [true, true, false, true, false, false, false, false, true, true, true];
        let (pauses, changes) = run(&results);
        assert_eq!(pauses, [0, 200, 200, 50, 200, 50, 50, 400, 400, 50, 200]);
        assert_eq!(changes, [Health::Healthy, Health::Unhealthy, Health::Healthy]);
    }

    #[test]
    fn a_check_that_hangs_is_cancelled_and_counts_as_failed() {
        let mut schedule = Schedule::new(pace(), Health::Unknown, START, 1);
        let mut out = Vec::new();
        schedule.tick(START + Duration::from_millis(1), &mut out);
        assert_eq!(out, [Output::Check(OpId::FIRST)]);
        out.clear();
        schedule.tick(START + Duration::from_millis(101), &mut out);
        let reason = "no answer within 100ms".to_owned();
        let changed = Output::Changed { from: Health::Unknown, to: Health::Unhealthy, reason };
        assert_eq!(out, [Output::Cancel(OpId::FIRST), changed]);
        out.clear();
        // Its result comes too late to count.
        let late = Input::Done(OpId::FIRST, Ok(Passed::because("late")));
        schedule.handle(START + Duration::from_millis(102), late, &mut out);
        assert_eq!((out.as_slice(), schedule.health()), (&[][..], Health::Unhealthy));
    }

    #[test]
    fn every_wrong_setting_is_named() {
        let error = Pace::builder().interval(Duration::ZERO).rise(0).fall(1001).spread_percent(51);
        let error = error.build().expect_err("all wrong").to_string();
        for path in ["interval: 0ns", "timeout: 0ns", "rise: 0", "fall: 1001", "spread_percent: 51"]
        {
            assert!(error.contains(path), "{path} is missing in {error}");
        }
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            4 => (1_u64..20, any::<bool>()).prop_map(|(op, passed)| {
                let result =
                    if passed { Ok(Passed::because("")) } else { Err(Failed::because("")) };
                Input::Done(OpId::new(op), result)
            }),
            1 => Just(Input::Pause),
            1 => Just(Input::Resume),
        ]
    }

    proptest! {
        #[test]
        fn the_laws_of_machines_hold(
            steps in prop::collection::vec((0_u64..500, prop::option::of(input())), 0..60),
            spread in 0_u8..=50, seed: u64,
        ) {
            let mut pace = pace();
            pace.spread_percent = spread;
            let steps: Vec<_> = steps
                .into_iter()
                .map(|(wait, input)| (Duration::from_millis(wait), input))
                .collect();
            let new = || Schedule::new(pace.clone(), Health::Unknown, START, seed);
            prop_assert_eq!(laws::check(new, &steps), Ok(()));
        }
    }
}
