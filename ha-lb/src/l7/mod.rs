//! The HTTP/1.1 reverse proxy, on hyper.
//!
//! ```text
//! client ──▶ hyper server ──▶ vet, rewrite headers ──▶ pick ──▶ idle connection, or connect
//!                ▲                                      ▲               │
//!                │                                      └── try again ──┤ nothing has happened
//!                └──────── answer, streamed ◀── hyper client ◀──────────┘
//! ```
//!
//! * Connections are kept on both sides; those to endpoints are pooled, with bounds.
//! * Hop-by-hop headers are not passed on (RFC 9110 §7.6.1), `X-Forwarded-For` is appended to,
//!   `Host` stays. Upgrades (WebSocket) are passed through. Bodies are streamed.
//! * An attempt that had no effect is repeated elsewhere: when connecting failed, when a request
//!   could not be sent at all, and for idempotent requests without a body (RFC 9110 §9.2.2) when
//!   the connection broke before the first byte of an answer.
//! * Without an endpoint the answer is 503, after a broken one 502, after a silent one 504.
//!
//! The exchange with the endpoint is driven by the task of the client's connection: there is no
//! second task to wake up.

mod body;
mod config;
mod connection;
mod exchange;
mod headers;
mod idle;
mod upstream;

use std::sync::Arc;

use ha_core::driver::Task;
use tokio::net::TcpListener;

pub use config::{Config, ConfigBuilder};

use crate::pool::Pool;
use crate::proxy::{BindError, Ended, Handle, Shared, listen, serve};
use exchange::Exchanger;

/// An HTTP/1.1 reverse proxy in front of a pool.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::{l7, pool::Pool, proxy};
///
/// let pool = Pool::new(&Algorithm::RoundRobin, parse_list("127.0.0.1:8081,127.0.0.1:8082")?)?;
/// let config = l7::Config::new(proxy::Config::builder("127.0.0.1:0".parse()?).build()?);
/// let proxy = l7::Proxy::bind(config, pool)?;
/// println!("listening on {}", proxy.handle().local_addr());
/// let ended = proxy.spawn().stop().await?;
/// assert_eq!(ended.cut, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a proxy does nothing until it is run"]
pub struct Proxy {
    listener: Arc<TcpListener>,
    config: Config,
    exchanger: Arc<Exchanger>,
}

impl Proxy {
    /// Listens; clients can connect from now on and are served once it is run. Must be called
    /// inside a tokio runtime, which must also run it: idle connections belong to it.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why and what to do.
    pub fn bind(config: Config, pool: Pool) -> Result<Self, BindError> {
        let (listener, local) = listen(config.proxy().listen(), config.proxy().reuse_port())?;
        let listener = Arc::new(listener);
        let shared = Shared::new(&listener, local);
        let exchanger = Arc::new(Exchanger::new(&config, pool, shared));
        Ok(Self { listener, config, exchanger })
    }

    /// A handle to watch and drain it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(self.exchanger.shared()))
    }

    /// Serves until `stop` is ready, then listens no longer, closes idle connections, finishes the
    /// requests under way with `Connection: close`, and ends when all is done or the grace is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts all connections at once; nothing is left behind.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let Self { listener, config, exchanger } = self;
        let shared = Arc::clone(exchanger.shared());
        let server = connection::server(&config);
        let serving = serve(listener, shared, config.proxy(), stop, |stream, peer| {
            let exchanger = Arc::clone(&exchanger);
            connection::serve(server.clone(), exchanger, stream, peer)
        });
        tokio::select! {
            ended = serving => ended,
            never = exchanger.idle().keep_tidy() => match never {},
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the proxy"]
    pub fn spawn(self) -> Task<Ended> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }
}
