//! Time that tests, simulators and drivers can all provide.
//!
//! [`Instant`] never goes back and goes on while the machine sleeps; leases and deadlines use it.
//! [`WallTime`] is calendar time, for logs and date rules only. They do not mix.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on a clock that only goes forward, in nanoseconds since the clock's origin.
///
/// Origin: for [`BootClock`] the boot of the kernel, so that the timelines of two processes on one
/// machine can be laid side by side; for simulated clocks the start of the simulation. Arithmetic
/// saturates: no configuration can make it panic or wrap.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
///
/// let start = Instant::from_millis(1_500);
/// let later = start + Duration::from_micros(250);
/// assert_eq!(later.since(start), Duration::from_micros(250));
/// assert_eq!(start.since(later), Duration::ZERO);
/// assert_eq!(later.to_string(), "1.500250s");
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// The end of time, 584 years after the origin.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The point `secs` seconds after the origin.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the origin, for display and plots.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.since(Self::ZERO).as_secs_f64()
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration's nanoseconds, at most 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Calendar time in UTC, in microseconds since 1970; may jump, so nothing is ever timed by it.
///
/// ```
/// use ha_core::time::WallTime;
///
/// assert_eq!(WallTime::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
/// assert_eq!(WallTime::from_micros(1_709_210_096_123_456).to_string(), "2024-02-29T12:34:56.123456Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(i64);

impl WallTime {
    /// The time `micros` microseconds after the start of 1970, UTC; negative before it.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start of 1970, UTC.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Seconds since the start of 1970, UTC, as logs write them.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact to a microsecond until the year 2255")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl fmt::Display for WallTime {
    /// Writes RFC 3339 with microseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, micros) = (self.0.div_euclid(86_400_000_000), self.0.rem_euclid(86_400_000_000));
        let (year, month, day) = civil(days);
        let seconds = micros / 1_000_000;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            micros % 1_000_000
        )
    }
}

/// Year, month and day of a day counted from 1970-01-01 (Hinnant, "chrono-compatible low-level
/// date algorithms", `civil_from_days`).
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Where the time comes from.
///
/// Drivers hold one and read it once an event. [`BootClock`] is the real one, [`ManualClock`] the
/// one for tests.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now, for deadlines and leases.
    fn now(&self) -> Instant;
    /// The calendar time now, for logs.
    fn wall(&self) -> WallTime;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }
    fn wall(&self) -> WallTime {
        (**self).wall()
    }
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> Instant {
        (**self).now()
    }
    fn wall(&self) -> WallTime {
        (**self).wall()
    }
}

/// The kernel's `CLOCK_BOOTTIME`: monotonic, unaffected by calendar changes, and it goes on while
/// the machine is suspended, because leases must go on ageing.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct BootClock;

impl BootClock {
    /// The boot-time clock.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Clock for BootClock {
    fn now(&self) -> Instant {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        Instant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    fn wall(&self) -> WallTime {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        WallTime(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000))
    }
}

/// A clock that a test moves by hand; its calendar starts at 1970.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::{Clock, Instant, ManualClock};
///
/// let clock = ManualClock::default();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(clock.now(), Instant::from_secs(3));
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.0.fetch_add(nanos(duration), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        Instant(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        WallTime(i64::try_from(self.0.load(Ordering::SeqCst) / 1_000).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_boot_clock_goes_forward_and_agrees_with_the_kernels_uptime() {
        let before = BootClock::new().now();
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux has /proc/uptime");
        let uptime: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).expect("a number");
        let after = BootClock::new().now();
        assert!(before <= after);
        assert!(before.as_secs_f64() <= uptime + 0.02 && uptime <= after.as_secs_f64() + 0.02);
    }

    proptest! {
        #[test]
        fn instants_never_panic_and_stay_ordered(a: u64, b: u64, d: Duration) {
            let (a, b) = (Instant(a), Instant(b));
            prop_assert!(a + d >= a);
            prop_assert!(a - d <= a);
            prop_assert_eq!(b + a.since(b), a.max(b));
        }

        #[test]
        fn calendar_days_follow_each_other(days in -1_000_000_i64..1_000_000) {
            let (year, month, day) = civil(days);
            let next = civil(days + 1);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            let follows = next == (year, month, day + 1)
                || next == (year, month + 1, 1) && day >= 28
                || next == (year + 1, 1, 1) && (month, day) == (12, 31);
            prop_assert!(follows, "{:?} then {:?}", (year, month, day), next);
        }
    }
}
