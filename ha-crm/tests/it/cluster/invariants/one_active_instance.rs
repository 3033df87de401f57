//! An at-most-one resource is active on at most one node: the guarantee itself.

use ha_sim::{Invariant, World, always};

use crate::cluster::host::Host;

pub(crate) fn one_active_instance() -> impl Invariant<Host> {
    always("one_active_instance", |world: &World<Host>, _| {
        let Some((_, first)) = world.nodes().next() else { return Ok(()) };
        for resource in &first.model.borrow().singles {
            let holders: Vec<String> = world
                .nodes()
                .filter(|(_, host)| host.active.contains_key(resource))
                .map(|(index, _)| index.to_string())
                .collect();
            if holders.len() > 1 {
                return Err(format!("{resource} is active on {}", holders.join(" and ")));
            }
        }
        Ok(())
    })
}
