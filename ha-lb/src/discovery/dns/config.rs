//! The settings of discovery by DNS.

use std::net::SocketAddr;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;

use super::Dns;
use crate::resilience::backoff::{Backoff, Jitter};

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Families {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// A records only.
    V4,
    /// AAAA records only.
    V6,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Addresses, with the port that all have.
    Addresses { port: u16 },
    /// SRV records.
    Service,
}

/// Makes a [`Dns`]; see there.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct DnsBuilder {
    pub(super) name: String,
    pub(super) question: Question,
    servers: Vec<SocketAddr>,
    pub(super) families: Families,
    pub(super) min_refresh: Duration,
    pub(super) max_refresh: Duration,
    pub(super) retry: Backoff,
    pub(super) timeout: Duration,
    pub(super) max_records: usize,
    pub(super) seed: u64,
}

impl DnsBuilder {
    pub(super) fn new(name: &str, question: Question) -> Self {
        let (base, cap) = (Duration::from_secs(1), Duration::from_secs(30));
        Self {
            name: name.to_owned(),
            question,
            servers: Vec::new(),
            families: Families::Both,
            min_refresh: Duration::from_secs(5),
            max_refresh: Duration::from_mins(5),
            retry: Backoff::new(base, cap, Jitter::Equal).unwrap_or_default(),
            timeout: Duration::from_secs(10),
            max_records: 1000,
            seed: 0,
        }
    }

    /// Sets which name servers are asked, by UDP, and by TCP where an answer does not fit.
    ///
    /// Default: those of `/etc/resolv.conf`, with its search list, and `/etc/hosts` before them.
    /// With servers given, neither file is read.
    pub fn servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.servers = servers.into_iter().collect();
        self
    }

    /// Sets which addresses are asked for. Default: both kinds.
    pub const fn families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// Sets the bounds of how long an answer is used; within them it is the records' time to live.
    ///
    /// 10 ms to 24 h; default 5 s to 5 min (the first is Envoy's `dns_min_refresh_rate`).
    pub const fn refresh(mut self, min: Duration, max: Duration) -> Self {
        self.min_refresh = min;
        self.max_refresh = max;
        self
    }

    /// Sets the pauses while there is no good answer.
    ///
    /// Default: 1 s to 30 s (Envoy's `dns_failure_refresh_rate`).
    pub const fn retry(mut self, retry: Backoff) -> Self {
        self.retry = retry;
        self
    }

    /// Sets how long a look-up may take, with all its tries and all names it leads to.
    ///
    /// 10 ms to 10 min; default 10 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how many endpoints are taken of an answer; the same ones each time.
    ///
    /// 1 to 65,535; default 1000.
    pub const fn max_records(mut self, most: usize) -> Self {
        self.max_records = most;
        self
    }

    /// Sets the seed of the pauses' jitter.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the settings and makes a resolver.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range; and a `/etc/resolv.conf` that cannot be read.
    pub fn build(self) -> Result<Dns, ConfigError> {
        const DAY: Duration = Duration::from_hours(24);
        let mut problems = Problems::new();
        if Name::from_utf8(&self.name).is_err() || self.name.is_empty() {
            problems.add("name", &self.name, "a DNS name, such as db.example.org");
        }
        if self.question == (Question::Addresses { port: 0 }) {
            problems.add("port", 0, "1 to 65535");
        }
        let least = Duration::from_millis(10);
        for (path, time, range, allowed) in [
            ("refresh.min", self.min_refresh, least..=DAY, "10 ms to 24 h"),
            ("refresh.max", self.max_refresh, self.min_refresh..=DAY, "the minimum to 24 h"),
            ("timeout", self.timeout, least..=Duration::from_mins(10), "10 ms to 10 min"),
        ] {
            if !range.contains(&time) {
                problems.add(path, format!("{time:?}"), allowed);
            }
        }
        if !(1..=65_535).contains(&self.max_records) {
            problems.add("max_records", self.max_records, "1 to 65535");
        }
        let resolver = self.resolver();
        if let Err(error) = &resolver {
            problems.absorb(error.clone());
        }
        problems.into_result(())?;
        Ok(Dns::new(self, resolver?))
    }

    fn resolver(&self) -> Result<TokioResolver, ConfigError> {
        let wrong = |error: &dyn std::fmt::Display| {
            ConfigError::new("servers", error, "a readable /etc/resolv.conf, or servers given here")
        };
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| wrong(&error))?
        } else {
            let servers = self.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let at_port = connections.map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, at_port.to_vec())
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        };
        let ResolverOpts { cache_size, timeout, .. } = builder.options_mut();
        // An answer is asked for again when it is no longer valid, and never before.
        *cache_size = 0;
        *timeout = (*timeout).min(self.timeout / 2);
        builder.build().map_err(|error| wrong(&error))
    }
}
