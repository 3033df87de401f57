//! No at-most-one resource is started on a node that its membership says has no quorum.

use ha_sim::Invariant;

use crate::cluster::host::Host;

pub(crate) fn no_action_without_quorum() -> impl Invariant<Host> {
    super::noted("no_action_without_quorum", |model| model.start_without_quorum.as_ref())
}
