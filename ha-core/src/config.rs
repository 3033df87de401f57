//! Configuration errors that come all at once: path, value, what is allowed.

use std::fmt;

/// One thing that is wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where: the key's path, the flag or the setter.
    pub path: String,
    /// What stands there now.
    pub value: String,
    /// What may stand there, or what to do.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not allowed: {}", self.path, self.value, self.allowed)
    }
}

/// Everything that is wrong in a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// An error of one problem.
    pub fn new(
        path: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) -> Self {
        let mut problems = Problems::new();
        problems.add(path, value, allowed);
        Self { problems: problems.found }
    }

    /// The problems, in the order in which they were found.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Moves every problem below `path`: `weight` becomes `backends[2].weight`.
    #[must_use]
    pub fn below(mut self, path: &str) -> Self {
        for problem in &mut self.problems {
            problem.path = format!("{path}.{}", problem.path);
        }
        self
    }
}

impl fmt::Display for ConfigError {
    /// One problem is one line; several are separated by `"; "`, so that a log line stays a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems while a configuration is checked.
///
/// ```
/// use ha_core::config::Problems;
///
/// let (priority, interval_ms) = (0, 50_000);
/// let mut problems = Problems::new();
/// if priority == 0 {
///     problems.add("priority", priority, "1 to 255");
/// }
/// if interval_ms > 40_950 {
///     problems.add("advert_interval", format!("{interval_ms} ms"), "10 ms to 40.95 s");
/// }
/// let error = problems.into_result(()).unwrap_err();
/// assert_eq!(error.problems().len(), 2); // both, not just the first
/// ```
#[derive(Debug, Clone, Default)]
pub struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    /// Nothing wrong yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { found: Vec::new() }
    }

    /// Notes a problem: where, what stands there (cut to 120 characters), what is allowed.
    pub fn add(
        &mut self,
        path: impl Into<String>,
        value: impl fmt::Display,
        allowed: impl Into<String>,
    ) {
        let mut value = value.to_string();
        if let Some((cut, _)) = value.char_indices().nth(120) {
            value.truncate(cut);
            value.push('…');
        }
        self.found.push(Problem { path: path.into(), value, allowed: allowed.into() });
    }

    /// Takes over the problems of a part.
    pub fn absorb(&mut self, error: ConfigError) {
        self.found.extend(error.problems);
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` if nothing is wrong.
    ///
    /// # Errors
    ///
    /// All problems that were noted.
    pub fn into_result<T>(self, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() { Ok(value) } else { Err(ConfigError { problems: self.found }) }
    }
}
