//! What OCF and fence agents say of themselves, in XML.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::role::Role;
use roxmltree::{Document, Node, ParsingOptions};

use crate::agent::{Check, Metadata, Parameter};
use crate::span;

/// The largest metadata that is read, in bytes; the largest known agent's has 60 KiB.
pub const MAX_METADATA: usize = 1024 * 1024;
/// The largest number of XML nodes that is read.
const MAX_NODES: u32 = 100_000;

/// The metadata of an OCF resource agent or of a fence agent.
///
/// What the standard does not know is passed over; what it asks for and agents leave out is
/// empty. A DTD is never fetched.
///
/// ```
/// use ha_agents::ocf::AgentMetadata;
///
/// let metadata = AgentMetadata::parse(r#"<?xml version="1.0"?>
///     <!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
///     <resource-agent name="disk"><version>1.1</version><parameters>
///       <parameter name="device" required="1"><content type="string"/></parameter>
///     </parameters><actions>
///       <action name="monitor" timeout="20s" interval="10s" depth="0"/>
///     </actions></resource-agent>"#)?;
/// assert_eq!(metadata.actions[0].interval.map(|interval| interval.as_secs()), Some(10));
/// let error = metadata.check(&Default::default()).unwrap_err();
/// assert!(error.to_string().contains("device"));
/// # Ok::<(), ha_agents::ocf::MetadataError>(())
/// ```
///
/// # Source
///
/// OCF Resource Agent API 1.0 and 1.1, section "Metadata"; `ClusterLabs`' Fence Agent API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AgentMetadata {
    /// The agent's name, such as `IPaddr2`.
    pub name: String,
    /// The agent's own version; empty if it does not say.
    pub version: String,
    /// The version of the standard that it claims; empty if it does not say.
    pub standard: String,
    /// One sentence.
    pub summary: String,
    /// The long description.
    pub description: String,
    /// Its parameters, in its own order.
    pub parameters: Vec<ParameterMetadata>,
    /// Its actions, in its own order; several may have one name.
    pub actions: Vec<ActionMetadata>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ParameterMetadata {
    /// Its name.
    pub name: String,
    /// The type of its value: `string`, `boolean`, `integer`, `second`, `select`, ….
    pub kind: String,
    /// What the agent takes if it is not given.
    pub default: Option<String>,
    /// The values of a `select`.
    pub options: Vec<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Together the parameters of this group differ between any two resources (`unique="1"` of
    /// OCF 1.0 is the group of the parameter's own name).
    pub unique_group: Option<String>,
    /// Whether it can be changed without a restart.
    pub reloadable: bool,
    /// Whether it should not be used any more.
    pub deprecated: bool,
    /// The parameters to use in its place.
    pub replaced_with: Vec<String>,
    /// The older parameters in whose place it stands (fence agents' `obsoletes`).
    pub obsoletes: Vec<String>,
    /// One sentence.
    pub summary: String,
    /// The long description.
    pub description: String,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ActionMetadata {
    /// Its name.
    pub name: String,
    /// How long the agent thinks that it needs at most.
    pub timeout: Option<Duration>,
    /// How often it should be done.
    pub interval: Option<Duration>,
    /// How closely it looks.
    pub depth: Option<u8>,
    /// For which role it is; `Master` and `Slave` are read, too.
    pub role: Option<Role>,
    /// Whether the cluster does it by itself (fence agents' `automatic`).
    pub automatic: bool,
    /// Whether it must be done on the node in question (fence agents' `on_target`).
    pub on_target: bool,
}

/// The metadata cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It is not XML, or too much of it.
    #[error("cannot read the agent's metadata: it is not XML ({why}); mend or replace the agent")]
    NotXml {
        /// What the parser says.
        why: String,
    },
    /// It is too large.
    #[error(
        "cannot read the agent's metadata: it has {size} bytes, more than {MAX_METADATA}; mend or replace the agent"
    )]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// The outermost element is another one.
    #[error(
        "cannot read the agent's metadata: it is <{found}>, not <resource-agent>; is this an OCF or fence agent?"
    )]
    WrongRoot {
        /// The outermost element, cut to 80 characters.
        found: String,
    },
}

