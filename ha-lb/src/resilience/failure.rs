//! The ways in which a try fails, for deciding whether another one may help, and may be made.

use std::fmt;
use std::str::FromStr;

use ha_core::config::{ConfigError, Problems};
use ha_core::effect::Effect;

/// How a try failed; the caller maps what it saw to one of these.
///
/// In brackets the names of HAProxy's `retry-on` and Envoy's `retry_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// No connection came about: nothing was sent (`conn-failure`; `connect-failure`).
    Connect,
    /// The peer said that it did not begin: HTTP/2 `REFUSED_STREAM`, or a request after the last
    /// one of a `GOAWAY` (`refused-stream`).
    Refused,
    /// The connection ended before the answer (`empty-response`; `reset`).
    Reset,
    /// The answer was not one (`junk-response`).
    Junk,
    /// The try's own time was over (`response-timeout`; `hedge_on_per_try_timeout`).
    Timeout,
    /// HTTP status 502: a proxy got no proper answer (`502`; `gateway-error`).
    BadGateway,
    /// HTTP status 503, gRPC `UNAVAILABLE` (`503`; `gateway-error`, `unavailable`).
    Unavailable,
    /// HTTP status 504: a proxy got no answer in time (`504`; `gateway-error`).
    GatewayTimeout,
    /// Another answer of a server in trouble: HTTP status 500, gRPC `INTERNAL` (`500`; `5xx`).
    Server,
    /// The caller asked for too much: HTTP status 429, gRPC `RESOURCE_EXHAUSTED` (`429`;
    /// `retriable-4xx`, `resource-exhausted`).
    Throttled,
    /// What no repetition mends: a wrong request, a missing right.
    Final,
}

impl Failure {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Refused,
        Self::Reset,
        Self::Junk,
        Self::Timeout,
        Self::BadGateway,
        Self::Unavailable,
        Self::GatewayTimeout,
        Self::Server,
        Self::Throttled,
        Self::Final,
    ];

    /// The class of an HTTP status; `None` for those below 400, which are no failures.
    #[must_use]
    pub const fn of_http_status(status: u16) -> Option<Self> {
        match status {
            0..400 => None,
            429 => Some(Self::Throttled),
            502 => Some(Self::BadGateway),
            503 => Some(Self::Unavailable),
            504 => Some(Self::GatewayTimeout),
            500..600 => Some(Self::Server),
            _ => Some(Self::Final),
        }
    }

    /// Whether the request may have been carried out all the same.
    ///
    /// Only a try that never reached the peer, or that the peer says it did not begin, has no
    /// effect for certain: a 503 may come from a proxy that gave up waiting.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Connect | Self::Refused => Effect::None,
            Self::Reset
            | Self::Junk
            | Self::Timeout
            | Self::BadGateway
            | Self::Unavailable
            | Self::GatewayTimeout
            | Self::Server
            | Self::Throttled
            | Self::Final => Effect::Unknown,
        }
    }

    /// The name, as texts and configurations write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Junk => "junk",
            Self::Timeout => "timeout",
            Self::BadGateway => "bad-gateway",
            Self::Unavailable => "unavailable",
            Self::GatewayTimeout => "gateway-timeout",
            Self::Server => "server",
            Self::Throttled => "throttled",
            Self::Final => "final",
        }
    }

    const fn bit(self) -> u16 {
        1 << match self {
            Self::Connect => 0,
            Self::Refused => 1,
            Self::Reset => 2,
            Self::Junk => 3,
            Self::Timeout => 4,
            Self::BadGateway => 5,
            Self::Unavailable => 6,
            Self::GatewayTimeout => 7,
            Self::Server => 8,
            Self::Throttled => 9,
            Self::Final => 10,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of [`Failure`]s; written as names with commas in between.
///
/// ```
/// use ha_lb::resilience::failure::{Failure, Failures};
///
/// let retried: Failures = "connect,unavailable".parse()?;
/// assert!(retried.contains(Failure::Unavailable));
/// assert_eq!(retried, Failures::NONE.with(Failure::Connect).with(Failure::Unavailable));
/// assert_eq!(retried.to_string(), "connect,unavailable");
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failures(u16);

impl Failures {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Those that had no effect for certain: safe for any request.
    pub const WITHOUT_EFFECT: Self = Self::NONE.with(Failure::Connect).with(Failure::Refused);

    /// Those that another endpoint, or a moment's wait, may mend; but for [`Failure::Server`],
    /// which mostly comes again, and [`Failure::Throttled`].
    pub const TRANSIENT: Self = Self::WITHOUT_EFFECT
        .with(Failure::Reset)
        .with(Failure::Junk)
        .with(Failure::Timeout)
        .with(Failure::BadGateway)
        .with(Failure::Unavailable)
        .with(Failure::GatewayTimeout);

    /// The set with one more.
    #[must_use]
    pub const fn with(self, failure: Failure) -> Self {
        Self(self.0 | failure.bit())
    }

    /// Whether the set has it.
    #[must_use]
    pub const fn contains(self, failure: Failure) -> bool {
        self.0 & failure.bit() != 0
    }

    /// Those in the set, in the order of [`Failure::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Failure> {
        Failure::ALL.into_iter().filter(move |failure| self.contains(*failure))
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl FromStr for Failures {
    type Err = ConfigError;

    /// Reads names with commas in between; an empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        let mut set = Self::NONE;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = Failure::ALL.into_iter().find(|failure| failure.name() == name);
            if let Some(failure) = known {
                set = set.with(failure);
            } else {
                problems.add("retry_on", name, Failure::ALL.map(Failure::name).join(", "));
            }
        }
        problems.into_result(set)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_bit_and_a_name_of_its_own() {
        let mut all = Failures::NONE;
        for failure in Failure::ALL {
            assert!(!all.contains(failure), "{failure}");
            all = all.with(failure);
        }
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!(all.iter().count(), Failure::ALL.len());
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let error = "connect,5xx,,".parse::<Failures>().expect_err("no such name");
        assert!(error.to_string().starts_with("retry_on: 5xx is not allowed: connect, refused,"));
        assert_eq!("".parse(), Ok(Failures::NONE));
    }

    #[test]
    fn statuses_are_classed() {
        let class = Failure::of_http_status;
        assert_eq!((class(200), class(304), class(404)), (None, None, Some(Failure::Final)));
        assert_eq!((class(500), class(599)), (Some(Failure::Server), Some(Failure::Server)));
        assert_eq!(
            (class(429), class(503)),
            (Some(Failure::Throttled), Some(Failure::Unavailable))
        );
        assert_eq!((class(999), class(0)), (Some(Failure::Final), None));
    }
}
