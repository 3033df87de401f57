//! The status: nodes, what was done on them, tickets.

use std::sync::Arc;

use ha_core::time::WallTime;
use serde::{Deserialize, Serialize};

use super::attributes::AttributeSet;
use super::form;
use super::history::ResourceHistory;
use super::note::Place;
use super::reader::{Reader, Xml, elements};
use super::value::{CibValue, words};

/// What is known of a node (`node_state`). What is not given, or cannot be read, is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct NodeState {
    /// Its id in the cluster layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uname: Option<Arc<str>>,
    /// Whether it is a member of the cluster layer.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub in_ccm: Option<Presence>,
    /// Whether its controller is reached.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub crmd: Option<Presence>,
    /// How far it has joined.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinState>,
    /// How far it should have joined.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub expected: Option<JoinState>,
    /// Whether it is a remote or guest node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_node: Option<bool>,
    /// Of a remote node: whether, or when, it was fenced since it was last up.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub node_fenced: Option<Presence>,
    /// Of a remote node: whether its last transition saw it in maintenance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_in_maintenance: Option<bool>,
    /// Whether, or when, it asked to be shut down (old files; newer ones have an attribute).
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Presence>,
    /// Its passing attributes.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Arc<AttributeSet>>,
    /// Its capacities that are forgotten when it leaves (`transient` utilization).
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub utilization: Vec<Arc<AttributeSet>>,
    /// What was done on it, by resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceHistory>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// Whether something is so: as a boolean, or in newer files as the time since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Presence {
    /// It is not so: `false`, `offline`, 0.
    Absent,
    /// It is so: `true`, `online`, 1.
    Present,
    /// It has been so since then.
    Since(WallTime),
}

impl Presence {
    /// Whether it is so.
    #[must_use]
    pub const fn is_present(self) -> bool {
        !matches!(self, Self::Absent)
    }
}

impl CibValue for Presence {
    const ALLOWED: &'static [&'static str] =
        &["a boolean", "online", "offline", "seconds since 1970"];

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("online") {
            return Some(Self::Present);
        }
        if text.eq_ignore_ascii_case("offline") {
            return Some(Self::Absent);
        }
        match bool::read(text) {
            Some(true) => Some(Self::Present),
            Some(false) => Some(Self::Absent),
            None => WallTime::read(text).map(Self::Since),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Absent => "false".to_owned(),
            Self::Present => "true".to_owned(),
            Self::Since(time) => time.write(),
        }
    }
}

words! {
    /// How far a node has joined the cluster.
    JoinState {
        /// Not at all.
        Down = "down",
        /// It is about to.
        Pending = "pending",
        /// It has.
        Member = "member",
        /// It was refused.
        Banned = "banned",
    }
}

impl NodeState {
    /// The value of a passing attribute: the first of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find_map(|set| set.get(name))
    }

    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                // Bookkeeping, and what only very old releases looked at.
                "crm-debug-origin" | "ha" | "clear_shutdown" | "replace" => {}
                "id" => read.id = cx.text(&attribute),
                "uname" => read.uname = cx.text(&attribute),
                "in_ccm" => read.in_ccm = cx.value(node, &attribute),
                "crmd" => read.crmd = cx.value(node, &attribute),
                "join" => read.join = cx.value(node, &attribute),
                "expected" => read.expected = cx.value(node, &attribute),
                "remote_node" => read.remote_node = cx.value(node, &attribute),
                "node_fenced" => read.node_fenced = cx.value(node, &attribute),
                "node_in_maintenance" => {
                    read.node_in_maintenance = cx.value(node, &attribute);
                }
                "shutdown" => read.shutdown = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "transient_attributes" => read.read_attributes(cx, child),
                "lrm" => read.read_history(cx, child),
                _ => cx.unknown_element(child),
            }
        }
        if read.id.is_none() && read.uname.is_none() {
            cx.missing(node, "uname");
            return None;
        }
        Some(read)
    }

    fn read_attributes<'a>(&mut self, cx: &mut Reader<'a>, node: Xml<'a>) {
        for child in elements(node) {
            match child.tag_name().name() {
                "instance_attributes" => self.attributes.extend(AttributeSet::read(cx, child)),
                "utilization" => self.utilization.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
    }

    fn read_history<'a>(&mut self, cx: &mut Reader<'a>, node: Xml<'a>) {
        for list in elements(node) {
            if !list.has_tag_name("lrm_resources") {
                cx.unknown_element(list);
                continue;
            }
            self.resources.reserve_exact(elements(list).count());
            for child in elements(list) {
                match child.tag_name().name() {
                    "lrm_resource" => self.resources.extend(ResourceHistory::read(cx, child)),
                    _ => cx.unknown_element(child),
                }
            }
        }
    }
}

/// The state of a ticket (`ticket_state`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct TicketState {
    /// Its name.
    pub id: Arc<str>,
    /// Whether this site has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<bool>,
    /// Whether it is about to be given away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<bool>,
    /// When the site last got it.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub last_granted: Option<WallTime>,
    /// Its other attributes.
    #[serde(default, with = "form::pairs", skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<(Arc<str>, Arc<str>)>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

impl TicketState {
    pub(super) fn read(cx: &mut Reader<'_>, node: Xml<'_>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "granted" => read.granted = cx.value(node, &attribute),
                "standby" => read.standby = cx.value(node, &attribute),
                "last-granted" => read.last_granted = cx.value(node, &attribute),
                name => {
                    let other = (cx.intern(name), cx.intern(attribute.value()));
                    read.others.push(other);
                }
            }
        }
        for child in elements(node) {
            cx.unknown_element(child);
        }
        Some(read)
    }
}
