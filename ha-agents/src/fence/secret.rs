//! A password, or another thing that no log may show.

use std::fmt;

/// Hides what it holds from `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Hidden(Vec<u8>);

impl Hidden {
    pub(super) fn new(hidden: impl Into<Vec<u8>>) -> Self {
        Self(hidden.into())
    }

    pub(super) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
