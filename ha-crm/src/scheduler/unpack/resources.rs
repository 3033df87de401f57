//! Resources: primitives, groups and clones from the configuration.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ha_core::role::Role;

use super::{bundles, nodes, operations};
use crate::cib::{
    AttributeSet, CibResource, CibValue, CloneSet, Cloned, Group, Primitive, Requires,
};
use crate::model::Score;
use crate::model::rule::Facts;
use crate::scheduler::attributes::Table;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::RscId;
use crate::scheduler::limits::Measure;
use crate::scheduler::options::NoQuorum;
use crate::scheduler::resource::{ABSENT, CloneSettings, MultipleActive, Resource, Variant};
use crate::scheduler::score::INFINITY;

/// No clone has more instances than this.
const MAX_INSTANCES: usize = 10_000;

/// Enters all resources.
pub(super) fn unpack<'c>(cluster: &mut Cluster<'c>) {
    let cib: &'c crate::cib::Cib = cluster.cib;
    for resource in &cib.resources {
        if cluster.limits.is_exceeded() {
            return;
        }
        let entered = match resource {
            CibResource::Bundle(bundle) => bundles::enter(cluster, bundle),
            CibResource::Clone(set) => enter_clone(cluster, set),
            CibResource::Group(group) => enter_group(cluster, group, None, None),
            CibResource::Primitive(primitive) => enter_primitive(cluster, primitive, None, None),
        };
        cluster.top.push(entered);
    }
    enter_guests(cluster);
    enter_containers(cluster);
    cluster.has_fence_device = cluster.resources.iter().any(|rsc| rsc.is_fencing);
    cluster.has_unfencing = cluster.options.fencing
        && cluster.resources.iter().any(|rsc| rsc.is_fencing && provides_unfencing(rsc));
    let has_unfencing = cluster.has_unfencing;
    for rsc in &mut cluster.resources {
        if rsc.requires == Some(Requires::Unfencing) && !has_unfencing {
            rsc.requires = Some(Requires::Fencing);
        }
        if rsc.requires.is_none() {
            rsc.requires = Some(default_requires(
                rsc.is_fencing,
                has_unfencing,
                &cluster.options,
                rsc.remote.is_some(),
            ));
        }
    }
    let priorities: Vec<i32> = cluster.resources.iter().map(|rsc| rsc.priority).collect();
    cluster.top.sort_by_key(|rsc| std::cmp::Reverse(priorities[rsc.index()]));
    cluster.is_scored = true;
    open_scores(cluster, 0..cluster.resources.len());
}

fn provides_unfencing(rsc: &Resource<'_>) -> bool {
    let by_agent = matches!(&*rsc.agent, "fence_scsi" | "fence_mpath");
    rsc.meta.get("provides") == Some("unfencing") || by_agent
}

fn default_requires(
    is_fencing: bool,
    has_unfencing: bool,
    options: &crate::scheduler::options::Options,
    is_remote: bool,
) -> Requires {
    if is_fencing {
        Requires::Quorum
    } else if has_unfencing && !is_remote {
        Requires::Unfencing
    } else if options.fencing {
        Requires::Fencing
    } else if options.no_quorum == NoQuorum::Ignore {
        Requires::Nothing
    } else {
        Requires::Quorum
    }
}

/// Resources that say which resource they live in. Source: meta-attribute `container`.
fn enter_containers(cluster: &mut Cluster<'_>) {
    for inner in cluster.resource_ids() {
        if !cluster[inner].is_primitive() || cluster[inner].container.is_some() {
            continue;
        }
        let name = cluster[inner].meta.get("container").map(Arc::<str>::from);
        let container = name.and_then(|name| cluster.names.get(&name).copied());
        let Some(container) = container.filter(|container| *container != inner) else { continue };
        if cluster[container].is_primitive() && cluster[container].container.is_none() {
            cluster[inner].container = Some(container);
            cluster[container].contents.push(inner);
        }
    }
}

