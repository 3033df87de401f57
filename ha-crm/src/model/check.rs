//! What must hold of a configuration; all that does not is told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ha_core::config::Problems;
use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};

use super::config::RawClusterConfig;
use super::constraint::OrderKind;
use super::fencing::Fencing;
use super::operation::OperationName;
use super::options::NoQuorumPolicy;
use super::promotion::promoted_role;
use super::resource::RawResource;
use super::score::Score;

pub(super) fn check(raw: &RawClusterConfig, problems: &mut Problems) {
    check_nodes(raw, problems);
    if let Some(fencing) = &raw.fencing {
        check_devices(fencing, &raw.nodes, problems);
    }
    for (name, resource) in &raw.resources {
        check_resource(name, resource, raw, problems);
    }
    check_groups(raw, problems);
    check_promotable(raw, problems);
    let named = raw.with_promotions(|_| BTreeMap::new());
    for (name, resource) in &raw.resources {
        check_needs(name, resource, &named, problems);
    }
    check_constraints(&named, problems);
    check_circles(&named, problems);
    check_options(raw, problems);
}

fn check_nodes(raw: &RawClusterConfig, problems: &mut Problems) {
    if raw.nodes.is_empty() {
        problems.add("nodes", "[]", "at least one node");
    }
    for witness in raw.witnesses.iter().filter(|witness| !raw.nodes.contains(*witness)) {
        problems.add("witnesses", witness, "names that stand in `nodes`");
    }
    if !raw.nodes.is_empty() && raw.nodes.iter().all(|node| raw.witnesses.contains(node)) {
        problems.add("witnesses", "all nodes", "at least one node that can run resources");
    }
    // With quorum rules the same is said by the voters' check.
    for (index, node) in raw.nodes.iter().enumerate().filter(|_| raw.quorum.is_none()) {
        if raw.nodes.iter().take(index).any(|earlier| earlier == node) {
            problems.add(format!("nodes[{index}]"), node, "each node once");
        }
    }
}

fn check_devices(fencing: &Fencing, nodes: &[NodeName], problems: &mut Problems) {
    for (name, device) in &fencing.devices {
        for node in device.nodes.iter().filter(|node| !nodes.contains(*node)) {
            let path = format!("fencing.devices.{name}.nodes");
            problems.add(path, node, "names that stand in `nodes`");
        }
        for node in device.plugs.keys().filter(|node| !device.nodes.contains(*node)) {
            let path = format!("fencing.devices.{name}.plugs");
            problems.add(path, node, "names of nodes that the device can fence");
        }
        if device.nodes.is_empty() {
            let path = format!("fencing.devices.{name}.nodes");
            problems.add(path, "[]", "at least one node that the device can fence");
        }
        if device.timeout == Some(Duration::ZERO) {
            let allowed = "above 0; leave it out for 60 s";
            problems.add(format!("fencing.devices.{name}.timeout"), "0s", allowed);
        }
    }
    for node in fencing.levels.keys().filter(|node| !nodes.contains(*node)) {
        problems.add("fencing.levels", node, "names that stand in `nodes`");
    }
    if let Err(error) = fencing.topology() {
        problems.absorb(error);
    }
}

fn check_locations(
    path: &str,
    locations: &BTreeMap<NodeName, Score>,
    raw: &RawClusterConfig,
    problems: &mut Problems,
) {
    for node in locations.keys().filter(|node| !raw.nodes.contains(*node)) {
        problems.add(format!("{path}.locations"), node, "names that stand in `nodes`");
    }
}

