//! Resources: primitives, templates, groups, clones.

use std::sync::Arc;

use super::attributes::AttributeSet;
use super::bundle::Bundle;
use super::note::Place;
use super::operation::Operations;
use super::reader::{Reader, Xml, elements};

/// A resource of the outermost level.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Primitive {
    /// Its id.
    pub id: Arc<str>,
    /// The standard of its agent: `ocf`, `systemd`, `stonith`, ….
    pub class: Option<Arc<str>>,
    /// Whose agent it is; only of `ocf`.
    pub provider: Option<Arc<str>>,
    /// Its agent.
    pub kind: Option<Arc<str>>,
    /// The template it takes the rest from.
    pub template: Option<Arc<str>>,
    /// Its operations.
    pub operations: Vec<Arc<Operations>>,
    /// Its meta-attributes.
    pub meta: Vec<Arc<AttributeSet>>,
    /// Its parameters.
    pub instance: Vec<Arc<AttributeSet>>,
    /// What it needs of a node.
    pub utilization: Vec<Arc<AttributeSet>>,
    /// Where it stands.
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Group {
    /// Its id.
    pub id: Arc<str>,
    /// Its members in their order.
    pub primitives: Vec<Primitive>,
    /// Its meta-attributes.
    pub meta: Vec<Arc<AttributeSet>>,
    /// Parameters for all members.
    pub instance: Vec<Arc<AttributeSet>>,
    /// Where it stands.
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
