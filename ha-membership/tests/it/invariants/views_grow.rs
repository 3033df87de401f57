//! In one life of a node, each view has a higher number than the one before.

use ha_sim::{Invariant, always};

use crate::mesh::Host;

pub(crate) fn views_grow() -> impl Invariant<Host> {
    always("views_grow", |world: &ha_sim::World<Host>, _| {
        let grows = |host: &Host| host.views.windows(2).all(|pair| pair[0].0 < pair[1].0);
        match world.nodes().find(|(_, host)| !grows(host)) {
            Some((index, host)) => Err(format!("{index}: {:?}", host.views)),
            None => Ok(()),
        }
    })
}
