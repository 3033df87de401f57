//! The way back: a CIB as XML.

mod constraint;
mod resource;
mod rule;
mod sets;
mod status;
mod tag;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quick_xml::Writer;
use quick_xml::events::Event;

use self::tag::Tag;
use super::attributes::{AttributeSet, Pair};
use super::document::Cib;
use super::operation::Operations;
use super::resource_set::ResourceSet;
use super::rule::RuleElement;
use super::topology::FencingTarget;

/// What a CIB is written for if it does not say: the newest schema that many know.
const SCHEMA: &str = "pacemaker-3.9";
/// From this schema on roles are called `Promoted` and `Unpromoted`.
const NEW_ROLES: (u32, u32) = (3, 7);
/// From this schema on bundles have `promoted-max`.
const NEW_BUNDLES: (u32, u32) = (3, 0);

impl Cib {
    /// Writes it as Pacemaker's XML, with the status if there is one.
    ///
    /// What is read from it is equal but for the places. It is written for the schema it was
    /// written for, or else for `pacemaker-3.9`, and in that schema's words. Elements without an
    /// id get one; what occurs twice, because an `id-ref` led to it, is a reference again.
    ///
    /// What [`parse`](Self::parse) does not keep is not there: descriptions, alerts, ACLs, what it
    /// had a note about. Characters that XML cannot have become U+FFFD, and names that it cannot
    /// have are left out.
    ///
    /// ```
    /// use ha_crm::cib::Cib;
    ///
    /// let text = r#"<cib><configuration><crm_config/><nodes/><resources/><constraints>
    ///     <rsc_location id="l" rsc="a" node="n1" score="+1000000"/>
    /// </constraints></configuration></cib>"#;
    /// let (cib, _) = Cib::parse(text)?;
    /// let written = cib.to_xml();
    /// assert!(written.contains(r#"<rsc_location id="l" rsc="a" node="n1" score="INFINITY"/>"#));
    /// let (again, _) = Cib::parse(&written)?;
    /// assert_eq!(again.to_xml(), written);
    /// # Ok::<(), ha_crm::cib::CibError>(())
    /// ```
    #[must_use]
    pub fn to_xml(&self) -> String {
        document(self).0
    }
}

/// The text, and whether all could be written as it is.
pub(super) fn document(cib: &Cib) -> (String, bool) {
    let mut out = Out::new(cib);
    out.cib(cib);
    let text = String::from_utf8_lossy(&out.xml.into_inner()).into_owned();
    (text, out.is_whole)
}

/// What an `id-ref` can lead to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen<'c> {
    Operations(&'c Operations),
    Pair(&'c Pair),
    ResourceSet(&'c ResourceSet),
    Rule(&'c RuleElement),
    Set(&'c AttributeSet),
}

impl Seen<'_> {
    /// Whether both are one and the same, which needs no comparing.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Operations(one), Self::Operations(other)) => std::ptr::eq(*one, *other),
            (Self::Pair(one), Self::Pair(other)) => std::ptr::eq(*one, *other),
            (Self::ResourceSet(one), Self::ResourceSet(other)) => std::ptr::eq(*one, *other),
            (Self::Rule(one), Self::Rule(other)) => std::ptr::eq(*one, *other),
            (Self::Set(one), Self::Set(other)) => std::ptr::eq(*one, *other),
            (
                Self::Operations(_)
                | Self::Pair(_)
                | Self::ResourceSet(_)
                | Self::Rule(_)
                | Self::Set(_),
                _,
            ) => false,
        }
    }
}

struct Out<'c> {
    xml: Writer<Vec<u8>>,
    /// What was written, by element and id.
    seen: BTreeMap<(&'c str, &'c str), Seen<'c>>,
    /// The ids that were made up.
    made: BTreeSet<String>,
    /// How often each base of one was used.
    counts: BTreeMap<String, u32>,
    schema: (u32, u32),
    refers: bool,
    is_whole: bool,
}

impl<'c> Out<'c> {
    fn new(cib: &Cib) -> Self {
        Self {
            xml: Writer::new_with_indent(Vec::new(), b' ', 2),
            seen: BTreeMap::new(),
            made: BTreeSet::new(),
            counts: BTreeMap::new(),
            schema: version(cib.validate_with.as_deref().unwrap_or(SCHEMA)),
            refers: true,
            is_whole: true,
        }
    }

    fn event(&mut self, event: Event<'_>) {
        self.is_whole &= self.xml.write_event(event).is_ok(); // memory takes everything
    }

    fn open(&mut self, tag: Tag) {
        self.is_whole &= tag.is_whole;
        self.event(Event::Start(tag.start));
    }

    fn close(&mut self, name: &str) {
        self.event(Event::End(quick_xml::events::BytesEnd::new(name)));
    }

    fn empty(&mut self, tag: Tag) {
        self.is_whole &= tag.is_whole;
        self.event(Event::Empty(tag.start));
    }

