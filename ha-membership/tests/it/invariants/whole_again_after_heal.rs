//! When all is well again, all have one view with everybody in it, alive and quorate.

use ha_membership::Standing;
use ha_sim::World;

use crate::mesh::{Host, view};

pub(crate) fn whole_again_after_heal(world: &World<Host>) -> bool {
    let nodes = world.nodes().len();
    let first = view(world, 0).map(ha_membership::View::id);
    (0..nodes).all(|node| {
        view(world, node).is_some_and(|view| {
            let alive = |m: &ha_membership::Member| m.standing == Standing::Alive;
            Some(view.id()) == first
                && view.is_quorate()
                && view.members().len() == nodes
                && view.members().values().all(alive)
        })
    })
}
