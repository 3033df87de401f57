//! Nodes as they are configured.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::attributes::AttributeSet;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml, elements};
use super::value::words;
use crate::model::Score;

/// A node of the cluster, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ConfiguredNode {
    /// Its id in the cluster layer.
    pub id: Arc<str>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uname: Option<Arc<str>>,
    /// What kind of node it is.
    #[serde(
        rename = "type",
        default,
        with = "form::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub kind: Option<NodeKind>,
    /// How much resources prefer it.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Its lasting attributes.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Arc<AttributeSet>>,
    /// What it has to offer.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub utilization: Vec<Arc<AttributeSet>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

words! {
    /// The kind of a node.
    NodeKind {
        /// It runs the whole cluster stack.
        Member = "member" | "normal",
        /// It is only asked whether it answers.
        Ping = "ping",
        /// It is steered through a connection of a member.
        Remote = "remote",
    }
}

impl ConfiguredNode {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "uname" => read.uname = cx.text(&attribute),
                "type" => read.kind = cx.value(node, &attribute),
                "score" => read.score = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "instance_attributes" => read.attributes.extend(AttributeSet::read(cx, child)),
                "utilization" => read.utilization.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        Some(read)
    }
}