    /// An element with others in it; empty if there are none.
    fn list<T>(&mut self, name: &'static str, items: &'c [T], each: impl Fn(&mut Self, &'c T)) {
        if items.is_empty() {
            return self.empty(Tag::new(name));
        }
        self.open(Tag::new(name));
        for item in items {
            each(self, item);
        }
        self.close(name);
    }

    /// The id that is given, or else one made up from `base`.
    fn id(&mut self, given: Option<&Arc<str>>, base: &str) -> String {
        if let Some(given) = given {
            return given.as_ref().to_owned();
        }
        // An id must not begin with a digit, nor have anything but letters, digits and -_. in it.
        let mut plain: String = base
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
            .collect();
        if !plain.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            plain.insert(0, '_');
        }
        let mut number = self.counts.get(&plain).copied().unwrap_or(0);
        let id = loop {
            number += 1;
            let id = if number == 1 { plain.clone() } else { format!("{plain}-{number}") };
            if self.made.insert(id.clone()) {
                break id;
            }
        };
        self.counts.insert(plain, number);
        id
    }

    /// Whether the same was written before, so that a reference is enough; if not, it is now.
    fn is_known(&mut self, element: &'c str, id: Option<&'c Arc<str>>, what: Seen<'c>) -> bool {
        // A reference to an id that was made up for another would lead to that.
        let Some(id) = id.filter(|id| self.refers && !self.made.contains(&***id)) else {
            return false;
        };
        if let Some(known) = self.seen.get(&(element, &**id)) {
            return known.is_same(&what) || *known == what;
        }
        self.seen.insert((element, id), what);
        false
    }

    fn cib(&mut self, cib: &'c Cib) {
        let schema = cib.validate_with.as_deref().unwrap_or(SCHEMA);
        let tag = Tag::new("cib")
            .value("admin_epoch", Some(&cib.admin_epoch.unwrap_or(0)))
            .value("epoch", Some(&cib.epoch.unwrap_or(0)))
            .value("num_updates", Some(&cib.num_updates.unwrap_or(0)))
            .text("validate-with", Some(schema))
            .text("crm_feature_set", cib.feature_set.as_deref())
            .value("have-quorum", cib.have_quorum.as_ref())
            .text("dc-uuid", cib.dc_uuid.as_deref())
            .value("no-quorum-panic", cib.no_quorum_panic.as_ref())
            .value("execution-date", cib.execution_date.as_ref())
            .text("cib-last-written", cib.last_written.as_deref());
        self.open(tag);
        self.open(Tag::new("configuration"));
        self.list("crm_config", &cib.options, |out, set| {
            out.set("cluster_property_set", set, "cib-bootstrap-options");
        });
        self.list("nodes", &cib.nodes, Self::node);
        self.open(Tag::new("resources"));
        for template in &cib.templates {
            self.primitive("template", template);
        }
        for resource in &cib.resources {
            self.resource(resource);
        }
        self.close("resources");
        self.list("constraints", &cib.constraints, Self::constraint);
        self.sections(cib);
        self.close("configuration");
        self.refers = false; // there are no references in the status
        self.status(cib);
        self.close("cib");
    }

    /// What need not be there.
    fn sections(&mut self, cib: &'c Cib) {
        if !cib.fencing_levels.is_empty() {
            self.list("fencing-topology", &cib.fencing_levels, Self::level);
        }
        if !cib.resource_defaults.is_empty() {
            self.list("rsc_defaults", &cib.resource_defaults, |out, set| {
                out.set("meta_attributes", set, "rsc_defaults-options");
            });
        }
        if !cib.operation_defaults.is_empty() {
            self.list("op_defaults", &cib.operation_defaults, |out, set| {
                out.set("meta_attributes", set, "op_defaults-options");
            });
        }
        if !cib.tags.is_empty() {
            self.list("tags", &cib.tags, |out, tag| {
                out.open(Tag::new("tag").text("id", Some(&tag.id)));
                for id in &tag.references {
                    out.empty(Tag::new("obj_ref").text("id", Some(id)));
                }
                out.close("tag");
            });
        }
    }

    fn level(&mut self, level: &'c super::FencingLevel) {
        let (target, pattern, name, value) = match &level.target {
            FencingTarget::Node(node) => (Some(&**node), None, None, None),
            FencingTarget::Pattern(pattern) => (None, Some(&**pattern), None, None),
            FencingTarget::Attribute { name, value } => (None, None, Some(&**name), Some(&**value)),
        };
        let whom = target.or(pattern).or(value).unwrap_or_default();
        let index = level.index.unwrap_or_default();
        let id = self.id(level.id.as_ref(), &format!("fl-{whom}-{index}"));
        let tag = Tag::new("fencing-level")
            .text("id", Some(&id))
            .text("target", target)
            .text("target-pattern", pattern)
            .text("target-attribute", name)
            .text("target-value", value)
            .value("index", level.index.as_ref())
            .text("devices", Some(&level.devices.join(",")));
        self.empty(tag);
    }
}

/// The numbers of a schema; one without numbers is taken for the newest.
fn version(schema: &str) -> (u32, u32) {
    let numbers = schema.strip_prefix("pacemaker-").and_then(|numbers| numbers.split_once('.'));
    let read = numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    read.unwrap_or((u32::MAX, 0))
}
