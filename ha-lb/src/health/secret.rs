//! A password, or another thing that no log may show.

use std::fmt;

/// Hides what it holds from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret<T>(T);

impl<T> Secret<T> {
    pub(super) const fn new(hidden: T) -> Self {
        Self(hidden)
    }

    pub(super) const fn reveal(&self) -> &T {
        &self.0
    }
}

impl Secret<String> {
    /// What a server said, without the secret: servers of other protocols repeat what they got.
    pub(super) fn hide(&self, said: &str) -> String {
        if self.0.is_empty() { said.to_owned() } else { said.replace(&self.0, "***") }
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nowhere() {
        let secret = Secret::new("tiger".to_owned());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(secret.hide("what is \"AUTH scott tiger\"?"), "what is \"AUTH scott ***\"?");
        assert_eq!(Secret::new(String::new()).hide("what?"), "what?");
    }
}