fn check_resource(
    name: &ResourceName,
    resource: &RawResource,
    raw: &RawClusterConfig,
    problems: &mut Problems,
) {
    let path = format!("resources.{name}");
    check_locations(&path, &resource.locations, raw, problems);
    if let Some(stickiness) = resource.stickiness.filter(|score| !score.allows()) {
        let allowed = "0 to 1000000: below 0 it would never rest";
        problems.add(format!("{path}.stickiness"), stickiness, allowed);
    }
    if resource.agent.is_empty() {
        problems.add(format!("{path}.agent"), "\"\"", "the name of an agent");
    }
    if resource.failure_timeout == Some(Duration::ZERO) {
        let allowed = "above 0; leave it out to keep failures until they are cleaned up";
        problems.add(format!("{path}.failure_timeout"), "0s", allowed);
    }
    for (index, operation) in resource.operations.iter().enumerate() {
        let path = format!("{path}.operations[{index}]");
        if operation.timeout.is_zero() {
            problems.add(format!("{path}.timeout"), "0s", "above 0: nothing is done in no time");
        }
        if !operation.interval.is_zero() && operation.name != OperationName::Monitor {
            let value = format!("{:?}", operation.interval);
            problems.add(format!("{path}.interval"), value, "only monitors are repeated");
        }
        let same = |other: &super::Operation| {
            other.name == operation.name && other.interval == operation.interval
        };
        if resource.operations.iter().take(index).any(same) {
            problems.add(path, operation.name, "each operation and interval once");
        }
    }
    if resource.guarantee == Guarantee::AtMostOne {
        check_at_most_one(name, raw, problems);
    }
}

fn check_needs(
    name: &ResourceName,
    resource: &RawResource,
    raw: &RawClusterConfig,
    problems: &mut Problems,
) {
    for (key, others) in [("with", &resource.with), ("after", &resource.after)] {
        for other in others {
            let (path, whole) =
                (format!("resources.{name}.{key}"), format!("{name} {key} {other}"));
            check_known(&path, other, &whole, raw, problems);
            if other == name {
                problems.add(path, other, "another resource than itself");
            }
        }
    }
}

/// A promoted role is at most one, and has a name of its own.
fn check_promotable(raw: &RawClusterConfig, problems: &mut Problems) {
    for (name, resource) in raw.resources.iter().filter(|(_, resource)| resource.promotable) {
        let path = format!("resources.{name}.promotable");
        if resource.guarantee == Guarantee::AtLeastOne {
            let allowed = "only with the guarantee at-most-one, which is that of its promoted role";
            problems.add(path.clone(), "true", allowed);
        }
        match promoted_role(name) {
            None => problems.add(path.clone(), name, "a shorter name: that of its role is longer"),
            Some(role) if raw.resources.contains_key(&role) || raw.groups.contains_key(&role) => {
                problems.add(path.clone(), &role, "a name of its promoted role that is free");
            }
            Some(_) => {}
        }
        if let Some((group, _)) = raw.groups.iter().find(|(_, g)| g.members.contains(name)) {
            let allowed = format!("no member of a group: take it out of {group}, use `with`");
            problems.add(path, "true", allowed);
        }
    }
}

/// The one distinction: at most one needs quorum *and* fencing, and fencing of every node.
fn check_at_most_one(name: &ResourceName, raw: &RawClusterConfig, problems: &mut Problems) {
    let missing = match (&raw.quorum, &raw.fencing) {
        (Some(_), Some(fencing)) => {
            let reached = |node| fencing.devices.values().any(|d| d.nodes.contains(node));
            let runs = |node: &&NodeName| !raw.witnesses.contains(*node);
            let mut unreached =
                raw.nodes.iter().filter(runs).filter(|node| !reached(node)).peekable();
            if unreached.peek().is_some() {
                let list: Vec<&str> = unreached.map(NodeName::as_str).collect();
                let allowed = format!(
                    "a device for every node, as {name} is at-most-one; no device reaches {}",
                    list.join(", ")
                );
                let value = format!("{} devices", fencing.devices.len());
                problems.add("fencing.devices", value, allowed);
            }
            return;
        }
        (None, None) => "quorum and fencing",
        (None, Some(_)) => "quorum",
        (Some(_), None) => "fencing",
    };
    let allowed = format!(
        "only with quorum and fencing, and {missing} is missing: without quorum two parts of the \
         cluster would run it, without fencing a frozen node would go on writing; add `quorum` \
         (majority) and `fencing` (a device for every node), or make it at-least-one if it may \
         run twice"
    );
    problems.add(format!("resources.{name}.guarantee"), "at-most-one", allowed);
}

