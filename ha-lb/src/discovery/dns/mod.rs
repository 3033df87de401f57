//! Endpoints from DNS: addresses of a name, or the servers of a service (SRV).
//!
//! ```text
//!            ┌── time to live, within bounds ──┐
//!            ▼                                 │ good
//!  wait ─▶ look up ─▶ A, AAAA; or SRV and A, AAAA of each target ─▶ endpoints
//!            ▲                                 │ none, a part only, or no answer
//!            └──────── a longer pause ─────────┘ (the last good list stays)
//! ```
//!
//! # Source
//!
//! RFC 1035, RFC 2782 (SRV), RFC 2308 (there is no such name; the name has no such record). What
//! becomes of failures is as in HAProxy's `resolvers` (`hold`) and Envoy's strict DNS, but for
//! empty answers: those take no endpoint away here, as a name that has lost all its records is a
//! mistake far more often than a wish. Packets are hickory-resolver's work.

mod answer;
mod config;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use ha_core::driver::Alarm;
use ha_core::time::{BootClock, Clock, Instant};
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, RecordType};

use self::answer::Server;
use self::config::Question;
pub use self::config::{DnsBuilder, Families};
use super::{Discovery, DiscoveryError, Found};
use crate::resilience::backoff::Pauses;

/// How many targets of a service are looked up at the same time.
const AT_ONCE: usize = 8;

/// How many targets of a service are looked up.
const MAX_TARGETS: usize = 256;

/// Endpoints from DNS.
///
/// They are named by address and port, so that an endpoint that stays keeps its connections and
/// health. A look-up that fails in part has failed: if the A records come and the AAAA records time
/// out, the last good list stays.
///
/// ```no_run
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::discovery::dns::Dns;
/// use ha_lb::discovery::follow::follow;
/// use ha_lb::pool::Pool;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(&Algorithm::LeastConnections, Vec::new())?;
/// let dns = Dns::addresses("db.example.org", 5432).build()?;
/// let task = follow(dns, pool.clone());
/// // … or, with ports, weights and backups from DNS:
/// let service = Dns::service("_postgresql._tcp.example.org").build()?;
/// # task.stop().await??;
/// # Ok(()) }
/// ```
pub struct Dns {
    settings: DnsBuilder,
    resolver: TokioResolver,
    alarm: Option<Alarm>,
    /// When to look up next; `None`: at once.
    due: Option<Instant>,
    pauses: Pauses,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns")
            .field("settings", &self.settings)
            .field("due", &self.due)
            .finish_non_exhaustive()
    }
}

/// Records of one look-up, and for how long they are valid.
#[derive(Debug)]
struct Records<T> {
    records: Vec<T>,
    ttl: Option<Duration>,
}

impl<T> Records<T> {
    const NONE: Self = Self { records: Vec::new(), ttl: None };

    /// Those that `choose` takes; the time to live is that of all, aliases included.
    fn of(lookup: &Lookup, choose: impl Fn(&RData) -> Option<T>) -> Self {
        let ttl = lookup.answers().iter().map(|record| record.ttl).min();
        Self {
            records: lookup.answers().iter().filter_map(|record| choose(&record.data)).collect(),
            ttl: ttl.map(|seconds| Duration::from_secs(seconds.into())),
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.records.extend(other.records);
        self.ttl = [self.ttl, other.ttl].into_iter().flatten().min();
        self
    }
}

impl Dns {
    /// The addresses of a name, all with the same port.
    pub fn addresses(name: &str, port: u16) -> DnsBuilder {
        DnsBuilder::new(name, Question::Addresses { port })
    }

    /// The servers of a service, such as `_postgresql._tcp.example.org`, with their ports, weights
    /// and priorities; those of the lowest priority are regular endpoints, all others backups.
    pub fn service(name: &str) -> DnsBuilder {
        DnsBuilder::new(name, Question::Service)
    }

    fn new(settings: DnsBuilder, resolver: TokioResolver) -> Self {
        let pauses = settings.retry.pauses(settings.seed);
        Self { settings, resolver, alarm: None, due: None, pauses }
    }

    async fn wait(&mut self) -> Result<(), DiscoveryError> {
        let Some(due) = self.due else { return Ok(()) };
        let alarm = match self.alarm.take() {
            Some(alarm) => alarm,
            None => Alarm::new().map_err(|error| self.failed(&error))?,
        };
        // Kept here, so that it is there again when this future is dropped.
        let rung = self.alarm.insert(alarm).until(Some(due)).await;
        rung.map_err(|error| self.failed(&error))
    }

