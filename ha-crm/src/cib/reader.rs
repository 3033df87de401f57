//! What all readers of elements share: the document, strings, ids and notes.

#[expect(clippy::disallowed_types, reason = "nothing iterates over them")]
use std::collections::HashMap;
use std::sync::Arc;

use roxmltree::{Attribute, Node, NodeId};

use super::attributes::AttributeSet;
use super::intern::Interner;
use super::note::{Note, Place, Remark, Spot};
use super::operation::Operations;
use super::pieces::Pieces;
use super::resource_set::ResourceSet;
use super::rule::RuleElement;
use super::scan::Lines;
use super::value::CibValue;

/// How many notes are kept.
pub(super) const MAX_NOTES: usize = 1000;
/// How many `id-ref` are followed in a row.
const MAX_HOPS: usize = 8;
/// How much of a text of the CIB goes into a note.
const CUT: usize = 80;

pub(super) type Xml<'a> = Node<'a, 'a>;
#[expect(clippy::disallowed_types, reason = "nothing iterates over it")]
type Map<K, V> = HashMap<K, V>;

/// Elements that an `id-ref` leads to, each read once.
#[derive(Debug, Default)]
pub(super) struct Referred {
    pub(super) sets: Map<NodeId, Arc<AttributeSet>>,
    pub(super) operations: Map<NodeId, Arc<Operations>>,
    pub(super) resource_sets: Map<NodeId, Arc<ResourceSet>>,
    pub(super) rules: Map<NodeId, Option<Arc<RuleElement>>>,
}

/// What a reader reads: the whole text, or it without the pieces that are read apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) pieces: Option<&'a Pieces<'a>>,
}

impl Source<'_> {
    /// The offset in the whole text of a part of it, or of what is left of it.
    fn offset(&self, part: &str) -> usize {
        let from = |text: &str| part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
        let in_rest = self.pieces.map(|pieces| (pieces, from(&pieces.rest)));
        match in_rest.filter(|(pieces, offset)| *offset < pieces.rest.len()) {
            Some((pieces, offset)) => pieces.offset(offset),
            None => from(self.text),
        }
    }
}

