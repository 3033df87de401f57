//! A [`tower_service::Service`] that balances over a pool: the client side of a service.
//!
//! ```text
//!  Discovery ─▶ Pool ◀─ health checks
//!                │ pick                      one service for each endpoint, made when it is needed,
//!  request ─▶ Balance ─▶ clone of the        shared by all clones of `Balance`, made again after a
//!                │       endpoint's service  failure: with growing pauses, in which others serve
//!                └─▶ retries, hedges: `Retrying`, `Hedged`
//! ```
//!
//! [`Balance`] is a cheap handle: all clones share pool and connections, and none needs a buffer or a
//! lock to be used at once. Everything that a pool can do counts: weights, health, limits, zones,
//! the queue of a full pool. Lists come from [`discovery::follow`](crate::discovery::follow) in a
//! task of its own, so they change also while nobody sends anything.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::convert::Infallible;
//! use std::future::ready;
//! use ha_lb::algorithm::Algorithm;
//! use ha_lb::client::Balance;
//! use ha_lb::endpoint::{Endpoint, parse_list};
//! use ha_lb::pool::Pool;
//! use tower_service::Service;
//! # #[derive(Clone)] struct Greeter(Endpoint);
//! # impl Service<&'static str> for Greeter {
//! #     type Response = String;
//! #     type Error = Infallible;
//! #     type Future = std::future::Ready<Result<String, Infallible>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>)
//! #         -> std::task::Poll<Result<(), Infallible>> { std::task::Poll::Ready(Ok(())) }
//! #     fn call(&mut self, request: &'static str) -> Self::Future {
//! #         ready(Ok(format!("{}: hello {request}", self.0.name())))
//! #     }
//! # }
//!
//! let list = parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?;
//! let pool = Pool::new(&Algorithm::RoundRobin, list)?;
//! // Makes the service of an endpoint, such as a connection; here it needs none.
//! let connect = |endpoint: Endpoint| ready(Ok::<_, Infallible>(Greeter(endpoint)));
//! let mut client = Balance::new(pool, connect);
//! assert_eq!(client.call("Ada").await?, "a: hello Ada");
//! assert_eq!(client.clone().call("Bob").await?, "b: hello Bob");
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod balance;
mod body;
mod builder;
mod connect;
mod error;
mod finish;
mod hedge;
mod retry;
mod slot;
mod table;

use std::pin::Pin;

pub use self::balance::Balance;
pub use self::body::PickBody;
pub use self::builder::BalanceBuilder;
pub use self::connect::Connect;
pub use self::error::CallError;
pub use self::finish::{AtAnswer, AtBodyEnd, AtHead, Finish};
pub use self::hedge::Hedged;
pub use self::retry::{Retrying, failure_by_status};

/// The future of an answer.
pub type AnswerFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
