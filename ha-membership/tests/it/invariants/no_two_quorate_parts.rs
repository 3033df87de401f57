//! Of two nodes that are quorate at one moment, at least one is in the view of the other.
//!
//! A paused node does nothing; it is looked at again when its machine has been told the time.

use ha_membership::View;
use ha_sim::{Invariant, always};

use crate::mesh::{Host, view};
use crate::name;

pub(crate) fn no_two_quorate_parts() -> impl Invariant<Host> {
    always("no_two_quorate_parts", |world: &ha_sim::World<Host>, _| {
        let quorate: Vec<(usize, &View)> = world
            .nodes()
            .filter(|(index, _)| world.is_running(*index))
            .filter_map(|(index, _)| Some((index.get(), view(world, index.get())?)))
            .filter(|(_, view)| view.is_quorate())
            .collect();
        for (a, of_a) in &quorate {
            for (b, of_b) in &quorate {
                if of_a.standing(&name(*b)).is_none() && of_b.standing(&name(*a)).is_none() {
                    return Err(format!("n{a} and n{b}: {of_a:?} and {of_b:?}"));
                }
            }
        }
        Ok(())
    })
}
