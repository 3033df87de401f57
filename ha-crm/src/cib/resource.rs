//! Resources: primitives, templates, groups, clones.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::attributes::AttributeSet;
use super::bundle::Bundle;
use super::form;
use super::note::Place;
use super::operation::Operations;
use super::reader::{Reader, Xml, elements};

/// A resource of the outermost level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CibResource {
    /// Containers.
    Bundle(Box<Bundle>),
    /// Copies.
    Clone(Box<CloneSet>),
    /// Several, one after the other on one node.
    Group(Box<Group>),
    /// One.
    Primitive(Box<Primitive>),
}

impl CibResource {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        match self {
            Self::Bundle(bundle) => &bundle.id,
            Self::Clone(set) => &set.id,
            Self::Group(group) => &group.id,
            Self::Primitive(primitive) => &primitive.id,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Bundle(bundle) => &bundle.place,
            Self::Clone(set) => &set.place,
            Self::Group(group) => &group.place,
            Self::Primitive(primitive) => &primitive.place,
        }
    }

    /// All primitives in it, in their order.
    pub fn primitives(&self) -> impl Iterator<Item = &Primitive> {
        let (one, several): (Option<&Primitive>, &[Primitive]) = match self {
            Self::Bundle(bundle) => (bundle.primitive.as_ref(), &[]),
            Self::Clone(set) => match &set.inner {
                Some(Cloned::Group(group)) => (None, &group.primitives),
                Some(Cloned::Primitive(primitive)) => (Some(primitive), &[]),
                None => (None, &[]),
            },
            Self::Group(group) => (None, &group.primitives),
            Self::Primitive(primitive) => (Some(primitive), &[]),
        };
        one.into_iter().chain(several)
    }

    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        match node.tag_name().name() {
            "bundle" => Bundle::read(cx, node).map(Box::new).map(Self::Bundle),
            "clone" | "master" => CloneSet::read(cx, node).map(Box::new).map(Self::Clone),
            "group" => Group::read(cx, node).map(Box::new).map(Self::Group),
            "primitive" => Primitive::read(cx, node).map(Box::new).map(Self::Primitive),
            _ => {
                cx.unknown_element(node);
                None
            }
        }
    }
}

/// A primitive, or a template for primitives.
///
/// A primitive with a template has only what itself says: nothing is taken over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Primitive {
    /// Its id.
    pub id: Arc<str>,
    /// The standard of its agent: `ocf`, `systemd`, `stonith`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
    /// Whose agent it is; only of `ocf`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Arc<str>>,
    /// Its agent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Arc<str>>,
    /// The template it takes the rest from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Arc<str>>,
    /// Its operations.
    #[serde(default, with = "form::operations", skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Arc<Operations>>,
    /// Its meta-attributes.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<Arc<AttributeSet>>,
    /// Its parameters.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub instance: Vec<Arc<AttributeSet>>,
    /// What it needs of a node.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub utilization: Vec<Arc<AttributeSet>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

impl Primitive {
    /// Reads a `primitive` or a `template`.
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "class" => read.class = cx.text(&attribute),
                "provider" => read.provider = cx.text(&attribute),
                "type" => read.kind = cx.text(&attribute),
                "template" if node.has_tag_name("primitive") => {
                    read.template = cx.text(&attribute);
                }
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "operations" => read.operations.extend(Operations::read(cx, child)),
                "meta_attributes" => read.meta.extend(AttributeSet::read(cx, child)),
                "instance_attributes" => read.instance.extend(AttributeSet::read(cx, child)),
                "utilization" => read.utilization.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        if read.template.is_none() {
            if read.class.is_none() {
                cx.missing(node, "class");
            }
            if read.kind.is_none() {
                cx.missing(node, "type");
            }
        }
        Some(read)
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub id: Arc<str>,
    /// Its members in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primitives: Vec<Primitive>,
    /// Its meta-attributes.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<Arc<AttributeSet>>,
    /// Parameters for all members.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub instance: Vec<Arc<AttributeSet>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

impl Group {
    fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes().filter(|attribute| attribute.name() != "id") {
            cx.unknown_attribute(node, &attribute);
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "primitive" => read.primitives.extend(Primitive::read(cx, child)),
                "meta_attributes" => read.meta.extend(AttributeSet::read(cx, child)),
                "instance_attributes" => read.instance.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        if read.primitives.is_empty() {
            cx.missing(node, "primitive");
        }
        Some(read)
    }
}

/// A `clone`, or a `master`, which is the older way to write a promotable clone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawClone", into = "RawClone")]
#[non_exhaustive]
pub struct CloneSet {
    /// Its id.
    pub id: Arc<str>,
    /// Whether it is written as `master`; a `clone` says so in its meta-attributes.
    pub is_master: bool,
    /// What there are copies of.
    pub inner: Option<Cloned>,
    /// Its meta-attributes.
    pub meta: Vec<Arc<AttributeSet>>,
    /// Parameters for all copies.
    pub instance: Vec<Arc<AttributeSet>>,
    /// Where it stands.
    pub place: Place,
}

/// What a clone has copies of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cloned {
    /// A group.
    Group(Group),
    /// A primitive.
    Primitive(Primitive),
}

impl CloneSet {
    fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self {
            id: cx.id(node)?,
            is_master: node.has_tag_name("master"),
            place: cx.place(node),
            ..Self::default()
        };
        for attribute in node.attributes().filter(|attribute| attribute.name() != "id") {
            cx.unknown_attribute(node, &attribute);
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "group" if read.inner.is_none() => {
                    read.inner = Group::read(cx, child).map(Cloned::Group);
                }
                "primitive" if read.inner.is_none() => {
                    read.inner = Primitive::read(cx, child).map(Cloned::Primitive);
                }
                "meta_attributes" => read.meta.extend(AttributeSet::read(cx, child)),
                "instance_attributes" => read.instance.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        if read.inner.is_none() {
            cx.missing(node, "primitive or group");
        }
        Some(read)
    }
}

/// A clone as it is written in TOML and JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawClone {
    id: Arc<str>,
    #[serde(default, skip_serializing_if = "form::is_false")]
    is_master: bool,
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    meta: Vec<Arc<AttributeSet>>,
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    instance: Vec<Arc<AttributeSet>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<Group>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primitive: Option<Primitive>,
}

impl From<CloneSet> for RawClone {
    fn from(set: CloneSet) -> Self {
        let CloneSet { id, is_master, inner, meta, instance, place: _ } = set;
        let (group, primitive) = match inner {
            Some(Cloned::Group(group)) => (Some(group), None),
            Some(Cloned::Primitive(primitive)) => (None, Some(primitive)),
            None => (None, None),
        };
        Self { id, is_master, meta, instance, group, primitive }
    }
}

impl TryFrom<RawClone> for CloneSet {
    type Error = String;

    fn try_from(raw: RawClone) -> Result<Self, String> {
        let RawClone { id, is_master, meta, instance, group, primitive } = raw;
        let inner = match (group, primitive) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "cannot clone both a group and a primitive in {id:?}; make two clones of them"
                ));
            }
            (Some(group), None) => Some(Cloned::Group(group)),
            (None, Some(primitive)) => Some(Cloned::Primitive(primitive)),
            (None, None) => None,
        };
        Ok(Self { id, is_master, inner, meta, instance, place: Place::default() })
    }
}
