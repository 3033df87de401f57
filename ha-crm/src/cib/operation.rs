//! Operations of a resource: what is done how often, and what if it fails.

use std::sync::Arc;
use std::time::Duration;

use ha_core::role::Role;
use serde::{Deserialize, Serialize};

use super::attributes::AttributeSet;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml, elements};
use super::value::words;

/// The operations of one resource; those that refer to them by `id-ref` share them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Operations {
    /// The id of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// The operations in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// One operation. What is not given, or cannot be read, is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Operation {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// What is done: `start`, `monitor`, ….
    pub name: Arc<str>,
    /// How often it is done; zero is once.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How long it may take.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What follows a failure.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
    /// Only in this role.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether it is done at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether its beginning is recorded, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_pending: Option<bool>,
    /// How long after the start of the resource it is first done.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub start_delay: Option<Duration>,
    /// The moment from which intervals are counted, in ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_origin: Option<Arc<str>>,
    /// What must be there before it is done.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub requires: Option<Requires>,
    /// The same and more as meta-attributes.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<Arc<AttributeSet>>,
    /// Parameters for this operation only.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub instance: Vec<Arc<AttributeSet>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

words! {
    /// What follows the failure of an operation.
    OnFail {
        /// Nothing.
        Ignore = "ignore" | "nothing",
        /// Nothing is done to the resource any more.
        Block = "block",
        /// It is stopped and not started elsewhere.
        Stop = "stop",
        /// It is stopped and started again, perhaps elsewhere.
        Restart = "restart",
        /// The node is fenced.
        Fence = "fence",
        /// All resources leave the node.
        Standby = "standby",
        /// It is demoted.
        Demote = "demote",
        /// The container it is in is started anew.
        RestartContainer = "restart-container",
    }
}

words! {
    /// What must be there before a resource is started.
    Requires {
        /// Nothing.
        Nothing = "nothing",
        /// Quorum.
        Quorum = "quorum",
        /// Quorum, and failed nodes are fenced.
        Fencing = "fencing",
        /// The same, and the node has been unfenced.
        Unfencing = "unfencing",
    }
}

impl Operations {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Arc<Self>> {
        let target = cx.follow(node)?;
        if target == node {
            return Some(Arc::new(Self::read_here(cx, node)));
        }
        if let Some(known) = cx.referred.operations.get(&target.id()) {
            return Some(Arc::clone(known));
        }
        let operations = Arc::new(Self::read_here(cx, target));
        cx.referred.operations.insert(target.id(), Arc::clone(&operations));
        Some(operations)
    }

    fn read_here<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Self {
        let mut read = Self { place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => read.id = cx.text(&attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "op" => read.operations.extend(Operation::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        read
    }
}

impl Operation {
    fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { place: cx.place(node), ..Self::default() };
        let mut name = None;
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => read.id = cx.text(&attribute),
                "name" => name = cx.text(&attribute),
                "interval" => read.interval = cx.value(node, &attribute),
                "timeout" => read.timeout = cx.value(node, &attribute),
                "on-fail" => read.on_fail = cx.value(node, &attribute),
                "role" => read.role = cx.value(node, &attribute),
                "enabled" => read.enabled = cx.value(node, &attribute),
                "record-pending" => read.record_pending = cx.value(node, &attribute),
                "start-delay" => read.start_delay = cx.value(node, &attribute),
                "interval-origin" => read.interval_origin = cx.text(&attribute),
                "requires" => read.requires = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "meta_attributes" => read.meta.extend(AttributeSet::read(cx, child)),
                "instance_attributes" => read.instance.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        if name.is_none() {
            cx.missing(node, "name");
        }
        read.name = name?;
        Some(read)
    }
}
