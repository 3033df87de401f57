//! When all faults are over, everything runs again: what is at-most-one once, what is
//! at-least-one everywhere.

use ha_sim::World;

use crate::cluster::host::Host;

pub(crate) fn available_again_after_heal(world: &World<Host>) -> bool {
    let Some((_, first)) = world.nodes().next() else { return false };
    let config = &first.cluster;
    let model = first.model.borrow();
    config.resources().keys().chain(&model.singles).all(|resource| {
        let count = world.nodes().filter(|(_, host)| host.active.contains_key(resource)).count();
        let members = config.nodes().iter().filter(|node| !config.is_witness(node)).count();
        let single = model.singles.contains(resource);
        count == if single { 1 } else { members }
    })
}