fn check_known(
    path: &str,
    name: &ResourceName,
    whole: &dyn fmt::Display,
    raw: &RawClusterConfig,
    problems: &mut Problems,
) {
    if !raw.resources.contains_key(name) && !raw.groups.contains_key(name) {
        let allowed = format!("the name of a resource or group; `{whole}` names none");
        problems.add(path, name, allowed);
    }
}

fn check_groups(raw: &RawClusterConfig, problems: &mut Problems) {
    let mut seen = BTreeMap::new();
    for (name, group) in &raw.groups {
        let path = format!("groups.{name}");
        check_locations(&path, &group.locations, raw, problems);
        if raw.resources.contains_key(name) {
            problems.add(path.clone(), name, "a name that no resource has");
        }
        let path = format!("{path}.members");
        if group.members.is_empty() {
            problems.add(path.clone(), "[]", "at least one resource");
        }
        let mut guarantees = BTreeSet::new();
        for member in &group.members {
            if let Some(resource) = raw.resources.get(member) {
                guarantees.insert(resource.guarantee == Guarantee::AtMostOne);
            } else {
                let allowed = format!("names of resources; group {name} names none by it");
                problems.add(path.clone(), member, allowed);
            }
            if let Some(other) = seen.insert(member, name) {
                let allowed = format!("each resource once; it is in group {other} already");
                problems.add(path.clone(), member, allowed);
            }
        }
        if guarantees.len() > 1 {
            problems.add(path, "members of both guarantees", "members of one guarantee");
        }
    }
}

fn check_constraints(raw: &RawClusterConfig, problems: &mut Problems) {
    let constraints = &raw.constraints;
    for (index, location) in constraints.locations.iter().enumerate() {
        let path = format!("constraints.locations[{index}]");
        check_known(&format!("{path}.resource"), &location.resource, location, raw, problems);
        if !raw.nodes.contains(&location.node) {
            let allowed = format!("a name that stands in `nodes`; `{location}` names none");
            problems.add(format!("{path}.node"), &location.node, allowed);
        }
    }
    for (index, colocation) in constraints.colocations.iter().enumerate() {
        let path = format!("constraints.colocations[{index}]");
        check_known(&format!("{path}.resource"), &colocation.resource, colocation, raw, problems);
        check_known(&format!("{path}.with"), &colocation.with, colocation, raw, problems);
        let (one, other) = (home(raw, &colocation.resource), home(raw, &colocation.with));
        if colocation.resource == colocation.with || (one == other && !colocation.score.allows()) {
            let allowed = "two resources that are not in one group";
            problems.add(path, colocation, allowed);
        }
    }
    for (index, order) in constraints.orders.iter().enumerate() {
        let path = format!("constraints.orders[{index}]");
        check_known(&format!("{path}.first"), &order.first, order, raw, problems);
        check_known(&format!("{path}.then"), &order.then, order, raw, problems);
        if order.first == order.then {
            problems.add(path.clone(), order, "two different resources");
        }
        for (key, action) in
            [("first_action", order.first_action), ("then_action", order.then_action)]
        {
            if !matches!(action, OperationName::Start | OperationName::Stop) {
                let allowed = "start or stop; to promote is to start NAME:promoted";
                problems.add(format!("{path}.{key}"), action, allowed);
            }
        }
        if order.kind == OrderKind::Mandatory
            && order.first_action == OperationName::Start
            && order.then_action == OperationName::Stop
        {
            let allowed = "kind `optional` for a stop that waits for a start";
            problems.add(format!("{path}.kind"), "mandatory", allowed);
        }
    }
}

/// The group of a resource, or itself.
fn home<'a>(raw: &'a RawClusterConfig, name: &'a ResourceName) -> &'a ResourceName {
    raw.groups.iter().find(|(_, group)| group.members.contains(name)).map_or(name, |(home, _)| home)
}

