//! Where resources may be, and want to be.

use std::sync::Arc;

use ha_core::role::Role;

use super::sets;
use crate::cib::{Discovery, Location, LocationRule, Pattern};
use crate::model::Score;
use crate::model::rule::Facts;
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::{NodeId, RscId};
use crate::scheduler::ledger::Why;
use crate::scheduler::limits::Measure;
use crate::scheduler::node::Kind;
use crate::scheduler::resource::{ABSENT, Variant};

/// Patterns longer than this, or that need more memory, match nothing.
const MAX_PATTERN: usize = 64 * 1024;

/// The same, compiled, in bytes.
const MAX_COMPILED: usize = 1 << 20;
/// So many bytes of a compiled pattern at a character of a name are one trial: about 1 us.
const UNIT: usize = 4096;

/// Opens the nodes to all resources, in a symmetric cluster.
pub(super) fn open(cluster: &mut Cluster<'_>) {
    let symmetric = cluster.options.symmetric;
    for resource in cluster.resource_ids() {
        let in_bundle = cluster.bundle_of(resource).is_some_and(|bundle| {
            let is_content = |parts: &crate::scheduler::bundle::BundleParts| {
                parts.child.is_some_and(|child| cluster.all_of(child).contains(&resource))
            };
            cluster[bundle].bundle.as_deref().is_some_and(is_content)
        });
        for node in cluster.node_ids() {
            let bundle_node = is_bundle_node(cluster, node);
            let may = symmetric || in_bundle;
            let opens = may && (bundle_node == in_bundle);
            if opens && cluster[resource].score(node) == ABSENT {
                cluster.add_score(resource, node, 0, &Why::Start);
            } else if !opens && bundle_node != in_bundle {
                cluster[resource].scores[node.index()] = ABSENT;
            }
        }
    }
    close_remotes(cluster);
    open_health(cluster);
}

/// Some resources cannot be on nodes behind a connection: fence devices on none, what has a guest
/// inside on no guest.
fn close_remotes(cluster: &mut Cluster<'_>) {
    let why = Why::Other("nothing for a node behind a connection");
    for resource in cluster.resource_ids() {
        let is_connection = cluster[resource].remote.is_some();
        let has_guest = cluster[resource].contents.iter().any(|one| cluster[*one].remote.is_some());
        // Who connects to a node must itself be a member.
        let is_own_connection = is_connection
            && cluster.bundle_of(resource).is_none()
            && cluster[resource].container.is_none();
        for node in cluster.node_ids() {
            let is_closed = match cluster[node].kind {
                Kind::Member => false,
                Kind::Remote => cluster[resource].is_fencing || is_own_connection,
                Kind::Guest => cluster[resource].is_fencing || has_guest || is_own_connection,
            };
            if is_closed && cluster[resource].score(node) != ABSENT {
                cluster.ban(resource, node, &why);
            }
        }
    }
}

/// Whether a node is a bundle's container, in which only the bundle's primitive runs.
pub(crate) fn is_bundle_node(cluster: &Cluster<'_>, node: NodeId) -> bool {
    let connection = cluster[node].connection;
    connection.is_some_and(|connection| cluster.bundle_of(connection).is_some())
}

/// What is not healthy is less wanted.
fn open_health(cluster: &mut Cluster<'_>) {
    for node in cluster.node_ids() {
        let health = cluster[node].health;
        if health == 0 {
            continue;
        }
        for resource in cluster.top.clone() {
            let may_stay = cluster[resource].allow_unhealthy && !cluster[node].running.is_empty();
            if may_stay && health < 0 {
                continue;
            }
            apply(cluster, resource, node, health, &Why::Health);
        }
    }
}

/// Enters a location.
pub(super) fn enter(cluster: &mut Cluster<'_>, location: &Location) {
    let mut targets: Vec<(RscId, Option<Role>, Vec<String>)> = Vec::new();
    if let Some(rsc) = &location.rsc {
        for resource in sets::resolve(cluster, rsc) {
            targets.push((resource, location.role, Vec::new()));
        }
    }
    if let Some(pattern) = &location.pattern {
        for (resource, matches) in matching(cluster, &location.id, pattern) {
            targets.push((resource, location.role, matches));
        }
    }
    for set in &location.sets {
        for resource in sets::members(cluster, set) {
            targets.push((resource, set.role.or(location.role), Vec::new()));
        }
    }
    for (resource, role, matches) in targets {
        enter_one(cluster, location, resource, role, &matches);
    }
}

/// The resources whose names match, with what the groups of the pattern matched.
fn matching(
    cluster: &mut Cluster<'_>,
    id: &Arc<str>,
    pattern: &Pattern,
) -> Vec<(RscId, Vec<String>)> {
    if pattern.expression.len() > MAX_PATTERN {
        return Vec::new();
    }
    let Some((regex, size)) = compile(&pattern.expression) else { return Vec::new() };
    // A trial takes as long as the pattern is large and the name is long.
    let cost = |resource: &RscId| 1 + cluster[*resource].id.len() * size / UNIT;
    let cost = cluster.top.iter().map(cost).sum();
    if !cluster.limits.take(Measure::Trials, cost, id) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for resource in cluster.top.iter().copied() {
        let id = &cluster[resource].id;
        let captures = regex.captures(id);
        match (captures, pattern.negated) {
            (Some(captures), false) => {
                let text = |one: Option<regex_lite::Match<'_>>| {
                    one.map_or_else(String::new, |one| one.as_str().to_owned())
                };
                found.push((resource, captures.iter().map(text).collect()));
            }
            (None, true) => found.push((resource, Vec::new())),
            (Some(_), true) | (None, false) => {}
        }
    }
    found
}

