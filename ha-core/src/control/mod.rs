//! A control socket: a program is asked and answers, one JSON object a line each way.
//!
//! ```text
//! → {"request":"status"}
//! ← {"state":"active"}
//! → nonsense
//! ← {"error":"cannot read this line: …"}
//! ```
//!
//! What the lines mean is the [`Responder`]'s. A line has at most [`MAX_REQUEST`] bytes, an answer
//! [`MAX_ANSWER`]; a connection has one request in work, and a server [`MAX_CONNECTIONS`]. A line
//! that is too long ends its connection; one that makes no sense is answered with an `error` and
//! counted. The socket's mode is 0600: whoever may open it may do everything.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::{sync::Arc, time::Duration};
//! use async_trait::async_trait;
//! use ha_core::control::{Answer, Client, Lines, Responder, Server};
//!
//! #[derive(Debug)]
//! struct Echo;
//!
//! #[async_trait]
//! impl Responder for Echo {
//!     async fn respond(&self, line: &[u8], _from: &mut Lines) -> Answer {
//!         match serde_json::from_slice::<serde_json::Value>(line) {
//!             Ok(value) => Answer::of(&value),
//!             Err(error) => Answer::unreadable(&error),
//!         }
//!     }
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("ha.sock");
//! let server = Server::bind(&path, Arc::new(Echo)).await?;
//! let mut client = Client::connect(&path).await?;
//! let answer: Vec<u8> = client.ask(&[1, 2], Duration::from_secs(5)).await?;
//! assert_eq!(answer, [1, 2]);
//! server.stop().await;
//! assert!(!path.exists());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod client;
mod error;
mod line;
mod server;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::client::Client;
pub use self::error::ControlError;
pub use self::line::Lines;
pub use self::server::{Server, Tally};

/// The longest request, in bytes: 4 MiB, room for the largest value of a store as text or hex and
/// for the largest configuration file.
pub const MAX_REQUEST: usize = 4 << 20;
/// The longest answer, in bytes: 16 MiB, room for the status of some ten thousand resources.
pub const MAX_ANSWER: usize = 16 << 20;
/// How many connections a server has at a time; more are told so and closed.
pub const MAX_CONNECTIONS: usize = 64;

/// Who answers the lines that come through a socket.
#[async_trait]
pub trait Responder: Debug + Send + Sync {
    /// Answers a line. `from` is where it came from, to see whether anybody still waits.
    ///
    /// # Cancel safety
    ///
    /// Dropped when the server stops: what was asked for may have been done.
    async fn respond(&self, line: &[u8], from: &mut Lines) -> Answer;
}

#[async_trait]
impl<R: Responder + ?Sized> Responder for Arc<R> {
    async fn respond(&self, line: &[u8], from: &mut Lines) -> Answer {
        (**self).respond(line, from).await
    }
}

/// What a [`Responder`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "an answer, a complaint, or nothing")]
pub enum Answer {
    /// This line, which has its end.
    Line(Vec<u8>),
    /// The request makes no sense, and why: it is counted.
    Misunderstood(String),
    /// Nobody waits for it any more: the connection ends.
    Nobody,
}

impl Answer {
    /// A value as a line. One that cannot be written as JSON is told as such.
    pub fn of(value: &impl Serialize) -> Self {
        match line::encode(value) {
            Ok(line) => Self::Line(line),
            Err(error) => Self::Misunderstood(format!("cannot write the answer: {error}")),
        }
    }

    /// The answer to a line that is no request.
    #[must_use]
    pub fn unreadable(error: &serde_json::Error) -> Self {
        Self::Misunderstood(format!("cannot read this line: {error}"))
    }
}

/// The answer to a line that was not understood.
#[derive(Debug, Serialize, Deserialize)]
struct Misunderstood {
    error: String,
}

#[cfg(test)]
mod tests;
