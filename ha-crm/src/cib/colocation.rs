//! What wants to be together, or apart.

use std::sync::Arc;

use ha_core::role::Role;
use serde::{Deserialize, Serialize};

use super::constraint::read_sets;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml};
use super::resource_set::ResourceSet;
use super::rule::RuleElement;
use crate::model::Score;

/// What wants to be together, or apart (`rsc_colocation`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Colocation {
    /// Its id.
    pub id: Arc<str>,
    /// Who depends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsc: Option<Arc<str>>,
    /// In which role.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub rsc_role: Option<Role>,
    /// On whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_rsc: Option<Arc<str>>,
    /// In which role.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub with_rsc_role: Option<Role>,
    /// How much.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// The attribute that nodes must have in common; else the node's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_attribute: Option<Arc<str>>,
    /// Whether the one that depends has a say in where the other one goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub influence: Option<bool>,
    /// Sets in place of two names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Arc<ResourceSet>>,
    /// When it holds at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifetime: Vec<Arc<RuleElement>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

impl Colocation {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "rsc" => read.rsc = cx.text(&attribute),
                "rsc-role" => read.rsc_role = cx.value(node, &attribute),
                "with-rsc" => read.with_rsc = cx.text(&attribute),
                "with-rsc-role" => read.with_rsc_role = cx.value(node, &attribute),
                "score" => read.score = cx.value(node, &attribute),
                "node-attribute" => read.node_attribute = cx.text(&attribute),
                "influence" => read.influence = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        read_sets(cx, node, &mut read.sets, &mut read.lifetime);
        if read.sets.is_empty() {
            if read.rsc.is_none() {
                cx.missing(node, "rsc");
            }
            if read.with_rsc.is_none() {
                cx.missing(node, "with-rsc");
            }
        }
        Some(read)
    }
}
