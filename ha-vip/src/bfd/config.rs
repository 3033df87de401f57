//! What a session is told by its operator.

use std::num::NonZeroU8;
use std::ops::RangeInclusive;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::auth::Auth;

/// How often one end sends at most, and takes packets at most.
///
/// What is really sent follows from both ends: the slower of what the sender would like and the
/// receiver can take (RFC 5880, section 6.8.2), less a jitter of up to a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Intervals {
    pub(super) min_tx_us: u32,
    pub(super) min_rx_us: u32,
}

impl Intervals {
    /// 10 ms in both directions: keepalived's `min_tx` and `min_rx`.
    pub const DEFAULT: Self = Self { min_tx_us: 10_000, min_rx_us: 10_000 };
    /// The shortest interval: 1 ms.
    pub const MIN: Duration = Duration::from_millis(1);
    /// The longest: 1000 s.
    pub const MAX: Duration = Duration::from_secs(1_000);

    /// How often to send (`min_tx`) and to take packets (`min_rx`): each 1 ms to 1000 s, in whole
    /// microseconds.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with what is wrong.
    pub fn new(min_tx: Duration, min_rx: Duration) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        let range = Self::MIN..=Self::MAX;
        let intervals = Self {
            min_tx_us: micros("min_tx", min_tx, range.clone(), &mut problems),
            min_rx_us: micros("min_rx", min_rx, range, &mut problems),
        };
        problems.into_result(intervals)
    }

    /// How often this end would like to send.
    #[must_use]
    pub const fn min_tx(self) -> Duration {
        Duration::from_micros(self.min_tx_us as u64)
    }

    /// How often this end can take packets.
    #[must_use]
    pub const fn min_rx(self) -> Duration {
        Duration::from_micros(self.min_rx_us as u64)
    }

    /// What is done while packets say `self`, and the other end may not know it yet (RFC 5880,
    /// section 6.8.3): what is slower, or detects sooner, waits for it.
    pub(super) fn while_unknown(self, used: Option<Self>) -> Self {
        used.map_or(self, |used| Self {
            min_tx_us: self.min_tx_us.min(used.min_tx_us),
            min_rx_us: self.min_rx_us.max(used.min_rx_us),
        })
    }
}

impl Default for Intervals {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A duration in whole microseconds within `range`; else a problem and the nearest end.
fn micros(
    path: &str,
    duration: Duration,
    range: RangeInclusive<Duration>,
    problems: &mut Problems,
) -> u32 {
    let whole = duration.subsec_nanos().is_multiple_of(1_000);
    if !range.contains(&duration) || !whole {
        let value = format!("{duration:?}");
        let (min, max) = (range.start().as_millis(), range.end().as_millis());
        problems.add(path, value, format!("{min} ms to {max} ms in whole microseconds"));
    }
    u32::try_from(duration.clamp(*range.start(), *range.end()).as_micros()).unwrap_or(u32::MAX)
}

/// Who speaks first (RFC 5880, section 6.1); at least one end must be active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "the two roles of RFC 5880")]
pub enum Role {
    /// Sends from the start.
    #[default]
    Active,
    /// Sends nothing until it has heard the other end.
    Passive,
}

/// The configuration of a [`Session`](super::Session), complete and checked.
///
/// ```
/// use std::time::Duration;
/// use ha_vip::bfd::SessionConfig;
///
/// let config = SessionConfig::builder()
///     .min_tx(Duration::from_micros(3_300))
///     .min_rx(Duration::from_micros(3_300))
///     .multiplier(3) // a silence of 9.9 ms is a failure
///     .build()?;
/// assert_eq!(config.intervals().min_tx().as_micros(), 3_300);
///
/// let wrong = SessionConfig::builder().multiplier(0).min_tx(Duration::ZERO).build();
/// assert_eq!(wrong.unwrap_err().problems().len(), 2);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    pub(super) intervals: Intervals,
    pub(super) idle_tx_us: u32,
    pub(super) multiplier: NonZeroU8,
    pub(super) role: Role,
    pub(super) auth: Option<Auth>,
}

impl SessionConfig {
    /// Starts a configuration: 10 ms both ways, multiplier 5, active, without authentication.
    pub const fn builder() -> SessionBuilder {
        SessionBuilder {
            min_tx: Intervals::DEFAULT.min_tx(),
            min_rx: Intervals::DEFAULT.min_rx(),
            idle_tx: Duration::from_secs(1),
            multiplier: 5,
            role: Role::Active,
            auth: None,
        }
    }

    /// How often this end sends and takes packets at most while the session is up.
    #[must_use]
    pub const fn intervals(&self) -> Intervals {
        self.intervals
    }

    /// How often this end sends at most while the session is not up.
    #[must_use]
    pub const fn idle_tx(&self) -> Duration {
        Duration::from_micros(self.idle_tx_us as u64)
    }

