//! Sets of name and value: options, meta-attributes, parameters, utilization.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::form::sets::RawSet;
use super::note::{Place, Spot};
use super::reader::{Reader, Xml, elements};
use super::rule::RuleElement;
use super::value::CibValue;
use crate::model::Score;

/// A `cluster_property_set`, `meta_attributes`, `instance_attributes` or `utilization`.
///
/// An `id-ref` is resolved: all that refer to a set share it. Whether its rules hold, and which of
/// several sets counts, is for others to decide.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "RawSet", into = "RawSet")]
#[non_exhaustive]
pub struct AttributeSet {
    /// Its id.
    pub id: Option<Arc<str>>,
    /// Sets with a higher score come first.
    pub score: Option<Score>,
    /// It counts only where these hold.
    pub rules: Vec<Arc<RuleElement>>,
    /// Names and values in their order.
    pub pairs: Vec<Pair>,
    /// Where it stands.
    pub place: Place,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Pair {
    /// Its id.
    pub id: Option<Arc<str>>,
    /// The name.
    pub name: Arc<str>,
    /// The value; none is a pair that takes a value away.
    pub value: Option<Arc<str>>,
    /// Where it stands.
    pub spot: Spot,
}

impl AttributeSet {
    /// The value of the first pair of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|pair| &*pair.name == name)?.value.as_deref()
    }

    /// The place of one of its pairs.
    #[must_use]
    pub fn place_of(&self, pair: &Pair) -> Place {
        let path = match &pair.id {
            Some(id) => format!("{}/nvpair[@id='{id}']", self.place.path),
            None => format!("{}/nvpair[@name='{}']", self.place.path, pair.name),
        };
        Place { spot: pair.spot, path: path.into() }
    }

    /// Reads a set, or the one it refers to.
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Arc<Self>> {
        let target = cx.follow(node)?;
        if target == node {
            return Some(Arc::new(Self::read_here(cx, node)));
        }
        if let Some(known) = cx.referred.sets.get(&target.id()) {
            return Some(Arc::clone(known));
        }
        let set = Arc::new(Self::read_here(cx, target));
        cx.referred.sets.insert(target.id(), Arc::clone(&set));
        Some(set)
    }

    fn read_here<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Self {
        let mut set = Self { place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => set.id = cx.text(&attribute),
                "score" => set.score = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        set.pairs = Vec::with_capacity(elements(node).count());
        for child in elements(node) {
            match child.tag_name().name() {
                "nvpair" => set.pairs.extend(Pair::read(cx, child)),
                "rule" => set.rules.extend(RuleElement::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        set
    }
}

impl Pair {
    /// The value as a type; `None` if there is none or it cannot be read.
    #[must_use]
    pub fn read_as<T: CibValue>(&self) -> Option<T> {
        self.value.as_deref().and_then(T::read)
    }

    /// Reads a pair, or the one it refers to, whose name it may replace.
    fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let target = cx.follow(node)?;
        let mut pair = Self { spot: cx.spot(node), ..Self::default() };
        let mut name = None;
        for attribute in target.attributes() {
            match attribute.name() {
                "id" => pair.id = cx.text(&attribute),
                "name" => name = cx.text(&attribute),
                "value" => pair.value = cx.text(&attribute),
                _ => cx.unknown_attribute(target, &attribute),
            }
        }
        if target != node {
            for attribute in node.attributes() {
                match attribute.name() {
                    "name" => name = cx.text(&attribute),
                    "id" | "id-ref" => {}
                    _ => cx.unknown_attribute(node, &attribute),
                }
            }
        }
        if name.is_none() {
            cx.missing(node, "name");
        }
        pair.name = name?;
        Some(pair)
    }
}

/// The name that an option has now, of a name that it has or had: `stonith-enabled` is
/// `fencing-enabled`.
///
/// ```
/// use ha_crm::cib::option_name;
///
/// assert_eq!(option_name("stonith-enabled"), "fencing-enabled");
/// assert_eq!(option_name("no-quorum-policy"), "no-quorum-policy");
/// ```
#[must_use]
pub fn option_name(name: &str) -> &str {
    match name {
        "stonith-action" => "fencing-action",
        "stonith-enabled" => "fencing-enabled",
        "stonith-max-attempts" => "fencing-max-attempts",
        "stonith-timeout" => "fencing-timeout",
        "stonith-watchdog-timeout" => "fencing-watchdog-timeout",
        "stop-orphan-actions" => "cancel-removed-actions",
        "stop-orphan-resources" => "stop-removed-resources",
        "fence-reaction" => "fencing-reaction",
        other => other,
    }
}
