//! Nodes: those configured, and those that resources are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cib::{AttributeSet, CibResource, ConfiguredNode, NodeKind, Primitive};
use crate::model::rule::Facts;
use crate::scheduler::attributes::Table;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::NodeId;
use crate::scheduler::limits::Measure;
use crate::scheduler::node::{Kind, Node};
use crate::scheduler::options::Health;
use crate::scheduler::score::{INFINITY, sum};

/// Enters the nodes that are configured, and the remote and guest nodes that resources make.
pub(super) fn unpack(cluster: &mut Cluster<'_>) {
    for node in &cluster.cib.nodes {
        enter_configured(cluster, node);
    }
    for resource in &cluster.cib.resources {
        if matches!(resource, CibResource::Bundle(_)) {
            continue; // Bundles make their nodes themselves.
        }
        for primitive in resource.primitives() {
            if let Some(name) = remote_name(cluster, primitive) {
                enter(cluster, &name, &name, Kind::Remote);
            }
            if let Some(name) = guest_name(cluster, primitive) {
                enter(cluster, &name, &name, Kind::Guest);
            }
        }
    }
}

/// The name of the node that a primitive connects to.
fn remote_name(cluster: &Cluster<'_>, primitive: &Primitive) -> Option<Arc<str>> {
    let template = primitive.template.as_deref().and_then(|id| cluster.templates.get(id));
    let has = |read: fn(&Primitive) -> Option<&Arc<str>>, value: &str| {
        read(primitive)
            .or_else(|| template.and_then(|template| read(template)))
            .is_some_and(|found| &**found == value)
    };
    let is_remote =
        has(|one| one.kind.as_ref(), "remote") && has(|one| one.provider.as_ref(), "pacemaker");
    is_remote.then(|| Arc::clone(&primitive.id))
}

/// The name of the guest node that runs inside a primitive. Source: `remote-node`.
pub(super) fn guest_name(cluster: &Cluster<'_>, primitive: &Primitive) -> Option<Arc<str>> {
    let template = primitive.template.as_deref().and_then(|id| cluster.templates.get(id));
    let facts = Facts::at(cluster.now);
    let mut meta = Table::default();
    meta.add(&primitive.meta, &facts);
    if let Some(template) = template {
        meta.add(&template.meta, &facts);
    }
    meta.get("remote-node").map(Into::into)
}

fn enter_configured(cluster: &mut Cluster<'_>, configured: &ConfiguredNode) {
    let Some(name) = &configured.uname else { return };
    let kind = match configured.kind {
        Some(NodeKind::Remote) => Kind::Remote,
        Some(NodeKind::Ping) => return,
        Some(NodeKind::Member) | None => Kind::Member,
    };
    let node = enter(cluster, &configured.id, name, kind);
    let facts_of = |table: &Table, sets: &[Arc<AttributeSet>]| {
        let mut found = Table::default();
        found.add(sets, &Facts::at(cluster.now).node(table));
        found
    };
    let attributes = facts_of(&cluster[node].attributes, &configured.attributes);
    let capacity = facts_of(&cluster[node].attributes, &configured.utilization);
    cluster[node].attributes.inherit(&attributes);
    cluster[node].capacity = amounts(&capacity);
}

/// Whole numbers of utilization attributes.
pub(super) fn amounts(table: &Table) -> BTreeMap<Arc<str>, i64> {
    let read = |text: &str| text.trim().parse::<i64>().unwrap_or(0);
    table.iter().map(|(name, value)| (Arc::clone(name), read(value))).collect()
}

/// Enters a node, or finds it if it is there.
pub(super) fn enter(cluster: &mut Cluster<'_>, id: &str, name: &str, kind: Kind) -> NodeId {
    if let Some(known) = cluster.node_names.get(name).copied() {
        // A guest's attributes may be configured as those of a remote node.
        if kind == Kind::Guest && cluster[known].kind == Kind::Remote {
            cluster[known].kind = kind;
            cluster[known].attributes.set("#kind", "container");
        }
        return known;
    }
    let node = NodeId::new(cluster.nodes.len());
    let (id, name): (Arc<str>, Arc<str>) = (id.into(), name.into());
    let mut attributes = Table::default();
    attributes.set("#uname", Arc::clone(&name));
    attributes.set("#id", Arc::clone(&id));
    attributes.set(
        "#kind",
        match kind {
            Kind::Member => "cluster",
            Kind::Remote => "remote",
            Kind::Guest => "container",
        },
    );
    let is_dc = cluster.cib.dc_uuid.as_ref() == Some(&id);
    attributes.set("#is_dc", if is_dc { "true" } else { "false" });
    for (attribute, option) in [("#cluster-name", "cluster-name"), ("#site-name", "site-name")] {
        if let Some(value) = cluster.options.table.get(option) {
            attributes.set(attribute, value);
        }
    }
    cluster.node_names.insert(Arc::clone(&name), node);
    cluster.node_ids.insert(id, node);
    cluster.nodes.push(Node { name, kind, attributes, discovery: true, ..Node::default() });
    // The node of a connection that is configured no more comes when scores are there already.
    let (scored, name) = (cluster.resources.len(), Arc::clone(&cluster[node].name));
    if cluster.is_scored && cluster.limits.take(Measure::Scores, scored, &name) {
        for resource in &mut cluster.resources {
            resource.scores.resize(node.index() + 1, crate::scheduler::resource::ABSENT);
        }
    }
    node
}

/// What is known of nodes once all attributes are: health, discovery.
pub(super) fn finish(cluster: &mut Cluster<'_>) {
    for node in cluster.node_ids() {
        let health = health(cluster, node);
        cluster[node].health = health;
        let discovery = cluster[node].attributes.read("resource-discovery-enabled");
        let may_skip = cluster[node].is_remote();
        if may_skip && discovery == Some(false) {
            cluster[node].discovery = false;
        }
    }
}

/// The health of a node as a score. Source: "Tracking Node Health".
fn health(cluster: &Cluster<'_>, node: NodeId) -> i32 {
    let options = &cluster.options;
    if options.health == Health::None {
        return 0;
    }
    let colour = |value: &str| -> i32 {
        match (options.health, value) {
            (Health::MigrateOnRed, "red") | (Health::OnlyGreen, "red" | "yellow") => -INFINITY,
            (Health::Progressive | Health::Custom, "red") => options.health_red,
            (Health::Progressive | Health::Custom, "yellow") => options.health_yellow,
            (Health::Progressive | Health::Custom, "green") => options.health_green,
            (Health::MigrateOnRed | Health::OnlyGreen, "green" | "yellow") => 0,
            (_, other) => {
                use crate::cib::CibValue;
                crate::model::Score::read(other).map_or(0, crate::model::Score::get)
            }
        }
    };
    let values = cluster[node].attributes.iter().filter(|(name, _)| name.starts_with("#health"));
    let worst_or_sum = values.map(|(_, value)| colour(&value.to_ascii_lowercase()));
    let base = match options.health {
        Health::Progressive => options.health_base,
        Health::Custom | Health::MigrateOnRed | Health::None | Health::OnlyGreen => 0,
    };
    worst_or_sum.fold(base, sum)
}
