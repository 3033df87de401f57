//! The whole description, and the way in.

use std::sync::Arc;

use ha_core::time::WallTime;
use roxmltree::{Document, Error, ParsingOptions};
use serde::{Deserialize, Serialize};

use super::attributes::AttributeSet;
use super::constraint::CibConstraint;
use super::error::CibError;
use super::form;
use super::node::ConfiguredNode;
use super::note::{Note, Remark, Spot};
use super::pieces::Pieces;
use super::reader::{Reader, Source, Xml, cut, elements};
use super::resource::{CibResource, Primitive};
use super::scan::{Lines, scan};
use super::status::{NodeState, TicketState};
use super::topology::{FencingLevel, Tag};

/// How many XML nodes there may be; whitespace between elements is one, too.
const MAX_NODES: u32 = 16_000_000;

/// A CIB: configuration and status, typed but not interpreted.
///
/// See the [module](super) for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Cib {
    /// The schema it was written for, such as `pacemaker-3.7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_with: Option<Arc<str>>,
    /// The feature set of the cluster, such as `3.15.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_set: Option<Arc<str>>,
    /// The number that an administrator raises to make this one win.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_epoch: Option<u64>,
    /// The number of changes of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// The number of changes of the status since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_updates: Option<u64>,
    /// Whether the cluster has quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub have_quorum: Option<bool>,
    /// The id of the node that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dc_uuid: Option<Arc<str>>,
    /// Whether nodes without quorum are to panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_quorum_panic: Option<bool>,
    /// What counts as now.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub execution_date: Option<WallTime>,
    /// When the configuration was last changed, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_written: Option<Arc<str>>,
    /// Options of the cluster.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Arc<AttributeSet>>,
    /// Meta-attributes of all resources.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub resource_defaults: Vec<Arc<AttributeSet>>,
    /// Meta-attributes of all operations.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub operation_defaults: Vec<Arc<AttributeSet>>,
    /// The nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<ConfiguredNode>,
    /// The resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<CibResource>,
    /// What primitives take the rest from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Primitive>,
    /// The constraints, in their order.
    #[serde(default, with = "form::constraints", skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<CibConstraint>,
    /// Names for several things.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// In which order which devices fence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fencing_levels: Vec<FencingLevel>,
    /// What is known of the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_states: Vec<NodeState>,
    /// What is known of the tickets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ticket_states: Vec<TicketState>,
}

impl Cib {
    /// Reads a CIB, and says what is wrong with it or was not honoured.
    ///
    /// Bounds: [`MAX_CIB`](super::MAX_CIB) bytes, 16 million XML nodes and attributes, 4096
    /// attributes in a tag, rules 32 deep, the first 1000 notes. A DTD is refused.
    ///
    /// # Errors
    ///
    /// [`CibError`]: not XML, other XML, or beyond a bound.
    pub fn parse(text: &str) -> Result<(Self, Vec<Note>), CibError> {
        Self::parse_with(text, scan(text)?)
    }

    /// The same of a text that nobody wrote: places have no lines.
    pub(super) fn parse_placeless(text: &str) -> Result<(Self, Vec<Note>), CibError> {
        Self::parse_with(text, scan(text)?.hidden())
    }

    fn parse_with(text: &str, lines: Lines) -> Result<(Self, Vec<Note>), CibError> {
        let lines = Arc::new(lines);
        let read = Pieces::cut(text).and_then(|pieces| {
            let rest = parse_xml(&pieces.rest).ok()?;
            let source = Source { text, pieces: Some(&pieces) };
            Self::read(Reader::new(source, Arc::clone(&lines)), &rest)
        });
        if let Some(read) = read {
            return read;
        }
        // What was wrong with a piece is found again where it stands.
        let document = parse_xml(text).map_err(|error| not_xml(&error))?;
        let source = Source { text, pieces: None };
        Self::read(Reader::new(source, lines), &document)
            .unwrap_or_else(|| Ok((Self::default(), Vec::new())))
    }

