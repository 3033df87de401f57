//! How two values of a rule are compared: as text, numbers or versions.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How an attribute and a value are compared (Pacemaker's `type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ValueType {
    /// As whole numbers, fractions cut off; as text if one is no number.
    Integer,
    /// As floating-point numbers; as text if one is no number.
    Number,
    /// As text, upper and lower case being the same.
    String,
    /// As versions: numbers between dots, a missing one being 0.
    Version,
}

impl ValueType {
    pub(super) const ALL: [Self; 4] = [Self::Integer, Self::Number, Self::String, Self::Version];

    /// Which of two values is greater.
    ///
    /// A number is what the text starts with, so `5x` is 5. In a version, what is no number counts
    /// as 0.
    ///
    /// ```
    /// use std::cmp::Ordering;
    /// use ha_crm::model::rule::ValueType;
    ///
    /// assert_eq!(ValueType::String.compare("10", "9"), Ordering::Less);
    /// assert_eq!(ValueType::Integer.compare("10", "9"), Ordering::Greater);
    /// assert_eq!(ValueType::Version.compare("1.10", "1.9.3"), Ordering::Greater);
    /// ```
    #[must_use]
    pub fn compare(self, left: &str, right: &str) -> Ordering {
        let numeric = match self {
            Self::Integer => integer(left).zip(integer(right)).map(|(l, r)| l.cmp(&r)),
            Self::Number => number(left).zip(number(right)).and_then(|(l, r)| l.partial_cmp(&r)),
            Self::String => None,
            Self::Version => Some(versions(left, right)),
        };
        numeric.unwrap_or_else(|| text(left, right))
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Version => "version",
        })
    }
}

fn text(left: &str, right: &str) -> Ordering {
    let lower = |byte: u8| byte.to_ascii_lowercase();
    left.bytes().map(lower).cmp(right.bytes().map(lower))
}

/// The length of the sign and the digits that `text` starts with; `None` without a digit.
fn digits(text: &str) -> Option<usize> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let rest = unsigned.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < unsigned.len()).then(|| text.len() - rest.len())
}

/// The whole number that a text starts with; those too large count as the largest.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let number = text.get(..digits(text)?)?;
    Some(number.parse().unwrap_or(if number.starts_with('-') { i64::MIN } else { i64::MAX }))
}

/// The decimal number that a text starts with, or infinity.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return (!number.is_nan()).then_some(number);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = unsigned.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = match whole.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => whole,
    };
    text.get(..text.len() - rest.len())?.parse().ok()
}

fn versions(left: &str, right: &str) -> Ordering {
    let mut left = left.split('.').map(section);
    let mut right = right.split('.').map(section);
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (l, r) => match l.unwrap_or(0).cmp(&r.unwrap_or(0)) {
                Ordering::Equal => {}
                unequal @ (Ordering::Less | Ordering::Greater) => return unequal,
            },
        }
    }
}

/// The number that a part of a version starts with, or 0.
fn section(text: &str) -> u64 {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    match text.get(..text.len() - rest.len()) {
        None | Some("") => 0,
        Some(number) => number.parse().unwrap_or(u64::MAX),
    }
}
