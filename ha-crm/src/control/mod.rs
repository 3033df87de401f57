//! The control socket of a node: requests in, answers out, one JSON object a line each way.
//!
//! ```text
//! → {"request":"standby","node":"n2"}
//! ← {"response":"done"}
//! → {"request":"move","resource":"vip","node":"n9"}
//! ← {"response":"refused","reason":"…"}
//! → {"store":"write","key":"locks/backup","expected":"absent","value":{"text":"n1"}}
//! ← {"store":"written","revision":12}
//! → nonsense
//! ← {"error":"cannot read this line: …"}
//! ```
//!
//! # Protocol
//!
//! What has a `request` is for the [`Handler`]: a [`Request`], answered by a [`Response`]. What has
//! a `store` is for the cluster's store, if the [`Server`] was given one:
//!
//! | asked | answered |
//! |---|---|
//! | `get` with `key` | `entry` with `entry`: null, or `value` and `revision` |
//! | `list` with `prefix` | `list` with `entries` of `key`, `value`, `revision`, and `revision` |
//! | `write` with `key`, `expected` (`any`, `absent` or `{"revision":N}`), `value` (null deletes) | `written` with `revision` |
//! | `next-change` with `prefix`, `after` | `change` with `key`, `value`, `revision`; `nothing` after 30 s: ask again |
//! | any of them | `failed` with `fault` |
//!
//! A value is `{"text":"…"}` if it is UTF-8 without control characters but line ends and
//! tabs, so that people can read it, else `{"hex":"…"}`: neither is more than twice as long as
//! the bytes.
//!
//! A line has at most [`MAX_REQUEST`] bytes, an answer [`MAX_ANSWER`]; a connection has one
//! request in work, and a server [`MAX_CONNECTIONS`]. A line that is too long ends its connection;
//! one that makes no sense is answered and counted. The socket's mode is 0600: whoever may open it
//! may do everything.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::{sync::Arc, time::Duration};
//! use async_trait::async_trait;
//! use ha_crm::control::{Client, Handler, Server};
//! use ha_crm::manager::{Request, Response};
//!
//! #[derive(Debug)]
//! struct Agreeable;
//!
//! #[async_trait]
//! impl Handler for Agreeable {
//!     async fn answer(&self, _request: Request) -> Response {
//!         Response::Done
//!     }
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("ha.sock");
//! let server = Server::bind(&path, Arc::new(Agreeable)).await?;
//! let mut client = Client::connect(&path).await?;
//! let standby = Request::Standby { node: "n2".parse()? };
//! assert_eq!(client.ask(&standby, Duration::from_secs(5)).await?, Response::Done);
//! server.stop().await;
//! assert!(!path.exists());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod client;
mod line;
mod server;
mod store;
mod wire;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::effect::Effect;

pub use self::client::Client;
pub use self::server::{Server, Tally};
pub use self::store::SocketStore;
use crate::manager::{Request, Response};

/// The longest request, in bytes: 4 MiB, room for the largest value of a store as text or hex and
/// for the largest configuration file.
pub const MAX_REQUEST: usize = 4 << 20;
/// The longest answer, in bytes: 16 MiB, room for the status of some ten thousand resources.
pub const MAX_ANSWER: usize = 16 << 20;
/// How many connections a server has at a time; more are told so and closed.
pub const MAX_CONNECTIONS: usize = 64;

/// Who answers the requests that come through a socket.
#[async_trait]
pub trait Handler: Debug + Send + Sync {
    /// Answers a request, for the whole cluster: where this node does not lead, the leader does.
    ///
    /// # Cancel safety
    ///
    /// Dropped when the server stops: what was asked for may have been done.
    async fn answer(&self, request: Request) -> Response;
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for &H {
    async fn answer(&self, request: Request) -> Response {
        (**self).answer(request).await
    }
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Box<H> {
    async fn answer(&self, request: Request) -> Response {
        (**self).answer(request).await
    }
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Arc<H> {
    async fn answer(&self, request: Request) -> Response {
        (**self).answer(request).await
    }
}

/// A control socket could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The connection ended before the answer.
    #[error(
        "cannot tell whether the node at {} did it: the connection ended before the answer; ask for the status",
        socket.display()
    )]
    Closed {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process listens there.
    #[error(
        "cannot listen on {}: another process does; stop it, or give this node a `socket` of its own",
        socket.display()
    )]
    InUse {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket could not be made.
    #[error(
        "cannot listen on {}: the system refused; check that its folder exists, is yours, and that the path has less than 100 bytes",
        socket.display()
    )]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error(
        "cannot tell whether the node at {} did it: no answer in {limit:?}; ask for the status, or look whether the cluster has quorum",
        socket.display()
    )]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
    /// Something else than a socket is there.
    #[error(
        "cannot listen on {}: there is something that is no socket; remove it, or choose another `socket`",
        socket.display()
    )]
    NotASocket {
        /// What is there.
        socket: PathBuf,
    },
    /// The node did not understand, or did not take the connection.
    #[error("cannot ask the node at {}: it says: {reason}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The answer is not one.
    #[error(
        "cannot understand the node at {}: its answer is no answer to this; use programs of one version",
        socket.display()
    )]
    Strange {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody listens there.
    #[error(
        "cannot reach a node at {}: is it running, and may you use its socket? Start it, or name another socket",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ControlError {
    /// Whether what was asked for may have been done all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::InUse { .. }
            | Self::Listen { .. }
            | Self::NotASocket { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. } => Effect::None,
            Self::Closed { .. } | Self::NoAnswer { .. } | Self::Strange { .. } => Effect::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
