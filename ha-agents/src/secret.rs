//! A password, or another thing that no log may show.

use std::fmt;
use std::ops::Deref;

/// Hides what it holds, text or bytes, from `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret<T = String>(T);

impl<T: Deref> Secret<T> {
    pub(crate) fn new(hidden: impl Into<T>) -> Self {
        Self(hidden.into())
    }

    pub(crate) fn reveal(&self) -> &T::Target {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_shows_itself() {
        let (text, bytes) = (Secret::<String>::new("sesame"), Secret::<Vec<u8>>::new(*b"sesame"));
        assert_eq!((text.reveal(), bytes.reveal()), ("sesame", &b"sesame"[..]));
        assert_eq!(format!("{text:?} {bytes:#?}"), "… …");
    }
}
