//! Why an endpoint is an outlier.

use std::fmt;
use std::time::Duration;

/// A way to find outliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Detection {
    /// Error answers in a row.
    ErrorAnswers,
    /// Errors of a gateway in a row.
    GatewayErrors,
    /// Connections in a row that could not be made or broke.
    LocalErrors,
    /// A success rate far below that of the others.
    SuccessRate,
    /// Mostly failures.
    FailurePercentage,
    /// Times far above those of the others.
    Latency,
}

/// Which errors a rate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "what the endpoint says, and what we see")]
pub enum Origin {
    /// Error answers, of all answers.
    Answers,
    /// Connections that could not be made or broke, of all work.
    Local,
}

/// Why an endpoint is an outlier; displayed as a reason for people.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// So many errors in a row.
    Run {
        /// Of which kind.
        detection: Detection,
        /// How many.
        errors: u16,
    },
    /// Its success rate is too low.
    SuccessRate {
        /// Of which work.
        origin: Origin,
        /// Its own, 0 to 1.
        rate: f64,
        /// The mean of all, 0 to 1.
        mean: f64,
    },
    /// Too much of its work fails.
    FailurePercentage {
        /// Of which work.
        origin: Origin,
        /// How much, in percent.
        percent: f64,
    },
    /// Its work takes too long.
    Latency {
        /// Its own mean.
        mean: Duration,
        /// The median of the others' means.
        median: Duration,
    },
    /// It came back and failed again.
    Probation {
        /// What it was ejected for.
        detection: Detection,
        /// Work that failed since.
        errors: u64,
        /// All work since.
        of: u64,
    },
}

impl Cause {
    /// Which detection has found it.
    #[must_use]
    pub const fn detection(&self) -> Detection {
        match self {
            Self::Run { detection, .. } | Self::Probation { detection, .. } => *detection,
            Self::SuccessRate { .. } => Detection::SuccessRate,
            Self::FailurePercentage { .. } => Detection::FailurePercentage,
            Self::Latency { .. } => Detection::Latency,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Answers => "answers",
            Self::Local => "connections",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { detection, errors } => {
                let what = match detection {
                    Detection::GatewayErrors => "gateway errors",
                    Detection::LocalErrors => "connection errors",
                    Detection::ErrorAnswers
                    | Detection::SuccessRate
                    | Detection::FailurePercentage
                    | Detection::Latency => "error answers",
                };
                write!(f, "{errors} {what} in a row")
            }
            Self::SuccessRate { origin, rate, mean } => {
                let (rate, mean) = (rate * 100.0, mean * 100.0);
                write!(f, "{rate:.1} % of {origin} good, on average {mean:.1} %")
            }
            Self::FailurePercentage { origin, percent } => {
                write!(f, "{percent:.1} % of {origin} failed")
            }
            Self::Latency { mean, median } => {
                let ms = |time: &Duration| time.as_secs_f64() * 1e3;
                write!(f, "{:.1} ms on average, the others {:.1} ms", ms(mean), ms(median))
            }
            Self::Probation { errors, of, .. } => {
                write!(f, "{errors} of {of} failed after it came back")
            }
        }
    }
}
