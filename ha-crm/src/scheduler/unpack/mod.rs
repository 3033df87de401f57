//! From a CIB to the working picture: what is configured, what holds now, what is active where.

mod bundles;
mod constraints;
mod failures;
mod history;
mod locations;
mod membership;
mod migration;
mod nodes;
mod operations;
mod orders;
mod outcome;
mod remotes;
mod resources;
mod sets;
mod tickets;

use std::collections::BTreeMap;

use ha_core::time::WallTime;

use crate::cib::Cib;
use crate::model::rule::Facts;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::ledger::Ledger;
use crate::scheduler::limits::{Limits, TooLarge};
use crate::scheduler::options::Options;

pub(crate) use self::constraints::push as add_colocation;
pub(crate) use self::failures::fail_count;
pub(crate) use self::membership::{fence, find as node_of};
pub(crate) use self::operations::configured_op;
pub(crate) use self::outcome::{active_role, ban_scope};

/// Makes the picture of a CIB at a time.
///
/// # Errors
///
/// If the configuration asks for too much.
pub(crate) fn unpack(cib: &Cib, now: WallTime, explain: bool) -> Result<Cluster<'_>, TooLarge> {
    let options = Options::new(cib, &Facts::at(now));
    let mut cluster = Cluster {
        cib,
        now,
        nodes: Vec::new(),
        resources: Vec::new(),
        top: Vec::new(),
        templates: cib.templates.iter().map(|template| (&*template.id, template)).collect(),
        tags: cib.tags.iter().map(|tag| (&*tag.id, tag.references.as_slice())).collect(),
        names: BTreeMap::new(),
        last_found: None,
        found_after: Vec::new(),
        node_names: BTreeMap::new(),
        node_ids: BTreeMap::new(),
        colocations: Vec::new(),
        orders: Vec::new(),
        ticket_uses: Vec::new(),
        tickets: tickets::states(cib),
        has_quorum: options.have_quorum,
        has_unfencing: false,
        has_fence_device: false,
        ledger: Ledger::new(explain),
        limits: Limits::default(),
        primaries: Vec::new(),
        dependents: Vec::new(),
        is_scored: false,
        depth: 0,
        next_change: None,
        options,
    };
    nodes::unpack(&mut cluster);
    resources::unpack(&mut cluster);
    cluster.limits.check()?;
    membership::unpack(&mut cluster);
    history::unpack(&mut cluster);
    cluster.limits.check()?;
    nodes::finish(&mut cluster);
    constraints::unpack(&mut cluster);
    cluster.limits.check()?;
    Ok(cluster)
}
