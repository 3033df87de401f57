//! What a balancer can pick: a name, an address, a weight.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use ha_core::config::ConfigError;
use ha_core::id::EndpointName;
use serde::{Deserialize, Serialize};

/// How large an endpoint's share of the work is, 0 to 256; 0 takes it out of balancing.
///
/// Shares are in proportion: of two endpoints with weights 1 and 3 the second gets three quarters.
/// Default: 1. The range is HAProxy's (`weight`).
///
/// ```
/// use ha_lb::endpoint::Weight;
///
/// assert_eq!(Weight::new(3)?.get(), 3);
/// assert!(Weight::new(257).is_err());
/// assert!(Weight::ZERO.is_zero());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Weight(u16);

impl Weight {
    /// Out of balancing: no new work (HAProxy calls it drained).
    pub const ZERO: Self = Self(0);
    /// The default.
    pub const ONE: Self = Self(1);
    /// The largest.
    pub const MAX: Self = Self(256);

    /// Checks and makes a weight.
    ///
    /// # Errors
    ///
    /// When it is above 256.
    pub fn new(weight: u16) -> Result<Self, ConfigError> {
        if weight > Self::MAX.0 {
            return Err(ConfigError::new("weight", weight, "0 to 256; 0 takes no new work"));
        }
        Ok(Self(weight))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether the endpoint gets no new work.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl TryFrom<u16> for Weight {
    type Error = ConfigError;
    fn try_from(weight: u16) -> Result<Self, ConfigError> {
        Self::new(weight)
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One place that work can be sent to (HAProxy: a `server`).
///
/// Its name is its identity: an update of a [`Pool`](crate::pool::Pool) that keeps name and address
/// keeps the connection count, the health and the totals, whatever else changes.
///
/// ```
/// use ha_lb::endpoint::{Endpoint, Weight};
///
/// let web: Endpoint = "web-1=192.0.2.10:8080".parse()?;
/// let web = web.with_weight(Weight::new(10)?).with_max_connections(200);
/// assert_eq!(web.to_string(), "web-1=192.0.2.10:8080");
///
/// let far = web.with_zone("eu-west").with_priority(1).with_tag("version", "7").with_data(42_u64);
/// assert_eq!((far.zone(), far.priority(), far.tag("version")), (Some("eu-west"), 1, Some("7")));
/// assert_eq!(far.data::<u64>(), Some(&42));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endpoint {
    name: EndpointName,
    address: SocketAddr,
    #[serde(default)]
    weight: Weight,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_connections: Option<NonZeroU32>,
    #[serde(default)]
    backup: bool,
    #[serde(default)]
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<Arc<str>, Arc<str>>,
    #[serde(skip)]
    data: Data,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<NonZeroU32>,
}

impl Endpoint {
    /// An endpoint of weight 1 without a limit.
    #[must_use]
    pub const fn new(name: EndpointName, address: SocketAddr) -> Self {
        Self {
            name,
            address,
            weight: Weight::ONE,
            max_connections: None,
            backup: false,
            priority: 0,
            zone: None,
            tags: BTreeMap::new(),
            data: Data(None),
            id: None,
        }
    }

    /// Sets its share; 0 takes it out of balancing. Default: 1 (HAProxy's `weight`).
    #[must_use]
    pub const fn with_weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// Sets how many connections it may have at once; 0 means no limit, the default.
    ///
    /// HAProxy's `maxconn`. An endpoint that is full is not picked. Choose what the server can
    /// work on at the same time without slowing down.
    #[must_use]
    pub const fn with_max_connections(mut self, limit: u32) -> Self {
        self.max_connections = NonZeroU32::new(limit);
        self
    }

    /// Makes it a backup: picked only while no regular endpoint is usable. Default: regular.
    ///
    /// All backups then share the work, as with HAProxy's `option allbackups` and in nginx.
    #[must_use]
    pub const fn with_backup(mut self, backup: bool) -> Self {
        self.backup = backup;
        self
    }

    /// Sets its priority level: 0, the default, is used first; higher numbers while the levels
    /// before have too few that are usable (Envoy's `priority`).
    ///
    /// How much goes to which level: [`PoolBuilder::overprovisioning`].
    ///
    /// [`PoolBuilder::overprovisioning`]: crate::pool::PoolBuilder::overprovisioning
    #[must_use]
    pub const fn with_priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the zone that it is in: a data centre, a rack. Default: none.
    ///
    /// It matters to a pool that has a zone of its own: [`PoolBuilder::zone`].
    ///
    /// [`PoolBuilder::zone`]: crate::pool::PoolBuilder::zone
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets a tag, such as its version; the crate itself gives tags no meaning.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Attaches a value of the program, such as a client for this endpoint.
    ///
    /// It is shared by all clones, is neither written nor read by `serde`, and two endpoints are
    /// equal only if they share it.
    #[must_use]
    pub fn with_data<T: Any + Send + Sync>(mut self, data: T) -> Self {
        self.data = Data(Some(Arc::new(data)));
        self
    }

    /// Sets the number that consistent hashing places it by (HAProxy's `id`).
    ///
    /// Default: its position in the list, counted from 1, as HAProxy numbers its servers. Give
    /// ids if endpoints come and go in the middle of the list, or their places shift. 0 means
    /// the default.
    #[must_use]
    pub const fn with_id(mut self, id: u32) -> Self {
        self.id = NonZeroU32::new(id);
        self
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &EndpointName {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its share.
    #[must_use]
    pub const fn weight(&self) -> Weight {
        self.weight
    }

    /// How many connections it may have at once; `None` is no limit.
    #[must_use]
    pub const fn max_connections(&self) -> Option<NonZeroU32> {
        self.max_connections
    }

    /// Whether it is used only when no regular endpoint is usable.
    #[must_use]
    pub const fn is_backup(&self) -> bool {
        self.backup
    }

    /// Its priority level; 0 is used first.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// The zone that it is in.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// The tags, by key.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The tag `key`.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(|value| &**value)
    }

    /// The value of the program; `None` if there is none, or none of this type.
    #[must_use]
    pub fn data<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.data.0.as_deref()?.downcast_ref()
    }

    /// The number that was set for consistent hashing.
    #[must_use]
    pub const fn id(&self) -> Option<NonZeroU32> {
        self.id
    }
}

/// A value of the program; equal to itself only.
#[derive(Clone, Default)]
struct Data(Option<Arc<dyn Any + Send + Sync>>);

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "attached" } else { "none" })
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl Eq for Data {}

impl Hash for Data {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.is_some().hash(state);
    }
}

