//! The trait of every balancing algorithm.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::snapshot::{EndpointIndex, Endpoints};
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
}

impl<'a> PickContext<'a> {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { client: None, hash_key: None, excluded: &[] }
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

/// A balancing algorithm: says which endpoint gets the next piece of work.
///
/// Called for every request, by all threads at once: an implementation takes no lock and allocates
/// nothing. It must pick only from [`Endpoints::usable`], and only what [`Endpoints::admits`] (use
/// [`Endpoints::scan`] where the choice that the algorithm prefers is not admitted).
///
/// ```
/// use ha_lb::balancer::{Balancer, PickContext};
/// use ha_lb::snapshot::{EndpointIndex, Endpoints};
///
/// /// Fills the endpoints in the order of the list (HAProxy's `balance first`).
/// #[derive(Debug)]
/// struct First;
///
/// impl Balancer for First {
///     fn name(&self) -> &'static str {
///         "first"
///     }
///     fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
///         endpoints.scan(0, context)
///     }
/// }
/// ```
pub trait Balancer: fmt::Debug + Send + Sync {
    /// The name of the algorithm, as [`Algorithm`](crate::algorithm::Algorithm) reads it.
    fn name(&self) -> &'static str;

    /// The endpoint for the next piece of work; `None` if no usable one admits it.
    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex>;

    /// Builds what picks on `endpoints` need, with [`Endpoints::prepared`]; called by the pool in
    /// the thread that changed it, before the snapshot is published. Default: nothing.
    fn prepare(&self, endpoints: &Endpoints) {
        let _: &Endpoints = endpoints;
    }

    /// Why `picked` was picked, in words: `fewest connections for its weight: 3 at weight 2`.
    fn explain(
        &self,
        endpoints: &Endpoints,
        context: &PickContext<'_>,
        picked: EndpointIndex,
    ) -> String {
        let _: (&Endpoints, &PickContext<'_>, EndpointIndex) = (endpoints, context, picked);
        self.name().to_owned()
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<B: Balancer + ?Sized> Balancer for $pointer {
            fn name(&self) -> &'static str {
                (**self).name()
            }
            fn pick(
                &self,
                endpoints: &Endpoints,
                context: &PickContext<'_>,
            ) -> Option<EndpointIndex> {
                (**self).pick(endpoints, context)
            }
            fn prepare(&self, endpoints: &Endpoints) {
                (**self).prepare(endpoints);
            }
            fn explain(
                &self,
                endpoints: &Endpoints,
                context: &PickContext<'_>,
                picked: EndpointIndex,
            ) -> String {
                (**self).explain(endpoints, context, picked)
            }
        }
    )*};
}

forward!(&B, Box<B>, Arc<B>);
