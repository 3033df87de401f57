//! The trait of every balancing algorithm.

use std::fmt;
use std::sync::Arc;

pub use crate::context::PickContext;
use crate::snapshot::{EndpointIndex, Endpoints};

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
