//! The types of values, and the words for each.

use std::time::Duration;

use ha_core::role::Role;
use ha_core::time::WallTime;

use crate::model::Score;

/// A type that a value of a CIB can have.
///
/// ```
/// use std::time::Duration;
///
/// use ha_crm::cib::CibValue;
/// use ha_crm::model::Score;
///
/// assert_eq!(bool::read("Yes"), Some(true));
/// assert_eq!(Score::read("-INFINITY"), Some(Score::NEVER));
/// assert_eq!(Score::read("2000000"), Some(Score::INFINITY)); // it saturates
/// assert_eq!(Duration::read("2min"), Some(Duration::from_mins(2)));
/// assert_eq!(Duration::read("PT1M30S"), Some(Duration::from_secs(90)));
/// assert_eq!(Duration::read("10x"), None);
/// ```
///
/// # Source
///
/// Pacemaker Explained, "Common property types".
pub trait CibValue: Sized {
    /// What is allowed, for a message.
    const ALLOWED: &'static [&'static str];

    /// Reads a value; `None` if it is not of this type. The case of words does not matter, nor
    /// does white space around them.
    fn read(text: &str) -> Option<Self>;

    /// Writes a value so that [`read`](Self::read) reads the same again.
    fn write(&self) -> String;
}

/// An enum of words, each with its synonyms.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $variant:ident = $first:literal $(| $more:literal)*,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// The word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $first,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl $crate::cib::CibValue for $name {
            const ALLOWED: &'static [&'static str] = &[$($first),+];

            fn read(text: &str) -> Option<Self> {
                let text = text.trim();
                $(if [$first $(, $more)*].iter().any(|word| word.eq_ignore_ascii_case(text)) {
                    return Some(Self::$variant);
                })+
                None
            }

            fn write(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}
pub(super) use words;

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

impl CibValue for bool {
    const ALLOWED: &'static [&'static str] = &["true", "false", "yes", "no", "on", "off", "1", "0"];

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if is_one_of(text, &["true", "on", "yes", "y", "1"]) {
            Some(true)
        } else if is_one_of(text, &["false", "off", "no", "n", "0"]) {
            Some(false)
        } else {
            None
        }
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

impl CibValue for Score {
    const ALLOWED: &'static [&'static str] =
        &["a whole number", "INFINITY", "+INFINITY", "-INFINITY"];

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, size) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
            (Some(size), _) => (true, size),
            (None, Some(size)) => (false, size),
            (None, None) => (false, text),
        };
        if size.eq_ignore_ascii_case("INFINITY") {
            return Some(if negative { Self::NEVER } else { Self::INFINITY });
        }
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let size: i32 = size.parse().unwrap_or(i32::MAX); // only too large ones fail
        Some(Self::new(if negative { -size } else { size }))
    }

    fn write(&self) -> String {
        match *self {
            Self::INFINITY => "INFINITY".to_owned(),
            Self::NEVER => "-INFINITY".to_owned(),
            score => score.get().to_string(),
        }
    }
}

impl CibValue for Role {
    const ALLOWED: &'static [&'static str] = &["Stopped", "Started", "Promoted", "Unpromoted"];

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        [
            (Self::Stopped, &["Stopped"] as &[&str]),
            (Self::Started, &["Started"]),
            (Self::Unpromoted, &["Unpromoted", "Slave"]),
            (Self::Promoted, &["Promoted", "Master"]),
        ]
        .into_iter()
        .find_map(|(role, words)| is_one_of(text, words).then_some(role))
    }

    fn write(&self) -> String {
        let word = match self {
            Self::Stopped => "Stopped",
            Self::Started => "Started",
            Self::Unpromoted => "Unpromoted",
            Self::Promoted => "Promoted",
        };
        word.to_owned()
    }
}

impl CibValue for Duration {
    const ALLOWED: &'static [&'static str] =
        &["a whole number with us, ms, s, min or h, such as 10s", "ISO 8601, such as PT10S"];

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(iso) = text.strip_prefix(['P', 'p']) {
            return iso_8601(iso);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        match unit.trim_start().to_ascii_lowercase().as_str() {
            "us" | "usec" => Some(Self::from_micros(number)),
            "ms" | "msec" => Some(Self::from_millis(number)),
            "" | "s" | "sec" => Some(Self::from_secs(number)),
            "m" | "min" => number.checked_mul(60).map(Self::from_secs),
            "h" | "hr" => number.checked_mul(3600).map(Self::from_secs),
            "d" | "day" => number.checked_mul(86_400).map(Self::from_secs),
            _ => None,
        }
    }

    /// In the largest of s, ms and us that is exact; what is below a microsecond is cut off.
    fn write(&self) -> String {
        let nanos = self.subsec_nanos();
        if nanos == 0 {
            format!("{}s", self.as_secs())
        } else if nanos.is_multiple_of(1_000_000) {
            format!("{}ms", self.as_millis())
        } else {
            format!("{}us", self.as_micros())
        }
    }
}

