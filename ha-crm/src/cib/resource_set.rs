//! Resource sets: several resources in one constraint.

use std::sync::Arc;

use ha_core::role::Role;
use serde::{Deserialize, Serialize};

use super::form;
use super::note::Place;
use super::order::OrderAction;
use super::reader::{Reader, Xml, elements};
use super::value::words;
use crate::model::Score;

/// A `resource_set`; those that refer to one by `id-ref` share it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct ResourceSet {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// Resources, templates and tags, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Arc<str>>,
    /// Whether each member depends on the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequential: Option<bool>,
    /// Whether all members are needed, or one is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_all: Option<bool>,
    /// How the members of a colocation are ordered.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub ordering: Option<SetOrdering>,
    /// Only members with this role.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What is done with the members, in an order.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub action: Option<OrderAction>,
    /// A score for this set alone.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

words! {
    /// How the members of a colocated set are ordered.
    SetOrdering {
        /// As in a group.
        Group = "group",
        /// As they are listed.
        Listed = "listed",
    }
}

impl ResourceSet {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Arc<Self>> {
        let target = cx.follow(node)?;
        if target == node {
            return Some(Arc::new(Self::read_here(cx, node)));
        }
        if let Some(known) = cx.referred.resource_sets.get(&target.id()) {
            return Some(Arc::clone(known));
        }
        let set = Arc::new(Self::read_here(cx, target));
        cx.referred.resource_sets.insert(target.id(), Arc::clone(&set));
        Some(set)
    }

    fn read_here<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Self {
        let mut read = Self { place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => read.id = cx.text(&attribute),
                "sequential" => read.sequential = cx.value(node, &attribute),
                "require-all" => read.require_all = cx.value(node, &attribute),
                "ordering" => read.ordering = cx.value(node, &attribute),
                "role" => read.role = cx.value(node, &attribute),
                "action" => read.action = cx.value(node, &attribute),
                "score" => read.score = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "resource_ref" => read.members.extend(cx.id(child)),
                _ => cx.unknown_element(child),
            }
        }
        read
    }
}
