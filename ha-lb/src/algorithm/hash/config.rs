//! What hashing is told: key, method, and HAProxy's options.

use std::fmt;
use std::num::NonZeroU16;

use super::{Function, Key};
use crate::balancer::PickContext;

/// How a hash becomes an endpoint; the [module](super) compares them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Method {
    /// A table; even shares, most keys move when the list changes. HAProxy's default.
    #[default]
    MapBased,
    /// HAProxy's ring: 16 points for each unit of weight, the nearer of two.
    Consistent,
    /// libmemcached's ring, weighted.
    Ketama,
    /// nginx's ring.
    Nginx,
    /// A table that endpoints fill in turns.
    Maglev {
        /// How many entries, up to the next prime; default 65,537. Take a hundred times the number of
        /// endpoints for shares within 1 %.
        size: u32,
    },
    /// The highest score of all.
    Rendezvous,
    /// Few points and many looks.
    MultiProbe,
    /// Numbered buckets.
    Jump,
}

/// The default size of Maglev's table.
pub(crate) const MAGLEV_SIZE: u32 = 65_537;

/// The largest: 64 MiB.
pub(crate) const MAX_MAGLEV_SIZE: u32 = 16_777_213;

impl Method {
    /// Whether it hashes as HAProxy does, with its functions.
    pub(crate) const fn is_haproxys(self) -> bool {
        matches!(self, Self::MapBased | Self::Consistent)
    }

    /// Its name in flags and files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MapBased => "map-based",
            Self::Consistent => "consistent",
            Self::Ketama => "ketama",
            Self::Nginx => "nginx",
            Self::Maglev { .. } => "maglev",
            Self::Rendezvous => "rendezvous",
            Self::MultiProbe => "multi-probe",
            Self::Jump => "jump",
        }
    }
}

/// The options of [`Hash`](super::Hash).
///
/// ```
/// use ha_lb::algorithm::Algorithm;
/// use ha_lb::algorithm::hash::{HashConfig, Key, Method};
///
/// let config = HashConfig::new(Key::Source, Method::Consistent).with_balance_factor(150);
/// let text = Algorithm::Hash(config).to_string();
/// assert_eq!(text, "source,hash-type=consistent,balance-factor=150");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HashConfig {
    key: Key,
    method: Method,
    function: Option<Function>,
    avalanche: Option<bool>,
    balance_factor: Option<NonZeroU16>,
}

impl HashConfig {
    /// Places by this key, with this method.
    #[must_use]
    pub const fn new(key: Key, method: Method) -> Self {
        Self { key, method, function: None, avalanche: None, balance_factor: None }
    }

    /// Sets HAProxy's hash function, for its methods. Default: sdbm, and for `consistent` the
    /// avalanche step with it.
    #[must_use]
    pub const fn with_function(mut self, function: Function) -> Self {
        self.function = Some(function);
        self
    }

    /// Sets whether HAProxy's avalanche step follows the hash function, for its methods.
    #[must_use]
    pub const fn with_avalanche(mut self, avalanche: bool) -> Self {
        self.avalanche = Some(avalanche);
        self
    }

    /// Sets how many connections an endpoint may have, in percent of the mean; 0, the default, is
    /// no bound. HAProxy's `hash-balance-factor`; 101 or more, 125 to 200 are useful.
    #[must_use]
    pub const fn with_balance_factor(mut self, percent: u16) -> Self {
        self.balance_factor = NonZeroU16::new(percent);
        self
    }

    /// What requests are placed by.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// How a hash becomes an endpoint.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The hash function.
    #[must_use]
    pub fn function(&self) -> Function {
        self.function.unwrap_or(Function::Sdbm)
    }

    /// Whether hashes are run through the avalanche step.
    ///
    /// As in HAProxy: if not stated, then only for `consistent` without a function.
    #[must_use]
    pub fn avalanche(&self) -> bool {
        let consistent = self.method == Method::Consistent;
        self.avalanche.unwrap_or(consistent && self.function.is_none())
    }

    /// The bound on connections, in percent of the mean.
    #[must_use]
    pub const fn balance_factor(&self) -> Option<NonZeroU16> {
        self.balance_factor
    }

    pub(super) const fn name(&self) -> &'static str {
        match &self.key {
            Key::Source => "source",
            Key::Bytes => "hash",
            Key::Uri(_) => "uri",
            Key::Query(_) => "query",
            Key::Header(_) => "header",
            Key::Cookie(_) => "cookie",
        }
    }

    /// What a pick is placed by, in words.
    pub(super) fn describe(&self, context: &PickContext<'_>) -> String {
        match (&self.key, context.client()) {
            (Key::Source, Some(client)) => format!("client {client}"),
            (Key::Source, None) => "the client's address".to_owned(),
            (Key::Bytes, _) => "the key".to_owned(),
            (Key::Uri(_), _) => "the target".to_owned(),
            (Key::Query(name), _) => format!("parameter {name}"),
            (Key::Header(name), _) => format!("header {name}"),
            (Key::Cookie(name), _) => format!("cookie {name}"),
        }
    }
}

impl fmt::Display for HashConfig {
    /// Writes it as [`Algorithm`](crate::algorithm::Algorithm) reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match &self.key {
            Key::Source | Key::Bytes => {}
            Key::Uri(uri) => write!(f, "{uri}")?,
            Key::Query(name) | Key::Header(name) | Key::Cookie(name) => write!(f, ",name={name}")?,
        }
        if self.method != Method::MapBased {
            write!(f, ",hash-type={}", self.method.as_str())?;
        }
        if let Method::Maglev { size } = self.method
            && size != MAGLEV_SIZE
        {
            write!(f, ",size={size}")?;
        }
        if let Some(function) = self.function {
            write!(f, ",function={}", function.as_str())?;
        }
        if let Some(avalanche) = self.avalanche {
            write!(f, ",avalanche={avalanche}")?;
        }
        if let Some(factor) = self.balance_factor {
            write!(f, ",balance-factor={factor}")?;
        }
        Ok(())
    }
}
