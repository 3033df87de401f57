//! Active health checks: what a check is, and a monitor that makes them.
//!
//! ```text
//!  Pool ──changes──▶ Monitor ──Check──▶ HealthCheck ──one connection──▶ endpoint
//!    ▲                 │  ▲                  │
//!    └───set_health────┘  └── Passed/Failed ─┘      schedule and hysteresis: Schedule, sans I/O
//! ```
//!
//! Each check is a module with its type; each is named in a text by `parse`.
//!
//! | check | passes when | HAProxy |
//! |---|---|---|
//! | `tcp` | a connection is accepted | `check` |
//! | `tls` | a handshake succeeds; ALPN, days until the certificate ends | `ssl-hello-chk` |
//! | `http` | status, headers and body are as expected; HTTP/1.1, HTTP/2, TLS | `httpchk`, `http-check` |
//! | `grpc` | `grpc.health.v1` says `SERVING` | (Envoy) |
//! | `redis` | `PING` is answered; role, lag | `redis-check` |
//! | `postgres` | it takes connections; primary or replica | `pgsql-check` |
//! | `mysql` | it greets, or lets a user in | `mysql-check` |
//! | `galera` | the node is synced, primary, ready and not taken out; not read-only | (`clustercheck`) |
//! | `smtp` | the mail server greets and answers `EHLO` | `smtpchk` |
//! | `ldap` | a bind succeeds | `ldap-check` |
//! | [`FnCheck`] | your closure says so | |
//!
//! What an endpoint says is bounded in memory (256 KiB a check; 64 KiB of a body), and in time by
//! the monitor, which drops a check that takes too long. Passwords are neither in `Debug` output
//! nor in reasons, even where a server repeats them.

pub mod agent;
#[cfg(feature = "command")]
pub mod command;
pub mod outlier;
pub mod schedule;
#[cfg(feature = "tokio")]
pub mod script;

#[cfg(feature = "tokio")]
mod ber;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "tokio")]
mod dialog;
#[cfg(feature = "http")]
mod exchange;
#[cfg(feature = "mysql")]
pub mod galera;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "tokio")]
pub mod ldap;
#[cfg(feature = "tokio")]
pub mod monitor;
#[cfg(feature = "tokio")]
pub mod mysql;
#[cfg(feature = "tokio")]
mod mysql_protocol;
#[cfg(feature = "mysql")]
mod mysql_session;
#[cfg(feature = "tokio")]
mod parse;
#[cfg(feature = "tokio")]
pub mod postgres;
#[cfg(feature = "postgres")]
mod postgres_login;
#[cfg(feature = "tokio")]
pub mod redis;
#[cfg(feature = "tokio")]
mod secret;
#[cfg(feature = "tokio")]
mod security;
#[cfg(feature = "tokio")]
pub mod smtp;
#[cfg(feature = "http")]
mod statuses;
mod target;
#[cfg(feature = "tokio")]
pub mod tcp;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "tokio")]
pub use self::parse::parse;
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
