//! Which status codes of HTTP are good.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ha_core::config::ConfigError;

/// Status codes and ranges of them, such as `200-299,304` (HAProxy's `http-check expect status`).
///
/// ```
/// use ha_lb::health::http::Statuses;
///
/// let good: Statuses = "200-299,304".parse()?;
/// assert!(good.contains(204) && good.contains(304) && !good.contains(301));
/// assert_eq!(good.to_string(), "200-299,304");
/// assert!("200-".parse::<Statuses>().is_err());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether a status is one of them.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl From<u16> for Statuses {
    fn from(status: u16) -> Self {
        Self(vec![status..=status])
    }
}

impl From<RangeInclusive<u16>> for Statuses {
    fn from(range: RangeInclusive<u16>) -> Self {
        Self(vec![range])
    }
}

impl FromStr for Statuses {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let status = |text: &str| {
            let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse().ok().filter(|status| (100..=599).contains(status))
        };
        let range = |part: &str| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high): (u16, u16) = (status(low.trim())?, status(high.trim())?);
            (low <= high).then_some(low..=high)
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        let allowed = "codes of 100 to 599 and ranges of them, such as 200-299,304";
        ranges.map(Self).ok_or_else(|| ConfigError::new("check.status", text, allowed))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (low, high) = (range.start(), range.end());
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_codes_and_ranges_are_read() {
        for wrong in ["", ",", "99", "600", "299-200", "2xx", "200-", "200-204-299", "+200", "-1"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
        let spaced: Statuses = "200, 301 - 308".parse().expect("spaces do not matter");
        assert_eq!(spaced.to_string(), "200,301-308");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ranges in prop::collection::vec((100..600_u16, 0..50_u16), 1..5),
        ) {
            let ranges = ranges.iter().map(|(low, more)| *low..=(low + more).min(599)).collect();
            let statuses = Statuses(ranges);
            prop_assert_eq!(statuses.to_string().parse::<Statuses>(), Ok(statuses));
        }
    }
}