/// Connections to guest nodes are resources that nobody configured.
fn enter_guests(cluster: &mut Cluster<'_>) {
    for container in cluster.resource_ids() {
        let Some(config) = cluster[container].config else { continue };
        if cluster.bundle_of(container).is_some() {
            continue;
        }
        let Some(name) = nodes::guest_name(cluster, config) else { continue };
        let Some(node) = cluster.find_node(&name) else { continue };
        let read = |key: &str| cluster[container].meta.get(key).map(Arc::<str>::from);
        let (address, port) = (read("remote-addr"), read("remote-port"));
        let mut implied = Table::default();
        if let Some(address) = address {
            implied.set("addr", address);
        }
        if let Some(port) = port {
            implied.set("port", port);
        }
        let connection = enter_implied(cluster, &name, "pacemaker", "remote", None, implied);
        join_guest(cluster, connection, node, container);
        cluster.top.push(connection);
    }
}

/// Makes a resource the connection to the node inside a container.
pub(super) fn join_guest(
    cluster: &mut Cluster<'_>,
    connection: RscId,
    node: crate::scheduler::id::NodeId,
    container: RscId,
) {
    cluster[connection].remote = Some(node);
    cluster[connection].container = Some(container);
    cluster[connection].requires = Some(Requires::Nothing);
    cluster[connection].can_migrate = cluster[container].can_migrate;
    if cluster[container].meta.read("remote-allow-migrate") == Some(false) {
        cluster[connection].can_migrate = false;
    }
    cluster[container].contents.push(connection);
    cluster[node].connection = Some(connection);
}

/// Enters a resource of an OCF agent that stands in no configuration.
pub(super) fn enter_implied(
    cluster: &mut Cluster<'_>,
    id: &str,
    provider: &str,
    agent: &str,
    parent: Option<RscId>,
    implied: Table,
) -> RscId {
    let mut rsc = Resource {
        id: id.into(),
        base: id.into(),
        class: "ocf".into(),
        provider: Some(provider.into()),
        agent: agent.into(),
        parent,
        implied,
        ..Resource::default()
    };
    if let Some(parent) = parent {
        rsc.meta = cluster[parent].meta.clone();
    } else {
        let facts = Facts::at(cluster.now).agent("ocf", Some(provider), agent);
        rsc.meta.add(&cluster.cib.resource_defaults, &facts);
    }
    read_meta(cluster, &mut rsc);
    add(cluster, rsc)
}

/// Puts a resource into the arena.
pub(super) fn add<'c>(cluster: &mut Cluster<'c>, rsc: Resource<'c>) -> RscId {
    let id = RscId::new(cluster.resources.len());
    cluster.limits.take(Measure::Resources, 1, &rsc.id);
    if let Some(parent) = rsc.parent {
        cluster[parent].children.push(id);
    }
    cluster.names.entry(Arc::clone(&rsc.id)).or_insert(id);
    cluster.resources.push(rsc);
    if cluster.is_scored {
        open_scores(cluster, id.index()..cluster.resources.len());
    }
    id
}

/// Gives resources a score on every node, if there are not too many.
fn open_scores(cluster: &mut Cluster<'_>, resources: Range<usize>) {
    let nodes = cluster.nodes.len();
    let Some(last) = cluster.resources.get(resources.clone()).and_then(<[_]>::last) else { return };
    let last = Arc::clone(&last.id);
    if cluster.limits.take(Measure::Scores, nodes.saturating_mul(resources.len()), &last) {
        for rsc in cluster.resources.get_mut(resources).into_iter().flatten() {
            rsc.scores = vec![ABSENT; nodes];
        }
    }
}

fn suffixed(id: &str, number: Option<usize>) -> Arc<str> {
    match number {
        Some(number) => format!("{id}:{number}").into(),
        None => id.into(),
    }
}

