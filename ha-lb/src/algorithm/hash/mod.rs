//! Hashing: the same key, the same endpoint.
//!
//! What a request is placed by is a [`Key`]; how a hash becomes an endpoint is a [`Method`]:
//!
//! | method | moved when one of n goes | pick | shares | as in |
//! |---|---|---|---|---|
//! | `map-based` | most | O(1) | exact | HAProxy |
//! | `consistent` | its own | O(1) | rough: give weights of 10 or more | HAProxy |
//! | `ketama` | its own | O(1) | within 40 % | libmemcached |
//! | `nginx` | its own | O(1) | within 40 % | nginx's `hash … consistent` |
//! | `maglev` | its own; few others when the list changes | O(1) | within 1 % at 100 entries each | Envoy, Katran |
//! | `rendezvous` | its own | O(n) | exact | |
//! | `multi-probe` | its own | O(1), 21 looks | the fullest within 5 %, others down to nothing | |
//! | `jump` | half of all; its own at the end of the list | O(log n) | exact, without weights | |
//!
//! "Its own" also holds while an endpoint is down: only its keys go elsewhere, and they come back to it.
//!
//! # Source
//!
//! `map-based` and `consistent` send every key where a real HAProxy with the same servers in the same order
//! sends it (doc/configuration.txt; behaviour recorded from HAProxy 2.6.12 in
//! `testdata/haproxy-hash.json`, which the tests replay). An address is *not* run through the hash
//! function, as in HAProxy: its words are combined by exclusive or, and only the avalanche step applies.
//! The sources of the others are named in their files. With a balance factor, an endpoint that has
//! more than its part of the connections is passed over: Mirrokni, Thorup, Zadimoghaddam, "Consistent
//! Hashing with Bounded Loads" (2016); HAProxy's `hash-balance-factor`.
//!
//! Without a key (no such header, an unknown client) endpoints take turns, as in HAProxy.

mod bound;
mod config;
mod function;
mod jump;
mod key;
mod maglev;
mod map;
mod multi_probe;
mod rendezvous;
mod ring;

use std::sync::Arc;

pub use self::config::{HashConfig, Method};
pub(crate) use self::config::{MAGLEV_SIZE, MAX_MAGLEV_SIZE};
pub use self::function::{Function, hash64};
pub use self::key::{Key, UriKey, cookie, query_parameter};
pub(crate) use self::map::Map;

use self::bound::Bound;
use self::function::avalanche;
use self::key::words;
use self::maglev::Maglev;
use self::multi_probe::MultiProbe;
use self::rendezvous::Rendezvous;
use self::ring::{Ring, ketama_hash};
use crate::algorithm::turn::Turn;
use crate::balancer::{Balancer, LoadBook, PickContext};
use crate::random::mix;
use crate::snapshot::{EndpointIndex, Endpoints};

/// Picks by the hash of a key.
///
/// ```
/// use ha_lb::algorithm::hash::{Hash, HashConfig, Key, Method};
/// use ha_lb::balancer::PickContext;
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::pool::Pool;
/// use std::sync::Arc;
///
/// let hash = Hash::new(HashConfig::new(Key::Bytes, Method::Maglev { size: 65_537 }));
/// let pool = Pool::builder(Arc::new(hash))
///     .endpoints(parse_list("a=192.0.2.1:80,b=192.0.2.2:80,c=192.0.2.3:80")?)
///     .build()?;
/// let place = |key: &[u8]| {
///     let pick = pool.pick(&PickContext::new().with_hash_key(key));
///     pick.map(|pick| pick.name().clone())
/// };
/// assert_eq!(place(b"user-7")?, place(b"user-7")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Hash {
    config: HashConfig,
    turn: Turn,
}

/// What is prepared for a group.
#[derive(Debug)]
struct Tables {
    method: Method,
    table: Table,
    bound: Option<Arc<Bound>>,
}

#[derive(Debug)]
enum Table {
    Map(Map),
    /// The nearer of two points.
    Nearest(Ring),
    /// The next point.
    Next(Ring),
    Maglev(Maglev),
    Rendezvous(Rendezvous),
    MultiProbe(MultiProbe),
    Jump,
}

/// A key's hash: HAProxy's methods want 32 bits, the others have 64.
#[derive(Debug, Clone, Copy)]
enum Hashed {
    Short(u32),
    Long(u64),
}

