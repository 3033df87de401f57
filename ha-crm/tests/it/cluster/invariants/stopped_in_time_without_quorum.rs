//! A node without quorum has stopped what is at-most-one within its deadline, or is down.

use std::time::Duration;

use ha_sim::{Invariant, World, always};

use crate::cluster::host::Host;

/// The deadline of 100 ms, and what an outside power switch needs after a self-fencing.
const LIMIT: Duration = Duration::from_millis(150);

pub(crate) fn stopped_in_time_without_quorum() -> impl Invariant<Host> {
    always("stopped_in_time_without_quorum", |world: &World<Host>, _| {
        for (index, host) in world.nodes().filter(|(index, _)| world.is_running(*index)) {
            let (Some(both), Some(now)) = (world.machine(index), world.local_time(index)) else {
                continue;
            };
            let Some(lost_at) = both.lost_at.filter(|at| now.since(*at) > LIMIT) else { continue };
            let singles = &host.model.borrow().singles;
            if let Some(resource) = singles.iter().find(|name| host.active.contains_key(*name)) {
                let since = now.since(lost_at);
                return Err(format!("{index} runs {resource} {since:?} after it lost quorum"));
            }
        }
        Ok(())
    })
}