/// What is behind the `P`: weeks, days, hours, minutes, seconds, in this order. Hours and seconds
/// may stand without their `T`. Months and years have no fixed length and are not read.
fn iso_8601(text: &str) -> Option<Duration> {
    const DATE: &[(char, u64)] = &[('W', 604_800), ('D', 86_400)];
    const TIME: &[(char, u64)] = &[('H', 3600), ('M', 60), ('S', 1)];
    let seconds = match text.split_once(['T', 't']) {
        Some((_, "")) => return None,
        Some((date, time)) => fields(date, DATE)?.checked_add(fields(time, TIME)?)?,
        None if text.is_empty() => return None,
        None => fields(text, &[('W', 604_800), ('D', 86_400), ('H', 3600), ('S', 1)])?,
    };
    Some(Duration::from_secs(seconds))
}

fn fields(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0_u64;
    let mut units = units.iter();
    while !text.is_empty() {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = text.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let letter = rest.chars().next()?;
        let (_, factor) = units.find(|(unit, _)| unit.eq_ignore_ascii_case(&letter))?;
        sum = sum.checked_add(number.checked_mul(*factor)?)?;
        text = rest.strip_prefix(letter)?;
    }
    Some(sum)
}

impl CibValue for WallTime {
    const ALLOWED: &'static [&'static str] = &["seconds since 1970"];

    fn read(text: &str) -> Option<Self> {
        let seconds: i64 = text.trim().parse().ok()?;
        Some(Self::from_micros(seconds.saturating_mul(1_000_000)))
    }

    fn write(&self) -> String {
        self.as_micros().div_euclid(1_000_000).to_string()
    }
}

macro_rules! whole_numbers {
    ($($kind:ty: $allowed:literal),+) => {
        $(impl CibValue for $kind {
            const ALLOWED: &'static [&'static str] = &[$allowed];

            fn read(text: &str) -> Option<Self> {
                text.trim().parse().ok()
            }

            fn write(&self) -> String {
                self.to_string()
            }
        })+
    };
}
whole_numbers! {
    i32: "a whole number of 32 bits",
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number from 0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_have_their_synonyms_and_nothing_else() {
        for word in ["true", "TRUE", "on", "yes", "y", "1", " true "] {
            assert_eq!(bool::read(word), Some(true), "{word:?}");
        }
        for word in ["false", "off", "No", "n", "0"] {
            assert_eq!(bool::read(word), Some(false), "{word:?}");
        }
        for word in ["", "2", "tru", "enabled"] {
            assert_eq!(bool::read(word), None, "{word:?}");
        }
    }

    #[test]
    fn scores_saturate_and_know_infinity() {
        for (text, score) in [
            ("0", 0),
            ("+5", 5),
            ("-5", -5),
            ("1000001", 1_000_000),
            ("-99999999999999999999", -1_000_000),
            ("99999999999999999999", 1_000_000),
            ("INFINITY", 1_000_000),
            ("+infinity", 1_000_000),
            ("-INFINITY", -1_000_000),
        ] {
            assert_eq!(Score::read(text).map(Score::get), Some(score), "{text:?}");
        }
        for text in ["", "-", "+-1", "INFINITE", "1.5", "5x"] {
            assert_eq!(Score::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn spans_are_read_in_all_their_forms() {
        for (text, millis) in [
            ("10", 10_000),
            ("10s", 10_000),
            ("10sec", 10_000),
            ("500ms", 500),
            ("500msec", 500),
            ("2000us", 2),
            ("2m", 120_000),
            ("2min", 120_000),
            ("1h", 3_600_000),
            ("1hr", 3_600_000),
            ("1 HR", 3_600_000),
            ("PT10S", 10_000),
            ("P1DT1H1M1S", 90_061_000),
            ("P1W", 604_800_000),
            ("P40S", 40_000),
            ("P1D2H", 93_600_000),
        ] {
            assert_eq!(Duration::read(text), Some(Duration::from_millis(millis)), "{text:?}");
        }
        for text in [
            "",
            "s",
            "10x",
            "-1",
            "1.5s",
            "P",
            "PT",
            "P1",
            "P1M",
            "PT1",
            "PTS",
            "PT1S1H",
            "P1D1W",
            "PT99999999999999999999S",
            "18446744073709551615h",
            "Pé",
            "1é",
        ] {
            assert_eq!(Duration::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn roles_have_their_older_names() {
        assert_eq!(Role::read("Master"), Some(Role::Promoted));
        assert_eq!(Role::read("slave"), Some(Role::Unpromoted));
        assert_eq!(Role::read("Started"), Some(Role::Started));
        assert_eq!(Role::read("running"), None);
    }
}
