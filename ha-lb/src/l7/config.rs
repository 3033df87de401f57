//! The settings of the HTTP proxy.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use crate::algorithm::hash::Key;
use crate::proxy;
use crate::report::Reporter;
use crate::stick::Cookie;

/// Settings of an HTTP proxy: those of every proxy, and its own.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::{l7, proxy};
///
/// let config = l7::Config::builder(proxy::Config::builder("127.0.0.1:0".parse()?).build()?)
///     .header_timeout(Duration::from_secs(5))
///     .build()?;
/// assert_eq!(config.response_timeout(), Duration::from_secs(60));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    inner: ConfigBuilder,
}

/// Makes a [`Config`]; see there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConfigBuilder {
    proxy: proxy::Config,
    header_timeout: Duration,
    max_header_bytes: usize,
    response_timeout: Duration,
    idle_connections: usize,
    idle_time: Duration,
    cookie: Option<Cookie>,
    stick_on: Key,
    load_reports: Option<Reporter>,
}

impl ConfigBuilder {
    /// Sets how long a client may take to send the head of a request, and how long it may keep a
    /// connection without one.
    ///
    /// 1 ms to 10 min; default 10 s. HAProxy's `timeout http-request` and `http-keep-alive`. It is
    /// the answer to clients that send a byte now and then to keep connections busy.
    pub const fn header_timeout(mut self, timeout: Duration) -> Self {
        self.header_timeout = timeout;
        self
    }

    /// Sets how large the head of a request or answer may be, in bytes.
    ///
    /// 8192 to 1,048,576; default 16,384 (HAProxy's `tune.bufsize`). A larger request gets 431, a
    /// larger answer becomes 502.
    pub const fn max_header_bytes(mut self, most: usize) -> Self {
        self.max_header_bytes = most;
        self
    }

    /// Sets how long an endpoint may take for the head of its answer, while the client sends
    /// nothing either; the client then gets 504.
    ///
    /// 1 ms to 24 h; default 60 s. HAProxy's `timeout server`.
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets how many idle connections are kept for each endpoint. 0 to 10,000; default 64.
    pub const fn idle_connections(mut self, most: usize) -> Self {
        self.idle_connections = most;
        self
    }

    /// Sets how long an idle connection to an endpoint is kept.
    ///
    /// 1 ms to 1 h; default 5 s (HAProxy's `pool-purge-delay`). Choose less than the endpoints
    /// keep theirs, or requests meet connections that are just being closed.
    pub const fn idle_time(mut self, time: Duration) -> Self {
        self.idle_time = time;
        self
    }

    /// Sets a cookie that has a client come back to the endpoint that it had. Default: none.
    ///
    /// HAProxy's `cookie NAME insert indirect`, `prefix` or `rewrite`. An answer that sets it is
    /// marked `Cache-Control: private` (HAProxy's `nocache`), so that no cache gives it to others.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.cookie = Some(cookie);
        self
    }

    /// Sets what stays with one endpoint, if the pool has a
    /// [stick table](crate::pool::PoolBuilder::stick_table). Default: the client's address.
    ///
    /// HAProxy's `stick on`. Requests that do not have it are picked for as any other.
    pub fn stick_on(mut self, key: Key) -> Self {
        self.stick_on = key;
        self
    }

    /// Sets where load reports in the heads of answers go
    /// ([`HEADER`](crate::report::HEADER)); the header is then not passed on. Default: nowhere, and
    /// it is passed on as any other.
    pub fn load_reports(mut self, reporter: Reporter) -> Self {
        self.load_reports = Some(reporter);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut problems = Problems::new();
        for (path, value, most, allowed) in [
            ("header_timeout", self.header_timeout, 600, "1 ms to 10 min"),
            ("response_timeout", self.response_timeout, 24 * 3600, "1 ms to 24 h"),
            ("idle_time", self.idle_time, 3600, "1 ms to 1 h"),
        ] {
            if !(Duration::from_millis(1)..=Duration::from_secs(most)).contains(&value) {
                problems.add(path, format!("{value:?}"), allowed);
            }
        }
        if !(8192..=1_048_576).contains(&self.max_header_bytes) {
            problems.add("max_header_bytes", self.max_header_bytes, "8192 to 1048576");
        }
        if self.idle_connections > 10_000 {
            problems.add("idle_connections", self.idle_connections, "0 to 10000");
        }
        problems.into_result(Config { inner: self })
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub const fn new(proxy: proxy::Config) -> Self {
        Self { inner: Self::builder(proxy) }
    }

    /// Starts with the defaults.
    pub const fn builder(proxy: proxy::Config) -> ConfigBuilder {
        ConfigBuilder {
            proxy,
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 16_384,
            response_timeout: Duration::from_mins(1),
            idle_connections: 64,
            idle_time: Duration::from_secs(5),
            cookie: None,
            stick_on: Key::Source,
            load_reports: None,
        }
    }

    /// The settings of every proxy.
    #[must_use]
    pub const fn proxy(&self) -> &proxy::Config {
        &self.inner.proxy
    }

    /// How long a client may take to send the head of a request.
    #[must_use]
    pub const fn header_timeout(&self) -> Duration {
        self.inner.header_timeout
    }

    /// How large the head of a request or answer may be.
    #[must_use]
    pub const fn max_header_bytes(&self) -> usize {
        self.inner.max_header_bytes
    }

    /// How long an endpoint may take for the head of its answer.
    #[must_use]
    pub const fn response_timeout(&self) -> Duration {
        self.inner.response_timeout
    }

    /// How many idle connections are kept for each endpoint.
    #[must_use]
    pub const fn idle_connections(&self) -> usize {
        self.inner.idle_connections
    }

    /// The cookie that has a client come back to its endpoint.
    #[must_use]
    pub const fn cookie(&self) -> Option<&Cookie> {
        self.inner.cookie.as_ref()
    }

    /// What stays with one endpoint, if the pool has a stick table.
    #[must_use]
    pub const fn stick_on(&self) -> &Key {
        &self.inner.stick_on
    }

    /// Where load reports go.
    #[must_use]
    pub const fn load_reports(&self) -> Option<&Reporter> {
        self.inner.load_reports.as_ref()
    }

    /// How long an idle connection to an endpoint is kept.
    #[must_use]
    pub const fn idle_time(&self) -> Duration {
        self.inner.idle_time
    }
}
