//! The part of the file that is the cluster's: fencing, resources, groups, constraints, options.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::guarantee::Guarantee;
use ha_core::id::{NodeName, ResourceName};
use toml::Value;

use super::section::{
    NAME, PARAMETER, SCORE, SPAN, SWITCH, Section, filled, name, number, parameter, score, span_of,
    switch, text, word,
};
use crate::model::{
    ClusterOptions, Colocation, Constraints, FenceDevice, Fencing, Group, Location, Operation,
    OperationName, Order, RawResource, Resource, Score, VoteRules,
};

/// How often a resource is looked at unless the file says otherwise.
const MONITOR: Duration = Duration::from_secs(10);

pub(super) fn quorum(file: &mut Section<'_>, fenced: bool) -> Option<VoteRules> {
    let majority = VoteRules::majority();
    match file.take("quorum") {
        None => fenced.then_some(majority),
        Some(Value::String(text)) if text == "majority" => Some(majority),
        Some(value @ Value::Table(_)) => {
            let mut section = Section::of("quorum".to_owned(), value, file.problems())?;
            let tie_breakers = "none, lowest-node or highest-node";
            let rules = VoteRules {
                two_node: section.read("two_node", SWITCH, switch).unwrap_or_default(),
                wait_for_all: section.read("wait_for_all", SWITCH, switch).unwrap_or_default(),
                tie_breaker: section.read("tie_breaker", tie_breakers, word).unwrap_or_default(),
            };
            section.finish();
            Some(rules)
        }
        Some(value) => {
            let allowed = "\"majority\", or a table of two_node, wait_for_all, tie_breaker";
            file.problem("quorum", super::section::shown(&value), allowed);
            Some(majority)
        }
    }
}

pub(super) fn fencing(file: &mut Section<'_>, everyone: &[NodeName]) -> Option<Fencing> {
    let mut section = file.section("fencing")?;
    let problems = section.problems();
    let mut fencing = Fencing {
        action: section.read("action", "reboot or off", word).unwrap_or_default(),
        timeout: section.read("timeout", SPAN, span_of),
        levels: section.map("levels", LEVELS, levels),
        ..Fencing::default()
    };
    // A device's name is only a label: it keeps the rules of names, so that paths can be read.
    for (name, path, value) in section.entries::<ResourceName>() {
        if let Some(section) = Section::of(path, value, problems) {
            fencing.devices.insert(name.to_string(), device(section, everyone));
        }
    }
    Some(fencing)
}

/// What the levels of a node may be.
const LEVELS: &str = "a list of levels, each the name of a device or a list of such, in the order \
                      in which they are tried: [\"board\", [\"pdu-a\", \"pdu-b\"]]";

fn levels(value: &Value) -> Option<Vec<Vec<String>>> {
    let level = |level: &Value| match level {
        Value::String(device) => Some(vec![device.clone()]),
        Value::Array(devices) => devices.iter().map(text).collect(),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => None,
    };
    value.as_array()?.iter().map(level).collect()
}

fn device(mut section: Section<'_>, everyone: &[NodeName]) -> FenceDevice {
    let agents = "the name of a fence agent, such as \"fence_ipmilan\"";
    let agent = section.needed("agent", agents, filled).unwrap_or_default();
    let nodes = section.list("nodes", NAME, name).unwrap_or_else(|| everyone.to_vec());
    let mut device = FenceDevice::new(agent, nodes);
    let plugs = "what the device calls the node, on one line";
    device.plugs = section.map("plugs", plugs, |value| parameter(value).filter(one_line));
    device.timeout = section.read("timeout", SPAN, span_of);
    device.attempts = section.read("attempts", "1 to 10", number);
    let allowed = "text of one line, a whole number, true or false";
    let parameters: BTreeMap<Text, String> =
        section.map("parameters", allowed, |value| parameter(value).filter(one_line));
    for (Text(key), value) in parameters {
        if key.is_empty() || key.contains('=') || !one_line(&key) {
            let allowed = "names of one line without '='";
            section.problem("parameters", format!("{key:?}"), allowed);
        } else if matches!(key.as_str(), "action" | "port" | "plug") {
            let allowed = "other names: the action is ours, and the plugs stand in `plugs`";
            section.problem("parameters", key, allowed);
        } else {
            device.parameters.insert(key, value);
        }
    }
    section.finish();
    device
}

