//! Arguments into numbers, times and addresses; what is wrong is told.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::block::Statement;
use super::report::{Place, Report};
use crate::track::{Tracked, Weight};

impl Statement {
    /// The only argument.
    pub(super) fn one(&self, report: &mut Report, allowed: &str) -> Option<&str> {
        match self.args() {
            [word] if !word.text.is_empty() && self.block.is_none() => Some(&word.text),
            _ => {
                report.wrong(&self.at, self.text(), allowed);
                None
            }
        }
    }

    /// The name after the keyword of a block.
    pub(super) fn name(&self, report: &mut Report) -> Option<&str> {
        match (self.args(), &self.block) {
            ([word], Some(_)) if is_name(&word.text) => Some(&word.text),
            (_, _) => {
                let allowed = "one name of at most 255 bytes, without control characters, and `{`";
                report.wrong(&self.at, self.text(), allowed);
                None
            }
        }
    }

    pub(super) fn number<T>(&self, report: &mut Report, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let allowed = format!("{} to {}", range.start(), range.end());
        let text = self.one(report, &allowed)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            report.wrong(&self.at, self.text(), allowed);
        }
        number
    }

    /// A decimal number of seconds.
    pub(super) fn seconds(&self, report: &mut Report, most: u64) -> Option<Duration> {
        self.time(report, Duration::from_secs(1), most, "s")
    }

    /// A decimal number of milliseconds.
    pub(super) fn millis(&self, report: &mut Report, most: u64) -> Option<Duration> {
        self.time(report, Duration::from_millis(1), most, "ms")
    }

    fn time(&self, report: &mut Report, unit: Duration, most: u64, name: &str) -> Option<Duration> {
        let allowed = format!("0 to {most} {name}");
        let text = self.one(report, &allowed)?;
        let longest = u32::try_from(most).map_or(Duration::MAX, |most| unit.saturating_mul(most));
        let time = decimal(text, unit).filter(|time| *time <= longest);
        if time.is_none() {
            report.wrong(&self.at, self.text(), allowed);
        }
        time
    }

    /// On or off; without an argument on.
    pub(super) fn is_on(&self, report: &mut Report) -> Option<bool> {
        match self.arg(0).map(str::to_ascii_lowercase).as_deref() {
            None | Some("on" | "true" | "yes") => Some(true),
            Some("off" | "false" | "no") => Some(false),
            Some(_) => {
                report.wrong(&self.at, self.text(), "on, off, true, false, yes or no");
                None
            }
        }
    }

    pub(super) fn ip(&self, report: &mut Report) -> Option<IpAddr> {
        let text = self.one(report, "one IP address")?;
        let ip = text.parse().ok();
        if ip.is_none() {
            report.wrong(&self.at, self.text(), "one IP address");
        }
        ip
    }

    /// `weight N [reverse]`.
    pub(super) fn weight(&self, report: &mut Report) -> Option<(Weight, bool)> {
        let weight = self.arg(0).and_then(weight);
        let reverse = match self.arg(1) {
            None | Some("noreverse" | "no_reverse") => Some(false),
            Some("reverse") => Some(true),
            Some(_) => None,
        };
        if weight.is_none() || reverse.is_none() || self.args().len() > 2 {
            report.wrong(&self.at, self.text(), WEIGHT);
        }
        weight.zip(reverse)
    }

    /// A block of names, each perhaps with a weight of its own; `None` in it: the default one.
    pub(super) fn tracked(&self, report: &mut Report) -> Vec<Reference<'_>> {
        let mut found: Vec<Reference<'_>> = Vec::new();
        let mut words = self.names();
        while let Some((at, word)) = words.next() {
            match (word.text.as_str(), found.last_mut()) {
                ("weight", Some(last)) => {
                    last.weight = words.next().and_then(|(_, word)| weight(&word.text));
                    if last.weight.is_none() {
                        report.wrong(at, format!("the weight of `{}`", last.name), WEIGHT);
                    }
                }
                ("reverse", Some(last)) => last.reverse = Some(true),
                ("noreverse" | "no_reverse", Some(last)) => last.reverse = Some(false),
                (name, _) => found.push(Reference { at, name, weight: None, reverse: None }),
            }
        }
        found
    }
}

const WEIGHT: &str = "`weight`, a number from -253 to 253, and perhaps `reverse`";

fn weight(text: &str) -> Option<Weight> {
    text.parse().ok().and_then(Weight::new)
}

fn is_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.contains(char::is_control)
}

/// Something that a block names to be tracked.
#[derive(Debug)]
pub(super) struct Reference<'a> {
    pub(super) at: &'a Place,
    pub(super) name: &'a str,
    pub(super) weight: Option<Weight>,
    pub(super) reverse: Option<bool>,
}

impl Reference<'_> {
    /// What to track, under this name, with this weight by default.
    pub(super) fn to_tracked(&self, name: String, default: (Weight, bool)) -> Tracked {
        let reverse = self.reverse.unwrap_or(self.weight.is_none() && default.1);
        Tracked::new(name).weight(self.weight.unwrap_or(default.0)).reverse(reverse)
    }
}

/// A decimal number of a unit, to the nanosecond.
fn decimal(text: &str, unit: Duration) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits =
        |text: &str, most| text.len() <= most && text.bytes().all(|digit| digit.is_ascii_digit());
    if !digits(whole, 9) || !digits(fraction, 9) || whole.len() + fraction.len() == 0 {
        return None;
    }
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u128 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = unit.as_nanos().checked_mul(fraction)? / 1_000_000_000;
    unit.checked_mul(whole)?.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        let second = Duration::from_secs(1);
        for (text, micros) in
            [("1", 1_000_000), ("0.1", 100_000), (".25", 250_000), ("2.", 2_000_000)]
        {
            assert_eq!(decimal(text, second), Some(Duration::from_micros(micros)), "{text}");
        }
        assert_eq!(decimal("3.312", Duration::from_millis(1)), Some(Duration::from_micros(3312)));
        for text in ["", ".", "-1", "1e3", "1,5", "1.2.3", "99999999999", "+1"] {
            assert_eq!(decimal(text, second), None, "{text}");
        }
    }
}
