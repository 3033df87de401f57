//! Deadlines that are handed on from one service to the next.
//!
//! # Source
//!
//! gRPC over HTTP/2, "Requests", `Timeout` (`grpc-timeout`). Time spans are handed on, not points
//! in time, as clocks differ; each hop counts from when it read the request, so the way of the
//! request is not counted: take it off with [`Deadline::shrink`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ha_core::time::Instant;

/// When a piece of work must be done.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::deadline::{Deadline, GrpcTimeout};
///
/// // A request comes in with `grpc-timeout: 2S`.
/// let now = Instant::from_secs(100);
/// let deadline = Deadline::after(now, "2S".parse::<GrpcTimeout>()?.duration());
/// // It is worked on for 500 ms; the next server gets what is left, less 100 ms for the way.
/// let now = now + Duration::from_millis(500);
/// let header = deadline.shrink(Duration::from_millis(100)).grpc_timeout(now).expect("in time");
/// assert_eq!(header.to_string(), "1400000u");
/// # Ok::<(), ha_lb::resilience::deadline::TimeoutError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// Never: so late that it is not handed on.
    pub const NEVER: Self = Self(Instant::MAX);

    /// A deadline at a point in time.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// A deadline `timeout` after `now`; [`NEVER`](Self::NEVER) if that is beyond the end of time.
    #[must_use]
    pub fn after(now: Instant, timeout: Duration) -> Self {
        Self(now + timeout)
    }

    /// The point in time.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// How long is left; zero once it is over.
    #[must_use]
    pub const fn remaining(self, now: Instant) -> Duration {
        self.0.since(now)
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_over(self, now: Instant) -> bool {
        self.remaining(now).is_zero()
    }

    /// The earlier of the two: what a caller gave and what the server allows.
    #[must_use]
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }

    /// A deadline that leaves `margin` for what comes after; never stays never.
    #[must_use]
    pub fn shrink(self, margin: Duration) -> Self {
        if self == Self::NEVER { self } else { Self(self.0 - margin) }
    }

    /// What to send as `grpc-timeout`; `None` if there is no deadline, or it is over: do not send
    /// the request then.
    #[must_use]
    pub fn grpc_timeout(self, now: Instant) -> Option<GrpcTimeout> {
        let remaining = self.remaining(now);
        (self != Self::NEVER && !remaining.is_zero()).then(|| GrpcTimeout::new(remaining))
    }

    /// What to send in headers that take whole milliseconds, such as Envoy's
    /// `x-envoy-expected-rq-timeout-ms`; rounded down. `None` if there is no deadline, or less
    /// than a millisecond is left: 0 would mean no limit to some.
    #[must_use]
    pub fn millis(self, now: Instant) -> Option<u64> {
        let millis = u64::try_from(self.remaining(now).as_millis()).ok()?;
        (self != Self::NEVER && millis > 0).then_some(millis)
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER { f.write_str("never") } else { self.0.fmt(f) }
    }
}

/// Reads a header in whole milliseconds: digits only.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::resilience::deadline::parse_millis;
///
/// assert_eq!(parse_millis("1500"), Ok(Duration::from_millis(1500)));
/// assert!(parse_millis("1.5").is_err());
/// ```
///
/// # Errors
///
/// When it is anything else, or has more than 18 digits.
pub fn parse_millis(text: &str) -> Result<Duration, TimeoutError> {
    digits(text, 18).map(Duration::from_millis).ok_or_else(|| TimeoutError::Millis(cut(text)))
}

/// A `grpc-timeout`: at most eight digits and a unit.
///
/// Written in the finest unit in which it fits, rounded down: at most a ten-millionth is lost, and
/// the next server never has more time than there is. Ordered by duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcTimeout(Duration);

/// The units with their nanoseconds, finest first.
const UNITS: [(char, u64); 6] = [
    ('n', 1),
    ('u', 1_000),
    ('m', 1_000_000),
    ('S', 1_000_000_000),
    ('M', 60_000_000_000),
    ('H', 3_600_000_000_000),
];

const MOST: u128 = 99_999_999;

impl GrpcTimeout {
    /// The longest: 99,999,999 hours.
    pub const MAX: Self = Self(Duration::from_hours(99_999_999));

    /// A timeout as near to `duration` as can be written, and not longer.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        let nanos = duration.as_nanos();
        let fits = UNITS.iter().find(|(_, unit)| nanos / u128::from(*unit) <= MOST);
        fits.map_or(Self::MAX, |(_, unit)| {
            let (amount, unit) = (nanos / u128::from(*unit), u128::from(*unit));
            Self(Duration::from_nanos_u128(amount * unit))
        })
    }

    /// How long it is.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for GrpcTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let mut units = UNITS.iter().map(|(name, unit)| (name, nanos / u128::from(*unit)));
        let fits = units.find(|(_, amount)| *amount <= MOST);
        // Always one: no timeout is longer than the longest.
        fits.map_or(Ok(()), |(name, amount)| write!(f, "{amount}{name}"))
    }
}

impl FromStr for GrpcTimeout {
    type Err = TimeoutError;

