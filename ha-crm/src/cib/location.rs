//! Where resources want to be.

use std::sync::Arc;

use ha_core::role::Role;

use super::constraint::read_lifetime;
use super::note::Place;
use super::reader::{Reader, Xml, elements};
use super::resource_set::ResourceSet;
use super::rule::{LocationRule, RuleElement};
use super::value::words;
use crate::model::Score;

/// Where a resource wants to be (`rsc_location`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Location {
    /// Its id.
    pub id: Arc<str>,
    /// Which resource.
    pub rsc: Option<Arc<str>>,
    /// Which resources, by their names.
    pub pattern: Option<Pattern>,
    /// Which resources, one by one.
    pub sets: Vec<Arc<ResourceSet>>,
    /// On which node.
    pub node: Option<Arc<str>>,
    /// How much.
    pub score: Option<Score>,
    /// On which nodes and how much.
    pub rules: Vec<LocationRule>,
    /// Only in this role.
    pub role: Option<Role>,
    /// Where it is looked for before it is started.
    pub discovery: Option<Discovery>,
    /// When it holds at all.
    pub lifetime: Vec<Arc<RuleElement>>,
    /// Where it stands.
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

impl Location {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "rsc" => read.rsc = cx.text(&attribute),
                "rsc-pattern" => {
                    let (negated, expression) = match attribute.value().strip_prefix('!') {
                        Some(expression) => (true, expression),
                        None => (false, attribute.value()),
                    };
                    read.pattern = Some(Pattern { expression: cx.intern(expression), negated });
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
