//! The TCP proxy: accept, pick, connect, copy both ways.
//!
//! ```text
//! client ──▶ accept ──▶ pick ──▶ connect ──▶ relay ⇄ endpoint
//!                         ▲         │ failed, nothing sent yet
//!                         └─────────┘ another endpoint
//! ```
//!
//! Half-closed connections are kept: an end of one direction is passed on, the other goes on. A
//! connection that breaks is passed on as a reset, so that nobody takes half of an answer for all
//! of it. While nothing flows a connection holds no buffer.

mod buffers;
mod relay;

use std::net::SocketAddr;
use std::sync::Arc;

use ha_core::driver::Task;
use tokio::net::{TcpListener, TcpStream};

pub(crate) use buffers::Buffers;
#[cfg(feature = "http")]
pub(crate) use relay::Flow;
pub(crate) use relay::{Relay, reset};

use crate::pick::{Outcome, Pick};
use crate::pool::Pool;
use crate::proxy::{BindError, Config, Dialer, Ended, Handle, Shared, count, listen, serve};

/// A TCP proxy in front of a pool.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::{l4, pool::Pool, proxy::Config};
///
/// let pool = Pool::new(&Algorithm::LeastConnections, parse_list("db-1=127.0.0.1:5432")?)?;
/// let proxy = l4::Proxy::bind(Config::builder("127.0.0.1:0".parse()?).build()?, pool)?;
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
    connections: Arc<Connections>,
}

/// What the connections of a proxy share.
#[derive(Debug)]
struct Connections {
    shared: Arc<Shared>,
    dialer: Dialer,
    buffers: Arc<Buffers>,
    idle_timeout: std::time::Duration,
    cut_marked_down: bool,
}

impl Proxy {
    /// Listens; clients can connect from now on and are served once it is run. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`BindError`] says why and what to do.
    pub fn bind(config: Config, pool: Pool) -> Result<Self, BindError> {
        let (listener, local) = listen(config.listen(), config.reuse_port())?;
        let listener = Arc::new(listener);
        let connections = Connections {
            shared: Shared::new(&listener, local),
            dialer: Dialer::new(pool, &config),
            buffers: Arc::new(Buffers::default()),
            idle_timeout: config.idle_timeout(),
            cut_marked_down: config.cut_marked_down(),
        };
        Ok(Self { listener, config, connections: Arc::new(connections) })
    }

    /// A handle to watch and drain it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.connections.shared))
    }

    /// Serves until `stop` is ready, then listens no longer and ends when all connections are done
    /// or the grace is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts all connections at once; nothing is left behind.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        let Self { listener, config, connections } = self;
        let shared = Arc::clone(&connections.shared);
        serve(listener, shared, &config, stop, |stream, peer| {
            Arc::clone(&connections).serve(stream, peer)
        })
        .await
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the proxy"]
    pub fn spawn(self) -> Task<Ended> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }
}

impl Connections {
    async fn serve(self: Arc<Self>, client: TcpStream, peer: SocketAddr) {
        let (server, pick) = match self.dialer.dial(peer.ip(), &self.shared).await {
            Ok(dialed) => dialed,
            Err(error) => {
                count(&self.shared.counters.failed, 1);
                tracing::debug!(client = %peer, %error, "connection failed");
                reset(&client);
                return;
            }
        };
        let relay = Relay::new(client, server, Arc::clone(&self.buffers), self.idle_timeout);
        let result = tokio::select! { biased;
            relayed = relay => Some(relayed),
            () = pick.closing() => None,
            () = marked_down(&self.dialer.pool, &pick), if self.cut_marked_down => None,
        };
        // Dropped with the select, a relay resets both sides.
        let cut = result.is_none();
        let outcome = result.map_or(Outcome::Abandoned, |relayed| {
            count(&self.shared.counters.bytes_up, relayed.bytes_up);
            count(&self.shared.counters.bytes_down, relayed.bytes_down);
            relayed.outcome
        });
        count(&self.shared.counters.failed, u64::from(cut || outcome == Outcome::Failed));
        pick.finish(outcome);
    }
}

/// Waits until the picked endpoint is unhealthy.
async fn marked_down(pool: &Pool, pick: &Pick) {
    let mut changes = pool.changes();
    while pick.state().health() != ha_core::health::Health::Unhealthy {
        if changes.changed().await.is_err() {
            return std::future::pending().await; // not reached: the pool is held
        }
    }
}
