//! Each start of a resource has a higher token than all before, wherever they were.

use ha_sim::Invariant;

use crate::cluster::host::Host;

pub(crate) fn tokens_grow() -> impl Invariant<Host> {
    super::noted("tokens_grow", |model| model.old_token.as_ref())
}
