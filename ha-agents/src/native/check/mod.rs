//! Whether a service answers, asked over the network: alone as a resource, or beside another agent.

mod checked;
#[cfg(feature = "http")]
mod http;
mod memory;
mod tcp;
mod wait;
mod watch;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;

pub use self::checked::Checked;
#[cfg(feature = "http")]
pub use self::http::HttpCheck;
pub use self::memory::MemoryCheck;
pub use self::tcp::TcpCheck;
pub(crate) use self::wait::{failure, serves, until_passed, until_served};
pub use self::watch::Watch;
use crate::agent::Report;
use crate::outcome::Outcome;

/// How much of an answer is read: what a check looks for is at its beginning.
const MAX_ANSWER: usize = 64 * 1024;
/// How long a check waits for its answer, if nothing else is said.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks a service whether it serves.
///
/// [`Watch`] makes a resource of it, [`Checked`] adds it to another agent.
#[async_trait]
pub trait ServiceCheck: fmt::Debug + Send + Sync {
    /// What is asked, for a person, such as `tcp 127.0.0.1:6379`.
    fn name(&self) -> String;

    /// Asks once, and changes nothing: [`Outcome::Success`]: it serves; [`Outcome::Degraded`]: it
    /// does, but likely not for long; [`Outcome::NotRunning`]: nobody is there; another: it is
    /// there and does not do its work.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a drop closes the connection.
    async fn check(&self) -> Report;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<C: ServiceCheck + ?Sized> ServiceCheck for $pointer {
            fn name(&self) -> String {
                (**self).name()
            }
            async fn check(&self) -> Report {
                (**self).check().await
            }
        }
    )*};
}

forward!(&C, Box<C>, Arc<C>);

/// Why a check was not passed: the service's fault, or nobody is there.
#[derive(Debug)]
enum Failed {
    /// The system says so.
    Io(&'static str, io::Error),
    /// It answers otherwise than it should.
    Wrong(String),
}

/// Runs a check for at most `limit`, and makes an answer of how it ended.
async fn answer(
    name: &str,
    limit: Duration,
    work: impl Future<Output = Result<(), Failed>>,
) -> Report {
    let ended = tokio::select! { biased;
        ended = work => ended,
        late = pause(limit) => match late {
            Ok(()) => Err(Failed::Wrong(format!("no answer in {limit:?}"))),
            Err(error) => Err(Failed::Io("wait for", error)),
        }
    };
    match ended {
        Ok(()) => Report::success(),
        Err(Failed::Wrong(why)) => Report::new(Outcome::GenericError, format!("{name}: {why}")),
        Err(Failed::Io(what, error)) => {
            let nobody = error.kind() == io::ErrorKind::ConnectionRefused;
            let outcome = if nobody { Outcome::NotRunning } else { Outcome::GenericError };
            Report::new(outcome, format!("{name}: cannot {what} it: {error}"))
        }
    }
}

/// Whether `needle` is in `bytes`.
fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
}

/// The beginning of an answer in words.
fn quoted(bytes: &[u8]) -> String {
    let head = bytes.get(..80).unwrap_or(bytes);
    format!("{:?}", String::from_utf8_lossy(head))
}
