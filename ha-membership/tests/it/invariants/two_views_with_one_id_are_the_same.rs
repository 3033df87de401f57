//! Over all nodes, parts of the network and lives: one number, one view.

use std::collections::BTreeMap;

use ha_sim::{Invariant, always};

use crate::mesh::Host;

pub(crate) fn two_views_with_one_id_are_the_same() -> impl Invariant<Host> {
    let mut seen = BTreeMap::new();
    always("two_views_with_one_id_are_the_same", move |world: &ha_sim::World<Host>, _| {
        for (index, host) in world.nodes() {
            let Some((id, members)) = host.views.last() else { continue };
            let first = seen.entry(*id).or_insert_with(|| members.clone());
            if first != members {
                return Err(format!("{index} has view {id} as {members:?}, not {first:?}"));
            }
        }
        Ok(())
    })
}
