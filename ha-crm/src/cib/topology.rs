//! Tags, and the order of fence devices.

use std::sync::Arc;

use super::note::Place;
use super::reader::{Reader, Xml, elements};

/// A tag: a name for several things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tag {
    /// Its id.
    pub id: Arc<str>,
    /// The ids of what it stands for.
    pub references: Vec<Arc<str>>,
    /// Where it stands.
    pub place: Place,
}

impl Tag {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes().filter(|attribute| attribute.name() != "id") {
            cx.unknown_attribute(node, &attribute);
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "obj_ref" => read.references.extend(cx.id(child)),
                _ => cx.unknown_element(child),
            }
        }
        Some(read)
    }
}

/// Devices that must all succeed to fence a node; the next level is tried if they do not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FencingLevel {
    /// Its id.
    pub id: Option<Arc<str>>,
    /// Which nodes it is for.
    pub target: FencingTarget,
    /// Lower ones are tried first.
    pub index: Option<u32>,
    /// The devices in their order.
    pub devices: Vec<Arc<str>>,
    /// Where it stands.
    pub place: Place,
}

/// Which nodes a fencing level is for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FencingTarget {
    /// Those whose attribute has this value.
    Attribute {
        /// The name of the attribute.
        name: Arc<str>,
        /// Its value.
        value: Arc<str>,
    },
    /// The one of this name.
    Node(Arc<str>),
    /// Those whose name matches this regular expression.
    Pattern(Arc<str>),
}

impl FencingLevel {
    /// Reads a level; one without a target is left out.
    pub(super) fn read(cx: &mut Reader<'_>, node: Xml<'_>) -> Option<Self> {
        let (mut id, mut index, mut devices) = (None, None, Vec::new());
        let (mut target, mut pattern, mut name, mut value) = (None, None, None, None);
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => id = cx.text(&attribute),
                "index" => index = cx.value(node, &attribute),
                "devices" => {
                    let names = attribute.value().split(',').map(str::trim);
                    devices.extend(names.filter(|name| !name.is_empty()).map(|n| cx.intern(n)));
                }
                "target" => target = cx.text(&attribute),
                "target-pattern" => pattern = cx.text(&attribute),
                "target-attribute" => name = cx.text(&attribute),
                "target-value" => value = cx.text(&attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            cx.unknown_element(child);
        }
        let target = match (target, pattern, name, value) {
            (Some(target), ..) => Some(FencingTarget::Node(target)),
            (None, Some(pattern), ..) => Some(FencingTarget::Pattern(pattern)),
            (None, None, Some(name), Some(value)) => Some(FencingTarget::Attribute { name, value }),
            (None, None, _, _) => None,
        };
        if target.is_none() {
            cx.missing(node, "target, target-pattern, or target-attribute and target-value");
        }
        Some(Self { id, target: target?, index, devices, place: cx.place(node) })
    }
}
