//! The weight that an agent reports.

use std::fmt;

use crate::endpoint::Weight;
use crate::state::Share;

/// The weight that an agent wants for its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "in parts of the list's weight, or not")]
pub enum AgentWeight {
    /// A weight of its own (`weight:N`), 0 to 256.
    Absolute(Weight),
    /// So many hundredths of the weight that the list has (`N%`); may be above 100.
    Percent(u16),
}

impl AgentWeight {
    /// The weight for an endpoint whose list says `listed`, rounded down, at most 256.
    ///
    /// What the list has at 0 stays there: an operator wants no work for it.
    #[must_use]
    pub fn of(self, listed: Weight) -> Weight {
        match self {
            _ if listed.is_zero() => listed,
            Self::Absolute(weight) => weight,
            Self::Percent(percent) => {
                let weight = u32::from(listed.get()) * u32::from(percent) / 100;
                let weight = u16::try_from(weight).ok().and_then(|weight| Weight::new(weight).ok());
                weight.unwrap_or(Weight::MAX)
            }
        }
    }

    /// The part of the listed weight that it is, at most all of it; not rounded to whole weights as
    /// in HAProxy, where half of a weight of 1 is 0.
    #[must_use]
    pub fn share_of(self, listed: Weight) -> Share {
        match self {
            Self::Absolute(weight) => {
                let parts = u32::from(weight.get()) * 256 / u32::from(listed.get().max(1));
                Share::of_parts(u16::try_from(parts).unwrap_or(u16::MAX))
            }
            Self::Percent(percent) => Share::of_percent(percent.into()),
        }
    }

    /// Whether it is 0: the endpoint is to get no new work.
    #[must_use]
    pub fn is_zero(self) -> bool {
        match self {
            Self::Absolute(weight) => weight.is_zero(),
            Self::Percent(percent) => percent == 0,
        }
    }
}

impl fmt::Display for AgentWeight {
    /// Writes it as agents do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(weight) => write!(f, "weight:{weight}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
