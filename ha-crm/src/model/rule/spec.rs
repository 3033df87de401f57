//! Times that come back, as in cron: Pacemaker's `date_spec`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::calendar;
use super::moment::{DAY, Moment};

/// Whole numbers from one to another, both included: `5`, `1-5`, `-5` or `5-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawSpan", into = "String")]
pub struct Span {
    from: Option<u32>,
    to: Option<u32>,
}

/// A span in a configuration: `"1-5"`, or a number alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawSpan {
    Number(u32),
    Text(String),
}

/// A text that is no [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cannot read {text:?} as numbers: it is not {}; write it like that", Span::ALLOWED)]
pub struct ParseSpanError {
    text: String,
}

impl Span {
    /// What may be written, in words.
    pub(super) const ALLOWED: &str = "a number or a range: 5, 1-5, -5 or 5-";

    /// The numbers from `from` to `to`; none if `to` is less.
    #[must_use]
    pub const fn new(from: u32, to: u32) -> Self {
        Self { from: Some(from), to: Some(to) }
    }

    /// One number.
    #[must_use]
    pub const fn one(number: u32) -> Self {
        Self::new(number, number)
    }

    /// Whether the number is one of them.
    #[must_use]
    pub fn contains(self, number: i64) -> bool {
        self.from.is_none_or(|from| number >= i64::from(from))
            && self.to.is_none_or(|to| number <= i64::from(to))
    }

    /// Whether a number this large, and every larger one, is beyond the end.
    fn ends_before(self, number: i64) -> bool {
        self.to.is_some_and(|to| number > i64::from(to))
    }

    /// Whether all its numbers, of which there must be one, are within the limits.
    pub(super) fn is_within(self, from: u32, to: u32) -> bool {
        let ends = [self.from, self.to];
        ends.into_iter().flatten().all(|end| (from..=to).contains(&end))
            && self.from.unwrap_or(from) <= self.to.unwrap_or(to)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from == to => write!(f, "{from}"),
            (Some(from), Some(to)) => write!(f, "{from}-{to}"),
            (Some(from), None) => write!(f, "{from}-"),
            (None, Some(to)) => write!(f, "-{to}"),
            (None, None) => f.write_str("0-"),
        }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl TryFrom<RawSpan> for Span {
    type Error = ParseSpanError;

    fn try_from(raw: RawSpan) -> Result<Self, Self::Error> {
        match raw {
            RawSpan::Number(number) => Ok(Self::one(number)),
            RawSpan::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let text = text.trim();
            let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            all.then(|| text.parse::<u32>().ok())?
        };
        let read = || match text.split_once('-') {
            None => number(text).map(Self::one),
            Some((from, to)) if from.trim().is_empty() => {
                Some(Self { from: None, to: Some(number(to)?) })
            }
            Some((from, to)) if to.trim().is_empty() => {
                Some(Self { from: Some(number(from)?), to: None })
            }
            Some((from, to)) => Some(Self::new(number(from)?, number(to)?)),
        };
        read().ok_or_else(|| ParseSpanError { text: text.chars().take(40).collect() })
    }
}

/// Times that come back, as in cron: Pacemaker's `date_spec`. UTC; all given fields must match.
///
/// In the configuration each field is a number or a range: `{ hours = "9-16", weekdays = "1-5" }`
/// is from 9:00:00 to 16:59:59 on working days. A field's numbers must lie within its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, try_from = "RawSpec", into = "RawSpec")]
#[non_exhaustive]
pub struct DateSpec {
    /// Seconds of the minute, 0–59.
    pub seconds: Option<Span>,
    /// Minutes of the hour, 0–59.
    pub minutes: Option<Span>,
    /// Hours of the day, 0–23.
    pub hours: Option<Span>,
    /// Days of the month, 1–31.
    pub monthdays: Option<Span>,
    /// Days of the week, 1 (Monday) to 7 (Sunday).
    pub weekdays: Option<Span>,
    /// Days of the year, 1–366.
    pub yeardays: Option<Span>,
    /// Months, 1–12.
    pub months: Option<Span>,
    /// ISO weeks, 1–53.
    pub weeks: Option<Span>,
    /// Years, 1–9999.
    pub years: Option<Span>,
    /// Years that ISO weeks belong to, 1–9999; they differ from `years` around January 1.
    pub weekyears: Option<Span>,
    /// Phases of the moon, 0 (new) over 4 (full) to 7, to a day or two.
    pub moon: Option<Span>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[derive(Default)]
struct RawSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minutes: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hours: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monthdays: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weekdays: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    yeardays: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    months: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weeks: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    years: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weekyears: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moon: Option<Span>,
}

macro_rules! fields {
    ($from:expr, $to:ident) => {{
        let from = $from;
        $to {
            seconds: from.seconds,
            minutes: from.minutes,
            hours: from.hours,
            monthdays: from.monthdays,
            weekdays: from.weekdays,
            yeardays: from.yeardays,
            months: from.months,
            weeks: from.weeks,
            years: from.years,
            weekyears: from.weekyears,
            moon: from.moon,
        }
    }};
}

impl From<DateSpec> for RawSpec {
    fn from(spec: DateSpec) -> Self {
        fields!(spec, RawSpec)
    }
}

impl TryFrom<RawSpec> for DateSpec {
    type Error = String;

