//! Errors of the work itself that speed health checks up, or count as failed ones.

use std::num::NonZeroU16;

use crate::health::schedule::OnError;
#[cfg(feature = "tokio")]
use crate::state::Runs;

/// Which errors count (HAProxy's `observe`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "HAProxy's two layers")]
pub enum Observe {
    /// Connections that could not be made or broke; any answer is a success (`layer4`).
    Layer4,
    /// Those, and answers that are errors (`layer7`). The default.
    #[default]
    Layer7,
}

/// After how many errors in a row what happens to the health; for
/// [`Monitor::with_error_limit`](crate::health::monitor::Monitor::with_error_limit).
///
/// It makes the work itself a probe: an endpoint that fails every request need not wait for the
/// next check. Unlike ejection it acts through the health: the checks bring the endpoint back.
///
/// ```
/// use ha_lb::health::outlier::{ErrorLimit, Observe};
/// use ha_lb::health::schedule::OnError;
///
/// let limit = ErrorLimit::new(Observe::Layer7).after(5).then(OnError::MarkDown);
/// assert_eq!(limit.errors().get(), 5);
/// ```
///
/// # Source
///
/// HAProxy's `observe`, `error-limit` and `on-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorLimit {
    observe: Observe,
    errors: NonZeroU16,
    on_error: OnError,
}

impl ErrorLimit {
    /// After 10 errors in a row, a failed check (HAProxy's defaults).
    #[must_use]
    pub const fn new(observe: Observe) -> Self {
        let errors = NonZeroU16::MIN.saturating_add(9);
        Self { observe, errors, on_error: OnError::FailCheck }
    }

    /// Sets how many errors in a row it takes; 0 counts as 1. Default: 10 (HAProxy's `error-limit`).
    #[must_use]
    pub const fn after(mut self, errors: u16) -> Self {
        self.errors = match NonZeroU16::new(errors) {
            Some(errors) => errors,
            None => NonZeroU16::MIN,
        };
        self
    }

    /// Sets what they do. Default: they count as a failed check (HAProxy's `on-error`).
    #[must_use]
    pub const fn then(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Which errors count.
    #[must_use]
    pub const fn observe(&self) -> Observe {
        self.observe
    }

    /// How many errors in a row it takes.
    #[must_use]
    pub const fn errors(&self) -> NonZeroU16 {
        self.errors
    }

    /// What they do.
    #[must_use]
    pub const fn on_error(&self) -> OnError {
        self.on_error
    }

    /// The run that is watched.
    #[cfg(feature = "tokio")]
    pub(crate) fn thresholds(self) -> Runs {
        let errors = self.errors.get();
        match self.observe {
            Observe::Layer4 => Runs { local: errors, ..Runs::default() },
            Observe::Layer7 => Runs { any: errors, ..Runs::default() },
        }
    }
}
