//! Parts of a share, and who asks for them.

/// The part of its share that an endpoint takes now: 1/256 to all of it, in parts of 256.
///
/// It is what slow start raises and what an agent's `50%` sets. A pick that would go to an endpoint
/// with a quarter of its share goes on to another one in three of four cases, so no table is built
/// anew when the part changes.
///
/// ```
/// use ha_lb::state::Share;
///
/// assert_eq!(Share::of_percent(50).parts(), 128);
/// assert_eq!(Share::of_percent(0), Share::LEAST, "0 is a matter of the weight or of draining");
/// assert_eq!(Share::of_percent(250), Share::WHOLE);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// All of it; the default.
    pub const WHOLE: Self = Self(256);
    /// The smallest: 1/256.
    pub const LEAST: Self = Self(1);

    /// So many hundredths; at least 1/256, at most all.
    #[must_use]
    pub fn of_percent(percent: u32) -> Self {
        let parts = u16::try_from(percent.min(100) * 256 / 100).unwrap_or(256);
        Self(parts.max(1))
    }

    /// So many parts of 256; at least 1, at most 256.
    #[must_use]
    pub const fn of_parts(parts: u16) -> Self {
        Self(if parts == 0 {
            1
        } else if parts > 256 {
            256
        } else {
            parts
        })
    }

    /// In parts of 256.
    #[must_use]
    pub const fn parts(self) -> u16 {
        self.0
    }

    /// Whether a pick with this random number is taken.
    pub(crate) const fn takes(self, number: u64) -> bool {
        self.0 >= 256 || number & 0xff < self.0 as u64
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// Who has an endpoint take a part of its share only; the parts are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ShareSource {
    /// Its agent reports a weight.
    Agent,
    /// It was ejected and has to prove itself.
    Outliers,
    /// The program or an operator: [`Pool::set_share`](crate::pool::Pool::set_share).
    Program,
    /// Its load reports.
    Reports,
}