    /// After how many missing packets of this end the other one takes the session down.
    #[must_use]
    pub const fn multiplier(&self) -> u8 {
        self.multiplier.get()
    }

    /// Who speaks first.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The authentication, if there is one.
    #[must_use]
    pub const fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }
}

/// Makes a [`SessionConfig`].
#[derive(Debug, Clone)]
#[must_use]
pub struct SessionBuilder {
    min_tx: Duration,
    min_rx: Duration,
    idle_tx: Duration,
    multiplier: u8,
    role: Role,
    auth: Option<Auth>,
}

impl SessionBuilder {
    /// Sets how often this end would like to send while the session is up: 1 ms to 1000 s.
    /// Default 10 ms (keepalived's `min_tx`).
    ///
    /// The other end detects our failure after its own count of the slower of this and its
    /// `min_rx`.
    pub const fn min_tx(mut self, interval: Duration) -> Self {
        self.min_tx = interval;
        self
    }

    /// Sets how often this end can take packets: 1 ms to 1000 s. Default 10 ms (keepalived's
    /// `min_rx`).
    pub const fn min_rx(mut self, interval: Duration) -> Self {
        self.min_rx = interval;
        self
    }

    /// Sets how often this end sends while the session is not up: 1 s to 1000 s. Default 1 s
    /// (RFC 5880, section 6.8.3; keepalived's `idle_tx`).
    pub const fn idle_tx(mut self, interval: Duration) -> Self {
        self.idle_tx = interval;
        self
    }

    /// Sets after how many missing packets of ours the other end takes the session down: 1 to 255.
    /// Default 5 (keepalived's `multiplier`).
    ///
    /// With 1 a single lost packet is a failure. The time of all of them together must exceed the
    /// longest stall of this program.
    pub const fn multiplier(mut self, multiplier: u8) -> Self {
        self.multiplier = multiplier;
        self
    }

    /// Sets who speaks first. Default [`Role::Active`] (keepalived's and bird's `passive` is the
    /// other one).
    pub const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets the authentication. Default none. Both ends must have the same.
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: setter, value, what is allowed.
    pub fn build(self) -> Result<SessionConfig, ConfigError> {
        let mut problems = Problems::new();
        let intervals = Intervals::new(self.min_tx, self.min_rx).unwrap_or_else(|error| {
            problems.absorb(error);
            Intervals::DEFAULT
        });
        let idle = Duration::from_secs(1)..=Intervals::MAX;
        let idle_tx_us = micros("idle_tx", self.idle_tx, idle, &mut problems);
        let multiplier = NonZeroU8::new(self.multiplier);
        if multiplier.is_none() {
            problems.add("multiplier", self.multiplier, "1 to 255");
        }
        if let Some(auth) = &self.auth {
            auth.check(&mut problems);
        }
        let config = SessionConfig {
            intervals,
            idle_tx_us,
            multiplier: multiplier.unwrap_or(NonZeroU8::MIN),
            role: self.role,
            auth: self.auth,
        };
        problems.into_result(config)
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::{Key, Method};
    use super::*;

    #[test]
    fn every_problem_of_a_session_is_told_at_once() {
        let auth = Auth::new(Method::KeyedMd5, Key::new(1, *b"")).also_accept(Key::new(1, *b"b"));
        let error = SessionConfig::builder()
            .min_tx(Duration::from_micros(999))
            .min_rx(Duration::from_secs(1_001))
            .idle_tx(Duration::from_millis(999))
            .multiplier(0)
            .auth(auth)
            .build()
            .expect_err("all wrong");
        let paths: Vec<&str> = error.problems().iter().map(|p| p.path.as_str()).collect();
        let expected = ["min_tx", "min_rx", "idle_tx", "multiplier", "auth.key[1]", "auth.key[1]"];
        assert_eq!(paths, expected);
        assert!(error.to_string().contains("min_tx: 999µs is not allowed: 1 ms to 1000000 ms"));
    }

    #[test]
    fn the_defaults_are_keepaliveds() {
        let config = SessionConfig::builder().build().expect("the defaults");
        assert_eq!(config.intervals().min_tx(), Duration::from_millis(10));
        assert_eq!(config.intervals().min_rx(), Duration::from_millis(10));
        assert_eq!((config.multiplier(), config.idle_tx()), (5, Duration::from_secs(1)));
    }

    #[test]
    fn a_key_is_shown_without_its_secret() {
        let auth = Auth::new(Method::KeyedSha1, Key::new(3, *b"do not show"));
        assert!(!format!("{auth:?}").contains("show"), "{auth:?}");
        assert!(!format!("{auth:?}").contains("[100, "), "{auth:?}");
    }
}