    /// Reads one to eight digits and a unit; 0 is read, too, since some send it when time is over.
    fn from_str(text: &str) -> Result<Self, TimeoutError> {
        let wrong = || TimeoutError::Grpc(cut(text));
        let unit = text.chars().next_back().ok_or_else(wrong)?;
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let amount = text.strip_suffix(unit).and_then(|number| digits(number, 8));
        let amount = u128::from(amount.ok_or_else(wrong)?);
        Ok(Self(Duration::from_nanos_u128(amount * u128::from(*nanos))))
    }
}

/// A number of one to `most` digits.
fn digits(text: &str, most: usize) -> Option<u64> {
    let only_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (only_digits && text.len() <= most).then(|| text.parse().ok()).flatten()
}

/// The start of what a peer sent, for an error.
fn cut(text: &str) -> String {
    text.chars().take(24).collect()
}

/// A header is not a timeout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeoutError {
    /// Not a `grpc-timeout`.
    #[error("cannot read grpc-timeout {0:?}: it is one to eight digits and one of H M S m u n")]
    Grpc(String),
    /// Not a number of milliseconds.
    #[error("cannot read timeout {0:?}: it is a whole number of milliseconds")]
    Millis(String),
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_and_never_longer(duration: Duration) {
            let timeout = GrpcTimeout::new(duration);
            prop_assert!(timeout.duration() <= duration);
            let lost = duration.saturating_sub(timeout.duration());
            let longest = GrpcTimeout::MAX.duration();
            prop_assert!(lost <= duration / 1_000_000 || duration > longest, "{lost:?}");
            let text = timeout.to_string();
            prop_assert!(text.len() <= 9);
            prop_assert_eq!(text.parse(), Ok(timeout));
        }

        #[test]
        fn any_text_is_a_timeout_or_an_error(text: String) {
            if let Ok(timeout) = text.parse::<GrpcTimeout>() {
                prop_assert!(timeout <= GrpcTimeout::MAX);
            }
            let _answer = parse_millis(&text);
        }

        #[test]
        fn every_timeout_of_the_specification_is_read(
            amount in 0u64..100_000_000, unit in 0usize..6,
        ) {
            let (name, nanos) = UNITS[unit];
            let timeout: GrpcTimeout = format!("{amount}{name}").parse().expect("as specified");
            let expected = Duration::from_nanos_u128(u128::from(amount) * u128::from(nanos));
            prop_assert_eq!(timeout.duration(), expected);
        }

        #[test]
        fn no_deadline_panics(at: u64, now: u64, span: Duration) {
            let (now, deadline) = (Instant::from_nanos(now), Deadline::at(Instant::from_nanos(at)));
            prop_assert!(deadline.shrink(span) <= deadline);
            prop_assert_eq!(deadline.is_over(now), deadline.remaining(now).is_zero());
            prop_assert!(Deadline::after(now, span).instant() >= now);
            let handed_on = deadline.grpc_timeout(now).map(GrpcTimeout::duration);
            prop_assert!(handed_on.is_none_or(|time| time <= deadline.remaining(now)));
        }
    }

    #[test]
    fn texts_that_are_not_timeouts_are_refused() {
        for text in ["", "S", "1", "1s", "123456789n", "-1S", "+1S", " 1S", "1 S", "1.5S", "1µ"] {
            let error = text.parse::<GrpcTimeout>().expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        for text in ["", "-1", "+1", "1e3", "1234567890123456789", "0x10"] {
            assert!(parse_millis(text).is_err(), "{text}");
        }
        assert_eq!(parse_millis("0"), Ok(Duration::ZERO));
        assert_eq!("0n".parse(), Ok(GrpcTimeout::new(Duration::ZERO)));
    }

    #[test]
    fn the_finest_unit_that_fits_is_used() {
        let text = |duration| GrpcTimeout::new(duration).to_string();
        assert_eq!(text(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(text(Duration::from_nanos(100_000_001)), "100000u");
        assert_eq!(text(Duration::from_secs(100)), "100000m");
        assert_eq!(text(Duration::from_hours(30_000)), "1800000M");
        assert_eq!(text(Duration::MAX), "99999999H");
    }

    #[test]
    fn nothing_is_handed_on_without_a_deadline_or_after_it() {
        let now = Instant::from_secs(10);
        assert_eq!(Deadline::NEVER.grpc_timeout(now), None);
        assert_eq!(Deadline::NEVER.shrink(Duration::from_secs(1)), Deadline::NEVER);
        assert_eq!(Deadline::NEVER.millis(now), None);
        assert_eq!(Deadline::at(now).grpc_timeout(now), None);
        let soon = Deadline::after(now, Duration::from_micros(999));
        assert_eq!((soon.millis(now), soon.is_over(now)), (None, false));
        assert_eq!(Deadline::after(now, Duration::from_micros(1_999)).millis(now), Some(1));
        assert_eq!(Deadline::at(now).earlier(Deadline::NEVER), Deadline::at(now));
        assert_eq!(Deadline::at(now).to_string(), "10.000000s");
    }
}
