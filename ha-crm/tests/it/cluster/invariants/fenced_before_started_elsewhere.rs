//! Before a start elsewhere the last holder has said that it stopped, or was fenced, or was looked
//! at anew and runs nothing; that it happens to be dead is not enough, as nobody could know.

use ha_sim::Invariant;

use crate::cluster::host::Host;

pub(crate) fn fenced_before_started_elsewhere() -> impl Invariant<Host> {
    super::noted("fenced_before_started_elsewhere", |model| model.unfenced_start.as_ref())
}
