//! Verdicts, and how much each counts.

use std::fmt;

/// What a tracker says of the thing it watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "a thing is up, down, a number, or not known")]
pub enum Verdict {
    /// Not known, or no longer known: whoever depends on it waits.
    #[default]
    Unknown,
    /// It does its work.
    Up,
    /// It does not.
    Down,
    /// A number that the weight multiplies, as a file's content (keepalived's `track_file`).
    Number(i32),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.pad("unknown"),
            Self::Up => f.pad("up"),
            Self::Down => f.pad("down"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// How much a verdict counts, -253 to 253 (keepalived's `weight`).
///
/// With 0, the default, a thing that is down is a fault of the virtual router. A positive weight
/// is added to the priority while the thing is up, a negative one subtracted while it is down; a
/// number is multiplied by it. Give the peers weights that reorder their priorities: one below the
/// difference of two priorities changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(i16);

impl Weight {
    /// 0: down is a fault.
    pub const FAULT: Self = Self(0);
    /// The largest, 253: from the lowest priority, 1, it reaches the highest that is no owner's.
    pub const MAX: Self = Self(253);
    /// The smallest, -253.
    pub const MIN: Self = Self(-253);

    /// A weight; `None` outside of -253 to 253.
    #[must_use]
    pub const fn new(weight: i32) -> Option<Self> {
        if weight < Self::MIN.0 as i32 || weight > Self::MAX.0 as i32 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "-253 to 253, as was just checked")]
        let weight = weight as i16;
        Some(Self(weight))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One thing that a virtual router tracks: by the name of its tracker, with its weight.
///
/// ```
/// use ha_vip::track::{Tracked, Weight};
///
/// let haproxy = Tracked::new("haproxy").weight(Weight::new(20).expect("in range"));
/// assert_eq!((haproxy.name(), haproxy.get_weight().get()), ("haproxy", 20));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Tracked {
    name: String,
    weight: Weight,
    reverse: bool,
}

impl Tracked {
    /// Tracks what the tracker `name` watches; when it is down, that is a fault.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), weight: Weight::FAULT, reverse: false }
    }

    /// Sets the weight; default [`Weight::FAULT`].
    pub const fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// Turns the effect around (keepalived's `reverse`); default: no.
    ///
    /// Without a weight being up becomes the fault; with a positive one being up lowers the
    /// priority; with a negative one being down raises it; a number counts with the other sign.
    pub const fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// The tracker's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much it counts.
    #[must_use]
    pub const fn get_weight(&self) -> Weight {
        self.weight
    }

    /// Whether the effect is turned around.
    #[must_use]
    pub const fn is_reversed(&self) -> bool {
        self.reverse
    }
}
