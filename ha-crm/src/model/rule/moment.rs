//! A point of calendar time as rules write it: ISO 8601.

use std::fmt;
use std::str::FromStr;

use ha_core::time::WallTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::calendar::{self, Date};

pub(super) const DAY: i64 = 86_400;

/// A second of calendar time in UTC, written as ISO 8601; the years 1 to 9999.
///
/// Read are calendar dates (`2005-06-01`, `20050601`), ordinal dates (`2005-152`, `2005152`) and
/// week dates (`2005-W22-3`, `2005W223`), alone (midnight) or followed by `T` or a space and a time
/// (`12`, `12:00`, `12:00:00`, `1200`, `120000`; parts of a second are dropped; `24:00:00` is the
/// next midnight), and that by `Z` or an offset (`+02:00`, `+0200`, `+02`), with or without a space
/// between. Without an offset the time is UTC. Not read are times without a date, and anything
/// after the date.
///
/// ```
/// use ha_crm::model::rule::Moment;
///
/// let noon: Moment = "2019-09-23 07:00:00 -05:00".parse()?;
/// assert_eq!(noon.to_string(), "2019-09-23T12:00:00Z");
/// assert_eq!("2019-W39-1T12:00".parse::<Moment>()?, noon);
/// # Ok::<(), ha_crm::model::rule::ParseMomentError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(i64);

/// A text that is no [`Moment`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot read {text:?} as a date: it is not {}; write it like that", Moment::ALLOWED)]
pub struct ParseMomentError {
    text: String,
}

impl Moment {
    /// What may be written, in words.
    pub(super) const ALLOWED: &str =
        "an ISO 8601 date with or without a time, such as 2005-06-01 or 2005-06-01 12:00:00 +02:00";
    const MIN: i64 = calendar::new_year(1) * DAY;
    const MAX: i64 = calendar::new_year(10_000) * DAY - 1;

    /// The second in which `time` is; times outside the years 1 to 9999 count as their ends.
    #[must_use]
    pub fn of(time: WallTime) -> Self {
        Self::from_seconds(time.as_micros().div_euclid(1_000_000))
    }

    /// The second's start.
    #[must_use]
    pub const fn start(self) -> WallTime {
        WallTime::from_micros(self.0 * 1_000_000)
    }

    /// Counted from 1970; numbers outside the years 1 to 9999 count as their ends.
    pub(super) fn from_seconds(seconds: i64) -> Self {
        Self(seconds.clamp(Self::MIN, Self::MAX))
    }

    pub(super) const fn seconds(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Date { year, month, day } = calendar::day(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl TryFrom<String> for Moment {
    type Error = ParseMomentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for Moment {
    type Err = ParseMomentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).ok_or_else(|| ParseMomentError { text: text.chars().take(40).collect() })
    }
}

fn parse(text: &str) -> Option<Moment> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time.trim())),
        None => (text, None),
    };
    let seconds = read_date(date)? * DAY + time.map_or(Some(0), read_time)?;
    (Moment::MIN..=Moment::MAX).contains(&seconds).then_some(Moment(seconds))
}

/// A number of at most `most` digits, and nothing but digits.
fn number(text: &str, most: usize) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= most;
    (digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn within(value: i64, from: i64, to: i64) -> Option<i64> {
    (from..=to).contains(&value).then_some(value)
}

/// Days from 1970-01-01.
fn read_date(text: &str) -> Option<i64> {
    let year = within(number(text.get(..4)?, 4)?, 1, 9999)?;
    let rest = text.get(4..)?;
    if let Some(week_date) = rest.strip_prefix("-W").or_else(|| rest.strip_prefix('W')) {
        let (week, day) = match week_date.split_once('-') {
            Some(parts) => parts,
            None => week_date.split_at_checked(2)?,
        };
        let week = within(number(week, 2)?, 1, calendar::weeks_in(year))?;
        return Some(
            calendar::week_one(year) + (week - 1) * 7 + within(number(day, 1)?, 1, 7)? - 1,
        );
    }
    let Some(dashed) = rest.strip_prefix('-') else {
        return match rest.len() {
            3 => ordinal(year, rest),
            4 => civil(year, rest.get(..2)?, rest.get(2..)?),
            _ => None,
        };
    };
    match dashed.split_once('-') {
        Some((month, day)) => civil(year, month, day),
        None if dashed.len() == 3 => ordinal(year, dashed),
        None => None,
    }
}

fn civil(year: i64, month: &str, day: &str) -> Option<i64> {
    let month = within(number(month, 2)?, 1, 12)?;
    let day = within(number(day, 2)?, 1, calendar::month_length(year, month))?;
    Some(calendar::days(Date { year, month, day }))
}

fn ordinal(year: i64, day: &str) -> Option<i64> {
    Some(calendar::new_year(year) + within(number(day, 3)?, 1, calendar::year_length(year))? - 1)
}

/// Seconds from midnight, the offset taken off.
fn read_time(text: &str) -> Option<i64> {
    let offset_at = text.find(['Z', 'z', '+', '-']).unwrap_or(text.len());
    let (clock, offset) = text.split_at_checked(offset_at)?;
    let offset = match offset {
        "" | "Z" | "z" => 0,
        _ => {
            let (sign, offset) = offset.split_at_checked(1)?;
            let seconds = within(read_clock(offset)?, 0, DAY - 1)?;
            match sign {
                "+" => seconds,
                "-" => -seconds,
                _ => return None,
            }
        }
    };
    Some(read_clock(clock.trim_end())? - offset)
}

/// `hh`, `hh:mm`, `hh:mm:ss`, `hhmm`, `hhmmss`, the last with a fraction: seconds from midnight.
fn read_clock(text: &str) -> Option<i64> {
    let (text, fraction) = match text.split_once(['.', ',']) {
        Some((text, fraction)) => (text, Some(fraction)),
        None => (text, None),
    };
    let parts: Vec<&str> = if text.contains(':') {
        text.split(':').take(4).collect()
    } else {
        (0..3)
            .filter_map(|part| text.get(part * 2..(part * 2 + 2).min(text.len())))
            .filter(|part| !part.is_empty())
            .collect()
    };
    if !text.contains(':') && (text.len() > 6 || parts.iter().any(|part| part.len() != 2)) {
        return None;
    }
    let part = |at: usize, most| match parts.get(at) {
        Some(part) => within(number(part, 2)?, 0, most),
        None => Some(0),
    };
    let (hour, minute, second) = (part(0, 24)?, part(1, 59)?, part(2, 59)?);
    let whole = fraction.is_none_or(|digits| parts.len() == 3 && number(digits, 12).is_some());
    let seconds = hour * 3600 + minute * 60 + second;
    (whole && (1..=3).contains(&parts.len()) && seconds <= DAY).then_some(seconds)
}