pub(super) fn enter_primitive<'c>(
    cluster: &mut Cluster<'c>,
    config: &'c Primitive,
    parent: Option<RscId>,
    number: Option<usize>,
) -> RscId {
    // Instances are alike: what was resolved for the first serves all.
    if number.is_some_and(|number| number > 0) {
        let first = cluster.names.get(&*suffixed(&config.id, Some(0))).copied();
        if let Some(mut rsc) = first.map(|first| pristine(&cluster[first])) {
            rsc.id = suffixed(&config.id, number);
            rsc.parent = parent;
            return add(cluster, rsc);
        }
    }
    let template = config.template.as_deref().and_then(|id| cluster.templates.get(id)).copied();
    let part = |read: fn(&Primitive) -> Option<&Arc<str>>| {
        read(config).or_else(|| template.and_then(|template| read(template))).cloned()
    };
    let class = part(|one| one.class.as_ref()).unwrap_or_default();
    let provider = part(|one| one.provider.as_ref());
    let agent = part(|one| one.kind.as_ref()).unwrap_or_default();
    let facts = Facts::at(cluster.now);
    let mut meta = Table::default();
    meta.add(&config.meta, &facts);
    let mut utilization = Table::default();
    utilization.add(&config.utilization, &facts);
    if let Some(template) = template {
        meta.add(&template.meta, &facts);
        utilization.add(&template.utilization, &facts);
    }
    if let Some(parent) = parent {
        meta.inherit(&cluster[parent].meta);
    }
    let with_agent = facts.agent(&class, provider.as_deref(), &agent);
    meta.add(&cluster.cib.resource_defaults, &with_agent);
    let ops = operations::resolve(cluster, config, template, (&class, provider.as_deref(), &agent));
    let mut rsc = Resource {
        id: suffixed(&config.id, number),
        base: Arc::clone(&config.id),
        parent,
        config: Some(config),
        template,
        operations: ops,
        meta,
        utilization: nodes::amounts(&utilization),
        is_fencing: &*class == "stonith",
        class,
        provider,
        agent,
        ..Resource::default()
    };
    read_meta(cluster, &mut rsc);
    let is_connection = &*rsc.agent == "remote" && rsc.provider.as_deref() == Some("pacemaker");
    if is_connection {
        rsc.remote = cluster.find_node(&rsc.base);
        if !rsc.meta.contains("allow-migrate") {
            rsc.can_migrate = true;
        }
    }
    let remote = rsc.remote;
    let id = add(cluster, rsc);
    if let Some(node) = remote {
        cluster[node].connection = Some(id);
    }
    id
}

/// A copy of an instance as it was made.
fn pristine<'c>(rsc: &Resource<'c>) -> Resource<'c> {
    Resource {
        base: Arc::clone(&rsc.base),
        config: rsc.config,
        template: rsc.template,
        class: Arc::clone(&rsc.class),
        provider: rsc.provider.clone(),
        agent: Arc::clone(&rsc.agent),
        meta: rsc.meta.clone(),
        operations: Arc::clone(&rsc.operations),
        priority: rsc.priority,
        stickiness: rsc.stickiness,
        migration_threshold: rsc.migration_threshold,
        failure_timeout: rsc.failure_timeout,
        target_role: rsc.meta.read::<Role>("target-role"),
        multiple_active: rsc.multiple_active,
        requires: rsc.requires,
        managed: rsc.is_managed_by_itself,
        is_managed_by_itself: rsc.is_managed_by_itself,
        maintenance: rsc.maintenance,
        critical: rsc.critical,
        can_migrate: rsc.can_migrate,
        allow_unhealthy: rsc.allow_unhealthy,
        is_fencing: rsc.is_fencing,
        utilization: rsc.utilization.clone(),
        ..Resource::default()
    }
}

fn enter_group<'c>(
    cluster: &mut Cluster<'c>,
    config: &'c Group,
    parent: Option<RscId>,
    number: Option<usize>,
) -> RscId {
    let mut rsc = collective(cluster, &config.id, &config.meta, parent);
    rsc.id = suffixed(&config.id, number);
    rsc.variant = Variant::Group;
    read_meta(cluster, &mut rsc);
    let group = add(cluster, rsc);
    for primitive in &config.primitives {
        enter_primitive(cluster, primitive, Some(group), number);
    }
    group
}

