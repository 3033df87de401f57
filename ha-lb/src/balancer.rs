//! The trait of every balancing algorithm.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::hash::Key;
pub use crate::context::PickContext;
use crate::snapshot::{EndpointIndex, Endpoints};
use crate::state::EndpointState;

/// A balancing algorithm: says which endpoint of a group gets the next piece of work.
///
/// Called for every request, by all threads at once: an implementation takes no lock and allocates
/// nothing. It must pick only what [`Endpoints::admits`] (use [`Endpoints::scan`] where the choice
/// that the algorithm prefers is not admitted). What it builds for a group is built for *all* its
/// endpoints and outlives changes of their health.
///
/// ```
/// use ha_lb::balancer::{Balancer, PickContext};
/// use ha_lb::snapshot::{EndpointIndex, Endpoints};
///
/// /// Always the last one of the list that can take work.
/// #[derive(Debug)]
/// struct Last;
///
/// impl Balancer for Last {
///     fn name(&self) -> &'static str {
///         "last"
///     }
///     fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
///         endpoints.usable().filter(|index| endpoints.admits(*index, context)).last()
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

    /// As [`prepare`](Self::prepare), with the group that these endpoints come after in a pool: what was
    /// built for it may be taken over as far as it holds. Default: as if there were none.
    fn prepare_after(&self, endpoints: &Endpoints, before: &Endpoints) {
        let _: &Endpoints = before;
        self.prepare(endpoints);
    }

    /// The book that is to be told of every change of an endpoint of the group, from its preparation
    /// on. Default: none.
    fn book(&self, endpoints: &Endpoints) -> Option<Arc<dyn LoadBook>> {
        let _: &Endpoints = endpoints;
        None
    }

    /// Whether what is prepared for this group depends on which of its endpoints are usable: it is
    /// then prepared anew when that changes. Default: false.
    fn follows_health(&self, endpoints: &Endpoints) -> bool {
        let _: &Endpoints = endpoints;
        false
    }

    /// A number that is the same for work that belongs to the same endpoint: it decides on the
    /// group too, where there are several. Default: `None`, any group by its share.
    fn affinity(&self, context: &PickContext<'_>) -> Option<u64> {
        let _: &PickContext<'_> = context;
        None
    }

    /// What work is placed by, if it is placed by anything: a proxy gives it to each pick. Default:
    /// `None`.
    fn key(&self) -> Option<&Key> {
        None
    }

    /// The time after which a measured latency counts little, if this balancer wants to know how long
    /// work takes. Default: `None`; nothing is measured, which saves two looks at the clock.
    fn measures_latency(&self) -> Option<Duration> {
        None
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

/// What a balancer keeps of the loads of a group, such as an ordering of them.
///
/// Told by all threads at once, after each pick and each end of one: it takes no lock. News of one
/// endpoint can overtake each other, so the live state is read, not counted along.
pub trait LoadBook: fmt::Debug + Send + Sync {
    /// The load of the endpoint has changed: its connections, its latency or its share.
    fn note(&self, index: EndpointIndex, state: &EndpointState);

    /// The endpoint takes work from now on, or takes none; its load may have changed too.
    fn set_usable(&self, index: EndpointIndex, usable: bool, state: &EndpointState);
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
            fn prepare_after(&self, endpoints: &Endpoints, before: &Endpoints) {
                (**self).prepare_after(endpoints, before);
            }
            fn book(&self, endpoints: &Endpoints) -> Option<Arc<dyn LoadBook>> {
                (**self).book(endpoints)
            }
            fn follows_health(&self, endpoints: &Endpoints) -> bool {
                (**self).follows_health(endpoints)
            }
            fn affinity(&self, context: &PickContext<'_>) -> Option<u64> {
                (**self).affinity(context)
            }
            fn key(&self) -> Option<&Key> {
                (**self).key()
            }
            fn measures_latency(&self) -> Option<Duration> {
                (**self).measures_latency()
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
