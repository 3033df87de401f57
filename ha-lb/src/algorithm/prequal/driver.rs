//! The driver: sends the probes that picks ask for, and reports what servers answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use ha_core::driver::Task;
use ha_core::id::EndpointName;
use ha_core::time::{BootClock, Clock};

use super::{Prequal, Table};
use crate::algorithm::random::{Drawn, Numbers};
use crate::balancer::PickContext;
use crate::endpoint::Endpoint;
use crate::health::Failed;
use crate::pool::Pool;
use crate::random::draw;
use crate::snapshot::Snapshot;

/// How one probe asks a server for its load.
///
/// It should be cheap for both sides, and quick: a probe that takes longer than the work itself is
/// of no use. A server answers what its [`Meter`](super::Meter) says.
///
/// ```
/// use async_trait::async_trait;
/// use ha_lb::algorithm::prequal::driver::{Prober, ServerLoad};
/// use ha_lb::endpoint::Endpoint;
/// use ha_lb::health::Failed;
///
/// /// Asks by a datagram.
/// #[derive(Debug)]
/// struct Datagram(tokio::net::UdpSocket);
///
/// #[async_trait]
/// impl Prober for Datagram {
///     async fn probe(&self, endpoint: &Endpoint) -> Result<ServerLoad, Failed> {
///         self.0.send_to(b"load?", endpoint.address()).await.map_err(Failed::because)?;
///         // … and hand the answers out to those who wait for them.
///         Err(Failed::because("this example reads no answers"))
///     }
/// }
/// ```
#[async_trait]
pub trait Prober: fmt::Debug + Send + Sync {
    /// Asks `endpoint` for its load. The driver sets the time limit.
    ///
    /// # Errors
    ///
    /// Why there is no answer, in words.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: a probe that takes too long is dropped.
    async fn probe(&self, endpoint: &Endpoint) -> Result<ServerLoad, Failed>;
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLoad {
    /// How many requests it is working on, of all its clients.
    pub in_flight: u32,
    /// How long one takes now.
    pub latency: Duration,
}

impl ServerLoad {
    /// So many requests in flight, each of which takes so long.
    #[must_use]
    pub const fn new(in_flight: u32, latency: Duration) -> Self {
        Self { in_flight, latency }
    }
}

/// Sends the probes that the picks of a pool ask for; a pick never waits for one.
///
/// Endpoints are drawn by weight among those that take work. At most 64 probes are under way at a
/// time; what picks ask for beyond is left out. A probe without an answer in time is forgotten: the
/// endpoint is not in the pool of answers then, and gets no work by it. One driver for a
/// [`Prequal`].
#[derive(Debug)]
#[must_use = "a driver does nothing until it is run"]
pub struct Driver<P> {
    prequal: Arc<Prequal>,
    pool: Pool,
    prober: P,
    timeout: Duration,
    max_in_flight: usize,
    clock: BootClock,
}

impl<P: Prober> Driver<P> {
    /// Probes the endpoints of `pool`, whose balancer is `prequal`, with a limit of 100 ms a probe.
    pub const fn new(prequal: Arc<Prequal>, pool: Pool, prober: P) -> Self {
        let (timeout, clock) = (Duration::from_millis(100), BootClock::new());
        Self { prequal, pool, prober, timeout, max_in_flight: 64, clock }
    }

    /// Sets how long a probe may take. Default: 100 ms. A few times what one takes usually.
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many probes may be under way at a time, 1 or more. Default: 64.
    pub const fn with_max_in_flight(mut self, probes: usize) -> Self {
        self.max_in_flight = if probes == 0 { 1 } else { probes };
        self
    }

    /// Sends probes until `stop` is ready. Of a [`Prequal`] without reports it only waits for that.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: probes under way are dropped.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let Some(reports) = &self.prequal.reports else { return stop.await };
        let mut under_way = FuturesUnordered::new();
        loop {
            let room = self.max_in_flight.saturating_sub(under_way.len());
            tokio::select! { biased;
                () = &mut stop => return,
                Some((endpoint, answer)) = under_way.next(), if !under_way.is_empty() => {
                    self.take(&endpoint, answer);
                }
                wanted = reports.wanted(), if room > 0 => {
                    let wanted = usize::try_from(wanted).unwrap_or(room).min(room);
                    for endpoint in self.targets(wanted) {
                        under_way.push(self.ask(endpoint));
                    }
                }
            }
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the driver"]
    pub fn spawn(self) -> Task<()>
    where
        P: 'static,
    {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }

    async fn ask(&self, endpoint: Endpoint) -> (EndpointName, Result<ServerLoad, Failed>) {
        let asked = tokio::time::timeout(self.timeout, self.prober.probe(&endpoint)).await;
        let answer = asked.unwrap_or_else(|_| Err(Failed::because("no answer in time")));
        (endpoint.name().clone(), answer)
    }

    fn take(&self, endpoint: &EndpointName, answer: Result<ServerLoad, Failed>) {
        match answer {
            Ok(ServerLoad { in_flight, latency }) => {
                self.prequal.report(endpoint, in_flight, latency, self.clock.now());
            }
            Err(why) => tracing::trace!(%endpoint, %why, "a probe has failed"),
        }
    }

    /// Endpoints to probe, none of them twice: so many, or fewer.
    fn targets(&self, wanted: usize) -> Vec<Endpoint> {
        let snapshot = self.pool.snapshot();
        let mut targets: Vec<Endpoint> = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            let Some(endpoint) = self.target(&snapshot) else { break };
            if !targets.iter().any(|target| target.name() == endpoint.name()) {
                targets.push(endpoint.clone());
            }
        }
        targets
    }

    fn target<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Endpoint> {
        let group = snapshot.group_for(draw)?;
        let table = group.prepared(|_: &Arc<Table>| true, || self.prequal.table(group));
        let context = PickContext::new();
        let drawn = Drawn::with_table(group, &context, &Numbers::Thread, &table.alias).next();
        group.endpoint(drawn?)
    }
}
