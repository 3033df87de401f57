//! Where resources want to be.

use std::sync::Arc;

use ha_core::role::Role;
use serde::{Deserialize, Serialize};

use super::constraint::read_lifetime;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml, elements};
use super::resource_set::ResourceSet;
use super::rule::{LocationRule, RuleElement};
use super::value::{CibValue, words};
use crate::model::Score;

/// Where a resource wants to be (`rsc_location`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Location {
    /// Its id.
    pub id: Arc<str>,
    /// Which resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsc: Option<Arc<str>>,
    /// Which resources, by their names.
    #[serde(
        default,
        rename = "rsc-pattern",
        with = "form::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub pattern: Option<Pattern>,
    /// Which resources, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Arc<ResourceSet>>,
    /// On which node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// How much.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// On which nodes and how much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<LocationRule>,
    /// Only in this role.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Where it is looked for before it is started.
    #[serde(
        rename = "resource-discovery",
        default,
        with = "form::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub discovery: Option<Discovery>,
    /// When it holds at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifetime: Vec<Arc<RuleElement>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

words! {
    /// Whether Pacemaker looks whether a resource runs on a node.
    Discovery {
        /// It does.
        Always = "always",
        /// Only there, and only there it may run.
        Exclusive = "exclusive",
        /// It does not.
        Never = "never",
    }
}

/// A regular expression over names (POSIX, extended).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pattern {
    /// The expression, without `!`.
    pub expression: Arc<str>,
    /// Whether it stands for the names that do not match; it began with `!`.
    pub negated: bool,
}

impl CibValue for Pattern {
    const ALLOWED: &'static [&'static str] = &["a regular expression, ! before it negates"];

    fn read(text: &str) -> Option<Self> {
        let (negated, expression) = match text.strip_prefix('!') {
            Some(expression) => (true, expression),
            None => (false, text),
        };
        Some(Self { expression: expression.into(), negated })
    }

    fn write(&self) -> String {
        format!("{}{}", if self.negated { "!" } else { "" }, self.expression)
    }
}

impl Location {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "rsc" => read.rsc = cx.text(&attribute),
                "rsc-pattern" => {
                    read.pattern = cx.value(node, &attribute);
                }
                "node" => read.node = cx.text(&attribute),
                "score" => read.score = cx.value(node, &attribute),
                "role" => read.role = cx.value(node, &attribute),
                "resource-discovery" => read.discovery = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "rule" => read.rules.extend(LocationRule::read(cx, child)),
                "resource_set" => read.sets.extend(ResourceSet::read(cx, child)),
                "lifetime" => read_lifetime(cx, child, &mut read.lifetime),
                _ => cx.unknown_element(child),
            }
        }
        if read.rsc.is_none() && read.pattern.is_none() && read.sets.is_empty() {
            cx.missing(node, "rsc, rsc-pattern or resource_set");
        }
        Some(read)
    }
}
