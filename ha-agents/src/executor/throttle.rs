//! Less at once while the node is busy.

use std::fmt;

/// The node's load average, as `/proc/loadavg` gives it for the last minute.
///
/// Above the executor's [`load_threshold`](super::LimitsBuilder::load_threshold) the budgets of
/// actions, probes and monitors shrink: with more than 1.2 times the threshold for each processor to
/// a half, 1.6 times to a quarter, twice to one operation at a time. Stops and demotes keep theirs.
///
/// ```
/// use ha_agents::executor::{Load, Pressure};
///
/// let load = Load::parse("3.50 2.10 1.00 2/345 6789\n", 2).unwrap();
/// assert_eq!(load.pressure(80), Pressure::Extreme); // 1.75 a processor, more than twice 0.8
/// assert_eq!(load.pressure(150), Pressure::None);
/// assert_eq!(Load::parse("much", 2), None);
/// ```
///
/// # Source
///
/// The steps are those of Pacemaker's controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Hundredths of a runnable process.
    average: u64,
    processors: u64,
}

/// How much the node's load holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[expect(clippy::exhaustive_enums, reason = "the steps by which budgets shrink")]
pub enum Pressure {
    /// Nothing.
    #[default]
    None,
    /// Half of the budgets.
    Medium,
    /// Three quarters of them.
    High,
    /// All but one operation of each budget.
    Extreme,
}

impl Load {
    /// An average of hundredths of a process on so many processors (0 counts as 1).
    #[must_use]
    pub const fn new(hundredths: u32, processors: u32) -> Self {
        let processors = if processors == 0 { 1 } else { processors };
        Self { average: hundredths as u64, processors: processors as u64 }
    }

    /// Reads the first number of `/proc/loadavg`; `None`: it is none.
    #[must_use]
    pub fn parse(text: &str, processors: u32) -> Option<Self> {
        let (whole, hundredths) = text.split_ascii_whitespace().next()?.split_once('.')?;
        let whole: u32 = whole.parse().ok()?;
        let hundredths = hundredths.get(..2)?.parse::<u32>().ok()?;
        Some(Self::new(whole.checked_mul(100)?.checked_add(hundredths)?, processors))
    }

    /// What it means where `threshold` percent of a processor are bearable.
    #[must_use]
    pub const fn pressure(self, threshold: u32) -> Pressure {
        // Tenths of the threshold: 10 is just bearable.
        let bearable = self.processors * threshold as u64;
        let tenths = self.average.saturating_mul(10);
        if tenths > bearable * 20 {
            Pressure::Extreme
        } else if tenths > bearable * 16 {
            Pressure::High
        } else if tenths > bearable * 12 {
            Pressure::Medium
        } else {
            Pressure::None
        }
    }
}

impl Pressure {
    /// What it leaves of a budget, at least 1.
    pub(super) fn of(self, budget: usize) -> usize {
        let left = match self {
            Self::None => budget,
            Self::Medium => budget / 2,
            Self::High => budget / 4,
            Self::Extreme => 1,
        };
        left.max(1)
    }
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Extreme => "extreme",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Pressure::{Extreme, High, Medium, None};
    use super::*;

    #[test]
    fn budgets_shrink_in_steps_and_never_to_nothing() {
        let pressure = |hundredths| Load::new(hundredths, 2).pressure(80);
        let steps = [0, 160, 192, 193, 256, 257, 320, 321, u32::MAX].map(pressure);
        assert_eq!(steps, [None, None, None, Medium, Medium, High, High, Extreme, Extreme]);
        assert_eq!([None, Medium, High, Extreme].map(|it| it.of(8)), [8, 4, 2, 1]);
        assert_eq!([None, Medium, High, Extreme].map(|it| it.of(1)), [1, 1, 1, 1]);
    }
}
