//! A simulation of many clients that balance over servers: which algorithm suits, before it is tried.
//!
//! Everything is drawn from one seed and happens in simulated time, with the real algorithms: a
//! minute of traffic takes a fraction of a second, and the same seed gives the same report.
//!
//! ```
//! use ha_lb::algorithm::Algorithm;
//! use ha_lb::simulation::{Server, Service, Simulation};
//!
//! let fast = Server::new(Service::Exponential { mean_ms: 10.0 });
//! let slow = fast.slowed(5.0);
//! let simulation = Simulation::new(7).servers(vec![fast, fast, fast, slow]).load(0.5);
//! let round_robin = simulation.run(&Algorithm::RoundRobin);
//! let least = simulation.run(&Algorithm::LeastConnections);
//! assert!(least.p99 < round_robin.p99 / 2, "{least}\n{round_robin}");
//! assert_eq!(simulation.run(&Algorithm::LeastConnections), least);
//! ```

mod report;
mod world;

use std::net::Ipv4Addr;
use std::sync::Arc;

use ha_core::config::ConfigError;

pub use self::report::Report;

use crate::algorithm::Algorithm;
use crate::algorithm::prequal::{Prequal, PrequalConfig};
use crate::balancer::Balancer;
use crate::endpoint::{Endpoint, Weight};
use crate::health::outlier;
use crate::random::mix;

/// How long a server works on a request.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Service {
    /// Always the same time, in ms.
    Constant {
        /// The time.
        ms: f64,
    },
    /// Memoryless.
    Exponential {
        /// The mean, in ms.
        mean_ms: f64,
    },
    /// Mostly short, sometimes very long: log-normal.
    LogNormal {
        /// The median, in ms.
        median_ms: f64,
        /// The standard deviation of its logarithm; 1 is usual for web services.
        sigma: f64,
    },
}

impl Service {
    /// The mean, in ms.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        match *self {
            Self::Constant { ms } => ms,
            Self::Exponential { mean_ms } => mean_ms,
            Self::LogNormal { median_ms, sigma } => median_ms * (sigma * sigma / 2.0).exp(),
        }
    }
}

/// A simulated server: some workers, and a queue in front of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Server {
    service: Service,
    workers: u16,
    weight: u16,
    slowed: f64,
    failing: f64,
}

impl Server {
    /// A server of one worker and weight 1 that never fails.
    #[must_use]
    pub const fn new(service: Service) -> Self {
        Self { service, workers: 1, weight: 1, slowed: 1.0, failing: 0.0 }
    }

    /// Sets how many requests it works on at once, 1 or more. Default: 1.
    #[must_use]
    pub const fn workers(mut self, workers: u16) -> Self {
        self.workers = if workers == 0 { 1 } else { workers };
        self
    }

    /// Sets the weight that balancers are told, 1 to 256. Default: 1.
    #[must_use]
    pub const fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// Sets how many times longer than its service time it takes. Default: 1.
    #[must_use]
    pub const fn slowed(mut self, times: f64) -> Self {
        self.slowed = times;
        self
    }

    /// Sets the part of requests that it fails at once, 0 to 1. Default: 0.
    #[must_use]
    pub const fn failing(mut self, part: f64) -> Self {
        self.failing = part;
        self
    }

    /// What it can do in a second.
    fn capacity(&self) -> f64 {
        f64::from(self.workers) * 1e3 / (self.service.mean_ms() * self.slowed).max(1e-6)
    }
}

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a simulation does nothing until it is run"]
pub struct Simulation {
    seed: u64,
    clients: u16,
    servers: Vec<Server>,
    load: f64,
    requests: u32,
    outliers: Option<outlier::Config>,
}

impl Simulation {
    /// Ten equal servers of 10 ms at 70 % of what they can do, one client, 100,000 requests.
    pub fn new(seed: u64) -> Self {
        let server = Server::new(Service::Exponential { mean_ms: 10.0 });
        Self {
            seed,
            clients: 1,
            servers: vec![server; 10],
            load: 0.7,
            requests: 100_000,
            outliers: None,
        }
    }

    /// Sets how many clients there are, 1 or more; each balances for itself. Default: 1.
    pub const fn clients(mut self, clients: u16) -> Self {
        self.clients = if clients == 0 { 1 } else { clients };
        self
    }

    /// Sets the servers.
    pub fn servers(mut self, servers: Vec<Server>) -> Self {
        self.servers = servers;
        self
    }

    /// Sets the load, in parts of what all servers can do together. Default: 0.7.
    pub const fn load(mut self, load: f64) -> Self {
        self.load = load;
        self
    }

    /// Sets how many requests are made; the first tenth only warms up and is not reported. Default: 100,000.
    pub const fn requests(mut self, requests: u32) -> Self {
        self.requests = requests;
        self
    }

    /// Has each client eject outliers. Default: none does.
    pub const fn outliers(mut self, config: outlier::Config) -> Self {
        self.outliers = Some(config);
        self
    }

    /// Runs it with this algorithm.
    ///
    /// Clients have random addresses, so that hashing spreads them. Without servers the report is
    /// all zeros.
    #[must_use]
    pub fn run(&self, algorithm: &Algorithm) -> Report {
        let balancing = |seed| (algorithm.balancer_with_seed(seed), None);
        world::run(self, algorithm.to_string(), balancing).unwrap_or_default()
    }

    /// Runs it with [Prequal](crate::algorithm::prequal) by what servers say of themselves when
    /// they are probed, rather than by each client's own counters.
    ///
    /// A probe takes no time and is never lost; its answer is used from the client's next request on.
    #[must_use]
    pub fn run_probed(&self, config: &PrequalConfig) -> Report {
        let balancing = |seed| {
            let prequal = Arc::new(Prequal::with_reports_and_seed(*config, seed));
            (Arc::clone(&prequal) as Arc<dyn Balancer>, Some(prequal))
        };
        world::run(self, "prequal, probed".to_owned(), balancing).unwrap_or_default()
    }

    fn endpoints(&self) -> Result<Vec<Endpoint>, ConfigError> {
        let endpoint = |(number, server): (u32, &Server)| {
            let name = format!("s{number}").parse().map_err(|error: ha_core::id::NameError| {
                ConfigError::new("servers", number, error.to_string())
            })?;
            let ip = Ipv4Addr::from(0x0a00_0000_u32.saturating_add(number));
            Ok(Endpoint::new(name, (ip, 80).into()).with_weight(Weight::new(server.weight)?))
        };
        (1..).zip(&self.servers).map(endpoint).collect()
    }

    fn balancer_seed(&self, client: u16) -> u64 {
        mix(self.seed ^ mix(u64::from(client)))
    }
}

#[cfg(test)]
mod tests;
