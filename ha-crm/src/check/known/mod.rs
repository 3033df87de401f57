//! The names that options and meta-attributes have, with their types and defaults.
//!
//! ```
//! use ha_crm::check::known;
//!
//! let option = known::find(known::CLUSTER_OPTIONS, "stonith-enabled").unwrap();
//! assert_eq!((option.name, option.default), ("fencing-enabled", Some("true")));
//! assert!(option.values.check("maybe").is_err());
//! ```
//!
//! # Source
//!
//! Pacemaker Explained: "Cluster-Wide Configuration", "Cluster Options", "Resource
//! Meta-Attributes", "Operation Properties", "Clones", "Bundles"; and the manual pages of the
//! options of its daemons.

mod cluster;
mod operation;
mod resource;

use std::time::Duration;

use ha_core::role::Role;

pub use self::cluster::CLUSTER_OPTIONS;
pub use self::operation::{OPERATION_ATTRIBUTES, OPERATIONS};
pub use self::resource::{RESOURCE_META, Scope};
use crate::cib::CibValue;
use crate::model::Score;

/// A name that means something to the cluster. Upper and lower case matter in names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// The name now.
    pub name: &'static str,
    /// The names it had before; they still work.
    pub former: &'static [&'static str],
    /// What it can be.
    pub values: Values,
    /// What it is if it is not given; none is "depends", which `purpose` says more of.
    pub default: Option<&'static str>,
    /// What it does, in a few words.
    pub purpose: &'static str,
    /// Where it has an effect; of cluster options and operations everywhere.
    pub scope: Scope,
    /// Whether it has no effect any more.
    pub is_gone: bool,
}

impl Known {
    const fn new(
        name: &'static str,
        values: Values,
        default: Option<&'static str>,
        purpose: &'static str,
    ) -> Self {
        let scope = Scope::Everywhere;
        Self { name, former: &[], values, default, purpose, scope, is_gone: false }
    }

    const fn formerly(mut self, former: &'static [&'static str]) -> Self {
        self.former = former;
        self
    }

    const fn only(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    const fn gone(name: &'static str, purpose: &'static str) -> Self {
        let mut known = Self::new(name, Values::Text, None, purpose);
        known.is_gone = true;
        known
    }
}

/// The one of this name, or that had it before.
#[must_use]
pub fn find(table: &'static [Known], name: &str) -> Option<&'static Known> {
    table.iter().find(|known| known.name == name || known.former.contains(&name))
}

/// What a value can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// A boolean.
    Boolean,
    /// A span of time, from zero on.
    Duration,
    /// A span of time, or one of these words or numbers.
    DurationOr(&'static [&'static str]),
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A whole number with `%`.
    Percentage,
    /// A role.
    Role,
    /// A score.
    Score,
    /// A score, or one of these words.
    ScoreOr(&'static [&'static str]),
    /// Anything.
    Text,
    /// One of these words, in upper or lower case; the second list has older words.
    Words(&'static [&'static str], &'static [&'static str]),
}

impl Values {
    /// Whether `text` is such a value.
    ///
    /// # Errors
    ///
    /// What is allowed.
    pub fn check(self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
        let fits = match self {
            Self::Boolean => bool::read(text).is_some(),
            Self::Duration => Duration::read(text).is_some(),
            Self::DurationOr(words) => one_of(words) || Duration::read(text).is_some(),
            Self::Integer { min, max } => {
                let number = text.strip_prefix('+').unwrap_or(text).parse::<i64>();
                number.is_ok_and(|number| (min..=max).contains(&number))
            }
            Self::Percentage => {
                let number = text.strip_suffix('%').map(str::trim);
                number.is_some_and(|number| number.parse::<u32>().is_ok())
            }
            Self::Role => Role::read(text).is_some(),
            Self::Score => Score::read(text).is_some(),
            Self::ScoreOr(words) => one_of(words) || Score::read(text).is_some(),
            Self::Text => true,
            Self::Words(words, older) => one_of(words) || one_of(older),
        };
        if fits { Ok(()) } else { Err(self.to_string()) }
    }

    /// The words that are allowed.
    #[must_use]
    pub const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Boolean => bool::ALLOWED,
            Self::Role => Role::ALLOWED,
            Self::DurationOr(words) | Self::ScoreOr(words) | Self::Words(words, _) => words,
            Self::Score => &["INFINITY", "-INFINITY"],
            Self::Duration | Self::Integer { .. } | Self::Percentage | Self::Text => &[],
        }
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (plain, words): (&[&str], &[&str]) = match self {
            Self::Boolean => (bool::ALLOWED, &[]),
            Self::Duration => (Duration::ALLOWED, &[]),
            Self::DurationOr(words) => (Duration::ALLOWED, words),
            Self::Integer { min, max } => {
                return match (*min, *max) {
                    (i64::MIN, i64::MAX) => f.write_str("a whole number"),
                    (min, i64::MAX) => write!(f, "a whole number from {min}"),
                    (min, max) => write!(f, "a whole number from {min} to {max}"),
                };
            }
            Self::Percentage => (&["a whole number with %, such as 80%"], &[]),
            Self::Role => (Role::ALLOWED, &[]),
            Self::Score => (Score::ALLOWED, &[]),
            Self::ScoreOr(words) => (Score::ALLOWED, words),
            Self::Text => (&["any text"], &[]),
            Self::Words(words, _) => (words, &[]),
        };
        for (index, word) in plain.iter().chain(words).enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}