    /// Reads a document; `None` if one of its pieces is no XML.
    fn read<'a>(
        mut cx: Reader<'a>,
        document: &'a Document<'a>,
    ) -> Option<Result<(Self, Vec<Note>), CibError>> {
        let root = document.root_element();
        if !root.has_tag_name("cib") {
            let found = cut(root.tag_name().name()).to_owned();
            return Some(Err(CibError::WrongRoot { found, spot: cx.spot(root) }));
        }
        let mut cib = Self::default();
        cib.read_root(&mut cx, root);
        for child in elements(root) {
            match child.tag_name().name() {
                "configuration" => cib.read_configuration(&mut cx, child),
                "status" => cib.read_status(&mut cx, child)?,
                _ => cx.unknown_element(child),
            }
        }
        if !elements(root).any(|child| child.has_tag_name("configuration")) {
            cx.missing(root, "configuration");
        }
        Some(Ok((cib, cx.into_notes())))
    }

    fn read_root(&mut self, cx: &mut Reader<'_>, root: Xml<'_>) {
        for attribute in root.attributes() {
            match attribute.name() {
                // Who wrote it, and where the daemon listens: nothing to decide with.
                "update-origin" | "update-client" | "update-user" | "remote-tls-port"
                | "remote-clear-port" => {}
                "validate-with" => self.validate_with = cx.text(&attribute),
                "crm_feature_set" => self.feature_set = cx.text(&attribute),
                "admin_epoch" => self.admin_epoch = cx.value(root, &attribute),
                "epoch" => self.epoch = cx.value(root, &attribute),
                "num_updates" => self.num_updates = cx.value(root, &attribute),
                "have-quorum" => self.have_quorum = cx.value(root, &attribute),
                "dc-uuid" => self.dc_uuid = cx.text(&attribute),
                "no-quorum-panic" => self.no_quorum_panic = cx.value(root, &attribute),
                "execution-date" => self.execution_date = cx.value(root, &attribute),
                "cib-last-written" => self.last_written = cx.text(&attribute),
                _ => cx.unknown_attribute(root, &attribute),
            }
        }
    }

    fn read_configuration<'a>(&mut self, cx: &mut Reader<'a>, configuration: Xml<'a>) {
        cx.enter_ids(configuration);
        for section in elements(configuration) {
            let name = section.tag_name().name();
            if matches!(name, "alerts" | "acls") {
                if section.has_children() {
                    cx.note(section, Remark::NotHonoured);
                }
                continue;
            }
            for child in elements(section) {
                let found = child.tag_name().name();
                match (name, found) {
                    ("crm_config", "cluster_property_set") => {
                        self.options.extend(AttributeSet::read(cx, child));
                    }
                    ("rsc_defaults", "meta_attributes") => {
                        self.resource_defaults.extend(AttributeSet::read(cx, child));
                    }
                    ("op_defaults", "meta_attributes") => {
                        self.operation_defaults.extend(AttributeSet::read(cx, child));
                    }
                    ("nodes", "node") => self.nodes.extend(ConfiguredNode::read(cx, child)),
                    ("resources", "template") => self.templates.extend(Primitive::read(cx, child)),
                    ("resources", _) => self.resources.extend(CibResource::read(cx, child)),
                    ("constraints", _) => self.constraints.extend(CibConstraint::read(cx, child)),
                    ("tags", "tag") => self.tags.extend(Tag::read(cx, child)),
                    ("fencing-topology", "fencing-level") => {
                        self.fencing_levels.extend(FencingLevel::read(cx, child));
                    }
                    _ => cx.unknown_element(child),
                }
            }
        }
    }

    /// `None` if a piece is no XML.
    fn read_status<'a>(&mut self, cx: &mut Reader<'a>, status: Xml<'a>) -> Option<()> {
        for child in elements(status) {
            match child.tag_name().name() {
                "node_state" => {
                    let state = match cx.piece(child) {
                        Some(piece) => {
                            let document = parse_xml(piece).ok()?;
                            cx.read_piece("status", |cx| {
                                NodeState::read(cx, document.root_element())
                            })
                        }
                        None => NodeState::read(cx, child),
                    };
                    self.node_states.extend(state);
                }
                "tickets" => {
                    for ticket in elements(child) {
                        match ticket.tag_name().name() {
                            "ticket_state" => {
                                self.ticket_states.extend(TicketState::read(cx, ticket));
                            }
                            _ => cx.unknown_element(ticket),
                        }
                    }
                }
                _ => cx.unknown_element(child),
            }
        }
        Some(())
    }
}

fn parse_xml(text: &str) -> Result<Document<'_>, Error> {
    let options = ParsingOptions { nodes_limit: MAX_NODES, allow_dtd: false, ..Default::default() };
    Document::parse_with_options(text, options)
}

fn not_xml(error: &Error) -> CibError {
    let at = error.pos();
    CibError::NotXml {
        why: error.to_string().chars().take(200).collect(),
        spot: Spot { line: at.row, column: at.col },
    }
}
