//! Constraints: what names in them mean, and colocations.

use std::sync::Arc;

use ha_core::role::Role;

use super::{locations, orders, sets, tickets};
use crate::cib::{CibConstraint, Colocation as Configured, ResourceSet, RuleElement, SetOrdering};
use crate::model::Score;
use crate::model::rule::Facts;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::constraint::Colocation;
use crate::scheduler::id::RscId;
use crate::scheduler::limits::Measure;

/// Enters all constraints.
pub(super) fn unpack(cluster: &mut Cluster<'_>) {
    locations::open(cluster);
    let cib = cluster.cib;
    for constraint in &cib.constraints {
        if cluster.limits.is_exceeded() {
            return;
        }
        match constraint {
            CibConstraint::Colocation(colocation) if holds(cluster, &colocation.lifetime) => {
                enter_colocation(cluster, colocation);
            }
            CibConstraint::Location(location) if holds(cluster, &location.lifetime) => {
                locations::enter(cluster, location);
            }
            CibConstraint::Order(order) if holds(cluster, &order.lifetime) => {
                orders::enter(cluster, order);
            }
            CibConstraint::Ticket(ticket) => tickets::enter(cluster, ticket),
            CibConstraint::Colocation(_) | CibConstraint::Location(_) | CibConstraint::Order(_) => {
            }
        }
    }
}

/// Whether a constraint's time is now.
fn holds(cluster: &mut Cluster<'_>, lifetime: &[Arc<RuleElement>]) -> bool {
    let now = cluster.now;
    lifetime.iter().all(|rule| {
        let (rule, _) = rule.rule();
        if let Some(at) = rule.next_change(now) {
            cluster.recheck_at(at);
        }
        rule.holds(&Facts::at(now))
    })
}

/// The resource of a name; for what is cloned the clone.
pub(super) fn find(cluster: &Cluster<'_>, id: &str) -> Option<RscId> {
    if let Some(found) = cluster.names.get(id) {
        return Some(match cluster.clone_of(*found) {
            Some(clone) => cluster.bundle_of(clone).unwrap_or(clone),
            None => *found,
        });
    }
    let instance = cluster.names.get(&*format!("{id}:0"))?;
    let clone = cluster.clone_of(*instance)?;
    Some(cluster.bundle_of(clone).unwrap_or(clone))
}

fn enter_colocation(cluster: &mut Cluster<'_>, configured: &Configured) {
    let score = configured.score.map_or(0, Score::get);
    if !configured.sets.is_empty() {
        enter_sets(cluster, configured, score);
        return;
    }
    let (Some(rsc), Some(with)) = (&configured.rsc, &configured.with_rsc) else { return };
    let dependents = sets::resolve(cluster, rsc);
    let primaries = sets::resolve(cluster, with);
    // Between two names that each stand for several it would not be clear who goes with whom.
    if find(cluster, rsc).is_none() && find(cluster, with).is_none() {
        return;
    }
    for dependent in &dependents {
        for primary in &primaries {
            let roles = (configured.rsc_role, configured.with_rsc_role);
            add(cluster, configured, score, (*dependent, *primary), roles);
        }
    }
}

fn add(
    cluster: &mut Cluster<'_>,
    configured: &Configured,
    score: i32,
    (dependent, primary): (RscId, RscId),
    (dependent_role, primary_role): (Option<Role>, Option<Role>),
) {
    if score == 0 || dependent == primary {
        return;
    }
    let started_is_any = |role: Option<Role>| role.filter(|role| *role != Role::Started);
    push(
        cluster,
        Colocation {
            id: Arc::clone(&configured.id),
            dependent,
            primary,
            dependent_role: started_is_any(dependent_role),
            primary_role: started_is_any(primary_role),
            score,
            node_attribute: configured.node_attribute.clone(),
            influence: configured.influence,
        },
    );
}

/// Enters a colocation with both its ends.
pub(crate) fn push(cluster: &mut Cluster<'_>, colocation: Colocation) {
    if !cluster.limits.take(Measure::Colocations, 1, &colocation.id) {
        return;
    }
    let index = cluster.colocations.len();
    cluster[colocation.dependent].with.push(index);
    cluster[colocation.primary].dependents.push(index);
    cluster.colocations.push(colocation);
}

/// Sets: each member with the one before it, and each set with the one after it.
fn enter_sets(cluster: &mut Cluster<'_>, configured: &Configured, score: i32) {
    let mut last: Option<(&ResourceSet, Vec<RscId>)> = None;
    for set in &configured.sets {
        let members = sets::members(cluster, set);
        enter_set(cluster, configured, set, &members, score);
        if let Some((before, dependents)) = &last {
            let first_of = |set: &ResourceSet, members: &[RscId]| -> Vec<RscId> {
                if set.sequential.unwrap_or(true) {
                    members.first().copied().into_iter().collect()
                } else {
                    members.to_vec()
                }
            };
            let primaries = if set.sequential.unwrap_or(true) {
                members.last().copied().into_iter().collect()
            } else {
                members.clone()
            };
            for dependent in first_of(before, dependents) {
                for primary in &primaries {
                    add(cluster, configured, score, (dependent, *primary), (before.role, set.role));
                }
            }
        }
        last = Some((set, members));
    }
}

fn enter_set(
    cluster: &mut Cluster<'_>,
    configured: &Configured,
    set: &ResourceSet,
    members: &[RscId],
    score: i32,
) {
    if !set.sequential.unwrap_or(true) {
        return;
    }
    let score = set.score.map_or(score, Score::get);
    let roles = (set.role, set.role);
    for (index, member) in members.iter().enumerate() {
        let before = members.get(..index).unwrap_or_default();
        if score < 0 {
            for other in before {
                add(cluster, configured, score, (*member, *other), roles);
            }
        } else if let Some(previous) = before.last() {
            let pair = match set.ordering {
                Some(SetOrdering::Listed) => (*previous, *member),
                Some(SetOrdering::Group) | None => (*member, *previous),
            };
            add(cluster, configured, score, pair, roles);
        }
    }
}
