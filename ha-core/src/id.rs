//! Names and numbers that must not be mixed up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: a DNS name's limit, so that host names always fit.
pub const MAX_NAME_LEN: usize = 253;

/// The text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot use {text:?} as {what}: names have 1 to {MAX_NAME_LEN} characters of a-z, A-Z, 0-9, \
     '-', '_', '.' and ':', and start with a letter or digit"
)]
#[non_exhaustive]
pub struct NameError {
    /// What the text was meant to name.
    pub what: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
}

fn checked(what: &'static str, text: &str) -> Result<Arc<str>, NameError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if starts_well && text.len() <= MAX_NAME_LEN && text.chars().all(allowed) {
        return Ok(Arc::from(text));
    }
    Err(NameError { what, text: text.chars().take(80).collect() })
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// One to 253 characters of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.` and `:`, the first a
        /// letter or digit. Cloning is cheap.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and makes a name.
            ///
            /// # Errors
            ///
            /// [`NameError`] when a character or the length is not allowed.
            pub fn new(text: &str) -> Result<Self, NameError> {
                checked($what, text).map(Self)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}

names! {
    /// The name of a member computer, usually its host name.
    NodeName, "a node's name";
    /// The name of a resource that the cluster keeps running.
    ResourceName, "a resource's name";
    /// The name of an endpoint that a balancer can pick.
    EndpointName, "an endpoint's name";
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The first number.
            pub const FIRST: Self = Self(1);

            /// Makes the number from its raw value, as read from a wire or a disk.
            #[must_use]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The raw value, for a wire or a disk.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The next number; the last one is its own next.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

numbers! {
    /// A number that grows with every grant of a lease, so that storage can refuse a holder of
    /// the past (Kleppmann, "How to do distributed locking").
    FencingToken;
    /// One life of a process or node: a restarted one has a higher incarnation (SWIM, section 4.2).
    Incarnation;
    /// One operation that was asked for and whose end is awaited.
    OpId;
    /// One agreed view of the membership; a later view has a higher number.
    ViewId;
    /// A term of leadership; commands of an older term are refused (Raft, section 5.1).
    Term;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_round_trip_through_text_and_serde(text in "[a-zA-Z0-9][a-zA-Z0-9._:-]{0,252}") {
            let name = NodeName::new(&text).expect("allowed characters");
            prop_assert_eq!(name.to_string().parse::<NodeName>(), Ok(name.clone()));
            let json = serde_json::to_string(&name).expect("a string");
            prop_assert_eq!(serde_json::from_str::<NodeName>(&json).expect("the same"), name);
        }

        #[test]
        fn any_text_is_a_name_or_an_error_that_quotes_it(text: String) {
            match ResourceName::new(&text) {
                Ok(name) => prop_assert_eq!(name.as_str(), text),
                Err(error) => prop_assert!(error.text.chars().count() <= 80),
            }
        }
    }

    #[test]
    fn tokens_grow_and_stop_at_the_end() {
        assert!(FencingToken::FIRST < FencingToken::FIRST.next());
        assert_eq!(FencingToken::new(u64::MAX).next(), FencingToken::new(u64::MAX));
    }
}
