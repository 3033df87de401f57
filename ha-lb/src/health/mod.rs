//! Active health checks: what a check is, and a monitor that makes them.
//!
//! ```text
//!  Pool ──changes──▶ Monitor ──Check──▶ HealthCheck (TCP, HTTP, closure)
//!    ▲                 │  ▲                  │
//!    └───set_health────┘  └── Passed/Failed ─┘      schedule and hysteresis: Schedule, sans I/O
//! ```

pub mod agent;
#[cfg(feature = "command")]
pub mod command;
pub mod outlier;
pub mod schedule;
#[cfg(feature = "tokio")]
pub mod script;

#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "tokio")]
pub mod monitor;
mod target;
#[cfg(feature = "tokio")]
pub mod tcp;

pub use self::target::Target;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

/// The longest reason that is kept, in characters: what a peer says must not fill logs.
const MAX_REASON: usize = 200;

/// A check passed; says in words how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed(String);

/// A check failed; says in words why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(String);

macro_rules! reasons {
    ($($name:ident),*) => {$(
        impl $name {
            /// The result with its reason, cut to 200 characters, control characters replaced.
            pub fn because(reason: impl fmt::Display) -> Self {
                let reason = reason.to_string();
                let printable = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
                Self(printable.take(MAX_REASON).collect())
            }

            /// The reason.
            #[must_use]
            pub fn reason(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

reasons!(Passed, Failed);

/// One way to find out whether an endpoint can do its work.
///
/// The monitor sets the pace and the time limit: a check only tries once and says what it saw.
///
/// ```
/// use async_trait::async_trait;
/// use ha_lb::health::{Failed, HealthCheck, Passed, Target};
///
/// /// Passes while a file exists.
/// #[derive(Debug)]
/// struct Flag(std::path::PathBuf);
///
/// #[async_trait]
/// impl HealthCheck for Flag {
///     async fn check(&self, _: &Target) -> Result<Passed, Failed> {
///         if self.0.exists() {
///             Ok(Passed::because("the file is there"))
///         } else {
///             Err(Failed::because("the file is gone"))
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait HealthCheck: fmt::Debug + Send + Sync {
    /// Checks the endpoint `target` once.
    ///
    /// # Errors
    ///
    /// [`Failed`] says what was seen.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: a check that takes too long is dropped.
    async fn check(&self, target: &Target) -> Result<Passed, Failed>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<C: HealthCheck + ?Sized> HealthCheck for $pointer {
            async fn check(&self, target: &Target) -> Result<Passed, Failed> {
                (**self).check(target).await
            }
        }
    )*};
}

forward!(&C, Box<C>, Arc<C>);

/// Reads a check as flags and files name it: `tcp`, or `http:/PATH` (feature `http`).
///
/// ```
/// # #[cfg(feature = "http")] {
/// assert!(ha_lb::health::parse("http:/health").is_ok());
/// # }
/// assert!(ha_lb::health::parse("tcp").is_ok());
/// let error = ha_lb::health::parse("ping").unwrap_err().to_string();
/// assert_eq!(error, "check: ping is not allowed: tcp or http:/PATH, such as http:/health");
/// ```
///
/// # Errors
///
/// When it is neither.
#[cfg(feature = "tokio")]
pub fn parse(text: &str) -> Result<Arc<dyn HealthCheck>, ha_core::config::ConfigError> {
    if text == "tcp" {
        return Ok(Arc::new(tcp::TcpCheck::new()));
    }
    #[cfg(feature = "http")]
    if let Some(Ok(check)) = text.strip_prefix("http:").map(http::HttpCheck::new) {
        return Ok(Arc::new(check));
    }
    let allowed = "tcp or http:/PATH, such as http:/health";
    Err(ha_core::config::ConfigError::new("check", text, allowed))
}

/// A check that is a closure.
///
/// ```
/// use ha_lb::health::{Failed, FnCheck, Passed, Target};
///
/// let check = FnCheck::new(|target: Target| async move {
///     if target.address().port() == 80 { Ok(Passed::because("port 80")) } else { Err(Failed::because("no")) }
/// });
/// # let _: &dyn ha_lb::health::HealthCheck = &check;
/// ```
pub struct FnCheck<F>(F);

impl<F, A> FnCheck<F>
where
    F: Fn(Target) -> A + Send + Sync,
    A: Future<Output = Result<Passed, Failed>> + Send,
{
    /// A check that calls `check`.
    #[must_use]
    pub const fn new(check: F) -> Self {
        Self(check)
    }
}

impl<F> fmt::Debug for FnCheck<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnCheck").finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, A> HealthCheck for FnCheck<F>
where
    F: Fn(Target) -> A + Send + Sync,
    A: Future<Output = Result<Passed, Failed>> + Send,
{
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        (self.0)(target.clone()).await
    }
}
