//! Pick, connect, and try another endpoint if that fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Config, Shared, count};
use crate::balancer::PickContext;
use crate::pick::{Outcome, Pick, PickError};
use crate::pool::Pool;
use crate::state::EndpointState;

/// No endpoint could be connected to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// Those that were tried refused or did not answer.
    #[error("cannot connect to any of {tried} backends, the last is {address}: {source}")]
    Connect { tried: usize, address: SocketAddr, source: io::Error },
    /// There was none to try.
    #[error(transparent)]
    Pick(PickError),
}

/// Connects to a picked endpoint.
pub(crate) async fn connect(pick: &Pick, timeout: Duration) -> io::Result<TcpStream> {
    let connecting = TcpStream::connect(pick.address());
    let Ok(stream) = tokio::time::timeout(timeout, connecting).await else {
        let text = format!("no answer within {timeout:?}");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    let stream = stream?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// All who wait for a full pool at a proxy are served in the order of their arrival.
pub(crate) const PRIORITY: u8 = 128;

/// The bytes of a client's address, as the key of a stick table: 4 or 16.
pub(crate) fn address_bytes(client: IpAddr) -> Vec<u8> {
    match client {
        IpAddr::V4(client) => client.octets().to_vec(),
        IpAddr::V6(client) => client.octets().to_vec(),
    }
}

/// Finds an endpoint that a connection can be made to.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) pool: Pool,
    pub(crate) timeout: Duration,
    pub(crate) retries: u32,
}

impl Dialer {
    pub(crate) fn new(pool: Pool, config: &Config) -> Self {
        Self { pool, timeout: config.connect_timeout(), retries: config.retries() }
    }

    /// Picks and connects; tries others when that fails, as nothing was sent yet.
    pub(crate) async fn dial(
        &self,
        client: IpAddr,
        shared: &Shared,
    ) -> Result<(TcpStream, Pick), DialError> {
        let mut tried: Vec<Arc<EndpointState>> = Vec::new();
        let mut last = None;
        let key = address_bytes(client);
        let context = PickContext::new().with_client(client).with_stick_key(&key);
        for attempt in 0..=self.retries {
            let picked = self.pool.acquire(&context.with_excluded(&tried), PRIORITY).await;
            let pick = match (picked, last.take()) {
                (Ok(pick), _) => pick,
                (Err(_), Some(failure)) => return Err(failure),
                (Err(error), None) => return Err(DialError::Pick(error)),
            };
            count(&shared.counters.retried, u64::from(attempt > 0));
            match connect(&pick, self.timeout).await {
                Ok(stream) => return Ok((stream, pick)),
                Err(source) => {
                    tracing::debug!(backend = %pick.name(), %source, "cannot connect");
                    tried.push(Arc::clone(pick.state()));
                    let (tried, address) = (tried.len(), pick.address());
                    last = Some(DialError::Connect { tried, address, source });
                    pick.finish(Outcome::ConnectFailed);
                }
            }
        }
        Err(last.unwrap_or(DialError::Pick(PickError::AllTried)))
    }
}
