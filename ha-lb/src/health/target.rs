//! What a check is told about the endpoint it checks.

use std::net::SocketAddr;
use std::sync::Arc;

use ha_core::id::EndpointName;

use crate::endpoint::Endpoint;

/// The endpoint that a check is to be made of; cheap to clone.
///
/// ```
/// use ha_lb::health::Target;
///
/// let target = Target::from("web=192.0.2.1:8080".parse::<ha_lb::endpoint::Endpoint>()?);
/// assert_eq!(target.name().map(|name| name.as_str()), Some("web"));
/// assert_eq!(target.with_port(9000).address().to_string(), "192.0.2.1:9000");
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    endpoint: Option<Arc<Endpoint>>,
    address: SocketAddr,
}

impl Target {
    /// The endpoint's name; none if the target was made of an address alone.
    #[must_use]
    pub fn name(&self) -> Option<&EndpointName> {
        self.endpoint().map(Endpoint::name)
    }

    /// Where the check is to connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint as the pool has it: its tags and data may steer a check.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_deref()
    }

    /// The same endpoint, to be checked at another port (HAProxy's `port`).
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// The same endpoint, to be checked at another address (HAProxy's `addr`).
    #[must_use]
    pub const fn with_address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }
}

impl From<Endpoint> for Target {
    fn from(endpoint: Endpoint) -> Self {
        Self { address: endpoint.address(), endpoint: Some(Arc::new(endpoint)) }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, endpoint: None }
    }
}