/// Names and what each needs; a group and its members count as one.
type Needs<'a> = BTreeMap<&'a ResourceName, BTreeSet<&'a ResourceName>>;

/// Mandatory constraints that go round in a circle can never be met.
fn check_circles(raw: &RawClusterConfig, problems: &mut Problems) {
    let mut together = Needs::new();
    let mut starts = Needs::new();
    let mut stops = Needs::new();
    for (name, resource) in &raw.resources {
        for other in &resource.with {
            together.entry(home(raw, name)).or_default().insert(home(raw, other));
        }
        for other in &resource.after {
            starts.entry(name).or_default().insert(other);
        }
    }
    for colocation in raw.constraints.colocations.iter().filter(|c| c.score == Score::INFINITY) {
        let (one, other) = (home(raw, &colocation.resource), home(raw, &colocation.with));
        together.entry(one).or_default().insert(other);
    }
    for order in raw.constraints.orders.iter().filter(|o| o.kind == OrderKind::Mandatory) {
        let needs = match (order.first_action, order.then_action) {
            (OperationName::Start, OperationName::Start) => &mut starts,
            (OperationName::Stop, OperationName::Stop) => &mut stops,
            _ => continue,
        };
        needs.entry(&order.then).or_default().insert(&order.first);
    }
    for (name, group) in &raw.groups {
        for (before, after) in group.members.iter().zip(group.members.iter().skip(1)) {
            starts.entry(after).or_default().insert(before);
        }
        // To need the group is to need its last member; what the group needs its first one does.
        if let (Some(first), Some(last)) = (group.members.first(), group.members.last()) {
            let needed = starts.remove(name).unwrap_or_default();
            starts.entry(first).or_default().extend(needed);
            for needs in starts.values_mut().filter(|needs| needs.contains(name)) {
                needs.remove(name);
                needs.insert(last);
            }
        }
    }
    // A symmetrical order of stops orders the starts the other way round.
    let mut both = starts;
    for (then, firsts) in stops {
        for first in firsts {
            both.entry(first).or_default().insert(then);
        }
    }
    for (what, needs) in [("colocations", together), ("orders", both)] {
        if let Some(circle) = circle(needs) {
            let names: Vec<&str> = circle.iter().map(|name| name.as_str()).collect();
            let allowed = "no circle of mandatory ones: make one of them optional, or use a group";
            problems.add(format!("constraints.{what}"), names.join(", "), allowed);
        }
    }
}

/// What is left after taking away, again and again, all that needs nothing that is left.
fn circle(mut needs: Needs<'_>) -> Option<Vec<&ResourceName>> {
    for (name, needed) in &mut needs {
        needed.remove(name);
    }
    loop {
        let left: BTreeSet<&ResourceName> = needs.keys().copied().collect();
        let before = needs.len();
        needs.retain(|_, needed| needed.iter().any(|name| left.contains(name)));
        if needs.len() == before {
            break;
        }
    }
    (!needs.is_empty()).then(|| needs.into_keys().collect())
}

fn check_options(raw: &RawClusterConfig, problems: &mut Problems) {
    let options = &raw.options;
    if !options.stickiness.allows() {
        let allowed = "0 to 1000000: below 0 nothing would ever rest";
        problems.add("options.stickiness", options.stickiness, allowed);
    }
    let mut single = raw.resources.iter().filter(|(_, r)| r.guarantee == Guarantee::AtMostOne);
    let Some((name, _)) = single.next() else {
        return;
    };
    if !options.stonith_enabled {
        let allowed = format!("true, as {name} is at-most-one: without fencing it may run twice");
        problems.add("options.stonith_enabled", "false", allowed);
    }
    if options.no_quorum_policy == NoQuorumPolicy::Ignore {
        let allowed = format!(
            "stop, freeze or suicide, as {name} is at-most-one: without quorum two parts of the \
             cluster would run it"
        );
        problems.add("options.no_quorum_policy", "ignore", allowed);
    }
}
