//! Conditions on the time.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::period::Period;
use super::spec::DateSpec;

/// A condition on the time: Pacemaker's `date_expression`. Times are compared by whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DateExpression {
    /// After this second (Pacemaker's `gt`).
    After(Moment),
    /// Before this second (Pacemaker's `lt`).
    Before(Moment),
    /// Within a range (Pacemaker's `in_range`).
    InRange(DateRange),
    /// At times that come back (Pacemaker's `date_spec`).
    Spec(DateSpec),
}

/// From one second to another, both included; open where an end is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "RawRange")]
#[non_exhaustive]
pub struct DateRange {
    /// The first second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Moment>,
    /// The last second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Moment>,
    /// How long after the start the last second is, if the end is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Period>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRange {
    start: Option<Moment>,
    end: Option<Moment>,
    duration: Option<Period>,
}

impl TryFrom<RawRange> for DateRange {
    type Error = &'static str;

    fn try_from(raw: RawRange) -> Result<Self, Self::Error> {
        let RawRange { start, end, duration } = raw;
        if start.is_none() && end.is_none() {
            return Err("cannot use a range of dates: it has no end; give start, end or both");
        }
        Ok(Self { start, end, duration })
    }
}

impl DateRange {
    /// From `start` to `end`; `None` if neither is given, which never holds.
    #[must_use]
    pub const fn new(start: Option<Moment>, end: Option<Moment>) -> Option<Self> {
        if start.is_none() && end.is_none() {
            None
        } else {
            Some(Self { start, end, duration: None })
        }
    }

    /// From `start` on for `duration`.
    #[must_use]
    pub const fn lasting(start: Moment, duration: Period) -> Self {
        Self { start: Some(start), end: None, duration: Some(duration) }
    }

    /// The last second that is in it, if it ends.
    #[must_use]
    pub fn last(&self) -> Option<Moment> {
        self.end.or_else(|| Some(self.duration?.after(self.start?)))
    }

    fn holds(&self, now: Moment) -> bool {
        (self.start.is_some() || self.end.is_some())
            && self.start.is_none_or(|start| now >= start)
            && self.last().is_none_or(|last| now <= last)
    }
}

/// The second after `moment`.
fn following(moment: Moment) -> Moment {
    Moment::from_seconds(moment.seconds() + 1)
}

impl DateExpression {
    pub(super) fn holds(&self, now: Moment) -> bool {
        match self {
            Self::After(start) => now > *start,
            Self::Before(end) => now < *end,
            Self::InRange(range) => range.holds(now),
            Self::Spec(spec) => spec.holds(now),
        }
    }

    /// The first moment after `now` at which it may begin or cease to hold.
    pub(super) fn next_change(&self, now: Moment) -> Option<Moment> {
        let later = |moment: Moment| (moment > now).then_some(moment);
        match self {
            Self::After(start) => later(following(*start)),
            Self::Before(end) => later(*end),
            Self::InRange(range) => {
                let start = range.start.and_then(later);
                start.or_else(|| range.last().map(following).and_then(later))
            }
            Self::Spec(spec) => spec.next_change(now),
        }
    }
}

impl fmt::Display for DateExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(start) => write!(f, "date after {start}"),
            Self::Before(end) => write!(f, "date before {end}"),
            Self::InRange(range) => match (range.start, range.last()) {
                (Some(start), Some(last)) => write!(f, "date from {start} to {last}"),
                (Some(start), None) => write!(f, "date from {start}"),
                (None, Some(last)) => write!(f, "date until {last}"),
                (None, None) => f.write_str("date in a range without ends"),
            },
            Self::Spec(spec) => write!(f, "date at {spec}"),
        }
    }
}
