//! First: the first endpoint of the list that has room.
//!
//! # Source
//!
//! HAProxy's `first`: it fills one server up to its `maxconn` before the next gets any, so that those
//! that are not needed can be switched off. Without limits all work goes to the first usable one.

use crate::balancer::{Balancer, PickContext};
use crate::snapshot::{EndpointIndex, Endpoints};

/// The first usable endpoint, in the order of the list, that is not full.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct First;

impl First {
    /// It has no state.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Balancer for First {
    fn name(&self) -> &'static str {
        "first"
    }

    fn pick(&self, endpoints: &Endpoints, context: &PickContext<'_>) -> Option<EndpointIndex> {
        endpoints.usable().find(|index| endpoints.admits(*index, context))
    }

    fn explain(&self, _: &Endpoints, _: &PickContext<'_>, _: EndpointIndex) -> String {
        "the first in the list that has room".to_owned()
    }
}