/// What all collectives have: their meta-attributes.
pub(super) fn collective<'c>(
    cluster: &Cluster<'c>,
    id: &Arc<str>,
    sets: &[Arc<AttributeSet>],
    parent: Option<RscId>,
) -> Resource<'c> {
    let facts = Facts::at(cluster.now);
    let mut meta = Table::default();
    meta.add(sets, &facts);
    if let Some(parent) = parent {
        meta.inherit(&cluster[parent].meta);
    }
    meta.add(&cluster.cib.resource_defaults, &facts);
    Resource { id: Arc::clone(id), base: Arc::clone(id), meta, parent, ..Resource::default() }
}

fn enter_clone<'c>(cluster: &mut Cluster<'c>, config: &'c CloneSet) -> RscId {
    let mut rsc = collective(cluster, &config.id, &config.meta, None);
    rsc.variant = Variant::Clone;
    if !rsc.meta.contains("resource-stickiness") && cluster.options.stickiness == 0 {
        rsc.meta.set("resource-stickiness", "1");
    }
    let settings = clone_settings(cluster, &rsc.meta, config.is_master);
    let node_max = rsc.meta.read::<i32>("clone-node-max").unwrap_or(1);
    rsc.unique = rsc.meta.read("globally-unique").unwrap_or(node_max > 1);
    rsc.clone = settings;
    if !rsc.unique {
        rsc.clone.node_max = rsc.clone.node_max.min(1);
    }
    read_meta(cluster, &mut rsc);
    let max = rsc.clone.max;
    let clone = add(cluster, rsc);
    for number in 0..max.max(1) {
        if cluster.limits.is_exceeded() {
            break;
        }
        let instance = enter_instance(cluster, clone, config, number);
        if max == 0 {
            // One must be there to know what it would be.
            for member in instance.map(|one| cluster.all_of(one)).unwrap_or_default() {
                cluster[member].removed = true;
            }
        }
    }
    clone
}

/// Enters one more instance of a clone.
pub(super) fn enter_instance<'c>(
    cluster: &mut Cluster<'c>,
    clone: RscId,
    config: &'c CloneSet,
    number: usize,
) -> Option<RscId> {
    let instance = match config.inner.as_ref()? {
        Cloned::Group(group) => enter_group(cluster, group, Some(clone), Some(number)),
        Cloned::Primitive(primitive) => {
            enter_primitive(cluster, primitive, Some(clone), Some(number))
        }
    };
    mark_instance(cluster, clone, instance);
    Some(instance)
}

/// Tells an instance what it takes from its clone.
pub(super) fn mark_instance(cluster: &mut Cluster<'_>, clone: RscId, instance: RscId) {
    let (unique, promotable) = (cluster[clone].unique, cluster[clone].clone.promotable);
    for member in cluster.all_of(instance) {
        cluster[member].unique = unique;
        cluster[member].clone.promotable = promotable;
        cluster[member].clone.notify = cluster[clone].clone.notify;
    }
}

/// Enters one more instance of what the configuration has cloned, or put into a bundle.
pub(super) fn enter_another(
    cluster: &mut Cluster<'_>,
    clone: RscId,
    number: usize,
) -> Option<RscId> {
    let cib = cluster.cib;
    let id = Arc::clone(&cluster[cluster[clone].parent.unwrap_or(clone)].base);
    let named = |resource: &&CibResource| match resource {
        CibResource::Bundle(bundle) => bundle.id == id,
        CibResource::Clone(set) => set.id == id,
        CibResource::Group(_) | CibResource::Primitive(_) => false,
    };
    match cib.resources.iter().find(named)? {
        CibResource::Bundle(bundle) => {
            let inside = bundle.primitive.as_ref()?;
            let instance = enter_primitive(cluster, inside, Some(clone), Some(number));
            mark_instance(cluster, clone, instance);
            Some(instance)
        }
        CibResource::Clone(set) => enter_instance(cluster, clone, set, number),
        CibResource::Group(_) | CibResource::Primitive(_) => None,
    }
}

