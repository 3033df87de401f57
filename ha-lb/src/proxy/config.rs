//! The settings that both proxies have.

use std::net::SocketAddr;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

/// Settings of a proxy; both kinds have them.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::proxy::Config;
///
/// let config = Config::builder("127.0.0.1:0".parse()?).retries(1).build()?;
/// assert_eq!(config.connect_timeout(), Duration::from_secs(5));
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
    listen: SocketAddr,
    reuse_port: bool,
    max_connections: usize,
    connect_timeout: Duration,
    retries: u32,
    idle_timeout: Duration,
    grace: Duration,
    cut_marked_down: bool,
}

impl ConfigBuilder {
    /// Sets where to listen, instead of what [`Config::builder`] was given.
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Sets whether other listeners may share the port, one for each thread. Default: no.
    ///
    /// The kernel then spreads connections over them (`SO_REUSEPORT`). Only listeners of the same
    /// user that all say so can share.
    pub const fn reuse_port(mut self, share: bool) -> Self {
        self.reuse_port = share;
        self
    }

    /// Sets how many client connections are open at most; more wait in the kernel's queue.
    ///
    /// 1 to 1,000,000; default 10,000. HAProxy's `maxconn` of a frontend. Each needs two file
    /// descriptors and, while data flow that the other side does not take, 64 KiB a direction.
    pub const fn max_connections(mut self, most: usize) -> Self {
        self.max_connections = most;
        self
    }

    /// Sets how long making a connection to an endpoint may take.
    ///
    /// 1 ms to 10 min; default 5 s (HAProxy's `timeout connect`).
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how often an attempt that had no effect is repeated on another endpoint.
    ///
    /// 0 to 100; default 3 (HAProxy's `retries`, with `option redispatch 1`).
    pub const fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// Sets how long a connection may stand still before it is cut.
    ///
    /// 1 ms to 30 days; default 10 min. HAProxy's `timeout client`, `server` and `tunnel`. It is cut
    /// after once to twice this time.
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets how long a stop waits for connections to be done before it cuts them.
    ///
    /// 0 to 30 days; default 5 s (HAProxy's `hard-stop-after`).
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets whether TCP connections to an endpoint are cut when it becomes unhealthy.
    ///
    /// Default: no (HAProxy's `on-marked-down shutdown-sessions`). Right for databases, whose
    /// clients would otherwise wait on a dead connection.
    pub const fn cut_marked_down(mut self, cut: bool) -> Self {
        self.cut_marked_down = cut;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Config, ConfigError> {
        const MINUTES: Duration = Duration::from_mins(10);
        const DAYS: Duration = Duration::from_hours(30 * 24);
        let mut problems = Problems::new();
        if !(1..=1_000_000).contains(&self.max_connections) {
            problems.add("max_connections", self.max_connections, "1 to 1000000");
        }
        if self.retries > 100 {
            problems.add("retries", self.retries, "0 to 100");
        }
        let least = Duration::from_millis(1);
        for (path, duration, range, allowed) in [
            ("connect_timeout", self.connect_timeout, least..=MINUTES, "1 ms to 10 min"),
            ("idle_timeout", self.idle_timeout, least..=DAYS, "1 ms to 30 days"),
            ("grace", self.grace, Duration::ZERO..=DAYS, "0 to 30 days"),
        ] {
            if !range.contains(&duration) {
                problems.add(path, format!("{duration:?}"), allowed);
            }
        }
        problems.into_result(Config { inner: self })
    }
}

impl Config {
    /// Starts with the defaults, listening on `listen`; port 0 lets the kernel choose.
    pub const fn builder(listen: SocketAddr) -> ConfigBuilder {
        ConfigBuilder {
            listen,
            reuse_port: false,
            max_connections: 10_000,
            connect_timeout: Duration::from_secs(5),
            retries: 3,
            idle_timeout: Duration::from_mins(10),
            grace: Duration::from_secs(5),
            cut_marked_down: false,
        }
    }

    /// Where to listen.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.inner.listen
    }

    /// Whether other listeners may share the port.
    #[must_use]
    pub const fn reuse_port(&self) -> bool {
        self.inner.reuse_port
    }

    /// How many client connections are open at most.
    #[must_use]
    pub const fn max_connections(&self) -> usize {
        self.inner.max_connections
    }

    /// How long making a connection to an endpoint may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.inner.connect_timeout
    }

    /// How often an attempt that had no effect is repeated.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.inner.retries
    }

    /// How long a connection may stand still.
    #[must_use]
    pub const fn idle_timeout(&self) -> Duration {
        self.inner.idle_timeout
    }

    /// How long a stop waits for connections to be done.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.inner.grace
    }

    /// Whether TCP connections to an endpoint are cut when it becomes unhealthy.
    #[must_use]
    pub const fn cut_marked_down(&self) -> bool {
        self.inner.cut_marked_down
    }
}