impl Hash {
    /// Picks as `config` says.
    #[must_use]
    pub fn new(config: HashConfig) -> Self {
        Self { config, turn: Turn::default() }
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> &HashConfig {
        &self.config
    }

    /// The hash of what the pick is placed by; `None` if it has no key.
    fn hash(&self, context: &PickContext<'_>) -> Option<Hashed> {
        let config = &self.config;
        let short = |hash| Hashed::Short(if config.avalanche() { avalanche(hash) } else { hash });
        let by_haproxy = config.method().is_haproxys();
        if *config.key() == Key::Source {
            let client = context.client()?;
            return Some(match client {
                _ if by_haproxy => short(words(client)),
                std::net::IpAddr::V4(client) => self.hash_bytes(&client.octets()),
                std::net::IpAddr::V6(client) => self.hash_bytes(&client.octets()),
            });
        }
        let key = context.hash_key().filter(|key| !key.is_empty())?;
        Some(if by_haproxy { short(config.function().hash(key)) } else { self.hash_bytes(key) })
    }

    fn hash_bytes(&self, key: &[u8]) -> Hashed {
        match self.config.method() {
            Method::Ketama => Hashed::Short(ketama_hash(key)),
            Method::Nginx => Hashed::Short(Function::Crc32.hash(key)),
            Method::MapBased
            | Method::Consistent
            | Method::Maglev { .. }
            | Method::Rendezvous
            | Method::MultiProbe
            | Method::Jump => Hashed::Long(hash64(key)),
        }
    }

    fn with_tables<T>(&self, endpoints: &Endpoints, look: impl FnOnce(&Tables) -> T) -> T {
        look(&endpoints.prepared(|tables| self.fits(tables), || self.build(endpoints, None)))
    }

    fn fits(&self, tables: &Tables) -> bool {
        let bounded = self.config.balance_factor().is_some();
        tables.method == self.config.method() && tables.bound.is_some() == bounded
    }

    fn build(&self, endpoints: &Endpoints, before: Option<&Tables>) -> Tables {
        let method = self.config.method();
        let before = match before.map(|tables| &tables.table) {
            Some(Table::Nearest(ring) | Table::Next(ring)) => Some(ring),
            Some(
                Table::Map(_)
                | Table::Maglev(_)
                | Table::Rendezvous(_)
                | Table::MultiProbe(_)
                | Table::Jump,
            )
            | None => None,
        };
        let table = match method {
            Method::MapBased => Table::Map(Map::new(endpoints)),
            Method::Consistent => Table::Nearest(Ring::haproxy(endpoints, before)),
            Method::Ketama => Table::Next(Ring::ketama(endpoints, before)),
            Method::Nginx => Table::Next(Ring::nginx(endpoints, before)),
            Method::Maglev { size } => Table::Maglev(Maglev::new(endpoints, size)),
            Method::Rendezvous => Table::Rendezvous(Rendezvous::new(endpoints)),
            Method::MultiProbe => Table::MultiProbe(MultiProbe::new(endpoints)),
            Method::Jump => Table::Jump,
        };
        let bound = self.config.balance_factor().map(|factor| Bound::new(endpoints, factor));
        Tables { method, table, bound }
    }
}

impl Tables {
    fn find(
        &self,
        hash: Hashed,
        endpoints: &Endpoints,
        accept: impl FnMut(EndpointIndex) -> bool,
    ) -> Option<EndpointIndex> {
        let (short, long) = match hash {
            Hashed::Short(hash) => (hash, mix(u64::from(hash))),
            Hashed::Long(hash) => (u32::try_from(hash >> 32).unwrap_or_default(), hash),
        };
        match &self.table {
            Table::Map(map) => map.find(short, endpoints, accept),
            Table::Nearest(ring) => ring.nearest(short, accept),
            Table::Next(ring) => ring.next(short, accept),
            Table::Maglev(maglev) => maglev.find(long, accept),
            Table::Rendezvous(rendezvous) => rendezvous.find(long, accept),
            Table::MultiProbe(points) => points.find(long, accept),
            Table::Jump => jump::find(long, endpoints.len(), accept),
        }
    }
}

impl Balancer for Hash {
    fn name(&self) -> &'static str {
        self.config.name()
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        let Some(hash) = self.hash(context) else {
            let turn = self.turn.take(endpoints.usable_count() as usize)?;
            return endpoints.scan(u64::try_from(turn).unwrap_or_default(), context);
        };
        let number = match hash {
            Hashed::Short(hash) => mix(u64::from(hash)),
            Hashed::Long(hash) => hash,
        };
        self.with_tables(endpoints, |tables| {
            // The part of its keys that an endpoint takes now is always the same part.
            let accept = |index: EndpointIndex| {
                endpoints.accepts(index, context, mix(number ^ index.get() as u64))
                    && tables.bound.as_ref().is_none_or(|bound| bound.allows(index, endpoints))
            };
            tables.find(hash, endpoints, accept)
        })
        // All are over their bound, at a small part, or the walk was cut short: any that is free.
        .or_else(|| endpoints.scan(number, context))
    }

    fn prepare(&self, endpoints: &Endpoints) {
        self.with_tables(endpoints, |_| ());
    }

    fn prepare_after(&self, endpoints: &Endpoints, before: &Endpoints) {
        let before = before.stored::<Tables>().filter(|tables| self.fits(tables));
        endpoints.prepared(|tables| self.fits(tables), || self.build(endpoints, before));
    }

    fn book(&self, endpoints: &Endpoints) -> Option<Arc<dyn LoadBook>> {
        self.with_tables(endpoints, |tables| {
            let bound = tables.bound.as_ref()?;
            let bound: Arc<Bound> = Arc::clone(bound);
            Some(bound as Arc<dyn LoadBook>)
        })
    }

    fn follows_health(&self, endpoints: &Endpoints) -> bool {
        self.with_tables(endpoints, |tables| match &tables.table {
            Table::Map(map) => map.follows_health(),
            Table::Nearest(_)
            | Table::Next(_)
            | Table::Maglev(_)
            | Table::Rendezvous(_)
            | Table::MultiProbe(_)
            | Table::Jump => false,
        })
    }

    fn key(&self) -> Option<&Key> {
        Some(self.config.key())
    }

    fn affinity(&self, context: &PickContext<'_>) -> Option<u64> {
        self.hash(context).map(|hash| match hash {
            Hashed::Short(hash) => mix(u64::from(hash)),
            // Not the bits that the table looks at.
            Hashed::Long(hash) => mix(hash),
        })
    }

    fn explain(
        &self,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
        picked: EndpointIndex,
    ) -> String {
        let key = self.config.describe(context);
        let Some(hash) = self.hash(context) else {
            return format!("its turn: {key} is not known");
        };
        let text = match hash {
            Hashed::Short(hash) => format!("{hash:#010x}"),
            Hashed::Long(hash) => format!("{hash:#018x}"),
        };
        let first = self.with_tables(endpoints, |tables| tables.find(hash, endpoints, |_| true));
        if first == Some(picked) {
            format!("{key} hashes to it ({text})")
        } else {
            format!("{key} hashes to another, which is not free; this is the next ({text})")
        }
    }
}