impl AgentMetadata {
    /// Reads metadata.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]: too large, not XML, or other XML.
    pub fn parse(text: &str) -> Result<Self, MetadataError> {
        if text.len() > MAX_METADATA {
            return Err(MetadataError::TooLarge { size: text.len() });
        }
        let defaults = ParsingOptions::default();
        let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..defaults };
        let document = Document::parse_with_options(text.trim_start(), options)
            .map_err(|error| MetadataError::NotXml { why: error.to_string() })?;
        let root = document.root_element();
        if root.tag_name().name() != "resource-agent" {
            let found = root.tag_name().name().chars().take(80).collect();
            return Err(MetadataError::WrongRoot { found });
        }
        let in_attribute = root.attribute("shortdesc").unwrap_or_default();
        let summary = words(root, "shortdesc");
        Ok(Self {
            name: owned(root, "name"),
            version: owned(root, "version"),
            standard: words(root, "version"),
            summary: if summary.is_empty() { tidy(in_attribute) } else { summary },
            description: words(root, "longdesc"),
            parameters: within(root, "parameters", "parameter").map(parameter).collect(),
            actions: within(root, "actions", "action").map(action).collect(),
        })
    }

    /// The parameter `name`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&ParameterMetadata> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Whether the agent knows the action `name`.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.actions.iter().any(|action| action.name == name)
    }

    /// How long the agent thinks that the action needs at most.
    #[must_use]
    pub fn timeout(&self, action: &str) -> Option<Duration> {
        let of_it = self.actions.iter().filter(|known| known.name == action);
        of_it.filter_map(|known| known.timeout).max()
    }

    fn timeouts(&self) -> BTreeMap<String, Duration> {
        let names = self.actions.iter().map(|action| &action.name);
        names.filter_map(|name| Some((name.clone(), self.timeout(name)?))).collect()
    }

    /// How long the agent thinks that this monitor needs at most: of its monitors for the role the
    /// one of the nearest lower depth, as the agent chooses, else any monitor.
    #[must_use]
    pub fn monitor_timeout(&self, check: Check) -> Option<Duration> {
        let monitors = self.actions.iter().filter(|action| action.name == "monitor");
        let fits = |action: &&ActionMetadata| {
            action.depth.unwrap_or_default() <= check.depth
                && (action.role.is_none() || action.role == check.role)
        };
        let nearest = monitors.filter(fits).max_by_key(|it| (it.role, it.depth));
        nearest.and_then(|action| action.timeout).or_else(|| self.timeout("monitor"))
    }

    /// Checks what is given to the agent; returns what is allowed but doubtful, a line each:
    /// unknown and deprecated parameters, values that are not of their type.
    ///
    /// # Errors
    ///
    /// All required parameters that are missing.
    pub fn check(&self, given: &BTreeMap<String, String>) -> Result<Vec<String>, ConfigError> {
        let has = |name: &str| given.get(name).is_some_and(|value| !value.is_empty());
        let mut problems = Problems::new();
        for parameter in self.parameters.iter().filter(|parameter| parameter.must_be_given()) {
            let older = self.parameters.iter().filter(|other| {
                parameter.obsoletes.contains(&other.name)
                    || other.replaced_with.contains(&parameter.name)
            });
            if !has(&parameter.name) && !older.into_iter().any(|other| has(&other.name)) {
                let what =
                    if parameter.summary.is_empty() { "a value" } else { &parameter.summary };
                problems.add(&parameter.name, "(nothing)", format!("it is required: {what}"));
            }
        }
        let doubts = given.iter().filter_map(|(name, value)| {
            let Some(parameter) = self.parameter(name) else {
                return Some(format!("parameter {name} is unknown to {}", self.name));
            };
            parameter.doubt(value)
        });
        problems.into_result(doubts.collect())
    }

    /// The short form, as all agents have it.
    #[must_use]
    pub fn brief(&self) -> Metadata {
        let parameters = self.parameters.iter().map(|parameter| Parameter {
            name: parameter.name.clone(),
            summary: parameter.summary.clone(),
            default: match &parameter.default {
                _ if parameter.must_be_given() => None,
                default => Some(default.clone().unwrap_or_default()),
            },
        });
        Metadata {
            parameters: parameters.collect(),
            promotable: self.knows("promote") && self.knows("demote"),
            timeouts: self.timeouts(),
            ..Metadata::new(&self.name, &self.summary)
        }
    }
}

impl ParameterMetadata {
    /// Whether the agent cannot do without it: required, and neither deprecated nor with a default.
    #[must_use]
    pub fn must_be_given(&self) -> bool {
        let default = self.default.as_deref().unwrap_or_default();
        self.required && default.is_empty() && !self.deprecated
    }