fn clone_settings(cluster: &Cluster<'_>, meta: &Table, is_master: bool) -> CloneSettings {
    let number = |name: &str| -> Option<usize> {
        let value: i64 = meta.get(name)?.trim().parse().ok()?;
        Some(usize::try_from(value.max(0)).unwrap_or(usize::MAX).min(MAX_INSTANCES))
    };
    let promotable = meta.read("promotable").unwrap_or(is_master);
    let promoted_max = number("promoted-max").or_else(|| number("master-max")).unwrap_or(1);
    let per_node = number("promoted-node-max").or_else(|| number("master-node-max"));
    CloneSettings {
        max: number("clone-max").unwrap_or_else(|| cluster.nodes.len().max(1)),
        node_max: number("clone-node-max").unwrap_or(1),
        min: number("clone-min").unwrap_or(0),
        promoted_max: if promotable { promoted_max } else { 0 },
        promoted_node_max: per_node.unwrap_or(1),
        interleave: meta.read("interleave").unwrap_or(false),
        promotable,
        notify: meta.read("notify").unwrap_or(false),
    }
}

/// A score as Pacemaker takes it: what follows the digits, as in `2.0`, does not count.
fn lenient_score(text: &str) -> Option<i32> {
    let text = text.trim();
    let sign = text.len() - text.trim_start_matches(['+', '-']).len();
    let digits = text.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
    let number = if digits == 0 { text } else { text.get(..sign + digits).unwrap_or(text) };
    <Score as CibValue>::read(number).map(Score::get)
}

/// What meta-attributes say, as types.
pub(super) fn read_meta(cluster: &Cluster<'_>, rsc: &mut Resource<'_>) {
    let meta = &rsc.meta;
    let score = |name: &str| meta.get(name).and_then(lenient_score);
    rsc.priority = score("priority").unwrap_or(0);
    rsc.stickiness = score("resource-stickiness").unwrap_or(cluster.options.stickiness);
    rsc.migration_threshold = score("migration-threshold").filter(|n| *n >= 0).unwrap_or(INFINITY);
    rsc.failure_timeout = meta.read::<Duration>("failure-timeout").unwrap_or_default();
    rsc.target_role = meta.read::<Role>("target-role");
    rsc.multiple_active = match meta.get("multiple-active").map(str::to_ascii_lowercase).as_deref()
    {
        Some("block") => MultipleActive::Block,
        Some("stop_only") => MultipleActive::StopOnly,
        Some("stop_unexpected") => MultipleActive::StopUnexpected,
        Some(_) | None => MultipleActive::StopStart,
    };
    rsc.requires = meta.read::<Requires>("requires");
    if rsc.requires == Some(Requires::Unfencing) && rsc.is_fencing {
        rsc.requires = Some(Requires::Quorum);
    }
    if matches!(rsc.requires, Some(Requires::Fencing | Requires::Unfencing))
        && !cluster.options.fencing
    {
        rsc.requires = Some(Requires::Quorum);
    }
    let default = cluster.options.table.read("is-managed-default").unwrap_or(true);
    rsc.managed = meta.read("is-managed").unwrap_or(default);
    rsc.maintenance = meta.read("maintenance").unwrap_or(false);
    if cluster.options.maintenance || rsc.maintenance {
        rsc.maintenance = true;
        rsc.managed = false;
    }
    rsc.is_managed_by_itself = rsc.managed;
    rsc.critical = meta.read("critical").unwrap_or(true);
    rsc.can_migrate = meta.read("allow-migrate").unwrap_or(false);
    rsc.allow_unhealthy = meta.read("allow-unhealthy-nodes").unwrap_or(false);
}
