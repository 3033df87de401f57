//! How a balanced client is made.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ha_core::config::{ConfigError, Problems};

use super::balance::Balance;
use super::connect::Connect;
use super::finish::AtAnswer;
use crate::pool::Pool;
use crate::resilience::backoff::{Backoff, Jitter};

/// What hashing algorithms place a request by.
pub(super) type KeyOf<Request> = Arc<dyn Fn(&Request) -> Option<Bytes> + Send + Sync>;

/// How connections are made and failures are treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) connect_timeout: Duration,
    pub(super) connect_tries: u32,
    pub(super) backoff: Backoff,
    pub(super) reconnect_on_error: bool,
    pub(super) priority: u8,
}

/// Makes a [`Balance`]; see [`Balance::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct BalanceBuilder<C, Request, F = AtAnswer> {
    pool: Pool,
    connect: C,
    finish: F,
    key_of: KeyOf<Request>,
    settings: Settings,
}

impl<C, Request, F> fmt::Debug for BalanceBuilder<C, Request, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalanceBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<C: Connect<Request>, Request> BalanceBuilder<C, Request> {
    pub(super) fn new(pool: Pool, connect: C) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10), JITTER);
        let settings = Settings {
            connect_timeout: Duration::from_secs(1),
            connect_tries: 3,
            backoff: backoff.unwrap_or_default(),
            reconnect_on_error: true,
            priority: 0,
        };
        Self { pool, connect, finish: AtAnswer, key_of: Arc::new(|_| None), settings }
    }
}

/// Half of a pause for sure: an endpoint that refuses is never asked without end.
const JITTER: Jitter = Jitter::Equal;

impl<C: Connect<Request>, Request, F> BalanceBuilder<C, Request, F> {
    /// Sets when a request counts as done on its endpoint, and whether its answer is a failure.
    ///
    /// Default: [`AtAnswer`]. For HTTP choose [`AtHead`](super::AtHead) or
    /// [`AtBodyEnd`](super::AtBodyEnd).
    pub fn finish<G>(self, finish: G) -> BalanceBuilder<C, Request, G> {
        let Self { pool, connect, key_of, settings, .. } = self;
        BalanceBuilder { pool, connect, finish, key_of, settings }
    }

    /// Sets what hashing algorithms place a request by, such as its user. Default: nothing, any
    /// endpoint will do.
    pub fn key_of(
        mut self,
        key_of: impl Fn(&Request) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.key_of = Arc::new(key_of);
        self
    }

    /// Sets how long making one connection may take: 1 ms to 1 h, default 1 s (HAProxy's
    /// `timeout connect`).
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets at how many endpoints a request is tried that cannot be reached: 1 to 100, default 3
    /// (HAProxy's `retries` with `option redispatch 1`). Nothing was sent then, so no request can
    /// be carried out twice by it.
    pub const fn connect_tries(mut self, endpoints: u32) -> Self {
        self.settings.connect_tries = endpoints;
        self
    }

    /// Sets the pauses in which an endpoint that could not be reached is left alone. Default: 100
    /// ms, doubled each time up to 10 s, half of it at random.
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Sets whether an endpoint's service is made anew after a request failed on it. Default: true.
    ///
    /// Requests under way go on with the old one. Set it to false for services that say by
    /// `poll_ready` when their connection is gone, as those of HTTP/2 do.
    pub const fn reconnect_on_error(mut self, reconnect: bool) -> Self {
        self.settings.reconnect_on_error = reconnect;
        self
    }

    /// Sets the priority with which requests wait for a full pool that has a queue; lower ones go
    /// first. Default: 0.
    pub const fn priority(mut self, priority: u8) -> Self {
        self.settings.priority = priority;
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<Balance<C, Request, F>, ConfigError> {
        let Settings { connect_timeout, connect_tries, .. } = self.settings;
        let mut problems = Problems::new();
        if !(Duration::from_millis(1)..=Duration::from_hours(1)).contains(&connect_timeout) {
            problems.add("connect_timeout", format!("{connect_timeout:?}"), "1 ms to 1 h");
        }
        if !(1..=100).contains(&connect_tries) {
            problems.add("connect_tries", connect_tries, "1 to 100");
        }
        problems.into_result(())?;
        Ok(self.make())
    }

    /// Makes the client with settings that are known to be in range.
    pub(super) fn make(self) -> Balance<C, Request, F> {
        let Self { pool, connect, finish, key_of, settings } = self;
        Balance::start(pool, connect, finish, key_of, settings)
    }
}
