//! Names that stand for several resources: tags, templates, sets.

use std::sync::Arc;

use super::constraints::find;
use crate::cib::ResourceSet;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::RscId;

/// The resources that a name in a constraint stands for.
pub(super) fn resolve(cluster: &Cluster<'_>, name: &str) -> Vec<RscId> {
    if let Some(found) = find(cluster, name) {
        return vec![found];
    }
    if cluster.templates.contains_key(name) {
        return cluster
            .cib
            .resources
            .iter()
            .flat_map(crate::cib::CibResource::primitives)
            .filter(|primitive| primitive.template.as_deref() == Some(name))
            .filter_map(|primitive| find(cluster, &primitive.id))
            .collect();
    }
    let tagged = cluster.tags.get(name).copied().unwrap_or_default();
    tagged.iter().filter_map(|id| find(cluster, id)).collect()
}

/// The members of a set.
pub(super) fn members(cluster: &Cluster<'_>, set: &ResourceSet) -> Vec<RscId> {
    let resolve = |name: &Arc<str>| resolve(cluster, name);
    set.members.iter().flat_map(resolve).collect()
}
