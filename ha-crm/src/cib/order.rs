//! What comes after what.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::constraint::read_sets;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml};
use super::resource_set::ResourceSet;
use super::rule::RuleElement;
use super::value::words;
use crate::model::Score;

/// What comes after what (`rsc_order`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Order {
    /// Its id.
    pub id: Arc<str>,
    /// Who comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Arc<str>>,
    /// With which action.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub first_action: Option<OrderAction>,
    /// Who comes then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<Arc<str>>,
    /// With which action.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub then_action: Option<OrderAction>,
    /// How strictly.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub kind: Option<OrderKind>,
    /// The older way to say how strictly.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Whether stopping is ordered the other way round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symmetrical: Option<bool>,
    /// Of a clone that comes first: whether all copies are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_all: Option<bool>,
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

words! {
    /// An action that is ordered.
    OrderAction {
        /// Starting.
        Start = "start",
        /// Stopping.
        Stop = "stop",
        /// Promoting.
        Promote = "promote",
        /// Demoting.
        Demote = "demote",
    }
}

words! {
    /// How strictly an order is kept.
    OrderKind {
        /// Only if both are done at all.
        Optional = "Optional",
        /// Always: the second needs the first.
        Mandatory = "Mandatory",
        /// Never both at a time.
        Serialize = "Serialize",
    }
}

impl Order {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "first" => read.first = cx.text(&attribute),
                "first-action" => read.first_action = cx.value(node, &attribute),
                "then" => read.then = cx.text(&attribute),
                "then-action" => read.then_action = cx.value(node, &attribute),
                "kind" => read.kind = cx.value(node, &attribute),
                "score" => read.score = cx.value(node, &attribute),
                "symmetrical" => read.symmetrical = cx.value(node, &attribute),
                "require-all" => read.require_all = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        read_sets(cx, node, &mut read.sets, &mut read.lifetime);
        if read.sets.is_empty() {
            if read.first.is_none() {
                cx.missing(node, "first");
            }
            if read.then.is_none() {
                cx.missing(node, "then");
            }
        }
        Some(read)
    }
}
