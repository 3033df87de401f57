//! Tags, and the order of fence devices.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::note::Place;
use super::reader::{Reader, Xml, elements};

/// A tag: a name for several things.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Tag {
    /// Its id.
    pub id: Arc<str>,
    /// The ids of what it stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Arc<str>>,
    /// Where it stands.
    #[serde(skip)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawLevel", into = "RawLevel")]
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

impl FencingTarget {
    fn new(
        target: Option<Arc<str>>,
        pattern: Option<Arc<str>>,
        name: Option<Arc<str>>,
        value: Option<Arc<str>>,
    ) -> Option<Self> {
        match (target, pattern, name, value) {
            (Some(target), ..) => Some(Self::Node(target)),
            (None, Some(pattern), ..) => Some(Self::Pattern(pattern)),
            (None, None, Some(name), Some(value)) => Some(Self::Attribute { name, value }),
            (None, None, _, _) => None,
        }
    }
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
        let target = FencingTarget::new(target, pattern, name, value);
        if target.is_none() {
            cx.missing(node, "target, target-pattern, or target-attribute and target-value");
        }
        Some(Self { id, target: target?, index, devices, place: cx.place(node) })
    }
}

/// A level as it is written in TOML and JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawLevel {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_pattern: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_attribute: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_value: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(default)]
    devices: Vec<Arc<str>>,
}

impl From<FencingLevel> for RawLevel {
    fn from(level: FencingLevel) -> Self {
        let FencingLevel { id, target, index, devices, place: _ } = level;
        let mut raw = Self {
            id,
            target: None,
            target_pattern: None,
            target_attribute: None,
            target_value: None,
            index,
            devices,
        };
        match target {
            FencingTarget::Attribute { name, value } => {
                (raw.target_attribute, raw.target_value) = (Some(name), Some(value));
            }
            FencingTarget::Node(node) => raw.target = Some(node),
            FencingTarget::Pattern(pattern) => raw.target_pattern = Some(pattern),
        }
        raw
    }
}

impl TryFrom<RawLevel> for FencingLevel {
    type Error = &'static str;

    fn try_from(raw: RawLevel) -> Result<Self, Self::Error> {
        let RawLevel {
            id,
            target,
            target_pattern: pattern,
            target_attribute: name,
            target_value: value,
            index,
            devices,
        } = raw;
        let target = FencingTarget::new(target, pattern, name, value).ok_or(
            "cannot use a fencing level without a target; give target, target-pattern, or \
             target-attribute and target-value",
        )?;
        Ok(Self { id, target, index, devices, place: Place::default() })
    }
}
