//! What a pick is for.

use std::net::IpAddr;
use std::sync::Arc;

use ha_core::id::EndpointName;
use ha_core::time::{BootClock, Clock, Instant};

use crate::state::EndpointState;

/// What is known of the work that an endpoint is picked for.
///
/// ```
/// use std::net::IpAddr;
/// use ha_lb::balancer::PickContext;
///
/// let client: IpAddr = "192.0.2.7".parse()?;
/// let context = PickContext::new().with_client(client).with_hash_key(b"session-17");
/// assert_eq!(context.client(), Some(client));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PickContext<'a> {
    client: Option<IpAddr>,
    hash_key: Option<&'a [u8]>,
    excluded: &'a [Arc<EndpointState>],
    preferred: Option<&'a EndpointName>,
    stick_key: Option<&'a [u8]>,
    now: Option<Instant>,
}

impl<'a> PickContext<'a> {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            client: None,
            hash_key: None,
            excluded: &[],
            preferred: None,
            stick_key: None,
            now: None,
        }
    }

    /// Sets who asks; hashing by source uses it.
    #[must_use]
    pub const fn with_client(mut self, client: IpAddr) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the bytes that key-hashing algorithms place the work by.
    #[must_use]
    pub const fn with_hash_key(mut self, key: &'a [u8]) -> Self {
        self.hash_key = Some(key);
        self
    }

    /// Sets endpoints that must not be picked, because they were tried already.
    #[must_use]
    pub const fn with_excluded(mut self, excluded: &'a [Arc<EndpointState>]) -> Self {
        self.excluded = excluded;
        self
    }

    /// Sets the endpoint that the client had before: it is picked if it is healthy and not full, also
    /// while it is drained.
    #[must_use]
    pub const fn with_preferred(mut self, name: &'a EndpointName) -> Self {
        self.preferred = Some(name);
        self
    }

    /// The endpoint that the client had before.
    #[must_use]
    pub const fn preferred(&self) -> Option<&'a EndpointName> {
        self.preferred
    }

    /// Sets who is to stay with one endpoint, in a pool with a
    /// [stick table](crate::pool::PoolBuilder::stick_table): the table knows who had which.
    #[must_use]
    pub const fn with_stick_key(mut self, key: &'a [u8]) -> Self {
        self.stick_key = Some(key);
        self
    }

    /// Who is to stay with one endpoint.
    #[must_use]
    pub const fn stick_key(&self) -> Option<&'a [u8]> {
        self.stick_key
    }

    /// Sets what time it is, for a program that has just looked at the clock, or has one of its own.
    /// Default: the clock is looked at, if the balancer needs it.
    #[must_use]
    pub const fn with_now(mut self, now: Instant) -> Self {
        self.now = Some(now);
        self
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now.unwrap_or_else(|| BootClock::new().now())
    }

    /// Who asks.
    #[must_use]
    pub const fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// The bytes that key-hashing algorithms place the work by.
    #[must_use]
    pub const fn hash_key(&self) -> Option<&'a [u8]> {
        self.hash_key
    }

    /// Whether `state` must not be picked.
    #[must_use]
    pub fn excludes(&self, state: &Arc<EndpointState>) -> bool {
        self.excluded.iter().any(|excluded| Arc::ptr_eq(excluded, state))
    }
}