    fn doubt(&self, value: &str) -> Option<String> {
        let name = &self.name;
        if self.deprecated {
            let instead = self.replaced_with.join(" or ");
            let instead =
                if instead.is_empty() { instead } else { format!("; use {instead} instead") };
            return Some(format!("parameter {name} is deprecated{instead}"));
        }
        let fits = match self.kind.as_str() {
            "integer" => value.trim().parse::<i64>().is_ok(),
            "boolean" => {
                let known = ["1", "0", "yes", "no", "true", "false", "on", "off"];
                known.iter().any(|known| value.eq_ignore_ascii_case(known))
            }
            "select" => self.options.is_empty() || self.options.iter().any(|known| known == value),
            _ => true,
        };
        let doubtful = !fits && !value.is_empty();
        doubtful.then(|| self.untyped())
    }

    /// That its value is not of its type; not the value, which may be a secret in the wrong place.
    pub(super) fn untyped(&self) -> String {
        let (name, kind) = (&self.name, &self.kind);
        let so =
            if kind == "boolean" { ": an agent to which it is one takes it for no" } else { "" };
        format!("the value of parameter {name} is not of its type, {kind}{so}")
    }
}

fn within<'a>(
    root: Node<'a, 'a>,
    list: &'static str,
    item: &'static str,
) -> impl Iterator<Item = Node<'a, 'a>> {
    let lists = root.children().filter(move |node| node.has_tag_name(list));
    lists.flat_map(move |node| node.children().filter(move |node| node.has_tag_name(item)))
}

fn owned(node: Node<'_, '_>, attribute: &str) -> String {
    node.attribute(attribute).unwrap_or_default().to_owned()
}

fn is_set(node: Node<'_, '_>, attribute: &str) -> bool {
    matches!(node.attribute(attribute), Some("1" | "true" | "yes"))
}

/// The text of the first child of that name.
fn words(node: Node<'_, '_>, name: &str) -> String {
    let child = node.children().find(|child| child.has_tag_name(name));
    tidy(child.and_then(|child| child.text()).unwrap_or_default())
}

fn tidy(text: &str) -> String {
    text.trim().to_owned()
}

fn parameter(node: Node<'_, '_>) -> ParameterMetadata {
    let child = |name: &'static str| node.children().filter(move |node| node.has_tag_name(name));
    let content = child("content").next();
    let name = owned(node, "name");
    let deprecation = child("deprecated").next();
    let replaced = deprecation.into_iter().flat_map(|node| node.children());
    let replaced = replaced.filter(|node| node.has_tag_name("replaced-with"));
    let options = content.into_iter().flat_map(|content| content.children());
    let unique = node.attribute("unique-group").map(str::to_owned);
    ParameterMetadata {
        kind: content.map_or_else(|| "string".to_owned(), |content| owned(content, "type")),
        default: content.and_then(|content| content.attribute("default")).map(str::to_owned),
        options: options
            .filter(|node| node.has_tag_name("option"))
            .map(|node| owned(node, "value"))
            .collect(),
        required: is_set(node, "required"),
        unique_group: unique.or_else(|| is_set(node, "unique").then(|| name.clone())),
        reloadable: is_set(node, "reloadable"),
        deprecated: is_set(node, "deprecated") || deprecation.is_some(),
        replaced_with: replaced.map(|node| owned(node, "name")).collect(),
        obsoletes: node.attribute("obsoletes").map(str::to_owned).into_iter().collect(),
        summary: words(node, "shortdesc"),
        description: words(node, "longdesc"),
        name,
    }
}

fn action(node: Node<'_, '_>) -> ActionMetadata {
    let time = |name| node.attribute(name).and_then(span::parse);
    let role = node.attribute("role").and_then(|role| match role.to_ascii_lowercase().as_str() {
        "promoted" | "master" => Some(Role::Promoted),
        "unpromoted" | "slave" => Some(Role::Unpromoted),
        "started" => Some(Role::Started),
        "stopped" => Some(Role::Stopped),
        _ => None,
    });
    ActionMetadata {
        name: owned(node, "name"),
        timeout: time("timeout"),
        interval: time("interval"),
        depth: node.attribute("depth").and_then(|depth| depth.trim().parse().ok()),
        role,
        automatic: is_set(node, "automatic"),
        on_target: is_set(node, "on_target"),
    }
}
