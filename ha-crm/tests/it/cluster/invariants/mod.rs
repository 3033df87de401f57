//! What must always hold of a cluster, one law a file.

mod available_again_after_heal;
mod fenced_before_started_elsewhere;
mod no_action_without_quorum;
mod one_active_instance;
mod stopped_in_time_without_quorum;
mod tokens_grow;

pub(super) use self::available_again_after_heal::available_again_after_heal;
pub(super) use self::fenced_before_started_elsewhere::fenced_before_started_elsewhere;
pub(super) use self::no_action_without_quorum::no_action_without_quorum;
pub(super) use self::one_active_instance::one_active_instance;
pub(super) use self::stopped_in_time_without_quorum::stopped_in_time_without_quorum;
pub(super) use self::tokens_grow::tokens_grow;

use ha_sim::{Invariant, NodeIndex, World, always};

use super::host::Host;
use super::model::Model;

/// A law whose breach the model notes when it happens.
fn noted(name: &'static str, breach: fn(&Model) -> Option<&String>) -> impl Invariant<Host> {
    always(name, move |world: &World<Host>, _| {
        let Some(host) = world.node(NodeIndex::new(0)) else { return Ok(()) };
        match breach(&host.model.borrow()) {
            Some(what) => Err(what.clone()),
            None => Ok(()),
        }
    })
}
