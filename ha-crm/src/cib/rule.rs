//! Rules, as they stand.

use std::sync::Arc;

use ha_core::role::Role;

use super::note::{Place, Remark};
use super::reader::{Reader, Xml, elements};
use super::value::CibValue;
use crate::model::Score;
use crate::model::rule::{self, Rule, RuleSource};

/// How deep a rule may be.
pub(super) const MAX_DEPTH: usize = 32;

/// A `<rule>` or an element inside one, with all its attributes as text.
///
/// An `id-ref` is resolved: the element is the one referred to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RuleElement {
    /// The element's name: `rule`, `expression`, `date_expression`, ….
    pub name: Arc<str>,
    /// Its attributes in their order.
    pub attributes: Vec<(Arc<str>, Arc<str>)>,
    /// The elements in it.
    pub children: Vec<Arc<RuleElement>>,
    /// Where it stands.
    pub place: Place,
}

impl RuleElement {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| &**known == name).map(|(_, value)| &**value)
    }

    /// The rule that can be asked, and what is wrong with it, each as path, value and what is
    /// allowed; what cannot be read never holds.
    #[must_use]
    pub fn rule(&self) -> (Rule, Vec<String>) {
        rule::read(self)
    }

    /// Reads a rule, or the one it refers to.
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Arc<Self>> {
        let target = cx.follow(node)?;
        if target == node {
            return Self::read_tree(cx, node, 0, true);
        }
        if let Some(known) = cx.referred.rules.get(&target.id()) {
            return known.clone();
        }
        // What is referred to refers no further, so that a small text cannot become a large tree.
        let rule = Self::read_tree(cx, target, 0, false);
        cx.referred.rules.insert(target.id(), rule.clone());
        rule
    }

    fn read_tree<'a>(
        cx: &mut Reader<'a>,
        node: Xml<'a>,
        depth: usize,
        follow: bool,
    ) -> Option<Arc<Self>> {
        if depth > MAX_DEPTH {
            cx.note(node, Remark::TooDeep);
            return None;
        }
        let mut element = Self {
            name: cx.intern(node.tag_name().name()),
            place: cx.place(node),
            ..Self::default()
        };
        for attribute in node.attributes() {
            let (name, value) = (cx.intern(attribute.name()), cx.intern(attribute.value()));
            element.attributes.push((name, value));
        }
        for child in elements(node) {
            let read = match child.attribute("id-ref") {
                None => Self::read_tree(cx, child, depth + 1, follow),
                Some(_) if follow => Self::read(cx, child),
                Some(id) => {
                    let id = super::reader::cut(id).to_owned();
                    cx.note(child, Remark::Dangling { id });
                    None
                }
            };
            element.children.extend(read);
        }
        Some(Arc::new(element))
    }
}

impl RuleSource for RuleElement {
    fn name(&self) -> &str {
        &self.name
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attribute(name)
    }

    fn children<'a>(&'a self) -> impl Iterator<Item = &'a Self>
    where
        Self: 'a,
    {
        self.children.iter().map(|child| &**child)
    }
}

/// The rule of a location: where it holds, it gives a score.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocationRule {
    /// The score.
    pub score: Option<Score>,
    /// The node attribute that has the score.
    pub score_attribute: Option<Arc<str>>,
    /// Only for instances with this role.
    pub role: Option<Role>,
    /// When it holds.
    pub rule: Arc<RuleElement>,
}

impl LocationRule {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let rule = RuleElement::read(cx, node)?;
        let target = cx.follow(node)?;
        let mut read = Self { rule, ..Self::default() };
        for attribute in target.attributes() {
            match attribute.name() {
                "score" => read.score = cx.value(target, &attribute),
                "score-attribute" => read.score_attribute = cx.text(&attribute),
                "role" => read.role = cx.value(target, &attribute),
                "boolean-op" if BooleanOp::read(attribute.value()).is_none() => {
                    cx.bad_value(target, &attribute, BooleanOp::ALLOWED);
                }
                "id" | "boolean-op" => {}
                _ => cx.unknown_attribute(target, &attribute),
            }
        }
        Some(read)
    }
}

super::value::words! {
    /// How the conditions of a rule are joined.
    BooleanOp {
        /// All must hold.
        And = "and",
        /// One must hold.
        Or = "or",
    }
}
