//! A length of calendar time: Pacemaker's `duration`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::calendar::{self, Date};
use super::moment::{DAY, Moment};

/// A length of calendar time: Pacemaker's `duration`.
///
/// Years and months are added first, and keep the day of the month where the month has it, else
/// its last day (January 31 and a month is February 28 or 29); then the other parts are added as
/// seconds. (Pacemaker 2.1.5 keeps the day of the *year* where years are added, so its ends can be
/// a day later.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Period {
    /// Years. Default of all: 0; negative ones go back.
    #[serde(skip_serializing_if = "is_zero")]
    pub years: i32,
    /// Months.
    #[serde(skip_serializing_if = "is_zero")]
    pub months: i32,
    /// Weeks, of 7 days.
    #[serde(skip_serializing_if = "is_zero")]
    pub weeks: i32,
    /// Days, of 24 hours.
    #[serde(skip_serializing_if = "is_zero")]
    pub days: i32,
    /// Hours.
    #[serde(skip_serializing_if = "is_zero")]
    pub hours: i32,
    /// Minutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub minutes: i32,
    /// Seconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub seconds: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_zero(number: &i32) -> bool {
    *number == 0
}

impl Period {
    /// The moment this long after `start`; at most the end of the year 9999.
    #[must_use]
    pub fn after(&self, start: Moment) -> Moment {
        let from = calendar::day(start.seconds().div_euclid(DAY));
        let month = from.month - 1 + i64::from(self.months);
        let year = from.year + i64::from(self.years) + month.div_euclid(12);
        let month = month.rem_euclid(12) + 1;
        let day = from.day.min(calendar::month_length(year, month));
        let days = calendar::days(Date { year, month, day })
            + i64::from(self.weeks) * 7
            + i64::from(self.days);
        let clock = start.seconds().rem_euclid(DAY)
            + i64::from(self.hours) * 3600
            + i64::from(self.minutes) * 60
            + i64::from(self.seconds);
        Moment::from_seconds(days * DAY + clock)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.years, "years"),
            (self.months, "months"),
            (self.weeks, "weeks"),
            (self.days, "days"),
            (self.hours, "hours"),
            (self.minutes, "minutes"),
            (self.seconds, "seconds"),
        ];
        let mut between = "";
        for (number, unit) in parts.into_iter().filter(|(number, _)| *number != 0) {
            write!(f, "{between}{number} {unit}")?;
            between = " ";
        }
        if between.is_empty() { f.write_str("0 seconds") } else { Ok(()) }
    }
}
