//! How often to check, for how long to wait, and how many results turn the health.

use std::fmt;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::health::RiseFall;

/// What an endpoint counts as before its first check, and how much it takes to change that
/// (HAProxy's `init-state`).
///
/// It holds at the start, for endpoints that join, and after maintenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum InitState {
    /// What was known stays; if nothing was, the first check decides, whichever way. The default.
    #[default]
    FirstCheck,
    /// Healthy, and it takes `fall` failed checks to change that.
    FullyUp,
    /// Healthy, and one failed check changes that (HAProxy's default).
    Up,
    /// Unhealthy, and one passed check changes that.
    Down,
    /// Unhealthy, and it takes `rise` passed checks to change that.
    FullyDown,
}

impl InitState {
    /// Why an endpoint that was not checked has the health that it has.
    pub(crate) fn reason(self) -> String {
        format!("not checked yet, init-state {self}")
    }
}

impl fmt::Display for InitState {
    /// Writes HAProxy's word for it; `first-check` for what HAProxy does not have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::FirstCheck => "first-check",
            Self::FullyUp => "fully-up",
            Self::Up => "up",
            Self::Down => "down",
            Self::FullyDown => "fully-down",
        })
    }
}

impl std::str::FromStr for InitState {
    type Err = ConfigError;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let all = [Self::FirstCheck, Self::FullyUp, Self::Up, Self::Down, Self::FullyDown];
        let found = all.into_iter().find(|state| state.to_string() == text);
        found.ok_or_else(|| {
            let allowed = "first-check, fully-up, up, down or fully-down";
            ConfigError::new("init_state", text, allowed)
        })
    }
}

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
    pub(super) spread_percent: u8,
    pub(super) init_state: InitState,
    start_spread: Option<Duration>,
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
    init_state: InitState,
    start_spread: Option<Duration>,
}

/// The shortest time between two checks.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);
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

    /// Sets what an endpoint counts as before its first check. Default: what was known, or nothing.
    pub const fn init_state(mut self, state: InitState) -> Self {
        self.init_state = state;
        self
    }

    /// Sets over which time the first checks of endpoints that join together are spread, evenly.
    ///
    /// 0 to 24 h; 0 checks all at once. Default: 0 up to 100 endpoints, and the interval beyond
    /// (HAProxy spreads always, over the shortest interval).
    pub const fn start_spread(mut self, spread: Duration) -> Self {
        self.start_spread = Some(spread);
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
            init_state: self.init_state,
            start_spread: self.start_spread,
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
        if let Some(spread) = self.start_spread.filter(|spread| *spread > LONGEST) {
            problems.add("start_spread", format!("{spread:?}"), "0 to 24 h");
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
            init_state: InitState::FirstCheck,
            start_spread: None,
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
            init_state: InitState::FirstCheck,
            start_spread: None,
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

    /// The interval while the last check spoke against the health.
    #[must_use]
    pub const fn fast_interval(&self) -> Duration {
        self.fast_interval
    }

    /// The interval while the endpoint is unhealthy.
    #[must_use]
    pub const fn down_interval(&self) -> Duration {
        self.down_interval
    }

    /// By how much an interval varies at random, in percent to either side.
    #[must_use]
    pub const fn spread_percent(&self) -> u8 {
        self.spread_percent
    }

    /// What an endpoint counts as before its first check.
    #[must_use]
    pub const fn init_state(&self) -> InitState {
        self.init_state
    }

    /// Over which time the first checks of so many endpoints that join together are spread.
    #[must_use]
    pub fn start_spread(&self, endpoints: usize) -> Duration {
        let default = if endpoints > MANY { self.interval } else { Duration::ZERO };
        self.start_spread.unwrap_or(default)
    }
}

/// Beyond so many endpoints their first checks are spread.
const MANY: usize = 100;