impl fmt::Display for Endpoint {
    /// Writes `NAME=ADDRESS:PORT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = ConfigError;

    /// Reads `ADDRESS:PORT` or `NAME=ADDRESS:PORT`; without a name, the address is the name.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        const ALLOWED: &str = "ADDRESS:PORT or NAME=ADDRESS:PORT, such as 192.0.2.10:8080, \
                               [2001:db8::1]:80 or web-1=192.0.2.10:8080; port 1 to 65535";
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (Some(name), address),
            None => (None, text),
        };
        let address: SocketAddr =
            address.parse().map_err(|_| ConfigError::new("backend", text, ALLOWED))?;
        if address.port() == 0 {
            return Err(ConfigError::new("backend", text, ALLOWED));
        }
        let name = match name {
            Some(name) => EndpointName::new(name),
            // A name starts with a letter or digit, so the brackets of IPv6 go; `%` of a scope too.
            None => EndpointName::new(&default_name(address)),
        };
        let name = name.map_err(|error| ConfigError::new("backend", text, error.to_string()))?;
        Ok(Self::new(name, address))
    }
}

fn default_name(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.to_string(),
        SocketAddr::V6(v6) => {
            // `::1` starts with a colon; the full form does not.
            let words = v6.ip().segments().map(|word| format!("{word:x}"));
            format!("{}:{}", words.join(":"), v6.port())
        }
    }
}

/// Reads endpoints separated by commas, as the flag `--backends` takes them.
///
/// # Errors
///
/// Every entry that is wrong, as `backends[N]`, and an empty list.
pub fn parse_list(text: &str) -> Result<Vec<Endpoint>, ConfigError> {
    let mut problems = ha_core::config::Problems::new();
    let mut list = Vec::new();
    for (index, entry) in text.split(',').enumerate() {
        match entry.trim().parse() {
            Ok(endpoint) => list.push(endpoint),
            Err(error) => {
                let error: ConfigError = error;
                for problem in error.problems() {
                    let path = format!("backends[{index}]");
                    problems.add(path, &problem.value, problem.allowed.clone());
                }
            }
        }
    }
    problems.into_result(list)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_an_endpoint_or_an_error(text: String) {
            let _answer = text.parse::<Endpoint>();
            let _answer = parse_list(&text);
        }

        #[test]
        fn addresses_round_trip(address: SocketAddr) {
            prop_assume!(address.port() != 0);
            let endpoint: Endpoint = address.to_string().parse().expect("an address");
            // The textual form of IPv6 loses the flow label, nothing else.
            prop_assert_eq!(endpoint.address().to_string(), address.to_string());
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
        }
    }

    #[test]
    fn a_wrong_entry_is_named_with_its_place() {
        let error = parse_list("127.0.0.1:80,web=nowhere,x=1.2.3.4:0").expect_err("two are wrong");
        let paths: Vec<_> = error.problems().iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["backends[1]", "backends[2]"]);
    }

    #[test]
    fn serde_refuses_weights_out_of_range_and_unknown_keys() {
        let good = r#"{"name":"a","address":"127.0.0.1:80","weight":256,"backup":true}"#;
        let endpoint: Endpoint = serde_json::from_str(good).expect("in range");
        assert_eq!((endpoint.weight(), endpoint.is_backup()), (Weight::MAX, true));
        for bad in [
            r#"{"name":"a","address":"127.0.0.1:80","weight":257}"#,
            r#"{"name":"a","address":"127.0.0.1:80","wieght":1}"#,
            r#"{"name":"","address":"127.0.0.1:80"}"#,
        ] {
            assert!(serde_json::from_str::<Endpoint>(bad).is_err(), "{bad}");
        }
    }
}