#[expect(clippy::ptr_arg, reason = "it filters options of texts")]
fn one_line(text: &String) -> bool {
    !text.contains(['\n', '\r', '\0'])
}

/// A key that may be anything.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(String);

impl std::str::FromStr for Text {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

pub(super) fn resources(file: &mut Section<'_>) -> BTreeMap<ResourceName, RawResource> {
    let mut found = BTreeMap::new();
    let Some(section) = file.section("resources") else { return found };
    let problems = section.problems();
    for (name, path, value) in section.entries::<ResourceName>() {
        if let Some(section) = Section::of(path, value, problems) {
            found.insert(name.clone(), resource(name, section));
        }
    }
    found
}

fn resource(name: ResourceName, mut section: Section<'_>) -> RawResource {
    let agents = "the name of an agent, such as \"ocf:heartbeat:IPaddr2\"";
    // What is missing was told; a name keeps the checks of the model from telling it again.
    let agent = section.needed("agent", agents, filled).unwrap_or_else(|| "?".to_owned());
    let mut raw = Resource::new(name, agent).raw;
    let guarantees = "\"at-most-one\" (the default) or \"at-least-one\"";
    // The safe one.
    raw.guarantee = section.read("guarantee", guarantees, word).unwrap_or(Guarantee::AtMostOne);
    raw.promotable = section.read("promotable", SWITCH, switch).unwrap_or_default();
    raw.priority = section.read("priority", "a whole number", number).unwrap_or_default();
    raw.stickiness = section.read("stickiness", SCORE, score);
    raw.enabled = section.read("enabled", SWITCH, switch).unwrap_or(true);
    raw.managed = section.read("managed", SWITCH, switch).unwrap_or(true);
    let threshold = "a whole number above 0; leave it out for never";
    raw.migration_threshold = section
        .read("migration_threshold", threshold, |value| number::<u32>(value)?.try_into().ok());
    raw.failure_timeout = section.read("failure_timeout", SPAN, span_of);
    let multiple = "block, stop-only or stop-start";
    raw.multiple_active = section.read("multiple_active", multiple, word).unwrap_or_default();
    raw.with = section.list("with", NAME, self::name).unwrap_or_default();
    raw.after = section.list("after", NAME, self::name).unwrap_or_default();
    raw.locations = section.map("locations", SCORE, score);
    let parameters: BTreeMap<Text, String> = section.map("parameters", PARAMETER, parameter);
    for (Text(key), value) in parameters {
        if key.is_empty() || key.contains(['=', '\0']) {
            section.problem("parameters", format!("{key:?}"), "names without '=' and NUL");
        } else {
            raw.parameters.insert(key, value);
        }
    }
    raw.operations = operations(&mut section, raw.promotable);
    section.finish();
    raw
}

/// The operations as given, and what `monitor` and `timeout` say in short.
fn operations(section: &mut Section<'_>, promotable: bool) -> Vec<Operation> {
    let given = section.sections("operations");
    let mut operations: Vec<Operation> = given.into_iter().filter_map(operation).collect();
    let monitors = "a span such as \"10s\"; \"0s\" or false for no monitor";
    let monitor = section.read("monitor", monitors, |value| match value.as_bool() {
        Some(false) => Some(Duration::ZERO),
        Some(true) => Some(MONITOR),
        None => span_of(value),
    });
    let timeout = section.read("timeout", SPAN, span_of);
    let has = |operations: &[Operation], name| operations.iter().any(|op| op.name == name);
    let with_limit = |operation: Operation| match timeout {
        Some(timeout) => operation.timeout(timeout),
        None => operation,
    };
    let default = if has(&operations, OperationName::Monitor) { Duration::ZERO } else { MONITOR };
    let interval = monitor.unwrap_or(default);
    if !interval.is_zero() {
        let monitor = Operation::new(OperationName::Monitor).interval(interval);
        operations.push(with_limit(monitor));
    }
    if timeout.is_some() {
        let all = [OperationName::Start, OperationName::Stop, OperationName::Monitor];
        let roles = [OperationName::Promote, OperationName::Demote, OperationName::Notify];
        for name in all.into_iter().chain(roles.into_iter().filter(|_| promotable)) {
            if !has(&operations, name) {
                operations.push(with_limit(Operation::new(name)));
            }
        }
    }
    operations
}

fn operation(mut section: Section<'_>) -> Option<Operation> {
    let name = section.needed("name", "start, stop, monitor, promote, demote or notify", word);
    let interval = section.read("interval", SPAN, span_of);
    let timeout = section.read("timeout", SPAN, span_of);
    let reactions = "block, fence, ignore, restart, standby or stop";
    let on_fail = section.read("on_fail", reactions, word);
    section.finish();
    let mut operation = Operation::new(name?);
    operation.interval = interval.unwrap_or_default();
    operation.timeout = timeout.unwrap_or(operation.timeout);
    operation.on_fail = on_fail;
    Some(operation)
}

pub(super) fn groups(file: &mut Section<'_>) -> BTreeMap<ResourceName, Group> {
    let mut found = BTreeMap::new();
    let Some(section) = file.section("groups") else { return found };
    let problems = section.problems();
    for (name, path, value) in section.entries::<ResourceName>() {
        if let Some(section) = Section::of(path, value, problems) {
            found.insert(name, group(section));
        }
    }
    found
}

fn group(mut section: Section<'_>) -> Group {
    let mut group = Group::new(section.list("members", NAME, name).unwrap_or_default());
    group.priority = section.read("priority", "a whole number", number).unwrap_or_default();
    group.locations = section.map("locations", SCORE, score);
    group.enabled = section.read("enabled", SWITCH, switch).unwrap_or(true);
    group.managed = section.read("managed", SWITCH, switch).unwrap_or(true);
    section.finish();
    group
}

pub(super) fn constraints(file: &mut Section<'_>) -> Constraints {
    let mut constraints = Constraints::default();
    let Some(mut section) = file.section("constraints") else { return constraints };
    constraints.locations =
        section.sections("locations").into_iter().filter_map(location).collect();
    constraints.colocations =
        section.sections("colocations").into_iter().filter_map(colocation).collect();
    constraints.orders = section.sections("orders").into_iter().filter_map(order).collect();
    section.finish();
    constraints
}

fn location(mut section: Section<'_>) -> Option<Location> {
    let resource = section.needed("resource", NAME, name);
    let node = section.needed("node", NAME, name);
    let score = section.needed("score", SCORE, score);
    section.finish();
    Some(Location::new(resource?, node?, score?))
}

fn colocation(mut section: Section<'_>) -> Option<Colocation> {
    let resource = section.needed("resource", NAME, name);
    let with = section.needed("with", NAME, name);
    let score = section.read("score", SCORE, score).unwrap_or(Score::INFINITY);
    section.finish();
    Some(Colocation::together(resource?, with?).score(score))
}

fn order(mut section: Section<'_>) -> Option<Order> {
    let first = section.needed("first", NAME, name);
    let then = section.needed("then", NAME, name);
    let actions = "start or stop";
    let first_action = section.read("first_action", actions, word);
    let then_action = section.read("then_action", actions, word);
    let kind = section.read("kind", "mandatory or optional", word);
    let symmetrical = section.read("symmetrical", SWITCH, switch);
    section.finish();
    let mut order = Order::new(first?, then?);
    order.first_action = first_action.unwrap_or(order.first_action);
    order.then_action = then_action.unwrap_or(order.then_action);
    order.kind = kind.unwrap_or(order.kind);
    order.symmetrical = symmetrical.unwrap_or(order.symmetrical);
    Some(order)
}

pub(super) fn options(file: &mut Section<'_>) -> ClusterOptions {
    let mut options = ClusterOptions::default();
    let Some(mut section) = file.section("options") else { return options };
    let policies = "freeze, ignore, stop or suicide";
    if let Some(policy) = section.read("no_quorum_policy", policies, word) {
        options.no_quorum_policy = policy;
    }
    if let Some(stickiness) = section.read("stickiness", SCORE, score) {
        options.stickiness = stickiness;
    }
    for (key, field) in [
        ("stonith_enabled", &mut options.stonith_enabled),
        ("symmetric", &mut options.symmetric),
        ("maintenance", &mut options.maintenance),
        ("stop_all", &mut options.stop_all),
        ("start_failure_is_fatal", &mut options.start_failure_is_fatal),
        ("probe", &mut options.probe),
    ] {
        *field = section.read(key, SWITCH, switch).unwrap_or(*field);
    }
    section.finish();
    options
}

/// A text that must be there and may be left out by `apply`.
pub(super) fn optional_text(
    file: &mut Section<'_>,
    key: &'static str,
    allowed: &str,
    needed: bool,
) -> Option<String> {
    if needed { file.needed(key, allowed, filled) } else { file.read(key, allowed, text) }
}