    /// Looks up once.
    async fn look_up(&self) -> Result<(Found, Duration), DiscoveryError> {
        let most = self.settings.max_records;
        let (found, ttl) = match self.settings.question {
            Question::Addresses { port } => {
                let Records { records, ttl } = self.addresses_of(&self.settings.name).await?;
                (answer::of_addresses(&records, port, most), ttl)
            }
            Question::Service => {
                let (Records { records, ttl }, left_out) = self.servers().await?;
                let found = answer::of_servers(&records, most);
                let note =
                    || format!("{left_out} servers beyond the first {MAX_TARGETS} are left out");
                (if left_out > 0 { found.with_note(note()) } else { found }, ttl)
            }
        };
        if found.endpoints.is_empty() {
            let mut what = format!("{} has no usable record", self.settings.name);
            for note in &found.notes {
                what.push_str("; ");
                what.push_str(note);
            }
            return Err(DiscoveryError::Empty { what });
        }
        Ok((found, ttl.unwrap_or_default()))
    }

    async fn addresses_of(&self, name: &str) -> Result<Records<IpAddr>, DiscoveryError> {
        let ask = |record_type| self.ask(name, record_type, RData::ip_addr);
        match self.settings.families {
            Families::V4 => ask(RecordType::A).await,
            Families::V6 => ask(RecordType::AAAA).await,
            Families::Both => {
                let (v4, v6) = tokio::try_join!(ask(RecordType::A), ask(RecordType::AAAA))?;
                Ok(v4.and(v6))
            }
        }
    }

    /// The servers of a service, and how many are left out because there are too many.
    async fn servers(&self) -> Result<(Records<Server>, usize), DiscoveryError> {
        let choose = |data: &RData| {
            let RData::SRV(srv) = data else { return None };
            Some(Server {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_string(),
                addresses: Vec::new(),
            })
        };
        let mut answer = self.ask(&self.settings.name, RecordType::SRV, choose).await?;
        // RFC 2782: a target of "." says that there is no such service.
        answer.records.retain(|server| server.target != ".");
        answer.records.sort_by(|a, b| (a.priority, &a.target).cmp(&(b.priority, &b.target)));
        let left_out = answer.records.len().saturating_sub(MAX_TARGETS);
        answer.records.truncate(MAX_TARGETS);
        let found = stream::iter(answer.records)
            .map(|server| async move {
                let found = self.addresses_of(&server.target).await?;
                Ok(Records {
                    records: vec![Server { addresses: found.records, ..server }],
                    ttl: found.ttl,
                })
            })
            .buffered(AT_ONCE)
            .try_fold(Records::NONE, |all: Records<Server>, one| async { Ok(all.and(one)) });
        let found: Records<Server> = found.await?;
        let ttl = [answer.ttl, found.ttl].into_iter().flatten().min();
        Ok((Records { ttl, ..found }, left_out))
    }

    /// Asks for records; a name without any has none.
    async fn ask<T>(
        &self,
        name: &str,
        record_type: RecordType,
        choose: impl Fn(&RData) -> Option<T>,
    ) -> Result<Records<T>, DiscoveryError> {
        match self.resolver.lookup(name, record_type).await {
            Ok(lookup) => Ok(Records::of(&lookup, choose)),
            Err(error) if is_no_record(&error) => Ok(Records::NONE),
            Err(error) => Err(DiscoveryError::Lookup {
                name: format!("{record_type} of {name}"),
                why: error.to_string(),
            }),
        }
    }

    fn failed(&self, error: &dyn fmt::Display) -> DiscoveryError {
        DiscoveryError::Lookup { name: self.settings.name.clone(), why: error.to_string() }
    }
}

/// Whether the server says that there is no such record, or no such name.
fn is_no_record(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

#[async_trait]
impl Discovery for Dns {
    fn source(&self) -> String {
        match self.settings.question {
            Question::Addresses { port } => format!("dns {}:{port}", self.settings.name),
            Question::Service => format!("dns {}", self.settings.name),
        }
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        self.wait().await?;
        let limit = self.settings.timeout;
        let result = match tokio::time::timeout(limit, self.look_up()).await {
            Ok(result) => result,
            Err(_) => Err(self.failed(&format!("no answer within {limit:?}"))),
        };
        let now = BootClock::new().now();
        match result {
            Ok((found, ttl)) => {
                let (min, max) = (self.settings.min_refresh, self.settings.max_refresh);
                self.due = Some(now + ttl.clamp(min, max));
                self.pauses = self.settings.retry.pauses(self.settings.seed);
                Ok(found)
            }
            Err(error) => {
                self.due = Some(now + self.pauses.next().unwrap_or_default());
                Err(error)
            }
        }
    }
}
