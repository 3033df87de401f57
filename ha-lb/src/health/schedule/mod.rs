//! When to check an endpoint, and what the results make of its health; without I/O.
//!
//! ```text
//!            due                    result, or the time limit
//!  Waiting ───────▶ Check ▶ Running ─────────────────────────▶ Waiting
//!                                    (Changed, if rise or fall is reached)
//! ```

mod pace;

use std::num::NonZeroU32;
use std::time::Duration;

use ha_core::health::{Health, Hysteresis, RiseFall};
use ha_core::id::OpId;
use ha_core::machine::Machine;
use ha_core::time::Instant;

pub use self::pace::{InitState, Pace, PaceBuilder};

use self::pace::SHORTEST;
use super::{Failed, Passed};

/// What errors of the work itself do to the health, besides making the next check come soon
/// (HAProxy's `on-error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnError {
    /// Nothing else (`fastinter`).
    FastInterval,
    /// It counts as a failed check (`fail-check`). The default, as in HAProxy.
    #[default]
    FailCheck,
    /// One more failed check takes the endpoint out (`sudden-death`).
    SuddenDeath,
    /// The endpoint is taken out (`mark-down`).
    MarkDown,
}

/// What can happen to a [`Schedule`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input {
    /// The check with this number ended. A number other than the running check's is ignored.
    Done(OpId, Result<Passed, Failed>),
    /// The work itself brought too many errors; says in words which. An endpoint that is
    /// unhealthy, or in maintenance, is left as it is.
    Observed(OnError, Failed),
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
/// The first check is due at once and decides the health, unless [`Pace`] has an [`InitState`];
/// later ones follow the pace.
#[derive(Debug)]
pub struct Schedule {
    pace: Pace,
    health: Hysteresis,
    /// What was said last of the health.
    told: Health,
    state: State,
    next_op: OpId,
    last: Instant,
    rng: u64,
}

impl Schedule {
    /// A schedule that starts at `now` from the health that is known; `seed` feeds the spread.
    ///
    /// If that is unknown, it starts as the pace's [`InitState`] says; see [`health`](Self::health).
    #[must_use]
    pub fn new(pace: Pace, known: Health, now: Instant, seed: u64) -> Self {
        let health = match known {
            Health::Unknown => initial(&pace, known),
            Health::Healthy | Health::Unhealthy => Hysteresis::new(known, pace.thresholds()),
        };
        let due = Instant::from_nanos(now.as_nanos().saturating_add(1));
        Self {
            pace,
            told: health.health(),
            health,
            state: State::Waiting { due },
            next_op: OpId::FIRST,
            last: now,
            rng: seed,
        }
    }

    /// Puts the first check off by so much; for schedules that start together.
    #[must_use]
    pub fn starting_after(mut self, delay: Duration) -> Self {
        if let State::Waiting { due } = &mut self.state {
            *due += delay;
        }
        self
    }

    /// The health as far as the checks have shown.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health.health()
    }

    /// Whether what is due next is a check, not the end of one: where only so many checks may run at
    /// a time, it can be ticked later.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Says the health, if it is another one than was said last.
    fn tell(&mut self, reason: &str, out: &mut Vec<Output>) {
        let (from, to) = (self.told, self.health.health());
        if from != to {
            self.told = to;
            out.push(Output::Changed { from, to, reason: reason.to_owned() });
        }
    }

    fn settle(&mut self, passed: bool, reason: &str, started: Instant, out: &mut Vec<Output>) {
        let _turned: Option<Health> = self.health.observe(passed);
        self.tell(reason, out);
        let interval = if self.health.is_wavering() {
            self.pace.fast_interval()
        } else if self.health.health() == Health::Unhealthy {
            self.pace.down_interval()
        } else {
            self.pace.interval()
        };
        // From start to start, so that slow checks do not slow the pace; but never at once.
        let due = (started + self.spread(interval)).max(self.last + SHORTEST);
        self.state = State::Waiting { due };
    }

    /// Takes errors of the work itself into account.
    fn observe(&mut self, how: OnError, reason: &str, out: &mut Vec<Output>) {
        if self.state == State::Paused || self.health.health() == Health::Unhealthy {
            return;
        }
        match how {
            OnError::FastInterval => {}
            OnError::FailCheck => {
                let _turned: Option<Health> = self.health.observe(false);
            }
            OnError::SuddenDeath => self.health = nearly_down(self.pace.thresholds()),
            OnError::MarkDown => self.health.force(Health::Unhealthy),
        }
        self.tell(reason, out);
        if let State::Waiting { due } = &mut self.state {
            *due = (*due).min(self.last + self.pace.fast_interval());
        }
    }

    /// `interval`, up to `spread_percent` shorter or longer.
    fn spread(&mut self, interval: Duration) -> Duration {
        if self.pace.spread_percent() == 0 {
            return interval;
        }
        // splitmix64 (Steele, Lea, Flood 2014).
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.rng ^ (self.rng >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let spread = u64::from(self.pace.spread_percent()) * 100;
        // Parts of 10,000, from 100 % − spread to 100 % + spread.
        let share = 10_000 - spread + (z ^ (z >> 31)) % (2 * spread + 1);
        interval * u32::try_from(share).unwrap_or(10_000) / 10_000
    }

    fn fire(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Waiting { due } if due <= self.last => {
                let op = self.next_op;
                self.next_op = op.next();
                let expires = self.last + self.pace.timeout();
                self.state = State::Running { op, started: self.last, expires };
                out.push(Output::Check(op));
            }
            State::Running { op, started, expires } if expires <= self.last => {
                out.push(Output::Cancel(op));
                let reason = format!("no answer within {:?}", self.pace.timeout());
                self.settle(false, &reason, started, out);
            }
            State::Paused | State::Running { .. } | State::Waiting { .. } => {}
        }
    }
}

/// Where the checks begin.
fn initial(pace: &Pace, known: Health) -> Hysteresis {
    let thresholds = pace.thresholds();
    match pace.init_state() {
        InitState::FirstCheck => Hysteresis::new(known, thresholds),
        InitState::FullyUp => Hysteresis::new(Health::Healthy, thresholds),
        InitState::Up => nearly_down(thresholds),
        InitState::Down => one_short(Health::Unhealthy, thresholds.rise, thresholds),
        InitState::FullyDown => Hysteresis::new(Health::Unhealthy, thresholds),
    }
}

/// Healthy, and the next failed check changes that.
fn nearly_down(thresholds: RiseFall) -> Hysteresis {
    one_short(Health::Healthy, thresholds.fall, thresholds)
}

/// One check against `health` short of its threshold.
fn one_short(health: Health, threshold: NonZeroU32, thresholds: RiseFall) -> Hysteresis {
    let mut hysteresis = Hysteresis::new(health, thresholds);
    for _ in 1..threshold.get() {
        let _not_yet: Option<Health> = hysteresis.observe(health != Health::Healthy);
    }
    hysteresis
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
            (_, Input::Observed(how, failed)) => self.observe(how, failed.reason(), out),
            (State::Paused, Input::Resume) => {
                self.health = initial(&self.pace, self.health.health());
                self.tell(&self.pace.init_state().reason(), out);
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
mod tests;
