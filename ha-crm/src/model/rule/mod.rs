//! Rules: conditions on nodes, times, operations and agents, as Pacemaker has them.
//!
//! The source is the chapter "Rules" of "Pacemaker Explained"; where it is silent, what Pacemaker
//! 2.1.5 was seen to do. Two things differ on purpose: a condition that cannot be read never holds
//! (as of Pacemaker 3.0; before, some held always), and periods of years follow the calendar (see
//! [`Period`]). All times are UTC.

mod attribute;
mod calendar;
mod condition;
mod date;
mod facts;
mod moment;
mod period;
mod read;
mod scope;
mod spec;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

use ha_core::time::WallTime;
use serde::{Deserialize, Serialize};

pub use self::attribute::{AttributeExpression, Comparison, ValueSource};
pub use self::condition::Condition;
pub use self::date::{DateExpression, DateRange};
pub use self::facts::{Facts, Lookup};
pub use self::moment::{Moment, ParseMomentError};
pub use self::period::Period;
pub use self::read::{RuleSource, read};
pub use self::scope::{OpExpression, ResourceExpression};
pub use self::spec::{DateSpec, ParseSpanError, Span};
pub use self::value::ValueType;

/// How the conditions of a rule are joined (Pacemaker's `boolean-op`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Join {
    /// All must hold (`and`). It holds without any.
    #[default]
    All,
    /// One must hold (`or`). It does not hold without any.
    Any,
}

/// Conditions that together hold or do not: Pacemaker's `rule`.
///
/// What follows from it, such as a score, belongs to what the rule stands in.
///
/// ```
/// use std::collections::BTreeMap;
/// use ha_core::time::WallTime;
/// use ha_crm::model::rule::{Facts, Rule};
///
/// // On nodes with two disks, in working hours.
/// let rule: Rule = serde_json::from_str(
///     r#"{"conditions": [
///         {"attribute": {"attribute": "disks", "operation": "gte", "value": "2"}},
///         {"date": {"spec": {"weekdays": "1-5", "hours": "9-16"}}}
///     ]}"#,
/// )?;
/// let node = BTreeMap::from([("#uname", "n1"), ("disks", "10")]);
/// let monday_noon = WallTime::from_micros(1_569_240_000_000_000); // 2019-09-23 12:00
/// let facts = Facts::at(monday_noon).node(&node);
/// assert!(rule.holds(&facts));
/// assert_eq!(rule.next_change(monday_noon).unwrap().to_string(), "2019-09-23T17:00:00.000000Z");
///
/// let node = BTreeMap::from([("#uname", "n2")]);
/// let facts = Facts::at(monday_noon).node(&node);
/// assert_eq!(
///     rule.why(&facts),
///     "does not hold: attribute \"disks\" gte \"2\" (it is not set)"
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// Its name, for messages. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How the conditions are joined. Default: all must hold.
    #[serde(default)]
    pub join: Join,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

impl Rule {
    /// A rule without a name.
    #[must_use]
    pub const fn new(join: Join, conditions: Vec<Condition>) -> Self {
        Self { id: None, join, conditions }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        let mut conditions = self.conditions.iter();
        match self.join {
            Join::All => conditions.all(|condition| condition.holds(facts)),
            Join::Any => conditions.any(|condition| condition.holds(facts)),
        }
    }

    /// Whether it holds, and which condition decided, in one line.
    #[must_use]
    pub fn why(&self, facts: &Facts<'_>) -> String {
        let verdict = if self.holds(facts) { "holds" } else { "does not hold" };
        format!("{verdict}: {}", self.reason(facts))
    }

    /// The condition that decided, or how many did.
    fn reason(&self, facts: &Facts<'_>) -> String {
        let decides = self.join == Join::Any; // what one condition must be to decide alone
        let decisive = self.conditions.iter().find(|one| one.holds(facts) == decides);
        match (decisive, self.conditions.as_slice(), self.join) {
            (Some(one), ..) | (None, [one], _) => one.why(facts),
            (None, [], _) => "it has no conditions".to_owned(),
            (None, [first, ..], Join::All) => format!(
                "all {} conditions hold, the first: {}",
                self.conditions.len(),
                first.why(facts)
            ),
            (None, [first, ..], Join::Any) => format!(
                "none of {} conditions holds, the first: {}",
                self.conditions.len(),
                first.why(facts)
            ),
        }
    }

    /// The earliest time after `now` at which a date may change whether it holds; `None` if none
    /// will before the year 10000.
    ///
    /// It is never later than the true change. It may be earlier: where another condition decides
    /// anyway, and where a change lies far ahead. Ask again then.
    #[must_use]
    pub fn next_change(&self, now: WallTime) -> Option<WallTime> {
        self.next_moment(Moment::of(now)).map(Moment::start)
    }

    fn next_moment(&self, now: Moment) -> Option<Moment> {
        self.conditions.iter().filter_map(|condition| condition.next_change(now)).min()
    }
}

impl fmt::Display for Join {
    /// Writes Pacemaker's names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::All => "and",
            Self::Any => "or",
        })
    }
}

/// A text in quotes, cut to 60 characters, so that a line stays a line.
fn cut(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
