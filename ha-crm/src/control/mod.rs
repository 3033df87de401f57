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
//! The bounds are those of [`ha_core::control`]. The socket's mode is 0600: whoever may open it may
//! do everything.
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
mod server;
mod store;
mod wire;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
pub use ha_core::control::{ControlError, MAX_ANSWER, MAX_CONNECTIONS, MAX_REQUEST, Tally};

pub use self::client::Client;
pub use self::server::Server;
pub use self::store::SocketStore;
use crate::manager::{Request, Response};

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

#[cfg(test)]
mod tests;
