//! What is wrong in a file, and where.

use std::fmt;
use std::rc::Rc;

use ha_core::config::{ConfigError, Problems};

/// More problems than this are not told: nobody reads them, and a file of megabytes has many.
const MOST: usize = 100;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Something in a file that is not done as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The file and the line, as `keepalived.conf:12`.
    pub place: String,
    /// What stands there, and what is done instead.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Report {
    lenient: bool,
    errors: Vec<(Place, String, String)>,
    warnings: Vec<(Place, String)>,
}

impl Report {
    pub(super) fn new(lenient: bool) -> Self {
        Self { lenient, ..Self::default() }
    }

    /// Something that is no configuration, in keepalived neither.
    pub(super) fn wrong(
        &mut self,
        at: &Place,
        what: impl fmt::Display,
        allowed: impl Into<String>,
    ) {
        if self.errors.len() < MOST {
            self.errors.push((at.clone(), what.to_string(), allowed.into()));
        }
    }

    /// Something that keepalived does and this crate does not.
    pub(super) fn refuse(&mut self, at: &Place, what: impl fmt::Display, why: impl fmt::Display) {
        if self.lenient {
            self.warn(at, format!("{what} is ignored: {why}"));
        } else {
            self.wrong(at, what, format!("leave it out ({why}), or read the file leniently"));
        }
    }

    /// Something that is done in another way.
    pub(super) fn warn(&mut self, at: &Place, text: impl Into<String>) {
        if self.warnings.len() < MOST {
            let mut text = text.into();
            if let Some((cut, _)) = text.char_indices().nth(400) {
                text.truncate(cut);
            }
            self.warnings.push((at.clone(), text));
        }
    }

    pub(super) const fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Whether so much is wrong that reading on is of no use.
    pub(super) const fn is_full(&self) -> bool {
        self.errors.len() >= MOST
    }

    pub(super) fn finish<T>(
        self,
        made: impl FnOnce(Vec<Warning>) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Self { mut errors, mut warnings, .. } = self;
        let key = |at: &Place| (Rc::clone(&at.file), at.line);
        errors.sort_by_key(|(at, ..)| key(at));
        warnings.sort_by_key(|(at, _)| key(at));
        let mut problems = Problems::new();
        for (at, what, allowed) in errors {
            problems.add(at.to_string(), what, allowed);
        }
        problems.into_result(())?;
        let warnings = warnings.into_iter();
        let warnings = warnings.map(|(at, text)| Warning { place: at.to_string(), text }).collect();
        made(warnings).ok_or_else(|| ConfigError::new("file", "what it says", "instances"))
    }
}