/// A pattern, and about how many bytes it has when it is compiled.
fn compile(expression: &str) -> Option<(regex_lite::Regex, usize)> {
    let sizes = [1 << 12, 1 << 14, 1 << 16, 1 << 18, MAX_COMPILED];
    sizes.into_iter().find_map(|size| {
        let built = regex_lite::RegexBuilder::new(expression).size_limit(size).build();
        Some((built.ok()?, size))
    })
}

fn enter_one(
    cluster: &mut Cluster<'_>,
    location: &Location,
    resource: RscId,
    role: Option<Role>,
    matches: &[String],
) {
    if let Some(node) = &location.node {
        let Some(node) = cluster.find_node(node) else { return };
        let score = location.score.map_or(0, Score::get);
        let terms = Terms { location, role, score };
        put(cluster, &terms, resource, node);
        return;
    }
    for rule in &location.rules {
        let (parsed, _) = rule.rule.rule();
        if let Some(at) = parsed.next_change(cluster.now) {
            cluster.recheck_at(at);
        }
        let role = rule.role.or(role);
        let matches: Vec<&str> = matches.iter().map(String::as_str).collect();
        if !cluster.limits.take(Measure::Trials, cluster.nodes.len(), &location.id) {
            return;
        }
        let lead = cluster.primitives_of(resource).first().copied();
        let meta = cluster[resource].meta.clone();
        for node in cluster.node_ids() {
            let parameters = lead.map(|lead| cluster.parameters(lead, Some(node)));
            let mut facts = Facts::at(cluster.now)
                .node(&cluster[node].attributes)
                .meta(&meta)
                .matches(&matches);
            if let Some(parameters) = &parameters {
                facts = facts.parameters(parameters);
            }
            if !parsed.holds(&facts) {
                continue;
            }
            let score = score_of(cluster, rule, location, node, &matches);
            let Some(score) = score else { continue };
            put(cluster, &Terms { location, role, score }, resource, node);
        }
    }
}

/// The score that a rule gives to a node.
fn score_of(
    cluster: &Cluster<'_>,
    rule: &LocationRule,
    location: &Location,
    node: NodeId,
    matches: &[&str],
) -> Option<i32> {
    if let Some(name) = &rule.score_attribute {
        let mut name = name.to_string();
        for (index, text) in matches.iter().enumerate() {
            name = name.replace(&format!("%{index}"), text);
        }
        let value = cluster.attribute(node, &name)?;
        return <Score as crate::cib::CibValue>::read(value).map(Score::get);
    }
    rule.score.or(location.score).map(Score::get).or(Some(0))
}

/// A location with a score.
struct Terms<'l> {
    location: &'l Location,
    role: Option<Role>,
    score: i32,
}

fn put(cluster: &mut Cluster<'_>, terms: &Terms<'_>, resource: RscId, node: NodeId) {
    let discovery = terms.location.discovery;
    if let Some(discovery) = discovery.filter(|discovery| *discovery != Discovery::Always) {
        for member in located(cluster, resource) {
            cluster[member].discovery.insert(node, discovery);
            if discovery == Discovery::Exclusive {
                cluster[member].exclusive_discovery = true;
            }
        }
    }
    match terms.role {
        Some(Role::Promoted) => {
            for member in cluster.all_of(resource) {
                cluster[member].promotion_locations.push((node, terms.score));
            }
        }
        Some(Role::Started | Role::Unpromoted | Role::Stopped) | None => {
            let why = Why::Location(Arc::clone(&terms.location.id));
            apply(cluster, resource, node, terms.score, &why);
        }
    }
}

/// It and the members that a location is about: of a bundle what runs on hosts themselves.
fn located(cluster: &Cluster<'_>, resource: RscId) -> Vec<RscId> {
    let Some(parts) = &cluster[resource].bundle else { return cluster.all_of(resource) };
    let mut members = vec![resource];
    for replica in &parts.replicas {
        members.extend(replica.ip);
        members.push(replica.container);
    }
    members
}

/// Adds a score to a resource with what follows for its members.
pub(crate) fn apply(
    cluster: &mut Cluster<'_>,
    resource: RscId,
    node: NodeId,
    score: i32,
    why: &Why,
) {
    cluster.add_score(resource, node, score, why);
    match cluster[resource].variant {
        Variant::Primitive => {}
        // The first member takes the others along.
        Variant::Group => {
            let children = cluster[resource].children.clone();
            for (index, child) in children.into_iter().enumerate() {
                let score = if index == 0 { score } else { 0 };
                cluster.add_score(child, node, score, why);
            }
        }
        Variant::Clone => {
            for child in cluster[resource].children.clone() {
                apply(cluster, child, node, score, why);
            }
        }
        Variant::Bundle => {
            let parts = cluster[resource].bundle.as_ref().map(|parts| parts.replicas.clone());
            for replica in parts.into_iter().flatten() {
                cluster.add_score(replica.container, node, score, why);
                if let Some(ip) = replica.ip {
                    cluster.add_score(ip, node, score, why);
                }
            }
        }
    }
}
