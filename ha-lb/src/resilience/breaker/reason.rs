//! Why a breaker opened.

use std::fmt;

/// Why a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// So many calls failed, one after another.
    InARow {
        /// The failures.
        failures: u32,
    },
    /// Too large a share of the calls in the window failed.
    Share {
        /// The failures.
        failures: u32,
        /// All calls.
        calls: u32,
    },
    /// A trial failed.
    Trial,
    /// [`trip`](super::Breaker::trip) was called.
    Tripped,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow { failures } => write!(f, "{failures} failures in a row"),
            Self::Share { failures, calls } => write!(f, "{failures} of {calls} calls failed"),
            Self::Trial => f.write_str("a trial failed"),
            Self::Tripped => f.write_str("it was tripped"),
        }
    }
}

const LOW: u64 = (1 << 31) - 1;

impl Reason {
    /// One word: kind, and two numbers of 31 bits.
    pub(super) fn pack(self) -> u64 {
        let (kind, failures, calls): (u64, u32, u32) = match self {
            Self::InARow { failures } => (0, failures, 0),
            Self::Share { failures, calls } => (1, failures, calls),
            Self::Trial => (2, 0, 0),
            Self::Tripped => (3, 0, 0),
        };
        (kind << 62) | (u64::from(failures).min(LOW) << 31) | u64::from(calls).min(LOW)
    }

    pub(super) fn unpack(word: u64) -> Self {
        let number = |shift: u32| u32::try_from((word >> shift) & LOW).unwrap_or(u32::MAX);
        match word >> 62 {
            0 => Self::InARow { failures: number(31) },
            1 => Self::Share { failures: number(31), calls: number(0) },
            2 => Self::Trial,
            _ => Self::Tripped,
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn reasons_fit_into_a_word() {
        for reason in [
            Reason::InARow { failures: 5 },
            Reason::Share { failures: 700_000, calls: 1_000_000 },
            Reason::Trial,
            Reason::Tripped,
        ] {
            assert_eq!(Reason::unpack(reason.pack()), reason);
        }
    }
}