#[derive(Debug)]
pub(super) struct Reader<'a> {
    source: Source<'a>,
    /// The path of the elements in which a piece stands.
    above: &'static str,
    lines: Arc<Lines>,
    names: Interner,
    notes: Vec<Note>,
    more: usize,
    ids: Map<(&'a str, &'a str), Xml<'a>>,
    pub(super) referred: Referred,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: Source<'a>, lines: Arc<Lines>) -> Self {
        Self {
            source,
            above: "",
            lines,
            names: Interner::default(),
            notes: Vec::new(),
            more: 0,
            ids: Map::new(),
            referred: Referred::default(),
        }
    }

    /// The piece that an element stands for.
    pub(super) fn piece(&self, node: Xml<'_>) -> Option<&'a str> {
        let pieces = self.source.pieces?;
        let name = node.tag_name().name().as_ptr().addr();
        let offset = name.wrapping_sub(pieces.rest.as_ptr().addr()).checked_sub(1)?;
        pieces.elements.get(pieces.at(offset)?).copied()
    }

    /// Reads a piece that stands in the elements `above`.
    pub(super) fn read_piece<'p, T>(
        &mut self,
        above: &'static str,
        read: impl FnOnce(&mut Reader<'p>) -> T,
    ) -> T
    where
        'a: 'p,
    {
        let mut inner = Reader::new(self.source, Arc::clone(&self.lines));
        inner.above = above;
        inner.names = std::mem::take(&mut self.names);
        inner.notes = std::mem::take(&mut self.notes);
        inner.more = self.more;
        let value = read(&mut inner);
        (self.names, self.notes, self.more) = (inner.names, inner.notes, inner.more);
        value
    }

    /// All notes, in the order of the text.
    pub(super) fn into_notes(self) -> Vec<Note> {
        let Self { mut notes, more, .. } = self;
        notes.sort_by_key(|note| note.place.spot);
        if more > 0 {
            let place = Place { spot: Spot { line: 1, column: 1 }, path: "cib".into() };
            notes.push(Note { place, what: Remark::More { count: more } });
        }
        notes
    }

    pub(super) fn intern(&mut self, text: &str) -> Arc<str> {
        self.names.get(text)
    }

    /// Where an element begins.
    pub(super) fn spot(&self, node: Xml<'_>) -> Spot {
        // The tag's name is a part of the text, so its address tells its offset.
        self.lines.spot(self.source.offset(node.tag_name().name()).saturating_sub(1))
    }

    /// An element's place.
    pub(super) fn place(&self, node: Xml<'_>) -> Place {
        let mut steps: Vec<Xml<'_>> = node
            .ancestors()
            .filter(|node| {
                node.is_element() && !matches!(node.tag_name().name(), "cib" | "configuration")
            })
            .take(64)
            .collect();
        steps.reverse();
        let mut path = String::with_capacity(96);
        path.push_str(self.above);
        for step in steps {
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(cut(step.tag_name().name()));
            if let Some(id) = step.attribute("id") {
                path.push_str("[@id='");
                path.push_str(cut(id));
                path.push_str("']");
            }
        }
        if path.is_empty() {
            path.push_str(cut(node.tag_name().name()));
        }
        Place { spot: self.spot(node), path: path.into() }
    }

    /// Notes something of an element.
    pub(super) fn note(&mut self, node: Xml<'_>, what: Remark) {
        if self.notes.len() < MAX_NOTES {
            let place = self.place(node);
            self.notes.push(Note { place, what });
        } else {
            self.more += 1;
        }
    }

    fn note_attribute(&mut self, node: Xml<'_>, name: &str, what: Remark) {
        if self.notes.len() < MAX_NOTES {
            let place = self.place(node).attribute(cut(name));
            self.notes.push(Note { place, what });
        } else {
            self.more += 1;
        }
    }

    /// Notes an attribute that nobody reads; descriptions are passed over.
    pub(super) fn unknown_attribute(&mut self, node: Xml<'_>, attribute: &Attribute<'_, '_>) {
        if attribute.name() != "description" {
            self.note_attribute(node, attribute.name(), Remark::UnknownAttribute);
        }
    }

    pub(super) fn unknown_element(&mut self, node: Xml<'_>) {
        self.note(node, Remark::UnknownElement);
    }

    pub(super) fn missing(&mut self, node: Xml<'_>, name: &'static str) {
        self.note(node, Remark::Lacking { name });
    }

    pub(super) fn bad_value(
        &mut self,
        node: Xml<'_>,
        attribute: &Attribute<'_, '_>,
        allowed: &'static [&'static str],
    ) {
        let value = cut(attribute.value()).to_owned();
        self.note_attribute(node, attribute.name(), Remark::BadValue { value, allowed });
    }

    pub(super) fn keys_differ(&mut self, node: Xml<'_>) {
        self.note_attribute(node, "transition-magic", Remark::KeysDiffer);
    }

    /// The value of an attribute as text.
    #[expect(clippy::unnecessary_wraps, reason = "all callers put it into an Option")]
    pub(super) fn text(&mut self, attribute: &Attribute<'_, '_>) -> Option<Arc<str>> {
        Some(self.intern(attribute.value()))
    }

    /// The value of an attribute as its type; a note if it is none.
    pub(super) fn value<T: CibValue>(
        &mut self,
        node: Xml<'_>,
        attribute: &Attribute<'_, '_>,
    ) -> Option<T> {
        let value = T::read(attribute.value());
        if value.is_none() {
            self.bad_value(node, attribute, T::ALLOWED);
        }
        value
    }

    /// The id that an element must have; a note if it has none.
    pub(super) fn id(&mut self, node: Xml<'_>) -> Option<Arc<str>> {
        let id = node.attribute("id").map(|id| self.intern(id));
        if id.is_none() {
            self.missing(node, "id");
        }
        id
    }

    /// Enters the ids of the configuration, and notes doubles.
    pub(super) fn enter_ids(&mut self, configuration: Xml<'a>) {
        for node in configuration.descendants().filter(Node::is_element) {
            let Some(id) = node.attribute("id") else { continue };
            let kind = match node.tag_name().name() {
                "obj_ref" | "resource_ref" | "role" | "configuration" => continue,
                "primitive" | "group" | "clone" | "master" | "bundle" | "template" => "resource",
                "rsc_location" | "rsc_colocation" | "rsc_order" | "rsc_ticket" => "constraint",
                other => other,
            };
            if let Some(first) = self.ids.get(&(kind, id)) {
                let (id, first) = (cut(id).to_owned(), self.spot(*first));
                self.note(node, Remark::DuplicateId { id, first });
            } else {
                self.ids.insert((kind, id), node);
            }
        }
    }

    /// The element that stands for this one: itself, or what its `id-ref` leads to.
    pub(super) fn follow(&mut self, node: Xml<'a>) -> Option<Xml<'a>> {
        let mut here = node;
        for _ in 0..MAX_HOPS {
            let Some(id) = here.attribute("id-ref") else { return Some(here) };
            match self.ids.get(&(node.tag_name().name(), id)) {
                Some(there) => here = *there,
                None => break,
            }
        }
        let id = cut(here.attribute("id-ref").unwrap_or_default()).to_owned();
        self.note_attribute(node, "id-ref", Remark::Dangling { id });
        None
    }
}

/// The elements in an element.
pub(super) fn elements(node: Xml<'_>) -> impl Iterator<Item = Xml<'_>> {
    node.children().filter(Node::is_element)
}

/// At most 80 characters.
pub(super) fn cut(text: &str) -> &str {
    text.char_indices().nth(CUT).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}
