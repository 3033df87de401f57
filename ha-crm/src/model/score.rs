//! Scores: how much a resource wants to be somewhere.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// How much a resource wants to be on a node, from −1,000,000 to 1,000,000 (Pacemaker's scores).
///
/// The ends are infinite: adding to them changes nothing, and minus infinity wins over infinity.
/// Below zero means: not there.
///
/// ```
/// use ha_crm::model::Score;
///
/// assert_eq!(Score::new(50) + Score::new(-20), Score::new(30));
/// assert_eq!(Score::INFINITY + Score::new(-5), Score::INFINITY);
/// assert_eq!(Score::INFINITY + Score::NEVER, Score::NEVER);
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(from = "i32", into = "i32")]
pub struct Score(i32);

const INFINITY: i32 = 1_000_000;

impl Score {
    /// No preference.
    pub const ZERO: Self = Self(0);
    /// Must be there if it can be.
    pub const INFINITY: Self = Self(INFINITY);
    /// Must not be there (Pacemaker's `-INFINITY`).
    pub const NEVER: Self = Self(-INFINITY);

    /// A score; numbers beyond the ends count as the ends.
    #[must_use]
    pub const fn new(score: i32) -> Self {
        if score > INFINITY {
            Self::INFINITY
        } else if score < -INFINITY {
            Self::NEVER
        } else {
            Self(score)
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }

    /// Whether a resource with this score may be there.
    #[must_use]
    pub const fn allows(self) -> bool {
        self.0 >= 0
    }
}

impl From<i32> for Score {
    fn from(score: i32) -> Self {
        Self::new(score)
    }
}

impl From<Score> for i32 {
    fn from(score: Score) -> Self {
        score.0
    }
}

impl Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        if self == Self::NEVER || other == Self::NEVER {
            Self::NEVER
        } else if self == Self::INFINITY || other == Self::INFINITY {
            Self::INFINITY
        } else {
            Self::new(self.0 + other.0)
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::INFINITY => f.pad("infinity"),
            Self::NEVER => f.pad("-infinity"),
            Self(score) => score.fmt(f),
        }
    }
}