    fn try_from(raw: RawSpec) -> Result<Self, Self::Error> {
        let spec = fields!(raw, DateSpec);
        match spec.outside().next() {
            None => Ok(spec),
            Some((name, span, (from, to))) => Err(format!(
                "cannot use {name} {span}: it is not within {from} to {to}; give numbers or a \
                 range that is"
            )),
        }
    }
}

/// The limits of a field.
type Limits = (u32, u32);

impl DateSpec {
    /// Sets a field by name; `None` if there is no such field.
    pub(super) fn field(&mut self, name: &str) -> Option<&mut Option<Span>> {
        match name {
            "seconds" => Some(&mut self.seconds),
            "minutes" => Some(&mut self.minutes),
            "hours" => Some(&mut self.hours),
            "monthdays" => Some(&mut self.monthdays),
            "weekdays" => Some(&mut self.weekdays),
            "yeardays" => Some(&mut self.yeardays),
            "months" => Some(&mut self.months),
            "weeks" => Some(&mut self.weeks),
            "years" => Some(&mut self.years),
            "weekyears" => Some(&mut self.weekyears),
            "moon" => Some(&mut self.moon),
            _ => None,
        }
    }

    pub(super) const fn fields(&self) -> [(&'static str, Option<Span>, Limits); 11] {
        [
            ("years", self.years, (1, 9999)),
            ("months", self.months, (1, 12)),
            ("monthdays", self.monthdays, (1, 31)),
            ("yeardays", self.yeardays, (1, 366)),
            ("weekyears", self.weekyears, (1, 9999)),
            ("weeks", self.weeks, (1, 53)),
            ("weekdays", self.weekdays, (1, 7)),
            ("moon", self.moon, (0, 7)),
            ("hours", self.hours, (0, 23)),
            ("minutes", self.minutes, (0, 59)),
            ("seconds", self.seconds, (0, 59)),
        ]
    }

    /// The fields that are outside their limits.
    pub(super) fn outside(&self) -> impl Iterator<Item = (&'static str, Span, Limits)> {
        self.fields().into_iter().filter_map(|(name, span, limits)| {
            span.filter(|span| !span.is_within(limits.0, limits.1)).map(|span| (name, span, limits))
        })
    }

    pub(super) fn holds(&self, now: Moment) -> bool {
        self.unmatched(now).is_none()
    }

    /// The coarsest part of `now` that does not match.
    fn unmatched(&self, now: Moment) -> Option<Unit> {
        let (days, clock) = (now.seconds().div_euclid(DAY), now.seconds().rem_euclid(DAY));
        let day = calendar::day(days);
        let (weekyear, week) = calendar::week(days);
        let off = |span: Option<Span>, number| span.is_some_and(|span| !span.contains(number));
        if off(self.years, day.year) || off(self.months, day.month) {
            Some(Unit::Month)
        } else if off(self.monthdays, day.day)
            || off(self.yeardays, days - calendar::new_year(day.year) + 1)
            || off(self.weekyears, weekyear)
            || off(self.weeks, week)
            || off(self.weekdays, calendar::weekday(days))
            || (self.moon.is_some() && off(self.moon, calendar::moon(days)))
        {
            Some(Unit::Day)
        } else if off(self.hours, clock / 3600) {
            Some(Unit::Hour)
        } else if off(self.minutes, clock / 60 % 60) {
            Some(Unit::Minute)
        } else {
            off(self.seconds, clock % 60).then_some(Unit::Second)
        }
    }

    /// The finest unit that the fields tell apart, if there is a field.
    fn finest(&self) -> Option<Unit> {
        if self.seconds.is_some() {
            return Some(Unit::Second);
        }
        if self.minutes.is_some() {
            return Some(Unit::Minute);
        }
        if self.hours.is_some() {
            return Some(Unit::Hour);
        }
        let day = [self.monthdays, self.yeardays, self.weekyears, self.weeks, self.weekdays];
        if day.into_iter().chain([self.moon]).any(|span| span.is_some()) {
            return Some(Unit::Day);
        }
        (self.years.is_some() || self.months.is_some()).then_some(Unit::Month)
    }

    /// The first moment after `now` at which it holds and did not, or the other way round.
    ///
    /// The search ends after [`STEPS`] steps and then names the moment it has come to.
    pub(super) fn next_change(&self, now: Moment) -> Option<Moment> {
        let finest = self.finest()?;
        let held = self.holds(now);
        let mut at = now;
        for _ in 0..STEPS {
            if !held && self.is_over(at) {
                return None;
            }
            let next = self.unmatched(at).unwrap_or(finest).next(at);
            if next <= at {
                return None; // the end of the year 9999
            }
            at = next;
            if self.holds(at) != held {
                break;
            }
        }
        Some(at)
    }

    /// Whether the last year in which it can hold has passed.
    fn is_over(&self, at: Moment) -> bool {
        let days = at.seconds().div_euclid(DAY);
        self.years.is_some_and(|span| span.ends_before(calendar::day(days).year))
            || self.weekyears.is_some_and(|span| span.ends_before(calendar::week(days).0))
    }
}

/// How far ahead a change is searched. Enough for all months of 80 years, all days of 3 years.
const STEPS: usize = 1_000;

impl fmt::Display for DateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (name, span, _) in self.fields() {
            if let Some(span) = span {
                write!(f, "{between}{name} {span}")?;
                between = ", ";
            }
        }
        if between.is_empty() { f.write_str("any time") } else { Ok(()) }
    }
}

/// What a step of the search goes to the end of.
#[derive(Debug, Clone, Copy)]
enum Unit {
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    /// The start of the next one after `at`.
    fn next(self, at: Moment) -> Moment {
        let seconds = at.seconds();
        let step = match self {
            Self::Month => {
                let days = seconds.div_euclid(DAY);
                let day = calendar::day(days);
                let rest = calendar::month_length(day.year, day.month) - day.day;
                return Moment::from_seconds((days + rest + 1) * DAY);
            }
            Self::Day => DAY,
            Self::Hour => 3600,
            Self::Minute => 60,
            Self::Second => 1,
        };
        Moment::from_seconds((seconds.div_euclid(step) + 1) * step)
    }
}
